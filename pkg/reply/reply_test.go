package reply_test

import (
	"io/fs"
	"strings"
	"testing"
	"unicode"

	"candor/pkg/playbook"
	"candor/pkg/reply"
	"candor/pkg/segment"
)

// starter is the starter's playbook with something added to it.
func starter(t testing.TB, more string) *playbook.Playbook {
	t.Helper()
	data, err := fs.ReadFile(playbook.Starter(), "playbook.yaml")
	if err != nil {
		t.Fatal(err)
	}
	pb, err := playbook.Parse("playbook.yaml", append(data, more...))
	if err != nil {
		t.Fatal(err)
	}
	return pb
}

func TestRead(t *testing.T) {
	t.Parallel()
	book := reply.Words(nil)
	for text, want := range map[string]string{
		// The carriers' words and those of 47 CFR 64.1200(a)(10), as people type them.
		"STOP": "STOP", "stop": "STOP", " Stop. ": "STOP", "STOP!!": "STOP", "\"STOP\"": "STOP", "'stop'": "STOP", "ＳＴＯＰ": "STOP", "S T O P": "STOP", "S.T.O.P": "STOP",
		"stop please": "STOP", "please stop": "STOP", "STOPALL": "STOP", "quit": "STOP en", "End": "STOP en", "revoke": "STOP en", "opt out": "STOP en", "opt-out": "STOP en",
		"OptOut": "STOP en", "cancel": "STOP en", "UNSUBSCRIBE": "STOP en", "unsubscribe me": "STOP en", "unsuscribe": "STOP en", "TD": "STOP en", "remove": "STOP en", "stop it": "STOP",
		"stop 🛑": "STOP", "stop\nSent from my phone": "STOP", "Thanks, stop": "STOP", "I do not know who you are. STOP": "STOP",
		"Stop sending me these messages, I never signed up for any of this": "STOP en", "can you please stop texting me": "STOP en", "Would you stop bothering me and my family": "STOP",
		"you have written three times now and I want no more texts": "STOP en", "please do not text me again, thank you": "STOP en", "take me off your list": "STOP en",
		"remove my number": "STOP en", "I revoke my consent to get texts from you": "STOP en", "how do I unsubscribe from this": "STOP en", "no stop": "STOP", "No, stop.": "STOP",
		"stop help": "STOP", "Call me and stop texting me": "STOP_CALL en", "End texts": "STOP en",
		"Do not contact me by text": "STOP en", "do not contact me": "STOP en", "Please don't contact me again.": "STOP en", "never contact this number again": "STOP en", "I told you, never contact me again": "STOP en",
		"I don't want these messages": "STOP en", "I do not want to receive any more text messages from you": "STOP en", "no longer wish to receive texts": "STOP en", "Not interested": "STOP en",
		"do not contact me by phone or text": "STOP en", "Lose my number": "STOP en", "no texts please": "STOP en", "go away": "STOP en",
		// Two wishes.
		"please stop texting me, call me": "STOP_CALL en", "Call me but don't text": "STOP_CALL en", "don't text, call me": "STOP_CALL en", "dont text me call me": "STOP_CALL en", "STOP. Call me please": "STOP_CALL en",
		"stop texting and call me": "STOP_CALL en", "no más mensajes, llámeme": "STOP_CALL es", "Keine SMS mehr, rufen Sie mich an": "STOP_CALL de", "STOP, LLAMAR": "STOP_CALL es", "不要再发短信，请给我打电话": "STOP_CALL zh",
		"stop call me": "STOP", "stop, don't call me": "STOP", "dont text or call me": "STOP en", "don't text or call": "STOP en", "do not text and call me": "STOP en", "no texts, no calls": "STOP en", "stop calling me": "STOP",
		"stop text and call": "STOP", "Stop. When will you call me?": "STOP", "stop no call me": "STOP", "Thank you for the call. Stop": "STOP", "help, stop, call": "STOP_CALL en",
		// What only sounds like it.
		"If you do not contact me by Friday I go to the police": "none", "Why do you not contact me?": "none", "Do not contact me by email": "none", "please do not contact me by phone": "none",
		"I don't want these messages to stop": "none", "I don't want to get calls": "none", "I got no messages from you last week": "none", "not interested in excuses": "none", "I have not wanted for texts": "none",
		"Warum kontaktieren Sie mich nicht?": "none", "Ich habe keine SMS von Ihnen bekommen": "none", "perché non mi contattate?": "none", "vous ne me contactez pas": "none", "je ne veux pas recevoir d'appels": "none",
		"don't stop": "none", "dont stop": "none", "Do not stop!": "none", "please don’t stop texting me": "none", "when does it stop working?": "none", "When will you stop the thieves": "none",
		"The end of the month is fine": "none", "end of the month": "none", "cancel my card please": "none", "I quit my job last week": "none", "it has not stopped": "none",
		"nonstop": "none", "bus stop number five is where I left my purse": "none", "": "none", "   ": "none", "?!": "none", "ok": "none", "Thank you": "none", "yes": "none", "👍": "none", "1": "none",
		"No more questions, thanks": "none",
		// Other languages.
		"ALTO": "STOP es", "Baja": "STOP es", "baja por favor": "STOP es", "CANCELAR": "STOP", "no más mensajes": "STOP es", "NO MAS": "STOP es", "por favor no me envíen más mensajes": "STOP es",
		"quiero darme de baja": "STOP es", "no pare": "none", "no, pare": "STOP", "¿Cuándo va a parar esto de los robos?": "none", "ARRET": "STOP fr", "Arrêt": "STOP fr", "arrêtez !": "STOP fr",
		"désabonner": "STOP fr", "STOPP": "STOP", "Abmelden": "STOP de", "bitte abmelden": "STOP de", "Keine SMS mehr!": "STOP de", "nicht abmelden": "none", "Basta messaggi": "STOP it",
		"não quero mais receber isso": "STOP pt", "PARAR": "STOP", "afmelden": "STOP nl", "wypisz mnie": "STOP pl", "退订": "STOP zh", "请停止发短信": "STOP", "不要停": "none", "什么时候停止": "none",
		"dừng lại": "STOP vi", "huỷ đăng ký": "STOP vi", "itigil na po": "STOP tl", "수신거부": "STOP ko", "그만 보내세요": "STOP ko", "СТОП": "STOP ru", "отписаться": "STOP ru", "не присылайте больше": "STOP ru",
		"No me contacten": "STOP es", "no deseo recibir más mensajes": "STOP es", "no deseo recibir mensajes": "STOP es", "No quiero estos mensajes": "STOP es", "Ne me contactez plus !": "STOP fr", "je ne veux plus recevoir vos messages": "STOP fr",
		"Kontaktieren Sie mich nicht": "STOP de", "Ich möchte diese Nachrichten nicht": "STOP de", "keine SMS bitte": "STOP de", "non contattatemi": "STOP it", "Não me contatem mais": "STOP pt", "Ik wil deze berichten niet": "STOP nl",
		"Nie chcę tych wiadomości": "STOP pl", "xin đừng liên lạc": "STOP vi", "huwag ninyo akong kontakin": "STOP tl", "不要联系我": "STOP zh", "連絡しないでください": "STOP ja", "연락하지 마세요": "STOP ko",
		"не хочу получать эти сообщения": "STOP ru", "لا تتواصلوا معي": "STOP ar", "मुझसे संपर्क न करें": "STOP hi", "pa kontakte m": "STOP ht", "إيقاف": "STOP ar", "توقف": "STOP ar", "बंद करो": "STOP hi", "रोकें": "STOP hi", "配信停止": "STOP ja",
		// Help.
		"HELP": "HELP", "help me": "HELP", "Info": "HELP", "can you help me please": "HELP", "Help! What do I have to do with my bank?": "HELP", "who is this?": "HELP en", "Ayuda": "HELP es", "AIDE": "HELP fr",
		"Hilfe": "HELP de", "ajuda": "HELP pt", "帮助": "HELP zh", "trợ giúp": "HELP vi", "tulong": "HELP tl", "помощь": "HELP ru", "مساعدة": "HELP ar", "मदद": "HELP hi", "도움말": "HELP ko",
		// A call.
		"CALL": "CALL en", "call me": "CALL en", "Please call me back.": "CALL en", "call me after 5 pm": "CALL en", "My card is gone. Call me!": "CALL en", "I would like a call": "CALL en", "LLAMAR": "CALL es",
		"LLÁMAME": "CALL es", "llámenme por favor": "CALL es", "appelez-moi": "CALL fr", "ANRUFEN": "CALL de", "Rückruf": "CALL de", "Rueckruf bitte": "CALL de", "Bitte rufen Sie mich zurück": "CALL de",
		"ligue para mim": "CALL pt", "请给我打电话": "CALL zh", "позвоните мне": "CALL ru", "전화해주세요": "CALL ko", "अंग्रेज़ी कॉल": "none",
		"I will call you": "none", "don't call me": "none", "do not call me": "none", "call the police": "none", "who is calling": "none",
		// Texts again, and only if nothing else is said.
		"START": "START", "unstop": "START", "start please": "START", "resume": "START en", "alta": "START es", "when does it start": "none", "start with my bank?": "none", "I got it. Start": "none", "stop. start": "STOP",
	} {
		word, language := book.Read(text)
		got := strings.TrimSpace(word.String() + " " + language)
		if got != want {
			t.Errorf("Read(%q) = %s, want %s", text, got, want)
		}
	}
}

