package token

import (
	"strings"
	"testing"
)

func TestTokensLookAsScannersExpect(t *testing.T) {
	t.Parallel()
	bearer, id, _ := newBearer()
	if got := bearer.Reveal(); !strings.HasPrefix(got, "cdr_"+id+"_") || len(got) != 4+16+1+52 || strings.Trim(got[4:], "abcdefghijklmnopqrstuvwxyz234567_") != "" {
		t.Errorf("the token has another form than cdr_<16>_<52>: %d characters", len(got))
	}
	again, _, _ := newBearer()
	if again == bearer {
		t.Error("two tokens are the same")
	}
}

func TestFromHeader(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"Bearer cdr_a_b": "cdr_a_b", " bEARER   cdr_a_b ": "cdr_a_b", "Bearer": "", "Bearer ": "", "": "",
		"Basic cdr_a_b": "", "cdr_a_b": "", "Bearercdr_a_b": "", "Bearer cdr_a_b x": "cdr_a_b x",
	} {
		if got := FromHeader(header); got != want {
			t.Errorf("FromHeader(%q) = %q, want %q", header, got, want)
		}
	}
}

func FuzzParseBearer(f *testing.F) {
	bearer, _, _ := newBearer()
	f.Add(bearer.Reveal())
	f.Add("cdr__")
	f.Add("cdr_a_b_c")
	f.Fuzz(func(t *testing.T, s string) {
		id, secret, ok := parseBearer(s)
		if ok && (s != "cdr_"+id+"_"+secret || strings.ContainsAny(id, ".*>/ _") || len(id) != 16 || len(secret) != 52) {
			t.Errorf("parseBearer(%q) = %q, %q", s, id, secret)
		}
	})
}

func FuzzParseAdmin(f *testing.F) {
	_, line := NewAdmin()
	f.Add(line)
	f.Add(":")
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := parseAdmin(s); err == nil && (len(r.Hash) != 32 || len(r.ID) != 16) {
			t.Errorf("parseAdmin(%q) = %+v", s, r)
		}
	})
}
