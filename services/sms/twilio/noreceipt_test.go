package twilio_test

import (
	"testing"
	"time"

	"candor/pkg/pii"
	"candor/pkg/provider"
	"candor/pkg/provider/providertest"
	"candor/services/sms/twilio"
)

func TestOfAMessageWithoutAnIDNoReceiptIsAskedFor(t *testing.T) {
	t.Parallel()
	server := providertest.NewServer(t, providertest.Always(providertest.Answer{Status: 201, Body: created}))
	s, err := twilio.New(config(server.URL), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	m := provider.SMS{To: pii.NewPhone("+12125550156"), From: "+12125550100", Body: "A draft waits."}
	if got := s.SendSMS(t.Context(), m, time.Now().Add(time.Minute)); got.Class != provider.Accepted {
		t.Errorf("got %+v", got)
	}
	if form := server.Requests()[0].Form(t); form.Has("StatusCallback") || form.Get("Body") != m.Body {
		t.Errorf("form %v", form)
	}
}
