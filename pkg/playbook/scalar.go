package playbook

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"candor/pkg/audience"
	"candor/pkg/cadence"
	"candor/pkg/window"
)

// scalar reads a node into a v that holds a single value, and reports whether it does.
func (d *decoder) scalar(n ast.Node, v reflect.Value, at int, path string) bool {
	want := ""
	switch into := v.Addr().Interface().(type) {
	case *Text:
		if text, style, ok := stringOf(n); ok {
			*into = Text{text, d.src, at, style}
			d.strings = append(d.strings, placed{path, *into})
			d.wording(*into, path)
			return true
		}
		want = "a text"
	case *window.Rule:
		quiet := last(path) == quietHours
		if text, style, ok := stringOf(n); ok {
			rule, wrong := parseHours(text, quiet)
			if wrong != nil {
				d.mistakes = append(d.mistakes, Text{text, d.src, at, style}.Mistake(wrong.Offset, wrong.Message, wrong.Remedy))
			}
			*into = rule
			return true
		}
		want = "quiet hours, like none or outside mon-fri 09:00-20:00"
		if !quiet {
			want = "hours, like mon-fri 09:00-20:00, sat 10:00-18:00"
		}
	case *audience.Audience:
		if text, style, ok := stringOf(n); ok {
			a, err := audience.Parse(text)
			var wrong *audience.ParseError
			if errors.As(err, &wrong) {
				d.mistakes = append(d.mistakes, Text{text, d.src, at, style}.Mistake(wrong.Offset, "audience: "+wrong.Message, wrong.Remedy))
			}
			*into = a
			return true
		}
		want = "an audience, like everyone or tier <= 2"
	case *time.Duration:
		if text, _, ok := stringOf(n); ok {
			if period, ok := parseDuration(text); ok {
				*into = period
				return true
			}
		}
		want = "a time, like 90m, 24h or 3d"
	case *Uncertain:
		if text, _, ok := stringOf(n); ok {
			if policy, ok := parseUncertain(text); ok {
				*into = policy
				return true
			}
		}
		want = "a policy: keep, or resend after 24h"
	case *cadence.Every:
		if text, style, ok := stringOf(n); ok {
			every, err := cadence.ParseEvery(text)
			var wrong *cadence.ParseError
			if errors.As(err, &wrong) {
				d.mistakes = append(d.mistakes, Text{text, d.src, at, style}.Mistake(wrong.Offset, "every: "+wrong.Message, wrong.Remedy))
			}
			*into = every
			return true
		}
		want = "when it comes, like mon 10:00, or day 10:00, or month 1 10:00"
	case *Late:
		if text, _, ok := stringOf(n); ok {
			if policy, ok := parseLate(text); ok {
				*into = policy
				return true
			}
		}
		want = "a policy: send within 24h, skip, or ask"
	case *Share:
		if text, _, ok := stringOf(n); ok {
			if part, ok := parseShare(text); ok {
				*into = part
				return true
			}
		}
		want = "a share, like 5% or 0.5%, from 0% to 100%"
	case *Weight:
		if number, ok := numberOf(n); ok {
			if weight, err := strconv.ParseFloat(number, 64); err == nil && (weight == 0 || weight == 0.5 || weight == 1) {
				*into = Weight(weight)
				return true
			}
		}
		want = "0, 0.5 or 1"
	case *Money:
		if number, ok := numberOf(n); ok {
			if amount, ok := parseMoney(number); ok {
				*into = amount
				return true
			}
		}
		want = "a price, like 0.0083"
	case *string:
		if text, style, ok := stringOf(n); ok {
			*into = strings.TrimSpace(text)
			d.strings = append(d.strings, placed{path, Text{text, d.src, at, style}})
			d.wording(Text{text, d.src, at, style}, path)
			switch {
			case len(text) > maxString:
				d.note(at, fmt.Sprintf("%s is longer than %d bytes", last(path), maxString), "shorten it")
			case strings.ContainsAny(*into, "\n\t"):
				d.note(at, fmt.Sprintf("%s runs over several lines", last(path)), "write it on one line")
			}
			return true
		}
		want = "a text; put it in quotes"
	case *bool:
		if b, ok := n.(*ast.BoolNode); ok {
			*into = b.Value
			return true
		}
		want = "true or false"
	case *int:
		if number, ok := numberOf(n); ok {
			if i, err := strconv.Atoi(number); err == nil {
				*into = i
				return true
			}
		}
		want = "a whole number"
	case *float64:
		if number, ok := numberOf(n); ok {
			if f, err := strconv.ParseFloat(number, 64); err == nil && !math.IsInf(f, 0) {
				*into = f
				return true
			}
		}
		want = "a number"
	default:
		return false
	}
	d.note(at, fmt.Sprintf("%s is not what it should be", last(path)), "write "+want)
	delete(d.places, path) // there is no value to look at any further
	return true
}

