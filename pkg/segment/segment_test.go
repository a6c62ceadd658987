package segment

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestTwilioCountsTheSame(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Text     string `json:"text"`
		Encoding string `json:"encoding"`
		Segments int    `json:"segments"`
		Units    int    `json:"units"`
	}
	if err := json.Unmarshal(raw, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) < 200 {
		t.Fatalf("only %d vectors", len(vectors))
	}
	for _, v := range vectors {
		got := Count(v.Text)
		if got.Encoding.String() != v.Encoding || got.Segments != v.Segments || got.Units != v.Units {
			t.Errorf("Count(%+q) = %v %d segments %d units, want %s %d %d",
				v.Text, got.Encoding, got.Segments, got.Units, v.Encoding, v.Segments, v.Units)
		}
	}
}

func TestNamesTheCharacterThatForcesUCS2(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text   string
		forces rune
		offset int
	}{
		{"plain", 0, -1},
		{"Ñandú, José", 'ú', 5},
		{"it’s “so”", '’', 2},
		{"a\xffb", utf8.RuneError, 1},
	} {
		if got := Count(tt.text); got.Forces != tt.forces || got.Offset != tt.offset {
			t.Errorf("Count(%q) names %q at %d, want %q at %d", tt.text, got.Forces, got.Offset, tt.forces, tt.offset)
		}
	}
}

func TestACharacterThatFitsIntoNoPartIsSpread(t *testing.T) {
	t.Parallel()
	if got := Count("e" + strings.Repeat("\u0301", 200)).Segments; got < 3 {
		t.Errorf("201 units in %d segments", got)
	}
}

func TestInvariants(t *testing.T) {
	t.Parallel()
	alphabet := []rune(basic + extended + "áíóúç’中😀🏽\u200d\u0301🇲\r\n")
	rapid.Check(t, func(t *rapid.T) {
		text := string(rapid.SliceOfN(rapid.SampledFrom(alphabet), 0, 400).Draw(t, "text"))
		if rapid.Bool().Draw(t, "plain") {
			text = strings.Map(func(r rune) rune {
				if Width(r) == 0 {
					return 'x'
				}
				return r
			}, text)
		}
		got := Count(text)
		alone, part := gsmAlone, gsmPart
		if got.Encoding == UCS2 {
			alone, part = ucsAlone, ucsPart
			if n := len(utf16.Encode([]rune(text))); n != got.Units {
				t.Fatalf("%d units, UTF-16 has %d", got.Units, n)
			}
			if r, _ := utf8.DecodeRuneInString(text[got.Offset:]); r != got.Forces || Width(r) != 0 {
				t.Fatalf("%q at %d does not force UCS-2", got.Forces, got.Offset)
			}
		}
		if (got.Units <= alone) != (got.Segments == 1) {
			t.Fatalf("%d units in %d segments", got.Units, got.Segments)
		}
		if got.Segments > 1 && got.Units > got.Segments*part {
			t.Fatalf("%d units do not fit into %d segments", got.Units, got.Segments)
		}
		if more := Count(text + "x"); more.Segments < got.Segments || more.Encoding != got.Encoding {
			t.Fatalf("a longer text costs less: %+v, then %+v", got, more)
		}
	})
}

func FuzzCount(f *testing.F) {
	for _, s := range []string{"", "hello", "\xff", "😀", "{€}", "\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := Count(s); got.Segments < 1 || got.Segments > len(s)+1 {
			t.Fatalf("Count(%q) = %+v", s, got)
		}
	})
}

func BenchmarkCount(b *testing.B) {
	for name, text := range map[string]string{
		"english": "Northwind Bank: Ana, we are sorry. Your personal data was stolen from us. Call 800-555-0142, code K7QM-2XWP. Reply STOP to opt out.",
		"spanish": "Northwind Bank: José Muñoz, lo sentimos. Le robaron datos en nuestro banco. Llame al 800-555-0142, clave K7QM-2XWP. Responda STOP si no quiere SMS.",
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				Count(text)
			}
		})
	}
}
