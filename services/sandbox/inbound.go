package sandbox

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // Twilio's signature is made with it
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// spoken is one line of a conversation that no notice is part of.
type spoken struct {
	at   int64 // Unix nanoseconds
	from string
	text string
	own  bool // the phone's
}

// A word that Twilio understands by itself.
const (
	optOut  = "STOP"
	optIn   = "START"
	askHelp = "HELP"
)

var optWords = map[string]string{
	"STOP": optOut, "STOPALL": optOut, "UNSUBSCRIBE": optOut, "CANCEL": optOut, "END": optOut, "QUIT": optOut, "OPTOUT": optOut, "REVOKE": optOut,
	"START": optIn, "YES": optIn, "UNSTOP": optIn,
	"HELP": askHelp, "INFO": askHelp,
}

// What Twilio itself answers to them.
var optAnswers = map[string]string{
	optOut:  "You have successfully been unsubscribed. You will not receive any more messages from this number. Reply START to resubscribe.",
	optIn:   "You have successfully been re-subscribed to messages from this number. Reply HELP for help. Reply STOP to unsubscribe. Msg&Data Rates May Apply.",
	askHelp: "Reply STOP to unsubscribe. Msg&Data Rates May Apply.",
}

// maxReplyBytes bounds what a phone may text at once.
const maxReplyBytes = 4 * 1600

var (
	errNoWords    = errors.New("give 1 to 1600 characters to text")
	errNotReached = errors.New("the inbound URL did not take the text; it is kept in the phone's conversation only")
)

// hear takes a text of a phone's and returns what Twilio posts about it. What Twilio does by itself is done here.
func (s *Sandbox) hear(number uint64, words string) (sid string, fields []field) {
	c, now := s.sms, s.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	from := &sender{from: ownNumber}
	if i, known := c.findPhone(number); known && c.phones.at(i).last != none {
		from = &c.senders[c.texts.at(c.phones.at(i).last).sender]
	}
	to := s.fromNumber(from)
	c.heard++
	const kindInbound = 3
	sealed := sealPosition(s.ids, kindInbound, c.heard)
	sid = "SM" + strings.ReplaceAll(uuid(sealed), "-", "")
	c.say(number, spoken{at: now.UnixNano(), text: words, own: true})
	s.courier.replies.Add(1)

	kind := optWords[strings.ToUpper(strings.TrimSpace(words))]
	fields = []field{
		{"AccountSid", s.cfg.Twilio.AccountSID},
		{"ApiVersion", apiVersion},
		{"Body", words},
		{"From", numberText(number)},
		{"To", to},
		{"MessageSid", sid},
		{"SmsSid", sid},
		{"SmsMessageSid", sid},
		{"SmsStatus", "received"},
		{"NumMedia", "0"},
		{"NumSegments", "1"},
	}
	if from.service != "" {
		fields = append(fields, field{"MessagingServiceSid", from.service})
	}
	if kind == "" {
		return sid, fields
	}
	switch kind {
	case optOut:
		if _, out := c.optedOut[number]; !out {
			c.optedOut[number] = true
			c.stopped++
		}
	case optIn:
		if c.optedOut[number] {
			c.stopped--
		}
		delete(c.optedOut, number)
	}
	c.say(number, spoken{at: now.UnixNano(), from: to, text: optAnswers[kind]})
	s.courier.answers.Add(1)
	if s.cfg.Twilio.AdvancedOptOut {
		fields = append(fields, field{"OptOutType", kind})
	}
	return sid, fields
}

func (c *carrier) say(number uint64, line spoken) { c.talks[number] = append(c.talks[number], line) }

