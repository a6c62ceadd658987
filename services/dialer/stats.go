package dialer

import "maps"

// Stats are counts, and the only thing that the dialer tells of its customers.
type Stats struct {
	// Agents that wait for a task at this moment, and those that read or talk.
	Waiting int `json:"waiting"`
	Calling int `json:"calling"`
	// Claimed = completed + released + vanished + refused + unreported + calling.
	Claimed uint64 `json:"claimed"`
	// Dispositions are the completed calls, by how they ended.
	Dispositions map[string]uint64 `json:"dispositions"`
	Released     uint64            `json:"released"`
	// Vanished agents left a lease to its end: a drill.
	Vanished uint64 `json:"vanished"`
	Renewed  uint64 `json:"renewed"`
	// Late reports came after the end of their lease, Repeated ones had to be made again.
	Late     uint64 `json:"late"`
	Repeated uint64 `json:"repeated"`
	// Refused reports were not taken, Unreported calls could not be reported before a stop: both stay uncertain.
	Refused    uint64 `json:"refused"`
	Unreported uint64 `json:"unreported"`
}

// Completed is how many calls were reported.
func (s Stats) Completed() (n uint64) {
	for _, count := range s.Dispositions {
		n += count
	}
	return n
}

// Stats returns the counts as they are now.
func (d *Dialer) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.stats
	s.Dispositions = maps.Clone(s.Dispositions)
	return s
}

func (d *Dialer) count(change func(*Stats)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.stats)
}
