package sandbox_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"candor/pkg/clock"
	"candor/services/sandbox"
)

func basicAuth(w *world) string {
	req := &http.Request{Header: http.Header{}}
	req.SetBasicAuth(w.cfg.Twilio.AccountSID, w.cfg.Twilio.AuthToken.Reveal())
	return req.Header.Get("Authorization")
}

// post sends a form without the library, so that its context can end it.
func post(ctx context.Context, w *world, form string) error {
	url := w.box.URL() + "/2010-04-01/Accounts/" + w.cfg.Twilio.AccountSID + "/Messages.json"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(form))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", basicAuth(w))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := w.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

func TestWhatIsADuplicate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		ids        []string
		duplicates uint64
		withoutID  uint64
		notices    uint64
	}{
		{"different notices", []string{"n1.1.mac", "n2.1.mac"}, 0, 0, 2},
		{"the same attempt twice", []string{"n1.1.mac", "n1.1.mac"}, 1, 0, 1},
		{"another attempt", []string{"n1.1.mac", "n1.2.mac"}, 1, 0, 1},
		{"three of one notice", []string{"n1.1.mac", "n1.2.mac", "n1.3.mac"}, 1, 0, 1},
		{"two notices twice", []string{"n1.1.mac", "n2.1.mac", "n1.2.mac", "n2.1.mac"}, 2, 0, 2},
		{"a notice that begins like another", []string{"n1.1.mac", "n11.1.mac"}, 0, 0, 2},
		{"no id", []string{"", ""}, 0, 2, 0},
		{"ids of another form", []string{"n1", "n1.1", "n1.x.mac", ".1.mac", "n1.1.", "n1.99999.mac", "n%201.1.mac", strings.Repeat("n", 300) + ".1.mac"}, 0, 7, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := start(t)
			for i, id := range tt.ids {
				w.text("+447911123456", fmt.Sprint("text ", i), id)
				if strings.ContainsAny(id, "%") {
					id = "n 1.1.mac" // what a path cannot have, an argument can
				}
				w.mustMail(simpleMail("a@example.com", id), 202)
			}
			tr := w.truth()
			if tr.SMS.Duplicates != tt.duplicates || tr.SMS.MessagesWithoutID != tt.withoutID || tr.SMS.Notices != tt.notices || tr.SMS.Accepted != uint64(len(tt.ids)) {
				t.Errorf("SMS %+v", tr.SMS)
			}
			if want := tt.withoutID + min(tt.withoutID/7, 1); tr.Email.Duplicates != tt.duplicates || tr.Email.MessagesWithoutID != want {
				t.Errorf("e-mail %+v", tr.Email)
			}
			if tr.Duplicates != 2*tt.duplicates {
				t.Errorf("%d duplicates, want %d on both channels", tr.Duplicates, 2*tt.duplicates)
			}
		})
	}
}

// TestTruthIsTheTruth compares the ground truth with a plain record of what was sent.
func TestTruthIsTheTruth(t *testing.T) {
	t.Parallel()
	w := start(t)
	api, _ := w.twilio()
	type key struct {
		notice  string
		attempt int
	}
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		want := map[key]sandbox.Attempt{}
		accepted := map[string]int{}
		before := w.truth()
		for range rapid.IntRange(1, 20).Draw(rt, "messages") {
			k := key{fmt.Sprintf("r%dn%d", round, rapid.IntRange(0, 4).Draw(rt, "notice")), rapid.IntRange(0, 3).Draw(rt, "attempt")}
			to := "+447911123456"
			a := want[k]
			a.Notice, a.Attempt = []byte(k.notice), k.attempt
			if rapid.Bool().Draw(rt, "refused") {
				to = "+15005550001"
				a.Refused++
			} else {
				a.Accepted++
				accepted[k.notice]++
			}
			_, err := api.CreateMessage(sms(to, "hello", fmt.Sprintf("%s.%d.mac", k.notice, k.attempt)))
			if (err != nil) != (to == "+15005550001") {
				rt.Fatal(err)
			}
			want[k] = a
		}
		got := map[key]sandbox.Attempt{}
		for _, a := range notices(t, w, "sms", fmt.Sprintf("r%dn", round)) {
			got[key{string(a.Notice), a.Attempt}] = a
		}
		if !cmp.Equal(got, want) {
			rt.Errorf("attempts %s", cmp.Diff(want, got))
		}
		var twice uint64
		for _, n := range accepted {
			if n > 1 {
				twice++
			}
		}
		after := w.truth()
		if d := after.SMS.Duplicates - before.SMS.Duplicates; d != twice {
			rt.Errorf("%d duplicates, want %d", d, twice)
		}
		if n := after.SMS.Notices - before.SMS.Notices; n != uint64(len(accepted)) {
			rt.Errorf("%d notices, want %d", n, len(accepted))
		}
	})
}

