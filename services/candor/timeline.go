package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/incident"
	candorv1 "candor/proto/candor/v1"
)

func timelineCommand(c *cli) *cobra.Command {
	var customer, until, calendar string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "timeline ID", GroupID: groupTouch, Args: id,
		Short: "Show what customers got and will get, and when by their clocks",
		Long: `Shows the messages of an incident, oldest first, with a line for now between what
was and what comes: when by the incident's clock, and how many on each channel. What
is to come is what would go out as things stand, with the news that are approved
already, zone by zone by the clocks of the customers.

With --customer it shows what one customer got and will get, by their own clock;
write - to be asked who. It is found by phone number, e-mail address, code or
customer_ref.

--ics writes the next 30 days as a calendar for the team, with no customer in it.
Written again, it replaces what a calendar read before.`,
		Example: `  candor timeline breach-2026-11
  candor timeline breach-2026-11 --customer 7K3-MP2-QD4 --until 2026-12-31
  candor timeline breach-2026-11 --ics breach.ics`,
	}
	cmd.Flags().StringVar(&customer, "customer", "", "`WHO`: phone number, e-mail address, code or customer_ref; - to be asked")
	cmd.Flags().StringVar(&until, "until", "", "`DAY` up to which, such as 2026-12-31; 30 days ahead if not named")
	cmd.Flags().StringVar(&calendar, "ics", "", "`FILE` for a calendar of what comes; - for standard output")
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case calendar != "" && customer != "":
			return usageError(cmd, "--ics or --customer: a calendar for the team names no customer")
		case calendar != "" && asJSON:
			return usageError(cmd, "--ics or --json: choose one")
		}
		if customer == "-" {
			var err error
			if customer, err = c.readLine("Who? "); err != nil {
				return err
			}
			if customer == "" {
				return usageError(cmd, "whom? give one phone number, e-mail address, code or customer_ref")
			}
		}
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		req := &candorv1.GetTimelineRequest{Incident: args[0], Customer: customer}
		if until != "" {
			place, err := s.placeFor(cmd.Context(), args[0], until)
			if err != nil {
				return err
			}
			t, err := endOf(until, place)
			if err != nil {
				return usageError(cmd, "--until %s: %v", until, err)
			}
			req.Until = timestamppb.New(t)
		}
		resp, err := s.GetTimeline(cmd.Context(), connect.NewRequest(req))
		if err != nil {
			return err
		}
		tl := resp.Msg.GetTimeline()
		switch {
		case asJSON:
			return c.proto(tl)
		case calendar != "":
			return c.writeCalendar(tl, calendar)
		}
		c.timeline(tl, customer != "")
		return nil
	}
	return cmd
}

// writeCalendar writes what comes as a calendar, in place of one that was written before.
func (c *cli) writeCalendar(tl *candorv1.Timeline, path string) (err error) {
	if path == "-" {
		_, err := writeICS(c.out, tl)
		return err
	}
	f, err := os.Create(path) //nolint:gosec // the user names the file
	if err != nil {
		return err
	}
	n, err := writeICS(f, tl)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	c.err.printf("%s in %s.\n", plural(uint64(n), "entry", "entries"), path) //nolint:gosec // a count
	return nil
}

// shownZones is how many lines for time zones a person is shown of an entry; --json shows all.
const shownZones = 8

func (c *cli) timeline(tl *candorv1.Timeline, one bool) {
	w, place := c.out, placeOf(tl.GetTimeZone())
	w.printf("%s %s\n", w.paint(bold, tl.GetIncident()), w.paint(faint, "by the clock of "+tl.GetTimeZone()))
	now := tl.GetAsOf().AsTime()
	said := false
	for _, e := range tl.GetEntries() {
		if !said && isComing(e, now) {
			c.nowLine(now, place)
			said = true
		}
		c.entry(tl.GetIncident(), e, place, one, now)
	}
	if !said {
		c.nowLine(now, place)
	}
	if len(tl.GetEntries()) == 0 {
		w.line("Nothing was sent, and nothing comes.")
	}
	if d := tl.GetSlack().AsDuration(); d > time.Minute {
		w.line("\n" + wrap("The clock runs fast: a message may start up to "+span(d)+" beside the time that stands here.", w.textWidth(), ""))
	}
	for i, n := range tl.GetNotes() {
		if i == 0 {
			w.line()
		}
		w.line("- " + wrap(quoted(n)[0], w.textWidth(), "  "))
	}
}

