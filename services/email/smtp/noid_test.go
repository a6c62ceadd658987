package smtp_test

import (
	"net/mail"
	"strings"
	"testing"

	"candor/pkg/provider"
	"candor/services/email/smtp"
)

func TestALetterWithoutAnIDHasOneOfItsOwn(t *testing.T) {
	t.Parallel()
	b := &mailbox{}
	s := open(t, b.start(t, nil, false))
	seen := map[string]bool{}
	for range 2 {
		m := notice(1)
		m.Recipients[0].ID = ""
		if o := s.SendEmail(t.Context(), m, soon())[0]; o.Class != provider.Accepted {
			t.Errorf("got %+v", o)
		}
	}
	for _, l := range b.letters {
		letter, err := mail.ReadMessage(strings.NewReader(l.text))
		if err != nil {
			t.Fatal(err)
		}
		if _, there := letter.Header[smtp.IDHeader]; there {
			t.Error("carries the id of a notice")
		}
		seen[letter.Header.Get("Message-Id")] = true
	}
	if len(seen) != 2 || seen[""] || seen["<@acme.example>"] {
		t.Errorf("message ids %v", seen)
	}
}
