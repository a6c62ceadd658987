package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"mime/quotedprintable"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unicode/utf16"

	"connectrpc.com/connect"
	"github.com/rs/zerolog"

	"candor/pkg/pagestore"
	"candor/pkg/rpc/candorv1connect"
	"candor/pkg/topology"
	"candor/pkg/vault"
	candorv1 "candor/proto/candor/v1"
	"candor/services/bench"
)

// snare finds words in bytes, however they are written there.
type snare struct{ byHead map[uint64][]needle }

type needle struct {
	what string
	text []byte
}

// headBytes of a needle are looked up at every place.
const headBytes = 6

func (s *snare) add(what string, text []byte) {
	if len(text) < headBytes {
		panic(what + " is too short to be told from noise")
	}
	k := head(text)
	s.byHead[k] = append(s.byHead[k], needle{what, text})
}

func head(b []byte) uint64 {
	return uint64(binary.LittleEndian.Uint32(b)) | uint64(binary.LittleEndian.Uint16(b[4:]))<<32
}

// in returns what is found in b.
func (s *snare) in(b []byte) (found []string) {
	seen := map[string]bool{}
	for i := 0; i+headBytes <= len(b); i++ {
		for _, n := range s.byHead[head(b[i:])] {
			if !seen[n.what] && bytes.HasPrefix(b[i:], n.text) {
				seen[n.what] = true
				found = append(found, n.what)
			}
		}
	}
	return found
}

// newSnare lays out every word in every way of writing it that we know of.
func newSnare(words []string) *snare {
	s := &snare{byHead: map[uint64][]needle{}}
	for _, w := range words {
		for way, text := range writings(w) {
			s.add(way+" of "+w, text)
		}
	}
	return s
}

func writings(w string) map[string][]byte {
	ways := map[string][]byte{
		"plain": []byte(w), "lower case": []byte(strings.ToLower(w)), "upper case": []byte(strings.ToUpper(w)),
		"hex": []byte(hex.EncodeToString([]byte(w))), "HEX": []byte(strings.ToUpper(hex.EncodeToString([]byte(w)))),
		"query": []byte(url.QueryEscape(w)), "path": []byte(url.PathEscape(w)), "html": []byte(html.EscapeString(w)),
	}
	if b, err := json.Marshal(w); err == nil {
		ways["json"] = b[1 : len(b)-1]
	}
	var ascii, utf16le []byte
	for _, u := range utf16.Encode([]rune(w)) {
		utf16le = binary.LittleEndian.AppendUint16(utf16le, u)
		if u < 0x80 {
			ascii = append(ascii, byte(u))
		} else {
			ascii = fmt.Appendf(ascii, `\u%04x`, u)
		}
	}
	ways["ascii json"], ways["utf-16"] = ascii, utf16le
	var qp bytes.Buffer
	q := quotedprintable.NewWriter(&qp)
	_, _ = io.WriteString(q, w)
	_ = q.Close()
	ways["quoted-printable"] = qp.Bytes()
	// In base64 a word looks different at each of three places, and its edges depend on its neighbours.
	for shift := range 3 {
		raw := append(make([]byte, shift), w...)
		from, to := (shift*4+2)/3, len(raw)/3*4
		for name, enc := range map[string]*base64.Encoding{"base64": base64.StdEncoding, "base64url": base64.URLEncoding} {
			ways[fmt.Sprintf("%s %d", name, shift)] = []byte(enc.EncodeToString(raw)[from:to])
		}
	}
	return ways
}

func TestTheSnareCatches(t *testing.T) {
	t.Parallel()
	const word = "Zóë Quillfeather"
	s := newSnare([]string{word})
	if found := s.in([]byte("nothing of it: Zoe Quillfeat her")); len(found) > 0 {
		t.Errorf("found %v in nothing", found)
	}
	for way, text := range writings(word) {
		if len(s.in([]byte("…"+string(text)+"…"))) == 0 {
			t.Errorf("%s is not found", way)
		}
	}
	for _, before := range []string{"", "a", "ab", "abc"} {
		if len(s.in([]byte(base64.StdEncoding.EncodeToString([]byte(before+word+" and more"))))) == 0 {
			t.Errorf("base64 after %q is not found", before)
		}
	}
}

// canaries are people whose data are found wherever they are.
type canaries struct {
	roster string
	words  []string
}

