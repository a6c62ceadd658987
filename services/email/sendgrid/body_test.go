package sendgrid

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/sendgrid/sendgrid-go/helpers/mail"

	"candor/pkg/pii"
	"candor/pkg/provider"
)

// sdkMail builds with the SDK's types what appendBody writes by hand.
func sdkMail(m *provider.Email, batch []int) *mail.SGMailV3 {
	v3 := mail.NewV3Mail()
	v3.SetFrom(mail.NewEmail(m.FromName, m.From))
	if m.ReplyTo != "" {
		v3.SetReplyTo(mail.NewEmail("", m.ReplyTo))
	}
	v3.Subject = m.Subject
	if m.Text != "" {
		v3.AddContent(mail.NewContent("text/plain", m.Text))
	}
	if m.HTML != "" {
		v3.AddContent(mail.NewContent("text/html", m.HTML))
	}
	for _, i := range batch {
		r := m.Recipients[i]
		p := mail.NewPersonalization()
		p.AddTos(mail.NewEmail(r.Name.Reveal(), r.To.Reveal()))
		for n, tag := range m.Vars {
			p.SetSubstitution(tag, r.Values[n])
		}
		if r.ID != "" {
			p.SetCustomArg("candor_id", r.ID)
		}
		v3.AddPersonalizations(p)
	}
	off := mail.NewTrackingSettings()
	off.SetClickTracking(mail.NewClickTrackingSetting().SetEnable(false).SetEnableText(false))
	off.SetOpenTracking(mail.NewOpenTrackingSetting().SetEnable(false))
	off.SetSubscriptionTracking(mail.NewSubscriptionTrackingSetting().SetEnable(false))
	off.SetGoogleAnalytics(mail.NewGaSetting().SetEnable(false))
	v3.SetTrackingSettings(off)
	return v3
}

func example(n int) (*provider.Email, []int) {
	m := &provider.Email{
		From: "notice@example.com", FromName: "Señal \"Acme\"", ReplyTo: "help@example.com", Subject: "A notice for -name-",
		Text: "Dear -name-,\r\n\tcode -code-\\ \x01 \u2028", HTML: "<p>Dear -name-,</p><a href='https://example.com/?a=1&b=2'>-code-</a>",
		Vars: []string{"-name-", "-code-", "-what-", "-\"quoted\"-"},
	}
	var batch []int
	for i := range n {
		m.Recipients = append(m.Recipients, provider.Recipient{
			ID: fmt.Sprintf("c2xvdC0xMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMw%d", i), To: pii.NewEmail(fmt.Sprintf("customer%d@example.com", i)), Name: pii.NewName("Ana Peña"),
			Values: []string{"Ana Peña", "7K3M-9QXT", "your name, your address and your telephone number", ""},
		})
		batch = append(batch, i)
	}
	return m, batch
}

