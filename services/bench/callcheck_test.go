package bench

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	candorv1 "candor/proto/candor/v1"
)

// monday is noon in New York.
var monday = time.Date(2026, 11, 23, 17, 0, 0, 0, time.UTC)

const (
	auditedHours = "mon-fri 09:00-20:00, sat 10:00-18:00"
	newYork      = "America/New_York"
)

// auditedRules are those of a real playbook, with caps of three a day, four a week and five in all, and a gap of a minute.
func auditedRules(t *testing.T) *callRules {
	t.Helper()
	pb, _, err := callTexts(&callHours{open: auditedHours, narrow: auditedHours})
	if err != nil {
		t.Fatal(err)
	}
	for _, edit := range [][2]string{{"person_per_week: 7", "person_per_week: 4"}, {"total: 6", "total: 5"}, {"gap: 2s", "gap: 1m"}} {
		if !strings.Contains(pb, edit[0]) {
			t.Fatalf("no %s", edit[0])
		}
		pb = strings.Replace(pb, edit[0], edit[1], 1)
	}
	r, err := readCallRules(pb)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// callLog is a log made by hand.
type callLog struct {
	audit *callAudit
	books callJournals
	at    time.Time
	owner uint64
	// together has what comes next belong to the turn of what came last.
	together bool
}

func newCallLog(t *testing.T) *callLog {
	t.Helper()
	l := &callLog{audit: newCallAudit(map[string]*callRules{"a": auditedRules(t)}), books: callJournals{}, at: monday, owner: 1}
	l.append(&candorv1.CallEvent{Event: &candorv1.CallEvent_Owned{Owned: &candorv1.CallQueueOwned{}}})
	l.books.entry(callPage{"a", "w0", 0}, &candorv1.JournalEntry{Event: &candorv1.JournalEntry_Opened{Opened: &candorv1.Opened{Slots: 2}}})
	l.append(&candorv1.CallEvent{Event: &candorv1.CallEvent_Queued{Queued: &candorv1.CallsQueued{Wave: "w0", Slots: []uint32{0, 2}}}})
	return l
}

func (l *callLog) append(events ...*candorv1.CallEvent) {
	if !l.together {
		l.after(time.Nanosecond)
	}
	l.audit.entry("a", &candorv1.CallEvents{OccurredAt: timestamppb.New(l.at), Owner: l.owner, Events: events})
}

func (l *callLog) after(d time.Duration) { l.at = l.at.Add(d) }

func one(slot uint32) *candorv1.CustomerPlace {
	return &candorv1.CustomerPlace{Incident: "a", Slot: slot}
}

// lease leases a task for five minutes; change may make it wrong.
func (l *callLog) lease(slot uint32, fence uint64, change ...func(*candorv1.CallLeased)) {
	e := &candorv1.CallLeased{
		Customer: one(slot), Lease: fence, Fence: fence, Attempt: uint32(fence), Dialer: "d", ExpiresAt: timestamppb.New(l.at.Add(5 * time.Minute)),
		WindowEndsAt: timestamppb.New(time.Date(2026, 11, 24, 0, 59, 55, 0, time.UTC)), Number: uint64(100 + slot), Zones: []string{newYork},
	}
	for _, c := range change {
		c(e)
	}
	l.append(&candorv1.CallEvent{Event: &candorv1.CallEvent_Leased{Leased: e}})
}

func (l *callLog) complete(slot uint32, fence uint64, disposition string, change ...func(*candorv1.CallCompleted)) {
	e := &candorv1.CallCompleted{Customer: one(slot), Fence: fence, Disposition: disposition, Number: uint64(100 + slot), State: candorv1.CallState_CALL_STATE_WAITING}
	if disposition == "notified" {
		e.State = candorv1.CallState_CALL_STATE_DONE
	}
	for _, c := range change {
		c(e)
	}
	l.append(&candorv1.CallEvent{Event: &candorv1.CallEvent_Completed{Completed: e}})
}

func (l *callLog) expire(slot uint32, fence uint64) {
	l.append(&candorv1.CallEvent{Event: &candorv1.CallEvent_LeaseExpired{LeaseExpired: &candorv1.CallLeaseExpired{Customer: one(slot), Fence: fence}}})
}

func (l *callLog) release(slot uint32, fence uint64) {
	l.append(&candorv1.CallEvent{Event: &candorv1.CallEvent_Released{Released: &candorv1.CallReleased{Customer: one(slot), Fence: fence}}})
}

func (l *callLog) withdraw(slot uint32, state candorv1.CallState) {
	l.append(&candorv1.CallEvent{Event: &candorv1.CallEvent_Withdrawn{Withdrawn: &candorv1.CallWithdrawn{Customers: []*candorv1.CustomerPlace{one(slot)}, State: state, Reason: "attempts"}}})
}

func (l *callLog) outcome(slot uint32, result candorv1.Result) {
	l.books.entry(callPage{"a", "w0", 0}, &candorv1.JournalEntry{Event: &candorv1.JournalEntry_Outcomes{Outcomes: &candorv1.Outcomes{
		Groups: []*candorv1.OutcomeGroup{{Result: result, Slots: []uint32{slot, 1}}},
	}}})
}

func (l *callLog) renew(slot uint32, fence uint64) {
	l.append(&candorv1.CallEvent{Event: &candorv1.CallEvent_Renewed{Renewed: &candorv1.CallRenewed{
		Customer: one(slot), Fence: fence, ExpiresAt: timestamppb.New(l.at.Add(10 * time.Minute)),
	}}})
}

// wish has the customer ask for a call, as soon as may be.
func (l *callLog) wish(slot uint32) {
	l.append(&candorv1.CallEvent{Event: &candorv1.CallEvent_CallBackAsked{CallBackAsked: &candorv1.CallBackAsked{Customer: one(slot), Request: "r"}}})
}

// given makes five calls to the customer that nobody answers, and gives them up.
func (l *callLog) given() {
	for fence := range uint64(5) {
		l.at = monday.Add(time.Duration(fence)*7*24*time.Hour + time.Duration(fence)*10*time.Minute)
		l.lease(0, fence+1, always)
		l.complete(0, fence+1, "no_answer")
	}
	l.withdraw(0, candorv1.CallState_CALL_STATE_FAILED)
	l.outcome(0, candorv1.Result_RESULT_FAILED)
	l.after(7*24*time.Hour + time.Minute)
}

// told calls the customer and tells them.
func (l *callLog) told(slot uint32, fence uint64) {
	l.lease(slot, fence)
	l.after(time.Minute)
	l.complete(slot, fence, "notified")
	l.outcome(slot, candorv1.Result_RESULT_DELIVERED)
}

// rest is the second customer, who is no part of the story.
func (l *callLog) rest() { l.told(1, 1) }

func (l *callLog) found() string {
	r := l.audit.finish(l.books, map[string]bool{})
	return strings.Join(slices.Sorted(maps.Keys(r.Violations)), " ")
}

// Each log but the first ones breaks one rule, and the checker must name that rule and no other.
func TestTheCheckerSeesWhatIsWrong(t *testing.T) {
	t.Parallel()
	failed, suppressed := candorv1.CallState_CALL_STATE_FAILED, candorv1.CallState_CALL_STATE_SUPPRESSED
	unanswered := func(l *callLog, fence uint64) {
		l.lease(0, fence)
		l.complete(0, fence, "no_answer")
		l.after(2 * time.Minute)
	}
	for _, tt := range []struct {
		name, want string
		story      func(*callLog)
	}{
		{"all is well", "", func(l *callLog) { l.told(0, 1); l.rest() }},
		{"a second try, a release, a lease that ends, another owner", "", func(l *callLog) {
			unanswered(l, 1)
			l.lease(0, 2)
			l.release(0, 2)
			l.lease(0, 3, func(e *candorv1.CallLeased) { e.Attempt = 2 })
			l.after(6 * time.Minute)
			l.owner = 2
			l.append(&candorv1.CallEvent{Event: &candorv1.CallEvent_Owned{Owned: &candorv1.CallQueueOwned{}}})
			l.expire(0, 3)
			l.after(2 * time.Minute)
			l.lease(0, 4, func(e *candorv1.CallLeased) { e.Attempt = 3 })
			l.complete(0, 4, "notified")
			l.outcome(0, candorv1.Result_RESULT_DELIVERED)
			l.rest()
		}},
		{"told after the end, by a report that came late", "", func(l *callLog) {
			l.lease(0, 1)
			l.after(6 * time.Minute)
			l.expire(0, 1)
			l.withdraw(0, failed)
			l.outcome(0, candorv1.Result_RESULT_FAILED)
			l.complete(0, 1, "notified", func(e *candorv1.CallCompleted) { e.Late = true })
			l.outcome(0, candorv1.Result_RESULT_DELIVERED)
			l.rest()
		}},
		{"one lease ends and another begins, of two who share a number, in one turn", "", func(l *callLog) {
			same := func(e *candorv1.CallLeased) { e.Number = 7 }
			l.lease(0, 1, same)
			l.after(time.Minute)
			l.lease(1, 1, same)
			l.together = true
			l.complete(0, 1, "congestion", func(e *candorv1.CallCompleted) { e.Number = 7 }) // which counts nothing
			l.together = false
			l.after(2 * time.Minute)
			l.complete(1, 1, "notified", func(e *candorv1.CallCompleted) { e.Number = 7 })
			l.outcome(1, candorv1.Result_RESULT_DELIVERED)
			l.after(2 * time.Minute)
			l.lease(0, 2, same)
			l.complete(0, 2, "notified", func(e *candorv1.CallCompleted) { e.Number = 7 })
			l.outcome(0, candorv1.Result_RESULT_DELIVERED)
		}},
		{"called back at night, since the customer wants it", "", func(l *callLog) {
			night := monday.Add(12 * time.Hour)
			l.lease(0, 1)
			l.complete(0, 1, "callback", func(e *candorv1.CallCompleted) { e.CallBackAt = timestamppb.New(night) })
			l.told(1, 1)
			l.at = night
			l.lease(0, 2, func(e *candorv1.CallLeased) { e.WindowEndsAt = timestamppb.New(night.Add(10 * time.Minute)) })
			l.complete(0, 2, "notified")
			l.outcome(0, candorv1.Result_RESULT_DELIVERED)
		}},
		{"given up, and told since they ask for a call", "", func(l *callLog) {
			l.rest()
			l.given()
			l.wish(0)
			l.lease(0, 6, always)
			l.complete(0, 6, "notified")
			l.outcome(0, candorv1.Result_RESULT_DELIVERED)
		}},
		{"told since they ask for a call, of which the journal does not know", "other_outcome", func(l *callLog) {
			l.rest()
			l.given()
			l.wish(0)
			l.lease(0, 6, always)
			l.complete(0, 6, "notified")
		}},
		{"more calls in all, since there is another wave", "cap_total", func(l *callLog) {
			l.rest()
			l.given()
			l.append(&candorv1.CallEvent{Event: &candorv1.CallEvent_Queued{Queued: &candorv1.CallsQueued{Wave: "w1", Slots: []uint32{0, 1}}}})
			l.lease(0, 6, always)
			l.complete(0, 6, "notified")
			l.books.entry(callPage{"a", "w1", 0}, &candorv1.JournalEntry{Event: &candorv1.JournalEntry_Outcomes{Outcomes: &candorv1.Outcomes{
				Groups: []*candorv1.OutcomeGroup{{Result: candorv1.Result_RESULT_DELIVERED, Slots: []uint32{0, 1}}},
			}}})
		}},
		{"more numbers than there may be calls", "cap_person", func(l *callLog) {
			l.lease(0, 1, func(e *candorv1.CallLeased) { e.NextPhones = []uint32{1, 2, 3, 4} })
			l.complete(0, 1, "notified")
			l.outcome(0, candorv1.Result_RESULT_DELIVERED)
			l.rest()
		}},
		{"too soon after a number that rang before the one that was reported", "gap", func(l *callLog) {
			l.lease(0, 1, func(e *candorv1.CallLeased) { e.NextPhones = []uint32{1} })
			l.complete(0, 1, "notified", func(e *candorv1.CallCompleted) { e.Phone, e.Number = 1, 7 })
			l.outcome(0, candorv1.Result_RESULT_DELIVERED)
			l.after(30 * time.Second)
			same := func(e *candorv1.CallLeased) { e.Number = 100 }
			l.lease(1, 1, same)
			l.complete(1, 1, "notified", func(e *candorv1.CallCompleted) { e.Number = 100 })
			l.outcome(1, candorv1.Result_RESULT_DELIVERED)
		}},
		{"a second number where the day ends sooner", "window", func(l *callLog) {
			l.lease(0, 1, func(e *candorv1.CallLeased) {
				e.Zones, e.NextPhones = []string{"America/Los_Angeles"}, []uint32{1}
				e.WindowEndsAt = timestamppb.New(e.GetWindowEndsAt().AsTime().Add(3 * time.Hour))
			})
			l.complete(0, 1, "busy")
			l.after(2 * time.Minute)
			l.lease(0, 2, func(e *candorv1.CallLeased) { e.Phone, e.Number = 1, 7 })
			l.complete(0, 2, "notified", func(e *candorv1.CallCompleted) { e.Phone, e.Number = 1, 7 })
			l.outcome(0, candorv1.Result_RESULT_DELIVERED)
			l.rest()
		}},
		{"dialled after the hours", "hours_dialled", func(l *callLog) {
			l.rest()
			l.at = monday.Add(8*time.Hour - time.Minute)
			l.lease(0, 1)
			l.after(2 * time.Minute)
			l.complete(0, 1, "notified", func(e *candorv1.CallCompleted) { e.StartedAt = timestamppb.New(l.at.Add(-30 * time.Second)) })
			l.outcome(0, candorv1.Result_RESULT_DELIVERED)
		}},
		{"called at once, when the customer said in ten minutes", "too_early", func(l *callLog) {
			l.lease(0, 1)
			l.complete(0, 1, "callback", func(e *candorv1.CallCompleted) { e.CallBackAt = timestamppb.New(l.at.Add(10 * time.Minute)) })
			l.after(2 * time.Minute)
			l.told(0, 2)
			l.rest()
		}},
		{"renewed after an earlier call has told the customer", "renewal_stop", func(l *callLog) {
			l.lease(0, 1)
			l.after(6 * time.Minute)
			l.expire(0, 1)
			l.after(2 * time.Minute)
			l.lease(0, 2)
			l.complete(0, 1, "notified", func(e *candorv1.CallCompleted) { e.Late, e.State = true, candorv1.CallState_CALL_STATE_LEASED })
			l.renew(0, 2)
			l.complete(0, 2, "no_answer", func(e *candorv1.CallCompleted) { e.State = candorv1.CallState_CALL_STATE_DONE })
			l.outcome(0, candorv1.Result_RESULT_DELIVERED)
			l.rest()
		}},
		{"renewed after the hours", "renewal_hours", func(l *callLog) {
			l.rest()
			l.at = monday.Add(8*time.Hour - time.Minute)
			l.lease(0, 1)
			l.after(time.Minute + time.Second)
			l.renew(0, 1)
			l.complete(0, 1, "notified")
			l.outcome(0, candorv1.Result_RESULT_DELIVERED)
		}},
		{"two leases at once", "held_by_two", func(l *callLog) {
			l.lease(0, 1)
			l.lease(0, 2)
			l.release(0, 1)
			l.complete(0, 2, "notified")
			l.outcome(0, candorv1.Result_RESULT_DELIVERED)
			l.rest()
		}},
		{"two customers with one number at once", "number_held", func(l *callLog) {
			same := func(e *candorv1.CallLeased) { e.Number = 7 }
			l.lease(0, 1, same)
			l.lease(1, 1, same)
			for slot := range uint32(2) {
				l.complete(slot, 1, "notified", func(e *candorv1.CallCompleted) { e.Number = 7 })
				l.outcome(slot, candorv1.Result_RESULT_DELIVERED)
			}
		}},
		{"a fence that does not rise", "fence", func(l *callLog) {
			l.lease(0, 5, func(e *candorv1.CallLeased) { e.Attempt = 1 })
			l.release(0, 5)
			l.lease(0, 4, func(e *candorv1.CallLeased) { e.Attempt = 1 })
			l.complete(0, 4, "notified")
			l.outcome(0, candorv1.Result_RESULT_DELIVERED)
			l.rest()
		}},
		{"a wrong number of the attempt", "attempt", func(l *callLog) {
			l.lease(0, 1, func(e *candorv1.CallLeased) { e.Attempt = 2 })
			l.complete(0, 1, "notified")
			l.outcome(0, candorv1.Result_RESULT_DELIVERED)
			l.rest()
		}},
		{"a lease that ends before its time", "expired_early", func(l *callLog) {
			l.lease(0, 1)
			l.after(time.Minute)
			l.expire(0, 1)
			l.after(2 * time.Minute)
			l.told(0, 2)
			l.rest()
		}},
		{"a renewal of a lease that is over", "renewal", func(l *callLog) {
			l.told(0, 1)
			l.append(&candorv1.CallEvent{Event: &candorv1.CallEvent_Renewed{Renewed: &candorv1.CallRenewed{Customer: one(0), Fence: 1, ExpiresAt: timestamppb.New(l.at.Add(time.Hour))}}})
			l.rest()
		}},
		{"a lease that nobody was given", "unknown_lease", func(l *callLog) {
			l.told(0, 1)
			l.complete(0, 9, "notified")
			l.rest()
		}},
		{"a customer who was never queued", "unknown_task", func(l *callLog) { l.told(0, 1); l.rest(); l.lease(7, 1) }},
		{"the same lease reported twice", "ended_twice reported_twice told_twice", func(l *callLog) { l.told(0, 1); l.complete(0, 1, "notified"); l.rest() }},
		{"told twice by two who held the task", "leased_after_end told_twice", func(l *callLog) {
			l.told(0, 1)
			l.after(2 * time.Minute)
			l.lease(0, 2)
			l.complete(0, 2, "notified")
			l.rest()
		}},
		{"more calls to a number in a day than there may be", "cap_number", func(l *callLog) {
			for fence := range uint64(3) {
				unanswered(l, fence+1)
			}
			l.told(0, 4)
			l.rest()
		}},
		{"more calls to a person in a week than there may be", "cap_person", func(l *callLog) {
			l.rest()
			for fence := range uint64(4) {
				l.at = monday.Add(time.Duration(fence)*24*time.Hour + time.Duration(fence)*10*time.Minute)
				l.lease(0, fence+1, always)
				l.complete(0, fence+1, "no_answer")
			}
			l.after(2 * time.Minute)
			l.lease(0, 5, always)
			l.complete(0, 5, "notified")
			l.outcome(0, candorv1.Result_RESULT_DELIVERED)
		}},
		{"more calls in all than there may be", "cap_total", func(l *callLog) {
			l.rest()
			for fence := range uint64(5) {
				l.at = monday.Add(time.Duration(fence)*7*24*time.Hour + time.Duration(fence)*10*time.Minute)
				l.lease(0, fence+1, always)
				l.complete(0, fence+1, "no_answer")
			}
			l.after(7*24*time.Hour + time.Minute)
			l.lease(0, 6, always)
			l.complete(0, 6, "notified")
			l.outcome(0, candorv1.Result_RESULT_DELIVERED)
		}},
		{"too soon after the last call", "gap", func(l *callLog) {
			l.lease(0, 1)
			l.complete(0, 1, "no_answer")
			l.after(59 * time.Second)
			l.told(0, 2)
			l.rest()
		}},
		{"at the time of day at which nobody answered", "spread", func(l *callLog) {
			l.lease(0, 1)
			l.complete(0, 1, "no_answer")
			l.rest()
			l.at = monday.Add(24*time.Hour - 2*time.Second)
			l.lease(0, 2, always)
			l.complete(0, 2, "notified")
			l.outcome(0, candorv1.Result_RESULT_DELIVERED)
		}},
		{"outside the hours of one of two zones", "hours", func(l *callLog) {
			l.at = monday.Add(-1 * time.Hour) // 08:00 in Los Angeles
			l.lease(0, 1, func(e *candorv1.CallLeased) { e.Zones = []string{newYork, "America/Los_Angeles"} })
			l.complete(0, 1, "notified")
			l.outcome(0, candorv1.Result_RESULT_DELIVERED)
			l.rest()
		}},
		{"without a zone", "hours", func(l *callLog) {
			l.lease(0, 1, func(e *candorv1.CallLeased) { e.Zones = nil })
			l.complete(0, 1, "notified")
			l.outcome(0, candorv1.Result_RESULT_DELIVERED)
			l.rest()
		}},
		{"a window that ends after the hours", "window", func(l *callLog) {
			l.lease(0, 1, func(e *candorv1.CallLeased) {
				e.WindowEndsAt = timestamppb.New(e.GetWindowEndsAt().AsTime().Add(time.Second))
			})
			l.complete(0, 1, "notified")
			l.outcome(0, candorv1.Result_RESULT_DELIVERED)
			l.rest()
		}},
		{"a window that is over", "window", func(l *callLog) {
			l.lease(0, 1, func(e *candorv1.CallLeased) { e.WindowEndsAt = timestamppb.New(l.at.Add(-time.Second)) })
			l.complete(0, 1, "notified")
			l.outcome(0, candorv1.Result_RESULT_DELIVERED)
			l.rest()
		}},
		{"somebody who wants no calls", "do_not_call leased_after_end", func(l *callLog) {
			l.lease(0, 1)
			l.complete(0, 1, "do_not_call", func(e *candorv1.CallCompleted) { e.State = suppressed })
			l.outcome(0, candorv1.Result_RESULT_SUPPRESSED)
			l.after(2 * time.Minute)
			l.lease(0, 2)
			l.complete(0, 2, "do_not_call", func(e *candorv1.CallCompleted) { e.State = suppressed })
			l.rest()
		}},
		{"a number that is not the customer's", "bad_number", func(l *callLog) {
			l.lease(0, 1)
			l.complete(0, 1, "wrong_number")
			l.after(2 * time.Minute)
			l.told(0, 2)
			l.rest()
		}},
		{"a phone that changes its number", "number", func(l *callLog) {
			l.lease(0, 1)
			l.complete(0, 1, "busy")
			l.after(2 * time.Minute)
			l.lease(0, 2, func(e *candorv1.CallLeased) { e.Number = 9 })
			l.complete(0, 2, "notified", func(e *candorv1.CallCompleted) { e.Number = 9 })
			l.outcome(0, candorv1.Result_RESULT_DELIVERED)
			l.rest()
		}},
		{"an old owner who goes on", "foreign_owner", func(l *callLog) {
			l.owner = 2
			l.append(&candorv1.CallEvent{Event: &candorv1.CallEvent_Owned{Owned: &candorv1.CallQueueOwned{}}})
			l.owner = 1
			l.told(0, 1)
			l.owner = 2
			l.rest()
		}},
		{"a task that never ends", "no_end", func(l *callLog) { unanswered(l, 1); l.rest() }},
		{"a lease that never ends", "lease_left no_end", func(l *callLog) { l.lease(0, 1); l.rest() }},
		{"two ends", "two_ends", func(l *callLog) { l.told(0, 1); l.withdraw(0, failed); l.rest() }},
		{"no word in the journal", "no_outcome", func(l *callLog) {
			l.lease(0, 1)
			l.complete(0, 1, "notified")
			l.rest()
		}},
		{"another word in the journal", "other_outcome", func(l *callLog) {
			l.lease(0, 1)
			l.complete(0, 1, "notified")
			l.outcome(0, candorv1.Result_RESULT_FAILED)
			l.rest()
		}},
		{"two words in the journal", "outcomes", func(l *callLog) {
			l.outcome(0, candorv1.Result_RESULT_FAILED)
			l.told(0, 1)
			l.rest()
		}},
		{"a customer of the wave who was lost", "lost", func(l *callLog) {
			l.told(0, 1)
			l.rest()
			l.books.entry(callPage{"a", "w0", 0}, &candorv1.JournalEntry{Event: &candorv1.JournalEntry_Admitted{Admitted: &candorv1.Admitted{Audience: []uint32{5, 1}}}})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newCallLog(t)
			tt.story(l)
			if got := l.found(); got != tt.want {
				t.Errorf("found %q, want %q\n%s", got, tt.want, strings.Join(l.audit.report.Examples, "\n"))
			}
		})
	}
}

// always ends the window with the day of the lease.
func always(e *candorv1.CallLeased) {
	zone, err := time.LoadLocation(newYork)
	if err != nil {
		panic(err)
	}
	at := e.GetExpiresAt().AsTime().In(zone)
	e.WindowEndsAt = timestamppb.New(time.Date(at.Year(), at.Month(), at.Day(), 19, 59, 55, 0, zone))
}

func TestTheCheckersHours(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		hours, at, zone, end string // end is empty where it is closed
	}{
		{auditedHours, "2026-11-23T09:00:00", newYork, "2026-11-23T20:00:00"},
		{auditedHours, "2026-11-23T08:59:59", newYork, ""},
		{auditedHours, "2026-11-23T20:00:00", newYork, ""},
		{auditedHours, "2026-11-28T12:00:00", newYork, "2026-11-28T18:00:00"},
		{auditedHours, "2026-11-29T12:00:00", newYork, ""},
		{auditedHours + ", closed 2026-11-23", "2026-11-23T12:00:00", newYork, ""},
		{"mon 09:00-12:00 13:00-20:00", "2026-11-23T12:30:00", newYork, ""},
		{"mon 09:00-12:00 13:00-20:00", "2026-11-23T13:00:00", newYork, "2026-11-23T20:00:00"},
		{"sat-mon 00:00-24:00", "2026-11-21T10:00:00", newYork, "2026-11-24T00:00:00"},
		{"sat-mon 00:00-24:00, closed 2026-11-22", "2026-11-21T10:00:00", newYork, "2026-11-22T00:00:00"},
		{"mon-sun 00:00-24:00", "2026-11-21T10:00:00", newYork, "never"},
		{"sun 04:00-20:00", "2026-03-08T10:00:00", newYork, "2026-03-08T20:00:00"}, // the day is 23 hours long
		{"sun 04:00-20:00", "2026-04-05T10:00:00", "Australia/Lord_Howe", "2026-04-05T20:00:00"},
	} {
		t.Run(fmt.Sprint(tt.hours, " at ", tt.at), func(t *testing.T) {
			t.Parallel()
			h, err := parseHours(tt.hours)
			if err != nil {
				t.Fatal(err)
			}
			zone, err := time.LoadLocation(tt.zone)
			if err != nil {
				t.Fatal(err)
			}
			at, err := time.ParseInLocation("2006-01-02T15:04:05", tt.at, zone)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			switch end, open := h.until(at.Unix(), zone); {
			case open && end == endless:
				got = "never"
			case open:
				got = time.Unix(end, 0).In(zone).Format("2006-01-02T15:04:05")
			}
			if got != tt.end {
				t.Errorf("open until %q, want %q", got, tt.end)
			}
		})
	}
	for _, wrong := range []string{"", "mon", "noday 09:00-10:00", "mon morning", "mon 9-10"} {
		if h, err := parseHours(wrong); err == nil {
			t.Errorf("parseHours(%q) = %v", wrong, h)
		}
	}
}

// Whatever the time is, one zone closes and another opens at the turn.
func TestHoursAroundAnyTime(t *testing.T) {
	t.Parallel()
	for minutes := range 24 * 60 {
		now := monday.Add(time.Duration(minutes) * time.Minute)
		around, err := hoursAround(now)
		if err != nil {
			t.Fatal(err)
		}
		h, err := parseHours(around.open)
		if err != nil {
			t.Fatal(err)
		}
		var before, after [2]bool
		for i, name := range around.zones[:2] {
			zone, err := time.LoadLocation(name)
			if err != nil {
				t.Fatal(err)
			}
			_, before[i] = h.until(around.turn.Unix()-1, zone)
			_, after[i] = h.until(around.turn.Unix(), zone)
		}
		if before != [2]bool{true, false} || after != [2]bool{false, true} {
			t.Fatalf("at %s: %+v, open %v and then %v", now, around, before, after)
		}
		if minutes%60 != 0 {
			continue
		}
		pb, _, err := callTexts(around)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := readCallRules(pb); err != nil {
			t.Fatalf("at %s: %v", now, err)
		}
	}
}
