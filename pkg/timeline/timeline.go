// Package timeline says what customers of an incident got and will get, and when by their own clocks.
//
// What went out is read from the ledger's status. What comes is what the timetable would decide as things stand; who gets it
// is counted over the customers' pages, by time zone, and when follows from their quiet hours and from how long the approved
// senders need.
//
// In: a folded incident, its texts, the ledger's status, customers page by page, a clock.   Out: a Timeline.
// Crash: nothing to lose, these are pure functions.
package timeline

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/audience"
	"candor/pkg/clock"
	"candor/pkg/incident"
	"candor/pkg/notice"
	"candor/pkg/playbook"
	"candor/pkg/roster"
	"candor/pkg/timetable"
	candorv1 "candor/proto/candor/v1"
)

// Input is what a timeline is made from, besides the customers.
type Input struct {
	Incident *incident.Incident
	// Plan has the approved texts.
	Plan *notice.Set
	// Status of the incident; nil if nothing was ever sent.
	Status     *candorv1.Status
	Now, Until time.Time
	// Clock says how fast the calendar goes.
	Clock clock.Clock
	// Zones are those of the customers on file: a message waits until the one before it has gone out in all of them.
	Zones []string
	// Slack is how far beside its instant a message may start.
	Slack time.Duration
}

// Asked tells where customers stand in a wave; in all of them, if it is empty.
type Asked func(wave string, page uint32, slot int) audience.States

// Barred says that a customer asked for no more messages on a channel.
type Barred func(candorv1.Channel, *roster.Customer) bool

// Builder makes a timeline. Its Past and Coming are made at once; customers are counted by as many Counters as there are
// goroutines.
type Builder struct {
	in   Input
	zone string

	past   []*candorv1.TimelineEntry
	coming []*candorv1.TimelineEntry
	notes  []string
	rounds []*round
	// free is when the follow-ups, updates and corrections so far have gone out everywhere.
	free time.Time
	// gone is when a wave that is going out will have gone out everywhere.
	gone map[string]time.Time
	// table and standing say what waits for what.
	table    timetable.Timetable
	standing timetable.Standing
	// starts says of an entry from when on it goes out, and at the latest.
	starts map[*candorv1.TimelineEntry]span
}

// round is what some coming messages have in common: their words, and who gets them.
type round struct {
	words    string // wave of the playbook, or update
	of       string // wave whose audience told means; empty for any
	audience audience.Audience
	asks     bool // where customers stand
	channels []channel
	entries  []*candorv1.TimelineEntry
}

type channel struct {
	channel candorv1.Channel
	hours   func(zone string) hours
	work    time.Duration // of the slowest sender
}

// New reads what went out and what comes.
func New(in Input) (*Builder, error) {
	b := &Builder{
		in: in, zone: in.Plan.Playbook.TimeZone, starts: map[*candorv1.TimelineEntry]span{}, gone: map[string]time.Time{},
		table: timetable.New(in.Incident, in.Plan.Playbook.FollowUps, in.Clock), standing: timetable.StandingOf(in.Status),
	}
	if f := in.Plan.Playbook.FollowUps; f != nil {
		b.zone = cmp.Or(f.TimeZone, b.zone)
	}
	inc := in.Incident
	for _, wave := range inc.Begun() {
		if inc.Waves[wave] != nil {
			e := b.sent(wave)
			b.past = append(b.past, e)
			if e.GetState() == candorv1.TimelineState_TIMELINE_STATE_RUNNING {
				b.gone[wave] = b.goesOut(e, in.Now)
				b.follow(e, in.Now)
			}
			continue
		}
		if inc.Ended() { // in the middle of it: what was sent is past, and the rest never comes
			if e := b.sent(wave); len(e.GetChannels()) > 0 {
				b.past = append(b.past, e)
			}
			continue
		}
		if err := b.begun(wave); err != nil {
			return nil, err
		}
	}
	b.decided()
	if err := b.due(); err != nil {
		return nil, err
	}
	b.stands()
	return b, nil
}

// Counts says whether anybody must be counted: without that, no page need be opened.
func (b *Builder) Counts() bool { return len(b.rounds) > 0 }

// Told lists the waves about which Asked will be asked, besides all of them.
func (b *Builder) Told() (waves []string) {
	for _, r := range b.rounds {
		if r.of != "" {
			waves = append(waves, r.of)
		}
	}
	return waves
}

