package audience

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"candor/pkg/roster"
	candorv1 "candor/proto/candor/v1"
)

func mustParse(t interface{ Fatalf(string, ...any) }, text string) Audience {
	a, err := Parse(text)
	if err != nil {
		t.Fatalf("Parse(%q): %v", text, err)
	}
	return a
}

func TestMatch(t *testing.T) {
	t.Parallel()
	data := roster.DataKinds(0).With(roster.PaymentCard)
	c := &roster.Customer{Tier: 2, Data: data, Country: "US", Region: "OR", Language: "es-MX", TimeZone: "America/New_York"}
	states := func(channel candorv1.Channel) candorv1.NoticeState {
		return map[candorv1.Channel]candorv1.NoticeState{
			candorv1.Channel_CHANNEL_SMS:   candorv1.NoticeState_NOTICE_STATE_FAILED,
			candorv1.Channel_CHANNEL_EMAIL: candorv1.NoticeState_NOTICE_STATE_DELIVERED,
		}[channel]
	}
	for text, want := range map[string]bool{
		"":                             true,
		" everyone ":                   true,
		"tier = 2":                     true,
		"tier != 2":                    false,
		"tier < 2":                     false,
		"tier <= 2":                    true,
		"tier > 1":                     true,
		"tier >= 3":                    false,
		"tier in (1, 2)":               true,
		"data has payment_card":        true,
		"data has password":            false,
		"country = us":                 true,
		"country in (MX,CA)":           false,
		"region = OR":                  true,
		"region in (IN, OR)":           true,
		`region = "or"`:                true,
		"language = es":                true,
		"language = es-MX":             true,
		"language = ES-mx":             true,
		"language = es-M":              false,
		"language != es":               false,
		"time_zone = America/New_York": true,
		"sms = failed":                 true,
		"email in (failed,expired)":    false,
		"call = planned":               false,
		"call != delivered":            true,
		"told":                         true,
		"not told":                     false,
		"TOLD and tier = 1":            false,
		"not tier = 2 or sms = failed and country = US":                                                      true,
		"not (tier = 2 or sms = failed) and country=US":                                                      false,
		"tier <= 2 and data has payment_card and country in (US, MX) and not language = en and sms = failed": true,
	} {
		if got := mustParse(t, text).Match(c, states); got != want {
			t.Errorf("%q matches: %v, want %v", text, got, want)
		}
	}
}

func TestChannels(t *testing.T) {
	t.Parallel()
	if got := mustParse(t, "tier = 1 or not (sms = failed and email = failed) and sms != delivered").Channels(); !slices.Equal(got, []candorv1.Channel{candorv1.Channel_CHANNEL_SMS, candorv1.Channel_CHANNEL_EMAIL}) {
		t.Errorf("asks about %v", got)
	}
	a := mustParse(t, "tier = 1")
	if a.Channels() != nil || a.Match(&roster.Customer{Tier: 2}, nil) {
		t.Error("a test without states needs them")
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text   string
		offset int
		says   string
		remedy string
	}{
		{"tolled", 0, "nothing to test", "did you mean told?"},
		{"told = sms", 5, "where and, or or the end", ""},
		{"teir = 1", 0, "nothing to test", "did you mean tier?"},
		{"tier = x", 7, "no tier", "number"},
		{"tier = 256", 7, "no tier", "number"},
		{"tier ~ 1", 5, "no meaning", ""},
		{"tier 1", 5, "where a comparison", ""},
		{"data = payment_card", 5, "where has should stand", ""},
		{"data has payment_cards", 9, "no kind of data", "did you mean payment_card?"},
		{"country < US", 8, "no order", ""},
		{"country = USA", 10, "no country", "two letters"},
		{"country in US", 11, "where ( should stand", ""},
		{"country in (US MX)", 15, "where , or ) should stand", ""},
		{"country in (US,", 15, "the end where a value", ""},
		{"language = e", 11, "no language", ""},
		{"sms = deliverd", 6, "no state", "did you mean delivered?"},
		{"tier = 1 country = US", 9, "where and, or or the end", ""},
		{"tier = 1 and", 12, "the end where a test", ""},
		{"(tier = 1", 9, "where and, or or )", ""},
		{"everyone and tier = 1", 9, "after everyone", ""},
		{`region = "x`, 9, "does not end", ""},
		{strings.Repeat("not ", 40) + "tier = 1", 128, "too deeply", ""},
		{strings.Repeat("(", 5000), 4096, "too long", ""},
	} {
		_, err := Parse(tt.text)
		var pe *ParseError
		if !errors.As(err, &pe) || pe.Offset != tt.offset || !strings.Contains(pe.Message, tt.says) || pe.Remedy == "" || !strings.Contains(pe.Remedy, tt.remedy) {
			t.Errorf("Parse(%q) = %v, want %q at %d and %q", tt.text, err, tt.says, tt.offset, tt.remedy)
		}
	}
}

