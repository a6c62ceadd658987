package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/goccy/go-yaml"

	"candor/pkg/audience"
	"candor/pkg/incident"
	candorv1 "candor/proto/candor/v1"
)

// setting is what an addition is shown against: the clock that the incident goes by, and the titles of its waves.
type setting struct {
	place  *time.Location
	titles map[string]string
}

// setting asks the timeline. Whoever approves reads on without it, by the clock of this machine.
func (c *cli) setting(ctx context.Context, s *client, name string) *setting {
	resp, err := s.GetTimeline(ctx, connect.NewRequest(&candorv1.GetTimelineRequest{Incident: name}))
	if err != nil {
		c.err.printf("%s\n", c.err.paint(faint, "The timeline cannot be had ("+explain(err).what+"): times are by this machine's clock."))
		return &setting{place: c.zone}
	}
	return settingOf(resp.Msg.GetTimeline())
}

func settingOf(tl *candorv1.Timeline) *setting {
	s := &setting{place: placeOf(tl.GetTimeZone()), titles: map[string]string{}}
	for _, e := range tl.GetEntries() {
		if e.GetWave() != "" {
			s.titles[e.GetWave()] = e.GetTitle()
		}
	}
	return s
}

// moment is a moment by the incident's clock, which it names.
func (s *setting) moment(t time.Time) string { return t.In(s.place).Format(yearDayTime + " MST") }

// inQuotes is somebody's title, on one line.
func inQuotes(title string) string {
	if title == "" {
		return ""
	}
	return "“" + quoted(title)[0] + "”"
}

// updateTitle is the title in the front matter of an update's file; empty if it has none.
func updateTitle(text string) string {
	var front struct {
		Title string `yaml:"title"`
	}
	_, rest, _ := strings.Cut(strings.ReplaceAll(text, "\r\n", "\n"), "---\n")
	head, _, _ := strings.Cut(rest, "\n---")
	if err := yaml.Unmarshal([]byte(head), &front); err != nil {
		return "" // the api has read it before it was drafted; a title is no reason to stop
	}
	return front.Title
}

// additionName is what an addition is, in a few words.
func additionName(a *candorv1.Addition) string {
	switch a.GetKind() {
	case incident.KindClose:
		return "the end"
	case incident.KindReopen:
		return "a new beginning"
	case incident.KindRoster:
		return "added customers, wave " + a.GetWave()
	case incident.KindUpdate, incident.KindCorrection:
		return words(a.GetKind(), a.GetWave(), inQuotes(updateTitle(a.GetText())))
	}
	return words(a.GetKind(), a.GetWave())
}

// additionSummary is an addition on a line.
func additionSummary(s *candorv1.AdditionStatus) string {
	a := s.GetAddition()
	name := additionName(a)
	name = strings.ToUpper(name[:1]) + name[1:]
	if n := a.GetCustomers(); n > 0 {
		name += ", for " + plural(n, "customer", "customers") + ","
	}
	return name
}

// words joins those that are not empty.
func words(all ...string) string {
	return strings.Join(slices.DeleteFunc(all, func(w string) bool { return w == "" }), " ")
}

// approveLine is what a second person types.
func approveLine(incident string, a *candorv1.AdditionStatus) string {
	return "candor approve " + incident + " --hash " + a.GetHash()
}

// waiting are the additions that wait for an approval, oldest first.
func waiting(inc *candorv1.Incident) (all []*candorv1.AdditionStatus) {
	for _, a := range inc.GetAdditions() {
		if a.GetApprovedBy() == "" && a.GetRejected() == "" {
			all = append(all, a)
		}
	}
	slices.SortStableFunc(all, func(a, b *candorv1.AdditionStatus) int {
		return a.GetDraftedAt().AsTime().Compare(b.GetDraftedAt().AsTime())
	})
	return all
}

// addition shows what an approval of it covers, but for the words that customers read. hash is shown as it is given.
func (c *cli) addition(inc *candorv1.Incident, s *candorv1.AdditionStatus, at *setting, hash string) {
	a := s.GetAddition()
	head := additionName(a)
	c.out.line(c.out.paint(bold, strings.ToUpper(head[:1])+head[1:]+" of "+inc.GetId()) + draftedBy(s))
	rows := c.additionRows(inc, a, at)
	if hash != "" {
		rows = append(rows, []cell{text("hash"), text(hash)})
	}
	c.out.table("  ", rows)
}

// prefix is the beginning of an addition's hash, by which people tell one from another; empty if it has none.
func prefix(s *candorv1.AdditionStatus) string {
	if s.GetHash() == "" {
		return ""
	}
	return fmt.Sprintf("%.12s…", s.GetHash())
}

func draftedBy(s *candorv1.AdditionStatus) string {
	if s.GetDraftedBy() == "" {
		return ""
	}
	return ", drafted by " + s.GetDraftedBy()
}

