package ledger

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/journal"
	candorv1 "candor/proto/candor/v1"
)

const (
	aDayLater        = "        after: 24h\n"
	aDayLaterUnless  = "        after: 24h\n        unless: accepted\n"
	stillDue         = "for this step"
	tomorrow         = 24*time.Hour + time.Minute
	pastTheHorizon   = 100 * time.Hour
	customersPerPage = 5
)

// openFirst opens what begins with the wave.
func (p *pen) openFirst() {
	p.t.Helper()
	p.write(on(sms, 0), opened(customersPerPage))
	p.write(on(sms, 1), opened(customersPerPage))
}

// movers are page 0's of a day's step, at a moment after noon.
func (p *pen) movers(unless bool, after time.Duration) []uint32 {
	p.t.Helper()
	res := p.books.moveOn(&candorv1.MoveOnRequest{
		Incident: "i1", Wave: "w0", Step: email, Earlier: []candorv1.Channel{sms}, UnlessAccepted: unless,
		BegunBefore: timestamppb.New(noon.Add(after - 24*time.Hour)),
	})
	for _, page := range res.GetPages() {
		if page.GetPage() == 0 {
			return journal.Slots(page.GetSlots())
		}
	}
	return nil
}

func TestLadder(t *testing.T) {
	t.Parallel()
	tell := func(p *pen) { p.write(on(sms, 0), intent(1, 0, 5), outcome(1, accepted, "", 0, 5)) }
	for _, tt := range []struct {
		name   string
		unless bool
		do     func(*pen) // to page 0; on page 1 everybody is reached
		now    []uint32   // who moves on at once
		later  []uint32   // and when a day has passed
		open   string     // of the step now; empty if it is not
		dayOn  string     // and a day later
	}{
		{"all delivered", false, func(p *pen) { tell(p); p.hear(sms, 0, outcome(1, delivered, "", 0, 5)) }, nil, nil, "", ""},
		{
			"accepted is not delivered", false, tell, nil,
			[]uint32{0, 1, 2, 3, 4},
			"5 customers wait for this step, until 2026-11-23 12:00 UTC", "5 customers are due for this step",
		},
		{"accepted is enough", true, tell, nil, nil, "", ""},
		{
			"who was never tried is no step ahead", false, func(p *pen) { p.write(on(sms, 0), intent(1, 0, 2), outcome(1, accepted, "", 0, 2)) },
			nil,
			[]uint32{0, 1},
			"3 customers wait for this step, and an earlier channel has not begun", "2 customers are due for this step",
		},
		{
			"a canary was told a day before the rest", false, func(p *pen) {
				p.write(on(sms, 0), intent(1, 0, 1), outcome(1, accepted, "", 0, 1))
				p.at = p.at.Add(25 * time.Hour)
				p.write(on(sms, 0), intent(1, 1, 4), outcome(1, accepted, "", 1, 4))
			}, nil, nil, "until 2026-11-24 13:00 UTC", "5 customers wait for this step, until 2026-11-24 13:00 UTC",
		},
		{"failed for good", false, func(p *pen) {
			tell(p)
			p.hear(sms, 0, outcome(1, undelivered, "twilio_30003", 1, 1), outcome(1, delivered, "", 2, 3))
		}, []uint32{1}, []uint32{0, 1}, "1 customer waits for this step, until 2026-11-23 12:00 UTC", "2 customers are due for this step"},
		{
			"no phone moves on before anything began", false, func(p *pen) { p.write(on(sms, 0), outcome(0, suppressed, "no_phone", 0, 2)) },
			[]uint32{0, 1},
			[]uint32{0, 1},
			"3 customers wait for this step, and an earlier channel has not begun", "has not begun",
		},
		{
			"nobody has a phone", false, func(p *pen) { p.write(on(sms, 0), outcome(0, suppressed, "no_phone", 0, 5)) },
			[]uint32{0, 1, 2, 3, 4},
			[]uint32{0, 1, 2, 3, 4},
			"5 customers are due for this step", "5 customers are due for this step",
		},
		{"uncertain is given time", false, func(p *pen) {
			p.write(on(sms, 0), intent(1, 0, 5), outcome(1, unknownR, "timeout", 0, 1), outcome(1, accepted, "", 1, 4))
			p.hear(sms, 0, outcome(1, delivered, "", 1, 4))
		}, nil, []uint32{0}, "1 customer waits for this step, until", "1 customer is due"},
		{
			"doubtful is given time", true, func(p *pen) { tell(p); p.hear(sms, 0, outcome(1, doubtful, "twilio_30000", 0, 1)) },
			nil,
			[]uint32{0},
			"1 customer waits", "1 customer is due",
		},
		{
			"a retry is given time", true, func(p *pen) { tell(p); p.hear(sms, 0, outcome(1, softly, "twilio_30008", 4, 1)) },
			nil,
			[]uint32{4},
			"1 customer waits", "1 customer is due",
		},
		{"opted out after it arrived", false, func(p *pen) {
			tell(p)
			p.hear(sms, 0, outcome(1, delivered, "", 0, 5), outcome(1, optedOut, "", 0, 5))
		}, nil, nil, "", ""},
		{"opted out before", true, func(p *pen) {
			p.write(on(sms, 0), outcome(0, suppressed, "opted_out", 3, 1), intent(1, 0, 3), outcome(1, accepted, "", 0, 3))
			p.write(on(sms, 0), intent(1, 4, 1), outcome(1, accepted, "", 4, 1))
		}, []uint32{3}, []uint32{3}, "1 customer is due", "1 customer is due"},
		{"moved on already", false, func(p *pen) {
			tell(p)
			p.hear(sms, 0, outcome(1, undelivered, "x", 0, 2), outcome(1, delivered, "", 2, 3))
			p.write(on(email, 0), opened(5, 0, 1), admitted(1, 1), intent(1, 0, 2), outcome(1, accepted, "", 0, 2))
		}, nil, nil, "", ""},
		{"one of two moved on", false, func(p *pen) {
			tell(p)
			p.hear(sms, 0, outcome(1, undelivered, "x", 0, 2), outcome(1, delivered, "", 2, 3))
			p.write(on(email, 0), opened(5, 1, 1), intent(1, 1, 1), outcome(1, accepted, "", 1, 1))
		}, []uint32{0}, []uint32{0}, "1 customer is due", "1 customer is due"},
		{"not opened", false, func(*pen) {}, nil, nil, "", ""},
		{"sealed", false, func(p *pen) {
			tell(p)
			p.hear(sms, 0, outcome(1, undelivered, "x", 0, 2))
			p.write(on(sms, 0), sealed())
		}, nil, nil, "", ""},
		{"damaged", false, func(p *pen) {
			tell(p)
			p.hear(sms, 0, outcome(1, undelivered, "x", 0, 2))
			_ = p.bad(on(sms, 0), []byte{0xff})
		}, nil, nil, "", ""},
		{"receipts damaged", false, func(p *pen) {
			tell(p)
			p.hear(sms, 0, outcome(1, undelivered, "x", 0, 2))
			_ = p.badReceipt(sms, 0, []byte{0xff})
		}, nil, nil, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPen(t)
			if tt.name != "not opened" {
				p.openFirst()
			}
			if tt.name != "not opened" {
				p.write(on(sms, 1), intent(1, 0, 5), outcome(1, accepted, "", 0, 5))
				p.hear(sms, 1, outcome(1, delivered, "", 0, 5))
			}
			tt.do(p)
			ladder := aDayLater
			if tt.unless {
				ladder = aDayLaterUnless
			}
			inc := declaredWith(ladder)
			for _, at := range []struct {
				after time.Duration
				want  []uint32
				open  string
			}{{time.Minute, tt.now, tt.open}, {tomorrow, tt.later, tt.dayOn}, {time.Minute, tt.now, tt.open}} {
				got := p.movers(tt.unless, at.after)
				if !slices.Equal(got, at.want) {
					t.Errorf("after %v %v move on, want %v", at.after, got, at.want)
				}
				st := p.books.status("i1", inc, as(noon.Add(at.after)))
				said := ""
				for _, s := range st.GetOpen() {
					if strings.Contains(s, stillDue) {
						said += s + "\n"
					}
				}
				if (at.open == "") != (said == "") || !strings.Contains(said, at.open) {
					t.Errorf("after %v the step is %q, want %q", at.after, said, at.open)
				}
				if said != "" && (st.GetComplete() || st.GetWaves()[0].GetChannels()[1].GetSettled()) {
					t.Error("complete, or settled, while the step is open")
				}
			}
		})
	}
}

