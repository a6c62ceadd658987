package provider_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"candor/pkg/pii"
	"candor/pkg/provider"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPrintsNoPersonalData(t *testing.T) {
	t.Parallel()
	r := provider.Recipient{ID: "id7", To: pii.NewEmail("canary@example.com"), Name: pii.NewName("Canary"), Values: []string{"canary code"}}
	for _, v := range []any{
		provider.SMS{ID: "id7", To: pii.NewPhone("+12125550156"), Body: "canary body"},
		provider.Found{ID: "id7", Body: "canary body"},
		r,
		provider.Email{Subject: "canary", Text: "canary", HTML: "canary", Recipients: []provider.Recipient{r}},
		&provider.Email{Text: "canary", Recipients: []provider.Recipient{r}},
		[]provider.Recipient{r},
	} {
		out := ""
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
			out += fmt.Sprintf(verb, v)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Error(err)
		}
		out += string(b)
		if strings.Contains(strings.ToLower(out), "canary") || strings.Contains(out, "2125550156") {
			t.Errorf("%T prints personal data: %s", v, out)
		}
	}
}

func TestClassNames(t *testing.T) {
	t.Parallel()
	if got := new(provider.Outcome).Class; got != provider.Unknown {
		t.Errorf("the zero outcome is %v, must be unknown: it may have been sent", got)
	}
	seen := map[string]bool{}
	for c := provider.Unknown; c <= provider.Defect; c++ {
		if s := c.String(); seen[s] || strings.Contains(s, "class") {
			t.Errorf("class %d is called %q", c, s)
		}
		seen[c.String()] = true
	}
	if got := (&provider.Error{Outcome: provider.Outcome{Class: provider.NotSent, Reason: "http_429"}}).Error(); got != "not_sent: http_429" {
		t.Errorf("got %q", got)
	}
}

func TestTransportConfigShowsAllMistakes(t *testing.T) {
	t.Parallel()
	if err := provider.DefaultTransportConfig().Validate(); err != nil {
		t.Error(err)
	}
	err := provider.TransportConfig{}.Validate()
	for _, setting := range []string{"max_in_flight", "dial_timeout", "request_timeout", "idle_timeout"} {
		if err == nil || !strings.Contains(err.Error(), setting) {
			t.Errorf("error %v does not name %s", err, setting)
		}
	}
}