// textBack is a phone's text to whom it last heard from. It returns when the inbound URL has answered.
func (s *Sandbox) textBack(ctx context.Context, number uint64, words string) error {
	if strings.TrimSpace(words) == "" || len(words) > maxReplyBytes {
		return errNoWords
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // a post in flight ends with the sandbox
		select {
		case <-s.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	s.courier.owed.Add(1)
	defer s.courier.owed.Add(-1)
	sid, fields := s.hear(number, words)
	to := s.hooks.Load().InboundURL
	if to == "" {
		return nil
	}
	p := s.plan.Load()
	twice := p.Enabled && p.Duplicate > 0 && throw(p.Seed, number^hashAddress([]byte(words)), saltDuplicate) < p.Duplicate
	a, err := s.postInbound(ctx, to, sid, fields)
	if err != nil {
		return err
	}
	s.courier.acknowledged.Add(1)
	if twice {
		s.courier.duplicates.Add(1)
		if _, err := s.postInbound(ctx, to, sid, fields); err != nil { // what is answered to it, nobody hears
			return err
		}
		s.courier.acknowledged.Add(1)
	}
	return s.answer(number, fields, a.body)
}

// postInbound tells of a phone's text, as often as the URL's rules say. A crash loses it, as Twilio might.
func (s *Sandbox) postInbound(ctx context.Context, callback, sid string, fields []field) (answer, error) {
	target, rules := cutRules(callback)
	var sign signer
	body, signature := sign.form(nil, hmac.New(sha1.New, []byte(s.cfg.Twilio.AuthToken.Reveal())), target, fields)
	plan := s.plan.Load()
	for tries := uint8(0); ; tries++ {
		a := s.courier.post(ctx, target, formType, body, [2]string{headerSignature, signature}, [2]string{headerToken, sid})
		if a.taken() {
			return a, nil
		}
		s.courier.refused.Add(1)
		if int(tries) >= rules.retries || !rules.cover(a) {
			s.courier.lost.Add(1)
			return a, errNotReached
		}
		select {
		case <-time.After(retryAfter(plan, tries)):
		case <-s.stopping:
			return a, errNotReached
		case <-ctx.Done():
			return a, fmt.Errorf("text back: %w", ctx.Err())
		}
	}
}

// answer shows the phone what the inbound URL said, unless the phone asked for no more.
func (s *Sandbox) answer(number uint64, fields []field, twiml []byte) error {
	messages, err := parseTwiML(twiml)
	if err != nil {
		return err
	}
	var to string
	for _, f := range fields {
		if f.name == "To" {
			to = f.value
		}
	}
	s.sms.mu.Lock()
	defer s.sms.mu.Unlock()
	for _, m := range messages {
		if _, out := s.sms.optedOut[number]; out {
			s.sms.codes[strconv.Itoa(errOptedOut.code)]++
			continue
		}
		s.sms.say(number, spoken{at: s.now().UnixNano(), from: to, text: m})
		s.courier.answers.Add(1)
	}
	return nil
}

// parseTwiML returns the texts of the <Message> verbs of an answer. Nothing at all is an answer too.
func parseTwiML(b []byte) ([]string, error) {
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, nil
	}
	var response struct {
		XMLName  xml.Name `xml:"Response"`
		Messages []struct {
			Text string   `xml:",chardata"`
			Body []string `xml:"Body"`
		} `xml:"Message"`
	}
	if err := xml.Unmarshal(b, &response); err != nil {
		return nil, errors.New("the inbound URL answered with what is no TwiML (12100): answer nothing, or <Response>")
	}
	var list []string
	for _, m := range response.Messages {
		text := strings.TrimSpace(m.Text)
		if len(m.Body) > 0 {
			text = strings.TrimSpace(strings.Join(m.Body, ""))
		}
		if text != "" {
			list = append(list, text)
		}
	}
	return list, nil
}

// Reply is a text that a phone sends back.
type Reply struct {
	Phone string `json:"phone"`
	Text  string `json:"text"`
}

func (s *Sandbox) postReply(w http.ResponseWriter, req *http.Request) {
	var r Reply
	if err := decodeStrict(w, req, &r); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	number, ok := parseE164([]byte(r.Phone))
	if !ok {
		http.Error(w, "phone is no number in E.164 form", http.StatusBadRequest)
		return
	}
	switch err := s.textBack(req.Context(), number, r.Text); {
	case errors.Is(err, errNoWords):
		http.Error(w, err.Error(), http.StatusBadRequest)
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadGateway)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}
