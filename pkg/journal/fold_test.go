package journal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	candorv1 "candor/proto/candor/v1"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func opened(slots uint32, audience ...uint32) *candorv1.JournalEntry {
	return &candorv1.JournalEntry{Event: &candorv1.JournalEntry_Opened{Opened: &candorv1.Opened{Slots: slots, Audience: audience}}}
}

func intent(attempt uint32, runs ...uint32) *candorv1.JournalEntry {
	return &candorv1.JournalEntry{
		OccurredAt: timestamppb.New(noon.Add(time.Duration(attempt) * time.Minute)),
		Event: &candorv1.JournalEntry_Intent{Intent: &candorv1.Intent{
			BootId: 7, Attempt: attempt, Slots: runs, SendBefore: timestamppb.New(noon.Add(time.Hour)),
		}},
	}
}

func outcome1(attempt uint32, r candorv1.Result, reason string, runs ...uint32) *candorv1.JournalEntry {
	return outcomes(attempt, &candorv1.OutcomeGroup{Result: r, Reason: reason, Slots: runs})
}

func outcomes(attempt uint32, groups ...*candorv1.OutcomeGroup) *candorv1.JournalEntry {
	return &candorv1.JournalEntry{
		OccurredAt: timestamppb.New(noon),
		Event:      &candorv1.JournalEntry_Outcomes{Outcomes: &candorv1.Outcomes{Attempt: attempt, Groups: groups}},
	}
}

func admitted(runs ...uint32) *candorv1.JournalEntry {
	return &candorv1.JournalEntry{Event: &candorv1.JournalEntry_Admitted{Admitted: &candorv1.Admitted{Audience: runs, Reason: "ladder"}}}
}

func sealed(reason string) *candorv1.JournalEntry {
	return &candorv1.JournalEntry{Event: &candorv1.JournalEntry_Sealed{Sealed: &candorv1.Sealed{Reason: reason}}}
}

func putOff(reason string) *candorv1.JournalEntry {
	return &candorv1.JournalEntry{Event: &candorv1.JournalEntry_PutOff{PutOff: &candorv1.PutOff{Reason: reason, Until: timestamppb.New(noon)}}}
}

// folded is the worker's fold of the entries, all of which must be taken.
func folded(t testing.TB, entries ...*candorv1.JournalEntry) *State {
	t.Helper()
	return foldedAs(t, true, entries...)
}

func foldedAs(t testing.TB, worker bool, entries ...*candorv1.JournalEntry) *State {
	t.Helper()
	st := NewState(NewWords(), candorv1.Channel_CHANNEL_SMS, worker)
	for i, e := range entries {
		if err := st.Apply(uint64(i+1), e); err != nil {
			t.Fatalf("apply %v: %v", e, err)
		}
	}
	return st
}

func notice(st *State, n uint32) string {
	state, reason := st.Notice(n)
	return fmt.Sprint(state) + " " + reason
}

const (
	accepted    = candorv1.Result_RESULT_ACCEPTED
	retry       = candorv1.Result_RESULT_RETRY
	nextAddress = candorv1.Result_RESULT_NEXT_ADDRESS
	failed      = candorv1.Result_RESULT_FAILED
	withdrawn   = candorv1.Result_RESULT_WITHDRAWN
	unknown     = candorv1.Result_RESULT_UNKNOWN
	notSeen     = candorv1.Result_RESULT_NOT_SEEN
	notFound    = candorv1.Result_RESULT_NOT_FOUND
	suppressed  = candorv1.Result_RESULT_SUPPRESSED
	expired     = candorv1.Result_RESULT_EXPIRED
)