// isComing says whether an entry stands below the line for now.
func isComing(e *candorv1.TimelineEntry, now time.Time) bool {
	switch e.GetState() {
	case candorv1.TimelineState_TIMELINE_STATE_PAST, candorv1.TimelineState_TIMELINE_STATE_RUNNING, candorv1.TimelineState_TIMELINE_STATE_SKIPPED:
		return false
	case candorv1.TimelineState_TIMELINE_STATE_DRAFT, candorv1.TimelineState_TIMELINE_STATE_COMING:
		return true // however long it has waited
	}
	return e.GetDueAt() == nil || e.GetDueAt().AsTime().After(now)
}

func (c *cli) nowLine(now time.Time, place *time.Location) {
	words := " now, " + now.In(place).Format(yearDayTime) + " "
	c.out.line("\n" + c.out.paint(cyan, "──"+words+strings.Repeat("─", max(0, min(c.out.textWidth(), narrowest)-len(words)-2))))
}

func (c *cli) entry(name string, e *candorv1.TimelineEntry, place *time.Location, one bool, now time.Time) {
	w, coming := c.out, isComing(e, now)
	draft := e.GetState() == candorv1.TimelineState_TIMELINE_STATE_DRAFT
	when := "once it is approved"
	switch {
	case draft && e.GetDueAt() != nil && !e.GetDueAt().AsTime().After(now):
	case e.GetDueAt() != nil:
		when = e.GetDueAt().AsTime().In(place).Format(yearDayTime)
	case !draft:
		when = "with the next follow-up"
	}
	what := words(e.GetWave(), kindWords(e.GetKind()), e.GetName(), inQuotes(e.GetTitle()))
	if e.GetCorrects() != "" {
		what += ", corrects " + e.GetCorrects()
	}
	w.line()
	w.entryHead(e, when, what, w.width(), coming)
	w.table("  ", fitting(zoneRows(e, place, one), w.width()))
	if e.GetState() == candorv1.TimelineState_TIMELINE_STATE_ASKS && !coming {
		w.line("  " + w.paint(yellow, answers(name, e.GetName(), e.GetReason())))
	}
}

// fitting puts the counts of the zones on lines of their own where a terminal is too narrow for one.
func fitting(rows [][]cell, width int) (narrow [][]cell) {
	var longest [3]int
	for _, row := range rows {
		for i, c := range row {
			longest[i] = max(longest[i], utf8.RuneCountInString(c.text))
		}
	}
	if width == 0 || longest[0]+longest[1]+longest[2]+6 <= width {
		return rows
	}
	for _, row := range rows {
		if len(row) < 3 {
			narrow = append(narrow, row)
			continue
		}
		when := row[0].text + strings.Repeat(" ", longest[0]-utf8.RuneCountInString(row[0].text))
		narrow = append(narrow, []cell{text(when + "  " + row[1].text)}, []cell{text("  " + row[2].text)})
	}
	return narrow
}

// entryHead is one line, or more on a terminal that is too narrow for one.
func (p *printer) entryHead(e *candorv1.TimelineEntry, when, what string, width int, coming bool) {
	state, colour := entryState(e, coming)
	if width == 0 || utf8.RuneCountInString(when+what+state)+4 <= width {
		p.printf("%s  %s  %s\n", p.paint(bold, when), what, p.paint(colour, state))
		return
	}
	p.printf("%s  %s\n", p.paint(bold, when), p.paint(colour, state))
	p.line("  " + wrap(what, width, "  "))
}

// kindWords is what a wave is, as a person reads it.
func kindWords(kind string) string {
	switch kind {
	case incident.KindFollowUp:
		return "follow-up"
	case incident.KindRoster:
		return "added customers"
	}
	return plain(kind)
}

// entryState is where a message stands. What comes has not asked anybody yet.
func entryState(e *candorv1.TimelineEntry, coming bool) (words, colour string) {
	why := ""
	if e.GetReason() != "" {
		why = ": " + decisionWords(e.GetReason())
	}
	switch e.GetState() {
	case candorv1.TimelineState_TIMELINE_STATE_PAST:
		return "sent", green
	case candorv1.TimelineState_TIMELINE_STATE_RUNNING:
		return "being sent", blue
	case candorv1.TimelineState_TIMELINE_STATE_COMING:
		if e.GetWaitsFor() != "" {
			return "to come, waits for " + e.GetWaitsFor(), cyan
		}
		return "to come", cyan
	case candorv1.TimelineState_TIMELINE_STATE_ASKS:
		if coming {
			return "will ask" + why, yellow
		}
		return "asks" + why, yellow
	case candorv1.TimelineState_TIMELINE_STATE_SKIPPED:
		return "skipped" + why, faint
	case candorv1.TimelineState_TIMELINE_STATE_DRAFT:
		return "waits for approval", yellow
	}
	return "", ""
}

