// Package timetable says what becomes of messages that are due: the follow-ups of a playbook's cadence, and updates.
//
// Each is decided once, by an event; what to decide follows from the incident's events, the playbook, where the waves stand
// and the clock, whoever asks and however often. A follow-up brings news if there is some, else what was prepared, else a
// person is asked. Of several that were missed the last one counts.
//
// In: a folded incident, its playbook, where its waves stand.   Out: the next decision, alarms, what is coming.
// Crash: nothing to lose, these are pure functions.
package timetable

import (
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/cadence"
	"candor/pkg/clock"
	"candor/pkg/incident"
	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

const (
	// NewsWithin is how late an update is still sent without asking.
	NewsWithin = 24 * time.Hour
	// Delay is how long a machine takes from the hour of a message to its first one: no time by the calendar, but for a
	// rehearsal, in which the calendar runs faster.
	Delay = 5 * time.Second
	// grace is how long after its hour a follow-up is not late yet. Delay alone makes nothing late.
	grace = 5 * time.Minute
	// retriesHold is how long a follow-up, update or correction of which nothing is open but further attempts at notices that
	// were tried holds up another message that is due. Longer ones are given up by the workers when that one goes out, for its
	// customers: nobody reads the older words after the newer.
	retriesHold = time.Hour
)

// Reasons of decisions.
const (
	ReasonNews       = "news"        // an update was approved
	ReasonPrepared   = "prepared"    // there is no news, and a text was prepared
	ReasonNoText     = "no_text"     // there is neither
	ReasonLate       = "late"        // its hour passed while nothing ran, or before it was approved
	ReasonHeld       = "held"        // its hour passed while the incident was paused
	ReasonMissed     = "missed"      // the one after it is due already
	ReasonApart      = "apart"       // the one before it was sent a moment ago
	ReasonSuperseded = "superseded"  // there is newer news
	ReasonUnanswered = "unanswered"  // it asked, and nobody answered before the next one was due
	ReasonClosed     = "closed"      // the incident was closed since
	ReasonNobodyTold = "nobody_told" // it would follow nothing
	ReasonPerson     = "person"      // somebody answered
)

const (
	send = candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SEND
	skip = candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SKIP
	ask  = candorv1.FollowUpDecision_FOLLOW_UP_DECISION_ASK
)

// Timetable is that of one incident as it stands.
type Timetable struct {
	inc       *incident.Incident
	followUps *playbook.FollowUps
	times     cadence.Cadence
	grace     time.Duration
}

// New returns the timetable of an incident on a clock; followUps is nil for a playbook without a cadence.
func New(inc *incident.Incident, followUps *playbook.FollowUps, c clock.Clock) Timetable {
	if followUps == nil {
		followUps = &playbook.FollowUps{}
	}
	return Timetable{inc: inc, followUps: followUps, times: followUps.Times(), grace: max(grace, c.Work(Delay))}
}

// Standing is where an incident's waves stand.
type Standing struct {
	// Told says whether anybody was told.
	Told bool
	// Open are the waves of which notices are still to be sent that nobody has tried. Those that wait for a person do not count.
	Open map[string]bool
	// Retried are the waves of which notices that were tried wait for another attempt.
	Retried map[string]bool
	// Unread are the waves whose words somebody may still get in writing, by a notice or by a later step of the ladder.
	Unread map[string]bool
}

// StandingOf reads it from the ledger's status.
func StandingOf(st *candorv1.Status) Standing {
	s := Standing{Told: st.GetPeople().GetTold() > 0, Open: map[string]bool{}, Retried: map[string]bool{}, Unread: map[string]bool{}}
	for _, w := range st.GetWaves() {
		for _, ch := range w.GetChannels() {
			open := Open(ch)
			if open > ch.GetRetrying() {
				s.Open[w.GetWave()] = true
			}
			if ch.GetRetrying() > 0 {
				s.Retried[w.GetWave()] = true
			}
			// Agents read the script of the incident, not the words of a wave: a call brings nothing that wants correcting.
			if ch.GetChannel() != candorv1.Channel_CHANNEL_CALL && open+ch.GetToCome() > 0 {
				s.Unread[w.GetWave()] = true
			}
		}
	}
	return s
}

// Open counts the notices of a channel that may still be sent by themselves; uncertain ones wait for a person.
func Open(ch *candorv1.ChannelStatus) uint64 {
	states := ch.GetStates()
	return states["planned"] + states["waiting"] + states["intended"]
}

// Verdict is what to do about what is due.
type Verdict struct {
	// Decided is to be recorded, after which there may be more; nil for nothing.
	Decided *candorv1.FollowUpDecided
	// Held would be sent if the wave Behind were not still going out; nil if nothing waits.
	Held   *candorv1.FollowUpDecided
	Behind string
	// Hold is to be recorded: something has begun to wait. There may be more. Nil if that is all known.
	Hold *candorv1.FollowUpHeld
}

// Decide returns the next decision. It calls standing only if something is about to be sent.
func (t Timetable) Decide(now time.Time, standing func() (Standing, error)) (v Verdict, err error) {
	var s *Standing
	behind := "" // the wave that holds up everything that follows
	for _, d := range t.due(now) {
		if d.GetDecision() != send {
			if behind != "" {
				continue // it has its turn when what is before it has gone
			}
			v.Decided = d
			return v, nil
		}
		wave := behind
		if wave == "" {
			wave = t.Unplanned() // which nobody need be asked about
		}
		if wave == "" {
			if s == nil {
				is, err := standing()
				if err != nil {
					return Verdict{}, err
				}
				s = &is
			}
			wave = t.behind(d, *s, now)
		}
		if behind = wave; wave == "" {
			wave = t.Unread(t.corrects(d), *s) // which keeps nothing else from going out
		}
		if wave != "" {
			v.holds(t, d, wave)
			continue
		}
		if !s.Told {
			// What people wrote and approved is not dropped without them.
			d.Decision, d.Wave, d.Base, d.Reason = skip, "", "", ReasonNobodyTold
			if t.ofUpdate(d) {
				d.Decision = ask
			}
		}
		v.Decided = d
		return v, nil
	}
	return v, nil
}

// holds notes that something waits for a wave.
func (v *Verdict) holds(t Timetable, d *candorv1.FollowUpDecided, wave string) {
	if v.Held == nil {
		v.Held, v.Behind = d, wave
	}
	if v.Hold == nil && t.inc.HeldSince(d.GetName(), d.GetDueAt().AsTime()).IsZero() {
		v.Hold = &candorv1.FollowUpHeld{Name: d.GetName(), DueAt: d.GetDueAt(), Behind: wave}
	}
}

// underWay returns the first follow-up, update or correction that is open or not planned yet; empty if there is none. One
// that the end of the incident came before is not planned any more.
func (t Timetable) underWay(s Standing) string {
	for _, d := range t.inc.Decisions {
		if d.GetDecision() == send && (s.Open[d.GetWave()] || t.inc.Waves[d.GetWave()] == nil && !d.At.Before(t.inc.ReopenedAt)) {
			return d.GetWave()
		}
	}
	return ""
}

// behind returns the wave that something due waits for as every other message does: one under way, or for a while one of which
// some notices are tried again.
func (t Timetable) behind(d *candorv1.FollowUpDecided, s Standing, now time.Time) string {
	if wave := t.underWay(s); wave != "" {
		return wave
	}
	since := t.inc.HeldSince(d.GetName(), d.GetDueAt().AsTime())
	if !since.IsZero() && now.Sub(since) >= retriesHold {
		return ""
	}
	for _, sent := range t.inc.Decisions {
		if sent.GetDecision() == send && s.Retried[sent.GetWave()] {
			return sent.GetWave()
		}
	}
	return ""
}

// corrects returns the wave that something due corrects; empty if it is no correction.
func (t Timetable) corrects(d *candorv1.FollowUpDecided) string {
	if a := t.inc.Additions[d.GetWave()]; a != nil {
		return a.GetAddition().GetCorrects()
	}
	return ""
}

// Unread returns the wave that a correction of some wave waits for: that one, or one that brings its words to others, while
// somebody may still get it; empty if there is none. Of a follow-up or an update the attempts that are left are given up; a first
// notice has to reach its customers, so all of its attempts are waited for.
func (t Timetable) Unread(corrects string, s Standing) string {
	if corrects == "" {
		return ""
	}
	for _, wave := range t.inc.Sharing(corrects) {
		switch {
		case t.inc.Sent(wave) != nil: // which is under way, or not
		case t.inc.BegunAt(wave).Before(t.inc.ReopenedAt): // whose journals are sealed
		case t.inc.Waves[wave] == nil, s.Unread[wave]:
			return wave
		}
	}
	return ""
}

// due lists what is to be decided, as if no wave were under way: what has waited longest first. What only falls comes alone.
func (t Timetable) due(now time.Time) []*candorv1.FollowUpDecided {
	if t.inc.State != candorv1.IncidentState_INCIDENT_STATE_DECLARED {
		return nil // paused on some channel, closing, ended, or not declared: a schedule wakes, it does not permit
	}
	if d := t.falls(now); d != nil {
		return []*candorv1.FollowUpDecided{d}
	}
	type offer struct {
		d  *candorv1.FollowUpDecided
		at time.Time
	}
	var offers []offer
	add := func(d *candorv1.FollowUpDecided, at time.Time) {
		if d != nil && !at.After(now) {
			offers = append(offers, offer{d, at})
		}
	}
	add(t.answered(now))
	this, _ := t.occurrences()
	for _, a := range t.inc.News() {
		if at, ok := t.dueAt(a, this != nil); ok {
			add(t.update(a, at, now), at)
		}
	}
	if this != nil {
		add(t.followUp(this, now), this.Due)
	}
	// News comes before what is due at the same instant.
	slices.SortStableFunc(offers, func(a, b offer) int { return a.at.Compare(b.at) })
	var list []*candorv1.FollowUpDecided
	for _, o := range offers {
		list = append(list, o.d)
	}
	return list
}

// first returns what to decide first, as if no wave were under way; nil if nothing is due.
func (t Timetable) first(now time.Time) *candorv1.FollowUpDecided {
	if list := t.due(now); len(list) > 0 {
		return list[0]
	}
	return nil
}

// falls returns what is not sent whatever is under way; nil if there is nothing.
func (t Timetable) falls(now time.Time) *candorv1.FollowUpDecided {
	if d := t.unanswered(now); d != nil {
		return d
	}
	if d := t.superseded(); d != nil {
		return d
	}
	this, next := t.occurrences()
	if next != nil && !next.Due.After(now) {
		return decided(this.Name, this.Due, skip, ReasonMissed)
	}
	return nil
}

// unanswered lets a question fall when the incident was closed since, and one about a follow-up when the next one is due.
func (t Timetable) unanswered(now time.Time) *candorv1.FollowUpDecided {
	for _, q := range t.inc.Unanswered() {
		if q.At.Before(t.inc.ReopenedAt) {
			return decided(q.GetName(), q.GetDueAt().AsTime(), skip, ReasonClosed)
		}
	}
	for _, q := range t.questions() {
		due := q.GetDueAt().AsTime()
		if next := t.after(due); next != nil && !next.Due.After(now) {
			return decided(q.GetName(), due, skip, ReasonUnanswered)
		}
	}
	return nil
}

// superseded lets an update fall that was to go with the next follow-up, if there is a newer one. A correction is not
// replaced by an update, nor by another correction. What the end of the incident came before falls whatever it is: those who
// closed it were told that it is dropped, and who opened it again approved no old words.
func (t Timetable) superseded() *candorv1.FollowUpDecided {
	var older *incident.Addition
	for _, a := range t.inc.News() {
		if a.ApprovedAt.Before(t.inc.ReopenedAt) {
			return decided(a.GetAddition().GetWave(), a.ApprovedAt, skip, ReasonClosed)
		}
		if !a.GetAddition().GetWithNext() || a.GetAddition().GetKind() != incident.KindUpdate {
			continue
		}
		if older != nil {
			return decided(older.GetAddition().GetWave(), older.ApprovedAt, skip, ReasonSuperseded)
		}
		older = a
	}
	return nil
}

// answered returns the answer that news gives to a question about a follow-up, and since when it does.
func (t Timetable) answered(now time.Time) (*candorv1.FollowUpDecided, time.Time) {
	for _, q := range t.questions() {
		for _, a := range t.urgentFirst() {
			fits := a.GetAddition().GetWithNext() && a.ApprovedAt.After(q.At) || q.GetReason() == ReasonNoText
			if fits && now.Sub(a.ApprovedAt) <= NewsWithin {
				return bring(decided(q.GetName(), q.GetDueAt().AsTime(), send, ReasonNews), a), a.ApprovedAt
			}
		}
	}
	return nil, time.Time{}
}

// dueAt returns when an update is due by itself; false if it goes with a follow-up, of which there is one more or one that
// asks.
func (t Timetable) dueAt(a *incident.Addition, more bool) (time.Time, bool) {
	switch {
	case a.GetAddition().GetAt() != nil:
		return a.GetAddition().GetAt().AsTime(), true
	case a.GetAddition().GetWithNext() && (more || len(t.questions()) > 0):
		return time.Time{}, false
	}
	return a.ApprovedAt, true
}

func (t Timetable) update(a *incident.Addition, due, now time.Time) *candorv1.FollowUpDecided {
	name := a.GetAddition().GetWave()
	if t.late(name, due, now) > NewsWithin {
		return decided(name, due, ask, t.whyLate(due))
	}
	return bring(decided(name, due, send, ReasonNews), a)
}

func (t Timetable) followUp(o *cadence.Occurrence, now time.Time) *candorv1.FollowUpDecided {
	d := decided(o.Name, o.Due, ask, "")
	late := t.late(o.Name, o.Due, now)
	policy := t.named(o.Name).IfLate
	switch {
	case now.Add(t.grace).Sub(t.lastSent()) < t.times.Apart:
		d.Decision, d.Reason = skip, ReasonApart
	case late > t.grace && policy.Skip:
		d.Decision, d.Reason = skip, t.whyLate(o.Due)
	case late > t.grace && late > policy.Within:
		d.Reason = t.whyLate(o.Due)
	case !t.write(d):
		d.Reason = ReasonNoText
	}
	return d
}

// late is how much later than its hour something would be decided. What it waited for another wave does not count, and a pause
// since then does.
func (t Timetable) late(name string, due, now time.Time) time.Duration {
	held := t.inc.HeldSince(name, due)
	if held.IsZero() {
		return now.Sub(due)
	}
	late := held.Sub(due)
	if end := t.inc.ResumedAt; end.After(held) {
		from := t.inc.PausedAt
		if from.Before(held) {
			from = held
		}
		late += end.Sub(from)
	}
	return late
}

// whyLate says what kept something from its hour.
func (t Timetable) whyLate(due time.Time) string {
	if t.inc.ResumedAt.After(due) {
		return ReasonHeld
	}
	return ReasonLate
}

// write gives a follow-up its text; false if there is none.
func (t Timetable) write(d *candorv1.FollowUpDecided) bool {
	news := t.urgentFirst()
	prepared := t.named(d.GetName()).Send
	switch {
	case len(news) > 0 && (news[0].GetAddition().GetWithNext() || prepared == ""):
		d.Reason = ReasonNews
		bring(d, news[0])
	case prepared != "":
		d.Decision, d.Reason, d.Wave, d.Base = send, ReasonPrepared, t.inc.NextWave(), prepared
	default:
		return false
	}
	return true
}

// urgentFirst lists the news that may stand in for a follow-up: what was to go with one before the rest, and of those a
// correction before an update.
func (t Timetable) urgentFirst() []*incident.Addition {
	news := slices.DeleteFunc(t.inc.News(), func(a *incident.Addition) bool { return a.GetAddition().GetAt() != nil })
	rank := func(a *incident.Addition) int {
		switch {
		case !a.GetAddition().GetWithNext():
			return 2
		case a.GetAddition().GetKind() != incident.KindCorrection:
			return 1
		}
		return 0
	}
	slices.SortStableFunc(news, func(a, b *incident.Addition) int { return rank(a) - rank(b) })
	return news
}

// questions are the follow-ups that wait for a person, oldest first.
func (t Timetable) questions() []*incident.Decision {
	return slices.DeleteFunc(t.inc.Asks(), func(d *incident.Decision) bool { return t.ofUpdate(d.FollowUpDecided) })
}

// ofUpdate tells what is due by itself from what is of the cadence.
func (t Timetable) ofUpdate(d *candorv1.FollowUpDecided) bool {
	a := t.inc.Additions[d.GetName()]
	return a != nil && (a.GetAddition().GetKind() == incident.KindUpdate || a.GetAddition().GetKind() == incident.KindCorrection)
}

// lastSent is when a follow-up was last sent; zero if none was. An update that did not stand in for one does not count: it
// may have been for a few.
func (t Timetable) lastSent() (last time.Time) {
	for _, d := range t.inc.Decisions {
		if d.GetDecision() == send && !t.ofUpdate(d.FollowUpDecided) && d.At.After(last) {
			last = d.At
		}
	}
	return last
}

// occurrences returns the first follow-up about which nothing was decided, past or not, and the one after it; nil where
// there is none. One that would have been due while the incident was closed does not exist.
func (t Timetable) occurrences() (this, next *cadence.Occurrence) {
	since := t.inc.ReopenedAt
	for _, d := range t.inc.Decisions {
		if due := d.GetDueAt().AsTime(); !t.ofUpdate(d.FollowUpDecided) && due.After(since) {
			since = due
		}
	}
	if this = t.after(since); this != nil {
		next = t.after(this.Due)
	}
	return this, next
}

// after returns the first follow-up that is due after an instant; nil if there is none.
func (t Timetable) after(at time.Time) *cadence.Occurrence {
	if o, ok := t.times.Next(t.inc.DeclaredAt, at); ok {
		return &o
	}
	return nil
}

// named returns a line of the cadence; the zero line, which asks, if there is none.
func (t Timetable) named(name string) *playbook.FollowUp {
	if f := t.followUps.Named(name); f != nil {
		return f
	}
	return &playbook.FollowUp{}
}

func decided(name string, due time.Time, what candorv1.FollowUpDecision, reason string) *candorv1.FollowUpDecided {
	return &candorv1.FollowUpDecided{Name: name, DueAt: timestamppb.New(due), Decision: what, Reason: reason}
}

// bring makes an update the text of what is sent.
func bring(d *candorv1.FollowUpDecided, a *incident.Addition) *candorv1.FollowUpDecided {
	d.Decision, d.Wave, d.Base = send, a.GetAddition().GetWave(), ""
	return d
}
