package sandbox_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"candor/services/sandbox"
)

// outcome is what a caller sees of a fault.
type outcome struct {
	status int
	header http.Header
	body   string
	err    error
}

func (w *world) raw(ctx context.Context, path, auth, kind, body string) (o outcome) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.box.URL()+path, io.NopCloser(strings.NewReader(body))) // so the transport cannot send it again
	if err != nil {
		w.t.Fatal(err)
	}
	req.ContentLength = int64(len(body))
	req.Header.Set("Authorization", auth)
	req.Header.Set("Content-Type", kind)
	res, err := w.http.Do(req)
	if err != nil {
		return outcome{err: err}
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	return outcome{res.StatusCode, res.Header, string(b), err}
}

func (w *world) rawText(ctx context.Context) outcome {
	return w.raw(ctx, "/2010-04-01/Accounts/"+w.cfg.Twilio.AccountSID+"/Messages.json", basicAuth(w), "application/x-www-form-urlencoded",
		"To=%2B447911123456&From=%2B15005550006&Body=hello&StatusCallback=https%3A%2F%2Facme.example%2Fn.1.mac")
}

func (w *world) rawMail(ctx context.Context) outcome {
	return w.raw(ctx, "/v3/mail/send", "Bearer "+w.cfg.SendGrid.APIKey.Reveal(), "application/json", string(simpleMail("a@example.com", "n.1.mac")))
}

