package email

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"candor/pkg/provider"
)

var failover = Failover{After: 3, BackAfter: 10 * time.Minute, BackTrials: 2}

func TestJudge(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		outcome provider.Outcome
		want    verdict
	}{
		{provider.Outcome{Class: provider.Accepted, ID: "x"}, works},
		{provider.Outcome{Class: provider.Unknown, Reason: "timeout_after_write"}, fails},
		{provider.Outcome{Class: provider.Unknown, Reason: "http_502"}, fails},
		{provider.Outcome{Class: provider.Unknown, Reason: "cancelled_after_write"}, nothing},
		{provider.Outcome{Class: provider.Misconfigured, Reason: "http_401"}, fails},
		{provider.Outcome{Class: provider.NotSent, Reason: "connection_refused"}, fails},
		{provider.Outcome{Class: provider.NotSent, Reason: "dns_failed"}, fails},
		{provider.Outcome{Class: provider.NotSent, Reason: "smtp_mail_452_4_3_1"}, fails},
		{provider.Outcome{Class: provider.NotSent, Reason: "smtp_connect_421"}, fails},
		{provider.Outcome{Class: provider.NotSent, Reason: "smtp_450_4_7_1"}, nothing},
		{provider.Outcome{Class: provider.NotSent, Reason: "http_429", Throttled: true}, nothing},
		{provider.Outcome{Class: provider.NotSent, Reason: "send_before_passed"}, nothing},
		{provider.Outcome{Class: provider.NotSent, Reason: "cancelled_before_write"}, nothing},
		{provider.Outcome{Class: provider.BadAddress, Reason: "smtp_550_5_1_1"}, nothing},
		{provider.Outcome{Class: provider.Refused, Reason: "smtp_554"}, nothing},
		{provider.Outcome{Class: provider.Defect, Reason: "http_413"}, nothing},
	} {
		if got, _ := judge([]provider.Outcome{tt.outcome}); got != tt.want {
			t.Errorf("%+v says %d, want %d", tt.outcome, got, tt.want)
		}
	}
	mixed := []provider.Outcome{{Class: provider.BadAddress}, {Class: provider.NotSent, Reason: "not_begun"}, {Reason: "http_500"}}
	if v, reason := judge(mixed); v != fails || reason != "http_500" {
		t.Errorf("a request that failed for one of its batches: %d %s", v, reason)
	}
	if v, _ := judge(append(mixed, provider.Outcome{Class: provider.Accepted})); v != works {
		t.Errorf("a request of which some were accepted: %d", v)
	}
}

func TestRouteIsLeftAndBack(t *testing.T) {
	t.Parallel()
	h, both := newHealth(failover, 2), []int{0, 1}
	for i := range 3 {
		if turn := h.heard(h.pick(both, now), fails, "http_503", now); (turn != nil) != (i == 2) {
			t.Fatalf("failure %d: %+v", i, turn)
		}
	}
	if p := h.pick(both, now.Add(10*time.Minute-1)); p.route != 1 {
		t.Errorf("route %d right after it was left", p.route)
	}
	at := now.Add(10 * time.Minute)
	trial := h.pick(both, at)
	if trial.route != 0 || trial.claim == 0 {
		t.Fatalf("%+v, want a trial", trial)
	}
	if p := h.pick(both, at); p.route != 1 {
		t.Error("two trials at once")
	}
	if turn := h.heard(trial, works, "", at); turn != nil {
		t.Errorf("back after one trial of two: %+v", turn)
	}
	// The second one fails: all over again.
	h.heard(h.pick(both, at), fails, "http_503", at)
	if p := h.pick(both, at.Add(time.Minute)); p.route != 1 {
		t.Error("a trial right after one failed")
	}
	at = at.Add(10 * time.Minute)
	h.heard(h.pick(both, at), works, "", at)
	if turn := h.heard(h.pick(both, at), works, "", at); turn == nil || turn.left || turn.route != 0 {
		t.Fatalf("%+v, want it back", turn)
	}
	if p := h.pick(both, at); p.route != 0 || p.claim != 0 {
		t.Errorf("%+v once it is back", p)
	}
}

func TestFewRequestsThatAllFailAreEnough(t *testing.T) {
	t.Parallel()
	h := newHealth(Failover{After: 100, BackAfter: time.Minute, BackTrials: 1}, 2)
	p := h.pick([]int{0, 1}, now)
	if h.heard(p, fails, "x", now) != nil || h.heard(p, fails, "x", now.Add(failingFor-1)) != nil {
		t.Error("left too early")
	}
	if h.heard(p, fails, "x", now.Add(failingFor)) == nil {
		t.Error("it failed for long enough, and is not left")
	}
}

func TestAllRoutesFail(t *testing.T) {
	t.Parallel()
	h, both := newHealth(failover, 2), []int{0, 1}
	for range 6 {
		h.heard(h.pick(both, now), fails, "http_503", now)
	}
	if p := h.pick(both, now); p.route != 0 || p.claim != 0 {
		t.Errorf("%+v, want the preferred route", p)
	}
}

