// Package audience says which customers something is for: a wave, a step of the ladder, an update, a resend.
//
// In: an expression such as `tier <= 2 and data has payment_card and country in (US, MX) and not sms = delivered`.
// Out: whether a customer belongs.   Crash: nothing to lose, these are pure functions.
//
//	expression = "everyone" | or .
//	or         = and { "or" and } .
//	and        = unary { "and" unary } .
//	unary      = "not" unary | "(" or ")" | test .
//	test       = "told"
//	           | "tier" ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) number
//	           | "data" "has" kind
//	           | key ( "=" | "!=" ) value .
//	           Every key but data also takes "in" "(" value { "," value } ")" .
//	value      = a word, or anything in double quotes .
//	key        = "tier" | "country" | "region" | "time_zone" | "language" | "sms" | "email" | "call" .
//
// A language stands for its variants: es holds for es-MX too. A channel is compared with the state of its notice. Told are
// those for whom a notice was accepted or delivered on any channel.
package audience

import (
	"slices"
	"strconv"
	"strings"

	"candor/pkg/roster"
	candorv1 "candor/proto/candor/v1"
)

// States tells where a customer's notice on a channel stands; NOTICE_STATE_UNSPECIFIED is that of a notice which does not
// exist, and equals no state.
type States func(candorv1.Channel) candorv1.NoticeState

// Audience is a parsed expression; the zero Audience is everyone.
type Audience struct{ root expr }

// Told returns the audience of those whom an earlier notice reached: told.
func Told() Audience { return Audience{toldTest{}} }

// And returns the audience of those who belong to both.
func (a Audience) And(b Audience) Audience {
	if a.root == nil {
		return b
	}
	if b.root == nil {
		return a
	}
	return Audience{append(parts(a.root), parts(b.root)...)}
}

// parts returns what must hold together, as a slice of its own.
func parts(e expr) allOf {
	if all, ok := e.(allOf); ok {
		return slices.Clone(all)
	}
	return allOf{e}
}

// AsksFields reports whether the audience asks about customers' own fields: without that, their states alone decide.
func (a Audience) AsksFields() bool { return a.root != nil && a.root.fields() }

// Everyone reports whether the audience leaves nobody out by construction.
func (a Audience) Everyone() bool { return a.root == nil }

// Channels returns the channels whose states the audience asks about, sorted: without any, the ledger need not be asked.
func (a Audience) Channels() []candorv1.Channel {
	var channels []candorv1.Channel
	if a.root != nil {
		a.root.channels(&channels)
	}
	slices.Sort(channels)
	return slices.Compact(channels)
}

// Match reports whether a customer belongs. states is called for the channels that Channels names, and may be nil if there
// are none.
func (a Audience) Match(c *roster.Customer, states States) bool {
	return a.root == nil || a.root.match(c, states)
}

// String returns the audience in the one form that Parse reads as the same audience.
func (a Audience) String() string {
	if a.root == nil {
		return "everyone"
	}
	var b strings.Builder
	a.root.write(&b)
	return b.String()
}

type expr interface {
	match(c *roster.Customer, states States) bool
	channels(asked *[]candorv1.Channel)
	fields() bool
	write(b *strings.Builder)
	binds() int // how tightly, for parentheses
}

const (
	bindsOr = iota
	bindsAnd
	bindsNot
	bindsTest
)

func writeChild(b *strings.Builder, e expr, least int) {
	if e.binds() >= least {
		e.write(b)
		return
	}
	b.WriteByte('(')
	e.write(b)
	b.WriteByte(')')
}

// any holds if one of its parts does.
type anyOf []expr

func (e anyOf) match(c *roster.Customer, states States) bool {
	for _, part := range e {
		if part.match(c, states) {
			return true
		}
	}
	return false
}

func (e anyOf) fields() bool { return slices.ContainsFunc(e, expr.fields) }

func (e anyOf) channels(asked *[]candorv1.Channel) {
	for _, part := range e {
		part.channels(asked)
	}
}

func (e anyOf) write(b *strings.Builder) {
	for i, part := range e {
		if i > 0 {
			b.WriteString(" or ")
		}
		writeChild(b, part, bindsAnd)
	}
}

func (anyOf) binds() int { return bindsOr }

// allOf holds if all of its parts do.
type allOf []expr

func (e allOf) match(c *roster.Customer, states States) bool {
	for _, part := range e {
		if !part.match(c, states) {
			return false
		}
	}
	return true
}

func (e allOf) fields() bool { return slices.ContainsFunc(e, expr.fields) }

func (e allOf) channels(asked *[]candorv1.Channel) {
	for _, part := range e {
		part.channels(asked)
	}
}

func (e allOf) write(b *strings.Builder) {
	for i, part := range e {
		if i > 0 {
			b.WriteString(" and ")
		}
		writeChild(b, part, bindsNot)
	}
}

