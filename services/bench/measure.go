package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Lab is where measurements are made: every side in a process of its own, all on this machine, one after the other.
type Lab struct {
	// Command starts this program as one side of a measurement, which Side is.
	Command []string
	// Dir takes what is stored meanwhile; it should lie on a disk.
	Dir string
	// Scale is the share of the full sizes to measure with: a tenth is quick, and noisy.
	Scale float64
	// Pairs is how often both sides take turns; the median counts.
	Pairs int
	// Profile takes CPU profiles of the sides that are ours, empty for none.
	Profile string
	// Say tells somebody who waits what is going on.
	Say func(format string, args ...any)

	told *million // once it was measured
}

// Row is one line of the table: what was measured, and what it is held to.
type Row struct {
	What    string `json:"what"`
	Ours    string `json:"ours"`
	Against string `json:"against,omitempty"`
	// Ratio of ours to the other side, or the figure itself where the target is one.
	Value float64 `json:"value"`
	Unit  string  `json:"unit,omitempty"`
	// The target: Value must be AtLeast or AtMost this; neither for what is told for information.
	AtLeast float64 `json:"at_least,omitempty"`
	AtMost  float64 `json:"at_most,omitempty"`
	Met     bool    `json:"met"`
}

func ratio(what, ours, against string, value, atLeast, atMost float64) Row {
	return Row{What: what, Ours: ours, Against: against, Value: value, Unit: "×", AtLeast: atLeast, AtMost: atMost}.judged()
}

func figure(what string, value float64, unit string, atLeast, atMost float64) Row {
	return Row{What: what, Ours: amount(value) + " " + unit, Value: value, Unit: unit, AtLeast: atLeast, AtMost: atMost}.judged()
}

func (r Row) judged() Row {
	r.Met = !math.IsNaN(r.Value) && (r.AtLeast == 0 || r.Value >= r.AtLeast) && (r.AtMost == 0 || r.Value <= r.AtMost)
	return r
}

// Measurement is one chapter of the table.
type Measurement struct {
	Name, Short string
	measure     func(context.Context, *Lab) ([]Row, error)
}

// Measurements are all there are, in the order of the table.
func Measurements() []Measurement {
	return []Measurement{
		{"sms", "text messages a second and their CPU, against a plain program and a bare loop", measureTexts},
		{"email", "e-mails a second, against a plain program", measureMails},
		{"import", "reading a customer file, against parsing its telephone numbers alone", measureImport},
		{"receipts", "receipts a second at the front door, against a handler that verifies and drops", measureReceipts},
		{"calls", "claims a second from a queue of a million calls, and its memory", measureCalls},
		{"approve", "from the second person's yes to the first message at the provider", measureApproval},
		{"memory", "what one process with everything in it takes at a million customers", measureMemory},
		{"ledger", "how fast the ledger is rebuilt at start", measureLedger},
	}
}

// Measure makes one measurement.
func (l *Lab) Measure(ctx context.Context, m Measurement) ([]Row, error) {
	rows, err := m.measure(ctx, l)
	if err != nil {
		return nil, fmt.Errorf("measure %s: %w", m.Name, err)
	}
	return rows, nil
}

// size scales a full size.
func (l *Lab) size(n int) int { return max(int(float64(n)*l.Scale), 20) }

// within makes a folder for one side and removes it afterwards.
func (l *Lab) within(do func(dir string) error) (err error) {
	dir, err := os.MkdirTemp(l.Dir, "candor-bench-")
	if err != nil {
		return fmt.Errorf("folder to measure in: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return do(dir)
}

// Machine names what the table was made on.
func Machine() string {
	name := runtime.GOOS + "/" + runtime.GOARCH
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if _, model, ok := strings.Cut(line, "model name\t: "); ok {
				name = strings.TrimSpace(model) + ", " + name
				break
			}
		}
	}
	return fmt.Sprintf("%d cores, %s, %s", runtime.NumCPU(), name, runtime.Version())
}

// Markdown writes the table for the README.
func Markdown(w io.Writer, rows []Row) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s.\n\n", Machine())
	b.WriteString("| what | Candor | against | result | target | met |\n|---|---|---|---:|---:|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", r.What, r.Ours, r.Against, r.result(), r.target(), r.verdict())
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Text writes the table for a terminal.
func Text(w io.Writer, rows []Row) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if _, err := fmt.Fprintf(t, "%s\n\nwhat\tcandor\tagainst\tresult\ttarget\tmet\n", Machine()); err != nil {
		return err
	}
	for _, r := range rows {
		if _, err := fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", r.What, r.Ours, r.Against, r.result(), r.target(), r.verdict()); err != nil {
			return err
		}
	}
	return t.Flush()
}

func (r Row) result() string {
	if r.Unit == "×" {
		return fmt.Sprintf("%.2f ×", r.Value)
	}
	return amount(r.Value) + " " + r.Unit
}

func (r Row) target() string {
	bound := func(sign string, v float64) string {
		if r.Unit == "×" {
			return fmt.Sprintf("%s %.2f ×", sign, v)
		}
		return sign + " " + amount(v) + " " + r.Unit
	}
	switch {
	case r.AtLeast != 0:
		return bound("≥", r.AtLeast)
	case r.AtMost != 0:
		return bound("≤", r.AtMost)
	}
	return ""
}

func (r Row) verdict() string {
	switch {
	case r.AtLeast == 0 && r.AtMost == 0:
		return ""
	case r.Met:
		return "yes"
	}
	return "no"
}

// amount writes 1234567 as 1,234,567, and small numbers with the digits that matter.
func amount(v float64) string {
	if math.Abs(v) < 100 {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	s := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func median(list []float64) float64 {
	if len(list) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(list))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}
