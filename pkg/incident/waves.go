package incident

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// FirstWave is the one that follows an approval at once.
const FirstWave = "w0"

// Kinds of additions.
const (
	KindResend     = "resend"
	KindRoster     = "roster"
	KindUpdate     = "update"
	KindCorrection = "correction"
	KindClose      = "close"
	KindReopen     = "reopen"
)

// Kinds of waves that are no additions.
const (
	KindFirstNotice = "first_notice"
	KindFollowUp    = "follow_up"
	KindClosingNote = "closing_note"
)

// Decision is what became of a message that was due, and who decided it: a person, or a service.
type Decision struct {
	*candorv1.FollowUpDecided
	By string
	At time.Time
}

// DecisionOn returns the last decision about what was due under a name at an instant; nil if there is none.
func (i *Incident) DecisionOn(name string, due time.Time) *Decision {
	for n := len(i.Decisions) - 1; n >= 0; n-- {
		if d := &i.Decisions[n]; d.GetName() == name && d.GetDueAt().AsTime().Equal(due) {
			return d
		}
	}
	return nil
}

// Hold says that a message was due and waited for a wave that was still going out, and since when.
type Hold struct {
	*candorv1.FollowUpHeld
	At time.Time
}

// HeldSince returns since when what was due under a name at an instant waited for a wave; zero if it did not.
func (i *Incident) HeldSince(name string, due time.Time) time.Time {
	for _, h := range i.Holds {
		if h.GetName() == name && h.GetDueAt().AsTime().Equal(due) {
			return h.At
		}
	}
	return time.Time{}
}

// Asks returns the decisions that wait for a person, oldest first: none unless the incident runs, and none from before an end
// that was undone since.
func (i *Incident) Asks() []*Decision {
	if !i.Running() {
		return nil
	}
	return slices.DeleteFunc(i.Unanswered(), func(d *Decision) bool { return d.At.Before(i.ReopenedAt) })
}

// Unanswered returns the decisions to ask a person which no other one followed, oldest first, also those that the end of the
// incident came before.
func (i *Incident) Unanswered() (asks []*Decision) {
	for n := range i.Decisions {
		d := &i.Decisions[n]
		if d.GetDecision() == candorv1.FollowUpDecision_FOLLOW_UP_DECISION_ASK && i.DecisionOn(d.GetName(), d.GetDueAt().AsTime()) == d {
			asks = append(asks, d)
		}
	}
	return asks
}

// Sent returns the decision by which a wave is sent; nil for one that follows from an approval alone.
func (i *Incident) Sent(wave string) *Decision {
	for n := range i.Decisions {
		if d := &i.Decisions[n]; d.GetWave() == wave && d.GetDecision() == candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SEND {
			return d
		}
	}
	return nil
}

// SentAfter lists the follow-ups, updates and corrections that were decided to be sent after another one, without those that the
// end of the incident came before.
func (i *Incident) SentAfter(wave string) (later []string) {
	found := false
	for n := range i.Decisions {
		d := &i.Decisions[n]
		if d.GetDecision() != candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SEND {
			continue
		}
		if found && !d.At.Before(i.ReopenedAt) {
			later = append(later, d.GetWave())
		}
		found = found || d.GetWave() == wave
	}
	return later
}

// Begun lists the waves that were decided, planned already or not, in the order in which they were: the first notice, and
// what was approved or became due since.
func (i *Incident) Begun() (waves []string) {
	if i.DeclaredAt.IsZero() {
		return nil
	}
	type begun struct {
		wave string
		at   time.Time
	}
	all := []begun{{FirstWave, time.Time{}}}
	for wave, a := range i.Additions {
		switch kind := a.GetAddition().GetKind(); {
		case !a.Approved():
		case kind == KindResend, kind == KindRoster:
			all = append(all, begun{wave, a.ApprovedAt})
		}
	}
	for n := range i.Decisions {
		if d := &i.Decisions[n]; d.GetDecision() == candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SEND {
			all = append(all, begun{d.GetWave(), d.At})
		}
	}
	for _, c := range i.Closings {
		if c.GetWave() != "" {
			all = append(all, begun{c.GetWave(), c.At})
		}
	}
	slices.SortStableFunc(all, func(a, b begun) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.wave, b.wave)) })
	for _, b := range all {
		waves = append(waves, b.wave)
	}
	return waves
}

// Sharing lists a wave and those that brought its words to others: resends, and the first notices of added rows.
func (i *Incident) Sharing(wave string) []string {
	waves := []string{wave}
	for _, other := range i.Begun() {
		switch i.KindOf(other) {
		case KindResend, KindRoster:
			if other != wave && i.BaseOf(other) == wave {
				waves = append(waves, other)
			}
		}
	}
	return waves
}

// BegunAt returns when a wave was decided.
func (i *Incident) BegunAt(wave string) time.Time {
	if d := i.Sent(wave); d != nil {
		return d.At
	}
	if a := i.Additions[wave]; a != nil {
		return a.ApprovedAt
	}
	return i.DeclaredAt
}

// Closing is an end of the incident.
type Closing struct {
	*candorv1.Closing
	At time.Time
	// Closed is set when it has come.
	Closed   *candorv1.Closed
	ClosedAt time.Time
}

// Closing returns the end that is under way or has come; nil if the incident goes on.
func (i *Incident) Closing() *Closing {
	n := len(i.Closings)
	if n == i.reopened {
		return nil
	}
	return &i.Closings[n-1]
}

