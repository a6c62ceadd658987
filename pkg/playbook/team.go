package playbook

import (
	"fmt"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nyaruka/phonenumbers"

	"candor/pkg/loopback"
	"candor/pkg/spell"
)

// Team is who is told what needs a person.
type Team struct {
	// RemindEvery is how long nobody acknowledged before all are told again, RemindersAtMost how often that happens.
	RemindEvery     time.Duration `yaml:"remind_every,optional"`
	RemindersAtMost int           `yaml:"reminders_at_most,optional"`
	Members         []Member      `yaml:"members,optional"`
	Hooks           []Hook        `yaml:"hooks,optional"`
}

// Member is a person of the team, or a place of duty. In a declaration that lies in BREACH the addresses are marks, see
// Redact.
type Member struct {
	// Role, such as commander on duty.
	Role  string `yaml:"role"`
	SMS   string `yaml:"sms,optional"`
	Email string `yaml:"email,optional"`
	// ToldOf are the alerts that the member gets; empty means all: draft, declared, paused, threshold, overdue, closed, aborted.
	ToldOf []string `yaml:"told_of,optional"`
}

// Hook is an incoming webhook that takes Slack's form.
type Hook struct {
	Name   string   `yaml:"name"`
	URL    string   `yaml:"url"`
	Secret string   `yaml:"secret,optional"`
	ToldOf []string `yaml:"told_of,optional"`
}

const (
	defaultRemindEvery = 15 * time.Minute
	defaultReminders   = 8
	maxReminders       = 100
	maxTeam            = 50
	leastSecret        = 16 // bytes
)

// Alerts lists what the response team can be told of.
func Alerts() []string {
	return []string{"draft", "declared", "paused", "threshold", "overdue", "closed", "aborted"}
}

var marks = regexp.MustCompile(`sealed:[0-9a-f]{16}`)

// IsMark reports whether something stands for an address that lies sealed.
func IsMark(s string) bool { return s != "" && marks.FindString(s) == s }

// team fills in the defaults of what stands at no path, and looks at the rest. No mistake names an address.
func (c checker) team(t *Team) {
	if t == nil {
		return
	}
	orDefault(c, "team.remind_every", &t.RemindEvery, defaultRemindEvery)
	orDefault(c, "team.reminders_at_most", &t.RemindersAtMost, defaultReminders)
	if t.RemindEvery < time.Second || t.RemindEvery > day {
		c.bad("team.remind_every", "write 1s to 24h, like 15m", "remind_every is %s", written(t.RemindEvery))
	}
	if t.RemindersAtMost < 0 || t.RemindersAtMost > maxReminders {
		c.bad("team.reminders_at_most", fmt.Sprintf("write 0 to %d, like %d", maxReminders, defaultReminders), "reminders_at_most is out of reach")
	}
	switch n := len(t.Members) + len(t.Hooks); {
	case n == 0:
		c.badKey("team", "add members or hooks, or delete team", "nobody is in the team")
	case n > maxTeam:
		c.badKey("team", fmt.Sprintf("name %d at most", maxTeam), "%d members and hooks", n)
	}
	for i, m := range t.Members {
		path := "team.members." + strconv.Itoa(i)
		_, sms := c.keys[path+".sms"]
		_, email := c.keys[path+".email"]
		if !sms && !email {
			c.bad(path, "add sms or email", "no way to tell this member")
		}
		if m.SMS != "" && !isPhone(m.SMS) && !IsMark(m.SMS) {
			c.bad(path+".sms", `write it in quotes, with + and the country's code, like "+12025550143"`, "sms is no telephone number")
		}
		if m.Email != "" && !isMailbox(m.Email) && !IsMark(m.Email) {
			c.bad(path+".email", "write it like duty@example.com, in plain letters", "email is no e-mail address")
		}
		c.toldOf(path+".told_of", m.ToldOf)
	}
	for i, h := range t.Hooks {
		path := "team.hooks." + strconv.Itoa(i)
		if h.URL != "" && !isHook(h.URL) && !IsMark(h.URL) {
			c.bad(path+".url", "write an address that begins with https://, without a user name; http:// is for this machine alone", "url is no webhook")
		}
		if h.Secret != "" && len(h.Secret) < leastSecret {
			c.bad(path+".secret", fmt.Sprintf("write at least %d characters that nobody can guess", leastSecret), "secret is short")
		}
		c.toldOf(path+".told_of", h.ToldOf)
	}
}

func (c checker) toldOf(path string, words []string) {
	if c.has(path) && len(words) == 0 {
		c.bad(path, "name some of "+strings.Join(Alerts(), ", ")+", or delete it: then it is all", "told of nothing")
	}
	for i, w := range words {
		at := path + "." + strconv.Itoa(i)
		switch {
		case w == "":
		case !slices.Contains(Alerts(), w):
			c.bad(at, spell.Remedy(w, Alerts()), "%s is nothing that the team is told of", said(w))
		case slices.Contains(words[:i], w):
			c.bad(at, "delete one of them", "%s comes twice", w)
		}
	}
}

func isPhone(s string) bool {
	n, err := phonenumbers.Parse(s, "")
	return callerID.MatchString(s) && err == nil && phonenumbers.IsPossibleNumber(n)
}

func isMailbox(s string) bool {
	parsed, err := mail.ParseAddress(s)
	return err == nil && parsed.Address == s && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func isHook(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.User != nil || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && loopback.Is(u.Hostname())
}
