package roster

import (
	"testing"
	"time"
)

func TestLanguageTag(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"español": "es", "Espanol": "es", "ES-mx": "es-MX", "es_MX": "es-MX", "inglés": "en", "English": "en", "EN": "en", "eng": "en", "spa": "es",
		"English (US)": "en-US", "Español (México)": "es-MX", "Castellano": "es", "français": "fr", "中文": "zh", "zh-Hant-TW": "zh-Hant-TW", "Tagalog": "fil",
		"klingonés": "", "12345": "", "": "", "marciano": "",
	} {
		if got, _ := languageTag(in); got != want {
			t.Errorf("languageTag(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestCountry(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"US": "US", "usa": "US", "U.S.A.": "US", "Estados Unidos": "US", "EE.UU.": "US", "United States": "US", "México": "MX", "mexico": "MX", "ESP": "ES",
		"España": "ES", "Reino Unido": "GB", "UK": "GB", "Deutschland": "", "Alemania": "DE", "Atlantis": "", "PR": "PR", "Puerto Rico": "PR",
	} {
		if got, _ := country(in); got != want {
			t.Errorf("country(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestAddressZone(t *testing.T) {
	t.Parallel()
	p := loadPlaces()
	for _, tt := range []struct{ country, region, postal, want string }{
		{"US", "NY", "", "America/New_York"},
		{"US", "Nueva York", "", "America/New_York"},
		{"US", "us-ny", "", "America/New_York"},
		{"US", "FL", "", "America/New_York"},
		{"US", "Florida", "32501", "America/Chicago"},
		{"US", "TX", "79901", "America/Denver"},
		{"US", "", "10001", ""},
		{"ES", "", "", "Europe/Madrid"},
		{"ES", "Las Palmas", "", "Atlantic/Canary"},
		{"ES", "", "38001", "Atlantic/Canary"},
		{"MX", "CDMX", "", "America/Mexico_City"},
		{"MX", "", "", ""},
		{"GB", "Kent", "", "Europe/London"},
		{"PR", "", "", "America/Puerto_Rico"},
	} {
		got := ""
		if zones := p.address(tt.country, p.region(tt.country, tt.region), tt.postal); len(zones) > 0 {
			got = zones[0]
		}
		if got != tt.want {
			t.Errorf("address(%s, %s, %s) = %q, want %q", tt.country, tt.region, tt.postal, got, tt.want)
		}
	}
}

// Every zone of the table exists, and no country that is given as one has people under two clocks without a region for them.
func TestZoneTable(t *testing.T) {
	t.Parallel()
	p := loadPlaces()
	for place, zones := range p.zones {
		for _, z := range zones {
			if _, err := time.LoadLocation(z); err != nil {
				t.Errorf("%s: %v", place, err)
			}
		}
	}
	if len(p.regions["US"]) < 100 || len(p.zones) < 350 {
		t.Errorf("table has %d places", len(p.zones))
	}
}

func TestNumberZone(t *testing.T) {
	t.Parallel()
	r, z := newTestReader(t, "US"), newZoneReader()
	for in, want := range map[string]string{
		"+12125550100":   "America/New_York",
		"+18005550199":   "", // toll-free: 42 zones
		"+15005550006":   "", // personal numbers have no place
		"+19075550110":   "", // Alaska: two clocks
		"+34612345678":   "Europe/Madrid",
		"+61491570156":   "", // mobile: eight zones
		"+442079460123":  "Europe/London",
		"+447700900123":  "", // kept for drama, not valid
		"+525512345678":  "America/Mexico_City",
		"+5511912345678": "America/Sao_Paulo",
	} {
		n, _, _ := r.one(in, "")
		if got := z.number(n); got != want {
			t.Errorf("zone of %s = %q, want %q", in, got, want)
		}
	}
}

func TestSafeWord(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"tarjeta": "tarjeta", "ana@example.com": "(hidden: it may be personal data)", "212 555 0100": "(hidden: it may be personal data)", "a\x1b[31m b": "a[31m b",
	} {
		if got := safeWord(in); got != want {
			t.Errorf("safeWord(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestParseEmail(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want, problem string }{
		{"ana@example.com", "ana@example.com", ""},
		{"  CLIENTE6@EXAMPLE.COM. ", "CLIENTE6@example.com", ""},
		{"ana@exämple.com", "ana@xn--exmple-cua.com", ""},
		{"ana@xn--exmple-cua.com", "ana@xn--exmple-cua.com", ""},
		{"josé@exämple.com", "", EmailUTF8Local},
		{"Ana <ana@example.com>", "ana@example.com", ""},
		{"mailto:ana@example.com", "ana@example.com", ""},
		{"bad; ana@example.com", "ana@example.com", ""},
		{"o'neil+x@mail.example.co.uk", "o'neil+x@mail.example.co.uk", ""},
		{"not an address", "", EmailInvalid},
		{"ana@localhost", "", EmailInvalid},
		{"ana@192.168.1.1", "", EmailInvalid},
		{"ana..b@example.com", "", EmailInvalid},
		{".ana@example.com", "", EmailInvalid},
		{"ana@-example.com", "", EmailInvalid},
		{"ana@exa_mple.com", "", EmailInvalid},
		{`"ana b"@example.com`, "", EmailInvalid},
		{"ana@example.com\r\nBcc: x@example.com", "ana@example.com", ""},
		{"@example.com", "", EmailInvalid},
		{"ana@", "", EmailInvalid},
		{"n/a", "", ""},
		{"", "", ""},
	} {
		got, problem := parseEmail(tt.in)
		if got != tt.want || problem != tt.problem {
			t.Errorf("parseEmail(%q) = %q, %q; want %q, %q", tt.in, got, problem, tt.want, tt.problem)
		}
	}
}
