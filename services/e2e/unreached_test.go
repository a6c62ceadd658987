package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"

	candorv1 "candor/proto/candor/v1"
	"candor/services/api"
	"candor/services/bench"
)

// tiersOf is a roster of n customers of tier 1 and 2 by turns: pages hold one tier alone. Every fifth has no phone number.
func tiersOf(name string, n int) string {
	var file strings.Builder
	file.WriteString("customer_ref,given_name,email,phone,language,country,time_zone,tier\n")
	for i := range n {
		phone := fmt.Sprintf("+1212555%04d", 100+i)
		if i%5 == 0 {
			phone = ""
		}
		fmt.Fprintf(&file, "%s-%d,Ana,%s%d@example.com,%s,en,US,America/New_York,%d\n", name, i, name, i, phone, 1+i%2)
	}
	return file.String()
}

// addRows adds customers to an incident, and has them approved.
func (h *home) addRows(id, file string) {
	h.t.Helper()
	commander := role(h.t, h.app.APIURL(), h.admin, "clerk", candorv1.Role_ROLE_COMMANDER)
	req, err := http.NewRequestWithContext(h.t.Context(), http.MethodPut, h.app.APIURL()+"/v1/incidents/"+id+"/rows", strings.NewReader(file))
	if err != nil {
		h.t.Fatal(err)
	}
	res, err := commander.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	up, add := &api.AddedRows{}, &candorv1.AdditionStatus{}
	err = json.NewDecoder(res.Body).Decode(up)
	if err == nil {
		err = protojson.Unmarshal(up.Addition, add)
	}
	if err != nil || res.StatusCode != http.StatusOK {
		h.t.Fatalf("add rows: %s, %v", res.Status, err)
	}
	if err := h.driver.Approve(h.t.Context(), id, add.GetHash()); err != nil {
		h.t.Fatal(err)
	}
}

// sameUnreached waits until the status and the list have both seen everything, and holds one against the other.
func (h *home) sameUnreached(id string, notInWave uint64) {
	h.t.Helper()
	ledger := h.ledger()
	until(h.t, "the list of "+id+" is the status'", func() bool {
		st, err := h.driver.Status(h.t.Context(), id)
		if err != nil {
			return false
		}
		listed := map[string]uint64{}
		sum := uint64(0)
		for reason, customers := range unreached(h.t, ledger, id) {
			seen := map[string]bool{}
			for _, u := range customers {
				seen[u.GetCode()] = true
			}
			if len(seen) != len(customers) {
				h.t.Fatalf("%s: somebody stands twice among %d of %s", id, len(customers), reason)
			}
			listed[reason] = uint64(len(customers))
			sum += listed[reason]
		}
		return sum == st.GetPeople().GetUnreached() && maps.Equal(listed, st.GetPeople().GetUnreachedReasons()) && listed["not_in_wave"] == notInWave
	})
}

// The list is complete: it names as many customers for each reason as the status counts, also those whose page no journal
// was ever opened for.
func TestWhoIsUnreachedStandsInTheList(t *testing.T) {
	t.Parallel()
	p := play(t, impatient)
	pb, facts, err := bench.Texts(20)
	if err != nil {
		t.Fatal(err)
	}
	canary := edit(t, pb, "    channels:\n", "    guard:\n      canary: 4\n      canary_wait: 1h\n    channels:\n")
	part := edit(t, pb, "audience: everyone", "audience: tier <= 1")

	// A draft: nobody is in a wave.
	digest, err := p.driver.Upload(t.Context(), "draft", strings.NewReader(tiersOf("draft", 10)), nil)
	if err == nil {
		_, err = p.driver.Declare(t.Context(), &candorv1.Declaration{Incident: "draft", Playbook: pb, Facts: facts, RosterDigest: digest})
	}
	if err != nil {
		t.Fatal(err)
	}
	p.sameUnreached("draft", 10)

	// Aborted while the canary was out: four customers on a channel were told, the others are in no wave.
	p.tell("canary", canary, facts, strings.NewReader(tiersOf("canary", 30)))
	ahead := p.settled("canary", func(st *candorv1.Status) bool { return st.GetPeople().GetTold() >= 4 })
	rest := ahead.GetPeople().GetUnreachedReasons()["not_in_wave"]
	p.sameUnreached("canary", rest)
	_, err = p.incidents().Resend(t.Context(), connect.NewRequest(&candorv1.ResendRequest{Incident: "canary", Reason: "not_in_wave", DryRun: true}))
	if connect.CodeOf(err) != connect.CodeFailedPrecondition || !strings.Contains(err.Error(), "not planned yet") {
		t.Errorf("who waits for the canary may be told twice: %v", err)
	}
	if err := p.driver.Abort(t.Context(), "canary", "a typo"); err != nil {
		t.Fatal(err)
	}
	p.settled("canary", func(st *candorv1.Status) bool { return st.GetComplete() })
	if rest < 20 {
		t.Errorf("%d of 30 are in no wave: %v", rest, ahead.GetPeople())
	}
	p.sameUnreached("canary", rest)

	// A wave for some of them, and rows that were added: the pages of the others are opened for nothing.
	p.tell("part", part, facts, strings.NewReader(tiersOf("part", 20)))
	p.settled("part", func(st *candorv1.Status) bool { return st.GetComplete() })
	p.sameUnreached("part", 10)
	p.addRows("part", tiersOf("late", 4))
	p.settled("part", func(st *candorv1.Status) bool { return st.GetComplete() && st.GetPeople().GetOnFile() == 24 })
	p.sameUnreached("part", 12)

	// They are told after all, each once.
	drafted, err := p.incidents().Resend(t.Context(), connect.NewRequest(&candorv1.ResendRequest{Incident: "part", Reason: "not_in_wave"}))
	if err != nil || drafted.Msg.GetCustomers() != 12 {
		t.Fatalf("resend: %v, %v", drafted, err)
	}
	if err := p.driver.Approve(t.Context(), "part", drafted.Msg.GetAddition().GetHash()); err != nil {
		t.Fatal(err)
	}
	p.settled("part", func(st *candorv1.Status) bool { return st.GetComplete() && st.GetPeople().GetTold() == 24 })
	p.sameUnreached("part", 0)
}

// settled waits until the status of an incident is as it should be.
func (h *home) settled(id string, ok func(*candorv1.Status) bool) *candorv1.Status {
	h.t.Helper()
	st, err := h.driver.Await(h.t.Context(), id, ok)
	if err != nil {
		h.t.Fatalf("%v: %v", err, st)
	}
	return st
}
