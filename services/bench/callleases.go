package bench

import (
	"slices"
	"strings"
	"time"

	candorv1 "candor/proto/candor/v1"
)

const (
	dayOfCalls  = 24 * 60 * 60
	weekOfCalls = 7 * dayOfCalls
)

// leased holds a claim against everything that is known by then.
func (a *callAudit) leased(at int64, e *candorv1.CallLeased) {
	p := callPlaceOf(e.GetCustomer())
	t, r := a.tasks[p], a.rules[p.incident]
	if t == nil {
		a.wrong("unknown_task", p, "leased, but it was never queued")
		return
	}
	a.report.Leases++
	a.report.dialers[e.GetDialer()] = struct{}{}
	l := &callLease{of: p, fence: e.GetFence(), number: e.GetNumber(), phone: e.GetPhone(), at: at, expires: second(e.GetExpiresAt()), open: true}
	a.alone(t, l, e)
	if l.expires <= at {
		a.wrong("lease_length", p, "lease %d ends before it begins", l.fence)
	}
	if known, ok := t.phones[l.phone]; ok && known != l.number {
		a.wrong("number", p, "phone %d has another number than before", l.phone)
	}
	t.phones[l.phone], t.zones[l.phone] = l.number, e.GetZones()
	l.numbers, l.next, l.ends = []uint64{l.number}, e.GetNextPhones(), second(e.GetWindowEndsAt())
	for _, phone := range e.GetNextPhones() {
		if n, ok := t.phones[phone]; ok && n != l.number {
			l.numbers = append(l.numbers, n)
		}
	}
	from := t.earliest(r)
	if at < from {
		a.wrong("too_early", p, "the customer wants to be called %d s later", t.wish-at)
	}
	own := t.wish != 0 && at >= from && at <= t.wish+r.tolerance
	if l.own = own; own {
		a.report.OwnTime++
	}
	a.caps(t, l, r, own)
	a.free(l, r, own, e.GetZones())
	a.window(l, r, own, t.wish, e)
	t.leases = append(t.leases, l)
	t.asked = false
	a.report.MostLeases = max(a.report.MostLeases, len(t.leases))
	a.number(l.number).leases = append(a.number(l.number).leases, l)
}

// earliest is from when on the customer may be called at their own time: at most a tolerance before it, and never at once after
// they have named it.
func (t *callTask) earliest(r *callRules) int64 {
	if t.wish == 0 {
		return 0
	}
	return max(t.wish-r.tolerance, min(t.wish, t.said+r.tolerance))
}

// alone checks that nobody else holds the task, and that it is to be called.
func (a *callAudit) alone(t *callTask, l *callLease, e *candorv1.CallLeased) {
	attempt := uint32(1)
	for _, before := range t.leases {
		if before.open {
			a.wrong("held_by_two", l.of, "lease %d begins while lease %d is out", l.fence, before.fence)
		}
		if l.fence <= before.fence {
			a.wrong("fence", l.of, "lease %d comes after lease %d", l.fence, before.fence)
		}
		if l.at < before.endedAt {
			a.wrong("held_by_two", l.of, "lease %d begins before the end of lease %d", l.fence, before.fence)
		}
		if !before.released || before.reported {
			attempt++
		}
	}
	if e.GetAttempt() != attempt {
		a.wrong("attempt", l.of, "attempt %d was to be attempt %d", e.GetAttempt(), attempt)
	}
	if o := t.now(); o.state != 0 {
		a.wrong("leased_after_end", l.of, "it had ended as %v", o.state)
	}
	if t.bad[l.phone] {
		a.wrong("bad_number", l.of, "phone %d was no number of the customer's", l.phone)
	}
}

// caps checks what a call counts: to the number in a day, to the person in a week, and in all.
func (a *callAudit) caps(t *callTask, l *callLease, r *callRules, own bool) {
	sum := func(leases []*callLease, window int64) (sum float64) {
		for _, c := range leases {
			if !c.open && c.calledAt+window > l.at {
				sum += c.weight
			}
		}
		return sum
	}
	number := a.number(l.number)
	perDay := sum(number.leases, dayOfCalls) + 1
	a.report.MostPerDay = max(a.report.MostPerDay, perDay)
	if perDay > float64(r.caps.NumberPerDay) {
		a.wrong("cap_number", l.of, "%g calls to the number in 24 hours", perDay)
	}
	calls := func(window int64) float64 { // each phone that is offered may ring
		return sum(t.leases, window) + sum(t.rang, window) + float64(1+len(l.next))
	}
	if n := calls(weekOfCalls); n > float64(r.caps.PersonPerWeek) {
		a.wrong("cap_person", l.of, "%g calls to the person in 7 days", n)
	}
	if n := calls(endless / 2); n > float64(r.caps.Total) && !own && !t.wished {
		a.wrong("cap_total", l.of, "%g calls in all", n)
	}
}

