package playbook

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"time"

	"candor/pkg/cadence"
	"candor/pkg/roster"
	"candor/pkg/spell"
)

// FirstNotice is the wave that follows an approval at once.
const FirstNotice = "w0"

// FollowUps is when customers hear again, also when there is nothing new, until the incident is closed.
type FollowUps struct {
	// TimeZone in which the cadence is reckoned; the playbook's where nothing is said.
	TimeZone string `yaml:"time_zone,optional"`
	// AtMost is how many there are; Apart is how long there is at least between two.
	AtMost  int           `yaml:"at_most,optional"`
	Apart   time.Duration `yaml:"apart,optional"`
	Cadence []FollowUp    `yaml:"cadence"`

	cadence cadence.Cadence
}

// Times returns when the follow-ups are due.
func (f *FollowUps) Times() cadence.Cadence { return f.cadence }

// Named returns the follow-up of a name; nil if there is none.
func (f *FollowUps) Named(name string) *FollowUp {
	for i := range f.Cadence {
		if f.Cadence[i].Name == name {
			return &f.Cadence[i]
		}
	}
	return nil
}

// FollowUp is one line of the cadence: After the first notice, or Every so often.
type FollowUp struct {
	Name  string        `yaml:"name"`
	After time.Duration `yaml:"after,optional"`
	Every cadence.Every `yaml:"every,optional"`
	// Send names the wave that is sent when there is no news; empty asks the commander.
	Send string `yaml:"send,optional"`
	// IfLate is what becomes of it when its hour passed while nothing ran.
	IfLate Late `yaml:"if_late,optional"`
}

// Late is a policy. The zero Late asks.
type Late struct {
	// Skip lets it fall; else it is sent when it is at most Within late, and a person is asked when it is later.
	Skip   bool
	Within time.Duration
}

// String returns the policy as it is written in a playbook.
func (l Late) String() string {
	switch {
	case l.Skip:
		return "skip"
	case l.Within > 0:
		return "send within " + written(l.Within)
	}
	return "ask"
}

// Prepared lists the waves for follow-ups and the closing note, by name.
func (p *Playbook) Prepared() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(p.Waves)), func(name string) bool { return name == FirstNotice })
}

const (
	defaultAtMost = 52
	// Less than a day, so that a daily follow-up is not left out when the clocks go forward.
	defaultApart = 20 * time.Hour
	maxAtMost    = 520
	maxApart     = 90 * 24 * time.Hour
	maxAfter     = 90 * 24 * time.Hour
	maxCadence   = 20
)