// KindOf returns what a wave is: the kind of its addition, or one of first_notice, follow_up and closing_note. It is empty
// for a wave that nobody decided.
func (i *Incident) KindOf(wave string) string {
	switch {
	case wave == FirstWave:
		return KindFirstNotice
	case i.Additions[wave] != nil:
		return i.Additions[wave].GetAddition().GetKind()
	case i.Sent(wave) != nil:
		return KindFollowUp
	case slices.ContainsFunc(i.Closings, func(c Closing) bool { return c.GetWave() == wave }):
		return KindClosingNote
	}
	return ""
}

// BaseOf returns the wave of the playbook whose texts and terms a wave uses: its own, unless it was added or followed
// later. An update brings its own, under the wave's name.
func (i *Incident) BaseOf(wave string) string {
	if a := i.Additions[wave]; a != nil {
		return cmp.Or(a.GetAddition().GetBase(), wave)
	}
	if d := i.Sent(wave); d != nil {
		return cmp.Or(d.GetBase(), wave)
	}
	for _, c := range i.Closings {
		if c.GetWave() == wave {
			return c.GetBase()
		}
	}
	return wave
}

// LaneOf returns the lane of a wave's orders: a follow-up never stands before a first notice.
func (i *Incident) LaneOf(wave string) string {
	switch i.KindOf(wave) {
	case KindFirstNotice, KindRoster:
		return topology.LaneFirst
	}
	return topology.LaneNext
}

// Manifests lists the subjects in ROSTER of what is on file: the roster's, and those of rows that were added and approved,
// in the order in which they were.
func (i *Incident) Manifests() []string {
	if i.Draft == nil {
		return nil
	}
	subjects := []string{i.Draft.GetManifest()}
	for _, a := range i.Rows() {
		subjects = append(subjects, a.GetAddition().GetManifest())
	}
	return subjects
}

// Rows lists the approved additions of rows, in the order in which they were approved.
func (i *Incident) Rows() (rows []*Addition) {
	for _, a := range i.Additions {
		if a.Approved() && a.GetAddition().GetKind() == KindRoster {
			rows = append(rows, a)
		}
	}
	slices.SortFunc(rows, func(a, b *Addition) int {
		return cmp.Or(a.ApprovedAt.Compare(b.ApprovedAt), cmp.Compare(a.GetAddition().GetWave(), b.GetAddition().GetWave()))
	})
	return rows
}

// OnFile counts the customers of the approved roster and of the rows that were added; of a draft, its own.
func (i *Incident) OnFile() *candorv1.People {
	p := i.Draft.GetPlan().GetPeople()
	rows := i.Rows()
	if p == nil || len(rows) == 0 {
		return p
	}
	sum := &candorv1.People{Rows: p.GetRows(), Customers: p.GetCustomers(), Merged: p.GetMerged(), Rejected: p.GetRejected(), Reachable: p.GetReachable()}
	for _, a := range rows {
		q := a.GetAddition().GetAdded()
		sum.Rows += q.GetRows()
		sum.Customers += q.GetCustomers()
		sum.Merged += q.GetMerged()
		sum.Rejected += q.GetRejected()
		sum.Reachable += q.GetReachable()
	}
	return sum
}

// NextWave is the id of a wave that was never used, w1 or later.
func (i *Incident) NextWave() string {
	most := 0
	use := func(wave string) {
		if n, err := strconv.Atoi(strings.TrimPrefix(wave, "w")); err == nil && strings.HasPrefix(wave, "w") {
			most = max(most, n)
		}
	}
	for wave, a := range i.Additions {
		use(wave)
		use(a.GetAddition().GetClosing().GetWave())
	}
	for _, d := range i.Decisions {
		use(d.GetWave())
	}
	for _, c := range i.Closings {
		use(c.GetWave())
	}
	return "w" + strconv.Itoa(most+1)
}

// NextAddition is the first name of the form prefix followed by a number that no addition has: w0-r, w0-a, close-.
func (i *Incident) NextAddition(prefix string) string {
	for n := 1; ; n++ {
		if name := prefix + strconv.Itoa(n); i.Additions[name] == nil {
			return name
		}
	}
}

// AdditionWith returns the addition with the hash, and its wave; nil if there is none.
func (i *Incident) AdditionWith(hash []byte) (wave string, a *Addition) {
	for _, wave := range slices.Sorted(maps.Keys(i.Additions)) {
		if a := i.Additions[wave]; bytes.Equal(hash, a.GetHash()) {
			return wave, a
		}
	}
	return "", nil
}

// News lists the approved updates and corrections about which nothing was decided yet, in the order of their approval.
func (i *Incident) News() (news []*Addition) {
	for wave, a := range i.Additions {
		switch a.GetAddition().GetKind() {
		case KindUpdate, KindCorrection:
			if a.Approved() && !slices.ContainsFunc(i.Decisions, func(d Decision) bool { return d.GetName() == wave || d.GetWave() == wave }) {
				news = append(news, a)
			}
		}
	}
	slices.SortFunc(news, func(a, b *Addition) int {
		return cmp.Or(a.ApprovedAt.Compare(b.ApprovedAt), cmp.Compare(a.GetAddition().GetWave(), b.GetAddition().GetWave()))
	})
	return news
}
