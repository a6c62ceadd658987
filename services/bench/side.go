package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"time"

	"github.com/rs/zerolog"

	"candor/pkg/config"
)

// A side of a measurement is this program again, in a process of its own, so that its CPU and memory are counted alone. It
// reads a role and then asks, one a line, and answers each with a line; it ends when nobody asks any more.

// role is what a side is to do.
type role struct {
	Name string `json:"name"`
	// Dir is where an installation lies, or the file to read.
	Dir string `json:"dir,omitempty"`
	// Profile is the file for a CPU profile, from the first ask on.
	Profile string `json:"profile,omitempty"`
	// URL and Token of the provider, or of whoever else is asked.
	URL   string `json:"url,omitempty"`
	Token string `json:"token,omitempty"`
	// FirstAdmin is the line of the settings that lets the first admin in.
	FirstAdmin string `json:"first_admin,omitempty"`
	// Latency of a provider's answers.
	Latency time.Duration `json:"latency,omitempty"`
	// InFlight is how many requests are under way at once, Batch how many people stand in one.
	InFlight int `json:"in_flight,omitempty"`
	Batch    int `json:"batch,omitempty"`
	// Pages in hand at once, and how many people small requests share an intent for.
	Pages        int `json:"pages,omitempty"`
	SharedIntent int `json:"shared_intent,omitempty"`
	// Customers are who a plain program writes to.
	Customers int `json:"customers,omitempty"`
}

// ask is one line to a side.
type ask struct {
	Do string `json:"do"`
	N  int    `json:"n,omitempty"`
}

const (
	doSend  = "send"
	doUsage = "usage"
)

// said is one line of a side.
type said struct {
	Error string `json:"error,omitempty"`
	// Count of messages or rows, and the time that they took.
	Count   int     `json:"count,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
	Usage   usage   `json:"usage"`
	// Milliseconds that one request in two takes at most, and 99 in a hundred.
	P50 float64 `json:"p50,omitempty"`
	P99 float64 `json:"p99,omitempty"`
	// HeapBytes is what something takes in memory.
	HeapBytes int64 `json:"heap_bytes,omitempty"`
	// Where a server listens, and what opens it.
	URL    string        `json:"url,omitempty"`
	NATS   string        `json:"nats,omitempty"`
	Token  string        `json:"token,omitempty"`
	secret config.Secret // Token, once it was read
}

// usage is what a process has taken so far.
type usage struct {
	CPU       float64 `json:"cpu"`        // seconds, of all cores, in user and system mode
	PeakBytes int64   `json:"peak_bytes"` // of memory, at its most
	RSSBytes  int64   `json:"rss_bytes"`  // of memory, at this moment
}

// actor plays a role: ready is its first line, and act answers asks.
type actor struct {
	ready said
	act   func(ctx context.Context, a ask) (said, error)
	stop  func() error
}

// Side plays one side of a measurement: it reads its role and what it is asked, and answers, until in ends.
func Side(ctx context.Context, in io.Reader, out io.Writer, log zerolog.Logger) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	read, write := json.NewDecoder(in), json.NewEncoder(out)
	var r role
	if err := read.Decode(&r); err != nil {
		return fmt.Errorf("read the role: %w", err)
	}
	a, err := cast(ctx, r, log)
	if err != nil {
		return errors.Join(err, write.Encode(said{Error: err.Error()}))
	}
	if a.stop != nil {
		defer func() { err = errors.Join(err, a.stop()) }()
	}
	if err := write.Encode(a.ready); err != nil {
		return err
	}
	profiling := false
	for {
		var q ask
		if err := read.Decode(&q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read what is asked: %w", err)
		}
		if r.Profile != "" && !profiling {
			profiling = true
			f, err := os.Create(r.Profile)
			if err != nil {
				return fmt.Errorf("profile: %w", err)
			}
			if err := pprof.StartCPUProfile(f); err != nil {
				return fmt.Errorf("profile: %w", err)
			}
			defer func() {
				pprof.StopCPUProfile()
				err = errors.Join(err, f.Close())
			}()
		}
		s, err := a.do(ctx, q)
		if err != nil {
			s.Error = err.Error()
		}
		if err := write.Encode(s); err != nil {
			return err
		}
	}
}

func (a *actor) do(ctx context.Context, q ask) (said, error) {
	if q.Do == doUsage {
		u, err := used()
		return said{Usage: u}, err
	}
	if a.act == nil {
		return said{}, fmt.Errorf("this side cannot %s", q.Do)
	}
	before, err := used()
	if err != nil {
		return said{}, err
	}
	s, err := a.act(ctx, q)
	if err != nil {
		return said{}, err
	}
	after, err := used()
	s.Usage = usage{CPU: after.CPU - before.CPU, PeakBytes: after.PeakBytes}
	return s, err
}

func cast(ctx context.Context, r role, log zerolog.Logger) (*actor, error) {
	switch r.Name {
	case "sandbox":
		return playSandbox(ctx, r, log)
	case "candor":
		return playCandor(ctx, r, log)
	case "plain sms":
		return playPlainTexts(r)
	case "bare sms":
		return playBareTexts(r)
	case "plain email":
		return playPlainMails(r)
	case "import":
		return playImport(r)
	case "phones":
		return playPhones(r)
	case "ledger":
		return playLedger(r, log)
	case "door":
		return playDoor(ctx, r, log)
	case "drop":
		return playDrop(ctx)
	case "calls":
		return playCalls(ctx, r, log)
	case "agents":
		return playAgents(ctx, r, log)
	case "call fold":
		return playCallFold(r, log)
	case "callbacks":
		return playCallbacks(r)
	}
	return nil, fmt.Errorf("no role %q", r.Name)
}

// side is the parent's end of a side.
type side struct {
	name  string
	cmd   *exec.Cmd
	ask   *json.Encoder
	close func() error
	said  *json.Decoder
	ready said
}

// start starts a side and waits until it is ready.
func (l *Lab) start(ctx context.Context, r role) (*side, error) {
	if l.Profile != "" {
		r.Profile = filepath.Join(l.Profile, fmt.Sprintf("%s-%d-%d.pprof", r.Name, r.InFlight, r.Batch))
	}
	cmd := exec.CommandContext(ctx, l.Command[0], l.Command[1:]...) //nolint:gosec // this very program
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", r.Name, err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", r.Name, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", r.Name, err)
	}
	s := &side{name: r.Name, cmd: cmd, ask: json.NewEncoder(in), close: in.Close, said: json.NewDecoder(bufio.NewReader(out))}
	if s.ready, err = s.send(r); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	s.ready.secret = config.Secret(s.ready.Token)
	return s, nil
}

func (s *side) send(line any) (said, error) {
	if err := s.ask.Encode(line); err != nil {
		return said{}, fmt.Errorf("%s: %w", s.name, err)
	}
	var answer said
	if err := s.said.Decode(&answer); err != nil {
		return said{}, fmt.Errorf("%s: %w", s.name, err)
	}
	if answer.Error != "" {
		return said{}, fmt.Errorf("%s: %s", s.name, answer.Error)
	}
	return answer, nil
}

func (s *side) usage() (usage, error) {
	a, err := s.send(ask{Do: doUsage})
	return a.Usage, err
}

// stop lets the side end in order.
func (s *side) stop() error {
	if err := errors.Join(s.close(), s.cmd.Wait()); err != nil {
		return fmt.Errorf("stop %s: %w", s.name, err)
	}
	return nil
}
