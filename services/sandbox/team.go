package sandbox

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"candor/pkg/config"
)

const (
	// TeamHookPath is where the response team's incoming webhook is.
	TeamHookPath = "/hooks/team"

	defaultTeamSecret = "sandbox-team-secret"

	postsKept    = 100
	maxPostBytes = 64 << 10
	postMaxAge   = 5 * time.Minute
)

// What the seal of a post was worth.
const (
	sealGood    = "signed"
	sealNone    = "not signed"
	sealBad     = "bad signature"
	sealExpired = "signed too long ago"
)

// TeamPost is one post to the response team's webhook.
type TeamPost struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
	// Seal is signed, not signed, bad signature or signed too long ago; the last two were refused.
	Seal string `json:"seal"`
}

// Refused says whether the receiver did not take the post.
func (p TeamPost) Refused() bool { return p.Seal == sealBad || p.Seal == sealExpired }

// teamRoom keeps the newest posts to the webhook of a response team. They are counted apart from what customers get, as the
// team's texts and e-mails are: those carry no id.
type teamRoom struct {
	secret  config.Secret
	machine func() time.Time // what signatures go by

	mu    sync.Mutex
	posts []TeamPost // oldest first; guarded by mu
}

// TeamPosts returns the newest posts to the response team's webhook, newest first.
func (s *Sandbox) TeamPosts() []TeamPost {
	s.team.mu.Lock()
	defer s.team.mu.Unlock()
	newest := slices.Clone(s.team.posts)
	slices.Reverse(newest)
	return newest
}

func (s *Sandbox) teamRoutes(mux *http.ServeMux) {
	mux.HandleFunc("POST "+TeamHookPath, s.takePost)
}

// takePost does what a chat's incoming webhook does with a message in Slack's form.
func (s *Sandbox) takePost(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxPostBytes))
	var message struct {
		Text string `json:"text"`
	}
	if err != nil || json.Unmarshal(body, &message) != nil || message.Text == "" {
		http.Error(w, "invalid_payload", http.StatusBadRequest)
		return
	}
	p := TeamPost{At: s.now(), Text: message.Text, Seal: s.team.seal(req.Header, body)}
	s.team.keep(p)
	if p.Refused() {
		http.Error(w, "invalid_signature", http.StatusUnauthorized)
		return
	}
	_, _ = io.WriteString(w, "ok") // who has gone needs no answer
}

func (t *teamRoom) keep(p TeamPost) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.posts = append(t.posts, p)
	if n := len(t.posts) - postsKept; n > 0 {
		t.posts = slices.Delete(t.posts, 0, n)
	}
}

// seal checks a signature as its receivers are told to.
func (t *teamRoom) seal(h http.Header, body []byte) string {
	timestamp, signature := h.Get("X-Candor-Timestamp"), h.Get("X-Candor-Signature")
	if signature == "" {
		return sealNone
	}
	mac := hmac.New(sha256.New, []byte(t.secret.Reveal()))
	fmt.Fprintf(mac, "v0:%s:%s", timestamp, body)
	if !hmac.Equal([]byte(signature), []byte("v0="+hex.EncodeToString(mac.Sum(nil)))) {
		return sealBad
	}
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || t.machine().Sub(time.Unix(seconds, 0)).Abs() > postMaxAge {
		return sealExpired
	}
	return sealGood
}

// teamPage shows the posts as a chat does.
func (p *pages) teamPage(w http.ResponseWriter, _ *http.Request) {
	type entry struct {
		At, Text, Seal string
		Bad            bool
	}
	data := struct {
		Title, Query, URL string
		Posts             []entry
	}{Title: "Response team", URL: p.URL() + TeamHookPath}
	for _, post := range p.TeamPosts() {
		data.Posts = append(data.Posts, entry{p.cfg.Clock.FromMachine(post.At).Format(pageTime), post.Text, post.Seal, post.Refused()})
	}
	p.show(w, "team", data)
}

// teamList is the newest posts beside the inboxes.
func (p *pages) teamList() list {
	l := list{Name: "Response team"}
	for _, post := range p.TeamPosts() {
		l.Rows = append(l.Rows, row{Link: "/team", Who: post.Seal, At: p.cfg.Clock.FromMachine(post.At).Format(pageTime), Preview: post.Text, Count: 1})
		if len(l.Rows) == rowsPerPage {
			break
		}
	}
	return l
}
