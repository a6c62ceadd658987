package roster

import (
	"cmp"
	"maps"
	"math/bits"
	"slices"
	"strconv"

	candorv1 "candor/proto/candor/v1"
)

// maxList bounds the single cases that a report lists; all of them are counted, and all rejects are in the rejects file.
const maxList = 1000

// Report says what an import made of a file. It holds no personal data, but for customers' references.
type Report struct {
	// Digest is the SHA-256 over the file's content and what was made of it, in lower-case hex. It depends neither on the
	// incident's key nor on encoding, compression or the order of pages.
	Digest      string          `json:"digest"`
	Format      string          `json:"format"`
	Delimiter   string          `json:"delimiter,omitempty"`
	Encoding    string          `json:"encoding"`
	Compression string          `json:"compression,omitempty"`
	Mapping     []ColumnMapping `json:"mapping"`

	// Rows = Customers + Merged + Rejected, always. Empty lines are no rows.
	Rows       int `json:"rows"`
	EmptyLines int `json:"empty_lines"`
	Customers  int `json:"customers"`
	Merged     int `json:"merged"`
	Rejected   int `json:"rejected"`

	// Usable counts customers by channel; Unusable by channel and reason, as in sms/no_number.
	Usable       map[string]int `json:"usable"`
	Unusable     map[string]int `json:"unusable"`
	ByLanguage   map[string]int `json:"by_language"`
	ByCountry    map[string]int `json:"by_country"`
	ByTier       map[string]int `json:"by_tier"`
	ByZone       map[string]int `json:"by_zone"`
	ByZoneSource map[string]int `json:"by_zone_source"`
	ByData       map[string]int `json:"by_data"`

	// What the file's words were taken for, counted over all rows.
	LanguageWords []Word `json:"language_words"`
	// LanguageDefault counts rows without a language.
	LanguageDefault int    `json:"language_default"`
	CountryWords    []Word `json:"country_words"`
	DataWords       []Word `json:"data_words"`
	// DataEmpty counts rows that name no kind of data.
	DataEmpty    int    `json:"data_empty"`
	ChannelWords []Word `json:"channel_words"`

	// Blockers keep an incident from being declared with this roster; warnings do not.
	Blockers []Finding `json:"blockers"`
	Warnings []Finding `json:"warnings"`

	RejectReasons map[string]int `json:"reject_reasons"`
	Rejects       []Reject       `json:"rejects"`
	// MergedDiffer counts merged rows by the columns in which they differ from the row that stands.
	MergedDiffer map[string]int `json:"merged_differ"`
	Merges       []Merge        `json:"merges"`
	// OnFile counts the merged rows whose customer was on file before the file came: who is there is not added again.
	OnFile     int      `json:"on_file,omitempty"`
	OnFileRows []Sample `json:"on_file_rows,omitempty"`
	// Addresses and numbers that several customers have.
	SharedAddresses int      `json:"shared_addresses"`
	SharedNumbers   int      `json:"shared_numbers"`
	Shared          []Shared `json:"shared"`

	Pages []PageInfo `json:"pages"`
}

// Word is a word of the file and what it was taken for; As is empty if that is not known.
type Word struct {
	Word  string `json:"word"`
	As    string `json:"as"`
	Count int    `json:"count"`
}

// Finding is something that somebody should know about the file.
type Finding struct {
	Code    string   `json:"code"`
	Text    string   `json:"text"`
	Remedy  string   `json:"remedy"`
	Count   int      `json:"count"`
	Samples []Sample `json:"samples,omitempty"`
	// Words are the unknown ones of a blocker.
	Words []Word `json:"words,omitempty"`
}

// Sample points at a row, counted as a spreadsheet does.
type Sample struct {
	Row int    `json:"row"`
	Ref string `json:"customer_ref"`
}

// Reject is a row that no channel can reach.
type Reject struct {
	Row    int    `json:"row"`
	Ref    string `json:"customer_ref"`
	Column string `json:"column"`
	Reason string `json:"reason"`
	Remedy string `json:"remedy"`
}

// Merge is a row whose customer_ref an earlier row has.
type Merge struct {
	Ref      string   `json:"customer_ref"`
	Row      int      `json:"row"`
	FirstRow int      `json:"first_row"`
	Differ   []string `json:"differ"`
}

// Shared is an address or number that several customers have.
type Shared struct {
	What      string   `json:"what"`
	Customers int      `json:"customers"`
	Refs      []string `json:"customer_refs"`
}

// PageInfo says what a page holds, without personal data.
type PageInfo struct {
	Number    uint32 `json:"number"`
	Tier      uint8  `json:"tier"`
	TimeZone  string `json:"time_zone"`
	Language  string `json:"language"`
	Customers int    `json:"customers"`
	SMS       int    `json:"usable_sms"`
	Email     int    `json:"usable_email"`
	Call      int    `json:"usable_call"`
}

func newReport() *Report {
	r := &Report{RejectReasons: map[string]int{}, MergedDiffer: map[string]int{}}
	for _, m := range []*map[string]int{&r.Usable, &r.Unusable, &r.ByLanguage, &r.ByCountry, &r.ByTier, &r.ByZone, &r.ByZoneSource, &r.ByData} {
		*m = map[string]int{}
	}
	return r
}

