package e2e

import (
	"strings"
	"testing"
	"time"

	candorv1 "candor/proto/candor/v1"
	"candor/services/bench"
	"candor/services/sandbox"
)

// silentPhone is one of which the sandbox never says what became of its texts.
const silentPhone = "+15005554000"

func TestTheNextChannelIsForThoseWhomTheFirstOneMissed(t *testing.T) {
	t.Parallel()
	p := play(t, impatient)
	// Longer than everything else takes, so that nobody whose text arrives is overtaken by it.
	const customers = 400
	after := 15 * time.Second
	if detector {
		after = time.Minute
	}
	p.receipts(sandbox.Receipts{
		Seed: 9, DelayFinal: sandbox.Duration(100 * time.Millisecond), Flush: sandbox.Duration(100 * time.Millisecond), Duplicate: 0.2, Shuffle: 0.2,
		Undelivered: map[int]float64{30005: 0.08, 30007: 0.08},
	})
	pb, facts, err := bench.Texts(50)
	if err != nil {
		t.Fatal(err)
	}
	pb = edit(t, pb, "\n      email:\n", "\n      email:\n        after: "+after.String()+"\n        unless: delivered\n")
	without := 0
	began := time.Now()
	inc := p.tell("ladder", pb, facts, strings.NewReader(crowdOf(customers, func(i int, phone, _ *string) {
		switch {
		case i == 0:
			*phone = silentPhone
		case i%20 == 1:
			*phone = "" // moves on at once
			without++
		}
	})))
	st, err := await(t, p.driver, "ladder", func(st *candorv1.Status) bool { return st.GetComplete() })
	if err != nil {
		t.Fatalf("%v: %v", err, st)
	}
	if took := time.Since(began); took < after {
		t.Errorf("complete after %s, while a step for %s later was open", took, after)
	}
	whenComplete, err := p.sandbox.Truth(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v := p.heard(inc)
	agree(t, v, customers)
	if atLast, err := p.sandbox.Truth(t.Context()); err != nil || atLast.Email.Requests != whenComplete.Email.Requests {
		t.Errorf("after it was complete %d e-mails were sent: %v", atLast.Email.Requests-whenComplete.Email.Requests, err)
	}
	moved := 0
	var atOnce, inTime time.Time // the last e-mail to those without a phone, and the one of the silent phone
	for who, s := range stories(t, p.ledger(), p.sandbox, "ladder") {
		text, mail := s["w0.sms"], s["w0.email"]
		if reached := text.delivered > 0; reached == (mail.taken > 0) || mail.taken > 1 || text.delivered > 1 {
			t.Errorf("customer %v: text %+v, e-mail %+v", who, text, mail)
		}
		if mail.taken > 0 {
			moved++
		}
		switch {
		case text.taken == 0 && mail.at.After(atOnce):
			atOnce = mail.at
		case text.state == candorv1.NoticeState_NOTICE_STATE_ACCEPTED:
			inTime = mail.at
		}
	}
	if atOnce.IsZero() || !atOnce.Before(inTime) {
		t.Errorf("who has no phone got an e-mail at %s, who was waited for at %s: nobody waits for a text that was never sent", atOnce, inTime)
	}
	if moved < without+20 || moved > customers/2 {
		t.Errorf("%d of %d customers moved on, %d of them without a phone", moved, customers, without)
	}
}
