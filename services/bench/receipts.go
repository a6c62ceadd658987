package bench

import (
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // what Twilio signs with
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"github.com/twilio/twilio-go/client"

	"candor/pkg/config"
	"candor/pkg/noticeid"
	"candor/pkg/vault"
	candorv1 "candor/proto/candor/v1"
	"candor/services/app"
	"candor/services/frontdoor"
)

// receiptsToken signs the callbacks of the measurement.
const receiptsToken = "measuredauthtoken"

// measureReceipts compares the front door, which has each receipt on disk before it answers, with a handler that verifies the
// signature with Twilio's own library and drops it. The same third process plays Twilio for both.
func measureReceipts(ctx context.Context, l *Lab) ([]Row, error) {
	const inFlight = 512
	n := l.size(40_000)
	l.Say("receipts, %d in flight", inFlight)
	var ours, dropped runs
	err := l.within(func(dir string) (err error) {
		if _, _, err := Prepare(dir); err != nil {
			return err
		}
		var sides [3]*side
		for i, r := range []role{
			{Name: "door", Dir: dir}, {Name: "drop"}, {Name: "callbacks", Dir: dir, InFlight: inFlight},
		} {
			if sides[i], err = l.start(ctx, r); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, sides[i].stop()) }()
		}
		door, drop, twilio := sides[0], sides[1], sides[2]
		for turn := range l.Pairs + 1 {
			for _, x := range []struct {
				server *side
				runs   *runs
			}{{door, &ours}, {drop, &dropped}} {
				s, err := twilio.send(ask{Do: x.server.ready.URL, N: n})
				if err != nil {
					return err
				}
				if turn > 0 {
					*x.runs = append(*x.runs, s)
					l.Say("  %-5s %s", x.server.name, runs{s}.speed("receipts"))
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	faster := median(divide(ours.rates(), dropped.rates()))
	return []Row{ratio("receipts at the front door", ours.speed("receipts"), "a handler that verifies and drops: "+dropped.speed("receipts"), faster, 0.5, 0)}, nil
}

// playDoor is the front door with a broker that waits for the disk.
func playDoor(ctx context.Context, r role, log zerolog.Logger) (*actor, error) {
	cfg := app.DefaultConfig()
	cfg.Data, cfg.Keys = filepath.Join(r.Dir, "data"), filepath.Join(r.Dir, "keys")
	cfg.NATS.FreeSpaceMark, cfg.Frontdoor.Listen = 1, "127.0.0.1:0"
	cfg.Frontdoor.Twilio.AuthToken = config.Secret(receiptsToken)
	a, err := app.New(ctx, cfg, []string{"frontdoor"}, log)
	if err != nil {
		return nil, err
	}
	return &actor{ready: said{URL: a.FrontdoorURL()}, stop: running(ctx, a.Run)}, nil
}

// playDrop verifies and drops.
func playDrop(context.Context) (*actor, error) {
	mux := http.NewServeMux()
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	l, err := listen()
	if err != nil {
		return nil, err
	}
	base := "http://" + l.Addr().String()
	validator := client.NewRequestValidator(receiptsToken)
	mux.HandleFunc("POST "+frontdoor.TwilioStatusPath+"{id}", func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, 64<<10))
		if err != nil || !validator.ValidateBody(base+req.URL.Path, body, req.Header.Get("X-Twilio-Signature")) {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	return &actor{ready: said{URL: base}, stop: func() error {
		err := server.Close()
		if e := <-served; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
		return err
	}}, nil
}

// playCallbacks is Twilio, telling whoever is asked about as many messages, each of them another one.
func playCallbacks(r role) (*actor, error) {
	door, err := vault.OpenDoor(filepath.Join(r.Dir, "keys"))
	if err != nil {
		return nil, err
	}
	ids := noticeid.New(door.IDKey())
	web := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: r.InFlight, MaxConnsPerHost: r.InFlight, DisableCompression: true}}
	var told uint32
	return &actor{act: func(ctx context.Context, q ask) (said, error) {
		requests := make([]*http.Request, q.N)
		for i := range requests {
			told++
			key := noticeid.Key{Incident: "measured", Wave: "w0", Channel: candorv1.Channel_CHANNEL_SMS, Page: told / 1000, Slot: told % 1000}
			req, err := callback(ctx, q.Do+frontdoor.TwilioStatusPath+string(ids.Append(nil, key, 1)), told)
			if err != nil {
				return said{}, err
			}
			requests[i] = req
		}
		var next, refused atomic.Int64
		var g sync.WaitGroup
		start := time.Now()
		for range r.InFlight {
			g.Go(func() {
				for i := next.Add(1) - 1; i < int64(len(requests)); i = next.Add(1) - 1 {
					res, err := web.Do(requests[i])
					if err != nil {
						refused.Add(1)
						continue
					}
					_, _ = io.Copy(io.Discard, res.Body) // the answer has none
					_ = res.Body.Close()                 // only read from
					if res.StatusCode/100 != 2 {
						refused.Add(1)
					}
				}
			})
		}
		g.Wait()
		if n := refused.Load(); n > 0 {
			return said{}, fmt.Errorf("%d of %d receipts were refused: what was measured is wrong", n, q.N)
		}
		return said{Count: q.N, Seconds: time.Since(start).Seconds()}, nil
	}, stop: func() error { web.CloseIdleConnections(); return nil }}, nil
}

// callback is one receipt as Twilio posts it, the parameters in the order in which they are signed.
func callback(ctx context.Context, url string, n uint32) (*http.Request, error) {
	sid := fmt.Sprintf("SM%032x", n)
	params := [][2]string{
		{"AccountSid", "AC00000000000000000000000000000000"},
		{"ApiVersion", "2010-04-01"},
		{"From", "+15005550006"},
		{"MessageSid", sid},
		{"MessageStatus", "delivered"},
		{"SmsSid", sid},
		{"SmsStatus", "delivered"},
		{"To", "+15005550001"},
	}
	mac := hmac.New(sha1.New, []byte(receiptsToken))
	_, _ = io.WriteString(mac, url) // a hash never fails
	var body strings.Builder
	for i, p := range params {
		_, _ = io.WriteString(mac, p[0]+p[1]) // as above
		if i > 0 {
			body.WriteByte('&')
		}
		body.WriteString(p[0] + "=" + strings.ReplaceAll(p[1], "+", "%2B"))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body.String()))
	if err != nil {
		return nil, fmt.Errorf("callback: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("X-Twilio-Signature", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return req, nil
}
