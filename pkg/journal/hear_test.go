package journal

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	candorv1 "candor/proto/candor/v1"
)

const (
	delivered       = candorv1.Result_RESULT_DELIVERED
	undelivered     = candorv1.Result_RESULT_UNDELIVERED
	undeliveredSoft = candorv1.Result_RESULT_UNDELIVERED_RETRY
	undeliveredNext = candorv1.Result_RESULT_UNDELIVERED_NEXT_ADDRESS
	doubtful        = candorv1.Result_RESULT_DOUBTFUL
	stopped         = candorv1.Result_RESULT_OPTED_OUT
)

func allResults() []candorv1.Result {
	return []candorv1.Result{
		accepted, retry, nextAddress, failed, withdrawn, unknown, notSeen, notFound, suppressed, expired,
		delivered, undelivered, undeliveredSoft, undeliveredNext, doubtful, stopped,
	}
}

// receipt marks an entry of the receipts among those of a journal.
func receipt(attempt uint32, r candorv1.Result, reason string, runs ...uint32) *candorv1.JournalEntry {
	e := outcome1(attempt, r, reason, runs...)
	e.GetOutcomes().Decider = candorv1.Decider_DECIDER_RECEIPT
	return e
}

func heard(e *candorv1.JournalEntry) bool {
	return e.GetOutcomes().GetDecider() == candorv1.Decider_DECIDER_RECEIPT
}

// join folds the entries in their order, each into its own stream.
func join(worker bool, entries ...*candorv1.JournalEntry) (*State, error) {
	st := NewState(NewWords(), candorv1.Channel_CHANNEL_SMS, worker)
	for _, e := range entries {
		var err error
		if heard(e) {
			err = st.Hear(st.HeardSeq+1, e)
		} else {
			err = st.Apply(st.LastSeq+1, e)
		}
		if err != nil {
			return nil, fmt.Errorf("%v: %w", e, err)
		}
	}
	return st, nil
}

