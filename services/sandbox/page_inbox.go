package sandbox

import (
	"cmp"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
)

// messagesPerPage bounds a phone's and a mailbox's page.
const messagesPerPage = 50

// bubble is one text of a conversation.
type bubble struct {
	Text, From, At, Encoding, Status string
	Segments                         int  // 0 for what is no notice
	Own                              bool // the phone's
	Bad                              bool // the phone never got it
	at                               int64
}

func (p *pages) phone(w http.ResponseWriter, req *http.Request) {
	data := struct {
		Title, Query, Number, Older, Reply string
		Count                              uint32
		OptedOut, Problem                  bool
		Words                              []string
		Bubbles                            []bubble
	}{Words: []string{optOut, optIn, askHelp, "CALL"}, Problem: req.URL.Query().Has("problem")}
	c, now := p.sms, p.now()
	c.mu.Lock()
	i, ok := position(req.PathValue("phone"), c.phones.n)
	if !ok {
		c.mu.Unlock()
		http.NotFound(w, req)
		return
	}
	ph := c.phones.at(i)
	data.Number, data.Count = numberText(ph.number), ph.count
	data.Title, data.Reply = data.Number, "/phones/"+strconv.FormatUint(uint64(i), 10)+"/reply"
	_, data.OptedOut = c.optedOut[ph.number]
	m, until := ph.last, int64(math.MaxInt64)
	if from, ok := position(req.URL.Query().Get("from"), c.texts.n); ok && c.texts.at(from).phone == i {
		m, until = from, c.texts.at(from).at
	}
	since := int64(0)
	for ; m != none; m = c.texts.at(m).before {
		if len(data.Bubbles) == messagesPerPage {
			data.Older = "?from=" + strconv.FormatUint(uint64(m), 10)
			since = c.texts.at(m).at
			break
		}
		t := c.texts.at(m)
		from := c.senders[t.sender]
		b := bubble{Text: string(c.body(nil, t)), From: from.from + from.service, At: shown(c.clock, t.at), Encoding: "GSM-7", Segments: int(t.segments), at: t.at}
		var code int
		b.Status, _, code = t.state(now, from.service != "")
		if b.Bad = code != 0; b.Bad {
			b.Status += " (" + strconv.Itoa(code) + ": " + lookUpCode(uint16(code)).words + ")" //nolint:gosec // a code has five digits
		}
		if t.flags&textUCS2 != 0 {
			b.Encoding = "UCS-2"
		}
		data.Bubbles = append(data.Bubbles, b)
	}
	for _, s := range slices.Backward(c.talks[ph.number]) {
		if since < s.at && s.at <= until {
			data.Bubbles = append(data.Bubbles, bubble{Text: s.text, From: s.from, At: shown(c.clock, s.at), Own: s.own, at: s.at})
		}
	}
	c.mu.Unlock()
	slices.SortStableFunc(data.Bubbles, func(a, b bubble) int { return cmp.Compare(b.at, a.at) })
	p.show(w, "phone", data)
}

// textBack is the form on a phone's page.
func (p *pages) textBack(w http.ResponseWriter, req *http.Request) {
	p.sms.mu.Lock()
	i, ok := position(req.PathValue("phone"), p.sms.phones.n)
	var number uint64
	if ok {
		number = p.sms.phones.at(i).number
	}
	p.sms.mu.Unlock()
	if !ok {
		http.NotFound(w, req)
		return
	}
	req.Body = http.MaxBytesReader(w, req.Body, int64(maxTextFormBytes))
	back := "/phones/" + strconv.FormatUint(uint64(i), 10)
	switch err := p.Sandbox.textBack(req.Context(), number, req.PostFormValue("text")); {
	case errors.Is(err, errNoWords):
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	case err != nil:
		back += "?problem"
	}
	http.Redirect(w, req, back+"#conversation", http.StatusSeeOther)
}

// openMail is one mail as its reader has it before them.
type openMail struct {
	Subject, From, To, ReplyTo, At, HTML string
	Parts                                []letterPart
	State                                string
	Bad                                  bool // its owner never saw it
	TextsGone                            bool
}