func TestThePlaybooksOwnWords(t *testing.T) {
	t.Parallel()
	pb := starter(t, "replies:\n  es:\n    stop: [zorkmid]\n    help: [socorrito]\n    call: [telefonazo]\n")
	for text, want := range map[string]reply.Word{
		"Zorkmid!": reply.Stop, "por favor ZORKMID": reply.Stop, "socorrito": reply.Help, "telefonazo ya": reply.Call, "baja": reply.Stop, "no zorkmid": reply.None,
	} {
		if got, _ := reply.Read(text, pb); got != want {
			t.Errorf("Read(%q) = %s, want %s", text, got, want)
		}
		if got, _ := reply.Read("zorkmid", nil); got != reply.None {
			t.Error("the words of a playbook are known without it")
		}
	}
	if _, language := reply.Read("zorkmid", pb); language != "es" {
		t.Errorf("its language is %q", language)
	}
}

var words = []reply.Word{reply.Stop, reply.Help, reply.Call, reply.Start, reply.StopCall, reply.NoCall}

// Prepared answers cost one segment, and are complete.
func TestPreparedAnswersFitIntoOneText(t *testing.T) {
	t.Parallel()
	pb := starter(t, "")
	seen := map[string]bool{}
	for _, language := range []string{"en", "es", "fr", "de", "it", "pt"} {
		for _, word := range words {
			text := reply.Answer(pb, word, language)
			if seen[text] || strings.ContainsAny(text, "{}") || !strings.Contains(text, "Northwind Power") {
				t.Errorf("%s in %s is %q", word, language, text)
			}
			seen[text] = true
			info := segment.Count(text)
			if language == "en" || language == "es" {
				if info.Encoding != segment.GSM7 || info.Units > 160 {
					t.Errorf("%s in %s has %d %s units (%q): %s", word, language, info.Units, info.Encoding, info.Forces, text)
				}
			} else if info.Segments > 3 {
				t.Errorf("%s in %s has %d segments: %s", word, language, info.Segments, text)
			}
			if word != reply.Start && !strings.Contains(text, "1-800-555-0142") {
				t.Errorf("%s in %s does not say where to call: %s", word, language, text)
			}
		}
	}
}

