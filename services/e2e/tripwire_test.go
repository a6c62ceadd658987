package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// tripwire lies between a process and its broker, and kills the process at one of the steps that it takes: before the broker
// hears of it, or after, when the process cannot know.
type tripwire struct {
	t      *testing.T
	listen net.Listener
	broker string

	mu    sync.Mutex
	armed func(subject string, payload []byte) bool
	after bool
	left  int // steps until it trips
	kill  func()
	steps []string
	trip  chan struct{} // closed when it has
	conns []net.Conn
}

// newTripwire listens in front of the broker at a nats:// address.
func newTripwire(t *testing.T, broker string) *tripwire {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &tripwire{t: t, listen: l, broker: strings.TrimPrefix(broker, "nats://")}
	var g sync.WaitGroup
	g.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			g.Go(func() { w.pass(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		w.mu.Lock()
		for _, c := range w.conns {
			_ = c.Close() // what is left of it has no reader
		}
		w.mu.Unlock()
		g.Wait()
	})
	return w
}

// url is where the process finds the broker.
func (w *tripwire) url() string { return "nats://" + w.listen.Addr().String() }

// arm lets it trip at the n-th step, from 0, that counts: before the broker gets it, or after. kill must end the process at
// once.
func (w *tripwire) arm(n int, after bool, counts func(subject string, payload []byte) bool, kill func()) (tripped <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed, w.left, w.after, w.kill, w.steps, w.trip = counts, n, after, kill, nil, make(chan struct{})
	return w.trip
}

// disarm lets everything pass, and returns the steps that were counted.
func (w *tripwire) disarm() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = nil
	return w.steps
}

// pass carries one connection.
func (w *tripwire) pass(client net.Conn) {
	server, err := net.Dial("tcp", w.broker)
	if err != nil {
		_ = client.Close()
		return
	}
	w.mu.Lock()
	w.conns = append(w.conns, client, server)
	w.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(client, server) // ends with the connection
		_ = client.Close()
	}()
	_ = w.forward(server, bufio.NewReader(client)) // ends with the connection
	_ = server.Close()
	<-done
}

// forward passes on what the client says, command by command.
func (w *tripwire) forward(server io.Writer, client *bufio.Reader) error {
	for {
		line, err := client.ReadBytes('\n')
		if err != nil {
			return err
		}
		f := bytes.Fields(line)
		var payload []byte
		if len(f) > 2 && (bytes.EqualFold(f[0], []byte("PUB")) || bytes.EqualFold(f[0], []byte("HPUB"))) {
			size, err := strconv.Atoi(string(f[len(f)-1]))
			if err != nil {
				return fmt.Errorf("%q: %w", line, err)
			}
			payload = make([]byte, size+2)
			if _, err := io.ReadFull(client, payload); err != nil {
				return err
			}
			if w.step(string(f[1]), payload) {
				if w.after {
					_, _ = server.Write(append(line, payload...)) // nobody is there to be told of an error
				}
				w.kill()
				close(w.trip)
				return io.EOF
			}
		}
		if _, err := server.Write(append(line, payload...)); err != nil {
			return err
		}
	}
}

// step counts a message, and says whether it is the one.
func (w *tripwire) step(subject string, payload []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.armed == nil || !w.armed(subject, payload) {
		return false
	}
	w.steps = append(w.steps, subject)
	if w.left--; w.left >= 0 {
		return false
	}
	w.armed = nil
	return true
}