// open reads a mail. The caller holds the mailroom's lock.
func (m *mailroom) open(i uint32) openMail {
	e := m.mails.at(i)
	sent := m.mailings.at(e.mailing)
	l := &m.letters[sent.letter]
	o := openMail{At: shown(m.clock, sent.at), ReplyTo: l.ReplyTo, TextsGone: sent.letter == 0}
	o.State, o.Bad = m.stateText(e)
	var name string
	name, o.Subject, o.Parts = l.read(m.values(e))
	if o.Subject == "" {
		o.Subject = "(no subject here)"
	}
	if l.TemplateID != "" {
		o.Parts = append(o.Parts, letterPart{Type: "template", Value: l.TemplateID + " (a template of the account's own, which the sandbox does not have)"})
	}
	o.From, o.To = addressText(l.FromName, l.From), addressText(name, string(m.address(e.mailbox)))
	for _, part := range o.Parts {
		if part.Type == "text/html" {
			o.HTML = "/mails/" + strconv.FormatUint(uint64(i), 10)
		}
	}
	return o
}

// stateText says how far a mail has come and, where it did not arrive, why.
func (m *mailroom) stateText(e *mail) (state string, bad bool) {
	if e.flags&mailDropped != 0 {
		why := m.reason(m.address(e.mailbox))
		return "Dropped: the address is on the suppression list (" + why + "). Its owner never saw this.", true
	}
	switch e.phase {
	case phaseBounced:
		return "Bounced: " + noSuchMailbox + " Nobody ever saw this.", true
	case phaseBlocked:
		return "Blocked: " + mailRefused + " Its owner never saw this.", true
	case phaseDeferred:
		return "Deferred: " + tryLater + " SendGrid tries again.", false
	case phaseSpam:
		return "Delivered, and reported as spam: further mail to this address is dropped.", false
	case phaseDelivered:
		return "Delivered", false
	case phaseSent:
		return "Processed, on its way", false
	default:
		return "Accepted", false
	}
}

// fateWord is one word for a list.
func fateWord(e *mail) string {
	switch {
	case e.fate() == fateBounce:
		return "bounced"
	case e.fate() != "":
		return e.fate()
	case e.phase == phaseDeferred:
		return "deferred"
	case e.phase == phaseSent:
		return "processed"
	default:
		return "accepted"
	}
}

func (p *pages) mailbox(w http.ResponseWriter, req *http.Request) {
	type entry struct {
		Link, Subject, From, At, State string
		Open, Bad                      bool
	}
	data := struct {
		Title, Query, Address, Older string
		Mails                        []entry
		Mail                         openMail
	}{}
	m := p.mail
	m.mu.Lock()
	i, ok := position(req.PathValue("mailbox"), m.mailboxes.n)
	if !ok {
		m.mu.Unlock()
		http.NotFound(w, req)
		return
	}
	mine := func(name string, otherwise uint32) uint32 {
		if k, ok := position(req.URL.Query().Get(name), m.mails.n); ok && m.mails.at(k).mailbox == i {
			return k
		}
		return otherwise
	}
	data.Address = string(m.address(i))
	data.Title = data.Address
	from := mine("from", m.mailboxes.at(i).last)
	opened := mine("mail", from)
	data.Mail = m.open(opened)
	for k := from; k != none; k = m.mails.at(k).before {
		if len(data.Mails) == messagesPerPage {
			data.Older = "?from=" + strconv.FormatUint(uint64(k), 10)
			break
		}
		o := m.open(k)
		data.Mails = append(data.Mails, entry{
			Link:    "?from=" + strconv.FormatUint(uint64(from), 10) + "&mail=" + strconv.FormatUint(uint64(k), 10),
			Subject: o.Subject, From: o.From, At: o.At, Open: k == opened, State: fateWord(m.mails.at(k)), Bad: o.Bad,
		})
	}
	m.mu.Unlock()
	p.show(w, "mailbox", data)
}

// letter is the HTML of a mail, for a frame in which nothing runs and nothing is fetched.
func (p *pages) letter(w http.ResponseWriter, req *http.Request) {
	m := p.mail
	m.mu.Lock()
	i, ok := position(req.PathValue("mail"), m.mails.n)
	var o openMail
	if ok {
		o = m.open(i)
	}
	m.mu.Unlock()
	for _, part := range o.Parts {
		if part.Type == "text/html" {
			w.Header().Set("Content-Security-Policy", letterPolicy)
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = w.Write([]byte(part.Value)) // who has gone needs no answer
			return
		}
	}
	http.NotFound(w, req)
}
