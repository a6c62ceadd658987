package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"candor/services/app"
	"candor/services/bench"
	"candor/services/sandbox"
)

// A household has one phone and one mailbox: what was sent to one of its members must not settle another's notice.
func TestEverybodyInAHouseholdIsToldOnceWhateverTheProviderDoes(t *testing.T) {
	t.Parallel()
	p := play(t, func(cfg *app.Config) {
		cfg.SMS.RequestTimeout, cfg.Email.RequestTimeout = 2*time.Second, 2*time.Second
		cfg.SMS.RetryFirst, cfg.Email.RetryFirst = 50*time.Millisecond, 50*time.Millisecond
		cfg.SMS.RetryMost, cfg.Email.RetryMost = 200*time.Millisecond, 200*time.Millisecond
		cfg.SMS.Hold, cfg.Email.Hold = 200*time.Millisecond, 200*time.Millisecond
		second := sandbox.Duration(time.Second)
		bad := sandbox.Rates{
			RateLimited: 0.02, ServerError: 0.05, ServerErrorKept: 0.05, AnswerLost: 0.1, Reset: 0.05, Slow: 0.05, Redirect: 0.02, NoID: 0.05,
			LateTail: 0.02, Stall: 0.02, StallKept: 0.05, RetryAfter: second, SlowFor: second,
		}
		cfg.Sandbox.Faults = sandbox.Faults{Seed: 11, SMS: bad, Email: bad}
	})
	var file strings.Builder
	file.WriteString("customer_ref,given_name,email,phone,language,country,time_zone\n")
	const customers, household = 120, 6
	for i := range customers {
		fmt.Fprintf(&file, "H%03d,Ana,h%03d@example.com,+1212555%04d,en,US,America/New_York\n", i, i/household, 100+i/household)
	}
	pb, facts, err := bench.Texts(1)
	if err != nil {
		t.Fatal(err)
	}
	p.tell("house", pb, facts, strings.NewReader(file.String()))
	v := p.rest("house")
	kept := v.Notices["email"]["uncertain"]
	if v.Lost != 0 || v.Duplicates != 0 || v.Notices["sms"]["accepted"] != customers || v.Notices["email"]["accepted"]+kept != customers {
		t.Errorf("verdict = %+v", v)
	}
	if got := v.UncertainSent["email"] + v.UncertainNotSent["email"]; got != kept || kept == 0 {
		t.Errorf("%d e-mails are kept as uncertain, %d were looked up: %+v", kept, got, v)
	}
}
