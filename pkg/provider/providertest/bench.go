package providertest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The provider of a benchmark is the test binary, started once more, so that only the sender's CPU is counted.
const answererVar = "CANDOR_BENCH_ANSWERER"

// Answerer reports, called first in TestMain, whether this process was started by StartAnswerer; if so it has answered every
// request with a until it was told to end.
func Answerer(a Answer) bool {
	if os.Getenv(answererVar) == "" {
		return false
	}
	if err := answerAll(render(a)); err != nil {
		fmt.Fprintln(os.Stderr, "answerer:", err)
	}
	return true
}

func answerAll(answer string) error {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(os.Stdout, l.Addr()); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = l.Close()
	}()
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			in := bufio.NewReader(c)
			for skipRequest(in) == nil {
				if _, err := io.WriteString(c, answer); err != nil {
					return
				}
			}
		}()
	}
}

func skipRequest(in *bufio.Reader) error {
	length := 0
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		if v, ok := strings.CutPrefix(line, "Content-Length: "); ok {
			if length, err = strconv.Atoi(strings.TrimSpace(v)); err != nil {
				return err
			}
		}
		if line == "\r\n" {
			_, err := in.Discard(length)
			return err
		}
	}
}

// StartAnswerer starts a provider in a process of its own that answers at once, and returns its URL.
func StartAnswerer(b *testing.B) string {
	b.Helper()
	cmd := exec.CommandContext(context.Background(), os.Args[0]) //nolint:gosec // this very binary
	cmd.Env = append(os.Environ(), answererVar+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return "http://" + strings.TrimSpace(addr)
}

// InFlight is how many requests a benchmark has under way at once.
const InFlight = 64

// Hammer sends b.N requests for perRequest messages each, and reports this process's CPU seconds per 1,000 messages.
func Hammer(b *testing.B, perRequest int, send func() error) {
	b.Helper()
	b.ReportAllocs()
	left := atomic.Int64{}
	left.Store(int64(b.N))
	before := cpu(b)
	b.ResetTimer()
	var group sync.WaitGroup
	for range InFlight {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				if err := send(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	b.StopTimer()
	messages := float64(b.N * perRequest)
	b.ReportMetric((cpu(b)-before).Seconds()/messages*1000, "cpu-s/1000")
	b.ReportMetric(messages/b.Elapsed().Seconds(), "messages/s")
}

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