func TestManyNoticesComeInOneStream(t *testing.T) {
	t.Parallel()
	w := start(t)
	const all = 5000 // more than are read under one lock
	for i := range all / 1000 {
		w.mustMail(mailBody(nil, int64(i*1000), 1000), 202)
	}
	seen := map[string]bool{}
	for _, a := range notices(t, w, "email", "") {
		if seen[string(a.Notice)] || a.Accepted != 1 || a.Attempt != 1 {
			t.Fatalf("attempt %+v", a)
		}
		seen[string(a.Notice)] = true
	}
	if len(seen) != all {
		t.Errorf("%d notices, want %d", len(seen), all)
	}
	if n := len(notices(t, w, "email", "nothing")); n != 0 {
		t.Errorf("%d notices with a prefix that none has", n)
	}
	if n := len(notices(t, w, "sms", "")); n != 0 {
		t.Errorf("%d notices on the other channel", n)
	}
	if err := w.client.Notices(context.Background(), "pigeon", "", nil); err == nil || !strings.Contains(err.Error(), "give sms or email") {
		t.Errorf("Notices of a pigeon = %v", err)
	}
	stop := io.ErrUnexpectedEOF
	if err := w.client.Notices(context.Background(), "email", "", func(sandbox.Attempt) error { return stop }); err != stop { //nolint:errorlint // the very same
		t.Errorf("Notices = %v, want the function's own error", err)
	}
}

func TestFirstAccepted(t *testing.T) {
	t.Parallel()
	w := start(t)
	ctx := context.Background()
	if f, err := w.client.FirstAccepted(ctx); err != nil || f.SMS != nil || f.Email != nil {
		t.Errorf("before anything: %+v, %v", f, err)
	}
	before := time.Now()
	w.text("+447911123456", "hello", "")
	f, err := w.client.FirstAccepted(ctx)
	if err != nil || f.SMS == nil || f.Email != nil || f.SMS.Before(before) || f.SMS.After(time.Now()) {
		t.Fatalf("after one text: %+v, %v", f, err)
	}
	w.text("+447911123456", "hello", "")
	w.mustMail(simpleMail("a@example.com"), 202)
	if g, err := w.client.FirstAccepted(ctx); err != nil || !g.SMS.Equal(*f.SMS) || g.Email == nil {
		t.Errorf("after more: %+v, %v; want the same first", g, err)
	}
}

// In a rehearsal people see the calendar, and who talks to the providers hears the machine's time.
func TestTruthAndPagesAreOnTheCalendar(t *testing.T) {
	t.Parallel()
	origin := time.Date(2028, 2, 29, 10, 0, 0, 0, time.Local)
	w := start(t, func(c *sandbox.Config) { c.Clock = clock.Fast(origin, time.Now(), 10) })
	w.text("+447911123456", "hello", "n1.1.mac")
	w.mustMail(simpleMail("a@example.com"), 202)
	leapDay := func(at time.Time) bool { return !at.Before(origin) && at.Before(origin.Add(time.Hour)) }
	f, err := w.client.FirstAccepted(t.Context())
	if err != nil || f.SMS == nil || f.Email == nil || !leapDay(*f.SMS) || !leapDay(*f.Email) {
		t.Errorf("first accepted %+v, %v", f, err)
	}
	for _, channel := range []string{"sms", "email"} {
		if err := w.client.Notices(t.Context(), channel, "", func(a sandbox.Attempt) error {
			if !leapDay(a.At) {
				t.Errorf("%s: accepted at %s", channel, a.At)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	for _, path := range []string{"/", "/phones/0", "/mailboxes/0"} {
		if page := w.page(path); !strings.Contains(page, "29 Feb 10:") {
			t.Errorf("%s does not show the calendar's day", path)
		}
	}
}