func joined(t testing.TB, entries ...*candorv1.JournalEntry) *State {
	t.Helper()
	st, err := join(true, entries...)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestASlotIsSmall(t *testing.T) {
	t.Parallel()
	if n := unsafe.Sizeof(Slot{}); n > 10 {
		t.Errorf("a slot takes %d bytes, a ledger holds millions", n)
	}
}

func TestNoticeAfterReceipts(t *testing.T) {
	t.Parallel()
	type entries = []*candorv1.JournalEntry
	byPerson := func(e *candorv1.JournalEntry) *candorv1.JournalEntry {
		e.GetOutcomes().Decider = candorv1.Decider_DECIDER_PERSON
		return e
	}
	sent := entries{intent(1, 0, 1), outcome1(1, accepted, "", 0, 1)}
	twice := slices.Concat(sent, entries{receipt(1, undeliveredSoft, "off", 0, 1), intent(2, 0, 1), outcome1(2, accepted, "", 0, 1)})
	for _, tt := range []struct {
		name    string
		entries entries
		want    string
		// accepted, duplicates and the attempt shown
		counts [3]int
		flags  string
	}{
		{"delivered", slices.Concat(sent, entries{receipt(1, delivered, "", 0, 1)}), "DELIVERED ", [3]int{1, 0, 1}, "settled ever"},
		{"delivered before the outcome", entries{intent(1, 0, 1), receipt(1, delivered, "", 0, 1)}, "DELIVERED ", [3]int{1, 0, 1}, "settled ever"},
		{"delivered, and the sender died", entries{intent(1, 0, 1), receipt(1, delivered, "", 0, 1), outcome1(1, unknown, "sender_died", 0, 1)}, "DELIVERED ", [3]int{1, 0, 1}, "settled ever"},
		{"delivered, and called unsent", entries{intent(1, 0, 1), receipt(1, delivered, "", 0, 1), outcome1(1, notFound, "x", 0, 1)}, "DELIVERED ", [3]int{1, 0, 1}, "settled ever"},
		{"off, then delivered", slices.Concat(sent, entries{receipt(1, undeliveredSoft, "off", 0, 1), receipt(1, delivered, "", 0, 1)}), "DELIVERED ", [3]int{1, 0, 1}, "settled ever"},
		{"delivered, then off", slices.Concat(sent, entries{receipt(1, delivered, "", 0, 1), receipt(1, undeliveredSoft, "off", 0, 1)}), "DELIVERED ", [3]int{1, 0, 1}, "settled ever"},
		{"off", slices.Concat(sent, entries{receipt(1, undeliveredSoft, "off", 0, 1)}), "WAITING off", [3]int{0, 0, 1}, "ever undelivered ready returned"},
		{"off, and sealed", slices.Concat(sent, entries{receipt(1, undeliveredSoft, "off", 0, 1), sealed("aborted")}), "EXPIRED aborted", [3]int{0, 0, 1}, "settled ever undelivered returned"},
		{"sealed, and accepted", slices.Concat(sent, entries{sealed("aborted")}), "ACCEPTED ", [3]int{1, 0, 1}, "settled ever"},
		{"landline", slices.Concat(sent, entries{receipt(1, undeliveredNext, "landline", 0, 1)}), "WAITING landline", [3]int{0, 0, 1}, "ever undelivered ready returned address1"},
		{"blocked", slices.Concat(sent, entries{receipt(1, undelivered, "blocked", 0, 1)}), "FAILED blocked", [3]int{0, 0, 1}, "settled ever undelivered"},
		{"nobody knows", slices.Concat(sent, entries{receipt(1, doubtful, "30410", 0, 1)}), "UNCERTAIN 30410", [3]int{1, 0, 1}, "ever doubtful"},
		{"nobody knows, a person does", slices.Concat(sent, entries{receipt(1, doubtful, "30410", 0, 1), byPerson(outcome1(1, accepted, "", 0, 1))}), "ACCEPTED ", [3]int{1, 0, 1}, "settled ever"},
		{"a person knows, and then it bounces", slices.Concat(sent, entries{byPerson(outcome1(1, accepted, "", 0, 1)), receipt(1, undelivered, "blocked", 0, 1)}), "FAILED blocked", [3]int{0, 0, 1}, "settled ever undelivered"},
		{"sent again", twice, "ACCEPTED ", [3]int{1, 0, 2}, "settled ever undelivered"},
		{"being sent again", twice[:4], "INTENDED ", [3]int{0, 0, 2}, "ever undelivered open"},
		{"sent again, and both arrive", slices.Concat(twice, entries{receipt(1, delivered, "", 0, 1)}), "DELIVERED ", [3]int{1, 1, 1}, "settled ever"},
		{"sent again, and the second one bounces", slices.Concat(twice, entries{receipt(2, undelivered, "blocked", 0, 1)}), "FAILED blocked", [3]int{0, 0, 2}, "settled ever undelivered"},
		{"duplicate that bounced", entries{
			intent(1, 0, 1), outcome1(1, notFound, "", 0, 1), intent(2, 0, 1), outcome1(2, accepted, "", 0, 1),
			outcome1(1, accepted, "", 0, 1), receipt(1, undelivered, "blocked", 0, 1),
		}, "ACCEPTED ", [3]int{1, 0, 2}, "settled ever undelivered"},
		{"the first one arrives while the second is under way", slices.Concat(twice[:4], entries{receipt(1, delivered, "", 0, 1)}), "DELIVERED ", [3]int{1, 0, 1}, "settled ever"},
		{"opted out", slices.Concat(sent, entries{receipt(1, stopped, "stop", 0, 1)}), "ACCEPTED ", [3]int{1, 0, 1}, "settled ever optedout"},
		{"opted out, never sent to", entries{receipt(0, stopped, "stop", 0, 1)}, "PLANNED ", [3]int{0, 0, 0}, "ready optedout"},
		{"an attempt that the journal lost", entries{receipt(1, delivered, "", 0, 1)}, "DELIVERED ", [3]int{1, 0, 1}, "settled ever stray0"},
		{"another one that it lost", slices.Concat(sent, entries{receipt(2, undelivered, "blocked", 0, 1)}), "ACCEPTED ", [3]int{1, 0, 1}, "settled ever undelivered stray0"},
		{"a customer whom the page does not have", slices.Concat(sent, entries{receipt(1, delivered, "", 7, 1)}), "ACCEPTED ", [3]int{1, 0, 1}, "settled ever stray7"},
		{"a customer outside the wave", slices.Concat(sent, entries{receipt(1, doubtful, "", 2, 1)}), "ACCEPTED ", [3]int{2, 0, 1}, "settled ever stray2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			journal := append(entries{opened(3, 0, 2)}, slices.DeleteFunc(slices.Clone(tt.entries), heard)...)
			receipts := slices.DeleteFunc(slices.Clone(tt.entries), func(e *candorv1.JournalEntry) bool { return !heard(e) })
			for name, order := range map[string]entries{
				"as it came": append(entries{opened(3, 0, 2)}, tt.entries...), "journal first": slices.Concat(journal, receipts), "receipts first": slices.Concat(receipts, journal),
			} {
				st := joined(t, order...)
				if got := strings.TrimPrefix(notice(st, 0), "NOTICE_STATE_"); got != tt.want {
					t.Errorf("%s: notice is %q, want %q", name, got, tt.want)
				}
				if got := [3]int{st.Accepted, st.Duplicates, int(st.Attempt(0))}; got != tt.counts {
					t.Errorf("%s: accepted, duplicates and attempt are %v, want %v", name, got, tt.counts)
				}
				if got := flagsOf(st, 0); got != tt.flags {
					t.Errorf("%s: %q, want %q", name, got, tt.flags)
				}
				checkHolds(t, st)
			}
		})
	}
}

