package timetable

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/cadence"
	"candor/pkg/clock"
	"candor/pkg/incident"
	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

// told is when the first notice was approved: a Monday.
var told = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

// reporter is testing.T, or rapid's.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// desk is an incident whose events a test makes up.
type desk struct {
	reporter
	inc      *incident.Incident
	times    cadence.Cadence
	entries  []playbook.FollowUp
	standing Standing
	now      time.Time
}

// daily is due every day at the hour of the first notice, and asks unless a test says otherwise.
func daily(t *testing.T) *desk {
	t.Helper()
	every, err := cadence.ParseEvery("day 10:00")
	if err != nil {
		t.Fatal(err)
	}
	return &desk{
		reporter: t,
		inc:      &incident.Incident{ID: "acme", State: candorv1.IncidentState_INCIDENT_STATE_DECLARED, DeclaredAt: told},
		times:    cadence.Cadence{AtMost: 52, Entries: []cadence.Entry{{Name: "daily", Every: every}}},
		entries:  []playbook.FollowUp{{Name: "daily", Send: "standing"}},
		standing: Standing{Told: true, Open: map[string]bool{}, Retried: map[string]bool{}, Unread: map[string]bool{}},
		now:      told,
	}
}

func (d *desk) table() Timetable {
	return Timetable{inc: d.inc, followUps: &playbook.FollowUps{Cadence: d.entries}, times: d.times, grace: grace}
}

// at sets the clock to an hour of a day after the first notice, which is day 0.
func (d *desk) at(day, hour, minute int) *desk {
	d.now = time.Date(2026, 11, 23+day, hour, minute, 0, 0, time.UTC)
	return d
}

func (d *desk) change(with func(inc *incident.Incident)) {
	inc := *d.inc
	with(&inc)
	inc.Seq++
	d.inc = &inc
}

// approve adds news, and returns its wave.
func (d *desk) approve(kind string, change func(a *candorv1.Addition)) string {
	wave := d.inc.NextWave()
	add := &candorv1.Addition{Wave: wave, Kind: kind}
	if change != nil {
		change(add)
	}
	d.change(func(inc *incident.Incident) {
		all := map[string]*incident.Addition{}
		for w, a := range inc.Additions {
			all[w] = a
		}
		all[wave] = &incident.Addition{AdditionDrafted: &candorv1.AdditionDrafted{Addition: add}, ApprovedBy: "B", ApprovedAt: d.now}
		inc.Additions = all
	})
	return wave
}

func withNext(a *candorv1.Addition) { a.WithNext = true }

func (d *desk) record(e *candorv1.FollowUpDecided) {
	d.change(func(inc *incident.Incident) {
		inc.Decisions = append(slices.Clip(inc.Decisions), incident.Decision{FollowUpDecided: e, By: "followup", At: d.now})
	})
}

func (d *desk) hold(h *candorv1.FollowUpHeld) {
	d.change(func(inc *incident.Incident) {
		inc.Holds = append(slices.Clip(inc.Holds), incident.Hold{FollowUpHeld: h, At: d.now})
	})
}

// pause and resume do so now.
func (d *desk) pause() {
	d.change(func(inc *incident.Incident) {
		inc.State, inc.PausedAt = candorv1.IncidentState_INCIDENT_STATE_PAUSED, d.now
	})
}

func (d *desk) resume() {
	d.change(func(inc *incident.Incident) {
		inc.State, inc.ResumedAt = candorv1.IncidentState_INCIDENT_STATE_DECLARED, d.now
	})
}

// plan makes a wave one that was planned; open are its notices still to be sent.
func (d *desk) plan(wave string, open bool) {
	d.change(func(inc *incident.Incident) {
		all := map[string]*candorv1.WavePlanned{wave: {Wave: wave}}
		for w, p := range inc.Waves {
			all[w] = p
		}
		inc.Waves = all
	})
	d.standing.Open[wave] = open
}

// decide takes every decision there is now, plans what is sent, and returns the decisions in short.
func (d *desk) decide() (said []string) {
	d.Helper()
	for {
		v := d.verdict()
		if v.Decided == nil && v.Hold != nil {
			d.hold(v.Hold)
			continue
		}
		if v.Decided == nil {
			if v.Held != nil {
				said = append(said, v.Held.GetName()+" waits for "+v.Behind)
			}
			return said
		}
		d.record(v.Decided)
		said = append(said, short(v.Decided))
		if w := v.Decided.GetWave(); w != "" {
			d.plan(w, false)
		}
	}
}