// wording refuses a text that is empty, or brings in by an escape what must not be in the file.
func (d *decoder) wording(t Text, path string) {
	if strings.TrimSpace(t.value) == "" {
		d.note(t.at, fmt.Sprintf("%s is empty", last(path)), "fill it in")
	}
	if i := strings.IndexFunc(t.value, invisible); i >= 0 {
		d.mistakes = append(d.mistakes, t.Mistake(i, "an invisible character", "delete it"))
	}
}

// invisible holds for control characters and for those of private use, which the rendering of notices needs for itself.
func invisible(r rune) bool {
	return unicode.Is(unicode.Co, r) || unicode.IsControl(r) && r != '\n' && r != '\t'
}

// stringOf returns the text of a node, unless YAML takes it for something else than a text.
func stringOf(n ast.Node) (text string, style byte, ok bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		switch n.GetToken().Type {
		case token.DoubleQuoteType:
			return n.Value, double, true
		case token.SingleQuoteType:
			return n.Value, single, true
		default:
			return n.Value, plain, true
		}
	case *ast.LiteralNode:
		if strings.HasPrefix(n.Start.Value, ">") {
			return n.Value.Value, folded, true
		}
		return n.Value.Value, literal, true
	default:
		return "", 0, false
	}
}

// numberOf returns a number as it is written.
func numberOf(n ast.Node) (string, bool) {
	switch n.(type) {
	case *ast.IntegerNode, *ast.FloatNode:
		return n.GetToken().Value, true
	default:
		return "", false
	}
}

// quietHours is the key of hours that are told by what lies outside them; all others are told as they are.
const quietHours = "quiet_hours"

// parseHours reads a rule, as quiet hours or as the hours in which it is open.
func parseHours(text string, quiet bool) (window.Rule, *window.ParseError) {
	const outside = "outside "
	before, name := "", "quiet hours: "
	if !quiet {
		before, name = outside, "hours: "
	}
	rule, err := window.Parse(before + text)
	var wrong *window.ParseError
	if !errors.As(err, &wrong) {
		return rule, nil
	}
	remedy := wrong.Remedy
	if lower := strings.ToLower(text); !quiet && (strings.Contains(remedy, outside) || strings.HasPrefix(lower, "outside") || strings.HasPrefix(lower, "none")) {
		remedy = "write the hours in which customers are called, like: mon-fri 09:00-20:00, sat 10:00-18:00, closed 2026-12-25"
	}
	return rule, &window.ParseError{Offset: max(0, wrong.Offset-len(before)), Message: name + wrong.Message, Remedy: remedy}
}

// parseDuration reads what Go reads, and days.
func parseDuration(s string) (time.Duration, bool) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 8)
		return time.Duration(n) * 24 * time.Hour, err == nil
	}
	period, err := time.ParseDuration(s)
	return period, err == nil && period >= 0
}

func parseUncertain(s string) (Uncertain, bool) {
	if s == "keep" {
		return Uncertain{}, true
	}
	after, ok := strings.CutPrefix(s, "resend after ")
	period, valid := parseDuration(strings.TrimSpace(after))
	return Uncertain{period}, ok && valid && period > 0
}

func parseLate(s string) (Late, bool) {
	switch s {
	case "ask":
		return Late{}, true
	case "skip":
		return Late{Skip: true}, true
	}
	within, ok := strings.CutPrefix(s, "send within ")
	period, valid := parseDuration(strings.TrimSpace(within))
	return Late{Within: period}, ok && valid && period > 0
}
