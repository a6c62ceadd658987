package sandbox

import "unicode/utf8"

// This count is the stand-in's own and shares nothing with the one that Candor plans with, as Twilio's does not either.

const (
	gsmPlain    = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
	gsmExtended = "\f^{}\\[~]|€"
)

// gsmCost is the number of septets of a character below U+2100 (€ is U+20AC), 0 for one that GSM-7 does not have.
var gsmCost = func() (cost [0x2100]uint8) {
	for _, r := range gsmPlain {
		cost[r] = 1
	}
	for _, r := range gsmExtended {
		cost[r] = 2
	}
	return cost
}()

// segments returns how many SMS a text is, whether it has to go as UCS-2, and its length in characters.
func segments(text []byte) (n int, ucs2 bool, chars int) {
	septets, units := 0, 0
	for i := 0; i < len(text); {
		r, size := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(text[i:])
		}
		i += size
		chars++
		units++
		if r > 0xFFFF {
			units++
		}
		if int(r) >= len(gsmCost) || gsmCost[r] == 0 {
			ucs2 = true
			continue
		}
		septets += int(gsmCost[r])
	}
	if ucs2 {
		return parts(text, units, 70, 67, unitCost), true, chars
	}
	return parts(text, septets, 160, 153, septetCost), false, chars
}

// parts counts the segments of a text of a given length; a character that needs two places never crosses two segments.
func parts(text []byte, length, single, multi int, cost func(rune) int) int {
	switch {
	case length == 0:
		return 0
	case length <= single:
		return 1
	}
	n, used := 1, 0
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		i += size
		c := cost(r)
		if used+c > multi {
			n, used = n+1, 0
		}
		used += c
	}
	return n
}

func septetCost(r rune) int { return int(gsmCost[r]) }

func unitCost(r rune) int {
	if r > 0xFFFF {
		return 2
	}
	return 1
}
