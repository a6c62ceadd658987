package playbook

import (
	"time"

	"candor/pkg/window"
)

// Calls says when, how often and from which number customers are called, and what follows from how a call ended.
type Calls struct {
	// CallerID is the one number that customers see, in E.164 form: one that they can call back and find on the page.
	CallerID string `yaml:"caller_id"`
	// Hours are when customers may be called, in every zone that may be theirs; UncertainHours where no zone is known. They lie
	// within 08:00 and 21:00, unless Outside8To21 says that this is no mistake: a drill calls nobody.
	Hours          window.Rule `yaml:"hours,optional"`
	UncertainHours window.Rule `yaml:"uncertain_hours,optional"`
	Outside8To21   bool        `yaml:"outside_8_to_21,optional"`
	// Lead is how long before the end of the hours the last call begins.
	Lead time.Duration `yaml:"lead,optional"`
	Caps Caps          `yaml:"caps,optional"`
	// Gap lies between two calls to a number that counted. A call is not made within Spread of the time of day at which the
	// last one stayed unanswered.
	Gap    time.Duration `yaml:"gap,optional"`
	Spread time.Duration `yaml:"spread,optional"`
	// CoolDown follows a lease that ended without a word: the customer may have been called.
	CoolDown time.Duration `yaml:"cool_down,optional"`
	Leases   Leases        `yaml:"leases,optional"`
	CallBack CallBack      `yaml:"call_back,optional"`
	// Skills that agents need, by the language of the task.
	Skills map[string][]string `yaml:"skills,optional"`
	// Dispositions are how a call can end, by code; those that are not written down are the prepared ones.
	Dispositions map[string]Disposition `yaml:"dispositions,optional"`
}

// Caps bound the calls: to a number in 24 hours, to a person in seven days, and in all.
type Caps struct {
	NumberPerDay  int `yaml:"number_per_day,optional"`
	PersonPerWeek int `yaml:"person_per_week,optional"`
	Total         int `yaml:"total,optional"`
}

// Leases are how long a dialer holds a task.
type Leases struct {
	Preview     time.Duration `yaml:"preview,optional"`
	Progressive time.Duration `yaml:"progressive,optional"`
}

// CallBack says how exact a promised time is, and what becomes of one that was missed: next_slot, next_day or close.
type CallBack struct {
	Tolerance time.Duration `yaml:"tolerance,optional"`
	Missed    string        `yaml:"missed,optional"`
}

// What becomes of a call-back whose time was missed.
const (
	MissedNextSlot = "next_slot"
	MissedNextDay  = "next_day"
	MissedClose    = "close"
)

// Disposition is one way in which a call can end, and what follows.
type Disposition struct {
	// Ends is done, failed or suppressed where the task ends; empty where it goes on.
	Ends string `yaml:"ends,optional"`
	// Told says that the customer was told, also if the task goes on.
	Told bool `yaml:"told,optional"`
	// Number is bad if this number is never dialled again, bad_twice if not after the second time, and next if the next one
	// may be tried at once. When no number is left the task has failed.
	Number string `yaml:"number,optional"`
	// After are the waits that follow the first time, the second and so on; the last one is repeated.
	After []time.Duration `yaml:"after,optional"`
	// NextDay waits for another day, and another time of day.
	NextDay bool `yaml:"next_day,optional"`
	// Most is how often it may come before the task has failed; 0 is without end but for the caps.
	Most int `yaml:"most,optional"`
	// Counts is how much of a call it is under the caps.
	Counts Weight `yaml:"counts,optional"`
	// CallBack says that the customer named a time.
	CallBack bool `yaml:"call_back,optional"`
	// Unanswered says that nobody picked up: Spread is measured from it.
	Unanswered bool `yaml:"unanswered,optional"`
	// DoNotCall closes voice for the number.
	DoNotCall bool `yaml:"do_not_call,optional"`
}

// Weight is how much something counts: 0, 0.5 or 1.
type Weight float64

// Where a disposition ends a task.
const (
	EndsDone       = "done"
	EndsFailed     = "failed"
	EndsSuppressed = "suppressed"
)

// What a disposition says of the number.
const (
	NumberBad      = "bad"
	NumberBadTwice = "bad_twice"
	NumberNext     = "next"
)

// DefaultCalls are careful everywhere: hours inside 8 to 21, three calls a day to a number, seven a week to a person.
func DefaultCalls() Calls {
	return Calls{
		Hours:          mustRule("outside mon-fri 09:00-20:00, sat 10:00-18:00"),
		UncertainHours: mustRule("outside mon-fri 14:00-20:00"),
		Lead:           10 * time.Minute,
		Caps:           Caps{NumberPerDay: 3, PersonPerWeek: 7, Total: 6},
		Gap:            4 * time.Hour, Spread: 2 * time.Hour, CoolDown: 30 * time.Minute,
		Leases:       Leases{Preview: 10 * time.Minute, Progressive: 3 * time.Minute},
		CallBack:     CallBack{Tolerance: 15 * time.Minute, Missed: MissedNextSlot},
		Dispositions: defaultDispositions(),
	}
}

func mustRule(s string) window.Rule {
	r, err := window.Parse(s)
	if err != nil {
		panic(err) // a constant of this file
	}
	return r
}

const day = 24 * time.Hour

func defaultDispositions() map[string]Disposition {
	return map[string]Disposition{
		"notified":          {Ends: EndsDone, Told: true, Counts: 1},
		"notified_callback": {Told: true, CallBack: true, Counts: 1},
		"callback":          {CallBack: true},
		"refused_info":      {Ends: EndsFailed, Counts: 1},
		"third_party":       {NextDay: true, Most: 3, Counts: 1},
		"wrong_number":      {Number: NumberBad, Counts: 1},
		"do_not_call":       {Ends: EndsSuppressed, DoNotCall: true, Counts: 1},
		"deceased":          {Ends: EndsFailed, Counts: 1},
		"incapacity":        {Ends: EndsFailed, Counts: 1},
		"no_answer":         {Number: NumberNext, After: []time.Duration{4 * time.Hour, day}, Most: 4, Counts: 1, Unanswered: true},
		"busy":              {After: []time.Duration{15 * time.Minute, 15 * time.Minute, time.Hour}, Most: 4, Counts: 0.5},
		"voicemail_no_msg":  {Number: NumberNext, After: []time.Duration{4 * time.Hour, day}, Most: 3, Counts: 1, Unanswered: true},
		"voicemail_left":    {After: []time.Duration{2 * day}, Most: 2, Counts: 1, Unanswered: true},
		"amd_uncertain":     {Number: NumberNext, After: []time.Duration{4 * time.Hour, day}, Most: 4, Counts: 1, Unanswered: true},
		"fax_modem":         {Number: NumberBad, Counts: 1},
		"invalid":           {Number: NumberBadTwice, NextDay: true, Counts: 1},
		"rejected":          {NextDay: true, Most: 2, Counts: 1},
		"congestion":        {After: []time.Duration{2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute}, Most: 50},
		"trunk_fail":        {After: []time.Duration{2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute}, Most: 50},
		"abandoned":         {After: []time.Duration{3 * day}, Most: 2, Counts: 1},
		"hung_up_early":     {NextDay: true, Most: 2, Counts: 1},
		"language_needed":   {After: []time.Duration{time.Hour}, Most: 3},
		"agent_skip":        {After: []time.Duration{10 * time.Minute}, Most: 3},
		"suspected_scam":    {After: []time.Duration{3 * day}, Most: 2, Counts: 1},
		"escalated":         {Ends: EndsDone, Told: true, Counts: 1},
		"cancelled":         {Ends: EndsFailed},
	}
}
