package roster

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
)

// SyntheticOptions say who the fictional people of a roster are.
type SyntheticOptions struct {
	// Seed makes other people; the same seed makes the same ones.
	Seed uint64
	// Perfect leaves out what real files are full of: missing and damaged cells, opt-outs, people without a language.
	Perfect bool
}

// MaxSynthetic is the largest number of people with a number of their own that Synthetic can invent.
const MaxSynthetic = len(syntheticAreas) / len("212 NY ") * syntheticLines

// The exchange 555 of every North American area code was kept for directory assistance, information services and fiction:
// 555-0100 to 555-0199 are reserved for fiction, and no other line of it reaches a subscriber (1212 and 4334 are left out).
// The numbers look like any other, are valid for every parser and belong to a state with a time zone. The reserved hundred
// is used up first, so that a roster of up to 12,000 people holds nothing else.
const (
	syntheticAreas = "" +
		"205 AL 251 AL 256 AL 480 AZ 602 AZ 623 AZ 479 AR 501 AR 209 CA 213 CA 310 CA 408 CA 415 CA 510 CA 559 CA 619 CA 650 CA 714 CA 818 CA 916 CA 949 CA " +
		"303 CO 719 CO 970 CO 203 CT 860 CT 302 DE 202 DC 239 FL 305 FL 321 FL 352 FL 407 FL 561 FL 727 FL 813 FL 904 FL 954 FL 229 GA 404 GA 478 GA 706 GA 912 GA " +
		"808 HI 217 IL 309 IL 312 IL 618 IL 630 IL 708 IL 773 IL 815 IL 847 IL 317 IN 765 IN 319 IA 515 IA 316 KS 785 KS 502 KY 859 KY 225 LA 318 LA 504 LA 207 ME " +
		"301 MD 410 MD 413 MA 508 MA 617 MA 978 MA 248 MI 313 MI 517 MI 616 MI 734 MI 218 MN 507 MN 612 MN 651 MN 228 MS 601 MS 314 MO 417 MO 573 MO 816 MO 406 MT " +
		"402 NE 702 NV 603 NH 201 NJ 609 NJ 732 NJ 856 NJ 973 NJ 505 NM 212 NY 315 NY 516 NY 518 NY 585 NY 607 NY 716 NY 718 NY 914 NY 252 NC 336 NC 704 NC 919 NC " +
		"216 OH 330 OH 419 OH 513 OH 614 OH 740 OH 405 OK 918 OK 503 OR 215 PA 412 PA 610 PA 717 PA 401 RI 803 SC 843 SC 615 TN 901 TN 210 TX 214 TX 281 TX 361 TX " +
		"512 TX 713 TX 806 TX 817 TX 956 TX 435 UT 801 UT 802 VT 276 VA 540 VA 703 VA 757 VA 206 WA 253 WA 360 WA 509 WA 304 WV 262 WI 414 WI 608 WI 307 WY 787 PR "
	syntheticLines = 10_000 - 2

	syntheticGiven = "Ada Ana Andrés Beatriz Ben Björn Carmen Carlos Chloe Daniel Diego Elena Emma Eva Fatima Gabriel Grace Hugo Íñigo Irene Jack James José Juan Julia " +
		"Karen Laura Leo Linh Lucía Luis Luna Marco María Mateo Mia Noah Nora Olivia Omar Pablo Paula Pedro Quinn Rosa Samuel Sara Sofía Thi Tomás Uma Valeria Víctor Wei Ximena Yara Zoë"
	syntheticFamily = "Alvarez Anderson Bailey Brown Castillo Chen Cruz Davis Díaz Flores García Garza Gómez González Gray Hall Hernández Hill Ibarra Jackson Johnson Kim King " +
		"Lee López Martin Martínez Mendoza Miller Moore Morales Muñoz Müller Nguyen Núñez O’Neil Ortiz Patel Peña Pérez Quinn Ramírez Reyes Rivera Rodríguez Ruiz Sánchez Smith Taylor Torres Vega Walker White Wilson Young Zapata"
)

