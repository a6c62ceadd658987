package sandbox

import (
	"bytes"
	"embed"
	"html/template"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"candor/pkg/clock"
)

//go:embed page
var pageFiles embed.FS

const (
	rowsPerPage  = 40
	pagePolicy   = "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src data:; frame-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
	letterPolicy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
	pageTime     = "2 Jan 15:04:05"
)

// pages shows the phones and mailboxes as their owners see them.
type pages struct {
	*Sandbox
	templates *template.Template
	cookie    string
}

// pageRoutes are for people. The token comes once as ?token= and lives on in a cookie, or as a bearer.
func (s *Sandbox) pageRoutes(mux *http.ServeMux) {
	// Cookies do not know ports, and two sandboxes may run on one machine.
	_, port, _ := net.SplitHostPort(s.listener.Addr().String()) // a listener's address always has one
	p := &pages{Sandbox: s, cookie: "candor_sandbox_" + port}
	p.templates = template.Must(template.New("").Funcs(template.FuncMap{"count": countText}).ParseFS(pageFiles, "page/*.html"))
	mux.HandleFunc("GET /{$}", p.guard(p.home))
	mux.HandleFunc("GET /phones/{phone}", p.guard(p.phone))
	mux.HandleFunc("GET /mailboxes/{mailbox}", p.guard(p.mailbox))
	mux.HandleFunc("GET /mails/{mail}", p.guard(p.letter))
	mux.HandleFunc("GET /team", p.guard(p.teamPage))
	mux.Handle("POST /phones/{phone}/reply", http.NewCrossOriginProtection().Handler(p.guard(p.textBack)))
	mux.Handle("POST /faults", http.NewCrossOriginProtection().Handler(p.guard(p.setFaults)))
	mux.HandleFunc("GET /style.css", func(w http.ResponseWriter, req *http.Request) {
		http.ServeFileFS(w, req, pageFiles, "page/style.css")
	})
}

func (p *pages) guard(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if token := req.URL.Query().Get("token"); token != "" && req.Method == http.MethodGet && sameSecret("Bearer "+token, p.token) {
			http.SetCookie(w, &http.Cookie{Name: p.cookie, Value: token, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}) //nolint:gosec // not Secure: localhost has no TLS
			q := req.URL.Query()
			q.Del("token")
			http.Redirect(w, req, (&url.URL{Path: req.URL.Path, RawQuery: q.Encode()}).String(), http.StatusSeeOther)
			return
		}
		cookie, err := req.Cookie(p.cookie)
		if !p.trusted(req) && (err != nil || !sameSecret("Bearer "+cookie.Value, p.token)) {
			http.Error(w, "Open the address with ?token=… that the sandbox's start printed.", http.StatusUnauthorized)
			return
		}
		h(w, req)
	}
}

