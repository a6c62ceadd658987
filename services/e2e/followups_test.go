package e2e

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"candor/pkg/noticeid"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
	"candor/services/bench"
	"candor/services/sandbox"
)

// news is an update for everybody who was told, by text and by e-mail.
const news = `---
title: We found the hole
sms:
  en: "{{organisation.short_name}}: We are sorry. The hole is closed. Code {{code}}."
  es: "{{organisation.short_name}}: Le pedimos disculpas. La entrada ya no existe. Codigo {{code}}."
email:
  en: We found the hole
  es: Encontramos la entrada
---
<!-- en -->
The hole is closed. Your code is {{code}}. We are sorry.
<!-- es -->
La entrada ya no existe. Su codigo es {{code}}. Le pedimos disculpas.
`

// followed is an installation whose followup and planner reach their broker over a trip wire.
type followed struct {
	*site
	wire *tripwire
	acts *process
}

func follow(t *testing.T, sandbox string) *followed {
	t.Helper()
	s := newSite(t)
	s.settings["followup"] = "{look_every: 200ms}"
	s.settings["planner"] = "{look_every: 200ms, sweep_every: 200ms}"
	s.startSandbox(sandbox)
	broker := s.start("nats", map[string]string{"nats": "{listen: '127.0.0.1:0', free_space_mark: 1}"})
	s.settings["nats"] = fmt.Sprintf("{url: %q}", broker.NATS)
	s.drive(s.start("api,calls,email,frontdoor,ledger,sms,team"))
	f := &followed{site: s, wire: newTripwire(t, broker.NATS)}
	f.act()
	return f
}

// act starts the two services, which decide and plan.
func (f *followed) act() {
	f.acts = f.start("followup,planner", map[string]string{"nats": fmt.Sprintf("{url: %q}", f.wire.url())})
}

// tell declares an incident for a crowd, and returns when everybody has heard of it.
func (f *followed) tell(id string, customers int) {
	f.t.Helper()
	pb, facts, err := bench.Texts(100)
	if err != nil {
		f.t.Fatal(err)
	}
	digest, err := f.driver.Upload(f.t.Context(), id, strings.NewReader(crowdOf(customers, nil)), url.Values{"name": {"roster.csv"}})
	if err != nil {
		f.t.Fatal(err)
	}
	inc, err := f.driver.Declare(f.t.Context(), &candorv1.Declaration{Incident: id, Playbook: pb, Facts: facts, RosterDigest: digest})
	if err == nil {
		err = f.driver.Approve(f.t.Context(), id, inc.GetPlanHash())
	}
	if err != nil {
		f.t.Fatal(err)
	}
	until(f.t, "the first notice of "+id+" is out", func() bool { return f.got(id, "w0") == 2*uint64(customers) })
}

// publish has news approved that are due in a moment.
func (f *followed) publish(id string) {
	f.t.Helper()
	if wave, err := f.driver.Publish(f.t.Context(), id, news, time.Now().Add(time.Second)); err != nil || wave != "w1" {
		f.t.Fatal(wave, err)
	}
}

// got says how many of a wave's notices were accepted, on all channels together.
func (f *followed) got(id, wave string) (n uint64) {
	st, err := f.driver.Status(f.t.Context(), id)
	if err != nil {
		return 0
	}
	for _, w := range st.GetWaves() {
		for _, c := range w.GetChannels() {
			if w.GetWave() == wave {
				n += c.GetStates()["accepted"] + c.GetStates()["delivered"]
			}
		}
	}
	return n
}

// killAtEachStep has something begun for one incident after the other, and kills followup and planner at the first step
// that they take for it, at the second one, and so on, until there is none left. What was begun must come to its end.
func (f *followed) killAtEachStep(after bool, least int, begin func(id string, arm func(counts func(subject string, payload []byte) bool)), done func(id string) bool) {
	f.t.Helper()
	const most = 60
	stride := 1
	if detector {
		stride = 4 // it watches for races, which the others of these steps would show as well
	}
	for n := 0; n < most; n += stride {
		id := fmt.Sprintf("step-%02d", n)
		var tripped <-chan struct{}
		begin(id, func(counts func(string, []byte) bool) {
			last := ""
			tripped = f.wire.arm(n, after, func(subject string, payload []byte) bool {
				about := strings.Contains(subject, id) || bytes.Contains(payload, []byte(id))
				again := subject == last // many purges are one step
				if about = about && !reads(subject) && counts(subject, payload); about {
					last = subject
				}
				return about && !again
			}, f.acts.kill)
		})
		killed := false
		until(f.t, id+" comes to its end", func() bool {
			select {
			case <-tripped:
				if !killed {
					killed = true
					f.act()
				}
			default:
			}
			return done(id)
		})
		steps := f.wire.disarm()
		if !killed {
			if n < least {
				f.t.Errorf("only %d steps were seen: %v", n, steps)
			}
			return
		}
		f.t.Logf("killed at step %d: %s", n, steps[len(steps)-1])
	}
	f.t.Errorf("more than %d steps", most)
}