func TestNoticeAfter(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		entries []*candorv1.JournalEntry
		want    string
	}{
		{"opened", nil, "NOTICE_STATE_PLANNED "},
		{"put off", []*candorv1.JournalEntry{putOff("quiet_hours")}, "NOTICE_STATE_WAITING quiet_hours"},
		{"intended", []*candorv1.JournalEntry{putOff("quiet_hours"), intent(1, 0, 1)}, "NOTICE_STATE_INTENDED "},
		{"accepted", []*candorv1.JournalEntry{intent(1, 0, 1), outcome1(1, accepted, "", 0, 1)}, "NOTICE_STATE_ACCEPTED "},
		{"accepted beats failed", []*candorv1.JournalEntry{intent(1, 0, 1), outcome1(1, failed, "x", 0, 1), outcome1(1, accepted, "", 0, 1)}, "NOTICE_STATE_ACCEPTED "},
		{"accepted beats a later attempt's failure", []*candorv1.JournalEntry{
			intent(1, 0, 1), outcome1(1, retry, "busy", 0, 1), intent(2, 0, 1), outcome1(1, accepted, "", 0, 1), outcome1(2, failed, "x", 0, 1),
		}, "NOTICE_STATE_ACCEPTED "},
		{"late word on an earlier attempt", []*candorv1.JournalEntry{
			intent(1, 0, 1), outcome1(1, retry, "busy", 0, 1), intent(2, 0, 1), outcome1(1, failed, "x", 0, 1),
		}, "NOTICE_STATE_INTENDED "},
		{"not seen after unknown", []*candorv1.JournalEntry{intent(1, 0, 1), outcome1(1, unknown, "timeout", 0, 1), outcome1(1, notSeen, "no", 0, 1)}, "NOTICE_STATE_UNCERTAIN no"},
		{"unknown after not seen", []*candorv1.JournalEntry{intent(1, 0, 1), outcome1(1, notSeen, "no", 0, 1), outcome1(1, unknown, "timeout", 0, 1)}, "NOTICE_STATE_UNCERTAIN no"},
		{"not found settles doubt", []*candorv1.JournalEntry{intent(1, 0, 1), outcome1(1, unknown, "timeout", 0, 1), outcome1(1, notFound, "gone", 0, 1)}, "NOTICE_STATE_WAITING gone"},
		{"doubt does not undo a definite word", []*candorv1.JournalEntry{intent(1, 0, 1), outcome1(1, failed, "bad", 0, 1), outcome1(1, unknown, "timeout", 0, 1)}, "NOTICE_STATE_FAILED bad"},
		{"suppressed untouched", []*candorv1.JournalEntry{outcome1(0, suppressed, "opted_out", 0, 1)}, "NOTICE_STATE_SUPPRESSED opted_out"},
		{"sealed untouched", []*candorv1.JournalEntry{putOff("pace"), sealed("aborted")}, "NOTICE_STATE_EXPIRED aborted"},
		{"sealed waiting", []*candorv1.JournalEntry{intent(1, 0, 1), outcome1(1, retry, "busy", 0, 1), sealed("aborted")}, "NOTICE_STATE_EXPIRED aborted"},
		{"sealed while sending", []*candorv1.JournalEntry{intent(1, 0, 1), sealed("aborted")}, "NOTICE_STATE_INTENDED "},
		{"withdrawn after the seal", []*candorv1.JournalEntry{intent(1, 0, 1), sealed("aborted"), outcome1(1, withdrawn, "", 0, 1)}, "NOTICE_STATE_EXPIRED aborted"},
		{"sealed without a word", []*candorv1.JournalEntry{sealed("")}, "NOTICE_STATE_EXPIRED sealed"},
		{"expired", []*candorv1.JournalEntry{outcome1(0, expired, "shredded", 0, 1)}, "NOTICE_STATE_EXPIRED shredded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			entries := append([]*candorv1.JournalEntry{opened(3, 0, 2)}, tt.entries...)
			st := folded(t, entries...)
			if got := notice(st, 0); got != tt.want {
				t.Errorf("notice is %q, want %q", got, tt.want)
			}
			if got, _ := st.Notice(2); got != candorv1.NoticeState_NOTICE_STATE_UNSPECIFIED {
				t.Errorf("slot outside the wave is %v", got)
			}
			codes := st.Codes(nil)
			for n, c := range codes {
				if state, reason := st.Notice(uint32(n)); c.State() != state || st.words.Reason(c) != reason {
					t.Errorf("code of slot %d is %v %q, notice %v %q", n, c.State(), st.words.Reason(c), state, reason)
				}
			}
			lean := foldedAs(t, false, entries...)
			if got := notice(lean, 0); got != tt.want {
				t.Errorf("the ledger's fold is %q, want %q", got, tt.want)
			}
		})
	}
}

