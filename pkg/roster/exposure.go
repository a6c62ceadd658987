package roster

import (
	"strings"

	candorv1 "candor/proto/candor/v1"
)

// memo remembers what a cell means, and how often it came.
type memo map[string]*meaning

type meaning struct {
	text  string // a tag or a code
	bits  uint32
	words []string // of a list: the words and what they mean
	as    []string
	bad   bool
	count int
}

// exposure reads which data were exposed and which channels must not be used.
func (w *worker) exposure(p *parsed) {
	data := func(cell string) {
		m := w.remember(w.data, cell, w.readData)
		p.c.Data |= DataKinds(m.bits)
		if m.bad {
			p.notes |= noteDataUnknown
		}
	}
	channels := func(cell string) {
		m := w.remember(w.channels, cell, readChannels)
		p.c.Compromised |= ChannelSet(m.bits)
		if m.bad {
			p.notes |= noteChannelUnknown
		}
	}
	if cell := w.vals[fieldData]; cell != "" {
		data(cell)
	} else {
		w.stats.dataEmpty++
	}
	if cell := w.vals[fieldCompromised]; cell != "" {
		channels(cell)
	}
	for i, cell := range w.more {
		switch w.moreOf[i] {
		case fieldData:
			data(cell)
		case fieldCompromised:
			channels(cell)
		}
	}
	for _, f := range [...]struct {
		field field
		ch    candorv1.Channel
	}{
		{fieldNoSMS, candorv1.Channel_CHANNEL_SMS},
		{fieldNoEmail, candorv1.Channel_CHANNEL_EMAIL},
		{fieldNoCall, candorv1.Channel_CHANNEL_CALL},
	} {
		if cell := w.vals[f.field]; cell != "" {
			yes, known := yesOrNo(cell)
			if !known {
				p.notes |= noteFlagUnknown
			}
			if yes || !known {
				p.c.OptOut = p.c.OptOut.With(f.ch)
			}
		}
	}
}

func yesOrNo(cell string) (yes, known bool) {
	switch strings.ToLower(cell) {
	case "yes", "y", "si", "sí", "s", "true", "t", "1", "x", "on", "verdadero", "v", "✓", "✔", "1.0", "stop", "optout", "opt-out", "opted out":
		return true, true
	case "no", "n", "false", "f", "0", "off", "falso", "-", "0.0", "n/a", "null", "none":
		return false, true
	}
	return false, false
}

// remember reads a cell once and counts it ever after. A column of free text is read again each time, uncounted, when it
// has too many different cells.
func (w *worker) remember(m memo, cell string, read func(string) meaning) *meaning {
	if known := m[cell]; known != nil {
		known.count++
		return known
	}
	v := read(cell)
	v.count = 1
	if len(m) < maxMemo && len(cell) <= maxCell {
		m[strings.Clone(cell)] = &v
	} else {
		w.stats.uncounted++
	}
	return &v
}

func (w *worker) countryOf(cell string) *meaning {
	if cell == "" || isNothing(cell) {
		return nil
	}
	return w.remember(w.countries, cell, func(cell string) meaning {
		code, ok := country(cell)
		return meaning{text: code, bad: !ok}
	})
}

// readData reads a list of kinds of data.
func (w *worker) readData(cell string) (m meaning) {
	add := func(word string, k DataKind) {
		m.words, m.as = append(m.words, strings.Clone(word)), append(m.as, k.String())
		m.bits |= uint32(DataKinds(0).With(k))
	}
	unknown := func(word string) {
		m.words, m.as, m.bad = append(m.words, strings.Clone(word)), append(m.as, ""), true
	}
	for _, word := range listWords(cell) {
		if k, ok := w.dataWords[foldWord(word)]; ok {
			add(word, k)
			continue
		}
		// "nombre y correo": two words, if both are known.
		parts := strings.Split(strings.NewReplacer(" and ", "\n", " y ", "\n", " e ", "\n", " & ", "\n", "/", "\n").Replace(word), "\n")
		for _, part := range parts {
			if part = strings.TrimSpace(part); part == "" {
				continue
			}
			if k, ok := w.dataWords[foldWord(part)]; ok {
				add(part, k)
			} else {
				unknown(part)
			}
		}
	}
	return m
}

func readChannels(cell string) (m meaning) {
	for _, word := range listWords(cell) {
		var set ChannelSet
		switch foldWord(word) {
		case "sms", "text", "texts", "text message", "mensaje", "mensajes", "mensaje de texto":
			set = set.With(candorv1.Channel_CHANNEL_SMS)
		case "email", "e mail", "mail", "mailbox", "email address", "correo", "correo electronico", "buzon":
			set = set.With(candorv1.Channel_CHANNEL_EMAIL)
		case "call", "calls", "voice", "llamada", "llamadas", "voz":
			set = set.With(candorv1.Channel_CHANNEL_CALL)
		case "phone", "telephone", "mobile", "cell", "telefono", "movil", "celular", "sim":
			// A number in another's hands takes texts and calls alike.
			set = set.With(candorv1.Channel_CHANNEL_SMS).With(candorv1.Channel_CHANNEL_CALL)
		default:
			m.words, m.as, m.bad = append(m.words, strings.Clone(word)), append(m.as, ""), true
			continue
		}
		m.words, m.as = append(m.words, strings.Clone(word)), append(m.as, set.String())
		m.bits |= uint32(set)
	}
	return m
}

func listWords(cell string) []string {
	var words []string
	for word := range strings.FieldsFuncSeq(cell, func(r rune) bool { return strings.ContainsRune(",;|\n\t", r) }) {
		if word = strings.TrimSpace(word); !isNothing(word) {
			words = append(words, word)
		}
	}
	return words
}