func TestForgottenTrialIsGivenToAnother(t *testing.T) {
	t.Parallel()
	h, both := newHealth(failover, 2), []int{0, 1}
	for range 3 {
		h.heard(h.pick(both, now), fails, "http_503", now)
	}
	at := now.Add(time.Hour)
	first := h.pick(both, at)
	at = at.Add(claimFor + 1)
	second := h.pick(both, at)
	if second.claim == 0 || second.claim == first.claim {
		t.Fatalf("%+v after %+v", second, first)
	}
	h.heard(first, works, "", at)
	h.heard(first, works, "", at)
	if p := h.pick(both, at); p.route != 1 {
		t.Error("a forgotten trial counts")
	}
}

// A model of what an operator is promised, whatever the order of events.
func TestHealthKeepsItsPromises(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 3).Draw(t, "routes")
		cfg := Failover{After: rapid.IntRange(1, 4).Draw(t, "after"), BackAfter: 10 * time.Minute, BackTrials: rapid.IntRange(1, 3).Draw(t, "trials")}
		h, at := newHealth(cfg, n), now
		all := []int{0, 1, 2}[:n]
		var out []ticket
		left := make([]time.Time, n) // when it was left; zero while it is used
		good := make([]int, n)       // trials in a row
		fallen := make([]int, n)     // failures in a row
		began := make([]time.Time, n)
		trialAt := make([]time.Time, n)
		open := map[uint64]time.Time{}
		t.Repeat(map[string]func(*rapid.T){
			"wait": func(t *rapid.T) {
				at = at.Add(time.Duration(rapid.Int64Range(1, int64(6*time.Minute)).Draw(t, "for")))
			},
			"pick": func(t *rapid.T) {
				routes := slices.DeleteFunc(slices.Clone(all), func(int) bool { return rapid.Bool().Draw(t, "without") })
				if len(routes) == 0 {
					return
				}
				p := h.pick(routes, at)
				healthy := slices.IndexFunc(routes, func(n int) bool { return left[n].IsZero() })
				switch {
				case p.claim != 0:
					if left[p.route].IsZero() || at.Sub(left[p.route]) < cfg.BackAfter || at.Before(trialAt[p.route]) {
						t.Fatalf("a trial of route %d too early", p.route)
					}
					for claim, since := range open {
						if claim != p.claim && int(claim>>32) == p.route && at.Sub(since) <= claimFor {
							t.Fatalf("two trials of route %d at once", p.route)
						}
					}
					if healthy >= 0 && slices.Index(routes, p.route) > healthy {
						t.Fatalf("route %d is tried while a better one works", p.route)
					}
					open[uint64(p.route)<<32|p.claim] = at
				case healthy >= 0 && p.route != routes[healthy]:
					t.Fatalf("route %d, but %d works", p.route, routes[healthy])
				case healthy < 0 && p.route != routes[0]:
					t.Fatalf("route %d, but none works", p.route)
				}
				out = append(out, p)
			},
			"hear": func(t *rapid.T) {
				if len(out) == 0 {
					return
				}
				i := rapid.IntRange(0, len(out)-1).Draw(t, "ticket")
				p, v := out[i], verdict(rapid.IntRange(0, 2).Draw(t, "verdict"))
				if p.claim != 0 || rapid.Bool().Draw(t, "last") {
					out = slices.Delete(out, i, i+1)
				}
				current := p.epoch == h.routes[p.route].epoch
				live := p.claim != 0 && p.claim == h.routes[p.route].claim
				delete(open, uint64(p.route)<<32|p.claim)
				version := h.version.Load()
				turn := h.heard(p, v, "x", at)
				if (turn != nil) != (h.version.Load() != version) {
					t.Fatal("a turn and the version do not go together")
				}
				switch {
				case !current || !left[p.route].IsZero() && !live:
					if turn != nil {
						t.Fatalf("route %d turned by what is over", p.route)
					}
				case left[p.route].IsZero():
					switch v {
					case works:
						fallen[p.route] = 0
					case fails:
						if fallen[p.route]++; fallen[p.route] == 1 {
							began[p.route] = at
						}
					}
					want := v == fails && (fallen[p.route] >= cfg.After || fallen[p.route] > 1 && at.Sub(began[p.route]) >= failingFor)
					if (turn != nil && turn.left) != want {
						t.Fatalf("route %d left: %v, want %v", p.route, turn, want)
					}
					if want {
						left[p.route], good[p.route], fallen[p.route], trialAt[p.route] = at, 0, 0, at.Add(cfg.BackAfter)
					}
				default:
					switch v {
					case works:
						good[p.route]++
					case fails:
						good[p.route], trialAt[p.route] = 0, at.Add(cfg.BackAfter)
					}
					if back := turn != nil && !turn.left; back != (good[p.route] >= cfg.BackTrials) {
						t.Fatalf("route %d back: %v after %d good trials", p.route, back, good[p.route])
					} else if back {
						left[p.route] = time.Time{}
					}
				}
			},
		})
	})
}

func TestFailoverValidate(t *testing.T) {
	t.Parallel()
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	if err := (Failover{}).Validate(); err == nil {
		t.Error("nothing set, and valid")
	}
}
