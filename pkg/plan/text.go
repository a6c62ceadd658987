package plan

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"candor/pkg/audience"
	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

// maxShown is how many lines of a breakdown are printed; the rest is summed up. The JSON has them all.
const maxShown = 8

// Text prints a plan for a person to read, with times in loc.
func Text(w io.Writer, p *candorv1.Plan, loc *time.Location) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) } //nolint:errcheck // Flush reports it
	ps := p.GetPeople()
	line("Incident\t%s", p.GetIncident())
	if p.GetRevision() > 0 {
		line("Revision\t%d", p.GetRevision())
	}
	line("Customers\t%s, from %s (%s merged, %s rejected)", number(ps.GetCustomers()), count(ps.GetRows(), "row", "rows"),
		number(ps.GetMerged()), number(ps.GetRejected()))
	line("Reachable\t%s, %s not", number(ps.GetReachable()), number(ps.GetCustomers()-min(ps.GetCustomers(), ps.GetReachable())))
	for _, wave := range p.GetWaves() {
		if wave.GetWave() == playbook.FirstNotice {
			waveText(line, wave, loc)
		} else {
			preparedText(line, wave)
		}
	}
	for _, list := range []struct {
		title    string
		findings []*candorv1.Finding
	}{{"Must be mended before anybody can approve", p.GetBlockers()}, {"Good to know", p.GetWarnings()}} {
		if len(list.findings) == 0 {
			continue
		}
		line("")
		line("%s:", list.title)
		for _, f := range list.findings {
			// One cell a line, so that a long sentence does not widen the table.
			line("  - %s", f.GetMessage())
			line("    What to do: %s", f.GetRemedy())
		}
	}
	line("")
	line("Roster\t%s", p.GetRosterDigest())
	line("Plan hash\t%s", p.GetPlanHash())
	return t.Flush()
}

func waveText(line func(string, ...any), wave *candorv1.WavePlan, loc *time.Location) {
	for _, ch := range wave.GetChannels() {
		line("")
		line("%s", strings.TrimSpace(fmt.Sprintf("Wave %s by %s, to %s", wave.GetWave(), channelWord(ch.GetChannel()), wave.GetAudience())))
		channelText(line, ch, loc)
	}
	line("")
	line("Guard of wave %s: %s", wave.GetWave(), wave.GetGuard())
}

// preparedText prints a wave that is sent later, and to those of its audience who were told by then.
func preparedText(line func(string, ...any), wave *candorv1.WavePlan) {
	line("")
	to := "those who were told"
	if a := wave.GetAudience(); a != (audience.Audience{}).String() {
		to += ", of " + a
	}
	line("Wave %s, prepared, to %s", wave.GetWave(), to)
	for _, when := range wave.GetSent() {
		line("  When\t%s", when)
	}
	if len(wave.GetSent()) == 0 {
		line("  When\tnever: nothing names it")
	}
	for _, ch := range wave.GetChannels() {
		text := "at most " + messages(ch.GetNotices())
		if ch.GetCalls() != nil {
			text = "at most " + people(ch.GetNotices()) + " to be called"
		}
		var segments uint64
		for _, s := range ch.GetSegments() {
			segments += s.GetSegments()
		}
		if segments > 0 {
			text += ", " + count(segments, "segment", "segments")
		}
		if cost := ch.GetCostAtMost(); cost != "" && cost != "0" {
			text += fmt.Sprintf("; at most %s %s each time", cost, ch.GetCurrency())
		}
		line("  By %s\t%s", channelWord(ch.GetChannel()), text)
	}
}