// What an answer tells people to text back is understood.
func TestAnswersNameWordsThatAreRead(t *testing.T) {
	t.Parallel()
	pb := starter(t, "")
	for _, language := range []string{"en", "es", "fr", "de", "it", "pt"} {
		help, called := reply.Answer(pb, reply.Help, language), false
		for _, word := range strings.FieldsFunc(help, func(r rune) bool { return !unicode.IsUpper(r) }) {
			if got, _ := reply.Read(word, nil); len(word) > 3 && got == reply.Call {
				called = true
			}
		}
		if !called || !strings.Contains(help, "STOP") {
			t.Errorf("in %s nobody learns how to ask for a call: %s", language, help)
		}
	}
}

// Without calls in the playbook CALL was answered with a promise that nobody kept, and HELP asked people to text it.
func TestWithoutCallsInThePlaybookNoAnswerOffersOne(t *testing.T) {
	t.Parallel()
	pb := starter(t, "")
	pb.Calls = nil
	for _, language := range []string{"en", "es", "fr", "de", "it", "pt"} {
		for _, word := range []reply.Word{reply.Help, reply.NoCall} {
			text := reply.Answer(pb, word, language)
			if !strings.Contains(text, "1-800-555-0142") || !strings.Contains(text, "northwind.example/notice") {
				t.Errorf("in %s it does not say where to ask: %s", language, text)
			}
			for _, w := range strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsUpper(r) }) {
				if got, _ := reply.Read(w, nil); len(w) > 3 && got == reply.Call {
					t.Errorf("in %s it offers a call: %s", language, text)
				}
			}
		}
	}
	own := starter(t, "replies:\n  es:\n    stopped: adios\n    called: llamamos\n    helped: ayuda\n")
	for word, want := range map[reply.Word]string{reply.StopCall: "adios llamamos", reply.Help: "ayuda"} {
		if got := reply.Answer(own, word, "es"); got != want {
			t.Errorf("%s is answered %q, want %q", word, got, want)
		}
	}
	if got := reply.Answer(own, reply.NoCall, "es"); !strings.Contains(got, "northwind.example/notice") {
		t.Errorf("where nobody can be called CALL is answered %q", got)
	}
	if own.Calls = nil; reply.Answer(own, reply.NoCall, "es") != "ayuda" {
		t.Error("the company's own words for HELP are not used")
	}
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	pb := starter(t, "replies:\n  es:\n    stopped: \"{{organisation.short_name}}: adios. {{ organisation.phone_hours }}\"\n")
	for _, tt := range []struct {
		name, language string
		word           reply.Word
		want           string
	}{
		{"the playbook's own", "es", reply.Stop, "Northwind Power: adios. todos los días de 8 de la mañana a 10 de la noche, hora del Este"},
		{"for a wider tag", "es-MX", reply.Stop, "Northwind Power: adios."},
		{"by a fallback", "ca", reply.Stop, "Northwind Power: adios."},
		{"the prepared one beside it", "es", reply.Call, "Northwind Power: Gracias."},
		{"a prepared one in a language that is not offered", "fr-CA", reply.Call, "Northwind Power : merci."},
		{"the default", "zh", reply.Stop, "Northwind Power: You get no more texts from us."},
		{"of nobody knows who", "", reply.Help, "Northwind Power: This is about your stolen data."},
		{"nothing to say", "en", reply.None, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := reply.Answer(pb, tt.word, tt.language); !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
				t.Errorf("answer is %q, want %q", got, tt.want)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	for _, seed := range []string{"STOP", "please stop", "don't stop", "no más mensajes", "退订", "S T O P", "إيقاف", "बंद करो", "Rückruf, bitte!", "ſtop ıİ ß ͅ ", "st\u200bop", "\xff\xfestop", "I will call you. Stop!"} {
		f.Add(seed)
	}
	book := reply.Words(nil)
	f.Fuzz(func(t *testing.T, text string) {
		word, language := book.Read(text)
		if word == reply.None && language != "" {
			t.Fatalf("nothing is said in %s", language)
		}
		for _, other := range []string{strings.ToUpper(text), strings.ToLower(text), "  «" + text + "»!! ", "...\n" + text + "\n..."} {
			if w, l := book.Read(other); w != word || l != language {
				t.Fatalf("%q reads as %s %s, %q as %s %s", text, word, language, other, w, l)
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	book := reply.Words(nil)
	for b.Loop() {
		book.Read("Hi, I got your message about my data and would like to know when you will call me back about the bank account")
	}
}
