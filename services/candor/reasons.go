package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// reason finds what somebody means by a reason, among those for which customers of an incident are unreached now: as the api
// has it, as candor status prints it, or only its first part. Without anybody who is unreached it is what was said.
func (s *client) reason(ctx context.Context, name, said string) (string, error) {
	st, err := s.status(ctx, name)
	if err != nil {
		return "", err
	}
	counts := st.GetPeople().GetUnreachedReasons()
	all := slices.DeleteFunc(byCount(counts), func(reason string) bool { return counts[reason] == 0 })
	if len(all) == 0 {
		return said, nil
	}
	for _, whole := range []bool{true, false} {
		for _, reason := range all {
			found, words := reason, reasonWords(reason)
			if !whole {
				found, _, _ = strings.Cut(reason, ":")
				words = stateWords(found)
			}
			if spoken(said) == spoken(found) || spoken(said) == spoken(words) {
				return found, nil
			}
		}
	}
	there := make([]string, len(all))
	for i, reason := range all {
		there[i] = fmt.Sprintf("%s (%s)", reason, number(counts[reason]))
	}
	return "", refusal(fmt.Sprintf("nobody of %s is unreached for the reason %q", name, said), "there are "+strings.Join(there, ", "))
}

// spoken is a reason without what people do not hear.
func spoken(reason string) string {
	return strings.Join(strings.Fields(strings.NewReplacer(":", " ", "_", " ").Replace(strings.ToLower(reason))), " ")
}
