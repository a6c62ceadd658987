package window

import "time"

// horizon is how far ahead hours in several zones are looked for: what is not open together in two weeks of a rule never is,
// but for the dates that are closed.
const horizon = 15 * 24 * time.Hour

// UntilIn returns the first instant from t on at which the rule is closed in one of the zones; it is false if that never
// happens.
func (r Rule) UntilIn(t time.Time, zones []*time.Location) (first time.Time, ok bool) {
	for _, z := range zones {
		if end, ends := r.Until(t, z); ends && (!ok || end.Before(first)) {
			first, ok = end, true
		}
	}
	return first, ok
}

// NextIn returns the first instant from t on at which the rule is open in every one of the zones, and stays so for at least
// as long as lead. It is false if there is none within two weeks and the closed dates: the zones have no hours in common.
func (r Rule) NextIn(t time.Time, zones []*time.Location, lead time.Duration) (time.Time, bool) {
	if len(zones) == 0 {
		return time.Time{}, false
	}
	for limit := t.Add(horizon + time.Duration(len(r.closed))*7*24*time.Hour); t.Before(limit); {
		at, ok := r.latestNext(t, zones)
		if !ok {
			return time.Time{}, false
		}
		if at.After(t) { // where one zone opens, another may have closed
			t = at
			continue
		}
		end, ends := r.UntilIn(t, zones)
		if !ends || end.Sub(t) >= lead {
			return t, true
		}
		t = end
	}
	return time.Time{}, false
}

// latestNext returns when the last of the zones opens, each looked at by itself.
func (r Rule) latestNext(t time.Time, zones []*time.Location) (latest time.Time, ok bool) {
	latest = t
	for _, z := range zones {
		at, ok := r.Next(t, z)
		if !ok {
			return time.Time{}, false
		}
		if at.After(latest) {
			latest = at
		}
	}
	return latest, true
}