func TestWhatIsSaidAlready(t *testing.T) {
	t.Parallel()
	const delivered = candorv1.Result_RESULT_DELIVERED
	words := []candorv1.Result{expired, suppressed, failed, delivered}
	vouched := outcome1(1, accepted, "", 0, 1)
	vouched.GetOutcomes().Decider = candorv1.Decider_DECIDER_PERSON
	for _, tt := range []struct {
		name    string
		entries []*candorv1.JournalEntry
		says    []candorv1.Result
	}{
		{"planned", nil, nil},
		{"withdrawn", []*candorv1.JournalEntry{intent(1, 0, 1), outcome1(1, withdrawn, "", 0, 1)}, nil},
		{"sealed", []*candorv1.JournalEntry{sealed("aborted")}, words[:1]},
		{"sealed while sending", []*candorv1.JournalEntry{intent(1, 0, 1), sealed("aborted")}, nil},
		{"expired", []*candorv1.JournalEntry{outcome1(1, expired, "", 0, 1)}, words[:1]},
		{"suppressed", []*candorv1.JournalEntry{outcome1(1, suppressed, "", 0, 1)}, words[:2]},
		{"failed", []*candorv1.JournalEntry{outcome1(1, failed, "", 0, 1)}, words[:3]},
		{"a person's word", []*candorv1.JournalEntry{vouched}, words[:3]},
		{"delivered", []*candorv1.JournalEntry{outcome1(1, delivered, "", 0, 1)}, words},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			st := folded(t, append([]*candorv1.JournalEntry{opened(1)}, tt.entries...)...)
			for _, r := range words {
				if got, want := st.Says(0, r), slices.Contains(tt.says, r); got != want {
					t.Errorf("says %v is %v, want %v", r, got, want)
				}
			}
		})
	}
}

func TestWorkerSeesWhatHoldsASlot(t *testing.T) {
	t.Parallel()
	later := timestamppb.New(noon.Add(time.Hour))
	st := folded(t, opened(4), intent(1, 0, 4),
		outcomes(1, &candorv1.OutcomeGroup{Result: retry, Slots: []uint32{0, 1}, RetryAt: later}),
		outcome1(1, nextAddress, "landline", 1, 1), outcome1(1, unknown, "timeout", 2, 1),
		outcomes(1, &candorv1.OutcomeGroup{Result: accepted, Slots: []uint32{3, 1}, MessageIds: "SM1"}))
	if ok, at := st.Ready(0, noon); ok || !at.Equal(later.AsTime()) {
		t.Errorf("slot 0 is ready: %v at %v", ok, at)
	}
	if ok, _ := st.Ready(1, noon); !ok || st.Address(1) != 1 {
		t.Errorf("slot 1 is ready: %v, address %d", ok, st.Address(1))
	}
	if ref, ok := st.Open(2); !ok || ref.Seq != 2 || ref.BootID != 7 {
		t.Errorf("slot 2 is held by %+v, %v", ref, ok)
	}
	if at, notSeen := st.Doubt(2); !at.Equal(noon) || notSeen {
		t.Errorf("doubt about slot 2: %v, %v", at, notSeen)
	}
	if id := st.MessageID(3); id != "SM1" {
		t.Errorf("message id %q", id)
	}
	for _, n := range []uint32{0, 1, 3} {
		if _, ok := st.Open(n); ok {
			t.Errorf("slot %d is still held", n)
		}
	}
	if got := st.Begun(); !got.Equal(noon.Add(time.Minute)) {
		t.Errorf("first intent at %v", got)
	}
}

// A page that is sent one by one, or tried for days, must not grow with its intents.
func TestIntentsAreForgotten(t *testing.T) {
	t.Parallel()
	st := folded(t, opened(10), intent(1, 9, 1)) // never ends
	for i := range 100_000 {
		attempt := uint32(i/9 + 1)
		n := uint32(i % 9)
		for _, e := range []*candorv1.JournalEntry{intent(attempt, n, 1), outcome1(attempt, retry, "busy", n, 1)} {
			if err := st.Apply(st.LastSeq+1, e); err != nil {
				t.Fatal(err)
			}
		}
	}
	if ref, ok := st.Open(9); !ok || ref.Seq != 2 {
		t.Errorf("slot 9 is held by %+v, %v", ref, ok)
	}
	if len(st.intents) > 2 {
		t.Errorf("%d intents are kept", len(st.intents))
	}
}