// flagsOf says what the fold answers about a slot, besides the notice.
func flagsOf(st *State, n uint32) string {
	var words []string
	add := func(is bool, word string) {
		if is {
			words = append(words, word)
		}
	}
	add(st.Settled(n), "settled")
	add(st.EverAccepted(n), "ever")
	add(st.Undelivered(n), "undelivered")
	ready, _ := st.Ready(n, noon)
	add(ready, "ready")
	add(st.Returned(n), "returned")
	add(st.Doubtful(n), "doubtful")
	_, open := st.Open(n)
	add(open, "open")
	add(st.OptedOut(n), "optedout")
	if a := st.Address(n); a > 0 {
		add(true, fmt.Sprintf("address%d", a))
	}
	if slot, ok := st.Stray(); ok {
		add(true, fmt.Sprintf("stray%d", slot))
	}
	return strings.Join(words, " ")
}

func TestAdmitted(t *testing.T) {
	t.Parallel()
	st := folded(t, opened(5, 0, 2), putOff("quiet_hours"), admitted(3, 2))
	for n, want := range []bool{true, true, false, true, true} {
		if st.InWave(uint32(n)) != want {
			t.Errorf("slot %d is in the wave: %v, want %v", n, !want, want)
		}
	}
	if ready, _ := st.Ready(4, noon); !ready {
		t.Error("an admitted slot cannot be sent to")
	}
	if err := st.Apply(st.LastSeq+1, intent(1, 3, 2)); err != nil {
		t.Errorf("intent for admitted slots: %v", err)
	}
	st = folded(t, opened(5, 0, 2), sealed("aborted"), admitted(3, 2))
	if got := notice(st, 3); got != "NOTICE_STATE_EXPIRED aborted" {
		t.Errorf("admitted after the seal: %q", got)
	}
}

// What a provider named, and when, is told for the message that counts.
func TestAWorkerKnowsTheMessageThatCounts(t *testing.T) {
	t.Parallel()
	said := func(e *candorv1.JournalEntry, id string, minute int) *candorv1.JournalEntry {
		e.GetOutcomes().GetGroups()[0].MessageIds = id
		e.OccurredAt = timestamppb.New(noon.Add(time.Duration(minute) * time.Minute))
		return e
	}
	list := []*candorv1.JournalEntry{
		opened(2), intent(1, 0, 2), said(outcome1(1, accepted, "", 0, 1), "SM1", 1), said(receipt(1, undeliveredSoft, "off", 0, 1), "SM1", 5),
		intent(2, 0, 1), said(outcome1(2, accepted, "", 0, 1), "SM2", 9),
	}
	st := joined(t, list...)
	if id, at := st.MessageID(0), st.AcceptedAt(0); id != "SM2" || !at.Equal(noon.Add(9*time.Minute)) {
		t.Errorf("message %q since %v, want the second one", id, at)
	}
	st = joined(t, append(list, said(receipt(1, delivered, "", 0, 1), "SM1", 30))...)
	if id, at := st.MessageID(0), st.AcceptedAt(0); id != "SM1" || !at.Equal(noon.Add(time.Minute)) {
		t.Errorf("message %q since %v, want the first one, since it was accepted", id, at)
	}
	if id, at := st.MessageID(1), st.AcceptedAt(1); id != "" || !at.IsZero() {
		t.Errorf("a slot without outcome has message %q since %v", id, at)
	}
}

func TestHearRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		entry *candorv1.JournalEntry
		want  error
	}{
		{"an intent", intent(1, 0, 1), ErrNoReceipt},
		{"a seal", sealed("x"), ErrNoReceipt},
		{"nothing", &candorv1.JournalEntry{}, ErrNoReceipt},
		{"what frees a customer for another message", receipt(1, notFound, "", 0, 1), ErrNoReceipt},
		{"a newer result", receipt(1, 99, "", 0, 1), ErrNoReceipt},
		{"runs that no page has", receipt(1, delivered, "", MaxSlots, 1), nil},
		{"odd runs", receipt(1, delivered, "", 1), nil},
		{"an attempt that does not fit", receipt(1<<16, delivered, "", 0, 1), nil},
		{"a damaged second group", outcomes(1,
			&candorv1.OutcomeGroup{Result: delivered, Slots: []uint32{0, 1}}, &candorv1.OutcomeGroup{Result: delivered, Slots: []uint32{0, 0}}), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			st := joined(t, opened(3), intent(1, 0, 3))
			before := st.Codes(nil)
			err := st.Hear(1, tt.entry)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if st.HeardSeq != 0 || !slices.Equal(before, st.Codes(nil)) {
				t.Error("a refused receipt changed the fold")
			}
		})
	}
	st := joined(t, opened(3), receipt(1, delivered, "", 0, 1))
	if err := st.Hear(1, receipt(1, delivered, "", 1, 1)); err != nil || st.EverAccepted(1) {
		t.Errorf("a receipt folded already was folded again: %v", err)
	}
}