func (d *desk) verdict() Verdict {
	d.Helper()
	v, err := d.table().Decide(d.now, func() (Standing, error) { return d.standing, nil })
	if err != nil {
		d.Fatal(err)
	}
	return v
}

func short(e *candorv1.FollowUpDecided) string {
	s := e.GetName() + " " + e.GetDueAt().AsTime().Format("02 15:04") + " " + map[candorv1.FollowUpDecision]string{send: "send", skip: "skip", ask: "ask"}[e.GetDecision()]
	if e.GetWave() != "" {
		s += " " + e.GetWave()
		if e.GetBase() != "" {
			s += "=" + e.GetBase()
		}
	}
	return s + ": " + e.GetReason()
}

func (d *desk) wants(want ...string) {
	d.Helper()
	if got := d.decide(); !slices.Equal(got, want) {
		d.Errorf("at %s:\ngot  %q\nwant %q", d.now.Format("02 15:04"), got, want)
	}
}

func TestWhatBecomesOfWhatIsDue(t *testing.T) {
	t.Parallel()
	update, correction := incident.KindUpdate, incident.KindCorrection
	for _, tt := range []struct {
		name string
		do   func(d *desk)
	}{
		{"nothing is due before its hour", func(d *desk) {
			d.at(0, 9, 59).wants()
		}},
		{"what was prepared is sent at its hour, once", func(d *desk) {
			d.at(0, 10, 0).wants("daily 23 10:00 send w1=standing: prepared")
			d.at(0, 10, 1).wants()
			d.at(1, 10, 0).wants("daily 24 10:00 send w2=standing: prepared")
		}},
		{"without a text a person is asked, once, and until the next one is due", func(d *desk) {
			d.entries[0].Send = ""
			d.at(0, 10, 0).wants("daily 23 10:00 ask: no_text")
			d.at(0, 20, 0).wants()
			d.at(1, 10, 0).wants("daily 23 10:00 skip: unanswered", "daily 24 10:00 ask: no_text")
		}},
		{"of several that were missed the last one is sent, if it is not too late", func(d *desk) {
			d.entries[0].IfLate.Within = 3 * time.Hour
			d.at(2, 13, 0).wants("daily 23 10:00 skip: missed", "daily 24 10:00 skip: missed", "daily 25 10:00 send w1=standing: prepared")
		}},
		{"later than its tolerance it asks", func(d *desk) {
			d.entries[0].IfLate.Within = 3 * time.Hour
			d.at(1, 13, 1).wants("daily 23 10:00 skip: missed", "daily 24 10:00 ask: late")
		}},
		{"late it is skipped, if the playbook says so", func(d *desk) {
			d.entries[0].IfLate.Skip = true
			d.at(0, 10, 6).wants("daily 23 10:00 skip: late")
		}},
		{"within the grace it is not late", func(d *desk) {
			d.entries[0].IfLate.Skip = true
			d.at(0, 10, 5).wants("daily 23 10:00 send w1=standing: prepared")
		}},
		{"late without a policy it asks", func(d *desk) {
			d.at(0, 10, 6).wants("daily 23 10:00 ask: late")
		}},
		{"the newest update takes the place of what was prepared, and older ones fall", func(d *desk) {
			d.approve(update, withNext)
			d.at(0, 9, 30).approve(update, withNext)
			d.at(0, 10, 0).wants("w1 23 09:00 skip: superseded", "daily 23 10:00 send w2: news")
			d.at(1, 10, 0).wants("daily 24 10:00 send w3=standing: prepared")
		}},
		{"a correction is not replaced by an update", func(d *desk) {
			d.approve(update, withNext)
			d.at(0, 9, 30).approve(correction, withNext)
			d.at(0, 9, 40).approve(update, withNext)
			d.at(0, 10, 0).wants("w1 23 09:00 skip: superseded", "daily 23 10:00 send w2: news")
			d.at(1, 10, 0).wants("daily 24 10:00 send w3: news")
		}},
		{"an update goes at its approval", func(d *desk) {
			d.at(0, 9, 30).approve(update, nil)
			d.wants("w1 23 09:30 send w1: news")
			d.at(0, 10, 0).wants("daily 23 10:00 send w2=standing: prepared")
		}},
		{"an update with an hour of its own goes then, a day late at most", func(d *desk) {
			d.entries = nil
			d.times.AtMost = 0
			for range 2 {
				d.approve(update, func(a *candorv1.Addition) { a.At = timestamppb.New(told.Add(48 * time.Hour)) })
			}
			d.at(2, 8, 59).wants()
			d.at(3, 9, 0).wants("w1 25 09:00 send w1: news", "w2 25 09:00 send w2: news")
		}},
		{"an update more than a day late asks", func(d *desk) {
			d.times.AtMost = 0
			d.approve(update, nil)
			d.at(1, 9, 1).wants("w1 23 09:00 ask: late")
			d.at(9, 9, 1).wants()
		}},
		{"an update that missed the last follow-up goes by itself", func(d *desk) {
			d.times.AtMost = 1
			d.at(0, 10, 0).wants("daily 23 10:00 send w1=standing: prepared")
			d.at(0, 11, 0).approve(update, withNext)
			d.wants("w2 23 11:00 send w2: news")
		}},
		{"news answers a question for which there was no text", func(d *desk) {
			d.entries[0].Send = ""
			d.at(0, 10, 0).wants("daily 23 10:00 ask: no_text")
			d.at(0, 15, 0).approve(update, nil)
			d.wants("daily 23 10:00 send w1: news")
		}},
		{"news with its own hour answers nothing", func(d *desk) {
			d.entries[0].Send = ""
			d.at(0, 10, 0).wants("daily 23 10:00 ask: no_text")
			d.approve(update, func(a *candorv1.Addition) { a.At = timestamppb.New(told.Add(5 * time.Hour)) })
			d.wants()
			d.at(0, 14, 0).wants("w1 23 14:00 send w1: news")
		}},
		{"a late follow-up takes no news that was there before it was asked about", func(d *desk) {
			d.approve(update, withNext)
			d.at(0, 11, 0).wants("daily 23 10:00 ask: late")
			d.at(0, 12, 0).wants()
			d.approve(update, withNext)
			d.at(0, 12, 1).wants("w1 23 09:00 skip: superseded", "daily 23 10:00 send w2: news")
		}},
		{"a late follow-up is not answered by news that goes by itself", func(d *desk) {
			d.at(0, 11, 0).wants("daily 23 10:00 ask: late")
			d.approve(update, nil)
			d.wants("w1 23 11:00 send w1: news")
		}},
		{"two never overlap, and what waits does not become late", func(d *desk) {
			d.entries[0].IfLate.Skip = true
			d.at(0, 10, 0)
			d.record(d.verdict().Decided)
			d.wants()
			d.at(1, 10, 0).wants("daily waits for w1")
			d.plan("w1", true)
			d.at(1, 10, 4).wants("daily waits for w1")
			d.at(1, 20, 0).wants("daily waits for w1")
			d.at(2, 10, 0).wants("daily 24 10:00 skip: missed", "daily waits for w1")
			d.at(2, 16, 0).plan("w1", false)
			d.wants("daily 25 10:00 send w2=standing: prepared")
		}},
		{"an update that waits for days asks nobody", func(d *desk) {
			d.times.AtMost = 0
			d.approve(update, nil)
			d.wants("w1 23 09:00 send w1: news")
			d.plan("w1", true)
			d.approve(update, nil)
			d.wants("w2 waits for w1")
			d.at(3, 9, 0).wants("w2 waits for w1")
			d.plan("w1", false)
			d.wants("w2 23 09:00 send w2: news")
		}},
		{"what waited and was paused then is late by the pause", func(d *desk) {
			d.times.AtMost = 0
			d.approve(update, nil)
			d.wants("w1 23 09:00 send w1: news")
			d.plan("w1", true)
			d.approve(update, nil)
			d.wants("w2 waits for w1")
			d.at(2, 9, 0).pause()
			d.plan("w1", false)
			d.at(3, 9, 1).resume()
			d.wants("w2 23 09:00 ask: held")
		}},
		{"attempts that are left hold the next one up for an hour", func(d *desk) {
			d.times.AtMost = 0
			d.approve(update, nil)
			d.wants("w1 23 09:00 send w1: news")
			d.standing.Retried["w1"] = true
			d.at(0, 12, 0).approve(correction, func(a *candorv1.Addition) { a.Corrects = "w1" })
			d.wants("w2 waits for w1")
			d.at(0, 12, 59).wants("w2 waits for w1")
			d.at(0, 13, 0).wants("w2 23 12:00 send w2: news")
		}},
		{"a notice that nobody tried holds the next one up however long", func(d *desk) {
			d.times.AtMost = 0
			d.approve(update, nil)
			d.wants("w1 23 09:00 send w1: news")
			d.standing.Retried["w1"], d.standing.Open["w1"] = true, true
			d.approve(update, nil)
			d.wants("w2 waits for w1")
			d.at(2, 9, 0).wants("w2 waits for w1")
		}},
		{"a correction of the first notice waits until everybody has it, and holds up nobody else", func(d *desk) {
			d.plan("w0", false)
			d.standing.Unread["w0"] = true
			d.approve(correction, func(a *candorv1.Addition) { a.Corrects = "w0" })
			d.wants("w1 waits for w0")
			d.at(0, 10, 0).wants("daily 23 10:00 send w2=standing: prepared", "w1 waits for w0")
			d.at(2, 9, 0)
			d.standing.Unread["w0"] = false
			d.wants("w1 23 09:00 send w1: news", "daily 24 10:00 ask: late")
		}},
		{"a correction waits for those who were added, and for a resend", func(d *desk) {
			d.times.AtMost = 0
			d.plan("w0", false)
			for wave, kind := range map[string]string{"w0-a1": incident.KindRoster, "w0-r1": incident.KindResend} {
				d.change(func(inc *incident.Incident) {
					all := maps.Clone(inc.Additions)
					if all == nil {
						all = map[string]*incident.Addition{}
					}
					all[wave] = &incident.Addition{ApprovedBy: "B", ApprovedAt: d.now, AdditionDrafted: &candorv1.AdditionDrafted{Addition: &candorv1.Addition{Wave: wave, Kind: kind, Base: "w0"}}}
					inc.Additions = all
				})
			}
			d.approve(correction, func(a *candorv1.Addition) { a.Corrects = "w0" })
			d.wants("w1 waits for w0-a1")
			d.plan("w0-a1", false)
			d.wants("w1 waits for w0-r1")
			d.plan("w0-r1", false)
			d.standing.Unread["w0-r1"] = true
			d.wants("w1 waits for w0-r1")
			d.standing.Unread["w0-r1"] = false
			d.wants("w1 23 09:00 send w1: news")
		}},
		{"what is due earlier goes first", func(d *desk) {
			d.entries[0].IfLate.Within = 10 * time.Hour
			d.at(0, 9, 50).approve(update, nil)
			d.plan("w9", true)
			d.change(func(inc *incident.Incident) {
				inc.Decisions = append(inc.Decisions, incident.Decision{FollowUpDecided: &candorv1.FollowUpDecided{Name: "before", Wave: "w9", Decision: send, DueAt: timestamppb.New(told)}, At: told})
			})
			d.at(0, 10, 30).wants("w1 waits for w9")
			d.plan("w9", false)
			d.wants("w1 23 09:50 send w1: news", "daily 23 10:00 send w10=standing: prepared")
		}},
		{"the first notice stands in nobody's way", func(d *desk) {
			d.plan("w0", true)
			d.at(0, 10, 0).wants("daily 23 10:00 send w1=standing: prepared")
		}},
		{"nothing follows a first notice that nobody got", func(d *desk) {
			d.standing.Told = false
			d.at(0, 10, 0).wants("daily 23 10:00 skip: nobody_told")
			d.approve(update, nil)
			d.wants("w1 23 10:00 ask: nobody_told")
		}},
		{"one that was sent late keeps the next one away", func(d *desk) {
			d.times.Apart, d.entries[0].IfLate.Within = 12*time.Hour, 24*time.Hour
			d.at(1, 0, 0).wants("daily 23 10:00 send w1=standing: prepared")
			d.at(1, 10, 0).wants("daily 24 10:00 skip: apart")
			d.at(2, 10, 0).wants("daily 25 10:00 send w2=standing: prepared")
		}},
		{"the moment that a decision takes keeps nothing away", func(d *desk) {
			d.times.Apart = 24 * time.Hour
			d.at(0, 10, 2).wants("daily 23 10:00 send w1=standing: prepared")
			d.at(1, 10, 0).wants("daily 24 10:00 send w2=standing: prepared")
		}},
		{"nothing is decided while it is paused, and then it is late", func(d *desk) {
			d.pause()
			d.at(1, 11, 0).wants()
			d.resume()
			d.wants("daily 23 10:00 skip: missed", "daily 24 10:00 ask: held")
		}},
		{"what would have been due while it was closed does not exist", func(d *desk) {
			d.entries[0].Send = ""
			d.at(0, 10, 0).wants("daily 23 10:00 ask: no_text")
			d.change(func(inc *incident.Incident) { inc.State = candorv1.IncidentState_INCIDENT_STATE_CLOSED })
			d.at(3, 10, 0).wants()
			d.change(func(inc *incident.Incident) {
				inc.State, inc.ReopenedAt = candorv1.IncidentState_INCIDENT_STATE_DECLARED, told.Add(80*time.Hour)
			})
			d.at(3, 18, 0).wants("daily 23 10:00 skip: closed")
			d.at(4, 10, 0).wants("daily 27 10:00 ask: no_text")
		}},
		{"news that the end came before falls", func(d *desk) {
			d.approve(update, withNext)
			d.approve(correction, nil)
			d.approve(update, func(a *candorv1.Addition) { a.At = timestamppb.New(told.Add(5 * time.Hour)) })
			d.change(func(inc *incident.Incident) { inc.ReopenedAt = told.Add(30 * time.Minute) })
			d.at(0, 9, 31).wants("w1 23 09:00 skip: closed", "w2 23 09:00 skip: closed", "w3 23 09:00 skip: closed")
			d.approve(update, nil)
			d.wants("w4 23 09:31 send w4: news")
			d.at(0, 10, 0).wants("daily 23 10:00 send w5=standing: prepared")
			d.at(0, 14, 0).wants()
		}},
		{"an update that asks falls with the end", func(d *desk) {
			d.times.AtMost = 0
			d.approve(update, nil)
			d.pause()
			d.at(1, 9, 1).resume()
			d.wants("w1 23 09:00 ask: held")
			if len(d.inc.Asks()) != 1 {
				d.Errorf("asks = %v", d.inc.Asks())
			}
			d.change(func(inc *incident.Incident) { inc.State = candorv1.IncidentState_INCIDENT_STATE_CLOSED })
			if len(d.inc.Asks()) != 0 {
				d.Errorf("closed, and asks = %v", d.inc.Asks())
			}
			d.at(2, 9, 0).change(func(inc *incident.Incident) {
				inc.State, inc.ReopenedAt = candorv1.IncidentState_INCIDENT_STATE_DECLARED, d.now
			})
			if len(d.inc.Asks()) != 0 {
				d.Errorf("reopened, and asks = %v", d.inc.Asks())
			}
			d.wants("w1 23 09:00 skip: closed")
		}},
		{"what the end came before stands in nobody's way", func(d *desk) {
			d.at(0, 10, 0)
			d.record(d.verdict().Decided)
			d.change(func(inc *incident.Incident) { inc.ReopenedAt = told.Add(20 * time.Hour) })
			d.at(1, 10, 0).wants("daily 24 10:00 send w2=standing: prepared")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.do(daily(t))
		})
	}
}