func TestBodyIsWhatTheSDKWouldWrite(t *testing.T) {
	t.Parallel()
	full, _ := example(5)
	plain := &provider.Email{From: "a@example.com", Subject: "s", Text: "t", Recipients: []provider.Recipient{{ID: "i", To: pii.NewEmail("b@example.com")}}}
	noID := &provider.Email{From: "a@example.com", Subject: "s", Text: "t", Recipients: []provider.Recipient{{To: pii.NewEmail("b@example.com")}}}
	htmlOnly := *plain
	htmlOnly.Text, htmlOnly.HTML = "", "<p>"
	for name, tt := range map[string]struct {
		mail  *provider.Email
		batch []int
	}{
		"full": {full, []int{0, 1, 2, 3, 4}}, "some of them": {full, []int{4, 2}}, "bare": {plain, []int{0}}, "html alone": {&htmlOnly, []int{0}}, "no id": {noID, []int{0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := appendBody(nil, tt.mail, tt.batch)
			if size := bodySize(tt.mail, tt.batch); size < len(b) {
				t.Errorf("body of %d does not fit into %d", len(b), size)
			}
			got := decode(t, b)
			sdk, err := json.Marshal(sdkMail(tt.mail, tt.batch))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(decode(t, sdk), got); diff != "" {
				t.Errorf("differs from the SDK's:\n%s", diff)
			}
			// The types would hide a field that they do not know.
			var ours, theirs any
			if err := errorsOf(json.Unmarshal(b, &ours), json.Unmarshal(sdk, &theirs)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("differs from the SDK's in bytes:\n%s", diff)
			}
		})
	}
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func decode(t *testing.T, b []byte) *mail.SGMailV3 {
	t.Helper()
	var m mail.SGMailV3
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	return &m
}

func TestNamesLoseWhatSendGridRefuses(t *testing.T) {
	t.Parallel()
	if got := string(appendAddress(nil, "a@example.com", "Peña; Ana, Dr.")); got != `{"name":"Peña  Ana  Dr.","email":"a@example.com"}` {
		t.Errorf("got %s", got)
	}
}

func TestCompress(t *testing.T) {
	t.Parallel()
	r, err := gzip.NewReader(bytes.NewReader(compress([]byte("the body"))))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); err != nil || string(b) != "the body" {
		t.Errorf("%q, %v", b, err)
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", "a\"b\\c\n\r\t\x00\x1f\x7f", "é…😀\u2028", "\xff\xfeé\xc3", "\xed\xa0\x80", "\xef\xbf\xbd"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var got, want string
		if err := json.Unmarshal(appendString(nil, s), &got); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &want); err != nil || got != want || utf8.ValidString(s) && got != s {
			t.Errorf("%q comes back as %q, from encoding/json as %q", s, got, want)
		}
	})
}

func FuzzPersonalization(f *testing.F) {
	for _, s := range []string{"personalizations.3.to.0.email", "personalizations[3].to", "personalizations", "personalizations.", "personalizations.-1.to", "personalizations.99999999999.to", "personalizations.0", "personalizations[1", "from.email", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, rest, ok := personalization(s)
		if n < 0 || !ok && (n != 0 || rest != "") || len(rest) > len(s) {
			t.Errorf("personalization(%q) = %d, %q, %v", s, n, rest, ok)
		}
	})
}

// FuzzBadRequest: whatever a 400 says, nobody is singled out who is not in the batch, and nobody is called sent or in doubt.
func FuzzBadRequest(f *testing.F) {
	f.Add(`{"errors":[{"field":"personalizations.3.to.0.email","message":"m"},{"field":null},17,{"field":"personalizations.0.to","message":"unique"}]}`, 5)
	f.Add(`{"errors":{}}`, 1)
	f.Add(`<html>`, 0)
	f.Fuzz(func(t *testing.T, body string, size int) {
		size %= MaxBatch
		v := judge(400, nil, body, size, time.Time{}, 0)
		outcomes := []provider.Outcome{v.outcome}
		for _, s := range v.singled {
			if s.index < 0 || s.index >= size {
				t.Errorf("singled out %d of %d", s.index, size)
			}
			outcomes = append(outcomes, s.outcome)
		}
		for _, o := range outcomes {
			if o.Class == provider.Accepted || o.Class == provider.Unknown || o.Reason == "" {
				t.Errorf("outcome %+v of a 400", o)
			}
		}
	})
}

func TestPersonalization(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   string
		n    int
		rest string
		ok   bool
	}{
		{"personalizations.3.to.0.email", 3, "to.0.email", true},
		{"personalizations[12].to[0].email", 12, "to[0].email", true},
		{"personalizations.0", 0, "", true},
		{"personalizations", 0, "", false},
		{"personalizations.to", 0, "", false},
		{"personalizations[1", 0, "", false},
		{"personalizations.-1.to", 0, "", false},
		{"from.email", 0, "", false},
	} {
		if n, rest, ok := personalization(tt.in); n != tt.n || rest != tt.rest || ok != tt.ok {
			t.Errorf("personalization(%q) = %d, %q, %v", tt.in, n, rest, ok)
		}
	}
}

func BenchmarkBody(b *testing.B) {
	const n = 1000
	m, batch := example(n)
	b.ReportAllocs()
	for b.Loop() {
		appendBody(make([]byte, 0, bodySize(m, batch)), m, batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/recipient")
}

func BenchmarkBatches(b *testing.B) {
	const n = 1000
	m, _ := example(n)
	b.ReportAllocs()
	for b.Loop() {
		newBatches(m, n)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/recipient")
}
