package timetable

import (
	"maps"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"candor/pkg/cadence"
	"candor/pkg/incident"
	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

// life is an incident that lives through months, and what was seen of it.
type life struct {
	desk
	sent map[string]bool
}

// TestALifeOfFollowUps lets an incident live through down times, pauses, news, answers and waves that take their time, and
// asks whoever decides at random moments, several times and from the beginning: nothing is kept but the events.
func TestALifeOfFollowUps(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := &life{sent: map[string]bool{}}
		l.begin(t)
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { l.holds() },
			"minutes": func(t *rapid.T) {
				l.now = l.now.Add(time.Duration(rapid.IntRange(1, 300).Draw(t, "minutes")) * time.Minute)
				l.wake()
			},
			"to the next alarm": func(*rapid.T) {
				if alarms := l.table().Alarms(l.now); len(alarms) > 0 {
					l.now = slices.MinFunc(alarms, func(a, b Alarm) int { return a.At.Compare(b.At) }).At
					l.wake()
				}
			},
			"down for days": func(t *rapid.T) {
				l.now = l.now.Add(time.Duration(rapid.IntRange(1, 400).Draw(t, "hours")) * time.Hour)
			},
			"woken": func(*rapid.T) { l.wake() },
			"dies after one decision": func(*rapid.T) {
				if d := l.verdict().Decided; d != nil {
					l.take(d)
				}
			},
			"planned": func(*rapid.T) {
				for _, wave := range l.inc.Begun() {
					if l.inc.Waves[wave] == nil {
						l.plan(wave, true)
						return
					}
				}
			},
			"sent": func(*rapid.T) {
				l.standing.Retried = maps.Clone(l.standing.Open)
				clear(l.standing.Open)
			},
			"tried again": func(*rapid.T) { clear(l.standing.Retried) },
			"the first notice": func(t *rapid.T) {
				if l.inc.Waves["w0"] == nil {
					l.plan("w0", false)
				}
				l.standing.Unread["w0"] = rapid.Bool().Draw(t, "goes on")
			},
			"somebody is told": func(*rapid.T) {
				l.standing.Told = true
			},
			"news": func(t *rapid.T) {
				if !l.inc.Running() {
					return
				}
				kind := rapid.SampledFrom([]string{incident.KindUpdate, incident.KindUpdate, incident.KindCorrection}).Draw(t, "kind")
				how := rapid.IntRange(0, 2).Draw(t, "how")
				in := time.Duration(rapid.IntRange(-1, 100).Draw(t, "in")) * time.Hour
				l.approve(kind, func(a *candorv1.Addition) {
					if kind == incident.KindCorrection {
						a.Corrects = rapid.SampledFrom(l.inc.Begun()).Draw(t, "corrects")
					}
					switch how {
					case 1:
						a.WithNext = true
					case 2:
						a.At = timestamppb.New(l.now.Add(in))
					}
				})
			},
			"pause": func(*rapid.T) {
				if l.inc.State == candorv1.IncidentState_INCIDENT_STATE_DECLARED {
					l.pause()
				}
			},
			"resume": func(*rapid.T) {
				if l.inc.State == candorv1.IncidentState_INCIDENT_STATE_PAUSED {
					l.resume()
				}
			},
			"close": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "really") == 0 {
					l.state(candorv1.IncidentState_INCIDENT_STATE_DECLARED, candorv1.IncidentState_INCIDENT_STATE_CLOSED)
				}
			},
			"reopen": func(*rapid.T) {
				if l.inc.State == candorv1.IncidentState_INCIDENT_STATE_CLOSED {
					l.change(func(inc *incident.Incident) {
						inc.State, inc.ReopenedAt = candorv1.IncidentState_INCIDENT_STATE_DECLARED, l.now
					})
				}
			},
			"answer": func(t *rapid.T) {
				asks := l.inc.Asks()
				yes := rapid.Bool().Draw(t, "yes")
				if len(asks) == 0 || l.inc.State != candorv1.IncidentState_INCIDENT_STATE_DECLARED {
					return
				}
				if d, err := l.table().Answer(asks[0], yes); err == nil && (!yes || l.table().Behind(d, l.standing) == "") {
					l.take(d)
				}
			},
		})
	})
}

