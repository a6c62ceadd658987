package sandbox_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	openapi "github.com/twilio/twilio-go/rest/api/v2010"

	"candor/services/sandbox"
)

// contract holds every request and every answer that passes through it against an official document.
type contract struct {
	t       *testing.T
	next    http.RoundTripper
	doc     *openapi3.T
	paths   map[*regexp.Regexp]string
	answers map[int]int // by status
}

// newContract reads a document from the folder that CANDOR_OAI names.
func newContract(t *testing.T, file string, next http.RoundTripper, paths map[*regexp.Regexp]string) *contract {
	t.Helper()
	folder := os.Getenv("CANDOR_OAI")
	if folder == "" {
		t.Skip("the contract was NOT checked: CANDOR_OAI is not set. It names the folder that holds the official OpenAPI documents " +
			"twilio/twilio_api_v2010.json (github.com/twilio/twilio-oai) and sendgrid/tsg_mail_v3.json (github.com/twilio/sendgrid-oai), " +
			"which are not part of this repository")
	}
	doc, err := openapi3.NewLoader().LoadFromFile(filepath.Join(folder, file))
	if err != nil {
		t.Fatal(err)
	}
	doc.OpenAPI = "3.0.3" // of SendGrid's 3.1 nothing differs here, and the validator is 100 times as fast
	return &contract{t: t, next: next, doc: doc, paths: paths, answers: map[int]int{}}
}

func (c *contract) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		body, _ = io.ReadAll(req.Body)
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	input := c.input(req, body)
	if err := openapi3filter.ValidateRequest(context.Background(), input); err != nil {
		c.t.Errorf("request %s %s breaks the contract: %v", req.Method, req.URL, err)
	}
	res, err := c.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(answer))
	c.answer(input, res, answer)
	return res, nil
}

func (c *contract) input(req *http.Request, body []byte) *openapi3filter.RequestValidationInput {
	route := &routers.Route{Spec: c.doc, Method: req.Method}
	params := map[string]string{}
	for pattern, path := range c.paths {
		m := pattern.FindStringSubmatch(req.URL.Path)
		if m == nil {
			continue
		}
		route.Path, route.PathItem = path, c.doc.Paths.Value(path)
		for i, name := range pattern.SubexpNames()[1:] {
			params[name] = m[i+1]
		}
	}
	if route.PathItem == nil || route.PathItem.GetOperation(req.Method) == nil {
		c.t.Fatalf("%s %s is not in the document", req.Method, req.URL.Path)
	}
	route.Operation = route.PathItem.GetOperation(req.Method)
	copied := req.Clone(context.Background())
	copied.Body = io.NopCloser(bytes.NewReader(body))
	formats := []openapi3.SchemaValidationOption{
		openapi3.WithStringFormatValidator("phone-number", openapi3.NewRegexpFormatValidator(`^\+[1-9]\d{6,14}$`)),
		openapi3.WithStringFormatValidator("email", openapi3.NewRegexpFormatValidator(openapi3.FormatOfStringForEmail)),
		openapi3.WithStringFormatValidator("date-time-rfc-2822", openapi3.NewCallbackValidator(func(v string) error {
			_, err := time.Parse(time.RFC1123Z, v)
			return err
		})),
	}
	return &openapi3filter.RequestValidationInput{
		Request: copied, PathParams: params, Route: route,
		Options: &openapi3filter.Options{
			AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, MultiError: true,
			SchemaValidationOptions: formats,
		},
	}
}

// answer checks what the document describes. Twilio's has no 4xx and no 5xx at all; SendGrid's 413 is JSON there, and HTML in fact.
func (c *contract) answer(input *openapi3filter.RequestValidationInput, res *http.Response, body []byte) {
	c.answers[res.StatusCode]++
	if input.Route.Operation.Responses.Status(res.StatusCode) == nil && res.StatusCode >= 400 || res.StatusCode == http.StatusRequestEntityTooLarge {
		return
	}
	if res.StatusCode == http.StatusOK && res.Request.URL.Path == "/v3/mail/send" {
		return // sandbox mode: documented in words only
	}
	err := openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: res.StatusCode, Header: res.Header,
		Body: io.NopCloser(bytes.NewReader(body)), Options: input.Options,
	})
	if err != nil {
		c.t.Errorf("answer %d to %s %s breaks the contract: %v", res.StatusCode, res.Request.Method, res.Request.URL, err)
	}
}

const twilioBase = "/2010-04-01/Accounts/{AccountSid}/Messages"

var twilioPaths = map[*regexp.Regexp]string{
	regexp.MustCompile(`^/2010-04-01/Accounts/(?P<AccountSid>[^/]+)/Messages\.json$`):                twilioBase + ".json",
	regexp.MustCompile(`^/2010-04-01/Accounts/(?P<AccountSid>[^/]+)/Messages/(?P<Sid>[^/]+)\.json$`): twilioBase + "/{Sid}.json",
}

