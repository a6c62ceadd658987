package e2e

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

// night finds a time zone where the starter's playbook lets nobody be texted for some hours.
func night(t *testing.T, pb *playbook.Playbook) (zone string, open time.Time) {
	t.Helper()
	for _, name := range []string{
		"Pacific/Auckland", "Australia/Sydney", "Asia/Tokyo", "Asia/Bangkok", "Asia/Karachi", "Asia/Dubai", "Europe/Athens", "Europe/Madrid",
		"Atlantic/Azores", "America/Sao_Paulo", "America/New_York", "America/Denver", "America/Los_Angeles", "Pacific/Honolulu",
	} {
		loc, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		quiet := pb.Waves["w0"].Channels.SMS.Quiet()
		now := time.Now()
		if next, ok := quiet.Next(now, loc); ok && !quiet.Open(now, loc) && next.Sub(now) > time.Hour {
			return name, next
		}
	}
	t.Fatal("it is day everywhere")
	return "", time.Time{}
}

func TestAtNightTextMessagesWaitAndEMailsGo(t *testing.T) {
	t.Parallel()
	p := play(t, nil)
	read := func(name string) string {
		b, err := fs.ReadFile(playbook.Starter(), name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	text, facts := read("playbook.yaml"), read("facts.yaml")
	pb, err := playbook.Parse("playbook", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	zone, open := night(t, pb)
	var file strings.Builder
	file.WriteString("customer_ref,given_name,email,phone,language,country,time_zone\n")
	const customers = 30
	for i := range customers {
		fmt.Fprintf(&file, "N%02d,Ana,n%02d@example.com,+1212555%04d,%s,US,%s\n", i, i, 100+i, []string{"en", "es"}[i%2], zone)
	}
	p.tell("night", text, facts, strings.NewReader(file.String()))
	st, err := await(t, p.driver, "night", func(st *candorv1.Status) bool {
		return channelOf(st, candorv1.Channel_CHANNEL_EMAIL).GetStates()["accepted"] == customers &&
			channelOf(st, candorv1.Channel_CHANNEL_SMS).GetStates()["waiting"] == customers
	})
	if err != nil {
		t.Fatalf("%v: %v", err, st)
	}
	for _, r := range channelOf(st, candorv1.Channel_CHANNEL_SMS).GetReasons() {
		if r.GetReason() != "quiet_hours" || r.GetCount() != customers {
			t.Errorf("waiting for %v until %s", r, open)
		}
	}
	if st.GetComplete() || st.GetPeople().GetTold() != customers {
		t.Errorf("status = %v", st)
	}
	truth, err := p.sandbox.Truth(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if truth.SMS.Requests != 0 || truth.Email.Accepted != customers {
		t.Errorf("the sandbox got %d text messages and %d e-mails", truth.SMS.Requests, truth.Email.Accepted)
	}
}