// What a step need not hold does not keep an incident open.
func TestCompleteWithALadder(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	p.openFirst()
	for _, page := range []uint32{0, 1} {
		p.write(on(sms, page), intent(1, 0, 5), outcome(1, accepted, "", 0, 5))
		p.hear(sms, page, outcome(1, delivered, "", 0, 4), outcome(1, undelivered, "x", 4, 1))
	}
	p.write(on(email, 0), opened(5, 4, 1), intent(1, 4, 1))
	inc := declaredWith(aDayLater)
	if st := p.books.status("i1", inc, as(noon)); st.GetComplete() || len(st.GetOpen()) != 2 {
		t.Errorf("open is %q", st.GetOpen())
	}
	p.write(on(email, 0), outcome(1, accepted, "", 4, 1))
	p.write(on(email, 1), opened(5, 4, 1), outcome(0, suppressed, "no_email", 4, 1))
	st := p.books.status("i1", inc, as(noon.Add(pastTheHorizon)))
	if !st.GetComplete() || !st.GetWaves()[0].GetChannels()[1].GetSettled() {
		t.Errorf("open is %q", st.GetOpen())
	}
	if st.GetPeople().GetTold() != 9 || st.GetPeople().GetUnreachedReasons()["failed:x"] != 1 {
		t.Errorf("people %v", st.GetPeople())
	}
	// But it may not hold more than was approved.
	p.write(on(email, 7), opened(5))
	if st := p.books.status("i1", inc, as(noon)); st.GetComplete() || !strings.Contains(st.GetOpen()[0], "3 pages are opened with 7 notices, approved were 2 with 10") {
		t.Errorf("open is %q", st.GetOpen())
	}
}

