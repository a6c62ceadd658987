package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twilio/twilio-go/client"
	openapi "github.com/twilio/twilio-go/rest/api/v2010"

	"candor/services/sandbox"
)

// measureTexts compares everything that Candor does about a text message with a plain program that keeps no record, and with
// what HTTP alone costs.
func measureTexts(ctx context.Context, l *Lab) ([]Row, error) {
	var rows []Row
	for _, at := range []struct {
		what       string
		latency    time.Duration
		inFlight   int
		pages      int
		ours, bare int
	}{
		{"SMS, provider answers at once, 64 in flight", 0, 64, 48, 100_000, 150_000},
		{"SMS, provider takes 20 ms, 512 in flight", 20 * time.Millisecond, 512, 64, 80_000, 0},
	} {
		l.Say("%s", at.what)
		n := l.size(at.ours)
		sides := []rival{{role: role{Name: "plain sms", InFlight: at.inFlight, Customers: n}, n: n}}
		if at.bare > 0 {
			sides = append(sides, rival{role: role{Name: "bare sms", InFlight: at.inFlight}, n: l.size(at.bare)})
		}
		runs, err := l.compete(ctx, contest{
			channel: "sms", batch: 1, customers: n,
			provider: role{Latency: at.latency}, candor: role{InFlight: at.inFlight, Pages: at.pages}, rivals: sides,
		})
		if err != nil {
			return nil, err
		}
		rows = append(rows, ratio(at.what, runs.ours.speed("messages"), "twilio-go, no record: "+runs.rivals[0].speed("messages"), runs.faster(0), 1, 0))
		if at.bare > 0 {
			rows = append(rows, ratio("CPU of a text message, everything on", runs.ours.cost(), "bare net/http: "+runs.rivals[1].cost(), runs.dearer(1), 0, 2.5))
			rows = append(rows, ratio("CPU of the same in a plain program", runs.rivals[0].cost(), "bare net/http: "+runs.rivals[1].cost(), median(runs.rivals[0].costs())/median(runs.rivals[1].costs()), 0, 0))
		}
	}
	return rows, nil
}

// tuned is a transport that keeps a connection for each request under way.
func tuned(inFlight int) *http.Transport {
	return &http.Transport{MaxIdleConns: inFlight, MaxIdleConnsPerHost: inFlight, MaxConnsPerHost: inFlight}
}

// hammer calls send n times, with so many under way, and tells how long that took. Each gets a number that no other call ever
// gets.
type hammer struct {
	inFlight int
	begun    int64
	send     func(worker int, i int64) error
}

func (h *hammer) act(_ context.Context, a ask) (said, error) {
	if a.Do != doSend {
		return said{}, fmt.Errorf("cannot %s", a.Do)
	}
	var (
		next atomic.Int64
		g    sync.WaitGroup
		errs = make([]error, h.inFlight)
		last = h.begun + int64(a.N)
	)
	next.Store(h.begun)
	h.begun = last
	start := time.Now()
	for w := range h.inFlight {
		g.Go(func() {
			for i := next.Add(1); i <= last && errs[w] == nil; i = next.Add(1) {
				errs[w] = h.send(w, i)
			}
		})
	}
	g.Wait()
	return said{Count: a.N, Seconds: time.Since(start).Seconds()}, errors.Join(errs...)
}

// playPlainTexts is twilio-go as its documentation has it, with a transport that keeps its connections, a line of text made for
// each customer, and no record of anything.
func playPlainTexts(r role) (*actor, error) {
	base, err := url.Parse(r.URL)
	if err != nil {
		return nil, err
	}
	list, err := plainPeople(r.Customers)
	if err != nil {
		return nil, err
	}
	box := sandbox.DefaultConfig().Twilio
	t := tuned(r.InFlight)
	c := &client.Client{Credentials: client.NewCredentials(box.AccountSID, box.AuthToken.Reveal()), HTTPClient: &http.Client{Transport: elsewhere{t, base}}}
	c.SetAccountSid(box.AccountSID)
	api := openapi.NewApiServiceWithClient(c)
	h := &hammer{inFlight: r.InFlight, send: func(_ int, i int64) error {
		p := &list[i%int64(len(list))]
		_, err := api.CreateMessage(new(openapi.CreateMessageParams).SetTo(p.phone).SetFrom("+18005550142").
			SetBody("Northwind Power: " + p.given + ", we are sorry. Your data was stolen. Call 1-800-555-0142, code " + p.code +
				". We never ask for passwords. STOP ends texts.").
			SetStatusCallback(r.URL + "/callbacks/" + plainID("T", i)))
		return err
	}}
	return &actor{act: h.act, stop: func() error { t.CloseIdleConnections(); return nil }}, nil
}

// plainID has the form and length of a notice's id. No two programs may share a letter.
func plainID(program string, i int64) string {
	return "cGxhaW4tcHJvZ3JhbS" + program + strconv.FormatInt(1e9+i, 10) + ".1.c2VjcmV0LW1hYy0x"
}

// elsewhere sends the SDK's requests to another host: it knows but one.
type elsewhere struct {
	http.RoundTripper
	base *url.URL
}

func (e elsewhere) RoundTrip(r *http.Request) (*http.Response, error) {
	r.URL.Scheme, r.URL.Host = e.base.Scheme, e.base.Host
	return e.RoundTripper.RoundTrip(r)
}

// playBareTexts is what HTTP alone costs: a form made ready but for a number and an id, one field of the answer read.
func playBareTexts(r role) (*actor, error) {
	box := sandbox.DefaultConfig().Twilio
	target := r.URL + "/2010-04-01/Accounts/" + box.AccountSID + "/Messages.json"
	t := tuned(r.InFlight)
	hc := http.Client{Transport: t}
	head := url.Values{"From": {"+18005550142"}, "Body": {"Northwind Power: Pedro, we are sorry. Your data was stolen. Call 1-800-555-0142, code 7K3M-9QXT. We never ask for passwords. STOP ends texts."}}.Encode()
	callback := "&StatusCallback=" + url.QueryEscape(r.URL+"/callbacks/")
	h := &hammer{inFlight: r.InFlight, send: func(_ int, i int64) error {
		form := head + "&To=%2B1" + strconv.FormatInt(2_120_000_000+i%1_000_000, 10) + callback + plainID("B", i)
		req, err := http.NewRequest(http.MethodPost, target, strings.NewReader(form)) //nolint:noctx // the barest there is
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth(box.AccountSID, box.AuthToken.Reveal())
		res, err := hc.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }() // only read from
		var m struct {
			SID string `json:"sid"`
		}
		if err := json.NewDecoder(res.Body).Decode(&m); err != nil {
			return err
		}
		if m.SID == "" {
			return fmt.Errorf("status %d without a sid", res.StatusCode)
		}
		_, err = io.Copy(io.Discard, res.Body)
		return err
	}}
	return &actor{act: h.act, stop: func() error { t.CloseIdleConnections(); return nil }}, nil
}