func (l *life) begin(t *rapid.T) {
	zone := rapid.SampledFrom([]string{"UTC", "America/New_York", "Pacific/Apia", "Australia/Lord_Howe"}).Draw(t, "zone")
	loc, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	every, err := cadence.ParseEvery(rapid.SampledFrom([]string{"day 10:00", "mon,thu 10:00", "sun 02:30", "month 28 09:00"}).Draw(t, "every"))
	if err != nil {
		t.Fatal(err)
	}
	l.desk = desk{
		reporter: t,
		inc:      &incident.Incident{ID: "acme", State: candorv1.IncidentState_INCIDENT_STATE_DECLARED, DeclaredAt: told.AddDate(0, 0, rapid.IntRange(0, 400).Draw(t, "day"))},
		times: cadence.Cadence{
			Zone: loc, AtMost: rapid.IntRange(1, 9).Draw(t, "at most"), Apart: time.Duration(rapid.IntRange(0, 50).Draw(t, "apart")) * time.Hour,
			Entries: []cadence.Entry{
				{Name: "second", After: time.Duration(rapid.IntRange(1, 100).Draw(t, "after")) * time.Hour},
				{Name: "regular", Every: every},
			},
		},
		standing: Standing{
			Told: rapid.IntRange(0, 9).Draw(t, "told") > 0, Open: map[string]bool{}, Retried: map[string]bool{}, Unread: map[string]bool{},
		},
	}
	for _, e := range l.times.Entries {
		l.entries = append(l.entries, playbook.FollowUp{
			Name: e.Name, Send: rapid.SampledFrom([]string{"", "standing"}).Draw(t, "send"),
			IfLate: rapid.SampledFrom([]playbook.Late{{}, {Skip: true}, {Within: time.Hour}, {Within: 48 * time.Hour}}).Draw(t, "if late"),
		})
	}
	l.now = l.inc.DeclaredAt
}

func (l *life) state(from, to candorv1.IncidentState) {
	if l.inc.State == from {
		l.change(func(inc *incident.Incident) { inc.State = to })
	}
}

// wake decides until nothing is left, as a process does that knows nothing but the events.
func (l *life) wake() {
	for range 10_000 {
		v := l.verdict()
		if v.Decided == nil && v.Hold != nil {
			if !l.inc.HeldSince(v.Hold.GetName(), v.Hold.GetDueAt().AsTime()).IsZero() {
				l.Fatalf("%s is held twice", v.Hold.GetName())
			}
			l.hold(v.Hold)
			continue
		}
		if v.Decided == nil {
			l.complete(v)
			return
		}
		if again := l.verdict(); !proto.Equal(v.Decided, again.Decided) {
			l.Fatalf("decides %s, and then %s", short(v.Decided), short(again.Decided))
		}
		l.take(v.Decided)
	}
	l.Fatal("decides for ever")
}

// take checks a decision against what was decided before, and records it.
func (l *life) take(d *candorv1.FollowUpDecided) {
	inc, due := l.inc, d.GetDueAt().AsTime()
	service := d.GetReason() != ReasonPerson
	if inc.State != candorv1.IncidentState_INCIDENT_STATE_DECLARED {
		l.Fatalf("%s, while it is %s", short(d), inc.State)
	}
	if due.After(l.now) {
		l.Fatalf("%s, at %s", short(d), l.now)
	}
	before := inc.DecisionOn(d.GetName(), due)
	if before != nil && (before.GetDecision() != ask || d.GetDecision() == ask) {
		l.Fatalf("%s, after %s", short(d), short(before.FollowUpDecided))
	}
	news := inc.Additions[d.GetName()]
	if news == nil {
		l.checkOccurrence(d, before)
	}
	if d.GetDecision() == send {
		if l.sent[d.GetWave()] {
			l.Fatalf("%s a second time", d.GetWave())
		}
		l.sent[d.GetWave()] = true
		for wave := range l.sent {
			if wave != d.GetWave() && (inc.Waves[wave] == nil && !inc.Sent(wave).At.Before(inc.ReopenedAt) || l.standing.Open[wave]) {
				l.Fatalf("%s, while %s goes out", short(d), wave)
			}
		}
		if a := inc.Additions[d.GetWave()]; a != nil && a.GetAddition().GetCorrects() == "w0" && !inc.DeclaredAt.Before(inc.ReopenedAt) &&
			(inc.Waves["w0"] == nil || l.standing.Unread["w0"]) {
			l.Fatalf("%s, while what it corrects goes out", short(d))
		}
		if service && !l.standing.Told {
			l.Fatalf("%s, and nobody was told", short(d))
		}
	}
	l.checkNews(d)
	l.record(d)
}