var entryName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,19}$`)

// waveName looks at what a wave is called.
func (c checker) waveName(path, name string) {
	const remedy = "call the first notice w0, and a prepared wave by a word of 2 to 20 small letters, digits and hyphens, like apology"
	switch {
	case name == FirstNotice:
	case madeName.MatchString(name):
		c.badKey(path, "call a prepared wave by a word, like apology, and name it under follow_ups or as closing_note",
			"%s is no wave to write down: w1, w2 and so on are made by Candor as they become due", name)
	case !waveName.MatchString(name):
		c.badKey(path, remedy, "%s is no wave", name)
	}
}

// firstNotice looks at what makes no sense before anybody was told.
func (c checker) firstNotice(path string, w *Wave) {
	if len(w.Audience.Channels()) > 0 {
		c.bad(path+".audience", "name whom to tell first, like everyone", "audience: nobody is told before the first notice")
	}
}

// prepared looks at what only the first notice can have.
func (c checker) prepared(path string, w *Wave) {
	for ch, t := range w.Each {
		if at := path + ".channels." + roster.ChannelName(ch) + ".after"; t.Step() {
			c.badKey(at, "delete it: those whom nobody has reached stay with the first notice", "only w0 has steps")
		}
	}
	if w.Guard.Canary > 0 {
		c.badKey(path+".guard.canary", "delete it: what goes to those who were told needs none", "only w0 has a canary")
	}
}

// followUps fills in the defaults of what stands at no path, and looks at the rest.
func (c checker) followUps(p *Playbook) {
	f := p.FollowUps
	if f == nil {
		return
	}
	orDefault(c, "follow_ups.time_zone", &f.TimeZone, p.TimeZone)
	orDefault(c, "follow_ups.at_most", &f.AtMost, defaultAtMost)
	orDefault(c, "follow_ups.apart", &f.Apart, defaultApart)
	f.cadence = cadence.Cadence{AtMost: f.AtMost, Apart: f.Apart, Zone: time.UTC}
	if c.has("follow_ups.time_zone") {
		f.cadence.Zone = c.zone("follow_ups.time_zone", f.TimeZone)
	} else if zone, err := time.LoadLocation(f.TimeZone); err == nil {
		f.cadence.Zone = zone
	}
	if f.AtMost < 1 || f.AtMost > maxAtMost {
		c.bad("follow_ups.at_most", fmt.Sprintf("write 1 to %d, like %d, or delete follow_ups", maxAtMost, defaultAtMost), "at_most is %d", f.AtMost)
	}
	if f.Apart > maxApart {
		c.bad("follow_ups.apart", "write 90d or less, like 20h", "%s is long", written(f.Apart))
	}
	if n := len(f.Cadence); c.has("follow_ups.cadence") && (n == 0 || n > maxCadence) {
		c.bad("follow_ups.cadence", fmt.Sprintf("write 1 to %d, or delete follow_ups", maxCadence), "%d entries", n)
	}
	clear := true
	for i := range f.Cadence {
		e := &f.Cadence[i]
		clear = c.followUp("follow_ups.cadence."+strconv.Itoa(i), e, f.Cadence[:i], p) && clear
		f.cadence.Entries = append(f.cadence.Entries, cadence.Entry{Name: e.Name, After: e.After, Every: e.Every})
	}
	if !clear || f.AtMost < 1 || f.AtMost > maxAtMost {
		return // what can never be due shows only where all else is clear
	}
	for _, flaw := range f.cadence.Flaws() {
		c.bad("follow_ups.cadence."+strconv.Itoa(flaw.Entry), flaw.Remedy, "%s", flaw.Why)
	}
}

// followUp looks at one entry, and reports whether it is clear when it is due.
func (c checker) followUp(path string, e *FollowUp, before []FollowUp, p *Playbook) bool {
	switch {
	case e.Name == "":
	case madeName.MatchString(e.Name) || !entryName.MatchString(e.Name):
		c.bad(path+".name", "write a word of small letters, digits and hyphens, like weekly", "%s is no name", e.Name)
	case slices.ContainsFunc(before, func(o FollowUp) bool { return o.Name == e.Name }):
		c.bad(path+".name", "give one of them another name", "%s comes twice", e.Name)
	}
	_, after := c.keys[path+".after"]
	_, every := c.keys[path+".every"]
	const remedy = "write one of after: 72h and every: mon 10:00"
	switch {
	case after && every:
		c.badKey(path+".every", remedy+", and the other as an entry of its own", "after and every in one entry")
	case !after && !every:
		c.bad(path, remedy, "nothing says when %s is due", cmp.Or(e.Name, "it"))
	case after && c.has(path+".after") && e.After > maxAfter:
		c.bad(path+".after", "write 90d or less", "%s is long", written(e.After))
	}
	if e.IfLate.Within > maxPeriod {
		c.bad(path+".if_late", "write 30d or less", "%s is long", written(e.IfLate.Within))
	}
	c.namesPrepared(path+".send", e.Send, p)
	return after != every && (c.has(path+".after") || !e.Every.IsZero()) && e.Name != ""
}

// namesPrepared looks at the name of a wave that is sent after the first notice.
func (c checker) namesPrepared(path, name string, p *Playbook) {
	switch known := p.Prepared(); {
	case name == "" || slices.Contains(known, name):
	case name == FirstNotice:
		c.bad(path, "write a wave for it under waves, like standing:, and name that", "w0 is the first notice, and is said once")
	case len(known) == 0:
		c.bad(path, "write it under waves", "there is no wave %s", name)
	default:
		c.bad(path, spell.Remedy(name, known), "there is no wave %s", name)
	}
}

// closingNote looks at the last word: who says it, does not call, since the calls have ended by then.
func (c checker) closingNote(p *Playbook) {
	c.namesPrepared("closing_note", p.ClosingNote, p)
	if w := p.Waves[p.ClosingNote]; w != nil && p.ClosingNote != FirstNotice && w.Channels.Call != nil {
		c.bad("closing_note", "write a wave without call for it: the queue of calls has ended by then", "%s calls customers", p.ClosingNote)
	}
}