// sent is a wave that went out, or does.
func (b *Builder) sent(wave string) *candorv1.TimelineEntry {
	e := b.entry(wave)
	e.State = candorv1.TimelineState_TIMELINE_STATE_PAST
	for _, w := range b.in.Status.GetWaves() {
		if w.GetWave() != wave {
			continue
		}
		for _, ch := range w.GetChannels() {
			c := &candorv1.TimelineChannel{Channel: ch.GetChannel(), Customers: ch.GetStates()["accepted"] + ch.GetStates()["delivered"]}
			if !ch.GetSettled() {
				e.State, c.Left = candorv1.TimelineState_TIMELINE_STATE_RUNNING, timetable.Open(ch)
			}
			if ch.GetFirstAcceptedAt() != nil {
				c.Windows = []*candorv1.TimelineWindow{{
					TimeZone: b.zone, From: ch.GetFirstAcceptedAt(), Until: ch.GetLastAcceptedAt(), Customers: c.GetCustomers(),
				}}
			}
			e.Channels = append(e.Channels, c)
		}
	}
	return e
}

// entry is a wave that was decided, without what became of it.
func (b *Builder) entry(wave string) *candorv1.TimelineEntry {
	inc := b.in.Incident
	e := &candorv1.TimelineEntry{Wave: wave, Kind: inc.KindOf(wave), DueAt: timestamppb.New(inc.DeclaredAt)}
	if d := inc.Sent(wave); d != nil {
		e.DueAt, e.Reason = d.GetDueAt(), d.GetReason()
		if d.GetName() != wave {
			e.Name = d.GetName()
		}
	}
	if a := inc.Additions[wave]; a != nil {
		e.Corrects = a.GetAddition().GetCorrects()
		if e.Kind == incident.KindResend || e.Kind == incident.KindRoster {
			e.DueAt = timestamppb.New(a.ApprovedAt)
		}
	}
	for _, c := range inc.Closings {
		if c.GetWave() == wave {
			e.DueAt = timestamppb.New(c.At)
		}
	}
	if w, _, err := b.words(wave, inc.BaseOf(wave)); err == nil { // without its words a wave has no title
		e.Title = w.Title
	}
	return e
}

// addition returns the addition of a wave; nil if it is none.
func (b *Builder) addition(wave string) *candorv1.Addition {
	if a := b.in.Incident.Additions[wave]; a != nil {
		return a.GetAddition()
	}
	return nil
}

// words returns the words of a wave: those of an addition, or of the playbook.
func (b *Builder) words(wave, base string) (*playbook.Wave, *candorv1.WavePlan, error) {
	inc := b.in.Incident
	if a := b.addition(wave); a.GetText() != "" {
		u, err := playbook.ParseUpdate("update", []byte(a.GetText()), b.in.Plan.Playbook)
		if err != nil {
			return nil, nil, fmt.Errorf("texts of %s of incident %s: %w", wave, inc.ID, err)
		}
		return u.Wave, a.GetPlan(), nil
	}
	w := b.in.Plan.Playbook.Waves[base]
	if w == nil {
		return nil, nil, fmt.Errorf("incident %s has no texts for wave %s", inc.ID, wave)
	}
	for _, p := range inc.Draft.GetPlan().GetWaves() {
		if p.GetWave() == base {
			return w, p, nil
		}
	}
	return w, nil, nil
}

// begun takes in a wave that was decided and is not planned yet.
func (b *Builder) begun(wave string) error {
	inc, e := b.in.Incident, b.entry(wave)
	e.State = candorv1.TimelineState_TIMELINE_STATE_COMING
	switch e.GetKind() {
	case incident.KindFirstNotice, incident.KindRoster, incident.KindResend:
		// Who gets it is being worked out at this moment; the plan that was approved says how many that will be.
		for _, ch := range b.planned(wave).GetChannels() {
			e.Channels = append(e.Channels, &candorv1.TimelineChannel{Channel: ch.GetChannel(), Customers: ch.GetNotices()})
		}
		b.coming = append(b.coming, e)
		b.note("%s is approved, and its orders are being made", wave)
		return nil
	}
	return b.comes(e, wave, inc.BaseOf(wave), e.GetDueAt().AsTime())
}

