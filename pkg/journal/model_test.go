package journal

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	candorv1 "candor/proto/candor/v1"
)

// story draws a journal as planner, workers and persons write it, and what is heard beside it. Most of it is odd.
type story struct {
	slots    uint32
	journal  []*candorv1.JournalEntry
	receipts []*candorv1.JournalEntry
}

func drawStory(t *rapid.T) story {
	y := story{slots: rapid.Uint32Range(1, 5).Draw(t, "slots")}
	run := func(name string, end uint32) []uint32 {
		first := rapid.Uint32Range(0, end-1).Draw(t, name)
		return []uint32{first, rapid.Uint32Range(1, end-first).Draw(t, name+"s")}
	}
	// The wave is all but some of the last slots; the rest may be admitted.
	wave := rapid.Uint32Range(1, y.slots).Draw(t, "wave")
	y.journal = append(y.journal, opened(y.slots, 0, wave))
	said := func(name string, results []candorv1.Result, end uint32) *candorv1.JournalEntry {
		e := outcomes(rapid.Uint32Range(0, 3).Draw(t, name+" attempt"), &candorv1.OutcomeGroup{
			Result:     rapid.SampledFrom(results).Draw(t, name),
			Reason:     rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "reason"),
			Slots:      run(name+" slot", end),
			MessageIds: rapid.SampledFrom([]string{"", "SM1", "SM2", "SM3\nSM4"}).Draw(t, "ids"),
			RetryAt:    timestamppb.New(noon.Add(rapid.SampledFrom([]time.Duration{1, 2}).Draw(t, "retry"))),
		})
		e.OccurredAt = timestamppb.New(noon.Add(rapid.SampledFrom([]time.Duration{1, 2}).Draw(t, "at")))
		return e
	}
	sealedAt := false
	for range rapid.IntRange(0, 10).Draw(t, "entries") {
		switch rapid.IntRange(0, 7).Draw(t, "kind") {
		case 0, 1, 2:
			if !sealedAt {
				y.journal = append(y.journal, intent(rapid.Uint32Range(1, 3).Draw(t, "intent"), run("intent slot", wave)...))
			}
		case 3:
			y.journal = append(y.journal, admitted(run("admitted", y.slots)...))
		case 4:
			if rapid.IntRange(0, 3).Draw(t, "sealed") == 0 {
				y.journal, sealedAt = append(y.journal, sealed("aborted")), true
			} else {
				y.journal = append(y.journal, putOff("pace"))
			}
		default:
			e := said("outcome", allResults(), wave)
			if rapid.IntRange(0, 3).Draw(t, "person") == 0 {
				e.GetOutcomes().Decider = candorv1.Decider_DECIDER_PERSON
			}
			y.journal = append(y.journal, e)
		}
	}
	heardOf := []candorv1.Result{accepted, delivered, undelivered, undeliveredSoft, undeliveredNext, doubtful, stopped}
	for range rapid.IntRange(0, 8).Draw(t, "receipts") {
		e := said("receipt", heardOf, y.slots+2)
		e.GetOutcomes().Decider = candorv1.Decider_DECIDER_RECEIPT
		y.receipts = append(y.receipts, e)
	}
	return y
}

// woven lays shuffled and repeated receipts between the entries of the journal, whose order stays.
func (y story) woven(t *rapid.T) []*candorv1.JournalEntry {
	rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	again := slices.Concat(y.receipts, y.receipts[:rnd.IntN(len(y.receipts)+1)])
	rnd.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
	list := slices.Clone(y.journal)
	for _, e := range again {
		list = slices.Insert(list, rnd.IntN(len(list)+1), e)
	}
	return list
}

// views is everything that a fold says about its slots.
func views(st *State) []string {
	slot, stray := st.Stray()
	list := []string{fmt.Sprintf(
		"accepted %d, duplicates %d, twice %d, stray %d %v, first %v, put off %q, sealed %q",
		st.Accepted, st.Duplicates, st.Twice(), slot, stray, st.Begun(), st.PutOffFor, st.SealedFor,
	)}
	for n := range uint32(st.Len()) {
		_, at := st.Ready(n, noon)
		doubt, notSeen := st.Doubt(n)
		ref, _ := st.Open(n)
		list = append(list, fmt.Sprintf("%d: %s, attempt %d, %s, in wave %v, retry %v, retrying %v, doubt %v %v, held by %d, id %q since %v, address %d", n,
			notice(st, n), st.Attempt(n), flagsOf(st, n), st.InWave(n), at, st.Retrying(n), doubt, notSeen, ref.Seq, st.MessageID(n), st.AcceptedAt(n), st.Address(n)))
	}
	return list
}

// However receipts come, before, between and after what the journal says, shuffled and repeated, the fold is the same.
func TestReceiptsInAnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		y := drawStory(t)
		for _, worker := range []bool{true, false} {
			one, err := join(worker, slices.Concat(y.journal, y.receipts)...)
			if err != nil {
				t.Fatal(err)
			}
			for name, order := range map[string][]*candorv1.JournalEntry{"woven": y.woven(t), "receipts first": slices.Concat(y.receipts, y.journal)} {
				other, err := join(worker, order...)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(views(one), views(other)); diff != "" {
					t.Fatalf("journal first and %s differ:\n%s", name, diff)
				}
				checkHolds(t, other)
			}
		}
	})
}