func TestAlarms(t *testing.T) {
	t.Parallel()
	d := daily(t)
	ten := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	d.approve(incident.KindUpdate, nil)
	d.approve(incident.KindUpdate, func(a *candorv1.Addition) { a.At = timestamppb.New(ten.Add(time.Hour)) })
	want := []Alarm{{"follow-up", "daily", ten}, {"w2", "w2", ten.Add(time.Hour)}}
	if diff := cmp.Diff(want, d.table().Alarms(told)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Alarm{{"follow-up", "daily", ten.AddDate(0, 0, 1)}}, d.table().Alarms(ten.Add(time.Hour))); diff != "" {
		t.Errorf("when the hour has come the following one is due: %s", diff)
	}
	later, due := want[0].Subjects("acme")
	if later != "timetable.acme.follow-up" || due != "due.acme.daily" {
		t.Error(later, due)
	}
	d.change(func(inc *incident.Incident) { inc.State = candorv1.IncidentState_INCIDENT_STATE_CLOSING })
	if got := d.table().Alarms(told); got != nil {
		t.Errorf("closing, and still %v", got)
	}
	if got := New(&incident.Incident{State: candorv1.IncidentState_INCIDENT_STATE_DECLARED}, nil, clock.Clock{}).Alarms(told); got != nil {
		t.Errorf("without a cadence %v", got)
	}
}

