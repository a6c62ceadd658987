// Package reply reads what customers text back, and says what they are answered.
//
// In: a text, the playbook.   Out: what the customer means, and the answer in their language.   Crash: nothing to lose, these
// are pure functions.
package reply

import (
	"maps"
	"slices"
	"strings"

	"candor/pkg/playbook"
	"candor/pkg/reply/keyword"
)

// Word is what a customer means.
type Word = keyword.Word

// What customers can mean.
const (
	None  = keyword.None
	Stop  = keyword.Stop
	Start = keyword.Start
	Help  = keyword.Help
	Call  = keyword.Call
	// StopCall is no more texts, but a call.
	StopCall = keyword.StopCall
)

// NoCall is nothing that customers text: it asks Answer what to say to Call where nobody will call.
const NoCall = StopCall + 1

// Book knows the words that are always known and those of a playbook. It is safe for use by many goroutines.
type Book = keyword.Book

// Words returns the Book of a playbook; pb may be nil.
func Words(pb *playbook.Playbook) *Book {
	if pb == nil {
		return keyword.New()
	}
	var extra []keyword.Extra
	for _, language := range slices.Sorted(maps.Keys(pb.Replies)) {
		r := pb.Replies[language]
		extra = append(extra, keyword.Extra{Language: language, Stop: r.Stop, Help: r.Help, Call: r.Call})
	}
	return keyword.New(extra...)
}

// Read returns what a text means and in which language it says so, as Book.Read does; pb may be nil. Who reads many texts
// keeps the Book of Words.
func Read(text string, pb *playbook.Playbook) (Word, string) { return Words(pb).Read(text) }

// Answer returns what a customer is answered in a language, or in the nearest one that there is an answer in: a wider tag,
// what the playbook would write in, English. It is empty for None.
func Answer(pb *playbook.Playbook, word Word, language string) string {
	for _, tag := range []string{language, pb.Languages.Language(language), pb.Languages.Default, "en"} {
		for ; tag != ""; tag = tag[:max(0, strings.LastIndexByte(tag, '-'))] {
			if text := answer(pb, word, tag); text != "" {
				return pb.Organisation.Fill(text, pb.Languages.Language(tag))
			}
		}
	}
	return ""
}

// answer returns the playbook's own answer in a language, or the prepared one. What is prepared for Help offers a call, and
// gives way to NoCall's where the playbook has nobody called.
func answer(pb *playbook.Playbook, word Word, tag string) string {
	own := pb.Replies[tag]
	stopped, helped, called := own.Stopped.String(), own.Helped.String(), own.Called.String()
	text := ""
	switch {
	case word == Stop:
		text = stopped
	case word == Help, word == NoCall && pb.Calls == nil:
		text = helped
	case word == Call:
		text = called
	case word == StopCall && stopped != "" && called != "":
		text = strings.TrimSpace(stopped) + " " + called
	}
	if text = strings.TrimSpace(text); text != "" {
		return text
	}
	if word == Help && pb.Calls == nil {
		word = NoCall
	}
	return prepared[tag][word]
}