func TestFaults(t *testing.T) {
	t.Parallel()
	lost := func(o outcome) bool { return errors.Is(o.err, io.EOF) }
	for _, tt := range []struct {
		kind string
		set  func(*sandbox.Rates)
		kept bool
		sms  func(outcome) bool
		mail func(outcome) bool // the same where nil
	}{
		{"rate_limited", func(r *sandbox.Rates) { r.RateLimited = 1; r.RetryAfter = sandbox.Duration(1500 * time.Millisecond) }, false, func(o outcome) bool {
			return o.status == 429 && o.header.Get("Retry-After") == "2" && strings.Contains(o.body, `"code":20429`)
		}, func(o outcome) bool {
			return o.status == 429 && o.header.Get("Retry-After") == "2" && strings.Contains(o.body, `{"errors":[`)
		}},
		{"server_error", func(r *sandbox.Rates) { r.ServerError = 1 }, false, isServerError, nil},
		{"server_error_kept", func(r *sandbox.Rates) { r.ServerErrorKept = 1 }, true, isServerError, nil},
		{"answer_lost", func(r *sandbox.Rates) { r.AnswerLost = 1 }, true, lost, nil},
		{"reset", func(r *sandbox.Rates) { r.Reset = 1 }, false, func(o outcome) bool { return errors.Is(o.err, syscall.ECONNRESET) }, nil},
		{"slow", func(r *sandbox.Rates) { r.Slow = 1; r.SlowFor = sandbox.Duration(time.Millisecond) }, true, func(o outcome) bool {
			return o.status == 201 && strings.Contains(o.body, `"sid":"SM`)
		}, func(o outcome) bool { return o.status == 202 && o.header.Get("X-Message-Id") != "" }},
		{"redirect", func(r *sandbox.Rates) { r.Redirect = 1 }, false, func(o outcome) bool { return o.status == 307 && o.body == "{}" }, nil},
		{"no_id", func(r *sandbox.Rates) { r.NoID = 1 }, true, func(o outcome) bool { return o.status == 201 && o.body == "{}" }, func(o outcome) bool {
			return o.status == 202 && o.header.Get("X-Message-Id") == ""
		}},
		{"late_tail", func(r *sandbox.Rates) { r.LateTail = 1; r.SlowFor = sandbox.Duration(time.Millisecond) }, false, func(o outcome) bool {
			return o.status == 429 && o.header.Get("Retry-After") == "1" && o.header.Get("Content-Length") == "" && strings.HasSuffix(o.body, "}\n")
		}, nil},
		{"stall", func(r *sandbox.Rates) { r.Stall = 1 }, false, isTimeout, nil},
		{"stall_kept", func(r *sandbox.Rates) { r.StallKept = 1 }, true, isTimeout, nil},
	} {
		t.Run(tt.kind, func(t *testing.T) {
			t.Parallel()
			w := start(t)
			var f sandbox.Faults
			tt.set(&f.SMS)
			tt.set(&f.Email)
			if err := w.client.SetFaults(context.Background(), f); err != nil {
				t.Fatal(err)
			}
			for channel, send := range map[string]func(context.Context) outcome{"sms": w.rawText, "email": w.rawMail} {
				ctx, cancel := context.WithCancel(context.Background())
				if strings.HasPrefix(tt.kind, "stall") {
					go func() { // gives up once the request is in
						until(func() bool { return w.channel(channel).Requests > 0 })
						cancel()
					}()
				}
				seen := tt.sms
				if channel == "email" && tt.mail != nil {
					seen = tt.mail
				}
				if o := send(ctx); !seen(o) {
					t.Errorf("%s: %+v", channel, o)
				}
				cancel()
				tr := w.channel(channel)
				if tr.Requests != 1 || tr.Faults[tt.kind] != 1 || (tr.Accepted == 1) != tt.kept || (tr.RefusedByCode["fault:"+tt.kind] == 1) == tt.kept {
					t.Errorf("%s: truth %+v, kept %v", channel, tr, tt.kept)
				}
				if err := w.box.SetFaults(sandbox.Faults{}); err != nil { // it is sent again, and a duplicate only if it had been kept
					t.Fatal(err)
				}
				if o := send(context.Background()); o.err != nil || o.status/100 != 2 {
					t.Errorf("%s without faults: %+v", channel, o)
				}
				if d := w.channel(channel).Duplicates; (d == 1) != tt.kept {
					t.Errorf("%s: %d duplicates, kept %v", channel, d, tt.kept)
				}
				if err := w.box.SetFaults(f); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func (w *world) channel(name string) sandbox.ChannelTruth {
	if name == "sms" {
		return w.box.Truth().SMS
	}
	return w.box.Truth().Email
}

func isServerError(o outcome) bool {
	return (o.status == 500 || o.status == 503) && o.header.Get("Content-Type") == "text/html" && strings.Contains(o.body, "<center>nginx</center>")
}

func isTimeout(o outcome) bool { return errors.Is(o.err, context.Canceled) }

func TestFaultsComeAtTheirRate(t *testing.T) {
	t.Parallel()
	count := func(seed uint64) string {
		w := start(t, func(c *sandbox.Config) {
			c.Faults = sandbox.Faults{Seed: seed, SMS: sandbox.Rates{RateLimited: 0.2, Redirect: 0.3, NoID: 0.1}}
		})
		var seen strings.Builder
		for range 500 {
			o := w.rawText(context.Background())
			if o.err != nil {
				t.Fatal(o.err)
			}
			_ = seen.WriteByte(map[int]byte{201: '.', 429: 'l', 307: 'r'}[o.status])
		}
		tr := w.box.Truth().SMS.Faults
		for kind, want := range map[string]uint64{"rate_limited": 100, "redirect": 150, "no_id": 50} {
			if got := tr[kind]; got < want*6/10 || got > want*14/10 {
				t.Errorf("seed %d: %d times %s, want about %d", seed, got, kind, want)
			}
		}
		if n := w.box.Truth().Email.Faults; len(n) != 0 {
			t.Errorf("faults on the other channel: %v", n)
		}
		return seen.String()
	}
	one, again, other := count(1), count(1), count(2)
	if one != again {
		t.Error("the same seed makes other faults")
	}
	if one == other {
		t.Error("another seed makes the same faults")
	}
}

func TestFaultsAreRefused(t *testing.T) {
	t.Parallel()
	w := start(t)
	auth := []string{"Authorization", "Bearer " + w.box.Token()}
	for _, body := range []string{`{"sms":{"reset":1.5}}`, `{"sms":{"rest":1}}`, `{"sms":{"slow_for":"soon"}}`, `{}{}`, `[`, `{"email":{"stall":0.7,"slow":0.7}}`} {
		if status, text := w.request("POST", "/sandbox/faults", body, auth...); status != 400 || text == "" {
			t.Errorf("%s = %d %s, want 400", body, status, text)
		}
	}
	status, text := w.request("POST", "/sandbox/faults", `{"seed":7,"sms":{"slow":1,"slow_for":"20ms"}}`, auth...)
	if status != 200 || !strings.Contains(text, `"slow_for":"20ms"`) || !strings.Contains(text, `"retry_after":"1s"`) {
		t.Errorf("= %d %s", status, text)
	}
	if status, now := w.get("/sandbox/faults"); status != 200 || now != text {
		t.Errorf("GET = %d %s, want %s", status, now, text)
	}
}
