// Package callqueue knows who is to be called, by whom, when, and what follows from how a call ended. It is the call queue
// without its disk, its clock and its network.
//
// In: commands with the time at which they are given (queue, ask back, claim, renew, release, complete, withdraw, tick), or
// the events of earlier commands.   Out: events to be stored, who may be called next, when something changes by itself,
// and in words why somebody may not be called.   Crash: nothing to lose. A command changes the queue at once; whoever
// cannot store its events throws the queue away and folds the stored ones into an empty one, which gives the same queue.
//
// What the events do not say is given from outside, before a fold as after it: the rules of an incident, whether it is
// held or closing, numbers that must not be called, and the facts of a customer. The queue's clock ticks in seconds.
package callqueue

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

// Place is a customer's address: there is at most one task for each.
type Place struct {
	Incident   string
	Page, Slot uint32
}

// Facts are what the queue knows of a customer: no name, no number, no address.
type Facts struct {
	// Numbers are keyed hashes in the order in which they are dialled, eight at most; 0 stands for one that cannot be.
	Numbers []uint64
	// Zones stand beside Numbers: a call must lie within the hours in every one of a number's zones.
	Zones [][]*time.Location
	// Uncertain says that Zones is a guess, so that the narrow hours hold.
	Uncertain []bool
	// Language is the one that the customer is spoken to in.
	Language string
	// Suppressed is why the customer must not be called; empty if they may be.
	Suppressed string
}

// FactsOf tells the facts of a customer of the incident at hand. It is asked once for each new task.
type FactsOf func(page, slot uint32) Facts

// Event is what a command did to a task of an incident.
type Event struct {
	Incident string
	*candorv1.CallEvent
}

const (
	// MaxLease is the longest that a task may be held: an export for a day.
	MaxLease = 24 * time.Hour
	// MaxAhead is how far ahead a customer may ask to be called.
	MaxAhead = 60 * 24 * time.Hour
	// maxPhones is how many numbers of a customer are dialled.
	maxPhones = 8
	// maxPlaces bounds an event that names customers.
	maxPlaces = 1000
	// reserve is one in how many leases goes to the least urgent that may be called.
	reserve = 10
	classes = 5
	// The words of the ends that have no disposition.
	reasonNoNumber  = "no_number"
	reasonDoNotCall = "do_not_call"
	reasonClosed    = "closed"
	reasonTold      = "told"
	agentSkip       = "agent_skip"
)

// Queue is the state of all call tasks. It is not safe for concurrent use.
type Queue struct {
	incidents map[string]*incident
	pages     []page
	tasks     slab[task]
	phones    slab[phone]
	numbers   slab[number]
	attempts  slab[attempt]
	endings   slab[ending]
	byHash    map[uint64]uint32
	words     words

	heaps    []*heap
	hours    []*hours
	lanes    []lane
	promised []*heap
	// ready counts the tasks to which nothing but the hours applies, by class.
	ready [classes]int

	// leased counts all leases ever: each tenth is for the least urgent.
	leased uint64

	// open are the hours that are open from openFrom until openTo, those that end first in front.
	open             []*hours
	openFrom, openTo uint32
	laneFits         []bool
}

// The heaps that are always there; those of tasks that are ready come after them.
const (
	nowhere = iota
	// timers holds what is looked at again at a time, by that time.
	timers
	// leases holds tasks that are leased, by the lease's end.
	leases
	// doomed holds tasks that the next Tick ends, by when they are shown otherwise.
	doomed
	readyHeaps
)

// New returns an empty queue.
func New() *Queue {
	q := &Queue{incidents: map[string]*incident{}, byHash: map[uint64]uint32{}, words: newWords()}
	for range readyHeaps {
		q.heaps = append(q.heaps, &heap{})
	}
	return q
}

// incident is what holds for all tasks of one incident.
type incident struct {
	name  string
	rules *playbook.Calls
	held  bool
	// closing is what becomes of the calls that are left; unspecified while the incident goes on.
	closing candorv1.CallsAtClose
	// pages by number, as an index into Queue.pages plus one.
	pages map[uint32]uint32
	// hours by the names of their zones.
	hours map[string]uint32
	lanes map[uint16]uint32
	// sets are the sets of waves that tasks answer; the first is empty.
	sets     [][]uint16
	setIndex map[string]uint16
	requests map[string]struct{}

	// leases counts those that are out.
	leases       uint64
	states       [candorv1.CallState_CALL_STATE_EXPIRED + 1]uint64
	dispositions map[uint16]uint64
}