func (c *cli) additionRows(inc *candorv1.Incident, a *candorv1.Addition, at *setting) [][]cell {
	switch a.GetKind() {
	case incident.KindUpdate, incident.KindCorrection:
		return newsRows(a, at)
	case incident.KindRoster:
		p := a.GetAdded()
		rows := [][]cell{{text("rows"), text(fmt.Sprintf("%s, %s of them rejected", number(p.GetRows()), number(p.GetRejected())))}}
		rows = append(rows, []cell{text("for"), text(plural(a.GetCustomers(), "new customer", "new customers") + ", " + number(p.GetReachable()) + " of them reachable")})
		rows = append(rows, waveRows(a.GetPlan())...)
		return append(rows, []cell{text("texts"), text("those of wave " + a.GetBase() + "; then they join the follow-ups")}, []cell{text("roster"), text(fmt.Sprintf("%.12s…", a.GetRosterDigest()))})
	case incident.KindClose:
		return endRows(inc.GetId(), a)
	case incident.KindReopen:
		return [][]cell{{text("why"), text(quoted(a.GetChosenBy())[0])}}
	}
	return [][]cell{
		{text("for"), text(plural(a.GetCustomers(), "customer", "customers") + " who were not told (" + reasonWords(a.GetChosenBy()) + ")")},
		{text("on"), text(channelWords(a.GetChannels()))},
		{text("texts"), text("those of wave " + a.GetBase() + ", as approved on " + c.clock(inc.GetDeclaredAt()))},
	}
}

// newsRows are those of an update or a correction.
func newsRows(a *candorv1.Addition, at *setting) [][]cell {
	var rows [][]cell
	if a.GetCorrects() != "" {
		rows = append(rows, []cell{text("corrects"), text(words(a.GetCorrects(), inQuotes(at.titles[a.GetCorrects()])))})
	}
	rows = append(rows, []cell{text("for"), text(plural(a.GetCustomers(), "customer", "customers") + " as things stand: " + a.GetAudience())})
	rows = append(rows, waveRows(a.GetPlan())...)
	return append(rows, []cell{text("when"), text(at.when(a))})
}

// when an update goes out.
func (s *setting) when(a *candorv1.Addition) string {
	switch {
	case a.GetAt() != nil:
		return s.moment(a.GetAt().AsTime()) + ", at each customer's hours"
	case a.GetWithNext():
		if all := audience.Told(); a.GetAudience() != all.String() {
			return "in place of the next follow-up: whoever it is not for hears nothing then"
		}
		return "in place of the next follow-up"
	}
	return "once it is approved, at each customer's hours"
}

// waveRows are the messages of a wave by channel, and what they cost.
func waveRows(p *candorv1.WavePlan) [][]cell {
	var rows [][]cell
	for _, ch := range p.GetChannels() {
		line := number(ch.GetNotices()) + " " + byChannel(ch.GetChannel())
		if ch.GetCost() != "" && ch.GetCost() != "0" {
			line += ", " + ch.GetCost() + " " + ch.GetCurrency()
		}
		var not []string
		for _, reason := range byCount(ch.GetSuppressed()) {
			not = append(not, number(ch.GetSuppressed()[reason])+" "+plain(reason))
		}
		if len(not) > 0 {
			line += "; not here: " + strings.Join(not, ", ")
		}
		rows = append(rows, []cell{text("messages"), text(line)})
	}
	for i := range rows[min(1, len(rows)):] {
		rows[i+1][0] = text("")
	}
	return rows
}

// endRows are those of an end.
func endRows(name string, a *candorv1.Addition) [][]cell {
	var rows [][]cell
	for i, reason := range byCount(a.GetUntold()) {
		head := ""
		if i == 0 {
			head = "stay untold"
		}
		rows = append(rows, []cell{text(head), text(plural(a.GetUntold()[reason], "customer", "customers") + ", " + reasonWords(reason))})
	}
	for i, wave := range slices.Sorted(maps.Keys(a.GetUnsent())) {
		head := ""
		if i == 0 {
			head = "never sent"
		}
		rows = append(rows, []cell{text(head), text(plural(a.GetUnsent()[wave], "message", "messages") + " of " + wave + ", not sent yet")})
	}
	if n := a.GetCallRequestsOpen(); n > 0 {
		rows = append(rows, []cell{text("not called"), text(plural(n, "customer", "customers") + " who asked for a call")})
	}
	note := "none"
	if a.GetClosing().GetWave() != "" || a.GetClosing().GetBase() != "" {
		note = "to everybody who was told, with the texts of wave " + a.GetClosing().GetBase()
	}
	return append(rows, []cell{text("closing note"), text(note)}, []cell{text("calls"), text(callsAtClose(a.GetClosing().GetCalls()))},
		[]cell{text("to see who"), text("candor unreached " + name)})
}

func callsAtClose(what candorv1.CallsAtClose) string {
	switch what {
	case candorv1.CallsAtClose_CALLS_AT_CLOSE_DRAIN:
		return "those that are left are made first"
	case candorv1.CallsAtClose_CALLS_AT_CLOSE_WITHDRAW:
		return "those that nobody makes at this moment are taken back"
	}
	return "none are left"
}

// byChannel is a channel as one hears by it.
func byChannel(ch candorv1.Channel) string {
	switch ch {
	case candorv1.Channel_CHANNEL_SMS:
		return "by text"
	case candorv1.Channel_CHANNEL_EMAIL:
		return "by e-mail"
	case candorv1.Channel_CHANNEL_CALL:
		return "by call"
	}
	return "somehow"
}

// excerpt is how much of an update's file an approver sees without --full.
const excerpt = 12

// file shows the file of an update as it was written, all of it or its beginning.
func (c *cli) file(a *candorv1.Addition, full bool) {
	if a.GetText() == "" {
		return
	}
	lines := quoted(a.GetText())
	c.out.printf("\n%s\n", c.out.paint(bold, "The file"))
	for i, l := range lines {
		if !full && i == excerpt {
			c.out.line(c.out.paint(faint, "  … "+plural(uint64(len(lines)-i), "line", "lines")+" more: --full shows all"))
			return
		}
		c.out.line(strings.TrimRight(c.out.paint(faint, "  │")+" "+l, " "))
	}
}