func channelText(line func(string, ...any), ch *candorv1.ChannelPlan, loc *time.Location) {
	if ch.GetAfter() != nil {
		line("  When\tafter %s, for those whom %s by then; at once for those whom the channels before cannot reach",
			period(ch.GetAfter().AsDuration()), missed(ch.GetUnless()))
	}
	if ch.GetCalls() != nil {
		callText(line, ch)
	} else {
		line("  Messages\t%s%s", atMost(ch), number(ch.GetNotices()))
	}
	for _, reason := range byCount(ch.GetSuppressed()) {
		line("  Not told here\t%s: %s", number(ch.GetSuppressed()[reason]), reasonWords(reason))
	}
	breakdown(line, "Language", ch.GetByLanguage())
	breakdown(line, "Tier", ch.GetByTier())
	breakdown(line, "Time zone", ch.GetByZone())
	for _, s := range ch.GetSegments() {
		text := fmt.Sprintf("%s in %s, longest %d", count(s.GetSegments(), "segment", "segments"), s.GetLanguage(), s.GetLongest())
		if s.GetUcs2Messages() > 0 {
			text += fmt.Sprintf("; %s in the dearer encoding (%q)", number(s.GetUcs2Messages()), s.GetForcesUcs2())
		}
		line("  Length\t%s", text)
	}
	for _, s := range ch.GetSenders() {
		if s.GetStandBy() {
			line("  Stand-by\tmail relay from %s: takes over while the other sends nothing; alone, at %s a second, %s",
				s.GetSender(), decimal(s.GetPerSec()), span(s.GetSeconds()))
			continue
		}
		text := s.GetSender() + ": " + number(s.GetUnits())
		if s.GetPerSec() > 0 {
			text += fmt.Sprintf(" at %s a second, %s", decimal(s.GetPerSec()), span(s.GetSeconds()))
		}
		line("  Sender\t%s", text)
	}
	if ch.GetFirstAt() != nil {
		line("  First told\t%s", clock(ch.GetFirstAt().AsTime(), loc))
		line("  Last told\t%s", clock(ch.GetLastAt().AsTime(), loc))
	}
	if ch.GetCost() != "" && ch.GetCost() != "0" {
		line("  Cost\t%s %s", ch.GetCost(), ch.GetCurrency())
	}
	if ch.GetCostAtMost() != "" && ch.GetCostAtMost() != "0" {
		line("  Cost\tat most %s %s", ch.GetCostAtMost(), ch.GetCurrency())
	}
}

func breakdown(line func(string, ...any), title string, counts map[string]uint64) {
	keys := byCount(counts)
	for i, key := range keys {
		if i == maxShown && len(keys) > maxShown+1 {
			var rest uint64
			for _, k := range keys[i:] {
				rest += counts[k]
			}
			line("  %s\t%s\t%s", title, fmt.Sprintf("%d others", len(keys)-i), number(rest))
			return
		}
		line("  %s\t%s\t%s", title, key, number(counts[key]))
	}
}

// byCount orders keys by their counts, the largest first.
func byCount(counts map[string]uint64) []string {
	keys := slices.Sorted(maps.Keys(counts))
	slices.SortStableFunc(keys, func(a, b string) int {
		switch x, y := counts[a], counts[b]; {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	return keys
}

func clock(t time.Time, loc *time.Location) string {
	return t.In(loc).Format("Mon 2 Jan 2006 15:04 MST")
}

// reasonWords says why a channel does not reach somebody.
func reasonWords(reason string) string {
	switch reason {
	case "no_number":
		return "no telephone number"
	case "call_only_number":
		return "the number takes calls, but no texts"
	case "no_address":
		return "no e-mail address"
	case "opted_out":
		return "asked not to be told this way"
	case "compromised_channel":
		return "whoever has the data can read this channel"
	}
	return strings.ReplaceAll(reason, "_", " ")
}

func channelWord(ch candorv1.Channel) string {
	switch ch {
	case candorv1.Channel_CHANNEL_SMS:
		return "text message"
	case candorv1.Channel_CHANNEL_EMAIL:
		return "e-mail"
	case candorv1.Channel_CHANNEL_CALL:
		return "telephone"
	}
	return "unknown channel"
}

// number writes 1234567 as 1,234,567.
func number(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func count(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}

func people(n uint64) string   { return count(n, "customer", "customers") }
func messages(n uint64) string { return count(n, "message", "messages") }

func decimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// span writes seconds as somebody would say them.
func span(seconds float64) string {
	switch {
	case seconds < 1:
		return "under a second"
	case seconds < 120:
		return fmt.Sprintf("%.0f seconds", seconds)
	case seconds < 2*3600:
		return fmt.Sprintf("%.0f minutes", seconds/60)
	case seconds < 48*3600:
		return fmt.Sprintf("%.1f hours", seconds/3600)
	default:
		return fmt.Sprintf("%.1f days", seconds/86400)
	}
}