// page adds a page and its customers.
func (r *Report) page(p *Page) {
	n := len(p.Customers)
	r.Customers += n
	r.ByLanguage[p.Language] += n
	r.ByTier[strconv.Itoa(int(p.Tier))] += n
	r.ByZone[p.TimeZone] += n
	type barred struct {
		ch     candorv1.Channel
		reason string
	}
	var usable [3]int
	var sources [ZoneFromDefault + 1]int
	var data [lastDataKind + 1]int
	unusable := map[barred]int{}
	countries := map[string]int{}
	for i := range p.Customers {
		c := &p.Customers[i]
		for j, ch := range Channels() {
			if ok, reason := c.Usable(ch); ok {
				usable[j]++
			} else {
				unusable[barred{ch, reason}]++
			}
		}
		sources[c.ZoneSource]++
		countries[c.Country]++
		if c.Data == 0 {
			data[0]++
		}
		for left := c.Data; left != 0; left &= left - 1 {
			data[bits.TrailingZeros32(uint32(left))]++
		}
	}
	for j, ch := range Channels() {
		r.Usable[ChannelName(ch)] += usable[j]
	}
	for k, n := range unusable {
		r.Unusable[ChannelName(k.ch)+"/"+k.reason] += n
	}
	for code, n := range countries {
		r.ByCountry[cmp.Or(code, "none")] += n
	}
	for z, n := range sources {
		if n > 0 {
			r.ByZoneSource[ZoneSource(z).String()] += n
		}
	}
	for k, n := range data {
		switch {
		case n == 0:
		case k == 0:
			r.ByData["none"] += n
		default:
			r.ByData[DataKind(k).String()] += n
		}
	}
	r.Pages = append(r.Pages, PageInfo{
		Number: p.Number, Tier: p.Tier, TimeZone: p.TimeZone, Language: p.Language, Customers: n,
		SMS: usable[0], Email: usable[1], Call: usable[2],
	})
}

// stats are what a worker counts; they are added up at the end.
type stats struct {
	languageDefault, dataEmpty, uncounted int
}

func (st *stats) add(o *stats) {
	st.languageDefault += o.languageDefault
	st.dataEmpty += o.dataEmpty
	st.uncounted += o.uncounted
}

// into completes a report with what the workers counted.
func (st *stats) into(r *Report, workers []*worker) {
	r.LanguageDefault, r.DataEmpty = st.languageDefault, st.dataEmpty
	collect := func(of func(*worker) memo) []Word {
		var memos []memo
		for _, w := range workers {
			memos = append(memos, of(w))
		}
		return words(memos...)
	}
	r.LanguageWords = collect(func(w *worker) memo { return w.languages })
	r.CountryWords = collect(func(w *worker) memo { return w.countries })
	r.DataWords = collect(func(w *worker) memo { return w.data })
	r.ChannelWords = collect(func(w *worker) memo { return w.channels })
	for i := range r.Blockers {
		switch b := &r.Blockers[i]; b.Code {
		case codeDataUnknown:
			b.Words = unknownWords(r.DataWords)
		case codeChannelUnknown:
			b.Words = unknownWords(r.ChannelWords)
		}
	}
	if st.uncounted > 0 {
		r.Warnings = append(r.Warnings, Finding{
			Code: "words_uncounted", Text: "a column of words has too many different ones: not all are counted", Count: st.uncounted,
			Remedy: "check the mapping of language, country, data_exposed and compromised_channels",
		})
	}
}

// words adds up what the workers' memos saw.
func words(memos ...memo) []Word {
	count := map[[2]string]int{}
	for _, m := range memos {
		for cell, v := range m {
			if v.words == nil && (v.text != "" || v.bad) {
				count[[2]string{safeWord(cell), v.text}] += v.count
			}
			for i, w := range v.words {
				count[[2]string{safeWord(w), v.as[i]}] += v.count
			}
		}
	}
	var list []Word
	for w, n := range count {
		list = append(list, Word{Word: w[0], As: w[1], Count: n})
	}
	slices.SortFunc(list, func(a, b Word) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Word, b.Word), cmp.Compare(a.As, b.As))
	})
	return list[:min(len(list), maxList)]
}

func unknownWords(list []Word) []Word {
	return slices.DeleteFunc(slices.Clone(list), func(w Word) bool { return w.As != "" })
}

// Balanced says whether every row is accounted for.
func (r *Report) Balanced() bool { return r.Rows == r.Customers+r.Merged+r.Rejected }

// Manifest returns the report's counts and pages as they are stored; who seals the pages adds their digests.
func (r *Report) Manifest() *candorv1.RosterManifest {
	m := &candorv1.RosterManifest{
		Digest: r.Digest, Rows: uint64(r.Rows), Customers: uint64(r.Customers), Merged: uint64(r.Merged), Rejected: uint64(r.Rejected),
		EmptyLines: uint64(r.EmptyLines), Usable: wide(r.Usable), Unusable: wide(r.Unusable), ByLanguage: wide(r.ByLanguage),
		ByCountry: wide(r.ByCountry), ByTier: wide(r.ByTier), ByZone: wide(r.ByZone), ByZoneSource: wide(r.ByZoneSource), ByData: wide(r.ByData),
		Pages: make([]*candorv1.RosterPageInfo, len(r.Pages)),
	}
	for i, p := range r.Pages {
		m.Pages[i] = &candorv1.RosterPageInfo{
			Number: p.Number, Tier: uint32(p.Tier), TimeZone: p.TimeZone, Language: p.Language, Customers: uint32(p.Customers),
			UsableSms: uint32(p.SMS), UsableEmail: uint32(p.Email), UsableCall: uint32(p.Call),
		}
	}
	return m
}

func wide(in map[string]int) map[string]uint64 {
	out := make(map[string]uint64, len(in))
	for k, v := range in {
		out[k] = uint64(v)
	}
	return out
}

// descending returns the keys of a count, the largest first.
func descending(m map[string]int) []string {
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b))
	})
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return group3(n) + " " + many
}

// group3 writes 1234567 as 1,234,567.
func group3(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