func (allOf) binds() int { return bindsAnd }

type not struct{ of expr }

func (e not) match(c *roster.Customer, states States) bool { return !e.of.match(c, states) }
func (e not) channels(asked *[]candorv1.Channel)           { e.of.channels(asked) }
func (e not) fields() bool                                 { return e.of.fields() }
func (not) binds() int                                     { return bindsNot }

func (e not) write(b *strings.Builder) {
	b.WriteString("not ")
	writeChild(b, e.of, bindsNot)
}

// tierTest compares the tier.
type tierTest struct {
	op      string
	numbers []uint8 // one, but for in
}

func (e tierTest) match(c *roster.Customer, _ States) bool {
	switch n := e.numbers[0]; e.op {
	case "=":
		return c.Tier == n
	case "!=":
		return c.Tier != n
	case "<":
		return c.Tier < n
	case "<=":
		return c.Tier <= n
	case ">":
		return c.Tier > n
	case ">=":
		return c.Tier >= n
	default:
		return slices.Contains(e.numbers, c.Tier)
	}
}

func (tierTest) channels(*[]candorv1.Channel) {}
func (tierTest) fields() bool                 { return true }
func (tierTest) binds() int                   { return bindsTest }

func (e tierTest) write(b *strings.Builder) {
	words := make([]string, len(e.numbers))
	for i, n := range e.numbers {
		words[i] = strconv.Itoa(int(n))
	}
	writeTest(b, "tier", e.op, words)
}

// dataTest asks for a kind of data.
type dataTest struct{ kind roster.DataKind }

func (e dataTest) match(c *roster.Customer, _ States) bool { return c.Data.Has(e.kind) }
func (dataTest) channels(*[]candorv1.Channel)              {}
func (e dataTest) write(b *strings.Builder)                { b.WriteString("data has " + e.kind.String()) }
func (dataTest) fields() bool                              { return true }
func (dataTest) binds() int                                { return bindsTest }

// placeTest compares the country, region, time zone or language with some values.
type placeTest struct {
	key    string
	values []string
	op     string // =, != or in
}

func (e placeTest) match(c *roster.Customer, _ States) bool {
	found := false
	for _, want := range e.values {
		switch e.key {
		case "country":
			found = found || strings.EqualFold(c.Country, want)
		case "region":
			found = found || strings.EqualFold(c.Region, want)
		case "time_zone":
			found = found || strings.EqualFold(c.TimeZone, want)
		default:
			found = found || speaks(c.Language, want)
		}
	}
	return found == (e.op != "!=")
}

func speaks(language, want string) bool {
	return len(language) >= len(want) && strings.EqualFold(language[:len(want)], want) &&
		(len(language) == len(want) || language[len(want)] == '-')
}

func (placeTest) channels(*[]candorv1.Channel) {}
func (placeTest) fields() bool                 { return true }
func (placeTest) binds() int                   { return bindsTest }

func (e placeTest) write(b *strings.Builder) {
	words := make([]string, len(e.values))
	for i, v := range e.values {
		words[i] = quote(v)
	}
	writeTest(b, e.key, e.op, words)
}

// stateTest compares the state of a channel's notice with some states.
type stateTest struct {
	channel candorv1.Channel
	states  []candorv1.NoticeState
	op      string // =, != or in
}

func (e stateTest) match(_ *roster.Customer, states States) bool {
	return slices.Contains(e.states, states(e.channel)) == (e.op != "!=")
}

func (e stateTest) channels(asked *[]candorv1.Channel) { *asked = append(*asked, e.channel) }
func (stateTest) fields() bool                         { return false }
func (stateTest) binds() int                           { return bindsTest }

func (e stateTest) write(b *strings.Builder) {
	words := make([]string, len(e.states))
	for i, s := range e.states {
		words[i] = candorv1.Word(s)
	}
	writeTest(b, roster.ChannelName(e.channel), e.op, words)
}

// toldTest asks whether any channel has reached the customer.
type toldTest struct{}

func (toldTest) match(_ *roster.Customer, states States) bool {
	for _, ch := range roster.Channels() {
		switch states(ch) {
		case candorv1.NoticeState_NOTICE_STATE_ACCEPTED, candorv1.NoticeState_NOTICE_STATE_DELIVERED:
			return true
		}
	}
	return false
}

func (toldTest) channels(asked *[]candorv1.Channel) {
	all := roster.Channels()
	*asked = append(*asked, all[:]...)
}

func (toldTest) fields() bool             { return false }
func (toldTest) write(b *strings.Builder) { b.WriteString(told) }
func (toldTest) binds() int               { return bindsTest }

func writeTest(b *strings.Builder, key, op string, values []string) {
	b.WriteString(key + " " + op + " ")
	if op == "in" {
		b.WriteString("(" + strings.Join(values, ", ") + ")")
		return
	}
	b.WriteString(values[0])
}