func (l *life) checkOccurrence(d *candorv1.FollowUpDecided, before *incident.Decision) {
	inc, due := l.inc, d.GetDueAt().AsTime()
	var next time.Time
	real := false
	for o := range l.times.All(inc.DeclaredAt) {
		if real {
			next = o.Due
			break
		}
		real = o.Name == d.GetName() && o.Due.Equal(due)
	}
	if !real {
		l.Fatalf("%s is not of the cadence", short(d))
	}
	missed := !next.IsZero() && !next.After(l.now)
	if missed && d.GetDecision() != skip && d.GetReason() != ReasonPerson {
		l.Fatalf("%s, and the next one was due at %s", short(d), next)
	}
	if before == nil {
		for _, other := range inc.Decisions {
			if inc.Additions[other.GetName()] == nil && !other.GetDueAt().AsTime().Before(due) {
				l.Fatalf("%s, after %s", short(d), short(other.FollowUpDecided))
			}
		}
	}
	late := l.table().late(d.GetName(), due, l.now)
	why := d.GetReason() == ReasonLate || d.GetReason() == ReasonHeld
	policy := l.table().named(d.GetName()).IfLate
	switch {
	case before != nil, missed, d.GetReason() == ReasonApart:
	case late > grace && policy.Skip && !why, late > grace && late > policy.Within && !why,
		late <= max(grace, policy.Within) && why && !policy.Skip, late <= grace && why:
		l.Fatalf("%s, %s late, and the policy is %q", short(d), late, policy)
	}
}

func (l *life) checkNews(d *candorv1.FollowUpDecided) {
	newest := true
	for _, a := range l.inc.News() {
		if a.GetAddition().GetWithNext() && a.GetAddition().GetKind() == incident.KindUpdate && a.GetAddition().GetWave() != d.GetName() && a.GetAddition().GetWave() != d.GetWave() {
			newest = false
		}
	}
	a := l.inc.Additions[d.GetName()]
	if w := l.inc.Additions[d.GetWave()]; w != nil {
		a = w
	}
	if a == nil || !a.GetAddition().GetWithNext() || a.GetAddition().GetKind() != incident.KindUpdate {
		return
	}
	if d.GetReason() == ReasonNews && !newest {
		l.Fatalf("%s, and there is newer news", short(d))
	}
	if d.GetReason() == ReasonSuperseded && newest {
		l.Fatalf("%s, and there is no newer news", short(d))
	}
}

// complete checks that what can be decided was.
func (l *life) complete(v Verdict) {
	inc := l.inc
	if inc.State != candorv1.IncidentState_INCIDENT_STATE_DECLARED {
		return
	}
	for o := range l.times.All(inc.DeclaredAt) {
		if o.Due.After(l.now) {
			break
		}
		if o.Due.After(inc.ReopenedAt) && inc.DecisionOn(o.Name, o.Due) == nil && v.Held == nil {
			l.Fatalf("%s of %s was forgotten", o.Name, o.Due)
		}
	}
	for _, a := range inc.News() {
		if at := a.GetAddition().GetAt(); !a.GetAddition().GetWithNext() && (at == nil || !at.AsTime().After(l.now)) && v.Held == nil {
			l.Fatalf("the update %s was forgotten", a.GetAddition().GetWave())
		}
	}
	questions := 0
	for _, q := range inc.Asks() {
		if inc.Additions[q.GetName()] == nil {
			questions++
		}
	}
	if questions > 1 {
		l.Fatalf("%d questions about follow-ups at once", questions)
	}
}

// holds checks what is true at any time.
func (l *life) holds() {
	follow := 0
	for _, d := range l.inc.Decisions {
		if d.GetDecision() == send && l.inc.Additions[d.GetName()] == nil {
			follow++
		}
	}
	if follow > l.times.AtMost {
		l.Fatalf("%d follow-ups, and there are at most %d", follow, l.times.AtMost)
	}
	if begun := l.inc.Begun(); len(begun) != len(l.sent)+1 {
		l.Fatalf("begun are %q, sent were %q", begun, slices.Sorted(maps.Keys(l.sent)))
	}
	if !slices.IsSortedFunc(l.table().Coming(l.now, l.now.AddDate(0, 2, 0)), func(a, b Coming) int { return a.At.Compare(b.At) }) {
		l.Fatal("what is coming is not in order")
	}
}