func newCanaries(n int) canaries {
	c := canaries{roster: "customer_ref,given_name,family_name,email,phone,phone2,language,country,postal_code,tier,data_exposed\n"}
	for i := range n {
		mark := string(rune('a'+i/26)) + string(rune('a'+i%26))
		given, family := "Zyrövin"+mark+"ka", "O'Quillfeather-"+mark+"ño"
		mail := "tweet.canary-" + mark + "@birdcage-" + mark + ".example"
		area := []string{"415", "212", "312", "305"}[i%4]
		line := fmt.Sprintf("%04d", 100+i)
		first, second := "+1"+area+"555"+line, "+1503555"+line
		lang := []string{"en", "es"}[i%2]
		c.roster += fmt.Sprintf("REF-%03d,%s,%s,%s,%s,%s,%s,US,CANPOST%s,1,name|email_address\n", i, given, family, mail, first, second, lang, mark)
		c.words = append(c.words, given, family, given+" "+family, mail, "birdcage-"+mark, "CANPOST"+mark, first[1:], second[1:], first[2:],
			fmt.Sprintf("(%s) 555-%s", area, line), fmt.Sprintf("%s-555-%s", area, line))
	}
	// Rows that are rejected, and one whose cells are mixed up.
	c.roster += "REF-900,Nobodyreachesme,Rejectfamily,not an address of rejectperson,123rejectnumber456,,en,US,CANPOSTrej,1,name\n"
	c.words = append(c.words, "Nobodyreachesme", "Rejectfamily", "rejectperson", "123rejectnumber", "CANPOSTrej")
	return c
}

// gossip is a pair of providers whose errors repeat whom they are about, in front of the real sandbox.
func gossip(t *testing.T, target string) string {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	proxy := httputil.NewSingleHostReverseProxy(u)
	proxy.Transport = tr
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) } // as the sandbox hung up
	proxy.ErrorLog = quiet()
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if r.Method != http.MethodPost {
			proxy.ServeHTTP(w, r)
			return
		}
		form, _ := url.ParseQuery(string(body))
		to := form.Get("To")
		if to == "" { // an e-mail: the whole request is what it repeats
			to = string(body)
		}
		status := [...]int{0, http.StatusBadRequest, 0, http.StatusInternalServerError, 0, http.StatusTooManyRequests, 0, http.StatusNotFound}[n.Add(1)%8]
		if status == 0 {
			proxy.ServeHTTP(w, r)
			return
		}
		answer, _ := json.Marshal(map[string]any{
			"code": 21211, "status": status, "message": "The 'To' number " + to + " is not a valid phone number", "more_info": to,
			"errors": []map[string]string{{"message": "Does not contain a valid address: " + to, "field": "personalizations.0.to.0.email"}},
		})
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Debug", url.QueryEscape(to[:min(len(to), 200)]))
		w.WriteHeader(status)
		_, _ = w.Write(answer) // who has gone needs no answer
	}))
	s.Config.ErrorLog = quiet()
	t.Cleanup(s.Close)
	return s.URL
}

// recorder keeps every answer.
type recorder struct {
	next http.RoundTripper

	mu      sync.Mutex
	answers map[string]*bytes.Buffer
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := r.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close() // read to its end
	res.Body = io.NopCloser(bytes.NewReader(body))
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.answers[req.URL.Path]
	if b == nil {
		b = &bytes.Buffer{}
		r.answers[req.URL.Path] = b
	}
	_ = res.Header.Write(b) // a buffer takes everything
	b.Write(body)
	return res, err
}