// FuzzHear takes foreign bytes for receipts, before and after the journal is opened: nothing panics, the two orders agree,
// and what is refused changes nothing.
func FuzzHear(f *testing.F) {
	for _, e := range []*candorv1.JournalEntry{
		receipt(1, delivered, "", 0, 5), receipt(2, undeliveredSoft, "off", 3, 4), receipt(1, stopped, "stop", 9, 1), intent(1, 0, 1),
		outcomes(1, &candorv1.OutcomeGroup{Result: doubtful, Slots: []uint32{0, 1}, MessageIds: "a\nb"}, &candorv1.OutcomeGroup{Result: 77, Slots: []uint32{1, 1}}),
	} {
		raw, err := proto.Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, raw)
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var list []*candorv1.JournalEntry
		for _, raw := range [][]byte{a, b} {
			e := &candorv1.JournalEntry{}
			if proto.Unmarshal(raw, e) == nil {
				list = append(list, e)
			}
		}
		head := []*candorv1.JournalEntry{opened(6, 0, 4), intent(1, 0, 4), outcome1(1, accepted, "", 0, 2)}
		after, before := folded(t, head...), NewState(NewWords(), candorv1.Channel_CHANNEL_SMS, true)
		for _, e := range list {
			codes := after.Codes(nil)
			err := after.Hear(after.HeardSeq+1, e)
			if err != nil && !slices.Equal(codes, after.Codes(nil)) {
				t.Fatalf("refused (%v), and yet the fold changed", err)
			}
			if berr := before.Hear(before.HeardSeq+1, e); (berr == nil) != (err == nil) {
				t.Fatalf("after the journal: %v, before it: %v", err, berr)
			}
		}
		for i, e := range head {
			if err := before.Apply(uint64(i+1), e); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(views(after), views(before)); diff != "" {
			t.Fatal(diff)
		}
		checkHolds(t, after)
	})
}

// A mailbox provider that took an e-mail may still send it back: then the customer does not have it. Whoever has a text message
// keeps it.
func TestAnEmailMayComeBackAfterItsDelivery(t *testing.T) {
	t.Parallel()
	head := []*candorv1.JournalEntry{opened(2), intent(1, 0, 1), outcome1(1, accepted, "", 0, 1)}
	there, back := receipt(1, delivered, "", 0, 1), receipt(1, undeliveredNext, "sendgrid_bounce", 0, 1)
	given := outcome1(1, undelivered, "sendgrid_bounce", 0, 1)
	given.GetOutcomes().Decider = candorv1.Decider_DECIDER_POLICY
	for _, tt := range []struct {
		channel candorv1.Channel
		entries []*candorv1.JournalEntry
		want    string
	}{
		{candorv1.Channel_CHANNEL_EMAIL, []*candorv1.JournalEntry{there}, "DELIVERED "},
		{candorv1.Channel_CHANNEL_EMAIL, []*candorv1.JournalEntry{there, back}, "WAITING sendgrid_bounce"},
		{candorv1.Channel_CHANNEL_EMAIL, []*candorv1.JournalEntry{back, there}, "WAITING sendgrid_bounce"},
		{candorv1.Channel_CHANNEL_EMAIL, []*candorv1.JournalEntry{there, back, given}, "FAILED sendgrid_bounce"},
		{candorv1.Channel_CHANNEL_SMS, []*candorv1.JournalEntry{there, back}, "DELIVERED "},
	} {
		st := NewState(NewWords(), tt.channel, true)
		for _, e := range append(slices.Clone(head), tt.entries...) {
			fold := st.Apply
			if heard(e) {
				fold = st.Hear
			}
			if err := fold(st.LastSeq+st.HeardSeq+1, e); err != nil {
				t.Fatal(err)
			}
		}
		if got := strings.TrimPrefix(notice(st, 0), "NOTICE_STATE_"); got != tt.want {
			t.Errorf("%v after %v is %q, want %q", tt.channel, tt.entries, got, tt.want)
		}
	}
}
