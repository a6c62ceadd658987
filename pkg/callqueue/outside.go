package callqueue

import (
	"time"

	candorv1 "candor/proto/candor/v1"
)

// Knows says whether a number, given as a keyed hash, is that of a customer with a task, or of one who had one.
func (q *Queue) Knows(hash uint64) bool { return q.byHash[hash] != 0 }

// Allow opens voice again for a number whose owner was on the list of suppressions and is not any more. Tasks that ended for it
// stay so, and whoever told a caller that they want no calls gets none. It is no event, as Suppress is none.
func (q *Queue) Allow(now time.Time, hash uint64) {
	n := q.byHash[hash]
	if n == 0 || !q.numbers.at(n).closed {
		return
	}
	q.numbers.at(n).closed = false
	q.wake(n, 0, sec(now))
}

// Shelve keeps the tasks of a page from being claimed until an instant, because nobody can be told whom to call: the page cannot
// be read, say. Without an instant they may be claimed again. It is no event: whoever reads the page finds out anew.
func (q *Queue) Shelve(now time.Time, name string, number uint32, until time.Time) {
	in := q.incidents[name]
	if in == nil || in.pages[number] == 0 {
		return
	}
	p := &q.pages[in.pages[number]-1]
	p.shelved = sec(until)
	for _, id := range p.slots {
		if id != 0 && !q.tasks.at(id).over() {
			q.file(id, sec(now))
		}
	}
}

// Shows returns the state in which a customer's task is shown; it is false if there is none.
func (q *Queue) Shows(p Place) (candorv1.CallState, bool) {
	id := q.task(p)
	if id == 0 {
		return candorv1.CallState_CALL_STATE_UNSPECIFIED, false
	}
	return candorv1.CallState(q.tasks.at(id).shown), true
}