// zoneRow is when customers of a zone get an entry, and on which channels.
type zoneRow struct {
	zone        string
	from, until time.Time
	customers   uint64 // on the channel with the most
	counts      map[candorv1.Channel]uint64
	words       []string
}

// zoneRows is an entry by the clocks of its customers, the zones with the most of them first.
func zoneRows(e *candorv1.TimelineEntry, place *time.Location, one bool) [][]cell {
	var zones []*zoneRow
	var cells [][]cell
	for _, ch := range e.GetChannels() {
		if len(ch.GetWindows()) == 0 && ch.GetCustomers() > 0 {
			cells = append(cells, []cell{text(howMany(e, ch, ch.GetCustomers(), one))})
		}
		for _, w := range ch.GetWindows() {
			r := &zoneRow{zone: w.GetTimeZone(), from: w.GetFrom().AsTime(), until: w.GetUntil().AsTime(), counts: map[candorv1.Channel]uint64{}}
			if r.zone == "" {
				r.zone = place.String()
			}
			if i := slices.IndexFunc(zones, func(z *zoneRow) bool { return z.zone == r.zone && z.when() == r.when() }); i >= 0 {
				r = zones[i]
			} else {
				zones = append(zones, r)
			}
			r.customers = max(r.customers, w.GetCustomers())
			r.counts[ch.GetChannel()] += w.GetCustomers()
			r.words = append(r.words, howMany(e, ch, w.GetCustomers(), one))
		}
	}
	slices.SortStableFunc(zones, func(a, b *zoneRow) int { return cmp.Compare(b.customers, a.customers) })
	shown := len(zones)
	if shown > shownZones+1 {
		shown = shownZones
	}
	for _, z := range zones[:shown] {
		cells = append(cells, []cell{text(z.when()), tinted(faint, z.zone), text(strings.Join(z.words, "; "))})
	}
	if rest := zones[shown:]; len(rest) > 0 {
		var counts []string
		for _, ch := range e.GetChannels() {
			var n uint64
			for _, z := range rest {
				n += z.counts[ch.GetChannel()]
			}
			if n > 0 {
				counts = append(counts, howMany(e, ch, n, one))
			}
		}
		cells = append(cells, []cell{tinted(faint, "at other hours, or elsewhere"), text(""), text(strings.Join(counts, "; "))})
	}
	for _, ch := range e.GetChannels() {
		if ch.GetLeft() > 0 {
			cells = append(cells, []cell{tinted(faint, "still to go out"), text(""), text("up to " + number(ch.GetLeft()) + " " + byChannel(ch.GetChannel()))})
		}
	}
	if len(cells) == 0 && len(e.GetChannels()) > 0 {
		cells = [][]cell{{tinted(faint, "nobody")}}
	}
	return cells
}

func (z *zoneRow) when() string { return stretch(z.from, z.until, placeOf(z.zone)) }

// howMany is so many customers on a channel; of one customer, where the notice stands.
func howMany(e *candorv1.TimelineEntry, ch *candorv1.TimelineChannel, n uint64, one bool) string {
	by := byChannel(ch.GetChannel())
	switch e.GetState() {
	case candorv1.TimelineState_TIMELINE_STATE_PAST, candorv1.TimelineState_TIMELINE_STATE_RUNNING:
		if one && ch.GetNotice() != candorv1.NoticeState_NOTICE_STATE_UNSPECIFIED {
			return by + ", " + candorv1.Word(ch.GetNotice())
		}
		if !one {
			return number(n) + " " + by
		}
	}
	if one {
		return by
	}
	return "up to " + number(n) + " " + by
}

// coming is the next message, or the next question, on a line; empty if none comes.
func coming(tl *candorv1.Timeline) string {
	now := tl.GetAsOf().AsTime()
	for _, e := range tl.GetEntries() {
		asks := e.GetState() == candorv1.TimelineState_TIMELINE_STATE_ASKS
		if e.GetState() != candorv1.TimelineState_TIMELINE_STATE_COMING && !asks || e.GetDueAt() == nil || !isComing(e, now) {
			continue
		}
		var counts []string
		if asks {
			state, _ := entryState(e, true)
			counts = append(counts, state)
		}
		for _, ch := range e.GetChannels() {
			counts = append(counts, "up to "+number(ch.GetCustomers())+" "+byChannel(ch.GetChannel()))
		}
		line := e.GetDueAt().AsTime().In(placeOf(tl.GetTimeZone())).Format(dayTime+" MST") + ", " + words(kindWords(e.GetKind()), e.GetName(), inQuotes(e.GetTitle()))
		return strings.Join(append([]string{line}, counts...), ", ")
	}
	return ""
}
