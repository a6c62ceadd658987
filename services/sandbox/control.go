package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// controlRoutes are the ground truth and the strings to pull. They want the token as a bearer.
func (s *Sandbox) controlRoutes(mux *http.ServeMux) {
	guard := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, req *http.Request) {
			if !s.trusted(req) {
				w.Header().Set("WWW-Authenticate", "Bearer")
				http.Error(w, "give the sandbox's token as a bearer token", http.StatusUnauthorized)
				return
			}
			h(w, req)
		}
	}
	mux.HandleFunc("GET /sandbox/truth", guard(func(w http.ResponseWriter, _ *http.Request) { reply(w, s.Truth()) }))
	mux.HandleFunc("GET /sandbox/truth/notices", guard(s.streamNotices))
	mux.HandleFunc("GET /sandbox/truth/first", guard(func(w http.ResponseWriter, _ *http.Request) { reply(w, s.first()) }))
	mux.HandleFunc("GET /sandbox/team", guard(func(w http.ResponseWriter, _ *http.Request) { reply(w, s.TeamPosts()) }))
	mux.HandleFunc("GET /sandbox/faults", guard(func(w http.ResponseWriter, _ *http.Request) { reply(w, *s.faults.plan.Load()) }))
	mux.HandleFunc("POST /sandbox/faults", guard(s.postFaults))
	mux.HandleFunc("POST /sandbox/suppressed", guard(s.postSuppressed))
	mux.HandleFunc("GET /sandbox/receipts", guard(func(w http.ResponseWriter, _ *http.Request) { reply(w, s.plan.Load().Receipts) }))
	mux.HandleFunc("POST /sandbox/receipts", guard(s.postReceipts))
	mux.HandleFunc("GET /sandbox/hooks", guard(func(w http.ResponseWriter, _ *http.Request) {
		reply(w, consoleHooks{Hooks: *s.hooks.Load(), PublicKey: s.publicKey})
	}))
	mux.HandleFunc("POST /sandbox/hooks", guard(s.postHooks))
	mux.HandleFunc("POST /sandbox/reply", guard(s.postReply))
}

// trusted reports whether a request has the token. Only the pages take it in another form.
func (s *Sandbox) trusted(req *http.Request) bool {
	return sameSecret(req.Header.Get("Authorization"), s.token)
}

// Truth returns what really happened so far.
func (s *Sandbox) Truth() Truth {
	var t Truth
	s.sms.mu.Lock()
	t.SMS = s.sms.truth()
	t.SMS.People = uint64(s.sms.phones.n)
	t.SMS.TextsKept = true
	t.SMS.OptedOut = s.sms.stopped
	t.SMS.MemoryBytes += int64(s.sms.texts.n)*64 + int64(s.sms.phones.n)*16 + int64(len(s.sms.byNumber.slots))*8
	s.sms.mu.Unlock()

	s.mail.mu.Lock()
	t.Email = s.mail.truth()
	t.Email.People = uint64(s.mail.mailboxes.n)
	t.Email.OptedOut = s.mail.complained
	t.Email.TextsKept = s.mail.textRoom > 0
	t.Email.MemoryBytes += int64(s.mail.mails.n)*40 + int64(s.mail.mailboxes.n)*24 + int64(len(s.mail.byAddress.slots))*8
	s.mail.mu.Unlock()

	t.Duplicates = t.SMS.Duplicates + t.Email.Duplicates
	t.Receipts = s.courier.truth()
	return t
}

func (s *Sandbox) first() (f First) {
	s.sms.mu.Lock()
	if at := s.cfg.Clock.FromMachine(s.sms.register.first); !at.IsZero() {
		f.SMS = &at
	}
	s.sms.mu.Unlock()
	s.mail.mu.Lock()
	if at := s.cfg.Clock.FromMachine(s.mail.register.first); !at.IsZero() {
		f.Email = &at
	}
	s.mail.mu.Unlock()
	return f
}

// onCalendar is what is known of a message, with the calendar's time of it.
func (s *Sandbox) onCalendar(m taken) taken {
	m.at = s.cfg.Clock.FromMachine(time.Unix(0, m.at)).UnixNano()
	return m
}

// noticesAtATime bounds how long a reader of the truth keeps requests waiting.
const noticesAtATime = 2048