func TestNoCanaryIsFoundAnywhere(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.startSandbox("{listen: '127.0.0.1:0', twilio: {latency: 20ms}, faults: " +
		"{sms: {server_error: 0.1, answer_lost: 0.1, redirect: 0.05, no_id: 0.05}, email: {server_error: 0.1, answer_lost: 0.1}}}")
	s.settings["sms"] = "{request_timeout: 1s, visibility_lag: 0s, retry_first: 100ms, hold: 200ms}"
	s.settings["email"] = s.settings["sms"]
	s.provide(gossip(t, providerURL(t, s.settings["providers"])))
	s.settings["nats"] = "{listen: '127.0.0.1:0', free_space_mark: 1}"
	p := s.start("all")
	s.drive(p)
	birds := newCanaries(48)
	trap := newSnare(birds.words)
	if len(trap.in([]byte(birds.roster))) < len(birds.words) {
		t.Fatal("the trap does not find everybody in the file itself")
	}

	const id = "canary"
	commander := role(t, p.API, s.admin, "ornithologist", candorv1.Role_ROLE_COMMANDER)
	approver := role(t, p.API, s.admin, "second", candorv1.Role_ROLE_APPROVER)
	heard := &recorder{next: commander.Transport, answers: map[string]*bytes.Buffer{}}
	commander.Transport = heard
	ask := &asker{t: t, s: s, http: commander}
	ask.at(p)

	// Uploads that are refused: words that nobody mapped, a file cut off, and one that is no table.
	unknown := strings.Replace(birds.roster, "name|email_address", "name|shoe_size", 1)
	_, headless, _ := strings.Cut(birds.roster, "\n")
	swapped := strings.NewReplacer("name|email_address", birds.words[3], ",en,", ","+birds.words[0]+",", ",US,", ","+birds.words[1]+",").Replace(birds.roster)
	for name, body := range map[string][]byte{
		"unknown.csv": []byte(unknown), "cut.csv.gz": cutShort(t, birds.roster), "none.csv": []byte(birds.words[3] + "\x00\xff"),
		"headless.csv": []byte(headless),
	} {
		if status, _ := ask.upload(id, name, body); status < 400 {
			t.Errorf("%s was taken: %d", name, status)
		}
	}
	// What is in the wrong column is shown to who uploads it, and stays nowhere.
	silent := &asker{t: t, http: role(t, p.API, s.admin, "confused", candorv1.Role_ROLE_COMMANDER)}
	silent.at(p)
	if status, _ := silent.upload(id, "swapped.csv", []byte(swapped)); status < 400 {
		t.Errorf("swapped.csv was taken: %d", status)
	}
	status, digest := ask.upload(id, "roster.csv", []byte(birds.roster))
	if status != http.StatusOK {
		t.Fatalf("the roster was refused: %d", status)
	}
	inc := ask.declare(id, digest)
	ask.everything(id)
	if _, err := candorv1connect.NewIncidentServiceClient(approver, p.API).Approve(t.Context(), connect.NewRequest(&candorv1.ApproveRequest{
		Incident: id, PlanHash: inc.GetPlanHash(),
	})); err != nil {
		t.Fatal(err)
	}
	accepted(t, s.truth, 5, 0)
	p.kill()
	p = s.start("all")
	s.drive(p)
	ask.at(p)
	v := s.rest(id)
	if v.Lost != 0 || v.Duplicates != 0 || v.Sandbox["sms"] == 0 || v.Sandbox["email"] == 0 {
		t.Errorf("verdict = %+v", v)
	}
	ask.everything(id)

	broker := s.connect(p.NATS, "api")
	pages, err := broker.CountSubjects(t.Context(), topology.StreamRoster, topology.Pages(id))
	if err != nil || len(pages) < 2 {
		t.Fatalf("pages and manifests: %v, %v", pages, err)
	}
	key, err := os.ReadFile(filepath.Join(s.keys(), "incidents", id+".key"))
	if err != nil {
		t.Fatal(err)
	}
	before, err := s.driver.Status(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ask.incidents.Abort(t.Context(), connect.NewRequest(&candorv1.AbortRequest{Incident: id, Reason: "over"})); err != nil {
		t.Fatal(err)
	}
	if _, err := ask.incidents.Shred(t.Context(), connect.NewRequest(&candorv1.ShredRequest{Incident: id})); err != nil {
		t.Fatal(err)
	}
	v2, err := vault.Open(s.keys(), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v2.Incident(id); !errors.Is(err, vault.ErrShredded) {
		t.Errorf("the key after the shred: %v", err)
	}
	for subject := range pages {
		if _, n, isPage := topology.ParsePage(subject); isPage {
			if _, err := pagestore.New(broker, v2).OpenPage(t.Context(), id, n, nil); err == nil {
				t.Errorf("page %d can still be read", n)
			}
		}
	}
	left, err := broker.CountSubjects(t.Context(), topology.StreamRoster, topology.Pages(id))
	if err != nil {
		t.Fatal(err)
	}
	for subject := range left {
		if _, _, isPage := topology.ParsePage(subject); isPage {
			t.Errorf("%s is still there", subject)
		}
	}
	ask.everything(id)
	after, err := s.driver.Status(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if after.GetPeople().GetOnFile() != before.GetPeople().GetOnFile() || after.GetPeople().GetTold() != before.GetPeople().GetTold() {
		t.Errorf("people after the shred: %v, before: %v", after.GetPeople(), before.GetPeople())
	}
	p.stop()

	trap.add("the wrapped key", key)
	for path, answer := range heard.answers {
		if found := trap.in(answer.Bytes()); len(found) > 0 {
			t.Errorf("the answer of %s holds %q", path, found)
		}
	}
	looked := 0
	err = filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		looked += len(b)
		for _, found := range trap.in(append([]byte(path), b...)) {
			t.Errorf("%s holds the %s", strings.TrimPrefix(path, s.dir), found)
		}
		return nil
	})
	if err != nil || looked < 20_000 {
		t.Errorf("looked at %d bytes: %v", looked, err)
	}
}

func providerURL(t *testing.T, section string) string {
	t.Helper()
	_, rest, _ := strings.Cut(section, `base_url: "`)
	u, _, ok := strings.Cut(rest, `"`)
	if !ok {
		t.Fatal("no base_url")
	}
	return u
}

// cutShort is a gzip file whose end is missing.
func cutShort(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := io.WriteString(z, text)
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()[:b.Len()*3/4]
}

// asker asks the api everything that can be asked.
type asker struct {
	t         *testing.T
	s         *site
	http      *http.Client
	url       string
	incidents candorv1connect.IncidentServiceClient
	ledger    candorv1connect.LedgerServiceClient
}

func (a *asker) at(p *process) {
	a.url = p.API
	a.incidents = candorv1connect.NewIncidentServiceClient(a.http, p.API)
	a.ledger = candorv1connect.NewLedgerServiceClient(a.http, p.API)
}

func (a *asker) upload(id, name string, body []byte) (status int, digest string) {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), http.MethodPut, a.url+"/v1/incidents/"+id+"/roster?name="+name, bytes.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	res, err := a.http.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }() // only read from
	var answer struct{ Digest string }
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		a.t.Fatal(err)
	}
	return res.StatusCode, answer.Digest
}