func TestTwilioContract(t *testing.T) {
	t.Parallel()
	c := newContract(t, "twilio/twilio_api_v2010.json", nil, twilioPaths)
	service := "MG0123456789abcdef0123456789abcdef"
	w := start(t, func(cfg *sandbox.Config) {
		cfg.Twilio.SenderRates = map[string]float64{service: 0.00001, "+447700900001": 0.001}
	})
	c.next = w.http.Transport
	w.http.Transport = c
	api, _ := w.twilio()

	for i, params := range []*openapi.CreateMessageParams{
		sms("+447911123456", "Hello, this is Acme.", "n0.1.mac"),
		sms("+447911123456", "Ünïcödé ✓ \"quoted\"\nand\ttwo lines", ""),
		sms("+447911123457", strings.Repeat("€", 1600), "n1.1.mac").SetValidityPeriod(600).SetSmartEncoded(true),
		sms("+447911123458", "slow", "n2.1.mac").SetFrom("+447700900001"),
		sms("+447911123458", "slow", "n3.1.mac").SetFrom("+447700900001"),
		(&openapi.CreateMessageParams{}).SetTo("+447911123459").SetMessagingServiceSid(service).SetBody("by service"),
		(&openapi.CreateMessageParams{}).SetTo("+447911123459").SetMessagingServiceSid(service).SetBody("too much for the service"),
	} {
		m, err := api.CreateMessage(params)
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		if _, err := api.FetchMessage(*m.Sid, nil); err != nil {
			t.Errorf("message %d: fetch: %v", i, err)
		}
	}
	for name, params := range map[string]*openapi.ListMessageParams{
		"all":        {},
		"by number":  (&openapi.ListMessageParams{}).SetTo("+447911123456"),
		"by sender":  (&openapi.ListMessageParams{}).SetFrom(ownSender).SetPageSize(1),
		"since":      (&openapi.ListMessageParams{}).SetDateSentAfter(time.Now().UTC().Truncate(24 * time.Hour)),
		"nobody":     (&openapi.ListMessageParams{}).SetTo("+447911999999"),
		"pages of 2": (&openapi.ListMessageParams{}).SetPageSize(2),
	} {
		if _, err := api.ListMessage(params); err != nil {
			t.Errorf("list %s: %v", name, err)
		}
	}
	for to := range 4 { // refusals, which the document does not describe
		if _, err := api.CreateMessage(sms(fmt.Sprintf("+1500555000%d", to+1), "hello", "")); err == nil {
			t.Errorf("magic number %d was accepted", to+1)
		}
	}
	if c.answers[201] != 7 || c.answers[200] != 7+1+1+3+1+1+4 || c.answers[400] != 4 {
		t.Errorf("answers by status: %v", c.answers)
	}
}

func TestSendGridContract(t *testing.T) {
	t.Parallel()
	c := newContract(t, "sendgrid/tsg_mail_v3.json", nil, map[*regexp.Regexp]string{regexp.MustCompile(`^/v3/mail/send$`): "/v3/mail/send"})
	w := start(t)
	c.next = w.http.Transport
	w.http.Transport = c

	w.mustMail(simpleMail("a@example.com", "n.1.mac"), 202)
	people := make([]string, 1000)
	for i := range people {
		people[i] = fmt.Sprintf("p%d@example.com", i)
	}
	m := letter(people, nil)
	for _, p := range m.Personalizations {
		p.SetSubstitution("-name-", "Ana")
	}
	m.AddSection("-s-", "a section")
	w.mustMail(encode(m), 202)

	w.mustMail(encode(letter([]string{"a@example.com", "a@example.com"}, nil)), 400)
	none := letter([]string{"a@example.com"}, nil)
	none.Subject, none.Content = "", nil
	w.mustMail(encode(none), 400)
	if res, err := w.mail(simpleMail("a@example.com"), "Authorization", "Bearer SG.other"); err != nil || res.StatusCode != 401 {
		t.Errorf("other key: %v, %v", res, err)
	}
	if c.answers[202] != 2 || c.answers[400] != 2 || c.answers[401] != 1 {
		t.Errorf("answers by status: %v", c.answers)
	}
}

// TestContractCatches shows that the check is one.
func TestContractCatches(t *testing.T) {
	t.Parallel()
	lie := roundTrip(func(req *http.Request) (*http.Response, error) {
		body := `{"sid":"SM1","status":"dispatched","date_created":"yesterday"}`
		return &http.Response{StatusCode: 201, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
	})
	c := newContract(t, "twilio/twilio_api_v2010.json", lie, twilioPaths)
	form := "To=hello&Body=x&MessagingServiceSid=MG1"
	req, err := http.NewRequestWithContext(context.Background(), "POST", "http://sandbox/2010-04-01/Accounts/AC1/Messages.json", strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	input := c.input(req, []byte(form))
	if err := openapi3filter.ValidateRequest(context.Background(), input); err == nil ||
		!strings.Contains(err.Error(), "AccountSid") || !strings.Contains(err.Error(), "phone-number") || !strings.Contains(err.Error(), "MessagingServiceSid") {
		t.Errorf("ValidateRequest = %v, want all three mistakes", err)
	}
	res, err := lie(req)
	if err != nil {
		t.Fatal(err)
	}
	err = openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: 201, Header: res.Header, Body: res.Body, Options: input.Options,
	})
	if err == nil || !strings.Contains(err.Error(), "status") || !strings.Contains(err.Error(), "sid") || !strings.Contains(err.Error(), "date_created") {
		t.Errorf("ValidateResponse = %v, want all three mistakes", err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
