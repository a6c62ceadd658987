package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sendgrid/rest"
	sdk "github.com/sendgrid/sendgrid-go"
	"github.com/sendgrid/sendgrid-go/helpers/mail"

	"candor/pkg/notice"
	"candor/pkg/pii"
	"candor/pkg/roster"
	candorv1 "candor/proto/candor/v1"
	"candor/services/sandbox"
)

// measureMails compares everything that Candor does about an e-mail with a plain program that sends the same words to the
// same people in requests of the same size, and keeps no record.
func measureMails(ctx context.Context, l *Lab) ([]Row, error) {
	var rows []Row
	for _, at := range []struct{ batch, inFlight, pages, shared, customers int }{
		{1, 64, 32, 100, 80_000}, {100, 16, 64, 1000, 1_000_000}, {1000, 16, 96, 1000, 1_000_000},
	} {
		what := fmt.Sprintf("e-mail, %d to a request, %d in flight", at.batch, at.inFlight)
		l.Say("%s", what)
		n := max(l.size(at.customers), at.batch) // a request names nobody twice
		runs, err := l.compete(ctx, contest{
			channel: "email", batch: at.batch, customers: n,
			candor: role{InFlight: at.inFlight, Batch: at.batch, Pages: at.pages, SharedIntent: at.shared},
			rivals: []rival{{role: role{Name: "plain email", InFlight: at.inFlight, Batch: at.batch, Customers: n}, n: (n + at.batch - 1) / at.batch}},
		})
		if err != nil {
			return nil, err
		}
		rows = append(rows, ratio(what, runs.ours.speed("people"), "sendgrid-go, no record: "+runs.rivals[0].speed("people"), runs.faster(0), 0.85, 0))
	}
	return rows, nil
}

// words are the starter's e-mail as a person of the crowd gets it, with tags for what is their own.
func words() (notice.Email, error) {
	pb, facts, err := Texts(1)
	if err != nil {
		return notice.Email{}, err
	}
	set, err := notice.NewSet(&candorv1.Declaration{Playbook: pb, Facts: facts})
	if err != nil {
		return notice.Email{}, err
	}
	text, err := set.Text("w0", candorv1.Channel_CHANNEL_EMAIL, "en")
	if err != nil {
		return notice.Email{}, err
	}
	text = text.Dated(time.Now())
	one := roster.Customer{GivenName: pii.NewName("Ana"), FamilyName: pii.NewName("Hall"), Data: roster.DataKinds(0).With(roster.NameData).With(roster.EmailAddress)}
	return text.Email(text.Variant(&one)), nil
}

// playPlainMails is sendgrid-go: its types, its JSON, a transport that keeps its connections, a client for each goroutine.
func playPlainMails(r role) (*actor, error) {
	list, err := plainPeople(r.Customers)
	if err != nil {
		return nil, err
	}
	text, err := words()
	if err != nil {
		return nil, err
	}
	t := tuned(r.InFlight)
	clients := make([]rest.Client, r.InFlight)
	for i := range clients {
		clients[i].HTTPClient = &http.Client{Transport: t}
	}
	key := sandbox.DefaultConfig().SendGrid.APIKey.Reveal()
	h := &hammer{inFlight: r.InFlight, send: func(worker int, i int64) error {
		m := mail.NewV3Mail().SetFrom(mail.NewEmail("Northwind Power", "notices@northwind.example")).SetReplyTo(mail.NewEmail("", "help@northwind.example"))
		m.Subject = text.Subject
		m.AddContent(mail.NewContent("text/plain", text.Text), mail.NewContent("text/html", text.HTML))
		m.SetTrackingSettings(mail.NewTrackingSettings().SetClickTracking(mail.NewClickTrackingSetting().SetEnable(false)).SetOpenTracking(mail.NewOpenTrackingSetting().SetEnable(false)))
		for k := range int64(r.Batch) {
			at := i*int64(r.Batch) + k
			c := &list[at%int64(len(list))]
			p := mail.NewPersonalization()
			p.AddTos(mail.NewEmail("", c.email))
			for _, tag := range text.Vars {
				if strings.Contains(tag, "code") {
					p.SetSubstitution(tag, c.code)
				} else {
					p.SetSubstitution(tag, c.given)
				}
			}
			p.SetCustomArg("candor_id", plainID("M", at))
			m.AddPersonalizations(p)
		}
		req := sdk.GetRequest(key, "/v3/mail/send", r.URL)
		req.Method = rest.Post
		var err error
		if req.Body, err = json.Marshal(m); err != nil {
			return err
		}
		answer, err := clients[worker].Send(req)
		if err == nil && answer.StatusCode != http.StatusAccepted {
			err = fmt.Errorf("status %d", answer.StatusCode)
		}
		return err
	}}
	act := func(ctx context.Context, a ask) (said, error) {
		s, err := h.act(ctx, a)
		s.Count *= r.Batch
		return s, err
	}
	return &actor{act: act, stop: func() error { t.CloseIdleConnections(); return nil }}, nil
}