// planned is what was approved of a wave that follows from that alone; nil of a resend.
func (b *Builder) planned(wave string) *candorv1.WavePlan {
	if a := b.addition(wave); a != nil {
		return a.GetPlan()
	}
	for _, p := range b.in.Incident.Draft.GetPlan().GetWaves() {
		if p.GetWave() == wave {
			return p
		}
	}
	return nil
}

// span is from one instant to another.
type span struct{ from, latest time.Time }

// comes takes in a message that will be sent, at due or, if that is past, now.
func (b *Builder) comes(e *candorv1.TimelineEntry, wave, base string, due time.Time) error {
	if e.GetDueAt() == nil {
		e.DueAt = timestamppb.New(due)
	}
	if due.Before(b.in.Now) {
		due = b.in.Now
	}
	if due.After(b.in.Until) {
		return nil
	}
	b.starts[e] = span{due, due}
	b.coming = append(b.coming, e)
	words, plan, err := b.words(wave, base)
	if err != nil {
		return err
	}
	e.Title = words.Title
	b.follow(e, due)
	add := b.addition(wave)
	r := &round{words: base, audience: words.Audience.And(audience.Told())}
	switch {
	case add.GetText() != "":
		r.words, r.of = wave, add.GetCorrects()
		if r.audience, err = audience.Parse(add.GetAudience()); err != nil {
			return fmt.Errorf("audience of %s of incident %s: %w", wave, b.in.Incident.ID, err)
		}
	case e.GetKind() == incident.KindClosingNote:
		r.audience = audience.Told()
	}
	for _, known := range b.rounds {
		if known.words == r.words && known.audience.String() == r.audience.String() {
			known.entries = append(known.entries, e)
			return nil
		}
	}
	r.asks = len(r.audience.Channels()) > 0
	for ch, terms := range words.Each {
		r.channels = append(r.channels, b.channel(ch, terms, plan))
		if ch == candorv1.Channel_CHANNEL_CALL {
			b.noteOnce("how long calls take is the contact centre's affair: their windows end with the hours in which they begin")
		}
	}
	r.entries = []*candorv1.TimelineEntry{e}
	b.rounds = append(b.rounds, r)
	return nil
}

// follow puts a message that is due behind those before it: two never overlap.
func (b *Builder) follow(e *candorv1.TimelineEntry, due time.Time) {
	switch e.GetKind() {
	case incident.KindFollowUp, incident.KindUpdate, incident.KindCorrection:
	default:
		return
	}
	if e.GetState() == candorv1.TimelineState_TIMELINE_STATE_DRAFT {
		return // it may never be approved
	}
	base := e.GetWave()
	if f := b.in.Plan.Playbook.FollowUps; b.addition(base).GetText() == "" && f != nil && f.Named(e.GetName()) != nil {
		base = f.Named(e.GetName()).Send
	}
	words, plan, err := b.words(e.GetWave(), base)
	if err != nil {
		return // which is said where the words are needed
	}
	start := due
	if b.free.After(due) {
		start = b.free
		b.noteOnce("a message waits until the one before it has gone out in every time zone")
	}
	if e.GetCorrects() != "" {
		for _, wave := range b.in.Incident.Sharing(e.GetCorrects()) {
			if b.gone[wave].After(start) {
				start = b.gone[wave]
			}
		}
	}
	if _, comes := b.starts[e]; comes && start.After(due) {
		b.starts[e] = span{due, start}
	}
	if until := b.everywhere(words, plan, start); until.After(b.free) {
		b.free = until
	}
}

// everywhere is when words that begin to go out at an instant have gone out on every channel in every zone.
func (b *Builder) everywhere(words *playbook.Wave, plan *candorv1.WavePlan, start time.Time) (last time.Time) {
	for ch, terms := range words.Each {
		c := b.channel(ch, terms, plan)
		for _, zone := range b.in.Zones {
			if _, until, ok := c.hours(zone).window(start, c.work, 0); ok && until.After(last) {
				last = until
			}
		}
	}
	return last
}

// goesOut is when a wave that is going out will have gone out on every channel of which notices are left; zero if nobody can
// say so.
func (b *Builder) goesOut(e *candorv1.TimelineEntry, now time.Time) (last time.Time) {
	words, plan, err := b.words(e.GetWave(), b.in.Incident.BaseOf(e.GetWave()))
	if err != nil {
		return last // which is said where the words are needed
	}
	for _, left := range e.GetChannels() {
		terms := words.Terms(left.GetChannel())
		if left.GetLeft() == 0 || terms == nil || left.GetChannel() == candorv1.Channel_CHANNEL_CALL {
			continue
		}
		c := b.channel(left.GetChannel(), terms, plan)
		for _, zone := range b.in.Zones {
			if _, until, ok := c.hours(zone).window(now, c.work, 0); ok && until.After(last) {
				last = until
			}
		}
	}
	return last
}

