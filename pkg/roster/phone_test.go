package roster

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nyaruka/phonenumbers"
	"pgregory.net/rapid"
)

func newTestReader(tb testing.TB, country string) *phoneReader {
	tb.Helper()
	r, err := newPhoneReader(country)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// Whatever plain accepts, the library accepts as the same number of the same kind.
func TestPlainNumbersAgreeWithTheLibrary(t *testing.T) {
	t.Parallel()
	regions := make([]string, 0, 260)
	for r := range phonenumbers.GetSupportedRegions() {
		regions = append(regions, r)
	}
	reader := newTestReader(t, "US")
	agreed := 0
	check := func(t interface{ Fatalf(string, ...any) }, s, region string) {
		got, ok := reader.plain(s, region)
		if !ok {
			return
		}
		agreed++
		want, valid := askLibrary(s, region)
		parsed, err := phonenumbers.Parse(s, region)
		if !valid || err != nil || !phonenumbers.IsValidNumber(parsed) || got != want {
			t.Fatalf("plain(%q, %s) = %+v, library says %+v %v %v", s, region, got, want, valid, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		region := rapid.SampledFrom(regions).Draw(t, "region")
		home := rapid.SampledFrom([]string{region, "US", "MX", "ES", "GB", "IT", "AR", "BR"}).Draw(t, "home")
		// Around examples of every kind, where patterns end, and anywhere.
		kind := rapid.SampledFrom(planKinds[:]).Draw(t, "kind")
		var s string
		if ex := phonenumbers.GetExampleNumberForType(region, kind); ex != nil && rapid.Bool().Draw(t, "near") {
			f := rapid.SampledFrom([]phonenumbers.PhoneNumberFormat{phonenumbers.E164, phonenumbers.INTERNATIONAL, phonenumbers.NATIONAL}).Draw(t, "format")
			b := []byte(phonenumbers.Format(ex, f))
			for range rapid.IntRange(0, 3).Draw(t, "changes") {
				b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] = rapid.SampledFrom([]byte("0123456789 -().+")).Draw(t, "to")
			}
			s = string(b)
		} else {
			s = rapid.StringMatching(`(\+[1-9])?[()\-. ]?[0-9]{1,4}[()\-. ]{0,2}[0-9]{2,5}[-. ]?[0-9]{2,6}`).Draw(t, "number")
		}
		check(t, s, home)
	})
	// Every North American area code and exchange pattern's edges.
	for area := 200; area < 1000; area++ {
		for _, rest := range []string{"2000000", "5550100", "9999999", "3105550", "6060123", fmt.Sprintf("%03d0199", 200+area%800)} {
			check(t, fmt.Sprintf("+1%d%s", area, rest), "US")
			check(t, fmt.Sprintf("%d%s", area, rest), "DO")
			check(t, fmt.Sprintf("1%d%s", area, rest), "CA")
		}
	}
	if agreed < 1000 {
		t.Errorf("only %d numbers took the short way", agreed)
	}
}

func TestReadPhones(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, cell, country string
		want                string // numbers; extension after x; ! for calls alone
		note                phoneNote
	}{
		{"national", "(212) 555-0100", "", "+12125550100", 0},
		{"bare digits", "2125550196", "", "+12125550196", 0},
		{"with 1", "12125550196", "", "+12125550196", 0},
		{"row's country", "612 34 56 78", "ES", "+34612345678", 0},
		{"landline takes no text", "+44 20 7946 0123", "", "+442079460123!", 0},
		{"toll-free takes no text", "+1 800 555 0199", "", "+18005550199!", 0},
		{"test number of the SMS provider", "+15005550006", "", "+15005550006", 0},
		{"country differs, default fits", "2125550100", "ES", "+12125550100", noteElsewhere},
		{"two in one cell", "2125550196 / 212-555-0197", "", "+12125550196 +12125550197", noteSeveral},
		{"two by semicolon, which could be an extension", "2125550196;2125550197", "", "+12125550196 +12125550197", noteSeveral},
		{"two by comma", "2125550196, 2125550197", "", "+12125550196 +12125550197", noteSeveral},
		{"two by word", "2125550196 o 2125550197", "", "+12125550196 +12125550197", noteSeveral},
		{"two by blank", "2125550196 2125550197", "", "+12125550196 +12125550197", noteSeveral},
		{"two by line", "2125550196\n2125550197", "", "+12125550196 +12125550197", noteSeveral},
		{"the same twice", "2125550196 / +1 212 555 0196", "", "+12125550196", 0},
		{"one of two", "2125550196 ; 12", "", "+12125550196", noteUnusable},
		{"slash inside one number", "212/555-0196", "", "+12125550196", 0},
		{"extension", "+1 212 555 0198 ext. 44", "", "+12125550198x44!", noteExtension},
		{"extension after a comma", "212 555 0198, ext 44", "", "+12125550198x44!", noteExtension},
		{"00 dialled in a country that dials 011", "001-212-555-0199", "", "+12125550199", noteIDD},
		{"damaged", "4.47911E+11", "", "", noteDamaged},
		{"damaged with a comma", "2,12556E+09", "", "", noteDamaged},
		{"damaged beside a good one", "2,12556E+09; 2125550196", "", "+12125550196", noteDamaged},
		{"data frame", "2125550196.0", "", "+12125550196", 0},
		{"kept as text", "'2125550196", "", "+12125550196", 0},
		{"kept as formula", `="2125550196"`, "", "+12125550196", 0},
		{"no area code", "555-0118", "", "", noteUnusable},
		{"not a number", "llamar por la tarde", "", "", noteUnusable},
		{"nothing", "n/a", "", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			numbers, note, _ := newTestReader(t, "US").read(tt.cell, tt.country, nil)
			var got []string
			for _, n := range numbers {
				s := n.e164
				if n.ext != "" {
					s += "x" + n.ext
				}
				if !n.takesText() {
					s += "!"
				}
				got = append(got, s)
			}
			if s := strings.Join(got, " "); s != tt.want || note != tt.note {
				t.Errorf("read(%q) = %q note %b, want %q note %b", tt.cell, s, note, tt.want, tt.note)
			}
		})
	}
}

func TestShowDamaged(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"4.47911E+11": "4.47911E+11", "2,12556E+09": "2,12556E+09", "4.47911123456E+11": ""} {
		if got := showDamaged(in); got != want {
			t.Errorf("showDamaged(%q) = %q, want %q", in, got, want)
		}
	}
}

func BenchmarkPlainNumber(b *testing.B) {
	r := newTestReader(b, "US")
	for b.Loop() {
		r.plain("(212) 555-0100", "US")
	}
}