func TestPlaybookThatCannotBeRead(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	p.openAll()
	p.tellAll()
	for _, text := range []string{"", "version: 7"} {
		inc := declared()
		inc.Draft = drafted("")
		inc.Draft.Declaration.Playbook = text
		if st := p.books.status("i1", inc, as(noon)); st.GetComplete() || !strings.Contains(st.GetOpen()[0], "the approved playbook cannot be read") {
			t.Errorf("open is %q", st.GetOpen())
		}
	}
}

func TestCanaryIsOpen(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	p.write(on(sms, 0), opened(5), intent(1, 0, 5), outcome(1, accepted, "", 0, 5))
	p.hear(sms, 0, outcome(1, delivered, "", 0, 5))
	for _, tt := range []struct {
		judged map[string]incident.Canary
		want   string
	}{
		{nil, "wave w0 is not planned yet: its first 5 notices go ahead as a canary; the rest waits until it is judged"},
		{map[string]incident.Canary{"w0": incident.CanaryBad}, "did badly; the rest waits until a person resumes"},
		{map[string]incident.Canary{"w0": incident.CanaryGood}, "did well; the rest is being opened"},
	} {
		inc := declaredWith(aDayLater)
		d := inc.Draft.GetDeclaration()
		d.Playbook = strings.Replace(d.GetPlaybook(), "    channels:\n", "    guard:\n      canary: 5\n    channels:\n", 1)
		inc.Waves, inc.Canaries = nil, tt.judged
		st := p.books.status("i1", inc, as(noon))
		if st.GetComplete() || len(st.GetOpen()) != 1 || !strings.Contains(st.GetOpen()[0], tt.want) {
			t.Errorf("open is %q, want %q", st.GetOpen(), tt.want)
		}
	}
}

func TestMoveOnOfThreeSteps(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	call := candorv1.Channel_CHANNEL_CALL
	p.write(on(sms, 0), opened(5), intent(1, 0, 5), outcome(1, failed, "x", 0, 2), outcome(1, accepted, "", 2, 3))
	p.hear(sms, 0, outcome(1, delivered, "", 4, 1))
	ask := func(before time.Time) []uint32 {
		res := p.books.moveOn(&candorv1.MoveOnRequest{
			Incident: "i1", Wave: "w0", Step: call, Earlier: []candorv1.Channel{sms, email}, BegunBefore: timestamppb.New(before),
		})
		if len(res.GetPages()) == 0 {
			return nil
		}
		return journal.Slots(res.GetPages()[0].GetSlots())
	}
	if got := ask(noon); len(got) != 0 {
		t.Errorf("%v move on although it is too early", got)
	}
	p.at = noon.Add(time.Hour)
	p.write(on(email, 0), opened(5, 0, 2))
	if got := ask(noon.Add(2 * time.Hour)); len(got) != 0 {
		t.Errorf("%v move on although the second step has not begun with them", got)
	}
	p.write(on(email, 0), intent(1, 0, 2), outcome(1, failed, "y", 0, 1), outcome(1, accepted, "", 1, 1))
	if got := ask(noon.Add(time.Minute)); !slices.Equal(got, []uint32{0}) {
		t.Errorf("%v move on, want 0 whom neither can reach", got)
	}
	if got := ask(noon.Add(2 * time.Hour)); !slices.Equal(got, []uint32{0, 1, 2, 3}) {
		t.Errorf("%v move on, want all but 4", got)
	}
	if got := p.books.moveOn(&candorv1.MoveOnRequest{Incident: "i1", Wave: "w0", Step: call}); len(got.GetPages()) != 0 {
		t.Errorf("%v move on from no channel at all", got)
	}
	if got := p.books.moveOn(&candorv1.MoveOnRequest{Incident: "i2", Wave: "w0", Step: call}); len(got.GetPages()) != 0 {
		t.Errorf("%v move on in no incident", got)
	}
}

