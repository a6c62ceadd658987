package sandbox

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"candor/pkg/config"
)

// Client asks a sandbox in another process for the truth.
type Client struct {
	base  string
	token config.Secret
	http  *http.Client
}

// NewClient returns a client of the sandbox at url.
func NewClient(url string, token config.Secret) *Client {
	return &Client{base: strings.TrimSuffix(url, "/"), token: token, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2}}}
}

// Close closes the idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Truth returns what really happened so far.
func (c *Client) Truth(ctx context.Context) (t Truth, err error) {
	err = c.do(ctx, http.MethodGet, "/sandbox/truth", nil, &t)
	return t, err
}

// FirstAccepted returns when the first message of each channel was accepted.
func (c *Client) FirstAccepted(ctx context.Context) (f First, err error) {
	err = c.do(ctx, http.MethodGet, "/sandbox/truth/first", nil, &f)
	return f, err
}

// SetFaults replaces the faults from the next request on.
func (c *Client) SetFaults(ctx context.Context, f Faults) error {
	return c.do(ctx, http.MethodPost, "/sandbox/faults", f, nil)
}

// SetReceipts replaces what becomes of messages that are taken from now on, and how it is told.
func (c *Client) SetReceipts(ctx context.Context, r Receipts) error {
	return c.do(ctx, http.MethodPost, "/sandbox/receipts", r, nil)
}

// SetHooks replaces the addresses that the providers' consoles hold.
func (c *Client) SetHooks(ctx context.Context, h Hooks) error {
	return c.do(ctx, http.MethodPost, "/sandbox/hooks", h, nil)
}

// SendGridPublicKey returns what verifies the posts of events: the base64 of its DER.
func (c *Client) SendGridPublicKey(ctx context.Context) (string, error) {
	var h consoleHooks
	err := c.do(ctx, http.MethodGet, "/sandbox/hooks", nil, &h)
	return h.PublicKey, err
}

// Reply texts back from a phone to whom it last heard from, and returns when the inbound URL has answered.
func (c *Client) Reply(ctx context.Context, phone, text string) error {
	return c.do(ctx, http.MethodPost, "/sandbox/reply", Reply{Phone: phone, Text: text}, nil)
}

// Suppress puts people on the providers' own lists.
func (c *Client) Suppress(ctx context.Context, list Suppressed) error {
	return c.do(ctx, http.MethodPost, "/sandbox/suppressed", list, nil)
}

// Attempt is what became of one attempt at a notice.
type Attempt struct {
	Notice                     []byte // the opaque id up to its first dot; valid until fn returns
	Attempt                    int
	Accepted, Dropped, Refused int       // Dropped ones are among the Accepted
	At                         time.Time // when the newest of them was accepted; zero for none
	Fate                       string    // what became of the accepted: empty so far, or as in ChannelTruth.Fates
}

// Notices calls fn with every attempt at every notice of a channel, "sms" or "email", whose opaque id begins with prefix. The
// attempts of one notice follow each other.
func (c *Client) Notices(ctx context.Context, channel, prefix string, fn func(Attempt) error) error {
	res, err := c.send(ctx, http.MethodGet, "/sandbox/truth/notices?"+url.Values{"channel": {channel}, "prefix": {prefix}}.Encode(), nil)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }() // only read from
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		a, err := parseAttempt(lines.Bytes())
		if err != nil {
			return err
		}
		if err := fn(a); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("sandbox notices: %w", err)
	}
	return nil
}

func parseAttempt(line []byte) (a Attempt, err error) {
	rest := line
	a.Notice, rest, _ = bytes.Cut(rest, []byte{'\t'})
	for _, n := range [...]*int{&a.Attempt, &a.Accepted, &a.Dropped, &a.Refused} {
		var field []byte
		field, rest, _ = bytes.Cut(rest, []byte{'\t'})
		if *n, err = strconv.Atoi(string(field)); err != nil {
			return a, errors.New("sandbox notices: a line is not what this client understands, use the same version on both sides")
		}
	}
	at, rest, _ := bytes.Cut(rest, []byte{'\t'})
	nanos, err := strconv.ParseInt(string(at), 10, 64)
	if err != nil {
		return a, errors.New("sandbox notices: a line is not what this client understands, use the same version on both sides")
	}
	if nanos > 0 {
		a.At = time.Unix(0, nanos)
	}
	a.Fate = string(rest)
	return a, nil
}

func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("sandbox %s: %w", path, err)
		}
		body = bytes.NewReader(b)
	}
	res, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }() // only read from
	if out == nil {
		_, err = io.Copy(io.Discard, res.Body)
	} else {
		err = json.NewDecoder(res.Body).Decode(out)
	}
	if err != nil {
		return fmt.Errorf("sandbox %s: %w", path, err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	res, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	if res.StatusCode/100 != 2 {
		defer func() { _ = res.Body.Close() }() // only read from
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1024))
		return nil, fmt.Errorf("sandbox %s: %s: %s", req.URL.Path, res.Status, bytes.TrimSpace(text))
	}
	return res, nil
}