// waits says that a message that is due waits for a wave, or does not if that is empty.
func (b *Builder) waits(e *candorv1.TimelineEntry, what, wave string) {
	if wave == "" {
		return
	}
	e.WaitsFor = wave
	if e.GetCorrects() != "" {
		b.noteOnce("%s corrects %s, and waits until that has gone out to everybody: %s has not", what, e.GetCorrects(), wave)
		return
	}
	b.noteOnce("%s waits until %s has gone out", what, wave)
}

// decided takes in what was skipped, and what asks.
func (b *Builder) decided() {
	inc := b.in.Incident
	for i := range inc.Decisions {
		d := &inc.Decisions[i]
		if inc.DecisionOn(d.GetName(), d.GetDueAt().AsTime()) != d {
			continue // another one followed
		}
		switch d.GetDecision() {
		case candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SKIP:
			b.past = append(b.past, b.undecided(d.FollowUpDecided, candorv1.TimelineState_TIMELINE_STATE_SKIPPED))
		case candorv1.FollowUpDecision_FOLLOW_UP_DECISION_ASK:
			if !slices.Contains(inc.Asks(), d) { // the incident ended, and nobody can answer any more
				e := b.undecided(d.FollowUpDecided, candorv1.TimelineState_TIMELINE_STATE_SKIPPED)
				e.Reason = timetable.ReasonClosed
				b.past = append(b.past, e)
				continue
			}
			b.past = append(b.past, b.undecided(d.FollowUpDecided, candorv1.TimelineState_TIMELINE_STATE_ASKS))
			b.note("%s, due %s, waits for a person: candor followup %s", d.GetName(), b.local(d.GetDueAt().AsTime()), inc.ID)
		}
	}
}

// undecided is a message that is not sent, or not yet.
func (b *Builder) undecided(d *candorv1.FollowUpDecided, state candorv1.TimelineState) *candorv1.TimelineEntry {
	e := &candorv1.TimelineEntry{Name: d.GetName(), Kind: incident.KindFollowUp, State: state, DueAt: d.GetDueAt(), Reason: d.GetReason()}
	if a := b.addition(d.GetName()); a != nil {
		e.Wave, e.Name, e.Kind, e.Corrects = d.GetName(), "", a.GetKind(), a.GetCorrects()
		if w, _, err := b.words(e.GetWave(), ""); err == nil {
			e.Title = w.Title
		}
	}
	return e
}

// due takes in what the timetable would decide, and what waits for a second person.
func (b *Builder) due() error {
	next := time.Time{} // follow-up, for news that goes in its place
	for _, c := range b.table.Coming(b.in.Now, b.in.Until) {
		if b.asked(c.FollowUpDecided) {
			continue // what falls because nobody answered, or can, stands there already
		}
		e := b.undecided(c.FollowUpDecided, candorv1.TimelineState_TIMELINE_STATE_COMING)
		if e.GetName() != "" && next.IsZero() {
			next = c.At
		}
		switch c.GetDecision() {
		case candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SKIP:
			e.State = candorv1.TimelineState_TIMELINE_STATE_SKIPPED
			b.coming = append(b.coming, e)
		case candorv1.FollowUpDecision_FOLLOW_UP_DECISION_ASK:
			e.State = candorv1.TimelineState_TIMELINE_STATE_ASKS
			b.coming = append(b.coming, e)
			b.noteOnce("nothing is prepared for the follow-up %s: without news, it will wait for a person", c.GetName())
		default:
			if a := b.addition(c.GetWave()); a != nil {
				e.Wave, e.Kind, e.Corrects = c.GetWave(), a.GetKind(), a.GetCorrects()
			}
			if !c.At.After(b.in.Now) {
				b.waits(e, cmp.Or(e.GetWave(), e.GetName()), b.table.WaitsFor(c.FollowUpDecided, b.standing, b.in.Now))
			}
			if err := b.comes(e, c.GetWave(), c.GetBase(), c.At); err != nil {
				return err
			}
		}
	}
	return b.drafts(next)
}

