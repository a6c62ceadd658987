package keyword

import "strings"

// list holds the ways to say one thing in one language. How they are taken is said at Read.
type list struct {
	// language is a BCP 47 tag; empty for words that are printed in messages of every language.
	language string
	word     Word
	// whole count where nothing else is said, short in a few words or in front, anywhere in any text.
	whole, short, anywhere string
}

// lists are the words that are always known: those of the carriers and of the FCC (47 CFR 64.1200(a)(10)), and what people
// write who do not know them. Commas part them. Nothing writes it after start.
var lists = []list{
	{
		"", Stop,
		"", "stop, stopall, stop all", "",
	},
	{
		"en", Stop,
		"end, quit, cancel, revoke, remove, td, enough, no more, block, leave me alone, go away, not interested, no texts, no text messages, no messages, no sms, no contact",
		"unsubscribe, unsubscribed, unsubscribing, un subscribe, unsuscribe, unsubcribe, unsubsribe, optout, opt out, opting out, opted out, stpo, sotp, stopp, " + contacts,
		"stop texting, stop sending, stop messaging, stop contacting, stop these, stop the texts, stop the messages, stop all texts, stop all messages, stop msgs, quit texting, quit sending, " +
			"end texts, end messages, cancel texts, cancel messages, no more texts, no more text messages, no more messages, no more sms, " +
			"dont text, do not text, dont send me, do not send me, dont message, do not message, never text, " +
			"unsubscribe me, opt me out, take me off, remove me, remove my number, remove my phone number, revoke my consent, revoke consent, opt out of, " +
			"lose my number, delete my number, remove this number, no more contact, " + cross(contacts, "again, anymore, any more, by text, by sms, by message") + ", " +
			cross("dont want, do not want, no longer want, no longer wish, dont wish, do not wish", ", to receive, to get", cross(", these, those, your, any, any more, more, further", "texts, text messages, messages, msgs, sms, notifications, alerts")),
	},
	{
		"es", Stop,
		"alto, baja, parar, pare, para ya, paren, basta, basta ya, cancelar, cancela, cancele, cancelen, detener, detenga, detenganse, fin, salir, terminar, eliminar, no mas, ya no, dejenme en paz",
		"desuscribir, desuscribirme, desuscribame, desuscribanme, anular suscripcion, cancelar suscripcion, darme de baja, darse de baja, deme de baja, dar de baja",
		"no mas mensajes, no mas textos, no mas sms, no quiero mas, no quiero recibir, no me envien, no me envie, no me envies, no me mandes, no me escribas, no me contacten, no me contacte, no me contactes, no me molesten, no me molestes, no quiero mensajes, no quiero estos mensajes, no quiero sus mensajes, no quiero sms, " +
			cross("no deseo, no deseo recibir", ", mas, sus, estos", "mensajes, textos, sms") + ", no me manden, no me mande, no me escriban, no me escriba, no enviar mas, " +
			"dejen de enviar, deje de enviar, dejen de mandar, deje de mandar, dejen de escribir, paren de enviar, darme de baja, deme de baja, quitenme de, cancelar mensajes",
	},
	{
		"fr", Stop,
		"arret, arreter, arretez, arrete, fin, annuler, annulez, assez, terminer, supprimer",
		"desabonner, desabonnez moi, desabonnement, desinscrire, desinscription, me desabonner, se desabonner, ne me contactez pas, ne me contacte pas, ne me contacte plus, ne mecrivez pas, plus de contact",
		"plus de messages, plus de sms, plus de textos, ne mecrivez plus, ne me contactez plus, ne menvoyez pas de, " +
			cross("je ne veux pas, je ne veux plus, je ne souhaite pas, je ne souhaite plus", ", recevoir", "de messages, de sms, de textos, de vos messages, vos messages, ces messages, ces sms") + ", ne menvoyez plus, ne plus recevoir, ne plus menvoyer, arretez de menvoyer, arretez denvoyer, arreter les messages, desabonnez moi, stop aux messages",
	},
	{
		"de", Stop,
		"ende, aus, halt, aufhoren, aufhoeren, beenden, schluss, loschen, loeschen, austragen, keine sms, keine nachrichten, kein kontakt",
		"stopp, stoppen, abmelden, abmeldung, abbestellen, abbestellung, kundigen, widerruf, widerrufen, kontaktieren sie mich nicht, kontaktiert mich nicht, schreiben sie mir nicht, schreibt mir nicht, nicht kontaktieren",
		"keine sms mehr, keine nachrichten mehr, keine nachricht mehr, keine weiteren nachrichten, kontaktieren sie mich nicht mehr, schreiben sie mir nicht mehr, nicht mehr kontaktieren, " +
			cross("ich will, ich mochte, ich moechte, ich wunsche, ich wuensche", "keine sms, keine nachrichten, diese sms nicht, diese nachrichten nicht") + ", nicht mehr schreiben, nicht mehr anschreiben, horen sie auf, hort auf, hor auf, melden sie mich ab, mich abmelden",
	},
	{
		"it", Stop,
		"basta, ferma, fermare, fermate, fermatevi, annulla, annullare, fine, smettere, cancella, cancellare",
		"disiscrivi, disiscrivere, disiscrivermi, disiscrizione, cancellami, cancellatemi, disdire, disdetta, smettetela, non mi contattate, non contattarmi, non mi contattare, non mi scrivete",
		"non inviate, non inviatemi, non mandate, non mandatemi, non scrivetemi, non scrivermi, non mi scriva, non contattatemi, non mi contattate piu, non mi inviate, non mi mandate, " +
			cross("non voglio, non desidero", ", ricevere", ", piu, altri, questi, i vostri", "messaggi, sms") + ", niente messaggi, niente sms, basta messaggi, basta sms, non voglio piu, smettete di, smettetela di",
	},
	{
		"pt", Stop,
		"parar, pare, parem, para ja, chega, basta, cancelar, cancele, cancela, sair, fim, remover, encerrar, nao mais",
		"descadastrar, descadastre, desinscrever, cancelar inscricao, cancelar assinatura, descadastrar me",
		"nao quero mais, nao quero receber, " +
			cross("nao quero, nao desejo, nao desejo receber", ", mais, essas, estas, suas", "mensagens, sms") + ", nao me contatem, nao me contate, nao me contactem, nao me contacte, nao entrem em contato, nao entre em contato, nao me escrevam, nao me escreva, nao me envie, nao me enviem, nao me mande, nao me mandem, nao envie mais, nao enviem mais, sem mais mensagens, pare de enviar, parem de enviar, pare de mandar, parem de mandar",
	},
	{
		"nl", Stop,
		"einde, stoppen, genoeg, annuleren, verwijderen, ophouden",
		"afmelden, uitschrijven, opzeggen, meld mij af, schrijf mij uit, afmelding, contacteer mij niet, contacteer me niet",
		"geen berichten meer, geen sms meer, geen smsjes meer, neem geen contact op, neem geen contact meer op, niet meer contacteren, stuur mij geen, stuur me geen, ik wil geen berichten, ik wil geen sms, ik wil deze berichten niet, stop met, niet meer sturen, schrijf mij uit, meld mij af",
	},
	{
		"pl", Stop,
		"koniec, dosc, anuluj, przestan, przestancie, usun, zatrzymaj",
		"wypisz, wypisz mnie, wypisac, rezygnuje, rezygnacja, wyrejestruj, zrezygnuj",
		"nie wysylaj, nie wysylajcie, nie przysylaj, nie przysylajcie, nie kontaktuj sie, nie kontaktujcie sie, prosze sie nie kontaktowac, prosze nie kontaktowac, nie chce wiadomosci, nie chce tych wiadomosci, nie chce sms, nie zycze sobie wiadomosci, nie pisz, nie piszcie, wypisz mnie, prosze nie wysylac, nie chce wiecej",
	},
	{
		"vi", Stop,
		"dung, dung lai, ngung, ngung lai, huy, huy bo, ket thuc, thoi",
		"huy dang ky, tu choi, ngung nhan tin, dung nhan tin",
		"dung gui, ngung gui, dung nhan tin, ngung nhan tin, khong gui nua, khong nhan nua, khong muon nhan, dung nhan cho toi, dung lien lac, dung lien he",
	},
	{
		"tl", Stop,
		"tigil, itigil, tama na, hinto, ihinto, kanselahin, wakas, alisin",
		"tigilan, tigilan na, itigil na, ihinto na, huwag na, ayoko na",
		"huwag na mag text, huwag nang mag text, huwag na kayong, itigil ang, tigilan ang, tigilan ninyo, huwag ninyo akong kontakin, huwag nyo akong kontakin, huwag mo akong kontakin, huwag mo akong itext, huwag nyo akong itext, ayoko ng text, ayoko ng mensahe, ayaw ko ng mensahe",
	},
	{
		"zh", Stop,
		"停, 取消, 结束, 結束, 终止, 終止, 拒收, 够了, 夠了",
		"停止, 退订, 退訂, 取消订阅, 取消訂閱, 退出订阅, 屏蔽",
		"不要再发, 不要再發, 别再发, 別再發, 不要发, 不要發, 停止发送, 停止發送, 退订, 退訂, 别发了, 別發了, 不要给我发, 不要給我發, 不要联系我, 不要聯繫我, 别联系我, 別聯繫我, 不要再联系, 不要再聯繫, 别再联系, 別再聯繫, 请勿联系, 請勿聯繫, 不想收到, 不想再收到",
	},
	{
		"ja", Stop,
		"中止, 解除, やめて, 止めて, 終了, キャンセル",
		"停止, 配信停止, 登録解除, 退会, やめてください, 止めてください",
		"配信停止, 送らないで, 送らないでください, 配信を停止, 配信を止めて, 連絡しないで, 連絡しないでください, メッセージはいりません, メッセージは要りません",
	},
	{
		"ko", Stop,
		"중지, 정지, 취소, 그만, 종료, 중단, 거부",
		"수신거부, 수신 거부, 해지, 구독취소, 구독 취소, 그만 보내세요, 그만보내세요, 그만해, 그만하세요",
		"수신거부, 수신 거부, 그만 보내세요, 그만 보내, 보내지 마세요, 보내지 마, 보내지마세요, 연락하지 마세요, 연락하지마세요, 연락하지 마, 문자 원하지 않습니다, 문자를 원하지 않습니다",
	},
	{
		"ru", Stop,
		"стоп, конец, отмена, отменить, хватит, прекратить, выход, достаточно, удалить",
		"отписаться, отписка, отпишите, отпишите меня, отписать, отказ, отказаться, прекратите",
		"не присылайте, не пишите, не отправляйте, не шлите, больше не пишите, отпишите меня, прекратите писать, прекратите присылать, хватит писать, не связывайтесь, не беспокойте, " +
			cross("не хочу, не желаю", ", получать", ", ваши, эти", "сообщения, сообщений, смс"),
	},
	{
		"ar", Stop,
		"قف, توقف, وقف, الغاء, الغ, انهاء, كفى, كفاية, خلاص",
		"ايقاف, اوقف, اوقفوا, الغاء الاشتراك, الغاء اشتراك, توقفوا",
		"لا ترسل, لا ترسلوا, لا تراسلوني, لا تتواصلوا معي, لا تتواصل معي, لا اريد رسائل, لا اريد هذه الرسائل, اوقفوا الرسائل, ايقاف الرسائل, توقفوا عن",
	},
	{
		"hi", Stop,
		"रुको, रुकें, रोको, रोकें, बंद, बस, रद्द, समाप्त, band karo, band karein, bas, roko, ruko",
		"बंद करो, बंद करें, बंद कीजिए, रोक दो, रोक दें, सदस्यता रद्द",
		"मत भेजो, मत भेजें, न भेजें, मुझसे संपर्क न करें, मुझसे संपर्क मत करें, संदेश नहीं चाहिए, मैसेज नहीं चाहिए, मैसेज मत, संदेश मत, मैसेज बंद, संदेश बंद",
	},
	{
		"ht", Stop,
		"rete, sispann, kanpe, anile, fini",
		"dezabone, dezabone m",
		"pa voye mesaj, pa voye m, sispann voye, pa ekri m, pa kontakte m, pa kontakte mwen, pa vle mesaj",
	},

	{"", Help, "", "help, info", ""},
	{"en", Help, "", "helpme, information, support, who is this, whos this, who are you, what is this, whats this", ""},
	{"es", Help, "", "ayuda, ayudar, ayudeme, ayudenme, auxilio, informacion, quien es, quien eres, quienes son, que es esto", ""},
	{"fr", Help, "", "aide, aidez moi, aider, infos, renseignements, qui est ce, qui etes vous, cest quoi", ""},
	{"de", Help, "", "hilfe, helfen, auskunft, infos, wer ist das, wer sind sie, was ist das", ""},
	{"it", Help, "", "aiuto, aiutatemi, aiutami, informazioni, chi e, chi siete", ""},
	{"pt", Help, "", "ajuda, ajudar, ajude, ajudem, socorro, informacao, informacoes, quem e, o que e isso", ""},
	{"nl", Help, "", "hulp, helpen, informatie, wie is dit, wie bent u", ""},
	{"pl", Help, "", "pomoc, pomozcie, pomocy, informacja, informacje, kto to", ""},
	{"vi", Help, "", "tro giup, giup, giup do, giup toi, thong tin, ai vay", ""},
	{"tl", Help, "", "tulong, tulungan, saklolo, impormasyon, sino ito, sino po ito", ""},
	{"zh", Help, "", "帮助, 幫助, 帮忙, 幫忙, 求助, 信息, 你是谁, 你是誰", ""},
	{"ja", Help, "", "ヘルプ, 助けて, 案内, どなたですか", ""},
	{"ko", Help, "", "도움, 도움말, 도와주세요, 안내, 누구세요", ""},
	{"ru", Help, "", "помощь, помогите, справка, инфо, информация, кто это", ""},
	{"ar", Help, "", "مساعدة, ساعدوني, ساعدني, معلومات, من انت, من هذا", ""},
	{"hi", Help, "", "मदद, सहायता, जानकारी, madad, sahayata, कौन है", ""},
	{"ht", Help, "ed", "ede m, enfomasyon", ""},

	{"en", Call, "call, callback, ring, phone call", "call me, callme, phone me, ring me, call back, give me a call", "please call me, call me back, want a call, need a call, like a call, request a call"},
	{"es", Call, "llamar, llamada, llama, llame, llamen", "llamame, llameme, llamenme, me llamen, me llame, me llama, devuelvanme la llamada", "quiero que me llamen, pueden llamarme, puede llamarme, necesito una llamada, quiero una llamada"},
	{"fr", Call, "appel, appeler, appelez, rappel, rappeler, rappelez", "appelez moi, rappelez moi, mappeler, me rappeler, appelle moi, rappelle moi", "pouvez vous mappeler, pouvez vous me rappeler"},
	{"de", Call, "anruf, anrufen, ruckruf, rueckruf, zuruckrufen, zurueckrufen", "rufen sie mich an, ruf mich an, ruft mich an, rufen sie an, ruckruf bitte, mich anrufen, mich zuruckrufen", "rufen sie mich an, rufen sie mich zuruck, bitte um ruckruf, bitte um anruf"},
	{"it", Call, "chiama, chiamare, chiamata, chiamate, richiamare", "chiamami, chiamatemi, richiamatemi, mi chiami, mi chiamate", "potete chiamarmi, puo chiamarmi"},
	{"pt", Call, "ligar, ligacao, ligue, liguem, chamada, telefonar", "me ligue, me liguem, me liga, ligue me, liguem para mim, ligue para mim", "podem me ligar, pode me ligar, quero que me liguem"},
	{"nl", Call, "bel, bellen, terugbellen, terugbelverzoek", "bel mij, bel me, belt u mij, bel me terug, bel mij terug", "kunt u mij bellen, wilt u mij bellen, kunt u mij terugbellen"},
	{"pl", Call, "telefon, zadzwon, zadzwonic, oddzwon, rozmowa", "zadzwon do mnie, zadzwoncie do mnie, oddzwoncie, prosze zadzwonic, prosze o telefon, prosze o kontakt", ""},
	{"vi", Call, "goi, goi dien, dien thoai", "goi toi, goi cho toi, goi lai, goi lai cho toi, hay goi toi", ""},
	{"tl", Call, "tawag, tumawag", "tawagan, tawagan mo ako, tawagan ninyo ako, tawagan nyo ako, pakitawagan ako", ""},
	{"zh", Call, "电话, 電話, 来电, 來電, 通话, 通話, 回电, 回電", "打电话, 打電話, 打给我, 打給我, 给我打电话, 給我打電話, 请来电, 請來電", ""},
	{"ja", Call, "電話, 通話, コール", "電話ください, 電話してください, 電話して, 電話をください", ""},
	{"ko", Call, "전화, 통화, 콜백", "전화해, 전화주세요, 전화해주세요, 전화 주세요, 전화해 주세요, 연락주세요, 연락 주세요", ""},
	{"ru", Call, "звонок, позвонить, перезвонить", "позвоните, позвоните мне, перезвоните, перезвоните мне, позвони мне", ""},
	{"ar", Call, "اتصال, مكالمة, هاتف", "اتصل, اتصلوا, اتصل بي, اتصلوا بي, كلموني, كلمني", ""},
	{"hi", Call, "कॉल, फोन, फ़ोन, call karo", "कॉल करें, कॉल करो, फोन करें, फोन करो, फ़ोन करें, मुझे कॉल करें, मुझे फोन करें, phone karo, call karein", ""},
	{"ht", Call, "rele, apel, telefon", "rele m, rele mwen", ""},

	{"", Start, "start, unstop", "", ""},
	{"en", Start, "resume, resubscribe, re subscribe, subscribe, opt in, optin, opt me in, start again", "", ""},
	{"es", Start, "alta, reanudar, iniciar, inicio, comenzar, empezar, suscribir, suscribirme", "", ""},
	{"fr", Start, "reprendre, demarrer, commencer, abonner, reabonner", "", ""},
	{"de", Start, "anmelden, fortsetzen, starten, beginnen", "", ""},
	{"it", Start, "inizia, iniziare, riprendi, riprendere, iscrivimi", "", ""},
	{"pt", Start, "iniciar, comecar, retomar, reiniciar, inscrever", "", ""},
	{"nl", Start, "starten, aanmelden, hervatten", "", ""},
	{"pl", Start, "wznow, zacznij, zapisz", "", ""},
	{"vi", Start, "bat dau, tiep tuc, dang ky", "", ""},
	{"tl", Start, "simulan, magsimula, ituloy", "", ""},
	{"zh", Start, "开始, 開始, 恢复, 恢復, 订阅, 訂閱", "", ""},
	{"ja", Start, "再開, 登録, 開始", "", ""},
	{"ko", Start, "시작, 재개, 구독", "", ""},
	{"ru", Start, "старт, начать, возобновить, подписаться", "", ""},
	{"ar", Start, "ابدا, بدء, استئناف, اشتراك", "", ""},
	{"hi", Start, "शुरू, शुरू करें, चालू, shuru karo", "", ""},
	{"ht", Start, "komanse, kontinye", "", ""},
}