func (p *pages) show(w http.ResponseWriter, name string, data any) {
	var b bytes.Buffer
	if err := p.templates.ExecuteTemplate(&b, name, data); err != nil {
		http.Error(w, "the page does not render", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Security-Policy", pagePolicy)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes()) // who has gone needs no answer
}

type row struct {
	Link, Who, At, Preview string
	Count                  uint32
}

type list struct {
	Name        string
	Rows        []row
	First, Next string
}

type faultRow struct {
	Name, Meaning string
	SMS, Email    float64
}

var faultMeanings = [faultKinds]string{
	faultRateLimited: "429 with Retry-After", faultServerError: "500 or 503 with HTML, nothing taken", faultServerErrorKept: "500 or 503 with HTML, but taken",
	faultAnswerLost: "taken, connection closed without an answer", faultReset: "connection reset, nothing taken", faultSlow: "taken, answered late",
	faultRedirect: "307, nothing taken", faultNoID: "taken, answer without an id", faultLateTail: "429 whose body ends late",
	faultStall: "never answered, nothing taken", faultStallKept: "never answered, but taken",
}

func (p *pages) home(w http.ResponseWriter, req *http.Request) {
	q := req.URL.Query()
	query := strings.TrimSpace(q.Get("q"))
	truth, plan, receipts := p.Truth(), *p.faults.plan.Load(), p.Sandbox.plan.Load().Enabled
	type channelCard struct {
		Name, People string
		Truth        ChannelTruth
		Receipts     bool
	}
	data := struct {
		Title, Query string
		Truth        Truth
		Channels     []channelCard
		Lists        []list
		Faults       []faultRow
		FaultsOn     bool
		ReceiptsOn   bool
		PublicKey    string
		Seed         uint64
	}{
		Title: "Phones and mailboxes", Query: query, Truth: truth,
		Channels: []channelCard{{"SMS", "phones", truth.SMS, receipts}, {"E-mail", "mailboxes", truth.Email, receipts}},
		Seed:     plan.Seed,

		ReceiptsOn: receipts, PublicKey: p.publicKey,
	}
	phones := list{Name: "Phones"}
	mailboxes := list{Name: "Mailboxes"}
	var next uint32
	phones.Rows, next = p.sms.search(cursor(q, "phones"), newNeedle(query))
	phones.First, phones.Next = paging(q, "phones", next)
	mailboxes.Rows, next = p.mail.search(cursor(q, "mailboxes"), newNeedle(query))
	mailboxes.First, mailboxes.Next = paging(q, "mailboxes", next)
	data.Lists = []list{phones, mailboxes, p.teamList()}
	for k := faultNone + 1; k < faultKinds; k++ {
		f := faultRow{Name: k.String(), Meaning: faultMeanings[k], SMS: *plan.SMS.rate(k), Email: *plan.Email.rate(k)}
		data.FaultsOn = data.FaultsOn || f.SMS+f.Email > 0
		data.Faults = append(data.Faults, f)
	}
	p.show(w, "home", data)
}

// cursor is the position that a list goes on from, exclusive; none is the newest.
func cursor(q url.Values, name string) uint32 {
	n, err := strconv.ParseUint(q.Get(name), 10, 32)
	if err != nil {
		return none
	}
	return uint32(n)
}

// paging returns the links to the first and the next page of one list; the other list stays where it is.
func paging(q url.Values, name string, next uint32) (first, older string) {
	link := func(value string) string {
		v := url.Values{}
		for key := range q {
			v.Set(key, q.Get(key))
		}
		v.Del(name)
		if value != "" {
			v.Set(name, value)
		}
		return "/?" + v.Encode()
	}
	if q.Has(name) {
		first = link("")
	}
	if next != none {
		older = link(strconv.FormatUint(uint64(next), 10))
	}
	return first, older
}

// needle is what somebody looks for.
type needle struct {
	any            bool // nothing in particular
	digits         []byte
	folded         []byte
	exact, shouted []byte
}

func newNeedle(query string) needle {
	n := needle{any: query == "", folded: []byte(strings.ToLower(query)), exact: []byte(query), shouted: []byte(strings.ToUpper(query))}
	n.digits = []byte(strings.NewReplacer(" ", "", "+", "", "-", "", "(", "", ")", "").Replace(query))
	return n
}

func (n *needle) in(text []byte) bool {
	return bytes.Contains(text, n.exact) || bytes.Contains(text, n.shouted)
}

// scannedAtATime bounds how long a search keeps requests waiting.
const scannedAtATime = 1024

// search returns a page of the phones before a position, newest first, and the position that the next page goes on from.
func (c *carrier) search(before uint32, want needle) (rows []row, next uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b []byte
	var seen int
	for i := min(before, c.phones.n); i > 0; seen++ {
		i--
		if seen%scannedAtATime == scannedAtATime-1 {
			c.mu.Unlock()
			c.mu.Lock() //nolint:staticcheck // lets others in
		}
		ph := c.phones.at(i)
		b = strconv.AppendUint(append(b[:0], '+'), ph.number, 10)
		hit := want.any || len(want.digits) > 0 && bytes.Contains(b[1:], want.digits)
		for m := ph.last; !hit && m != none; m = c.texts.at(m).before {
			b = c.body(b[:0], c.texts.at(m))
			hit = want.in(b)
		}
		if !hit {
			continue
		}
		if len(rows) == rowsPerPage {
			return rows, i + 1
		}
		last := c.texts.at(ph.last) // nobody becomes a phone without a text
		rows = append(rows, row{
			Link: "/phones/" + strconv.FormatUint(uint64(i), 10), Who: numberText(ph.number), At: shown(c.clock, last.at),
			Preview: string(c.body(nil, last)), Count: ph.count,
		})
	}
	return rows, none
}

// search returns a page of the mailboxes before a position, newest first, and the position that the next page goes on from.
func (m *mailroom) search(before uint32, want needle) (rows []row, next uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	letters := map[uint32]bool{} // whether the text that many share has it
	var seen int
	for i := min(before, m.mailboxes.n); i > 0; seen++ {
		i--
		if seen%scannedAtATime == scannedAtATime-1 {
			m.mu.Unlock()
			m.mu.Lock() //nolint:staticcheck // lets others in
		}
		box := m.mailboxes.at(i)
		hit := want.any || bytes.Contains(m.address(i), want.folded)
		for e := box.last; !hit && e != none; e = m.mails.at(e).before {
			hit = m.mentions(m.mails.at(e), &want, letters)
		}
		if !hit {
			continue
		}
		if len(rows) == rowsPerPage {
			return rows, i + 1
		}
		last := m.mails.at(box.last)
		_, subject, _ := m.letters[m.mailings.at(last.mailing).letter].read(m.values(last))
		rows = append(rows, row{
			Link: "/mailboxes/" + strconv.FormatUint(uint64(i), 10), Who: string(m.address(i)), At: shown(m.clock, m.mailings.at(last.mailing).at),
			Preview: subject, Count: box.count,
		})
	}
	return rows, none
}

// mentions reports whether a mail's own values or the text that it shares with others have what is looked for.
func (m *mailroom) mentions(e *mail, want *needle, letters map[uint32]bool) bool {
	rest := m.memory.from(e.data)[e.idLen:]
	for names := []byte(m.tags.strings[e.tags]); len(names) > 0; {
		var value []byte
		_, names = cutSized(names)
		value, rest = cutSized(rest)
		if want.in(value) {
			return true
		}
	}
	number := m.mailings.at(e.mailing).letter
	found, known := letters[number]
	if !known {
		l := &m.letters[number]
		found = want.in([]byte(l.Subject))
		for _, part := range l.Parts {
			found = found || want.in([]byte(part.Value))
		}
		letters[number] = found
	}
	return found
}

// position reads a position below n out of a path.
func position(s string, n uint32) (uint32, bool) {
	i, err := strconv.ParseUint(s, 10, 32)
	return uint32(i), err == nil && i < uint64(n)
}

func (p *pages) setFaults(w http.ResponseWriter, req *http.Request) {
	f := *p.faults.plan.Load()
	off := req.PostFormValue("off") != ""
	for k := faultNone + 1; k < faultKinds; k++ {
		for name, rate := range map[string]*float64{"sms": f.SMS.rate(k), "email": f.Email.rate(k)} {
			*rate = 0
			if off {
				continue
			}
			v, err := strconv.ParseFloat(req.PostFormValue(name+"."+k.String()), 64)
			if err != nil {
				http.Error(w, name+"."+k.String()+": give a share from 0 to 1", http.StatusBadRequest)
				return
			}
			*rate = v
		}
	}
	if seed, err := strconv.ParseUint(req.PostFormValue("seed"), 10, 64); err == nil {
		f.Seed = seed
	}
	if err := p.SetFaults(f); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	http.Redirect(w, req, "/#faults", http.StatusSeeOther)
}

func shown(c clock.Clock, unixNano int64) string {
	return c.FromMachine(time.Unix(0, unixNano)).Format(pageTime)
}

func numberText(n uint64) string { return "+" + strconv.FormatUint(n, 10) }

func addressText(name, address string) string {
	if name == "" {
		return address
	}
	return name + " <" + address + ">"
}

// countText writes a number with thin gaps between the thousands.
func countText(v any) string {
	var s string
	switch v := v.(type) {
	case uint64:
		s = strconv.FormatUint(v, 10)
	case uint32:
		s = strconv.FormatUint(uint64(v), 10)
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}
