package providertest

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Fault is a way to misbehave below HTTP.
type Fault uint8

// Each fault happens after the request was read whole.
const (
	None           Fault = iota
	ResetAfterRead       // the connection is reset in place of an answer
	CloseAfterRead       // the connection is closed in place of an answer
	CutAnswer            // the answer ends before its Content-Length
	LateTail             // the answer's last chunk waits until Server.SendTails
	Silent               // no answer comes until the server ends
)

// Answer is what the server says to one request.
type Answer struct {
	Status int
	Header map[string]string
	Body   string
	Fault  Fault
}

// Request is what the server has read.
type Request struct {
	Method, Path string
	Query        url.Values
	Header       http.Header
	Body         string
}

// Form parses the body as a form.
func (r Request) Form(t testing.TB) url.Values {
	t.Helper()
	form, err := url.ParseQuery(r.Body)
	if err != nil {
		t.Fatalf("body is no form: %v", err)
	}
	return form
}

// Server is a provider that misbehaves exactly as told, over real TCP.
type Server struct {
	URL string

	answer    func(Request) Answer
	listener  net.Listener
	tails     chan struct{}
	sendTails func()
	done      chan struct{}
	running   sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]struct{}
	accepted int
	requests []Request
	changed  chan struct{} // closed and replaced at every change
}

// NewServer starts a Server that ends with the test. Without answer it resets every connection as soon as it is there.
func NewServer(t testing.TB, answer func(Request) Answer) *Server {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		URL: "http://" + l.Addr().String(), answer: answer, listener: l,
		tails: make(chan struct{}), done: make(chan struct{}), conns: map[net.Conn]struct{}{}, changed: make(chan struct{}),
	}
	s.sendTails = sync.OnceFunc(func() { close(s.tails) })
	s.running.Go(s.accept)
	t.Cleanup(s.close)
	return s
}

// Always answers every request alike.
func Always(a Answer) func(Request) Answer { return func(Request) Answer { return a } }

// SendTails lets every LateTail end, now and from now on.
func (s *Server) SendTails() { s.sendTails() }

// Requests returns what was read whole so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Accepted counts the connections ever made.
func (s *Server) Accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// AwaitRequests returns once n requests were read whole.
func (s *Server) AwaitRequests(n int) {
	for {
		s.mu.Lock()
		reached, changed := len(s.requests) >= n, s.changed
		s.mu.Unlock()
		if reached {
			return
		}
		<-changed
	}
}

func (s *Server) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Server) close() {
	close(s.done)
	s.sendTails()
	_ = s.listener.Close()
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
}

func (s *Server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.change(func() { s.accepted++; s.conns[c] = struct{}{} })
		s.running.Go(func() {
			s.serve(c.(*net.TCPConn))
			_ = c.Close()
			s.change(func() { delete(s.conns, c) })
		})
	}
}

func (s *Server) serve(c *net.TCPConn) {
	if s.answer == nil {
		_ = c.SetLinger(0)
		return
	}
	in := bufio.NewReader(c)
	for {
		select {
		case <-s.done:
			return
		default:
		}
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		req := Request{Method: r.Method, Path: r.URL.Path, Query: r.URL.Query(), Header: r.Header, Body: string(body)}
		a := s.answer(req)
		s.change(func() { s.requests = append(s.requests, req) })
		if !s.say(c, a) {
			return
		}
	}
}

// say reports whether the connection goes on.
func (s *Server) say(c *net.TCPConn, a Answer) bool {
	switch a.Fault {
	case ResetAfterRead:
		_ = c.SetLinger(0)
		return false
	case CloseAfterRead:
		return false
	case Silent:
		<-s.done
		return false
	case None, CutAnswer, LateTail:
	}
	if _, err := io.WriteString(c, render(a)); err != nil || a.Fault == CutAnswer {
		return false
	}
	if a.Fault == LateTail {
		<-s.tails
		if _, err := io.WriteString(c, "0\r\n\r\n"); err != nil {
			return false
		}
	}
	return true
}

// render is the answer as it stands on the wire, as much of it as comes at once.
func render(a Answer) string {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", a.Status, http.StatusText(a.Status))
	for _, k := range slices.Sorted(maps.Keys(a.Header)) {
		fmt.Fprintf(&b, "%s: %s\r\n", k, a.Header[k])
	}
	switch {
	case a.Fault == LateTail:
		fmt.Fprintf(&b, "Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(a.Body), a.Body)
	case a.Fault == CutAnswer:
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(a.Body)+100, a.Body)
	case a.Status == http.StatusNoContent || a.Status == http.StatusNotModified:
		b.WriteString("\r\n")
	default:
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(a.Body), a.Body)
	}
	return b.String()
}
