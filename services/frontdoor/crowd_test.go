package frontdoor

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/journal"
	"candor/pkg/noticeid"
	"candor/pkg/receipt"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// 100,000 receipts, shuffled, each three times, a tenth of them forged: what is stored is what was said once and in order, and
// nothing of what was forged.
func TestACrowdOfReceipts(t *testing.T) {
	t.Parallel()
	notices := uint32(25_000) // of each channel, with two receipts each
	if raceDetector {
		notices = 2_500
	}
	h := newHouse(t, func(c *Config) { c.BatchWait = 5 * time.Millisecond })
	finals := []struct{ status, code, event string }{
		{"delivered", "", "delivered"}, {"undelivered", "30005", "bounce"}, {"failed", "30008", "dropped"}, {"delivered", "", "delivered"},
	}
	now := strconv.FormatInt(noon.Unix(), 10)
	want := map[said]int{}
	calm := ledger{}
	expect := func(k noticeid.Key, provider string, w receipt.Word, id string) {
		subject := topology.Receipt(k.Channel, k.Incident, k.Wave, k.Page)
		want[said{subject, provider, 1, k.Slot, w.Result, w.Reason, w.RetryIn, id}] = 1
		one := batch{shelf: shelf{provider: provider, attempt: 1}, facts: []fact{factOf(k, 1, provider, w, id)}}
		calm.hear(t, subject, one.entry(noon))
	}
	type request struct {
		path, body, signature string
		want                  int
	}
	var requests []request
	var mails []ev
	for n := range notices {
		k, sid, final := smsNotice(n/1000, n%1000), "SM"+strconv.Itoa(int(n)), finals[n%uint32(len(finals))]
		path := TwilioStatusPath + string(h.IDs.Append(nil, k, 1))
		for _, s := range [][2]string{{"sent", ""}, {final.status, final.code}} {
			body := statusForm(sid, s[0], s[1])
			requests = append(requests, request{path, body, signTwilio(token, publicURL+path, body), http.StatusNoContent})
			code, _ := strconv.Atoi(s[1])
			w, _ := receipt.Twilio(s[0], code)
			expect(k, "twilio", w, sid)
		}
		if n%5 == 0 { // says the opposite, with another's signature
			body := statusForm(sid, "failed", "30007")
			requests = append(requests, request{path, body, signTwilio("guessed", publicURL+path, body), http.StatusForbidden})
		}
		k = mailNotice(n/1000, n%1000)
		for _, event := range []string{"processed", final.event} {
			mails = append(mails, ev{event, k, "m" + sid + ".filter", nil})
			w, _ := receipt.SendGrid(event, "", "", "")
			expect(k, "sendgrid", w, "m"+sid)
		}
	}
	rng := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // a test
	stranger, _ := newKey(t)
	rng.Shuffle(len(mails), func(i, j int) { mails[i], mails[j] = mails[j], mails[i] })
	for n := 0; len(mails) > 0; n++ {
		size := min(100, len(mails))
		body := events(h, mails[:size]...)
		requests = append(requests, request{SendGridPath, body, signSendGrid(t, h.key, now, body), http.StatusOK})
		if n%10 == 0 {
			forged := events(h, ev{"spamreport", mails[0].key, "m.x", nil}, ev{"delivered", mails[0].key, "forged.x", nil})
			requests = append(requests, request{SendGridPath, forged, signSendGrid(t, stranger, now, forged), http.StatusForbidden})
		}
		mails = mails[size:]
	}
	requests = append(append(requests, requests...), requests...)
	rng.Shuffle(len(requests), func(i, j int) { requests[i], requests[j] = requests[j], requests[i] })

	next := make(chan request)
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			for r := range next {
				code := http.StatusServiceUnavailable
				for code == http.StatusServiceUnavailable { // as the providers do, though they wait a while
					hr := twilioRequest(r.path, r.body, r.signature)
					if r.path == SendGridPath {
						hr = mailRequest(r.body, r.signature, now)
					}
					code = h.send(hr).Code
				}
				if code != r.want {
					t.Errorf("%d, want %d", code, r.want)
				}
			}
		})
	}
	began := time.Now()
	for _, r := range requests {
		next <- r
	}
	close(next)
	wg.Wait()
	got, messages := h.stored()
	t.Logf("%d requests in %s, %d facts in %d messages", len(requests), time.Since(began).Round(time.Millisecond), len(got), messages)
	if len(want) != int(notices)*4 {
		t.Fatalf("the test expects %d facts", len(want))
	}
	for s, n := range want {
		if got[s] != n {
			t.Fatalf("%+v is stored %d times", s, got[s])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d facts are stored, want %d", len(got), len(want))
	}
	if h.Suppressions.Len() != 0 {
		t.Error("a forged opt-out is in force")
	}
	crowded := ledger{}
	_, err := h.bus.Read(t.Context(), topology.StreamReceipts, "", 1, func(m bus.Stored) error {
		e := &candorv1.JournalEntry{}
		if err := proto.Unmarshal(m.Data, e); err != nil {
			return err
		}
		crowded.hear(t, m.Subject, e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for subject, page := range calm {
		for n := range uint32(1000) {
			state, reason := page.Notice(n)
			if s, r := crowded[subject].Notice(n); s != state || r != reason {
				t.Fatalf("%s: slot %d is %v %s, and in order and once %v %s", subject, n, s, r, state, reason)
			}
		}
		if crowded[subject].Duplicates != 0 || page.Duplicates != 0 {
			t.Errorf("%s has duplicates", subject)
		}
	}
	if len(crowded) != len(calm) {
		t.Errorf("%d pages, want %d", len(crowded), len(calm))
	}
}

// ledger is the folds of pages whose messages were all sent, by the subject of their receipts.
type ledger map[string]*journal.State

func (l ledger) hear(t *testing.T, subject string, e *candorv1.JournalEntry) {
	t.Helper()
	st := l[subject]
	if st == nil {
		k, _ := topology.ParseReceipt(subject)
		st = journal.NewState(journal.NewWords(), k.Channel, false)
		l[subject] = st
		all := []uint32{0, 1000}
		for i, e := range []*candorv1.JournalEntry{
			{Event: &candorv1.JournalEntry_Opened{Opened: &candorv1.Opened{Slots: 1000}}},
			{Event: &candorv1.JournalEntry_Intent{Intent: &candorv1.Intent{Attempt: 1, Slots: all}}},
		} {
			if err := st.Apply(uint64(i+1), e); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := st.Hear(st.HeardSeq+1, e); err != nil {
		t.Fatal(err)
	}
}
