package e2e

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	candorv1 "candor/proto/candor/v1"
	"candor/services/app"
)

// How many people are affected is nobody's business who has no token; whether the process lives is everybody's.
func TestFiguresAreShownToNobodyWithoutAToken(t *testing.T) {
	t.Parallel()
	h := play(t, func(cfg *app.Config) { cfg.HTTP.Addr, cfg.Frontdoor.Listen = "127.0.0.1:0", "127.0.0.1:0" })
	roster := "reference,name,email,phone,country,language\nNP-1,Ada Lovelace,ada@example.com,+14155550100,US,en\n"
	if _, err := h.driver.Upload(t.Context(), "figures", strings.NewReader(roster), url.Values{"name": {"roster.csv"}}); err != nil {
		t.Fatal(err)
	}
	get := func(c *http.Client, url string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err := errors.Join(err, res.Body.Close()); err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(body)
	}
	const figure = "candor_api_uploaded_customers_total"
	stranger, scraper := httpClient(t), role(t, h.app.APIURL(), h.admin, "prometheus", candorv1.Role_ROLE_VIEWER)
	for _, tt := range []struct {
		name, url          string
		stranger, tokenful int // what /metrics is answered with
	}{
		{"api", h.app.APIURL(), http.StatusUnauthorized, http.StatusOK},
		{"front door", h.app.FrontdoorURL(), http.StatusNotFound, http.StatusNotFound},
	} {
		if code, body := get(stranger, tt.url+"/metrics"); code != tt.stranger || strings.Contains(body, "_total") {
			t.Errorf("%s: a stranger gets %d and %s", tt.name, code, body)
		}
		code, body := get(scraper, tt.url+"/metrics")
		if code != tt.tokenful || strings.Contains(body, figure+" 1\n") != (code == http.StatusOK) {
			t.Errorf("%s: a viewer gets %d and %s", tt.name, code, body)
		}
		for path, want := range map[string]string{"/livez": "ok\n", "/readyz": "ready\n"} {
			if code, body := get(stranger, tt.url+path); code != http.StatusOK || body != want {
				t.Errorf("%s: %s = %d %q", tt.name, path, code, body)
			}
		}
	}
}
