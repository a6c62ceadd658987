package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// cli is what a command sees of the world: what it reads, prints and asks goes through it.
type cli struct {
	in       io.Reader
	out, err *printer
	env      func(name string) (value string, ok bool)
	now      func() time.Time
	zone     *time.Location // in which a person reads times
	asks     bool           // somebody sits there who can be asked
	keys     *os.File       // where single keys are read, nil if not from a terminal
}

func newCLI() *cli {
	c := &cli{in: os.Stdin, env: os.LookupEnv, now: time.Now, zone: time.Local}
	c.out, c.err = terminalPrinter(os.Stdout, c.env), terminalPrinter(os.Stderr, c.env)
	if term.IsTerminal(int(os.Stdin.Fd())) { //nolint:gosec // a file descriptor fits an int
		c.asks, c.keys = true, os.Stdin
	}
	return c
}

const proseWidth = 100

// printer writes for a person or a program, and remembers the first error for the end.
type printer struct {
	w        io.Writer
	file     *os.File // the terminal that w is, nil if it is none
	coloured bool
	failed   error
}

func terminalPrinter(f *os.File, env func(string) (string, bool)) *printer {
	p := &printer{w: f}
	if !term.IsTerminal(int(f.Fd())) { //nolint:gosec // a file descriptor fits an int
		return p
	}
	p.file = f
	no, set := env("NO_COLOR")
	kind, _ := env("TERM")
	p.coloured = (!set || no == "") && kind != "dumb"
	return p
}

// terminal says whether a person looks at what is printed, as it is printed.
func (p *printer) terminal() bool { return p.file != nil }

// width of the terminal, 0 if it has none.
func (p *printer) width() int {
	if p.file == nil {
		return 0
	}
	w, _, err := term.GetSize(int(p.file.Fd())) //nolint:gosec // a file descriptor fits an int
	if err != nil {
		return 0
	}
	return w
}

// textWidth is how long a line of prose may be.
func (p *printer) textWidth() int {
	if w := p.width(); w >= 40 && w < proseWidth {
		return w
	}
	return proseWidth
}

// Write keeps the first error: a full disk under a report must not look like a report.
func (p *printer) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	if err != nil && p.failed == nil {
		p.failed = err
	}
	return n, err
}

func (p *printer) printf(format string, args ...any) { _, _ = fmt.Fprintf(p, format, args...) } // kept by Write

func (p *printer) line(parts ...any) { _, _ = fmt.Fprintln(p, parts...) } // kept by Write

// Colours, which mean the same everywhere.
const (
	bold   = "1"
	faint  = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	blue   = "34"
	cyan   = "36"
)

func (p *printer) paint(colour, s string) string {
	if !p.coloured || colour == "" || s == "" {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}
