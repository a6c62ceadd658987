package journal

import (
	"fmt"
	"slices"
)

// Runs packs ascending slots into pairs (first, count), the form they have in an entry.
func Runs(slots []uint32) []uint32 {
	var runs []uint32
	for _, s := range slots {
		if n := len(runs); n > 0 && runs[n-2]+runs[n-1] == s {
			runs[n-1]++
			continue
		}
		runs = append(runs, s, 1)
	}
	return runs
}

// Slots unpacks pairs (first, count).
func Slots(runs []uint32) []uint32 {
	slots := make([]uint32, 0, countRuns(runs))
	for i := 0; i+1 < len(runs); i += 2 {
		for s := runs[i]; s < runs[i]+runs[i+1]; s++ {
			slots = append(slots, s)
		}
	}
	return slots
}

func countRuns(runs []uint32) int {
	n := 0
	for i := 1; i < len(runs); i += 2 {
		n += int(runs[i])
	}
	return n
}

// checkRuns refuses pairs that reach beyond a page, so that a damaged entry cannot make a fold allocate or overrun.
func checkRuns(runs []uint32, slots int) error {
	if len(runs)%2 != 0 {
		return fmt.Errorf("odd number of values in slot runs: %d", len(runs))
	}
	var total uint64
	for i := 0; i < len(runs); i += 2 {
		first, count := uint64(runs[i]), uint64(runs[i+1])
		if count == 0 || first+count > uint64(slots) {
			return fmt.Errorf("slots %d to %d lie outside a page of %d", first, first+count, slots)
		}
		if total += count; total > uint64(slots) {
			return fmt.Errorf("slot runs overlap: more than %d slots", slots)
		}
	}
	return nil
}

// Group sorts slots by a key and returns, for each key in order of first appearance, the slots that share it.
func Group[K comparable](slots []uint32, key func(slot uint32) K) ([]K, map[K][]uint32) {
	var keys []K
	groups := map[K][]uint32{}
	for _, s := range slots {
		k := key(s)
		if _, ok := groups[k]; !ok {
			keys = append(keys, k)
		}
		groups[k] = append(groups[k], s)
	}
	for _, k := range keys {
		slices.Sort(groups[k])
	}
	return keys, groups
}