// asked says that a question about the same message stands there already.
func (b *Builder) asked(d *candorv1.FollowUpDecided) bool {
	same := func(e *candorv1.TimelineEntry) bool {
		stands := e.GetState() == candorv1.TimelineState_TIMELINE_STATE_ASKS || e.GetState() == candorv1.TimelineState_TIMELINE_STATE_SKIPPED
		return stands && cmp.Or(e.GetName(), e.GetWave()) == d.GetName() && e.GetDueAt().AsTime().Equal(d.GetDueAt().AsTime())
	}
	return d.GetDecision() == candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SKIP &&
		(slices.ContainsFunc(b.coming, same) || slices.ContainsFunc(b.past, same))
}

// drafts takes in the news that wait for a second person, as if they were approved now.
func (b *Builder) drafts(next time.Time) error {
	inc := b.in.Incident
	if !inc.Running() {
		return nil
	}
	for _, s := range inc.Proto().GetAdditions() {
		a := s.GetAddition()
		if s.GetApprovedBy() != "" || s.GetRejected() != "" {
			continue
		}
		b.note("%s (%s) waits for a second person", a.GetWave(), a.GetKind())
		if a.GetText() == "" {
			continue
		}
		due := b.in.Now
		switch {
		case a.GetAt() != nil:
			due = a.GetAt().AsTime()
		case a.GetWithNext() && !next.IsZero():
			due = next
		}
		e := &candorv1.TimelineEntry{Wave: a.GetWave(), Kind: a.GetKind(), State: candorv1.TimelineState_TIMELINE_STATE_DRAFT, Corrects: a.GetCorrects()}
		if !due.After(b.in.Now) {
			b.waits(e, a.GetWave(), b.table.Unread(a.GetCorrects(), b.standing))
		}
		if err := b.comes(e, a.GetWave(), "", due); err != nil {
			return err
		}
	}
	return nil
}

// stands says what the incident's state means for what comes.
func (b *Builder) stands() {
	switch b.in.Incident.State {
	case candorv1.IncidentState_INCIDENT_STATE_DRAFT, candorv1.IncidentState_INCIDENT_STATE_REJECTED:
		b.note("nothing is sent before a second person approves the draft")
	case candorv1.IncidentState_INCIDENT_STATE_PAUSED:
		b.note("the incident is paused: what comes is said as if it were resumed now")
	case candorv1.IncidentState_INCIDENT_STATE_CLOSING:
		b.note("the incident closes: nothing is sent any more but its last word")
	case candorv1.IncidentState_INCIDENT_STATE_CLOSED:
		b.note("the incident is closed: nothing is sent any more")
	case candorv1.IncidentState_INCIDENT_STATE_ABORTING, candorv1.IncidentState_INCIDENT_STATE_ABORTED,
		candorv1.IncidentState_INCIDENT_STATE_SHREDDED:
		b.note("the incident was aborted: nothing is sent any more")
	default:
		if b.in.Plan.Playbook.FollowUps == nil {
			b.note("the playbook has no follow-ups: customers hear of it again only when somebody writes an update")
		}
	}
}

func (b *Builder) note(format string, args ...any) {
	b.notes = append(b.notes, fmt.Sprintf(format, args...))
}

func (b *Builder) noteOnce(format string, args ...any) {
	if note := fmt.Sprintf(format, args...); !slices.Contains(b.notes, note) {
		b.notes = append(b.notes, note)
	}
}

func (b *Builder) local(t time.Time) string {
	return t.In(location(b.zone)).Format("2006-01-02 15:04 MST")
}

// Timeline returns it, after everybody was counted.
func (b *Builder) Timeline() *candorv1.Timeline {
	entries := slices.Concat(b.past, b.coming)
	begins := func(e *candorv1.TimelineEntry) time.Time {
		if s, ok := b.starts[e]; ok {
			return s.from
		}
		return e.GetDueAt().AsTime()
	}
	slices.SortStableFunc(entries, func(x, y *candorv1.TimelineEntry) int { return begins(x).Compare(begins(y)) })
	return &candorv1.Timeline{
		Incident: b.in.Incident.ID, AsOf: timestamppb.New(b.in.Now), TimeZone: b.zone, Entries: entries,
		Slack: durationpb.New(b.in.Slack), Notes: b.notes,
	}
}