// reads are messages that change nothing.
func reads(subject string) bool {
	for _, prefix := range []string{"ask.", "$JS.API.STREAM.INFO", "$JS.API.STREAM.MSG", "$JS.API.STREAM.NAMES", "$JS.API.CONSUMER", "$JS.API.DIRECT", "$JS.ACK"} {
		if strings.HasPrefix(subject, prefix) {
			return true
		}
	}
	return false
}

// From the moment at which a follow-up is due until its wave is planned, and before or after the broker has heard of each
// step: nobody is forgotten, and nobody hears twice.
func TestAFollowUpOutlivesThoseWhoDecideAndPlanIt(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprintf("after the broker has heard %v", after), func(t *testing.T) {
			t.Parallel()
			const customers = 12
			f := follow(t, "{listen: '127.0.0.1:0'}")
			var ids []string
			f.killAtEachStep(after, 6, func(id string, arm func(func(string, []byte) bool)) {
				ids = append(ids, id)
				f.tell(id, customers)
				// The alarm, the decision, its news, the journals, the orders, and the word that all is planned.
				arm(func(subject string, payload []byte) bool {
					return strings.HasPrefix(subject, "timetable.") || strings.Contains(subject, ".w1.") ||
						strings.HasPrefix(subject, "breach.") && (bytes.Contains(payload, []byte("w1")) || strings.HasPrefix(subject, "breach.updated."))
				})
				f.publish(id)
			}, func(id string) bool {
				st, err := f.driver.Status(t.Context(), id)
				return err == nil && st.GetComplete() && f.got(id, "w1") == 2*customers
			})
			for _, id := range ids {
				v, err := f.driver.Verify(t.Context(), id, f.truth)
				whole(t, v, err, customers)
				if v.Sandbox["sms"] != 2*customers || v.Sandbox["email"] != 2*customers {
					t.Errorf("%s: %+v, want two waves", id, v)
				}
			}
		})
	}
}

// The end comes in the middle of a follow-up, and whoever works it off is killed at each step: the follow-up stops, the last
// word is said once to everybody, and after it nothing is said.
func TestTheEndOutlivesThoseWhoWorkItOff(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprintf("after the broker has heard %v", after), func(t *testing.T) {
			t.Parallel()
			const customers = 40
			f := follow(t, "{listen: '127.0.0.1:0', twilio: {latency: 20ms}}")
			var ids []string
			f.killAtEachStep(after, 8, func(id string, arm func(func(string, []byte) bool)) {
				ids = append(ids, id)
				f.tell(id, customers)
				f.publish(id)
				until(t, "the follow-up is on its way", func() bool { return f.got(id, "w1") > 0 })
				arm(func(string, []byte) bool { return true })
				var err error
				until(t, "the ledger has read enough for the end of "+id, func() bool {
					err = f.driver.End(t.Context(), id)
					return connect.CodeOf(err) != connect.CodeUnavailable
				})
				if err != nil {
					t.Fatal(err)
				}
			}, func(id string) bool {
				inc, err := f.driver.Incident(t.Context(), id)
				return err == nil && inc.GetState() == candorv1.IncidentState_INCIDENT_STATE_CLOSED
			})
			for _, id := range ids {
				v, err := f.driver.Verify(t.Context(), id, f.truth)
				if err != nil || v.Lost != 0 || v.Duplicates != 0 || f.got(id, "w2") != 2*customers {
					t.Errorf("%s: %+v, %v; the last word reached %d", id, v, err, f.got(id, "w2"))
				}
				f.nothingAfter(id, "w2", customers)
			}
		})
	}
}

// nothingAfter fails if anybody got anything of another wave once a wave had begun. The customers are on page 0.
func (f *followed) nothingAfter(id, last string, customers uint32) {
	f.t.Helper()
	codec := noticeid.New(nil) // the part of an id that names the notice needs no key
	var begun, before time.Time
	for _, ch := range []candorv1.Channel{candorv1.Channel_CHANNEL_SMS, candorv1.Channel_CHANNEL_EMAIL} {
		lasts := map[string]bool{}
		for slot := range customers {
			lasts[codec.Notice(noticeid.Key{Incident: id, Wave: last, Channel: ch, Slot: slot})] = true
		}
		err := f.truth.Notices(f.t.Context(), topology.ChannelToken(ch), "", func(a sandbox.Attempt) error {
			switch {
			case a.Accepted == 0 || !noticeid.Of(id, a.Notice):
			case !lasts[string(a.Notice)]:
				if a.At.After(before) {
					before = a.At
				}
			case begun.IsZero() || a.At.Before(begun):
				begun = a.At
			}
			return nil
		})
		if err != nil {
			f.t.Fatal(err)
		}
	}
	if begun.IsZero() || before.After(begun) {
		f.t.Errorf("%s: the last word began at %s, and something else was sent at %s", id, begun, before)
	}
}