// Synthetic writes a CSV roster of n fictional people. It is deterministic: the same n and options make the same bytes.
func Synthetic(w io.Writer, n int, opts SyntheticOptions) error {
	if n < 0 || n > MaxSynthetic {
		return fmt.Errorf("synthetic roster: %d people: at most %d have a number of their own", n, MaxSynthetic)
	}
	out := bufio.NewWriterSize(w, 256<<10)
	if _, err := out.WriteString("customer_ref,given_name,family_name,email,phone,language,country,region,time_zone,tier,data_exposed,compromised_channels,no_sms,no_email\n"); err != nil {
		return fmt.Errorf("synthetic roster: %w", err)
	}
	s := synthesizer{
		rnd: rand.New(rand.NewPCG(opts.Seed, 0xca4d0)), given: strings.Fields(syntheticGiven), family: strings.Fields(syntheticFamily),
		areas: len(syntheticAreas) / len("212 NY "), perfect: opts.Perfect,
	}
	for _, names := range [][]string{s.given, s.family} {
		for _, name := range names {
			s.mailbox = append(s.mailbox, foldHeader(name))
		}
	}
	var line []byte
	for i := range n {
		line = s.person(line[:0], i)
		if _, err := out.Write(line); err != nil {
			return fmt.Errorf("synthetic roster: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("synthetic roster: %w", err)
	}
	return nil
}

type synthesizer struct {
	rnd                    *rand.Rand
	given, family, mailbox []string
	areas                  int
	perfect                bool
}

func (s *synthesizer) person(b []byte, i int) []byte {
	given, family := s.rnd.IntN(len(s.given)), s.rnd.IntN(len(s.family))
	rare := s.rnd.IntN(1000)
	if s.perfect {
		rare = 1000
	}
	entry := syntheticAreas[i%s.areas*len("212 NY "):]
	area, state := entry[:3], entry[4:6]

	b = append(b, 'C')
	b = appendPadded(b, i, 7)
	b = append(b, ',')
	b = append(b, s.given[given]...)
	b = append(b, ',')
	b = append(b, s.family[family]...)
	b = append(b, ',')
	if rare != 0 {
		b = append(b, s.mailbox[given]...)
		b = append(b, '.')
		b = append(b, s.mailbox[len(s.given)+family]...)
		b = strconv.AppendInt(b, int64(i), 10)
		b = append(b, "@example."...)
		b = append(b, [3]string{"com", "org", "net"}[s.rnd.IntN(3)]...)
	}
	b = append(b, ',')
	home, style := s.rnd.IntN(100), s.rnd.IntN(4)
	if home < 4 {
		style = 0 // who lives abroad writes it with the country code
	}
	b = appendNumber(b, area, syntheticLine(i/s.areas), style, rare)
	b = append(b, ',')

	// Of ten people six speak English, three Spanish, and of one nobody knows.
	spoken := s.rnd.IntN(10)
	switch {
	case spoken < 6:
		b = append(b, "en"...)
	case spoken < 9 && rare < 500:
		b = append(b, "español"...)
	case spoken < 9 || s.perfect:
		b = append(b, "es-MX"...)
	}
	b = append(b, ',')
	switch {
	case home < 3:
		b = append(b, "MX,CDMX,"...)
	case home < 4:
		b = append(b, "España,,"...)
	default:
		b = append(b, "US,"...)
		b = append(b, state...)
		b = append(b, ',')
	}
	if rare == 1 {
		b = append(b, "Mars/Olympus"...)
	}
	b = append(b, ',')
	tier := s.rnd.IntN(10)
	b = append(b, "1233333555"[tier], ',')
	b = append(b, [4]string{"name|email_address", "name|payment_card", "name|ssn|postal_address", "name|password"}[s.rnd.IntN(4)]...)
	b = append(b, ',')
	if rare == 2 || rare == 3 {
		b = append(b, "email"...)
	}
	b = append(b, ',')
	if rare == 4 {
		b = append(b, "yes"...)
	}
	b = append(b, ',')
	if rare == 5 {
		b = append(b, "yes"...)
	}
	return append(b, '\n')
}

// syntheticLine returns the last four digits of the n-th number of an area: the reserved hundred first, never 1212 or 4334.
func syntheticLine(n int) int {
	if n < 100 {
		return 100 + n
	}
	line := n - 100
	if line >= 100 {
		line += 100 // behind the reserved hundred
	}
	if line >= 1212 {
		line++
	}
	if line >= 4334 {
		line++
	}
	return line
}

func appendNumber(b []byte, area string, line, style, rare int) []byte {
	switch {
	case rare == 6:
		return b // no number
	case rare == 7:
		return append(append(append(append(b, area[0], '.'), area[1:]...), "556"...), "E+09"...)
	}
	open, mid, sep := "", "", ""
	switch style {
	case 0:
		open = "+1"
	case 1:
		open, mid, sep = "(", ") ", "-"
	case 2:
		mid, sep = "-", "-"
	}
	b = append(append(append(b, open...), area...), mid...)
	b = append(append(b, "555"...), sep...)
	return appendPadded(b, line, 4)
}

func appendPadded(b []byte, n, width int) []byte {
	digits := strconv.Itoa(n)
	for range width - len(digits) {
		b = append(b, '0')
	}
	return append(b, digits...)
}