// In a rehearsal much calendar passes between the hour of a follow-up and the machine's first look, which makes nothing late.
func TestAFastCalendarMakesNothingLate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		speed float64
		late  time.Duration
		want  string
	}{
		{1, 5 * time.Minute, "send prepared"},
		{1, 6 * time.Minute, "ask late"},
		{60, 6 * time.Minute, "ask late"},
		{3600, 5 * time.Hour, "send prepared"},
		{3600, 5*time.Hour + time.Second, "ask late"},
	} {
		d := daily(t)
		ten := told.Add(time.Hour)
		table := New(d.inc, nil, clock.Fast(ten, ten, tt.speed))
		table.followUps, table.times = d.table().followUps, d.times
		v, err := table.Decide(ten.Add(tt.late), func() (Standing, error) { return d.standing, nil })
		if err != nil {
			t.Fatal(err)
		}
		got := map[candorv1.FollowUpDecision]string{send: "send ", ask: "ask "}[v.Decided.GetDecision()] + v.Decided.GetReason()
		if got != tt.want {
			t.Errorf("at %g times the speed, %s late: %s, want %s", tt.speed, tt.late, got, tt.want)
		}
	}
}

func TestComing(t *testing.T) {
	t.Parallel()
	d := daily(t)
	d.times.AtMost = 4
	d.at(0, 9, 30).approve(incident.KindUpdate, withNext)
	d.approve(incident.KindCorrection, func(a *candorv1.Addition) { a.At = timestamppb.New(told.Add(29 * time.Hour)) })
	d.change(func(inc *incident.Incident) { inc.State = candorv1.IncidentState_INCIDENT_STATE_PAUSED })
	before := d.inc
	var got []string
	for _, c := range d.table().Coming(d.now, told.AddDate(0, 1, 0)) {
		if !c.At.Equal(c.GetDueAt().AsTime()) {
			t.Errorf("%s comes at %s", short(c.FollowUpDecided), c.At)
		}
		got = append(got, short(c.FollowUpDecided))
	}
	want := []string{
		"daily 23 10:00 send w1: news", "daily 24 10:00 send w3=standing: prepared", "w2 24 14:00 send w2: news",
		"daily 25 10:00 send w4=standing: prepared", "daily 26 10:00 send w5=standing: prepared",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if len(before.Decisions) != 0 || before.State != candorv1.IncidentState_INCIDENT_STATE_PAUSED {
		t.Error("the incident was changed")
	}
	if got := d.table().Coming(d.now, told.Add(time.Hour)); len(got) != 1 {
		t.Errorf("%d come until ten, want 1", len(got))
	}
	d.change(func(inc *incident.Incident) { inc.State = candorv1.IncidentState_INCIDENT_STATE_CLOSING })
	if got := d.table().Coming(d.now, told.AddDate(0, 1, 0)); len(got) != 0 {
		t.Errorf("closing, and %d are coming", len(got))
	}
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		do   func(d *desk)
		yes  bool
		want string
	}{
		{"no", func(*desk) {}, false, "daily 23 10:00 skip: person"},
		{"yes takes what was prepared", func(*desk) {}, true, "daily 23 10:00 send w1=standing: person"},
		{"yes takes the news", func(d *desk) { d.approve(incident.KindUpdate, withNext) }, true, "daily 23 10:00 send w1: person"},
		{"yes leaves news that goes by itself", func(d *desk) { d.approve(incident.KindUpdate, nil) }, true, "daily 23 10:00 send w2=standing: person"},
		{"yes without a text", func(d *desk) { d.entries[0].Send = "" }, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := daily(t)
			tt.do(d)
			d.at(0, 12, 0)
			q := incident.Decision{FollowUpDecided: &candorv1.FollowUpDecided{Name: "daily", DueAt: timestamppb.New(told.Add(time.Hour)), Decision: ask}}
			got, err := d.table().Answer(&q, tt.yes)
			if tt.want == "" {
				if !errors.Is(err, ErrNoText) {
					t.Errorf("Answer = %v, %v", got, err)
				}
				return
			}
			if err != nil || short(got) != tt.want {
				t.Errorf("Answer = %s, %v, want %s", short(got), err, tt.want)
			}
		})
	}
	d := daily(t)
	wave := d.approve(incident.KindUpdate, nil)
	d.at(2, 9, 0)
	d.record(&candorv1.FollowUpDecided{Name: wave, DueAt: timestamppb.New(told), Decision: ask, Reason: ReasonLate})
	got, err := d.table().Answer(d.inc.Asks()[0], true)
	if err != nil || short(got) != "w1 23 09:00 send w1: person" {
		t.Errorf("Answer = %s, %v", short(got), err)
	}
}

