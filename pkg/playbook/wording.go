package playbook

import (
	"regexp"
	"strings"
)

// wording knows some words of a language. It finds what is plainly wrong, and does not read.
type wording struct {
	// apology is in a text that says sorry.
	apology *regexp.Regexp
	// A sentence in which ask comes before secret asks for one, unless calm comes before both: it says that nobody will, or
	// speaks of others who do.
	ask, secret, calm *regexp.Regexp
	// breach tells whoever hears it what the call is about.
	breach *regexp.Regexp
}

// wordings are by language, without its region. Nothing writes them after start.
var wordings = map[string]wording{
	"en": {
		apology: regexp.MustCompile(`(?i)\b(sorry|apolog(y|i[sz]e|ies)|regret)`),
		ask: regexp.MustCompile(`(?i)\b((tell|give|read|send|show|spell|text) (it |them )?(to )?(me|us)|` +
			`(confirm|verify|enter|type|type in|share|provide|repeat|spell|say|state|read|read out|tell|give) (your|the)|` +
			`what('s| is| are| was) (your|the)|which|(may|can|could) (i|we) (have|get|see|know)|(i|we)('ll| will)? need)\b`),
		secret: regexp.MustCompile(`(?i)\b(pass ?(word|code|phrase)s?|pins?|(one[- ]time|security|verification|access|text) codes?|cv[vc]2?|` +
			`(card|account|social security|passport|licen[sc]e|id|tax) numbers?|numbers? of your (card|account|passport|licen[sc]e|id)|ssn|` +
			`security (questions?|answers?)|maiden name)\b`),
		calm:   regexp.MustCompile(`(?i)\b(never|not|no|nobody|cannot|without|[a-z]+n['’]t|some(body|one)|any(body|one)|asks|wants|callers?)\b`),
		breach: regexp.MustCompile(`(?i)\b(breach|data|stole|steal|theft|thie[fv]|hack|leak|expos|compromis|incident|cyber|securit|broke|break-?in|crime|criminal)\pL*`),
	},
	"es": {
		apology: regexp.MustCompile(`(?i)(disculp|lo sentimos|lo siento|sentimos|perd[óo]n|lament)`),
		ask: regexp.MustCompile(`(?i)(d[íi]game|d[íi]ganos|d[ée]me|d[ée]nos|l[ée]ame|l[ée]anos|env[íi]e(me|nos)|m[áa]nde(me|nos)|deletr[ée]e(me|nos)|rep[íi]ta(me|nos)|` +
			`(confirm|verifi(qu)?|escrib|introduzc|tecle|repit|dig|indi(qu)?|compart|\ble|deletre)(e|a|ar|ir)( su| sus| el| la| los| las)|` +
			`cu[áa]l(es)? (es|son|era)|(puede|podr[íi]a|me|nos) (dar|decir|leer|confirmar|repetir|da|dice|lee|confirma)(me|nos)?|necesit(o|amos))`),
		secret: regexp.MustCompile(`(?i)(contraseñas?|claves?|\bpin\b|\bcv[vc]2?\b|c[óo]digo de (un solo uso|seguridad|verificaci[óo]n|acceso)|` +
			`n[úu]mero( completo| entero)? de (su |la |una |el )?(tarjeta|cuenta|seguro social|documento|identidad|licencia|pasaporte)|` +
			`(preguntas?|respuestas?) de seguridad|apellido de soltera)`),
		calm:   regexp.MustCompile(`(?i)(^|\PL)(no|nunca|jam[áa]s|nadie|ni|sin|alguien|quien(es)?)(\PL|$)`),
		breach: regexp.MustCompile(`(?i)(datos|rob[aóo]|robad|ladr[óo]n|hurt|filtr|hacke|brecha|fuga|expuest|vulner|incidente|ciber|seguridad|delito|delincuen)\pL*`),
	},
}

// wordingOf returns what is known of a language; false if nothing is.
func wordingOf(tag string) (wording, bool) {
	base, _, _ := strings.Cut(tag, "-")
	w, ok := wordings[base]
	return w, ok
}

var sentence = regexp.MustCompile(`[^.?!\n]+`)

// asksFor returns where a text asks for a secret, and the words of it.
func (w wording) asksFor(text string) (at int, words string, found bool) {
	for _, s := range sentence.FindAllStringIndex(text, -1) {
		said := text[s[0]:s[1]]
		for _, ask := range w.ask.FindAllStringIndex(said, -1) {
			secret := w.secret.FindStringIndex(said[ask[0]:])
			if secret == nil || w.calm.MatchString(said[:ask[0]+secret[0]]) {
				continue
			}
			from, to := ask[0], ask[0]+secret[1]
			return s[0] + from, said[from:to], true
		}
	}
	return 0, "", false
}

// LacksApology reports whether a text in a language whose words we know says sorry nowhere.
func LacksApology(language, text string) bool {
	w, known := wordingOf(language)
	return known && !w.apology.MatchString(text)
}