func (a *asker) declare(id, digest string) *candorv1.Incident {
	a.t.Helper()
	pb, facts, err := bench.Texts(2)
	if err != nil {
		a.t.Fatal(err)
	}
	res, err := a.incidents.Declare(a.t.Context(), connect.NewRequest(&candorv1.DeclareRequest{Declaration: &candorv1.Declaration{
		Incident: id, Playbook: pb, Facts: facts, RosterDigest: digest,
	}}))
	if err != nil {
		a.t.Fatal(err)
	}
	return res.Msg.GetIncident()
}

// everything asks whatever reports about an incident; a refusal is an answer too.
func (a *asker) everything(id string) {
	ctx, t := a.t.Context(), a.t
	_, _ = a.incidents.GetIncident(ctx, connect.NewRequest(&candorv1.GetIncidentRequest{Incident: id}))
	_, _ = a.incidents.ListIncidents(ctx, connect.NewRequest(&candorv1.ListIncidentsRequest{}))
	_, _ = a.incidents.Preview(ctx, connect.NewRequest(&candorv1.PreviewRequest{Incident: id, Count: 10}))
	_, _ = a.incidents.Declare(ctx, connect.NewRequest(&candorv1.DeclareRequest{Declaration: &candorv1.Declaration{
		Incident: id, Playbook: "version: 1", Facts: "x: y", RosterDigest: strings.Repeat("0", 64),
	}}))
	_, _ = a.ledger.GetStatus(ctx, connect.NewRequest(&candorv1.GetStatusRequest{Incident: id}))
	_, _ = a.ledger.ListDeadLetters(ctx, connect.NewRequest(&candorv1.ListDeadLettersRequest{}))
	_, _ = a.ledger.ListNotices(ctx, connect.NewRequest(&candorv1.ListNoticesRequest{Incident: id}))
	_, _ = a.ledger.SettleUncertain(ctx, connect.NewRequest(&candorv1.SettleUncertainRequest{Incident: id, Settlement: candorv1.Settlement_SETTLEMENT_GIVE_UP}))
	if stream, err := a.ledger.ExportNotices(ctx, connect.NewRequest(&candorv1.ExportNoticesRequest{Incident: id})); err == nil {
		for stream.Receive() {
		}
		_ = stream.Close()
	}
	for _, path := range []string{"/livez", "/readyz", "/metrics", "/nothing"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.http.Do(req); err != nil { //nolint:bodyclose // the recorder has closed it
			t.Error(err)
		}
	}
}