// contacts are phrases for Stop, unless the customer means another road.
const contacts = "dont contact me, do not contact me, never contact me, dont contact us, do not contact us, dont contact this number, do not contact this number, never contact this number, dont contact my number, do not contact my number"

// otherRoads right behind contacts are not ours here, if none of textings is named beside them.
const otherRoads = "by email, by e mail, by mail, by post, by letter, by phone, by telephone, via email, via e mail, via mail, over the phone"

const textings = "text, texts, texting, txt, sms, message, messages, messaging"

// goingOn behind a phrase for Stop turns it into its opposite.
const goingOn = "to stop, to end, to cease"

// ors and ands tie a word to the one before.
const (
	ors  = "or, nor, no, o, ni, ou, oder, noch, of, lub, ani, hoac, или, ни, او, या, 或, 或者"
	ands = "and, y, e, et, und, en, i, va, at, и, و, और, 和"
)

// cross makes every phrase that begins as one of the first list says and goes on as those of the others.
func cross(list string, more ...string) string {
	for _, next := range more {
		var all []string
		for a := range strings.SplitSeq(list, ",") {
			for b := range strings.SplitSeq(next, ",") {
				all = append(all, strings.TrimSpace(strings.TrimSpace(a)+" "+strings.TrimSpace(b)))
			}
		}
		list = strings.Join(all, ", ")
	}
	return list
}

