package token_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/keyfile"
	"candor/pkg/token"
	"candor/pkg/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func bucket(t *testing.T) *bus.KV {
	t.Helper()
	kv, err := bustest.New(t).KV(t.Context(), topology.BucketTokens)
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func store(t *testing.T, kv token.KV, firstAdmin string) *token.Store {
	t.Helper()
	s, err := token.NewStore(kv, firstAdmin, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTokensAuthenticateUntilTheyAreRevoked(t *testing.T) {
	t.Parallel()
	kv := bucket(t)
	s, other := store(t, kv, ""), store(t, kv, "")
	ctx := t.Context()
	bearer, rec, err := s.Create(ctx, "Ada Lovelace", []token.Role{token.Viewer, token.Commander, token.Viewer})
	if err != nil {
		t.Fatal(err)
	}
	if rec.Hash != nil || !slices.Equal(rec.Roles, []token.Role{token.Commander, token.Viewer}) {
		t.Errorf("Create answers %+v, want each role once and no hash", rec)
	}
	who, err := other.Authenticate(ctx, bearer.Reveal())
	if err != nil || who.ID != rec.ID || who.Name != "Ada Lovelace" || !who.Allows(token.Declare) || who.Allows(token.Approve) {
		t.Errorf("Authenticate = %+v, %v; want the commander", who, err)
	}
	second, _, err := s.Create(ctx, "Charles Babbage", []token.Role{token.Approver})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // again is harmless
		if err := s.Revoke(ctx, rec.ID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := other.Authenticate(ctx, bearer.Reveal()); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("revoked: Authenticate = %v, want ErrInvalid", err)
	}
	if _, err := other.Authenticate(ctx, second.Reveal()); err != nil {
		t.Errorf("the other token: Authenticate = %v", err)
	}
	for _, id := range []string{"", "aaaaaaaaaaaaaaaa", "*", "not there"} {
		if err := s.Revoke(ctx, id); !errors.Is(err, token.ErrUnknown) {
			t.Errorf("Revoke(%q) = %v, want ErrUnknown", id, err)
		}
	}
	all, err := s.List(ctx)
	if err != nil || len(all) != 2 || all[0].Name != "Ada Lovelace" || all[0].RevokedAt.IsZero() || !all[1].RevokedAt.IsZero() ||
		all[0].Hash != nil || all[1].Hash != nil {
		t.Errorf("List = %+v, %v; want both, the first revoked, no hashes", all, err)
	}
}

func TestTheBucketCannotBeUsedToSignIn(t *testing.T) {
	t.Parallel()
	kv := bucket(t)
	s := store(t, kv, "")
	bearer, rec, err := s.Create(t.Context(), "Ada", []token.Role{token.Admin})
	if err != nil {
		t.Fatal(err)
	}
	value, _, err := kv.Get(t.Context(), rec.ID)
	if err != nil {
		t.Fatal(err)
	}
	secret := bearer.Reveal()[strings.LastIndex(bearer.Reveal(), "_")+1:]
	if strings.Contains(string(value), secret) {
		t.Error("the bucket holds the secret itself")
	}
	if strings.Contains(fmt.Sprint(bearer, rec), secret) {
		t.Error("the token prints")
	}
}

func TestAuthenticateRefuses(t *testing.T) {
	t.Parallel()
	s := store(t, bucket(t), "")
	ctx := t.Context()
	a, _, err := s.Create(ctx, "Ada", []token.Role{token.Admin})
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := s.Create(ctx, "Bob", []token.Role{token.Viewer})
	if err != nil {
		t.Fatal(err)
	}
	good, cut := a.Reveal(), strings.LastIndex(a.Reveal(), "_")
	for name, bearer := range map[string]string{
		"nothing":                "",
		"another's secret":       good[:cut] + b.Reveal()[strings.LastIndex(b.Reveal(), "_"):],
		"no secret":              good[:cut+1],
		"no id":                  "cdr__" + good[cut+1:],
		"unknown id":             "cdr_aaaaaaaaaaaaaaaa" + good[cut:],
		"a key that lists":       "cdr_>aaaaaaaaaaaaaaa" + good[cut:],
		"upper case":             strings.ToUpper(good),
		"longer":                 good + "a",
		"shorter":                good[:len(good)-1],
		"a space":                good + " ",
		"last character changed": good[:len(good)-1] + string('a'+(good[len(good)-1]-'a'+1)%26),
	} {
		if who, err := s.Authenticate(ctx, bearer); !errors.Is(err, token.ErrInvalid) {
			t.Errorf("%s: Authenticate = %+v, %v; want ErrInvalid", name, who, err)
		}
	}
	if _, err := s.Authenticate(ctx, good); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

// away is a bucket that cannot be reached.
type away struct{ token.KV }

func (away) Get(context.Context, string) ([]byte, uint64, error) { return nil, 0, bus.ErrUnavailable }

func TestNotKnowingIsNoRefusal(t *testing.T) {
	t.Parallel()
	bearer, line := token.NewAdmin()
	s := store(t, away{}, line)
	if _, err := s.Authenticate(t.Context(), bearer.Reveal()); !errors.Is(err, bus.ErrUnavailable) || errors.Is(err, token.ErrInvalid) {
		t.Errorf("Authenticate = %v, want what is the matter with the bucket", err)
	}
}

func TestFirstAdmin(t *testing.T) {
	t.Parallel()
	kv, ctx := bucket(t), t.Context()
	bearer, line := token.NewAdmin()
	if strings.Contains(line, bearer.Reveal()[len("cdr_")+17:]) {
		t.Error("the settings hold the token itself")
	}
	s := store(t, kv, line)
	who, err := s.Authenticate(ctx, bearer.Reveal())
	if err != nil || !who.Allows(token.Token) || who.Allows(token.Declare) || who.Allows(token.Approve) {
		t.Fatalf("Authenticate = %+v, %v; want an admin", who, err)
	}
	if all, err := s.List(ctx); err != nil || len(all) != 1 || all[0].ID != who.ID || all[0].Hash != nil {
		t.Errorf("List = %+v, %v; want the first admin", all, err)
	}
	if _, err := store(t, kv, "").Authenticate(ctx, bearer.Reveal()); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("with the line taken out: Authenticate = %v, want ErrInvalid", err)
	}
	if err := s.Revoke(ctx, who.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Authenticate(ctx, bearer.Reveal()); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("revoked: Authenticate = %v, want ErrInvalid, whatever the settings say", err)
	}
	if all, err := s.List(ctx); err != nil || len(all) != 1 || all[0].RevokedAt.IsZero() {
		t.Errorf("List = %+v, %v; want the first admin once, revoked", all, err)
	}
	for _, bad := range []string{"not a line", "::", line[:len(line)-2], line[1:], strings.Replace(line, ":", "", 1), bearer.Reveal()} {
		if _, err := token.NewStore(kv, bad, time.Now); err == nil || !strings.Contains(err.Error(), "candor init") || strings.Contains(err.Error(), bad) {
			t.Errorf("NewStore with %q = %v, want a refusal that does not show it", bad, err)
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	s := store(t, bucket(t), "")
	for _, tt := range []struct {
		name  string
		roles []token.Role
		want  string
	}{
		{"", []token.Role{token.Admin}, "owner's name"},
		{" Ada", []token.Role{token.Admin}, "spaces"},
		{"Ada\nBob", []token.Role{token.Admin}, "do not print"},
		{strings.Repeat("a", 101), []token.Role{token.Admin}, "at most 100"},
		{"Ada", nil, "without a role"},
		{"Ada", []token.Role{"god"}, "admin approver commander dialer machine viewer"},
	} {
		if _, _, err := s.Create(t.Context(), tt.name, tt.roles); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Create(%q, %q) = %v, want it to say %q", tt.name, tt.roles, err, tt.want)
		}
	}
	if all, err := s.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("List = %+v, %v; want none", all, err)
	}
}

func TestOneHumanIsOnePerson(t *testing.T) {
	t.Parallel()
	person := func(name string) string { return token.Identity{ID: name, Name: name}.Person() }
	for _, same := range []string{"Ada Lovelace", "ada lovelace", "ADA  LOVELACE", "Ada\u00a0Lovelace", "Ａda Lovelace"} {
		if person(same) != person("Ada Lovelace") {
			t.Errorf("%q is another person (%q) than Ada Lovelace", same, person(same))
		}
	}
	if person("José") != person("Jose\u0301") || person("STRAßE") != person("strasse") {
		t.Error("two spellings of one name are two persons")
	}
	if person("Ada Lovelace") == person("Ada L.") {
		t.Error("two names are one person")
	}
}

func TestDamagedRecordIsNoIdentity(t *testing.T) {
	t.Parallel()
	kv := bucket(t)
	s := store(t, kv, "")
	bearer, rec, err := s.Create(t.Context(), "Ada", []token.Role{token.Viewer})
	if err != nil {
		t.Fatal(err)
	}
	value, rev, err := kv.Get(t.Context(), rec.ID)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(value, &m); err != nil {
		t.Fatal(err)
	}
	m["id"] = "aaaaaaaaaaaaaaaa"
	if value, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{value, []byte("{"), nil} {
		if rev, err = kv.Update(t.Context(), rec.ID, bad, rev); err != nil {
			t.Fatal(err)
		}
		if who, err := s.Authenticate(t.Context(), bearer.Reveal()); err == nil {
			t.Errorf("with record %q: Authenticate = %+v", bad, who)
		}
	}
}

// The table itself, so that a change of it is seen in review.
func TestPermissions(t *testing.T) {
	t.Parallel()
	roles := []token.Role{token.Admin, token.Commander, token.Approver, token.Viewer, token.Dialer, token.Machine}
	for action, want := range map[token.Action]string{
		token.Declare:    "commander machine",
		token.Approve:    "approver",
		token.Reject:     "commander approver",
		token.Pause:      "commander approver",
		token.Resume:     "commander",
		token.Abort:      "commander approver",
		token.Shred:      "admin commander",
		token.Token:      "admin",
		token.View:       "admin commander approver viewer machine",
		token.Upload:     "commander machine",
		token.Settle:     "commander",
		token.DeadLetter: "admin commander",
		token.Call:       "dialer",
		token.Queue:      "admin commander approver dialer",
		token.Amend:      "commander",
		token.Find:       "admin commander approver dialer",
		token.Suppress:   "admin commander",
		"unknown":        "",
	} {
		var got []string
		for _, r := range roles {
			if token.Allows(r, action) {
				got = append(got, string(r))
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s may be done by %v, want %s", action, got, want)
		}
	}
	if (token.Identity{}).Allows(token.View) || token.Allows("god", token.View) {
		t.Error("nobody may view")
	}
}

func TestTokenFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "admin.token")
	bearer, _ := token.NewAdmin()
	if err := token.WriteFile(path, bearer); err != nil {
		t.Fatal(err)
	}
	if got, err := token.ReadFile(path); err != nil || got != bearer {
		t.Errorf("ReadFile = %v, %v; want what was written", got, err)
	}
	if err := token.WriteFile(path, bearer); !errors.Is(err, os.ErrExist) {
		t.Errorf("WriteFile over a token = %v, want os.ErrExist", err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := token.ReadFile(path); !errors.Is(err, keyfile.ErrMode) {
		t.Errorf("mode 0644: ReadFile = %v, want ErrMode", err)
	}
	other := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(other, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := token.ReadFile(other); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("no token: ReadFile = %v, want a refusal that does not show it", err)
	}
}

func TestContext(t *testing.T) {
	t.Parallel()
	if _, ok := token.FromContext(t.Context()); ok {
		t.Error("an empty context knows somebody")
	}
	if who, ok := token.FromContext(token.NewContext(t.Context(), token.Identity{ID: "x"})); !ok || who.ID != "x" {
		t.Errorf("FromContext = %+v, %t", who, ok)
	}
}
