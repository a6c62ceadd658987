package sendgrid

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/sendgrid/rest"
	sdk "github.com/sendgrid/sendgrid-go"

	"candor/pkg/provider"
	"candor/pkg/provider/providertest"
)

var batchSizes = []int{1, 100, 1000}

// BenchmarkSDK is a plain program with sendgrid-go: its types, its request, a tuned transport.
func BenchmarkSDK(b *testing.B) {
	for _, n := range batchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			host := providertest.StartAnswerer(b)
			m, batch := example(n)
			hc := &http.Client{Transport: &http.Transport{MaxIdleConns: providertest.InFlight, MaxIdleConnsPerHost: providertest.InFlight, MaxConnsPerHost: providertest.InFlight}}
			defer hc.CloseIdleConnections()
			client := rest.Client{HTTPClient: hc}
			providertest.Hammer(b, n, func() error {
				r := sdk.GetRequest("SG.key", "/v3/mail/send", host)
				r.Method = rest.Post
				var err error
				if r.Body, err = json.Marshal(sdkMail(m, batch)); err != nil {
					return err
				}
				answer, err := client.SendWithContext(b.Context(), r)
				if err == nil && answer.StatusCode != http.StatusAccepted {
					err = fmt.Errorf("status %d", answer.StatusCode)
				}
				return err
			})
		})
	}
}

// BenchmarkSender is ours, with every promise kept.
func BenchmarkSender(b *testing.B) {
	for _, n := range batchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			cfg := DefaultConfig()
			cfg.BaseURL, cfg.APIKey, cfg.BatchSize = providertest.StartAnswerer(b), "SG.key", MaxBatch
			s, err := New(cfg, time.Now)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			m, _ := example(n)
			providertest.Hammer(b, n, func() error {
				for _, o := range s.SendEmail(b.Context(), m, time.Now().Add(time.Minute)) {
					if o.Class != provider.Accepted {
						return fmt.Errorf("outcome %+v", o)
					}
				}
				return nil
			})
		})
	}
}
