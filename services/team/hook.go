package team

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"candor/pkg/loopback"
	"candor/pkg/provider"
	"candor/pkg/team"
)

// Headers of a signed post. The signature is v0= and the HMAC-SHA256 of v0:<timestamp>:<body>, in hex, as Slack makes its own.
const (
	HeaderTimestamp = "X-Candor-Timestamp"
	HeaderSignature = "X-Candor-Signature"
)

// post sends the message to a webhook that takes Slack's form. An URL is as secret as a password, and errors of net/http hold
// it: they are put into a stable word here and go no further.
func (s *Service) post(ctx context.Context, m *message) provider.Outcome {
	target, err := url.Parse(m.address)
	if err != nil || target.Host == "" {
		return provider.Outcome{Class: provider.BadAddress, Reason: "invalid_url"}
	}
	if s.Clock.Speed() != 1 && !loopback.Is(target.Hostname()) {
		return refused("rehearsal") // of which nothing leaves the machine
	}
	body, err := slack(team.Message(m.alert, m.reminder))
	if err != nil {
		return provider.Outcome{Class: provider.Defect, Reason: "not_encoded"}
	}
	header := http.Header{"Content-Type": {"application/json"}, "User-Agent": {"candor"}}
	if m.secret != "" {
		at := strconv.FormatInt(s.Clock.Machine().Unix(), 10) // whoever checks it goes by the machine's time
		header[HeaderTimestamp], header[HeaderSignature] = []string{at}, []string{sign(m.secret, at, body)}
	}
	call := s.hooks.NewCall(s.Clock.Machine().Add(s.cfg.RequestTimeout))
	answer, err := call.Do(ctx, &http.Request{Method: http.MethodPost, URL: target, Host: target.Host, Header: header}, body)
	if err != nil {
		return call.Failure(err)
	}
	return judge(answer, s.Clock.Machine())
}

// slack writes what an incoming webhook of Slack's takes.
func slack(text string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(map[string]string{"text": text}); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

func sign(secret, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "v0:%s:%s", timestamp, body)
	return "v0=" + hex.EncodeToString(mac.Sum(nil))
}

// judge reads an answer. A redirect is followed nowhere: the message would be in somebody else's hands.
func judge(a *provider.Answer, now time.Time) provider.Outcome {
	reason := "http_" + strconv.Itoa(a.Status)
	switch {
	case a.Status >= 200 && a.Status < 300:
		return provider.Outcome{Class: provider.Accepted}
	case a.Status == http.StatusTooManyRequests:
		return provider.Outcome{Class: provider.NotSent, Reason: reason, Throttled: true, RetryAfter: provider.RetryAfter(a.Header, now)}
	case a.Status == http.StatusRequestTimeout || a.Status >= 500:
		return provider.Outcome{Class: provider.NotSent, Reason: reason}
	}
	return provider.Outcome{Class: provider.BadAddress, Reason: reason}
}