func TestTold(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		state candorv1.NoticeState
		want  bool
	}{
		{candorv1.NoticeState_NOTICE_STATE_UNSPECIFIED, false},
		{candorv1.NoticeState_NOTICE_STATE_WAITING, false},
		{candorv1.NoticeState_NOTICE_STATE_UNCERTAIN, false},
		{candorv1.NoticeState_NOTICE_STATE_FAILED, false},
		{candorv1.NoticeState_NOTICE_STATE_ACCEPTED, true},
		{candorv1.NoticeState_NOTICE_STATE_DELIVERED, true},
	} {
		for _, on := range roster.Channels() {
			states := func(ch candorv1.Channel) candorv1.NoticeState {
				if ch == on {
					return tt.state
				}
				return candorv1.NoticeState_NOTICE_STATE_FAILED
			}
			if got := Told().Match(nil, states); got != tt.want {
				t.Errorf("%v on %v: told is %v", tt.state, on, got)
			}
		}
	}
	if all, got := roster.Channels(), Told().Channels(); !slices.Equal(got, all[:]) {
		t.Errorf("told asks about %v", got)
	}
}

func TestAnd(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b, want string
		fields     bool
	}{
		{"everyone", "everyone", "everyone", false},
		{"everyone", "told", "told", false},
		{"tier = 1", "everyone", "tier = 1", true},
		{"tier = 1 and country = US", "told", "tier = 1 and country = US and told", true},
		{"tier = 1 or country = US", "told", "(tier = 1 or country = US) and told", true},
		{"not (sms = failed and told)", "told and call = failed", "not (sms = failed and told) and told and call = failed", false},
	} {
		a, b := mustParse(t, tt.a), mustParse(t, tt.b)
		got := a.And(b)
		if got.String() != tt.want || mustParse(t, got.String()).String() != tt.want || got.AsksFields() != tt.fields {
			t.Errorf("%s and %s: %s, asks about fields: %v", tt.a, tt.b, got, got.AsksFields())
		}
		if a.String() != tt.a || b.String() != tt.b {
			t.Errorf("the parts became %s and %s", a, b)
		}
	}
}

func genExpr(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		shape := rapid.IntRange(0, 9).Draw(t, "shape")
		if depth > 0 && shape < 6 {
			inner := genExpr(depth - 1)
			switch shape {
			case 0, 1:
				return "not " + inner.Draw(t, "of")
			case 2, 3:
				return "(" + inner.Draw(t, "a") + " or " + inner.Draw(t, "b") + ")"
			default:
				return "( " + inner.Draw(t, "a") + ") AND " + inner.Draw(t, "b")
			}
		}
		return rapid.SampledFrom([]string{
			"tier<=2", "tier in (1, 2)", "data has password", `region = "New York"`, "region != in", "country in (us,MX)",
			"language = es", "sms = failed", "email in (failed, EXPIRED)", "Tier > 0", "told", "Told",
		}).Draw(t, "test")
	})
}

func TestStringReadsBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := genExpr(4).Draw(t, "text")
		a := mustParse(t, text)
		again := mustParse(t, a.String())
		if again.String() != a.String() {
			t.Fatalf("%q prints as %q, which prints as %q", text, a, again)
		}
		c := &roster.Customer{
			Tier: rapid.Uint8Range(0, 3).Draw(t, "tier"), Country: rapid.SampledFrom([]string{"US", "MX", "ES"}).Draw(t, "country"),
			Region: rapid.SampledFrom([]string{"New York", "IN", ""}).Draw(t, "region"), Language: rapid.SampledFrom([]string{"en", "es-MX"}).Draw(t, "language"),
		}
		state := candorv1.NoticeState(rapid.Int32Range(0, 9).Draw(t, "state"))
		states := func(candorv1.Channel) candorv1.NoticeState { return state }
		if a.Match(c, states) != again.Match(c, states) {
			t.Fatalf("%q and %q differ on %+v", text, a, c)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "everyone", "told", "not told or told", "tier <= 2 and not (country in (US, \"x y\") or sms = failed)", "((", "in in (in)", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := Parse(text)
		if err != nil {
			return
		}
		if again := mustParse(t, a.String()); again.String() != a.String() {
			t.Fatalf("%q prints as %q, which prints as %q", text, a, again)
		}
		a.Match(&roster.Customer{}, func(candorv1.Channel) candorv1.NoticeState { return candorv1.NoticeState_NOTICE_STATE_FAILED })
	})
}

func BenchmarkMatch(b *testing.B) {
	a := mustParse(b, "tier <= 2 and country in (US, MX) and not language = en and sms = failed")
	c := &roster.Customer{Tier: 1, Country: "MX", Language: "es"}
	states := func(candorv1.Channel) candorv1.NoticeState { return candorv1.NoticeState_NOTICE_STATE_FAILED }
	for b.Loop() {
		a.Match(c, states)
	}
}