// streamNotices writes one line per notice and attempt: notice, attempt, accepted, dropped, refused, when and fate, tab-
// separated.
func (s *Sandbox) streamNotices(w http.ResponseWriter, req *http.Request) {
	prefix := []byte(req.URL.Query().Get("prefix"))
	var page func(b []byte, from uint32) ([]byte, uint32)
	switch req.URL.Query().Get("channel") {
	case "sms":
		c := s.sms
		page = func(b []byte, from uint32) ([]byte, uint32) {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.register.page(b, from, prefix, func(i uint32) taken { return s.onCalendar(c.texts.at(i).try()) })
		}
	case "email":
		m := s.mail
		page = func(b []byte, from uint32) ([]byte, uint32) {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.register.page(b, from, prefix, func(i uint32) taken { return s.onCalendar(m.try(i)) })
		}
	default:
		http.Error(w, "channel: give sms or email", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/tab-separated-values; charset=utf-8")
	var b []byte
	for next := uint32(0); next != none; {
		b, next = page(b[:0], next)
		if _, err := w.Write(b); err != nil {
			return // who has gone needs no answer
		}
	}
}

// page appends the lines of some notices and returns where the next page begins, or none.
func (r *register) page(b []byte, from uint32, prefix []byte, message func(uint32) taken) (lines []byte, next uint32) {
	end := min(from+noticesAtATime, r.notices.n)
	var list []attempts
	for i := from; i < end; i++ {
		if key := r.key(i); bytes.HasPrefix(key, prefix) {
			list = r.tries(i, list, message)
			b = appendTries(b, key, list)
		}
	}
	if end == r.notices.n {
		end = none
	}
	return b, end
}

// maxControlBytes bounds a control request; suppression lists are the longest.
const maxControlBytes = 64 << 20

func decodeStrict(w http.ResponseWriter, req *http.Request, into any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, req.Body, maxControlBytes))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("read JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("read JSON: something follows the object")
	}
	return nil
}

func (s *Sandbox) postFaults(w http.ResponseWriter, req *http.Request) {
	var f Faults
	err := decodeStrict(w, req, &f)
	if err == nil {
		err = s.SetFaults(f)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	reply(w, *s.faults.plan.Load())
}

// consoleHooks is what the providers' consoles show.
type consoleHooks struct {
	Hooks
	PublicKey string `json:"sendgrid_public_key"`
}

func (s *Sandbox) postReceipts(w http.ResponseWriter, req *http.Request) {
	var r Receipts
	err := decodeStrict(w, req, &r)
	if err == nil {
		err = s.SetReceipts(r)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	reply(w, s.plan.Load().Receipts)
}

func (s *Sandbox) postHooks(w http.ResponseWriter, req *http.Request) {
	var h Hooks
	err := decodeStrict(w, req, &h)
	if err == nil {
		err = s.SetHooks(h)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// SetFaults replaces the faults from the next request on.
func (s *Sandbox) SetFaults(f Faults) error {
	if err := f.Validate(); err != nil {
		return err
	}
	s.faults.set(f)
	return nil
}

// Suppressed is who gets nothing any more: mail to these addresses is accepted and dropped, SMS to these numbers is
// refused with 21610.
type Suppressed struct {
	Emails []string `json:"emails"`
	Phones []string `json:"phones"`
}

func (s *Sandbox) postSuppressed(w http.ResponseWriter, req *http.Request) {
	var list Suppressed
	if err := decodeStrict(w, req, &list); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	numbers := make([]uint64, len(list.Phones))
	for i, p := range list.Phones {
		var ok bool
		if numbers[i], ok = parseE164([]byte(p)); !ok {
			http.Error(w, fmt.Sprintf("phones[%d] is no number in E.164 form", i), http.StatusBadRequest)
			return
		}
	}
	s.sms.mu.Lock()
	for _, n := range numbers {
		if _, out := s.sms.optedOut[n]; !out {
			s.sms.optedOut[n] = false
		}
	}
	s.sms.mu.Unlock()
	s.mail.mu.Lock()
	for _, a := range list.Emails {
		s.mail.suppressed[strings.ToLower(a)] = ""
	}
	s.mail.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

func reply(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeJSON(w, http.StatusOK, append(b, '\n'))
}
