package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
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

	"connectrpc.com/connect"
	"github.com/rs/zerolog"

	"candor/pkg/pagestore"
	"candor/pkg/rpc/candorv1connect"
	"candor/pkg/topology"
	"candor/pkg/vault"
	candorv1 "candor/proto/candor/v1"
	"candor/services/bench"
	"candor/services/frontdoor"
)

// canaries are people whose data are found wherever they are.
type canaries struct {
	roster string
	words  []string
	phones []string
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
		c.phones = append(c.phones, first)
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
		"{sms: {server_error: 0.1, answer_lost: 0.1, redirect: 0.05, no_id: 0.05}, email: {server_error: 0.1, answer_lost: 0.1}}, " +
		"receipts: {enabled: true, delay_final: 50ms, flush: 50ms, duplicate: 0.3, shuffle: 0.3, forge: 0.3, bounced: 0.1, spam: 0.1, undelivered: {30005: 0.1}}}")
	s.hear()
	s.settings["sms"] = "{request_timeout: 5s, visibility_lag: 0s, retry_first: 100ms, hold: 200ms}"
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
	answers := &recorder{next: commander.Transport, answers: map[string]*bytes.Buffer{}}
	commander.Transport = answers
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
	ask.gossip(birds)
	v := heard(t, s.driver, s.truth, inc)
	if v.Lost != 0 || v.Duplicates != 0 || v.Disagree != 0 || v.Sandbox["sms"] == 0 || v.Sandbox["email"] == 0 {
		t.Errorf("verdict = %+v", v)
	}
	st, err := await(t, s.driver, id, func(st *candorv1.Status) bool {
		return st.GetCallRequests() > 0 && channelOf(st, candorv1.Channel_CHANNEL_SMS).GetOptedOut() > 0
	})
	if err != nil {
		t.Fatalf("%v: %v", err, st)
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
	before, err := statusOf(t, s.driver, id)
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
	after, err := statusOf(t, s.driver, id)
	if err != nil {
		t.Fatal(err)
	}
	if after.GetPeople().GetOnFile() != before.GetPeople().GetOnFile() || after.GetPeople().GetTold() != before.GetPeople().GetTold() {
		t.Errorf("people after the shred: %v, before: %v", after.GetPeople(), before.GetPeople())
	}
	p.stop()

	trap.add("the wrapped key", key)
	for path, answer := range answers.answers {
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

// gossip has the customers text back, and strangers tell the front door of them.
func (a *asker) gossip(birds canaries) {
	ctx, t := a.t.Context(), a.t
	for i, phone := range birds.phones[:12] {
		words := []string{"STOP", "stop texting " + birds.words[2], "CALL", birds.words[0] + " " + birds.words[3], "ALTO", "llamar"}[i%6]
		if err := a.s.truth.Reply(ctx, phone, words); err != nil {
			t.Errorf("%s: %v", words, err)
		}
	}
	for _, path := range []string{
		frontdoor.TwilioInboundPath, frontdoor.TwilioStatusPath + url.PathEscape(birds.words[0]), frontdoor.SendGridPath, "/metrics", "/" + url.PathEscape(birds.words[3]),
		frontdoor.SendGridPath + "?email=" + url.QueryEscape(birds.words[3]),
	} {
		for kind, body := range map[string]string{
			"application/x-www-form-urlencoded": url.Values{"From": birds.phones[:1], "Body": birds.words}.Encode(),
			"application/json":                  fmt.Sprintf(`[{"email":%q,"event":"bounce","reason":%q,"candor_id":%q}]`, birds.words[3], birds.words[2], birds.words[3]),
		} {
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.s.door+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", kind)
			for _, name := range []string{"X-Twilio-Signature", "X-Twilio-Email-Event-Webhook-Signature", "X-Twilio-Email-Event-Webhook-Timestamp"} {
				req.Header.Set(name, base64.StdEncoding.EncodeToString([]byte(birds.words[3])))
			}
			res, err := a.http.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close() // the recorder has it
			if res.StatusCode/100 != 4 {
				t.Errorf("%s: %s", path, res.Status)
			}
		}
	}
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
	if stream, err := a.ledger.ListUnreached(ctx, connect.NewRequest(&candorv1.ListUnreachedRequest{Incident: id})); err == nil {
		for stream.Receive() {
		}
		_ = stream.Close()
	}
	_, _ = a.incidents.Resend(ctx, connect.NewRequest(&candorv1.ResendRequest{Incident: id, Reason: "failed", DryRun: true}))
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