// The fold agrees with the rules as they are told: what each attempt came to, and of these the slot.
func TestTheFoldFollowsTheRules(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		y := drawStory(t)
		st, err := join(true, y.woven(t)...)
		if err != nil {
			t.Fatal(err)
		}
		accepted, duplicates := 0, 0
		for n := range st.slots {
			want := ruled(y, uint32(n))
			accepted += min(want.messages, 1)
			duplicates += max(want.messages-1, 0)
			if !st.InWave(uint32(n)) {
				want.state = candorv1.NoticeState_NOTICE_STATE_UNSPECIFIED
			}
			if got, _ := st.Notice(uint32(n)); got != want.state {
				t.Fatalf("slot %d is %v, the rules say %v", n, got, want.state)
			}
			if got := st.EverAccepted(uint32(n)); got != want.ever {
				t.Fatalf("slot %d: ever accepted %v", n, got)
			}
			if got := st.Undelivered(uint32(n)); got != want.bounced {
				t.Fatalf("slot %d: undelivered %v", n, got)
			}
		}
		if st.Accepted != accepted || st.Duplicates != duplicates {
			t.Fatalf("%d accepted and %d duplicates, the rules say %d and %d", st.Accepted, st.Duplicates, accepted, duplicates)
		}
	})
}

type ruling struct {
	state         candorv1.NoticeState
	messages      int
	ever, bounced bool
}

// ruled is the rule book, told slowly: the strongest word on each attempt, and then the slot.
func ruled(y story, n uint32) ruling {
	// Weakest first.
	words := []string{
		"intended", "unknown", "not seen", "withdrawn", "retry", "not found", "next address", "expired", "suppressed", "failed",
		"accepted", "doubtful", "vouched", "bounced softly", "bounced there", "bounced", "delivered",
	}
	byResult := map[candorv1.Result]string{
		unknown: "unknown", notSeen: "not seen", withdrawn: "withdrawn", retry: "retry", notFound: "not found", nextAddress: "next address",
		expired: "expired", suppressed: "suppressed", failed: "failed", accepted: "accepted", doubtful: "doubtful",
		undeliveredSoft: "bounced softly", undeliveredNext: "bounced there", undelivered: "bounced", delivered: "delivered",
	}
	best := map[uint32]int{} // by attempt
	say := func(attempt uint32, word string) {
		i := slices.Index(words, word)
		if i >= slices.Index(words, "accepted") {
			attempt = max(attempt, 1)
		}
		if known, ok := best[attempt]; !ok || i > known {
			best[attempt] = i
		}
	}
	sealed, putOff := false, false
	for _, e := range slices.Concat(y.journal, y.receipts) {
		switch ev := e.GetEvent().(type) {
		case *candorv1.JournalEntry_Sealed:
			sealed = true
		case *candorv1.JournalEntry_PutOff:
			putOff = true
		case *candorv1.JournalEntry_Intent:
			putOff = false
			if slices.Contains(Slots(ev.Intent.GetSlots()), n) {
				say(ev.Intent.GetAttempt(), "intended")
			}
		case *candorv1.JournalEntry_Outcomes:
			g := ev.Outcomes.GetGroups()[0]
			word := byResult[g.GetResult()]
			if word == "accepted" && ev.Outcomes.GetDecider() == candorv1.Decider_DECIDER_PERSON {
				word = "vouched"
			}
			if word != "" && slices.Contains(Slots(g.GetSlots()), n) {
				say(ev.Outcomes.GetAttempt(), word)
			}
		}
	}
	var r ruling
	fate := "planned"
	highest := uint32(0)
	has := map[string]bool{}
	for a, i := range best {
		word := words[i]
		has[word] = true
		if a >= highest {
			highest, fate = a, word
		}
		switch word {
		case "accepted", "doubtful", "vouched", "delivered":
			r.messages++
			r.ever = true
		case "bounced softly", "bounced there", "bounced":
			r.ever, r.bounced = true, true
		}
	}
	switch {
	case has["delivered"]:
		fate = "delivered"
	case has["accepted"] || has["vouched"]:
		fate = "accepted"
	case has["doubtful"]:
		fate = "doubtful"
	}
	switch fate {
	case "planned":
		switch {
		case sealed:
			r.state = candorv1.NoticeState_NOTICE_STATE_EXPIRED
		case putOff:
			r.state = candorv1.NoticeState_NOTICE_STATE_WAITING
		default:
			r.state = candorv1.NoticeState_NOTICE_STATE_PLANNED
		}
	case "intended":
		r.state = candorv1.NoticeState_NOTICE_STATE_INTENDED
	case "unknown", "not seen", "doubtful":
		r.state = candorv1.NoticeState_NOTICE_STATE_UNCERTAIN
	case "withdrawn", "retry", "not found", "next address", "bounced softly", "bounced there":
		r.state = candorv1.NoticeState_NOTICE_STATE_WAITING
		if sealed {
			r.state = candorv1.NoticeState_NOTICE_STATE_EXPIRED
		}
	case "suppressed":
		r.state = candorv1.NoticeState_NOTICE_STATE_SUPPRESSED
	case "failed", "bounced":
		r.state = candorv1.NoticeState_NOTICE_STATE_FAILED
	case "expired":
		r.state = candorv1.NoticeState_NOTICE_STATE_EXPIRED
	case "accepted":
		r.state = candorv1.NoticeState_NOTICE_STATE_ACCEPTED
	case "delivered":
		r.state = candorv1.NoticeState_NOTICE_STATE_DELIVERED
	}
	return r
}
