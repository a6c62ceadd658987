package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	candorv1 "candor/proto/candor/v1"
)

// json prints one object on one line.
func (c *cli) json(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	c.out.line(string(data))
	return nil
}

// proto prints a message as one object on one line.
func (c *cli) proto(m proto.Message) error {
	data, err := protoJSON(m)
	if err != nil {
		return err
	}
	c.out.line(string(data))
	return nil
}

// protoJSON leaves out the spaces that protojson puts in at random.
func protoJSON(m proto.Message) ([]byte, error) {
	data, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode the answer: %w", err)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, data); err != nil {
		return nil, fmt.Errorf("encode the answer: %w", err)
	}
	return b.Bytes(), nil
}

// number writes 1234567 as 1,234,567.
func number(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func plural(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}

func percent(n, of uint64) string {
	switch {
	case of == 0:
		return ""
	case n == of:
		return "100 %"
	case n == 0:
		return "0 %"
	}
	// Neither a lost nor an untold customer is rounded away.
	return strconv.FormatFloat(min(max(float64(n)*100/float64(of), 0.1), 99.9), 'f', 1, 64) + " %"
}

// textBar is n of all as a bar of so many characters; something is never shown as nothing, nor almost all as all.
func textBar(n, of uint64, width int) string {
	if of == 0 || width <= 0 {
		return ""
	}
	filled := int(n * uint64(width) / of)
	if n > 0 {
		filled = max(filled, 1)
	}
	filled = min(filled, width)
	return strings.Repeat("█", filled) + strings.Repeat("░", width-filled)
}

// plain is a stable code as words.
func plain(code string) string { return strings.ReplaceAll(code, "_", " ") }

func (c *cli) clock(t *timestamppb.Timestamp) string {
	if t == nil {
		return "—"
	}
	return t.AsTime().In(c.zone).Format("2 Jan 2006 15:04:05")
}

// span is a time left, as somebody would say it.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return "a moment"
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// byCount orders keys by their counts, the largest first.
func byCount(counts map[string]uint64) []string {
	keys := slices.Sorted(maps.Keys(counts))
	slices.SortStableFunc(keys, func(a, b string) int {
		if counts[a] > counts[b] {
			return -1
		}
		if counts[a] < counts[b] {
			return 1
		}
		return 0
	})
	return keys
}

// cell is a word of a table; numbers stand to the right.
type cell struct {
	text   string
	colour string
	right  bool
}

func text(s string) cell           { return cell{text: s} }
func tinted(colour, s string) cell { return cell{text: s, colour: colour} }
func count(n uint64) cell          { return cell{text: number(n), right: true} }
func right(s string) cell          { return cell{text: s, right: true} }
func heads(names ...string) []cell {
	return each(names, func(s string) cell { return tinted(faint, s) })
}

func each(ss []string, f func(string) cell) []cell {
	cells := make([]cell, len(ss))
	for i, s := range ss {
		cells[i] = f(s)
	}
	return cells
}

// table prints rows whose columns are as wide as they must be.
func (p *printer) table(indent string, rows [][]cell) {
	var widths []int
	for _, row := range rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		b.WriteString(indent)
		for i, c := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text))
			switch {
			case c.right:
				b.WriteString(pad + p.paint(c.colour, c.text))
			case i == len(row)-1:
				b.WriteString(p.paint(c.colour, c.text))
			default:
				b.WriteString(p.paint(c.colour, c.text) + pad)
			}
			if i < len(row)-1 {
				b.WriteString("  ")
			}
		}
		p.line(strings.TrimRight(b.String(), " "))
	}
}

// wrap breaks a text into lines of at most so many characters, each after the first behind the indent.
func wrap(s string, width int, indent string) string {
	var b strings.Builder
	at := utf8.RuneCountInString(indent)
	for i, w := range strings.Fields(s) {
		n := utf8.RuneCountInString(w)
		switch {
		case i == 0:
		case at+1+n > width:
			b.WriteString("\n" + indent)
			at = utf8.RuneCountInString(indent)
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(w)
		at += n
	}
	return b.String()
}

func channelTitle(ch candorv1.Channel) string {
	switch ch {
	case candorv1.Channel_CHANNEL_SMS:
		return "Text message"
	case candorv1.Channel_CHANNEL_EMAIL:
		return "E-mail"
	case candorv1.Channel_CHANNEL_CALL:
		return "Call"
	}
	return "Notice"
}

// quoted is a text of somebody else's making as lines that cannot move the cursor, with one empty line at most between two.
func quoted(s string) []string {
	clean := strings.Map(func(r rune) rune {
		if r != '\n' && unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
	lines := strings.Split(strings.TrimSpace(clean), "\n")
	return slices.CompactFunc(lines, func(a, b string) bool { return a == "" && b == "" })
}