func TestDuplicates(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		attempts []uint32
		want     int
	}{
		{"one", []uint32{1}, 0},
		{"the same fact twice", []uint32{1, 1}, 0},
		{"two attempts", []uint32{1, 2}, 1},
		{"two attempts, later one first", []uint32{2, 1}, 1},
		{"two attempts, repeated", []uint32{2, 1, 2, 1, 1}, 1},
		{"three attempts", []uint32{3, 1, 2, 3}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			st := folded(t, opened(1), intent(1, 0, 1), intent(2, 0, 1), intent(3, 0, 1))
			for _, a := range tt.attempts {
				if err := st.Apply(st.LastSeq+1, outcome1(a, accepted, "", 0, 1)); err != nil {
					t.Fatal(err)
				}
			}
			if got := st.Twice(); got != min(tt.want, 1) {
				t.Errorf("%d notices have more than one message, of %d", got, tt.want)
			}
			if st.Duplicates != tt.want || st.Accepted != 1 {
				t.Errorf("%d duplicates and %d accepted, want %d and 1", st.Duplicates, st.Accepted, tt.want)
			}
			if want := slices.Min(tt.attempts); st.Attempt(0) != want {
				t.Errorf("attempt %d, want the first accepted, %d", st.Attempt(0), want)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		first []*candorv1.JournalEntry
		entry *candorv1.JournalEntry
		want  error
	}{
		{"intent before opened", nil, intent(1, 0, 1), ErrNotOpened},
		{"outcome after a seal alone", []*candorv1.JournalEntry{sealed("aborted")}, outcome1(1, accepted, "", 0, 1), ErrNotOpened},
		{"page without slots", nil, opened(0), nil},
		{"page too large", nil, opened(MaxSlots + 1), nil},
		{"odd audience", nil, opened(5, 1), nil},
		{"audience beyond the page", nil, opened(5, 4, 2), nil},
		{"opened twice", []*candorv1.JournalEntry{opened(5)}, opened(5), nil},
		{"odd runs", []*candorv1.JournalEntry{opened(5)}, intent(1, 0), nil},
		{"empty run", []*candorv1.JournalEntry{opened(5)}, intent(1, 0, 0), nil},
		{"run beyond the page", []*candorv1.JournalEntry{opened(5)}, outcome1(1, accepted, "", 3, 3), nil},
		{"run that wraps around", []*candorv1.JournalEntry{opened(5)}, outcome1(1, accepted, "", 1<<32-1, 2), nil},
		{"runs on top of each other", []*candorv1.JournalEntry{opened(5)}, outcome1(1, accepted, "", 0, 5, 0, 5), nil},
		{"intent outside the wave", []*candorv1.JournalEntry{opened(5, 0, 2)}, intent(1, 1, 2), nil},
		{"outcome outside the wave", []*candorv1.JournalEntry{opened(5, 0, 2)}, outcome1(1, accepted, "", 2, 1), nil},
		{"attempt nought", []*candorv1.JournalEntry{opened(5)}, intent(0, 0, 1), nil},
		{"attempt that does not fit", []*candorv1.JournalEntry{opened(5)}, intent(1<<16+1, 0, 1), nil},
		{"outcome's attempt that does not fit", []*candorv1.JournalEntry{opened(5)}, outcome1(1<<16+1, accepted, "", 0, 1), nil},
		{"intent after the seal", []*candorv1.JournalEntry{opened(5), sealed("aborted")}, intent(1, 0, 1), nil},
		{"newer event", []*candorv1.JournalEntry{opened(5)}, &candorv1.JournalEntry{}, nil},
		{"admitted beyond the page", []*candorv1.JournalEntry{opened(5, 0, 2)}, admitted(4, 2), nil},
		{"admitted before opened", nil, admitted(0, 1), ErrNotOpened},
		{"newer result", []*candorv1.JournalEntry{opened(5)}, outcomes(1,
			&candorv1.OutcomeGroup{Result: accepted, Slots: []uint32{0, 1}}, &candorv1.OutcomeGroup{Result: 99, Slots: []uint32{1, 1}}), nil},
		{"second group damaged", []*candorv1.JournalEntry{opened(5)}, outcomes(1,
			&candorv1.OutcomeGroup{Result: accepted, Slots: []uint32{0, 1}}, &candorv1.OutcomeGroup{Result: accepted, Slots: []uint32{9, 1}}), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			st := folded(t, tt.first...)
			before := st.Codes(nil)
			err := st.Apply(st.LastSeq+1, tt.entry)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if got := len(tt.first); st.LastSeq != uint64(got) {
				t.Errorf("last sequence %d, want %d", st.LastSeq, got)
			}
			if diff := cmp.Diff(before, st.Codes(nil)); diff != "" {
				t.Errorf("a refused entry changed the fold:\n%s", diff)
			}
		})
	}
}

func TestAppliedTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	st := folded(t, opened(2), intent(1, 0, 2))
	if err := st.Apply(1, outcome1(1, accepted, "", 0, 2)); err != nil {
		t.Fatal(err)
	}
	if st.Accepted != 0 || st.LastSeq != 2 {
		t.Errorf("an old sequence was folded: accepted %d, last %d", st.Accepted, st.LastSeq)
	}
}

// Outcomes are facts: whatever order they land in, and however often, the notices stand the same.
func TestOutcomesInAnyOrder(t *testing.T) {
	t.Parallel()
	results := allResults()
	rapid.Check(t, func(t *rapid.T) {
		slots := rapid.Uint32Range(1, 6).Draw(t, "slots")
		run := func(name string) []uint32 {
			first := rapid.Uint32Range(0, slots-1).Draw(t, name)
			return []uint32{first, rapid.Uint32Range(1, slots-first).Draw(t, name+"s")}
		}
		head := []*candorv1.JournalEntry{opened(slots)}
		attempts := rapid.Uint32Range(0, 3).Draw(t, "attempts")
		for a := range attempts {
			head = append(head, intent(a+1, run("intent")...))
		}
		var facts []*candorv1.JournalEntry
		for range rapid.IntRange(1, 8).Draw(t, "facts") {
			e := outcomes(rapid.Uint32Range(0, attempts).Draw(t, "attempt"), &candorv1.OutcomeGroup{
				Result:  rapid.SampledFrom(results).Draw(t, "result"),
				Reason:  rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "reason"),
				Slots:   run("slot"),
				RetryAt: timestamppb.New(noon.Add(rapid.SampledFrom([]time.Duration{1, 2}).Draw(t, "retry"))),
			})
			e.OccurredAt = timestamppb.New(noon.Add(rapid.SampledFrom([]time.Duration{1, 2}).Draw(t, "at")))
			facts = append(facts, e)
		}
		again := slices.Concat(facts, facts[:rapid.IntRange(0, len(facts)).Draw(t, "repeated")])
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		rnd.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })

		one := apply(t, head, facts)
		other := apply(t, head, again)
		for n := range slots {
			if a, b := notice(one, n), notice(other, n); a != b {
				t.Fatalf("slot %d: %s in one order, %s in another", n, a, b)
			}
			if a, b := one.Attempt(n), other.Attempt(n); a != b {
				t.Fatalf("slot %d: attempt %d in one order, %d in another", n, a, b)
			}
			if one.Settled(n) != other.Settled(n) {
				t.Fatalf("slot %d is settled in one order only", n)
			}
			_, a := one.Ready(n, noon)
			if _, b := other.Ready(n, noon); !a.Equal(b) {
				t.Fatalf("slot %d: tried again at %v in one order, %v in another", n, a, b)
			}
			da, na := one.Doubt(n)
			if db, nb := other.Doubt(n); !da.Equal(db) || na != nb {
				t.Fatalf("slot %d: doubted at %v in one order, %v in another", n, da, db)
			}
		}
		if one.Duplicates != other.Duplicates || one.Accepted != other.Accepted {
			t.Fatalf("%d accepted and %d duplicates in one order, %d and %d in another",
				one.Accepted, one.Duplicates, other.Accepted, other.Duplicates)
		}
		checkHolds(t, one)
		checkHolds(t, other)
	})
}

