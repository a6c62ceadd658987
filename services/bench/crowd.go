package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"

	"candor/pkg/roster"
)

// crowd writes a roster of n fictional people who share tier, language, time zone and what they lost, so that pages are full
// and requests are as large as they may be.
func crowd(w io.Writer, n int) error {
	out := bufio.NewWriterSize(w, 256<<10)
	if _, err := out.WriteString("customer_ref,given_name,family_name,email,phone,language,country,time_zone,tier,data_exposed\n"); err != nil {
		return err
	}
	err := people(n, func(p [][]byte) error {
		for _, field := range p {
			_, _ = out.Write(field) // Flush tells
			_ = out.WriteByte(',')
		}
		_, err := out.WriteString("en,US,America/New_York,1,name|email_address\n")
		return err
	})
	if err != nil {
		return err
	}
	return out.Flush()
}

// people hands the first five columns of n fictional people to fn: reference, given name, family name, mailbox, telephone.
func people(n int, fn func([][]byte) error) error {
	r, w := io.Pipe()
	defer func() { _ = r.Close() }()                                                                              // the writer ends with an error of its own
	go func() { _ = w.CloseWithError(roster.Synthetic(w, n, roster.SyntheticOptions{Seed: 1, Perfect: true})) }() // the reader gets its error
	lines := bufio.NewScanner(r)
	lines.Scan() // the header
	for lines.Scan() {
		p := bytes.SplitN(lines.Bytes(), []byte{','}, 6)
		if len(p) != 6 {
			return fmt.Errorf("synthetic roster: a line of %d columns", len(p))
		}
		if err := fn(p[:5]); err != nil {
			return err
		}
	}
	return lines.Err()
}

// person is a customer as a plain program keeps one.
type person struct{ given, email, phone, code string }

func plainPeople(n int) ([]person, error) {
	list := make([]person, 0, n)
	err := people(n, func(p [][]byte) error {
		code := strings.ToUpper(strconv.FormatInt(int64(len(list))+34_000_000_000, 36))
		list = append(list, person{given: string(p[1]), email: string(p[3]), phone: e164(p[4]), code: code[:4] + "-" + code[4:]})
		return nil
	})
	return list, err
}

// e164 writes a North American number the one way.
func e164(written []byte) string {
	digits := append(make([]byte, 0, 12), "+1"...)
	for _, c := range bytes.TrimPrefix(written, []byte("+1")) {
		if c >= '0' && c <= '9' {
			digits = append(digits, c)
		}
	}
	return string(digits)
}

// alone leaves the first wave of a playbook with one channel, and nothing that follows it. Calls stand in none that is written
// down, and begin at once.
func alone(playbook, channel string) string {
	var kept strings.Builder
	const wave, depth = 2, 6                   // of a wave's name, and of a channel's
	section, later, within := "", false, false // a part that comes later, a channel that is left out
	for line := range strings.Lines(playbook) {
		text := strings.TrimLeft(line, " ")
		indent := len(line) - len(text)
		if name := strings.TrimSpace(text); name != "" && name[0] != '#' {
			if indent == 0 {
				section, later = name, name == "follow_ups:" || strings.HasPrefix(name, "closing_note:")
			}
			if section == "waves:" && indent == wave {
				later = name != "w0:"
			}
			if indent <= depth {
				within = indent == depth && (name == "email:" || name == "sms:") && name != channel+":"
			}
		}
		if !later && !within {
			kept.WriteString(line)
		}
	}
	if channel == "call" {
		return strings.Replace(kept.String(), "    channels:\n", "    channels:\n      call: {}\n", 1)
	}
	return kept.String()
}