// free checks that the number may be dialled: nobody else holds it, nobody refused calls there, gap and spread are kept.
func (a *callAudit) free(l *callLease, r *callRules, own bool, zones []string) {
	number := a.number(l.number)
	if number.refused {
		a.wrong("do_not_call", l.of, "somebody at the number wants no calls")
	}
	for _, hash := range l.numbers {
		for _, c := range a.number(hash).leases {
			if c.open && c.of != l.of {
				a.wrong("number_held", l.of, "lease %d of %v may dial the same number", c.fence, c.of)
			}
		}
	}
	if own {
		return
	}
	for _, c := range number.leases {
		if !c.open && c.weight >= 1 && l.at < c.calledAt+r.gap {
			a.wrong("gap", l.of, "%d s after the last call to the number", l.at-c.calledAt)
		}
	}
	if number.avoid != 0 && r.spread > 0 && len(zones) > 0 {
		if zone, err := a.zone(zones[0]); err == nil && apart(l.at, number.avoid, zone) < r.spread {
			a.wrong("spread", l.of, "%d s from the time of day at which nobody answered", apart(l.at, number.avoid, zone))
		}
	}
}

// window checks the hours, in every zone that may be the customer's.
func (a *callAudit) window(l *callLease, r *callRules, own bool, wish int64, e *candorv1.CallLeased) {
	ends := second(e.GetWindowEndsAt())
	if ends != 0 {
		a.report.Windows++
	}
	a.report.zones[strings.Join(slices.Sorted(slices.Values(e.GetZones())), " ")] = struct{}{}
	if own {
		if ends < l.at || ends > wish+r.tolerance {
			a.wrong("window", l.of, "the customer's own time ends at another second than the lease says")
		}
		return
	}
	a.hours(l, r, e.GetZones())
}

// hours checks that a phone in these zones may be called when the lease begins, and until it says that calls end.
func (a *callAudit) hours(l *callLease, r *callRules, names []string) {
	zones, ok := a.zonesOf(l.of, names)
	if !ok {
		return
	}
	end, open := r.hours.untilIn(l.at, zones)
	if narrow, ok := r.uncertain.untilIn(l.at, zones); !open || ok && l.ends != 0 && narrow > end {
		end, open = narrow, ok
	}
	switch {
	case !open:
		a.wrong("hours", l.of, "called at %s in %v", time.Unix(l.at, 0).UTC().Format(time.RFC3339), names)
	case end == endless && l.ends == 0:
	case l.ends == 0 || l.ends < l.at || l.ends+r.lead > end:
		a.wrong("window", l.of, "the lease says that calls begin for %d s, the hours last %d s more in %v", l.ends-l.at, end-l.at, names)
	}
}

// phones checks the hours of the phones that were offered beside the first one, and of those that were dialled: the log names
// the zones of a phone with the lease in which it comes first, which may be a later one.
func (a *callAudit) phones(t *callTask) {
	for _, l := range t.leases {
		for _, phone := range l.next {
			if names, known := t.zones[phone]; known && !l.own {
				a.hours(l, a.rules[l.of.incident], names)
			}
		}
	}
	for _, call := range t.dialled {
		names, known := t.zones[call.phone]
		if !known || call.lease.own {
			continue
		}
		zones, ok := a.zonesOf(call.lease.of, names)
		r := a.rules[call.lease.of.incident]
		if _, open := r.hours.untilIn(call.at, zones); ok && !open {
			if _, open = r.uncertain.untilIn(call.at, zones); !open {
				a.wrong("hours_dialled", call.lease.of, "phone %d was dialled at %s in %v", call.phone, time.Unix(call.at, 0).UTC().Format(time.RFC3339), names)
			}
		}
	}
}

func (a *callAudit) zonesOf(p callPlace, names []string) (zones []*time.Location, ok bool) {
	for _, name := range names {
		zone, err := a.zone(name)
		if err != nil {
			a.wrong("zone", p, "%v", err)
			return nil, false
		}
		zones = append(zones, zone)
	}
	return zones, true
}

func (a *callAudit) zone(name string) (*time.Location, error) {
	if zone, known := a.zones[name]; known {
		return zone, nil
	}
	zone, err := time.LoadLocation(name)
	if err == nil {
		a.zones[name] = zone
	}
	return zone, err
}