func apply(t *rapid.T, parts ...[]*candorv1.JournalEntry) *State {
	st := NewState(NewWords(), candorv1.Channel_CHANNEL_SMS, true)
	for _, e := range slices.Concat(parts...) {
		if err := st.Apply(st.LastSeq+1, e); err != nil {
			t.Fatal(err)
		}
	}
	return st
}

// checkHolds compares what the intents count with what the slots say.
func checkHolds(t interface{ Fatalf(string, ...any) }, st *State) {
	held := make([]uint16, len(st.intents))
	for n, sl := range st.slots {
		if sl.intent == 0 {
			continue
		}
		if sl.rank != rankIntent && !sl.rank.asked() {
			t.Fatalf("the end of slot %d is known and it is held", n)
		}
		if ref := st.intents[sl.intent-1]; ref.Attempt != sl.attempt {
			t.Fatalf("slot %d of attempt %d is held by an intent of attempt %d", n, sl.attempt, ref.Attempt)
		}
		held[sl.intent-1]++
	}
	for i, ref := range st.intents {
		if ref.holds != held[i] {
			t.Fatalf("intent %d says it holds %d slots, %d say so", i, ref.holds, held[i])
		}
	}
}

// FuzzApply folds foreign bytes as a journal: nothing panics, counts stay true, and what is refused changes nothing.
func FuzzApply(f *testing.F) {
	for _, entries := range [][]*candorv1.JournalEntry{
		{opened(5), intent(1, 0, 5), outcome1(1, accepted, "", 0, 5)},
		{opened(1000, 0, 10, 20, 5), intent(1, 0, 10), outcome1(1, unknown, "timeout", 0, 10), outcome1(1, notSeen, "", 0, 1), sealed("aborted")},
		{sealed("aborted"), opened(2), putOff("pace")},
		{opened(3), outcome1(0, suppressed, "opted_out", 0, 1), outcome1(2, nextAddress, "x", 1, 1), outcome1(1, accepted, "", 1, 1), outcome1(3, accepted, "", 1, 1)},
	} {
		var data []byte
		for _, e := range entries {
			raw, err := proto.Marshal(e)
			if err != nil {
				f.Fatal(err)
			}
			data = append(append(data, byte(len(raw)>>8), byte(len(raw))), raw...)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		words := NewWords()
		worker, ledger := NewState(words, candorv1.Channel_CHANNEL_SMS, true), NewState(words, candorv1.Channel_CHANNEL_SMS, false)
		for seq := uint64(1); len(data) >= 2; seq++ {
			n := min(int(data[0])<<8|int(data[1]), len(data)-2)
			raw := data[2 : 2+n]
			data = data[2+n:]
			e := &candorv1.JournalEntry{}
			if proto.Unmarshal(raw, e) != nil {
				continue
			}
			before := worker.Codes(nil)
			err := worker.Apply(seq, e)
			if err != nil && !slices.Equal(before, worker.Codes(nil)) {
				t.Fatalf("refused (%v), and yet the fold changed", err)
			}
			if lerr := ledger.Apply(seq, e); (lerr == nil) != (err == nil) {
				t.Fatalf("worker says %v, ledger %v", err, lerr)
			}
		}
		codes := worker.Codes(nil)
		if !slices.Equal(codes, ledger.Codes(nil)) {
			t.Fatal("worker and ledger fold the same entries differently")
		}
		accepted := 0
		for n, c := range codes {
			if (c == 0) == worker.InWave(uint32(n)) {
				t.Fatalf("slot %d: code %d, in wave %v", n, c, worker.InWave(uint32(n)))
			}
			if state := c.State(); state == candorv1.NoticeState_NOTICE_STATE_ACCEPTED || state == candorv1.NoticeState_NOTICE_STATE_DELIVERED || worker.Doubtful(uint32(n)) && c != 0 {
				accepted++
			}
		}
		if accepted != worker.Accepted {
			t.Fatalf("%d accepted, counted %d", accepted, worker.Accepted)
		}
		checkHolds(t, worker)
	})
}
