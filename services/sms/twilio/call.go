package twilio

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/twilio/twilio-go/client"
	openapi "github.com/twilio/twilio-go/rest/api/v2010"

	"candor/pkg/provider"
)

// failedStatus is of a message that Twilio took and gave up at once: the only status that matters this early.
const failedStatus = "failed"

var errNoAnswer = errors.New("no usable answer")

// call is the SDK's client for one request. The SDK's own has no context, leaves error bodies open and takes redirects for
// success; and it spends more on regular expressions and a second basic auth than the network does.
type call struct {
	sender  *Sender
	ctx     context.Context // the SDK has no other way to hand it over; the call lives no longer
	http    *provider.Call
	sid     string // of the one message that is asked about; empty for all
	failed  bool
	outcome provider.Outcome // when failed
}

func (s *Sender) newCall(ctx context.Context, sendBefore time.Time) *call {
	return &call{sender: s, ctx: ctx, http: s.transport.NewCall(sendBefore)}
}

// api is the SDK around this call. Its RequestHandler is made by hand: the constructor reads the environment at every call.
func (c *call) api() *openapi.ApiService {
	return openapi.NewApiService(&client.RequestHandler{Client: c})
}

// SendRequest sends what the SDK has put together to the account's Messages, whatever host the SDK has in mind.
func (c *call) SendRequest(method, _ string, data url.Values, _ map[string]any, _ ...byte) (*http.Response, error) {
	if method == http.MethodPost {
		return c.create(data)
	}
	return c.list(method, data)
}

func (c *call) create(data url.Values) (*http.Response, error) {
	answer, err := c.http.Do(c.ctx, c.sender.post, appendForm(make([]byte, 0, formSize(data)), data))
	if err != nil {
		return nil, c.fail(c.http.Failure(err))
	}
	if answer.Status < 200 || answer.Status > 299 {
		return nil, c.fail(c.sender.refusal(answer, c.http.Skew()))
	}
	m, err := readMessage(answer.Body)
	if err == nil && m.sid == "" {
		err = errNoSID
	}
	if err != nil {
		why := "_bad_json"
		if errors.Is(err, errNoSID) {
			why = "_without_sid"
		}
		return nil, c.fail(provider.Outcome{Reason: reason(0, answer.Status) + why, Skew: c.http.Skew()})
	}
	// The SDK gets the fields that are read. Decoding all of Twilio's answer costs as much as sending it.
	b := make([]byte, 0, 96)
	b = append(append(append(b, `{"sid":"`...), m.sid...), '"')
	if m.status == failedStatus {
		b = append(append(append(append(b, `,"status":"`...), m.status...), `","error_code":`...), m.errorCode...)
	}
	return reply(append(b, '}')), nil
}

func (c *call) list(method string, data url.Values) (*http.Response, error) {
	if method != http.MethodGet {
		return nil, fmt.Errorf("method %s is not used", method)
	}
	r := *c.sender.get
	u := *r.URL
	u.RawQuery = data.Encode()
	if c.sid != "" {
		u.Path = strings.TrimSuffix(u.Path, ".json") + "/" + c.sid + ".json"
	}
	r.URL = &u
	answer, err := c.http.Do(c.ctx, &r, nil)
	if err != nil {
		return nil, c.fail(c.http.Failure(err))
	}
	if answer.Status != http.StatusOK {
		return nil, c.fail(c.sender.refusal(answer, c.http.Skew()))
	}
	return reply(answer.Body), nil
}

func (c *call) fail(o provider.Outcome) error {
	c.failed, c.outcome = true, o
	return errNoAnswer
}

func reply(body []byte) *http.Response {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(body))}
}

// AccountSid, SetTimeout, SetOauth and OAuth complete the SDK's client.BaseClient.
func (c *call) AccountSid() string       { return c.sender.accountSID }
func (*call) SetTimeout(_ time.Duration) {}
func (*call) SetOauth(_ client.OAuth)    {}
func (*call) OAuth() client.OAuth        { return nil }

func formSize(data url.Values) int {
	n := 0
	for k, vs := range data {
		for _, v := range vs {
			n += len(k) + len(v) + len(v)/2 + 2
		}
	}
	return n
}

func appendForm(b []byte, data url.Values) []byte {
	for k, vs := range data {
		for _, v := range vs {
			if len(b) > 0 {
				b = append(b, '&')
			}
			b = append(appendEscaped(b, k), '=')
			b = appendEscaped(b, v)
		}
	}
	return b
}

func appendEscaped(b []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for {
		i := 0
		for i < len(s) && unreserved[s[i]] {
			i++
		}
		b = append(b, s[:i]...)
		if i == len(s) {
			return b
		}
		if c := s[i]; c == ' ' {
			b = append(b, '+')
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
		s = s[i+1:]
	}
}

// unreserved are the bytes that stand for themselves in a form. Nothing writes it after start.
var unreserved = func() (t [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~") {
		t[c] = true
	}
	return t
}()

func reason(code, status int) string {
	if code > 0 {
		return "twilio_" + strconv.Itoa(code)
	}
	if status > 0 {
		return "http_" + strconv.Itoa(status)
	}
	return "twilio_failed"
}
