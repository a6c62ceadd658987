package sandbox

import (
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// listMessages is GET /2010-04-01/Accounts/{sid}/Messages.json, newest first.
func (s *Sandbox) listMessages(w http.ResponseWriter, req *http.Request) {
	if e := s.twilioAccess(req); e != nil {
		writeTwilioError(w, e)
		return
	}
	q, err := url.ParseQuery(req.URL.RawQuery)
	if err != nil {
		writeTwilioError(w, errBadParameter)
		return
	}
	size, page := 50, 0
	if v := q.Get("PageSize"); v != "" {
		if size, err = strconv.Atoi(v); err != nil || size < 1 {
			writeTwilioError(w, errBadParameter)
			return
		}
		size = min(size, 1000)
	}
	if v := q.Get("Page"); v != "" {
		if page, err = strconv.Atoi(v); err != nil || page < 0 {
			writeTwilioError(w, errBadParameter)
			return
		}
	}
	want, ok := newFilter(q)
	if !ok {
		writeTwilioError(w, errBadParameter)
		return
	}
	found, more, ok := s.find(want, q.Get("PageToken"), size)
	if !ok {
		writeTwilioError(w, errBadParameter)
		return
	}

	self := req.URL.Path
	uri := func(page int, token string) string {
		v := url.Values{"PageSize": {strconv.Itoa(size)}, "Page": {strconv.Itoa(page)}}
		for _, key := range []string{"To", "From", "DateSent", "DateSent<", "DateSent>"} {
			if q.Has(key) {
				v.Set(key, q.Get(key))
			}
		}
		if token != "" {
			v.Set("PageToken", token)
		}
		return self + "?" + v.Encode()
	}
	b := append(make([]byte, 0, 1024), `{"messages":[`...)
	now := s.now()
	s.sms.mu.Lock()
	for i, position := range found {
		if i > 0 {
			b = append(b, ',')
		}
		b = s.appendMessage(b, position, now, false)
	}
	s.sms.mu.Unlock()
	b = appendJSON(append(b, `],"first_page_uri":`...), uri(0, ""))
	b = append(b, `,"previous_page_uri":null,"next_page_uri":`...)
	if more {
		b = appendJSON(b, uri(page+1, string(appendSID([]byte("PA"), s.ids, found[len(found)-1]))))
	} else {
		b = append(b, "null"...)
	}
	b = strconv.AppendInt(append(b, `,"page":`...), int64(page), 10)
	b = strconv.AppendInt(append(b, `,"page_size":`...), int64(size), 10)
	b = strconv.AppendInt(append(b, `,"start":`...), int64(page*size), 10)
	b = strconv.AppendInt(append(b, `,"end":`...), int64(page*size+max(len(found)-1, 0)), 10)
	b = appendJSON(append(b, `,"uri":`...), uri(page, q.Get("PageToken")))
	s.wait(req, s.cfg.Twilio.Latency)
	writeJSON(w, http.StatusOK, append(b, '}'))
}

// filter is what a list is asked for. Days are whole days of GMT, as Twilio promises no more than these.
type filter struct {
	to            uint64
	from          string
	after, before time.Time // date_sent in [after, before)
}

func newFilter(q url.Values) (f filter, ok bool) {
	if v := q.Get("To"); v != "" {
		if f.to, ok = parseE164([]byte(v)); !ok {
			return f, false
		}
	}
	f.from = q.Get("From")
	for _, key := range []string{"DateSent", "DateSent>", "DateSent<"} {
		v := q.Get(key)
		if v == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, v)
		if err != nil {
			if at, err = time.Parse(time.DateOnly, v); err != nil {
				return f, false
			}
		}
		day := at.UTC().Truncate(24 * time.Hour)
		if key != "DateSent<" {
			f.after = day
		}
		if key != "DateSent>" {
			f.before = day.AddDate(0, 0, 1)
		}
	}
	return f, true
}

// match reports whether a message is in the list now.
func (s *Sandbox) match(f *filter, m *text, now time.Time) bool {
	from := &s.sms.senders[m.sender]
	if f.from != "" && f.from != from.from || now.UnixNano()-m.at < int64(s.cfg.Twilio.ListLag) {
		return false
	}
	if f.after.IsZero() && f.before.IsZero() {
		return true
	}
	_, sentAt, _ := m.state(now, from.service != "")
	return !sentAt.IsZero() && !sentAt.Before(f.after) && (f.before.IsZero() || sentAt.Before(f.before))
}

// find returns up to size messages behind a page token, newest first, and whether there are more.
func (s *Sandbox) find(f filter, token string, size int) (found []uint32, more, ok bool) {
	c, now := s.sms, s.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	// The next one back: of all messages, or of the phone asked for.
	at := c.texts.n - 1 // wraps to none when there are none
	step := func(i uint32) uint32 { return i - 1 }
	if f.to != 0 {
		step = func(i uint32) uint32 { return c.texts.at(i).before }
		at = none
		if i, known := c.findPhone(f.to); known {
			at = c.phones.at(i).last
		}
	}
	if token != "" {
		last, valid := c.position(trimToken(token))
		if !valid {
			return nil, false, false
		}
		at = step(last)
	}
	for ; at != none; at = step(at) {
		if !s.match(&f, c.texts.at(at), now) {
			continue
		}
		if len(found) == size {
			return found, true, true
		}
		found = append(found, at)
	}
	return found, false, true
}

func trimToken(token string) string {
	if len(token) > 2 && token[:2] == "PA" {
		return token[2:]
	}
	return ""
}

// fetchMessage is GET /2010-04-01/Accounts/{sid}/Messages/{message}, which ends in .json.
func (s *Sandbox) fetchMessage(w http.ResponseWriter, req *http.Request) {
	if e := s.twilioAccess(req); e != nil {
		writeTwilioError(w, e)
		return
	}
	name := req.PathValue("message")
	if len(name) < 5 || name[len(name)-5:] != ".json" {
		writeTwilioError(w, errNotFound)
		return
	}
	now := s.now()
	s.sms.mu.Lock()
	position, ok := s.sms.position(name[:len(name)-5])
	var b []byte
	if ok {
		b = s.appendMessage(nil, position, now, false)
	}
	s.sms.mu.Unlock()
	if !ok {
		writeTwilioError(w, errNotFound)
		return
	}
	s.wait(req, s.cfg.Twilio.Latency)
	writeJSON(w, http.StatusOK, b)
}