func TestStandingOf(t *testing.T) {
	t.Parallel()
	wave := func(name, state string) *candorv1.WaveStatus {
		return &candorv1.WaveStatus{Wave: name, Channels: []*candorv1.ChannelStatus{{States: map[string]uint64{"accepted": 4}}, {States: map[string]uint64{state: 1}}}}
	}
	got := StandingOf(&candorv1.Status{
		People: &candorv1.PeopleStatus{Told: 1},
		Waves: []*candorv1.WaveStatus{
			wave("w0", "planned"), wave("w1", "waiting"), wave("w2", "intended"), wave("w3", "uncertain"), wave("w4", "failed"), wave("w5", "expired"), wave("w6", "suppressed"), wave("w7", "delivered"),
		},
	})
	open := map[string]bool{"w0": true, "w1": true, "w2": true}
	if diff := cmp.Diff(Standing{Told: true, Open: open, Retried: map[string]bool{}, Unread: open}, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	got = StandingOf(&candorv1.Status{Waves: []*candorv1.WaveStatus{
		{Wave: "w0", Channels: []*candorv1.ChannelStatus{{}, {ToCome: 2}}},
		{Wave: "w1", Channels: []*candorv1.ChannelStatus{{States: map[string]uint64{"waiting": 2}, Retrying: 2}}},
		{Wave: "w2", Channels: []*candorv1.ChannelStatus{{States: map[string]uint64{"waiting": 2}, Retrying: 1}}},
		{Wave: "w3", Channels: []*candorv1.ChannelStatus{{Channel: candorv1.Channel_CHANNEL_CALL, States: map[string]uint64{"planned": 2}, ToCome: 3}}},
	}})
	want := Standing{
		Open: map[string]bool{"w2": true, "w3": true}, Retried: map[string]bool{"w1": true, "w2": true}, Unread: map[string]bool{"w0": true, "w1": true, "w2": true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if StandingOf(nil).Told {
		t.Error("nobody knows the incident, and somebody was told")
	}
	d := daily(t)
	d.at(0, 10, 0)
	d.record(d.verdict().Decided)
	if got := d.table().Behind(nil, Standing{}); got != "w1" {
		t.Errorf("before it is planned Behind = %q", got)
	}
	d.plan("w1", true)
	if got := d.table().Behind(nil, d.standing); got != "w1" {
		t.Errorf("while it is open Behind = %q", got)
	}
	d.standing.Open["w1"], d.standing.Retried["w1"] = false, true
	if got := d.table().Behind(nil, d.standing); got != "" {
		t.Errorf("when it is sent but for other attempts Behind = %q", got)
	}
	correction := &candorv1.FollowUpDecided{Wave: d.approve(incident.KindCorrection, func(a *candorv1.Addition) { a.Corrects = "w0" })}
	if got := d.table().Behind(correction, Standing{}); got != "w0" {
		t.Errorf("what it corrects is not planned, and Behind = %q", got)
	}
	d.plan("w0", false)
	if got := d.table().Behind(correction, Standing{Unread: map[string]bool{"w0": true}}); got != "w0" {
		t.Errorf("what it corrects goes out, and Behind = %q", got)
	}
	if got := d.table().Behind(correction, Standing{}); got != "" {
		t.Errorf("what it corrects went out, and Behind = %q", got)
	}
}

func TestTheLedgerIsAskedOnlyBeforeSomethingIsSent(t *testing.T) {
	t.Parallel()
	d := daily(t)
	gone := errors.New("gone")
	decide := func() (Verdict, error) {
		return d.table().Decide(d.now, func() (Standing, error) { return Standing{}, gone })
	}
	d.at(0, 11, 0)
	if v, err := decide(); err != nil || v.Decided.GetReason() != ReasonLate {
		t.Errorf("Decide = %v, %v", v, err)
	}
	d.at(0, 10, 0)
	if v, err := decide(); !errors.Is(err, gone) || v.Decided != nil {
		t.Errorf("Decide = %v, %v: where the waves stand is not known", v, err)
	}
}
