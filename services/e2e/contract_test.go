package e2e

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"candor/services/app"
	"candor/services/bench"
	"candor/services/sandbox"
)

// official is one operation of an official document.
type official struct {
	pattern *regexp.Regexp
	doc     *openapi3.T
	path    string
}

func loadOfficial(t *testing.T) []official {
	t.Helper()
	folder := os.Getenv("CANDOR_OAI")
	if folder == "" {
		t.Skip("the contract was NOT checked: CANDOR_OAI is not set. It names the folder that holds the official OpenAPI documents " +
			"twilio/twilio_api_v2010.json (github.com/twilio/twilio-oai) and sendgrid/tsg_mail_v3.json (github.com/twilio/sendgrid-oai), " +
			"which are not part of this repository")
	}
	var list []official
	for _, o := range []struct{ file, pattern, path string }{
		{"twilio/twilio_api_v2010.json", `^/2010-04-01/Accounts/(?P<AccountSid>[^/]+)/Messages\.json$`, "/2010-04-01/Accounts/{AccountSid}/Messages.json"},
		{"sendgrid/tsg_mail_v3.json", `^/v3/mail/send$`, "/v3/mail/send"},
	} {
		doc, err := openapi3.NewLoader().LoadFromFile(filepath.Join(folder, o.file))
		if err != nil {
			t.Fatal(err)
		}
		doc.OpenAPI = "3.0.3" // of SendGrid's 3.1 nothing differs here, and the validator is 100 times as fast
		list = append(list, official{regexp.MustCompile(o.pattern), doc, o.path})
	}
	return list
}

// check holds one request against the documents.
func check(docs []official, r *http.Request, body []byte) error {
	for _, o := range docs {
		m := o.pattern.FindStringSubmatch(r.URL.Path)
		if m == nil {
			continue
		}
		item := o.doc.Paths.Value(o.path)
		if item == nil || item.GetOperation(r.Method) == nil {
			continue
		}
		params := map[string]string{}
		for i, name := range o.pattern.SubexpNames()[1:] {
			params[name] = m[i+1]
		}
		copied := r.Clone(context.Background())
		copied.Body = io.NopCloser(bytes.NewReader(body))
		return openapi3filter.ValidateRequest(context.Background(), &openapi3filter.RequestValidationInput{
			Request: copied, PathParams: params,
			Route: &routers.Route{Spec: o.doc, Method: r.Method, Path: o.path, PathItem: item, Operation: item.GetOperation(r.Method)},
			Options: &openapi3filter.Options{
				AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, MultiError: true,
				SchemaValidationOptions: []openapi3.SchemaValidationOption{
					openapi3.WithStringFormatValidator("phone-number", openapi3.NewRegexpFormatValidator(`^\+[1-9]\d{6,14}$`)),
					openapi3.WithStringFormatValidator("email", openapi3.NewRegexpFormatValidator(openapi3.FormatOfStringForEmail)),
				},
			},
		})
	}
	return os.ErrNotExist
}

// notary lets every request pass to the sandbox, and holds it against the documents on its way.
func notary(t *testing.T, docs []official, target string, seen func(r *http.Request)) string {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	proxy := httputil.NewSingleHostReverseProxy(u)
	proxy.Transport, proxy.ErrorLog = tr, quiet()
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) } // as the sandbox hung up
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		if err := check(docs, r, body); err != nil {
			t.Errorf("%s %s breaks the contract: %v", r.Method, r.URL, err)
		}
		seen(r)
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, r)
	}))
	s.Config.ErrorLog = quiet()
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

func TestWhatWeSendKeepsToTheProvidersDocuments(t *testing.T) {
	t.Parallel()
	docs := loadOfficial(t)
	box := startSandbox(t)
	var mu sync.Mutex
	seen := map[string]int{}
	front := notary(t, docs, box.URL(), func(r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen[r.Method+" "+regexp.MustCompile(`AC\w+`).ReplaceAllString(r.URL.Path, "AC")]++
	})
	p := play(t, func(cfg *app.Config) {
		def := sandbox.DefaultConfig()
		tw, sg := &cfg.Providers.Twilio, &cfg.Providers.SendGrid
		tw.BaseURL, tw.CallbackURL, tw.AccountSID, tw.Secret = front, "https://front.example/callbacks", def.Twilio.AccountSID, def.Twilio.AuthToken
		sg.BaseURL, sg.APIKey = front, def.SendGrid.APIKey
	})
	if err := box.SetFaults(sandbox.Faults{Seed: 3, SMS: sandbox.Rates{AnswerLost: 0.1}, Email: sandbox.Rates{RateLimited: 0.2}}); err != nil {
		t.Fatal(err)
	}
	client := sandboxClient(t, box)
	for _, story := range []bench.Story{{Incident: "sample", EmailBatch: 5}, {Incident: "more", Customers: 100, EmailBatch: 20}} {
		v, err := p.driver.Tell(t.Context(), story, client)
		whole(t, v, err, uint64(max(story.Customers, 12)))
	}
	mu.Lock()
	defer mu.Unlock()
	for _, what := range []string{"POST /2010-04-01/Accounts/AC/Messages.json", "GET /2010-04-01/Accounts/AC/Messages.json", "POST /v3/mail/send"} {
		if seen[what] == 0 {
			t.Errorf("no %s was seen: %v", what, seen)
		}
	}
}

func TestTheContractIsHeldAgainstBadRequests(t *testing.T) {
	t.Parallel()
	docs := loadOfficial(t)
	for _, tt := range []struct{ method, path, kind, body string }{
		{http.MethodPost, "/2010-04-01/Accounts/AC1/Messages.json", "application/x-www-form-urlencoded", "To=hello&Body=x"},
		{http.MethodPost, "/v3/mail/send", "application/json", `{"personalizations":[{"to":[{"email":"nobody"}]}],"from":{"email":"a@example.com"},"subject":"x","content":[{"type":"text/plain","value":"x"}]}`},
		{http.MethodPost, "/v3/mail/send", "application/json", `{"from":{"email":"a@example.com"},"subject":"x"}`},
		{http.MethodGet, "/v3/nothing", "", ""},
	} {
		r := httptest.NewRequest(tt.method, "http://provider"+tt.path, bytes.NewReader([]byte(tt.body)))
		r.Header.Set("Content-Type", tt.kind)
		if err := check(docs, r, []byte(tt.body)); err == nil {
			t.Errorf("%s %s %s passes", tt.method, tt.path, tt.body)
		}
	}
}
