package roster

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Text prints the report for a person.
func (r *Report) Text(w io.Writer) error {
	var b bytes.Buffer
	file := []string{r.Format}
	if r.Delimiter != "" {
		name := map[string]string{",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}[r.Delimiter]
		file = append(file, "cut at "+name)
	}
	file = append(file, r.Encoding)
	if r.Compression != "" {
		file = append(file, r.Compression)
	}
	fmt.Fprintf(&b, "Roster   %s\n", strings.Join(file, ", "))
	fmt.Fprintf(&b, "Digest   %s\n\n", r.Digest)
	fmt.Fprintf(&b, "%s read = %s + %s merged + %s rejected", plural(r.Rows, "row", "rows"), plural(r.Customers, "customer", "customers"), group3(r.Merged), group3(r.Rejected))
	if r.EmptyLines > 0 {
		fmt.Fprintf(&b, "   (%s ignored)", plural(r.EmptyLines, "empty line", "empty lines"))
	}
	b.WriteString("\n")

	r.textColumns(&b)
	r.textWords(&b)
	r.textCounts(&b)
	findings(&b, "Warnings", r.Warnings)
	r.textCases(&b)
	findings(&b, "Blockers", r.Blockers)
	if len(r.Blockers) > 0 {
		b.WriteString("\nThis roster cannot be declared before the blockers are gone.\n")
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (r *Report) textColumns(b *bytes.Buffer) {
	if len(r.Mapping) == 0 {
		return
	}
	b.WriteString("\nColumns\n")
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, m := range r.Mapping {
		switch m.How {
		case "ignored":
			fmt.Fprintf(t, "  %s\tignored\n", m.Header)
		case "map":
			fmt.Fprintf(t, "  %s\t→ %s (mapped by hand)\n", m.Header, m.Field)
		default:
			fmt.Fprintf(t, "  %s\t→ %s\n", m.Header, m.Field)
		}
	}
	flush(t)
}

func (r *Report) textWords(b *bytes.Buffer) {
	list := func(title string, words []Word, empty int, emptyAs string) {
		if len(words) == 0 && empty == 0 {
			return
		}
		fmt.Fprintf(b, "\n%s\n", title)
		t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
		for i, w := range words {
			if i == 40 {
				fmt.Fprintf(t, "  and %s\n", plural(len(words)-i, "other", "others"))
				break
			}
			as := w.As
			if as == "" {
				as = "?  unknown"
			}
			fmt.Fprintf(t, "  %s\t→ %s\t%s\n", w.Word, as, group3(w.Count))
		}
		if empty > 0 {
			fmt.Fprintf(t, "  (none)\t→ %s\t%s\n", emptyAs, group3(empty))
		}
		flush(t)
	}
	list("Kinds of data, in rows", r.DataWords, r.DataEmpty, "none")
	list("Languages, in rows", r.LanguageWords, r.LanguageDefault, "the default")
	list("Compromised channels, in rows", r.ChannelWords, 0, "")
}

func (r *Report) textCounts(b *bytes.Buffer) {
	b.WriteString("\nCustomers by channel\n")
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, ch := range Channels() {
		name := ChannelName(ch)
		var why []string
		for _, key := range descending(r.Unusable) {
			if reason, ok := strings.CutPrefix(key, name+"/"); ok {
				why = append(why, fmt.Sprintf("%s %s", group3(r.Unusable[key]), strings.ReplaceAll(reason, "_", " ")))
			}
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\n", name, group3(r.Usable[name]), strings.Join(why, ", "))
	}
	flush(t)
	for _, c := range []struct {
		title string
		count map[string]int
	}{
		{"language", r.ByLanguage},
		{"country", r.ByCountry},
		{"tier", r.ByTier},
		{"time zone", r.ByZone},
		{"source of the zone", r.ByZoneSource},
		{"kind of data", r.ByData},
	} {
		var parts []string
		keys := descending(c.count)
		for i, k := range keys {
			if i == 12 {
				parts = append(parts, plural(len(keys)-i, "other", "others"))
				break
			}
			parts = append(parts, k+" "+group3(c.count[k]))
		}
		fmt.Fprintf(b, "Customers by %s: %s\n", c.title, strings.Join(parts, ", "))
	}
	fmt.Fprintf(b, "%s\n", plural(len(r.Pages), "page", "pages"))
}

func findings(b *bytes.Buffer, title string, list []Finding) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", title)
	for _, f := range list {
		fmt.Fprintf(b, "  %s: %s\n", plural(f.Count, "row", "rows"), f.Text)
		for i, w := range f.Words {
			if i == maxSamples {
				fmt.Fprintf(b, "    and %s\n", plural(len(f.Words)-i, "other word", "other words"))
				break
			}
			fmt.Fprintf(b, "    %q, %s\n", w.Word, plural(w.Count, "time", "times"))
		}
		if len(f.Samples) > 0 {
			b.WriteString("    ")
			for i, s := range f.Samples {
				if i == 5 {
					break
				}
				if i > 0 {
					b.WriteString(", ")
				}
				fmt.Fprintf(b, "row %d (%s)", s.Row, line(s.Ref))
			}
			if f.Count > min(len(f.Samples), 5) {
				b.WriteString(" …")
			}
			b.WriteString("\n")
		}
		if f.Remedy != "nothing to do" {
			fmt.Fprintf(b, "    → %s\n", f.Remedy)
		}
	}
}

func (r *Report) textCases(b *bytes.Buffer) {
	more := func(total, shown int) {
		if total > shown {
			fmt.Fprintf(b, "  and %s\n", plural(total-shown, "other", "others"))
		}
	}
	if r.OnFile > 0 {
		fmt.Fprintf(b, "\nAlready on file: not added a second time\n")
		for _, o := range r.OnFileRows[:min(len(r.OnFileRows), maxSamples)] {
			fmt.Fprintf(b, "  row %d (%s)\n", o.Row, line(o.Ref))
		}
		more(r.OnFile, min(len(r.OnFileRows), maxSamples))
	}
	if r.Merged > r.OnFile {
		fmt.Fprintf(b, "\nMerged: the customer_ref is there already, the first row stands\n")
		for _, m := range r.Merges[:min(len(r.Merges), maxSamples)] {
			differ := "no difference"
			if len(m.Differ) > 0 {
				differ = "differs in " + strings.Join(m.Differ, ", ")
			}
			fmt.Fprintf(b, "  row %d (%s) into row %d: %s\n", m.Row, line(m.Ref), m.FirstRow, differ)
		}
		more(r.Merged-r.OnFile, min(len(r.Merges), maxSamples))
	}
	if n := r.SharedAddresses + r.SharedNumbers; n > 0 {
		fmt.Fprintf(b, "\nShared: %s and %s of several customers; each gets a notice, told apart by the code\n",
			plural(r.SharedAddresses, "address", "addresses"), plural(r.SharedNumbers, "number", "numbers"))
		for _, s := range r.Shared[:min(len(r.Shared), maxSamples)] {
			refs := make([]string, len(s.Refs))
			for i, ref := range s.Refs {
				refs[i] = line(ref)
			}
			tail := ""
			if s.Customers > len(s.Refs) {
				tail = " …"
			}
			fmt.Fprintf(b, "  one %s: %s%s\n", s.What, strings.Join(refs, ", "), tail)
		}
		more(n, min(len(r.Shared), maxSamples))
	}
	if r.Rejected > 0 {
		fmt.Fprintf(b, "\nRejected: no channel can reach them\n")
		for _, x := range r.Rejects[:min(len(r.Rejects), maxSamples)] {
			fmt.Fprintf(b, "  row %d (%s): %s\n    → %s\n", x.Row, line(x.Ref), x.Reason, x.Remedy)
		}
		more(r.Rejected, min(len(r.Rejects), maxSamples))
	}
}

// line keeps a reference from steering a terminal.
func line(s string) string {
	s, _ = tidy(s)
	if rs := []rune(s); len(rs) > 40 {
		s = string(rs[:39]) + "…"
	}
	return s
}

func flush(t *tabwriter.Writer) {
	_ = t.Flush() // it writes to memory
}