// courtesies are what people say before what they mean, and after it.
const courtesies = "please, pls, plz, plss, kindly, hi, hello, hey, dear sir, dear sirs, ok, okay, yes, yeah, just, now, well, so, and, but, thanks, thank you, thx, sorry, " +
	"can you, could you, would you, will you, can u, could u, would u, will u, can you please, why dont you, you must, you need to, i want to, i want you to, i want, i wanna, i need to, i need, i need you to, " +
	"i would like to, i would like, id like to, id like, i wish to, how do i, how can i, how to, let me, reply, text, sir, madam, " +
	"por favor, porfavor, porfa, favor de, hola, quiero, quisiera, necesito, si, gracias, puede, pueden, ya, buenas, buenos dias, buenas tardes, " +
	"sil vous plait, sil te plait, svp, stp, bonjour, merci, je veux, je voudrais, oui, " +
	"bitte, hallo, danke, ja, ich mochte, ich will, ich moechte, guten tag, " +
	"per favore, ciao, grazie, voglio, vorrei, prego, buongiorno, por gentileza, ola, obrigado, obrigada, quero, bom dia, alstublieft, aub, dank u, ik wil, graag, " +
	"prosze, dziekuje, chce, xin, vui long, lam on, cam on, hay, toi muon, paki, pakiusap, po, salamat, gusto ko, 请, 請, 谢谢, 謝謝, 我要, 我想, 你好, お願いします, " +
	"пожалуйста, спасибо, хочу, прошу, здравствуйте, من فضلك, رجاء, لو سمحت, شكرا, اريد, कृपया, धन्यवाद, जी, tanpri, souple, mesi, 제발, 감사합니다"

