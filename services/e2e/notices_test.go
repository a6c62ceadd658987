package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"candor/pkg/noticeid"
	"candor/pkg/rpc/candorv1connect"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
	"candor/services/sandbox"
)

// customer is a place in a roster.
type customer struct{ page, slot uint32 }

// fate is what became of one notice: what Candor says, and what the sandbox did with it.
type fate struct {
	state     candorv1.NoticeState
	taken     int // messages
	delivered int
	at        time.Time // when the newest was taken
}

// story is one customer's notices, by wave and channel as in w0.sms.
type story map[string]fate

// stories holds every notice of an incident against the sandbox.
func stories(t *testing.T, ledger candorv1connect.LedgerServiceClient, sb *sandbox.Client, incident string) map[customer]story {
	t.Helper()
	counts := map[string]fate{}
	for _, ch := range []string{"sms", "email"} {
		if err := sb.Notices(t.Context(), ch, "", func(a sandbox.Attempt) error {
			n := counts[string(a.Notice)]
			n.taken += a.Accepted
			if a.At.After(n.at) {
				n.at = a.At
			}
			if a.Fate == "delivered" {
				n.delivered++
			}
			counts[string(a.Notice)] = n
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := ledger.ExportNotices(t.Context(), connect.NewRequest(&candorv1.ExportNoticesRequest{Incident: incident}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Close() }() // only read from
	all := map[customer]story{}
	for stream.Receive() {
		for _, page := range stream.Msg().GetPages() {
			k := page.GetKey()
			for slot, b := range page.GetStates() {
				state := candorv1.NoticeState(b)
				if state == candorv1.NoticeState_NOTICE_STATE_UNSPECIFIED {
					continue
				}
				who := customer{k.GetPage(), uint32(slot)}
				n := counts[noticeOf(incident, k, who.slot)]
				if all[who] == nil {
					all[who] = story{}
				}
				all[who][k.GetWave()+"."+topology.ChannelToken(k.GetChannel())] = fate{state, n.taken, n.delivered, n.at}
			}
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// noticeOf is the part of a notice's ids that needs no key.
func noticeOf(incident string, k *candorv1.PageKey, slot uint32) string {
	return noticeid.New(nil).Notice(noticeid.Key{Incident: incident, Wave: k.GetWave(), Channel: k.GetChannel(), Page: k.GetPage(), Slot: slot})
}

// crowdOf writes customers with a phone and an e-mail address each; with may change a row's cells or leave some out.
func crowdOf(n int, with func(i int, phone, email *string)) string {
	var file strings.Builder
	file.WriteString("customer_ref,given_name,email,phone,language,country,time_zone\n")
	for i := range n {
		phone, email := fmt.Sprintf("+1%s555%04d", []string{"212", "415", "312", "305"}[i%4], 100+i/4), fmt.Sprintf("c%04d@example.com", i)
		if with != nil {
			with(i, &phone, &email)
		}
		fmt.Fprintf(&file, "R-%04d,Ana,%s,%s,en,US,America/New_York\n", i, email, phone)
	}
	return file.String()
}

// edit changes a playbook in one place, or fails.
func edit(t *testing.T, pb, from, to string) string {
	t.Helper()
	if !strings.Contains(pb, from) {
		t.Fatalf("the playbook has no %q", from)
	}
	return strings.Replace(pb, from, to, 1)
}
