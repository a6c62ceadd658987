package sandbox_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	sgmail "github.com/sendgrid/sendgrid-go/helpers/mail"

	"candor/pkg/config"
	"candor/services/sandbox"
)

func sandboxToken(b *sandbox.Sandbox) config.Secret { return config.Secret(b.Token()) }

// letter is a mail with one personalization per address; ids, where given, are its opaque ids.
func letter(addresses, ids []string) *sgmail.SGMailV3 {
	m := sgmail.NewV3Mail()
	m.SetFrom(sgmail.NewEmail("Acme", "notice@acme.example"))
	m.Subject = "About your data"
	m.AddContent(sgmail.NewContent("text/plain", "Dear -name-, we are sorry."), sgmail.NewContent("text/html", "<p>Dear -name-, we are sorry.</p>"))
	for i, a := range addresses {
		p := sgmail.NewPersonalization()
		p.AddTos(sgmail.NewEmail("", a))
		if i < len(ids) {
			p.SetCustomArg("candor_id", ids[i])
		}
		m.AddPersonalizations(p)
	}
	return m
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // of a test's own making
	}
	return b
}

func simpleMail(to string, ids ...string) []byte { return encode(letter([]string{to}, ids)) }

// errorFields returns the fields that an answer complains about.
func errorFields(t *testing.T, body string) (fields []string) {
	t.Helper()
	var answer struct {
		Errors []struct {
			Message string  `json:"message"`
			Field   *string `json:"field"`
		} `json:"errors"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || len(answer.Errors) == 0 {
		t.Fatalf("%q is no list of errors: %v", body, err)
	}
	for _, e := range answer.Errors {
		if e.Message == "" {
			t.Errorf("an error without a message: %s", body)
		}
		if e.Field == nil {
			fields = append(fields, "null")
		} else {
			fields = append(fields, *e.Field)
		}
	}
	return fields
}

func TestMailIsRefused(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 10_001)
	many := make([]string, 1001)
	for i := range many {
		many[i] = fmt.Sprintf("p%d@example.com", i)
	}
	change := func(f func(m *sgmail.SGMailV3)) []byte {
		m := letter([]string{"a@example.com", "b@example.com", "c@example.com"}, []string{"n0.1.m", "n1.1.m", "n2.1.m"})
		f(m)
		return encode(m)
	}
	for _, tt := range []struct {
		name   string
		body   []byte
		fields []string
	}{
		{"no JSON", []byte("{"), []string{"null"}},
		{"trailing bytes", append(simpleMail("a@example.com"), '}'), []string{"null"}},
		{"no object", []byte(`[]`), []string{"(root)"}},
		{"empty object", []byte(`{}`), []string{"personalizations", "from.email", "subject", "content"}},
		{"no from", change(func(m *sgmail.SGMailV3) { m.From = nil }), []string{"from.email"}},
		{"bad from", change(func(m *sgmail.SGMailV3) { m.From.Address = "acme" }), []string{"from.email"}},
		{"Unicode in from", change(func(m *sgmail.SGMailV3) { m.From.Address = "nótice@acme.example" }), []string{"from.email"}},
		{"bad reply_to", change(func(m *sgmail.SGMailV3) { m.SetReplyTo(sgmail.NewEmail("", "x@")) }), []string{"reply_to.email"}},
		{"no subject", change(func(m *sgmail.SGMailV3) { m.Subject = "" }), []string{"subject"}},
		{"no content", change(func(m *sgmail.SGMailV3) { m.Content = nil }), []string{"content"}},
		{"empty content", change(func(m *sgmail.SGMailV3) { m.Content[1].Value = "" }), []string{"content.1.value"}},
		{"content without type", change(func(m *sgmail.SGMailV3) { m.Content = m.Content[:1]; m.Content[0].Type = "" }), []string{"content.0.type"}},
		{"HTML before text", change(func(m *sgmail.SGMailV3) { slices.Reverse(m.Content) }), []string{"content.1.type"}},
		{"no to", change(func(m *sgmail.SGMailV3) { m.Personalizations[1].To = nil }), []string{"personalizations.1.to"}},
		{"cc and no to", change(func(m *sgmail.SGMailV3) { p := m.Personalizations[1]; p.CC, p.To = p.To, nil }), []string{"personalizations.1.to"}},
		{"malformed address", change(func(m *sgmail.SGMailV3) { m.Personalizations[1].To[0].Address = "b@example" }), []string{"personalizations.1.to.0.email"}},
		{"two malformed addresses", change(func(m *sgmail.SGMailV3) {
			m.Personalizations[0].To[0].Address = ""
			m.Personalizations[2].To[0].Address = "c c@example.com"
		}), []string{"personalizations.0.to.0.email", "personalizations.2.to.0.email"}},
		{"the same address twice", change(func(m *sgmail.SGMailV3) { m.Personalizations[2].To[0].Address = "a@example.com" }), []string{"personalizations.2.to.0.email"}},
		{"the same address in capitals", change(func(m *sgmail.SGMailV3) { m.Personalizations[2].To[0].Address = "A@Example.COM" }), []string{"personalizations.2.to.0.email"}},
		{"the same address as bcc", change(func(m *sgmail.SGMailV3) {
			m.Personalizations[1].AddBCCs(sgmail.NewEmail("", "x@example.com"), sgmail.NewEmail("", "b@example.com"))
		}), []string{"personalizations.1.bcc.1.email"}},
		{"1001 personalizations", encode(letter(many, nil)), []string{"personalizations"}},
		{"1001 recipients", change(func(m *sgmail.SGMailV3) {
			for _, a := range many[3:] {
				m.Personalizations[0].AddCCs(sgmail.NewEmail("", a))
			}
			m.Personalizations[0].AddCCs(sgmail.NewEmail("", "one@more.example"))
		}), []string{"personalizations"}},
		{"too much substitution", change(func(m *sgmail.SGMailV3) { m.Personalizations[1].SetSubstitution("-a-", long[:9998]) }), []string{"personalizations.1.substitutions"}},
		{"too much custom_args", change(func(m *sgmail.SGMailV3) { m.Personalizations[2].SetCustomArg("x", long) }), []string{"personalizations.2.custom_args"}},
		{"11 categories", change(func(m *sgmail.SGMailV3) { m.AddCategories(many[:11]...) }), []string{"categories"}},
		{"long category", change(func(m *sgmail.SGMailV3) { m.AddCategories(long[:256]) }), []string{"categories.0"}},
		{"in a week", change(func(m *sgmail.SGMailV3) { m.SetSendAt(1 << 40) }), []string{"send_at"}},
		{"one in a week", change(func(m *sgmail.SGMailV3) { m.Personalizations[1].SetSendAt(1 << 40) }), []string{"personalizations.1.send_at"}},
		{"wrong types", []byte(`{"personalizations":[{"to":[{"email":1}],"substitutions":{"-a-":2},"custom_args":{"k":null}},7,{"to":{}}],"from":"x","subject":true,"content":[{"type":1}]}`), []string{
			"personalizations.0.to.0.email", "personalizations.0.substitutions.-a-", "personalizations.0.custom_args.k", "personalizations.1",
			"personalizations.1.to", "from", "subject", "content.0.type",
			"personalizations.0.to.0.email", "personalizations.1.to", "from.email", "subject", "content.0.type", "content.0.value",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := start(t)
			res := w.mustMail(tt.body, 400)
			if got := errorFields(t, res.Body); !cmp.Equal(got, tt.fields) {
				t.Errorf("fields %q, want %q", got, tt.fields)
			}
			if tr := w.truth().Email; tr.Accepted != 0 || tr.Requests != 1 || tr.RefusedByCode["400"] != 1 {
				t.Errorf("truth %+v, want one request refused and nothing accepted", tr)
			}
		})
	}
}

func TestARefusedRequestFailsEveryAttemptInIt(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.mustMail(encode(letter([]string{"a@example.com", "broken"}, []string{"n0.1.m", "n1.1.m"})), 400)
	w.mustMail(simpleMail("a@example.com", "n0.2.m"), 202)
	want := []sandbox.Attempt{
		{Notice: []byte("n0"), Attempt: 2, Accepted: 1},
		{Notice: []byte("n0"), Attempt: 1, Refused: 1},
		{Notice: []byte("n1"), Attempt: 1, Refused: 1},
	}
	if got := notices(t, w, "email", ""); !cmp.Equal(got, want) {
		t.Errorf("notices %s", cmp.Diff(want, got))
	}
	if d := w.truth().Duplicates; d != 0 {
		t.Errorf("%d duplicates, want 0", d)
	}
}

func notices(t *testing.T, w *world, channel, prefix string) (all []sandbox.Attempt) {
	t.Helper()
	err := w.client.Notices(context.Background(), channel, prefix, func(a sandbox.Attempt) error {
		if a.At.IsZero() != (a.Accepted == 0) {
			t.Errorf("attempt %d at %s: %d accepted at %s", a.Attempt, a.Notice, a.Accepted, a.At)
		}
		a.Notice, a.At = bytes.Clone(a.Notice), time.Time{}
		all = append(all, a)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestMailIsAccepted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		body     []byte
		status   int
		accepted uint64
	}{
		{"one", simpleMail("a@example.com", "n.1.m"), 202, 1},
		{"plus, dots and an IDN in ASCII", simpleMail("a.b+c@xn--mnchen-3ya.example", "n.1.m"), 202, 1},
		{"to, cc and bcc", func() []byte {
			m := letter([]string{"a@example.com"}, []string{"n.1.m"})
			m.Personalizations[0].AddCCs(sgmail.NewEmail("", "b@example.com"))
			m.Personalizations[0].AddBCCs(sgmail.NewEmail("", "c@example.com"))
			return encode(m)
		}(), 202, 3},
		{"sandbox mode", func() []byte {
			m := letter([]string{"a@example.com"}, nil)
			m.MailSettings = (&sgmail.MailSettings{}).SetSandboxMode(sgmail.NewSetting(true))
			return encode(m)
		}(), 200, 0},
		{"template instead of subject and content", func() []byte {
			m := letter([]string{"a@example.com"}, nil)
			m.Subject, m.Content = "", nil
			m.SetTemplateID("d-1")
			return encode(m)
		}(), 202, 1},
		{"a subject for each", func() []byte {
			m := letter([]string{"a@example.com"}, nil)
			m.Subject = ""
			m.Personalizations[0].Subject = "For you"
			return encode(m)
		}(), 202, 1},
		{"exactly 10000 bytes of substitutions", func() []byte {
			m := letter([]string{"a@example.com"}, nil)
			m.Personalizations[0].SetSubstitution("-a-", strings.Repeat("x", 9997))
			return encode(m)
		}(), 202, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := start(t)
			res := w.mustMail(tt.body, tt.status)
			if res.Body != "" {
				t.Errorf("body %q, want none", res.Body)
			}
			if got := len(res.Headers["X-Message-Id"]) == 1 && len(res.Headers["X-Message-Id"][0]) == 22; got != (tt.status == 202) {
				t.Errorf("X-Message-Id %q with status %d", res.Headers["X-Message-Id"], tt.status)
			}
			if tr := w.truth().Email; tr.Accepted != tt.accepted || tr.Requests != 1 {
				t.Errorf("truth %+v, want %d accepted", tr, tt.accepted)
			}
		})
	}
}

func TestMailBodyMayBePacked(t *testing.T) {
	t.Parallel()
	w := start(t)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(simpleMail("a@example.com", "n.1.m"))
	_ = z.Close()
	for range 2 { // the second time with a used reader
		res, err := w.mail(packed.Bytes(), "Content-Encoding", "gzip")
		if err != nil || res.StatusCode != 202 {
			t.Fatalf("gzip: %v, %v", res, err)
		}
	}
	for name, body := range map[string][]byte{"truncated": packed.Bytes()[:packed.Len()-4], "not packed": simpleMail("b@example.com")} {
		if res, err := w.mail(body, "Content-Encoding", "gzip"); err != nil || res.StatusCode != 400 {
			t.Errorf("%s: %v, %v, want 400", name, res, err)
		}
	}
	if tr := w.truth().Email; tr.Accepted != 2 || tr.Duplicates != 1 {
		t.Errorf("truth %+v, want 2 accepted of one notice", tr)
	}
}

func TestMailTooLargeIsNginxHTML(t *testing.T) {
	t.Parallel()
	w := start(t)
	m := letter([]string{"a@example.com"}, nil)
	m.Content[0].Value = strings.Repeat("x", 30<<20)
	res := w.mustMail(encode(m), 413)
	if !strings.Contains(res.Body, "<h1>413 Request Entity Too Large</h1>") || res.Headers["Content-Type"][0] != "text/html" {
		t.Errorf("body %.200q of type %q", res.Body, res.Headers["Content-Type"])
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(encode(m))
	_ = z.Close()
	if res, err := w.mail(packed.Bytes(), "Content-Encoding", "gzip"); err != nil || res.StatusCode != 413 {
		t.Errorf("packed: %v, %v, want 413", res, err)
	}
}

func TestSuppressedMailIsAcceptedAndDropped(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *sandbox.Config) { c.SendGrid.Suppressed = []string{"Gone@example.com"} })
	if err := w.client.Suppress(context.Background(), sandbox.Suppressed{Emails: []string{"also@example.com"}}); err != nil {
		t.Fatal(err)
	}
	body := encode(letter([]string{"gone@example.com", "also@example.com", "here@example.com"}, []string{"n0.1.m", "n1.1.m", "n2.1.m"}))
	w.mustMail(body, 202)
	w.mustMail(body, 202)
	if tr := w.truth().Email; tr.Accepted != 6 || tr.Dropped != 4 || tr.Duplicates != 1 {
		t.Errorf("truth %+v, want 6 accepted, 4 dropped, and only the delivered one a duplicate", tr)
	}
	bypass := letter([]string{"gone@example.com"}, []string{"n3.1.m"})
	bypass.MailSettings = (&sgmail.MailSettings{}).SetBypassListManagement(sgmail.NewSetting(true))
	w.mustMail(encode(bypass), 202)
	if tr := w.truth().Email; tr.Dropped != 4 {
		t.Errorf("%d dropped, want the bypass to deliver", tr.Dropped)
	}
}

func TestMailKeyAndTypeAreChecked(t *testing.T) {
	t.Parallel()
	w := start(t)
	for _, tt := range []struct {
		header, value string
		want          int
	}{
		{"Authorization", "Bearer SG.other", 401},
		{"Content-Type", "text/plain", 415},
		{"Content-Encoding", "br", 400},
	} {
		res, err := w.mail(simpleMail("a@example.com"), tt.header, tt.value)
		if err != nil || res.StatusCode != tt.want {
			t.Errorf("%s %s: %v, %v, want %d", tt.header, tt.value, res, err, tt.want)
			continue
		}
		errorFields(t, res.Body)
	}
	if status, body := w.request("GET", "/v3/nothing", ""); status != 404 || len(errorFields(t, body)) != 1 {
		t.Errorf("GET /v3/nothing = %d %s", status, body)
	}
}