// prepared answers fit into one text message if the organisation's name and number are no longer than usual, and have no
// character that makes them dear. They promise nothing that is not done, and sell nothing. Nothing writes them after start.
var prepared = map[string]map[Word]string{
	"en": {
		Stop:     "{{organisation.short_name}}: You get no more texts from us. We still must tell you about your data: by e-mail, letter or phone. Questions? Call {{organisation.phone}}",
		Help:     "{{organisation.short_name}}: This is about your stolen data. Call {{organisation.phone}}, or text CALL and we call you. STOP ends texts. We never ask for passwords.",
		Call:     "{{organisation.short_name}}: Thank you. We will call you. We will never ask for your password or card number. You can call us too: {{organisation.phone}}",
		StopCall: "{{organisation.short_name}}: You get no more texts from us. We will call you, as you asked. We never ask for passwords. You can call us too: {{organisation.phone}}",
		NoCall:   "{{organisation.short_name}}: This is about your stolen data. Call {{organisation.phone}} or see {{organisation.page}}. STOP ends texts. We never ask for passwords.",
		Start:    "{{organisation.short_name}}: You get our texts about your data again. STOP ends them. Questions? Call {{organisation.phone}}",
	},
	"es": {
		Stop:     "{{organisation.short_name}}: No le enviaremos otro SMS. Pero debemos informarle sobre sus datos: por e-mail, carta o teléfono. ¿Preguntas? Llame al {{organisation.phone}}",
		Help:     "{{organisation.short_name}}: Robaron datos suyos. Llame al {{organisation.phone}}, o responda LLAMAR y le llamamos. Para no recibir SMS, STOP. Nunca pedimos contraseñas.",
		Call:     "{{organisation.short_name}}: Gracias. Le llamaremos. Nunca le pediremos su contraseña ni los datos de su tarjeta. Si prefiere, llame al {{organisation.phone}}",
		StopCall: "{{organisation.short_name}}: No le enviaremos otro SMS. Le llamaremos, como pide. Nunca pedimos contraseñas. Si prefiere, llame al {{organisation.phone}}",
		NoCall:   "{{organisation.short_name}}: Robaron datos suyos. Llame al {{organisation.phone}} o vea {{organisation.page}}. Para no recibir SMS, STOP. Nunca pedimos contraseñas.",
		Start:    "{{organisation.short_name}}: Le enviaremos de nuevo SMS sobre sus datos. Para no recibirlos, responda STOP. ¿Preguntas? Llame al {{organisation.phone}}",
	},
	"fr": {
		Stop:     "{{organisation.short_name}} : vous ne recevrez plus de SMS. Nous devons vous informer sur vos données : par e-mail, courrier ou téléphone. Questions : {{organisation.phone}}",
		Help:     "{{organisation.short_name}} : vos données ont été volées. Appelez le {{organisation.phone}}, ou répondez RAPPEL et nous vous appelons. STOP arrête les SMS.",
		Call:     "{{organisation.short_name}} : merci. Nous vous appellerons. Nous ne demandons jamais de mot de passe. Vous pouvez aussi appeler le {{organisation.phone}}",
		StopCall: "{{organisation.short_name}} : vous ne recevrez plus de SMS. Nous vous appellerons, comme demandé. Nous ne demandons jamais de mot de passe. Vous pouvez aussi appeler le {{organisation.phone}}",
		NoCall:   "{{organisation.short_name}} : vos données ont été volées. Appelez le {{organisation.phone}} ou lisez {{organisation.page}}. STOP arrête les SMS.",
		Start:    "{{organisation.short_name}} : vous recevrez de nouveau nos SMS sur vos données. STOP les arrête. Questions : {{organisation.phone}}",
	},
	"de": {
		Stop:     "{{organisation.short_name}}: Sie bekommen keine SMS mehr. Wir müssen Sie aber informieren: per E-Mail, Brief oder Telefon. Fragen? {{organisation.phone}}",
		Help:     "{{organisation.short_name}}: Ihre Daten wurden gestohlen. Rufen Sie {{organisation.phone}} an, oder antworten Sie ANRUF: wir rufen Sie an. STOP beendet SMS.",
		Call:     "{{organisation.short_name}}: Danke. Wir rufen Sie an. Wir fragen nie nach Ihrem Passwort. Sie können auch uns anrufen: {{organisation.phone}}",
		StopCall: "{{organisation.short_name}}: Sie bekommen keine SMS mehr. Wir rufen Sie an, wie gewünscht. Wir fragen nie nach Ihrem Passwort. Sie können auch uns anrufen: {{organisation.phone}}",
		NoCall:   "{{organisation.short_name}}: Ihre Daten wurden gestohlen. Rufen Sie {{organisation.phone}} an, oder lesen Sie {{organisation.page}}. STOP beendet SMS.",
		Start:    "{{organisation.short_name}}: Sie bekommen wieder SMS zu Ihren Daten. STOP beendet sie. Fragen? {{organisation.phone}}",
	},
	"it": {
		Stop:     "{{organisation.short_name}}: non riceverà altri SMS. Dobbiamo però informarla sui suoi dati: per e-mail, lettera o telefono. Domande? {{organisation.phone}}",
		Help:     "{{organisation.short_name}}: i suoi dati sono stati rubati. Chiami {{organisation.phone}}, o risponda CHIAMATA e la chiamiamo. STOP ferma gli SMS.",
		Call:     "{{organisation.short_name}}: grazie. La chiameremo. Non chiediamo mai la password. Può anche chiamarci: {{organisation.phone}}",
		StopCall: "{{organisation.short_name}}: non riceverà altri SMS. La chiameremo, come chiede. Non chiediamo mai la password. Può anche chiamarci: {{organisation.phone}}",
		NoCall:   "{{organisation.short_name}}: i suoi dati sono stati rubati. Chiami {{organisation.phone}} o legga {{organisation.page}}. STOP ferma gli SMS.",
		Start:    "{{organisation.short_name}}: riceverà di nuovo i nostri SMS sui suoi dati. STOP li ferma. Domande? {{organisation.phone}}",
	},
	"pt": {
		Stop:     "{{organisation.short_name}}: Você não receberá mais SMS. Mas devemos informar sobre seus dados: por e-mail, carta ou telefone. Dúvidas? {{organisation.phone}}",
		Help:     "{{organisation.short_name}}: Seus dados foram roubados. Ligue {{organisation.phone}}, ou responda LIGAR e ligamos para você. STOP encerra os SMS.",
		Call:     "{{organisation.short_name}}: Obrigado. Vamos ligar para você. Nunca pedimos senhas. Você também pode ligar: {{organisation.phone}}",
		StopCall: "{{organisation.short_name}}: Você não receberá mais SMS. Vamos ligar para você, como pediu. Nunca pedimos senhas. Você também pode ligar: {{organisation.phone}}",
		NoCall:   "{{organisation.short_name}}: Seus dados foram roubados. Ligue {{organisation.phone}} ou leia {{organisation.page}}. STOP encerra os SMS.",
		Start:    "{{organisation.short_name}}: Você volta a receber SMS sobre seus dados. STOP encerra. Dúvidas? {{organisation.phone}}",
	},
}