// An answer holds what fits; the rest is in the next, when these were moved on.
func TestMoveOnFits(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	const pages = 1000
	var odd []uint32
	for n := uint32(0); n < 1000; n += 2 {
		odd = append(odd, n, 1)
	}
	one := encode(t, stamped(opened(1000), noon))
	two := encode(t, stamped(outcome(0, suppressed, "no_phone", odd...), noon))
	for page := range uint32(pages) {
		for _, data := range [][]byte{one, two} {
			if err := p.bad(on(sms, page), data); err != nil {
				t.Fatal(err)
			}
		}
	}
	for moved, parts := uint32(0), 0; moved < pages; parts++ {
		res := p.books.moveOn(&candorv1.MoveOnRequest{Incident: "i1", Wave: "w0", Step: email, Earlier: []candorv1.Channel{sms}})
		if len(res.GetPages()) == 0 || parts > 5 {
			t.Fatalf("part %d: %d of %d pages moved on", parts, moved, pages)
		}
		if n := len(encodeAny(t, res)); n > 1_000_000 {
			t.Fatalf("an answer of %d bytes", n)
		}
		for _, page := range res.GetPages() {
			if page.GetPage() != moved || len(page.GetSlots()) != len(odd) {
				t.Fatalf("page %d with %d runs", page.GetPage(), len(page.GetSlots()))
			}
			moved++
			p.write(on(email, page.GetPage()), opened(1000, page.GetSlots()...))
		}
	}
}

// Whatever happens: while the ledger would let anybody move on, now or when the time has come, nothing is complete.
func TestNeverCompleteWhileAStepIsOpen(t *testing.T) {
	t.Parallel()
	inc := declaredWith(aDayLater)
	rapid.Check(t, func(t *rapid.T) {
		b := newBooks()
		var seq, heard uint64
		now := noon
		fold := func(subject string, e *candorv1.JournalEntry) {
			seq++
			_ = b.fold(bus.Stored{Subject: subject, Seq: seq, Time: now, Data: encode(t, stamped(e, now))})
		}
		for page := range uint32(2) {
			fold(on(sms, page), opened(5))
		}
		run := func() []uint32 {
			first := rapid.Uint32Range(0, 4).Draw(t, "first")
			return []uint32{first, rapid.Uint32Range(1, 5-first).Draw(t, "count")}
		}
		page := func() uint32 { return rapid.Uint32Range(0, 1).Draw(t, "page") }
		all := func(page uint32, r candorv1.Result) {
			fold(on(sms, page), intent(1, 0, 5))
			fold(on(sms, page), outcome(1, r, "", 0, 5))
		}
		ask := &candorv1.MoveOnRequest{Incident: "i1", Wave: "w0", Step: email, Earlier: []candorv1.Channel{sms}}
		t.Repeat(map[string]func(*rapid.T){
			"tell": func(*rapid.T) { all(page(), accepted) },
			"fail": func(*rapid.T) { all(page(), failed) },
			"result": func(*rapid.T) {
				fold(on(sms, page()), outcome(1, rapid.SampledFrom([]candorv1.Result{accepted, failed, unknownR}).Draw(t, "r"), "", run()...))
			},
			"receipt": func(*rapid.T) {
				heard++
				at := page()
				m := outcome(1, rapid.SampledFrom([]candorv1.Result{delivered, undelivered, softly}).Draw(t, "r"), "", run()...)
				_ = b.hear(bus.Stored{Subject: strings.Replace(on(sms, at), "journal", "receipt", 1), Seq: heard, Time: now, Data: encode(t, stamped(m, now))})
			},
			"wait": func(*rapid.T) { now = now.Add(5 * time.Hour) },
			"move on": func(*rapid.T) {
				ask.BegunBefore = timestamppb.New(now.Add(-24 * time.Hour))
				for _, m := range b.moveOn(ask).GetPages() {
					fold(on(email, m.GetPage()), opened(5, m.GetSlots()...))
					fold(on(email, m.GetPage()), admitted(m.GetSlots()...))
					fold(on(email, m.GetPage()), intent(1, m.GetSlots()...))
					fold(on(email, m.GetPage()), outcome(1, accepted, "", m.GetSlots()...))
				}
			},
			"": func(*rapid.T) {
				st := b.status("i1", inc, as(now))
				ask.BegunBefore = timestamppb.New(now.Add(1000 * time.Hour))
				if left := b.moveOn(ask).GetPages(); len(left) > 0 && (st.GetComplete() || !strings.Contains(strings.Join(st.GetOpen(), "\n"), stillDue)) {
					t.Fatalf("complete %v, open %q, and these are yet to move on: %v", st.GetComplete(), st.GetOpen(), left)
				}
			},
		})
	})
}
