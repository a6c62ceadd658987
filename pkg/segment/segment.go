// Package segment counts what a text message costs: its encoding and the parts it is sent and billed in.
//
// In: the text of a message.   Out: encoding, units, parts, and the character that makes it dear.   Crash: nothing to lose,
// these are pure functions.
//
// The counts are Twilio's own: testdata/vectors.json was made with its calculator.
package segment

import (
	"strings"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// Encoding is how a message travels.
type Encoding uint8

const (
	// GSM7 holds 160 characters of the GSM alphabet in one part.
	GSM7 Encoding = iota + 1
	// UCS2 holds 70 UTF-16 units in one part.
	UCS2
)

// String names the encoding as the trade does.
func (e Encoding) String() string {
	switch e {
	case GSM7:
		return "GSM-7"
	case UCS2:
		return "UCS-2"
	default:
		return "unknown"
	}
}

const (
	gsmAlone, gsmPart = 160, 153 // septets in a message of one part, and in each part of several
	ucsAlone, ucsPart = 70, 67   // UTF-16 units, likewise
)

// Info is what a message costs.
type Info struct {
	Encoding Encoding
	Segments int  // parts; an empty message is one
	Units    int  // septets in GSM-7, UTF-16 units in UCS-2
	Forces   rune // the first character that forces UCS-2, 0 in GSM-7
	Offset   int  // byte offset of Forces, -1 in GSM-7
}

// The GSM alphabet, and the characters that it reaches through its escape, which cost two septets.
const (
	basic    = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
	extended = "\f^{}\\[~]|€"
	euro     = '€' // the one character above U+03FF
)

// widths holds the septets of every character below U+0400, 0 for one that GSM-7 lacks. Nothing writes it after start.
var widths = func() (w [0x400]uint8) {
	for _, r := range basic {
		w[r] = 1
	}
	for _, r := range strings.TrimSuffix(extended, string(euro)) {
		w[r] = 2
	}
	return w
}()

// Width returns the septets that r costs in GSM-7, and 0 if GSM-7 lacks it.
func Width(r rune) int {
	switch {
	case r >= 0 && r < rune(len(widths)):
		return int(widths[r])
	case r == euro:
		return 2
	default:
		return 0
	}
}

// ascii holds the packed widths of the commonest characters. Nothing writes it after start.
var ascii = func() (packed [utf8.RuneSelf]uint64) {
	for r := range packed {
		packed[r] = pack(int(widths[r]))
	}
	return packed
}()

// pack puts a width into the low half and whether it is an escape's into the high half.
func pack(width int) uint64 { return uint64(width) | uint64(width>>1)<<32 }

// Count returns what text costs.
func Count(text string) Info {
	var sum uint64 // widths and escapes, added up at once
	for i := 0; i < len(text); {
		if c := text[i]; c < utf8.RuneSelf {
			w := ascii[c&(utf8.RuneSelf-1)]
			if w == 0 {
				return countUCS2(text, i)
			}
			sum += w
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		w := pack(Width(r))
		if w == 0 {
			return countUCS2(text, i)
		}
		sum += w
		i += size
	}
	units, escapes := int(sum&(1<<32-1)), int(sum>>32)
	info := Info{Encoding: GSM7, Segments: 1, Units: units, Offset: -1}
	switch {
	case units <= gsmAlone:
	case escapes == 0:
		info.Segments = (units + gsmPart - 1) / gsmPart
	default:
		info.Segments = partsGSM7(text)
	}
	return info
}

// partsGSM7 fills part after part, because an escape and its character may not be parted.
func partsGSM7(text string) int {
	parts, used := 1, 0
	for _, r := range text {
		w := Width(r)
		if used+w > gsmPart {
			parts, used = parts+1, 0
		}
		used += w
	}
	return parts
}

func countUCS2(text string, offset int) Info {
	forces, _ := utf8.DecodeRuneInString(text[offset:])
	info := Info{Encoding: UCS2, Segments: 1, Units: utf16Units(text), Forces: forces, Offset: offset}
	if info.Units > ucsAlone {
		info.Segments = partsUCS2(text)
	}
	return info
}

// partsUCS2 keeps together what a reader sees as one character: an emoji with its skin tone, a letter with its accents.
func partsUCS2(text string) int {
	parts, used, state := 1, 0, -1
	for len(text) > 0 {
		var cluster string
		cluster, text, _, state = uniseg.FirstGraphemeClusterInString(text, state)
		if cluster == "\r\n" { // two characters to Twilio
			parts, used = place(parts, used, 1)
			parts, used = place(parts, used, 1)
			continue
		}
		parts, used = place(parts, used, utf16Units(cluster))
	}
	return parts
}

// place puts n units into the part that is being filled, or into the next one; what fits into no part is spread.
func place(parts, used, n int) (int, int) {
	if used > 0 && used+n > ucsPart {
		parts, used = parts+1, 0
	}
	for ; n > ucsPart; n -= ucsPart {
		parts++
	}
	return parts, used + n
}

func utf16Units(s string) int {
	n := 0
	for _, r := range s {
		n++
		if r > 0xFFFF {
			n++
		}
	}
	return n
}
