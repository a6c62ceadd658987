package twilio_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/twilio/twilio-go/client"
	openapi "github.com/twilio/twilio-go/rest/api/v2010"

	"candor/pkg/provider"
	"candor/pkg/provider/providertest"
)

func tuned() *http.Transport {
	return &http.Transport{MaxIdleConns: providertest.InFlight, MaxIdleConnsPerHost: providertest.InFlight, MaxConnsPerHost: providertest.InFlight}
}

// BenchmarkBare is the yardstick: net/http alone, a form made ready, one field decoded.
func BenchmarkBare(b *testing.B) {
	target := providertest.StartAnswerer(b) + "/2010-04-01/Accounts/" + account + "/Messages.json"
	hc := http.Client{Transport: tuned()}
	form := url.Values{"To": {"+12125550156"}, "From": {"+12125550100"}, "Body": {notice().Body}, "StatusCallback": {"https://candor.example.com/hooks/twilio/x"}}.Encode()
	providertest.Hammer(b, 1, func() error {
		r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, target, strings.NewReader(form))
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth(account, "token")
		resp, err := hc.Do(r)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var m struct{ SID string }
		if err := json.NewDecoder(resp.Body).Decode(&m); err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	})
	hc.CloseIdleConnections()
}

// BenchmarkSDK is twilio-go as its documentation has it, with a tuned transport.
func BenchmarkSDK(b *testing.B) {
	base, err := url.Parse(providertest.StartAnswerer(b))
	if err != nil {
		b.Fatal(err)
	}
	hc := &http.Client{Transport: redirected{tuned(), base}}
	c := &client.Client{Credentials: client.NewCredentials(account, "token"), HTTPClient: hc}
	c.SetAccountSid(account)
	api := openapi.NewApiServiceWithClient(c)
	providertest.Hammer(b, 1, func() error {
		p := new(openapi.CreateMessageParams).SetTo("+12125550156").SetFrom("+12125550100").SetBody(notice().Body).SetStatusCallback("https://candor.example.com/hooks/twilio/x")
		_, err := api.CreateMessage(p)
		return err
	})
	hc.Transport.(redirected).RoundTripper.(*http.Transport).CloseIdleConnections()
}

type redirected struct {
	http.RoundTripper
	base *url.URL
}

func (r redirected) RoundTrip(req *http.Request) (*http.Response, error) {
	req.URL.Scheme, req.URL.Host = r.base.Scheme, r.base.Host
	return r.RoundTripper.RoundTrip(req)
}

// BenchmarkSender is ours, with every promise kept.
func BenchmarkSender(b *testing.B) {
	s := open(b, providertest.Conditions{BaseURL: providertest.StartAnswerer(b), Now: time.Now, RequestTimeout: time.Minute})
	m := notice()
	providertest.Hammer(b, 1, func() error {
		if o := s.SendSMS(b.Context(), m, time.Now().Add(time.Minute)); o.Class != provider.Accepted {
			return fmt.Errorf("outcome %+v", o)
		}
		return nil
	})
}