// objects are what may follow a word without changing it.
const objects = "me, it, this, that, these, them, all, everything, my, mine, us, us all, the, to, from, for, of, now, today, tomorrow, tonight, asap, soon, again, back, immediately, here, already, and, or, you, u, up, " +
	"text, texts, texting, txt, txts, message, messages, messaging, msg, msgs, sms, notification, notifications, alert, alerts, contact, contacting, number, phone, list, subscription, sending, everybody, forever, right now, at once, " +
	"mensaje, mensajes, textos, ya, ahora, todo, todos, los, las, la, el, de, mi, mis, numero, hoy, manana, suscripcion, favor, " +
	"messages, les, le, des, tout, maintenant, mes, moi, nachrichten, alle, alles, die, mich, sofort, jetzt, das, heute, messaggi, tutti, i, subito, ora, adesso, " +
	"mensagens, mensagem, agora, tudo, todas, as, os, hoje, berichten, alle, nu, mij, wiadomosci, smsy, mnie, teraz, tin nhan, toi, ngay, na, ang, mga, ako, 短信, 信息, 我, 了, 吧, 消息, メール, " +
	"сообщения, смс, мне, меня, все, الرسائل, رسائل, الان, भी, मुझे, संदेश, मैसेज, अभी, 문자, 메시지, mesaj, mwen"

// negations turn a word into its opposite if they stand right before it.
const negations = "dont, do not, not, never, cant, cannot, can not, wont, wouldnt, doesnt, does not, didnt, isnt, until, non, nonstop, nunca, nicht, niemals, nie, ne, pas, mai, nao, niet, nooit, не, нельзя, لا, मत, न, khong, chua, huwag, hindi, wag, 不, 别, 別, 不要, 没, 沒, 没有, 안, pa"

// spanishNo is a negation before Spanish words only: "no pare" is not "no, stop".
const spanishNo = "no"

// questions at the front of a sentence ask about a word and do not say it.
const questions = "when, why, what, where, who, which, does, do, did, is, are, was, if, cuando, por que, que, donde, quien, quando, pourquoi, quand, ou, quoi, warum, wann, was, wer, wo, perche, dove, cosa, por que, quem, waarom, wanneer, wat, wie, dlaczego, kiedy, co, kto, khi nao, tai sao, bakit, kailan, kelan, ano, 什么, 什麼, 为什么, 為什麼, 何时, 何時, 什么时候, 什麼時候, 谁, 誰, 怎么, 怎麼, なぜ, いつ, 왜, 언제, когда, почему, зачем, что, متى, لماذا, ماذا, कब, क्यों, क्या"
