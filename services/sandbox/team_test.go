package sandbox_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"candor/services/sandbox"
)

// post sends a message to the response team's webhook, signed with a secret unless that is empty.
func (w *world) post(body, secret string, at time.Time) int {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.box.URL()+sandbox.TeamHookPath, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if secret != "" {
		timestamp := strconv.FormatInt(at.Unix(), 10)
		mac := hmac.New(sha256.New, []byte(secret))
		fmt.Fprintf(mac, "v0:%s:%s", timestamp, body)
		req.Header.Set("X-Candor-Timestamp", timestamp)
		req.Header.Set("X-Candor-Signature", "v0="+hex.EncodeToString(mac.Sum(nil)))
	}
	res, err := w.http.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}

func TestTheTeamsWebhookChecksItsSignature(t *testing.T) {
	t.Parallel()
	w := start(t)
	secret := sandbox.DefaultConfig().TeamSecret.Reveal()
	for _, tt := range []struct {
		name, body, secret string
		age                time.Duration
		status             int
		seal               string // empty if it is not kept
	}{
		{"signed", `{"text":"one & <two>"}`, secret, 0, 200, "signed"},
		{"not signed", `{"text":"two"}`, "", 0, 200, "not signed"},
		{"signed by another", `{"text":"three"}`, "another", 0, 401, "bad signature"},
		{"signed long ago", `{"text":"four"}`, secret, time.Hour, 401, "signed too long ago"},
		{"not JSON", `text=five`, secret, 0, 400, ""},
		{"without words", `{"blocks":[]}`, secret, 0, 400, ""},
		{"too long", `{"text":"` + strings.Repeat("x", 70<<10) + `"}`, "", 0, 400, ""},
	} {
		before := len(w.box.TeamPosts())
		if got := w.post(tt.body, tt.secret, time.Now().Add(-tt.age)); got != tt.status {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.status)
		}
		posts := w.box.TeamPosts()
		if kept := len(posts) > before; kept != (tt.seal != "") || kept && posts[0].Seal != tt.seal {
			t.Errorf("%s: kept %t, as %+v", tt.name, kept, posts)
		}
	}
	wants(t, w.page("/team"), "one &amp; &lt;two&gt;", "bad signature", "signed too long ago", sandbox.TeamHookPath)
	wants(t, w.page("/"), "Response team", "three", `href="/team"`)
	if truth := w.box.Truth(); truth.SMS.Requests+truth.Email.Requests != 0 {
		t.Errorf("posts to the team count as messages: %+v", truth)
	}
}

func TestTheWebhookKeepsTheNewestPosts(t *testing.T) {
	t.Parallel()
	w := start(t)
	for i := range 130 {
		w.post(fmt.Sprintf(`{"text":"post %d"}`, i), "", time.Now())
	}
	posts := w.box.TeamPosts()
	if len(posts) != 100 || posts[0].Text != "post 129" || posts[99].Text != "post 30" {
		t.Errorf("%d posts, from %s", len(posts), posts[0].Text)
	}
}

// TestTheTeamIsCountedApart is about messages without an id of a notice.
func TestTheTeamIsCountedApart(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.text("+447911120001", "A draft waits. Type: candor approve field-1", "")
	w.mustMail(simpleMail("duty@team.example"), 202)
	truth := w.box.Truth()
	for name, c := range map[string]sandbox.ChannelTruth{"sms": truth.SMS, "email": truth.Email} {
		if c.MessagesWithoutID != 1 || c.Notices != 0 || c.Duplicates != 0 || c.Delivered != 0 {
			t.Errorf("%s: %+v", name, c)
		}
	}
}