func (q *Queue) incident(name string) *incident {
	in := q.incidents[name]
	if in == nil {
		in = &incident{
			name: name, pages: map[uint32]uint32{}, hours: map[string]uint32{}, lanes: map[uint16]uint32{},
			sets: [][]uint16{nil}, setIndex: map[string]uint16{"": 0}, requests: map[string]struct{}{},
			dispositions: map[uint16]uint64{},
		}
		q.incidents[name] = in
	}
	return in
}

// SetRules says by which rules customers of an incident are called. Before that nobody of it is, and its events cannot be
// folded: what a disposition counts, and what it says of a number, stands in the rules.
func (q *Queue) SetRules(now time.Time, name string, rules *playbook.Calls) {
	in := q.incident(name)
	in.rules = rules
	for _, h := range in.hours {
		q.hours[h].from, q.hours[h].to = 1, 0
	}
	for _, l := range in.lanes {
		q.lanes[l].skills = skillsFor(rules, q.lanes[l].language)
	}
	q.openTo = 0
	for _, p := range in.pages {
		for _, id := range q.pages[p-1].slots {
			if id != 0 {
				q.file(id, sec(now))
			}
		}
	}
}

// Hold keeps all tasks of an incident from being claimed, or lets them go again. It is no event: the incident's own state
// says whether it is paused.
func (q *Queue) Hold(name string, held bool) { q.incident(name).held = held }

// Close says that an incident is closing, or goes on after all, and what becomes of its calls: DRAIN has those made that
// there are, with their retries and call-backs; WITHDRAW takes back, with the events that are returned, all that nobody makes
// at this moment, and those that are being made as soon as they have ended. Whoever is ordered to be called after that is not,
// and whoever wishes it under either: the task ends at once. It is no event: the incident's own state says so, and is told
// again after a fold.
func (q *Queue) Close(at time.Time, name string, how candorv1.CallsAtClose) []*candorv1.CallEvent {
	in := q.incident(name)
	if in.closing == how {
		return nil
	}
	if in.closing = how; how != candorv1.CallsAtClose_CALLS_AT_CLOSE_WITHDRAW {
		return nil
	}
	ids := slices.DeleteFunc(q.all(in), func(id uint32) bool { return q.tasks.at(id).has(leaseOut) })
	return q.withdraw(in, ids, candorv1.CallState_CALL_STATE_EXPIRED, reasonClosed, sec(at))
}

// all returns the tasks of an incident, page by page.
func (q *Queue) all(in *incident) (ids []uint32) {
	for _, number := range slices.Sorted(maps.Keys(in.pages)) {
		for _, id := range q.pages[in.pages[number]-1].slots {
			if id != 0 {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// withdrawn says that tasks of the incident end as soon as nobody holds them.
func (in *incident) withdrawn() bool {
	return in.closing == candorv1.CallsAtClose_CALLS_AT_CLOSE_WITHDRAW
}

// Suppress closes voice for a number, given as a keyed hash, in every task; Tick ends those that have no other. It is no
// event: the list of suppressions is kept elsewhere, and is told again after a fold.
func (q *Queue) Suppress(now time.Time, hash uint64) {
	if n := q.number(hash); n != 0 {
		q.numbers.at(n).closed = true
		q.wake(n, 0, sec(now))
	}
}

// task returns the task of a customer, 0 if there is none.
func (q *Queue) task(p Place) uint32 {
	in := q.incidents[p.Incident]
	if in == nil {
		return 0
	}
	at := in.pages[p.Page]
	if at == 0 || p.Slot >= uint32(len(q.pages[at-1].slots)) {
		return 0
	}
	return q.pages[at-1].slots[p.Slot]
}

func (q *Queue) place(t *task) Place {
	p := &q.pages[t.page]
	return Place{Incident: p.incident.name, Page: p.number, Slot: uint32(t.slot)}
}

func (q *Queue) of(t *task) *incident { return q.pages[t.page].incident }

func (p Place) String() string {
	return fmt.Sprintf("customer %d of page %d of incident %s", p.Slot, p.Page, p.Incident)
}

func (p Place) proto() *candorv1.CustomerPlace {
	return &candorv1.CustomerPlace{Incident: p.Incident, Page: p.Page, Slot: p.Slot}
}
