package httpd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"candor/pkg/token"
)

// Authenticator knows whose a token is; a token.Store.
type Authenticator interface {
	Authenticate(ctx context.Context, bearer string) (token.Identity, error)
}

// requireToken lets only requests through to next whose bearer token may do that. When tokens cannot be looked up, it lets nobody through.
func requireToken(a Authenticator, action token.Action, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := a.Authenticate(r.Context(), token.FromHeader(r.Header.Get("Authorization")))
		switch {
		case errors.Is(err, token.ErrInvalid):
			w.Header().Set("WWW-Authenticate", `Bearer realm="candor"`)
			http.Error(w, "this needs a token: send the header Authorization: Bearer <token>; an admin makes one with candor token create", http.StatusUnauthorized)
		case err != nil:
			http.Error(w, "tokens cannot be checked now, try again", http.StatusServiceUnavailable)
		case !who.Allows(action):
			http.Error(w, fmt.Sprintf("this token may not %s: take one with another role, such as viewer", action), http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// recovering turns a handler's panic into a 500, or a cut connection where the answer has begun.
func (s *Server) recovering(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := &startedWriter{ResponseWriter: w}
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler { //nolint:errorlint // the value itself is the convention
				panic(p)
			}
			s.panics.Inc()
			s.log.Error().Str("panic", describe(p)).Bytes("stack", debug.Stack()).Msg("http handler panicked")
			if started.yes {
				panic(http.ErrAbortHandler) // so that nobody takes half an answer for a whole one
			}
			http.Error(w, "internal error", http.StatusInternalServerError)
		}()
		next.ServeHTTP(started, r)
	})
}

// describe leaves out what a handler of ours panicked with: it may have been formatted from a customer's data. The runtime's own
// panics speak of indexes and types only.
func describe(p any) string {
	if err, ok := p.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("a %T", p)
}

// startedWriter knows whether an answer has begun.
type startedWriter struct {
	http.ResponseWriter
	yes bool
}

func (w *startedWriter) WriteHeader(code int) {
	w.yes = w.yes || code >= http.StatusOK
	w.ResponseWriter.WriteHeader(code)
}

func (w *startedWriter) Write(b []byte) (int, error) {
	w.yes = true
	return w.ResponseWriter.Write(b)
}

// ReadFrom keeps the writer's own fast path for files.
func (w *startedWriter) ReadFrom(r io.Reader) (int64, error) {
	w.yes = true
	return io.Copy(w.ResponseWriter, r)
}

// Flush sends what was written so far, as gRPC and event streams need it.
func (w *startedWriter) Flush() {
	w.yes = true
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap lets http.ResponseController find the writer below.
func (w *startedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// limiting bounds what a request's body may hold and how long it may stall.
func (s *Server) limiting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		limit, longest := s.cfg.MaxBodyBytes, -1
		for prefix, large := range s.cfg.LargeBodies {
			if strings.HasPrefix(r.URL.Path, prefix) && len(prefix) > longest {
				limit, longest = large, len(prefix)
			}
		}
		limited, conn := *r, http.NewResponseController(w)
		limited.Body = &impatientBody{ReadCloser: http.MaxBytesReader(w, r.Body, limit), conn: conn, stall: s.cfg.BodyStallTimeout}
		next.ServeHTTP(w, &limited)
		// What the handler left of the body net/http reads before it answers, and would wait for it for ever. The deadline ends with
		// the request. One that cannot be set is of a connection that is gone.
		_ = conn.SetReadDeadline(time.Now().Add(s.cfg.BodyStallTimeout))
	})
}

// impatientBody gives each read a deadline, and none to what happens between reads: a stream may be silent as long as it likes.
type impatientBody struct {
	io.ReadCloser
	conn  *http.ResponseController
	stall time.Duration
}

func (b *impatientBody) Read(p []byte) (int, error) {
	if err := b.conn.SetReadDeadline(time.Now().Add(b.stall)); err != nil {
		return 0, fmt.Errorf("set deadline for body: %w", err)
	}
	n, err := b.ReadCloser.Read(p)
	if clearErr := b.conn.SetReadDeadline(time.Time{}); clearErr != nil && err == nil {
		err = fmt.Errorf("clear deadline for body: %w", clearErr)
	}
	return n, err
}

// acceptErrors passes on what net/http says about a listener in trouble. The rest of what it says is about single clients, with their
// addresses.
type acceptErrors struct{ log zerolog.Logger }

func (a acceptErrors) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("Accept error")) {
		a.log.Warn().Str("error", string(bytes.TrimSpace(line))).Msg("http server cannot accept connections")
	}
	return len(line), nil
}
