package frontdoor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/pii"
	"candor/pkg/playbook"
	"candor/pkg/receipt"
	"candor/pkg/reply"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

const sms = candorv1.Channel_CHANNEL_SMS

// findTimeout bounds the question who has a number: Twilio waits 15 seconds for the answer to the customer.
const findTimeout = 3 * time.Second

var (
	e164      = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)
	messageID = regexp.MustCompile(`^[A-Za-z0-9]{1,64}$`)
)

// text is an inbound text.
type text struct {
	id         string // of the text, hashed: the same however often Twilio tells of it
	from       pii.Phone
	word       reply.Word
	language   string
	playbook   *playbook.Playbook
	hasReplied bool // Twilio has answered it
}

// inbound takes what a customer texts.
//
// The order is: look whether it was worked off; do what was asked; note that it was; answer. A crash before the note does
// what was asked again, which changes nothing, but for START (see start). A crash between the note and the answer loses an
// answer, never the opt-out.
func (f *Frontdoor) inbound(w http.ResponseWriter, r *http.Request, at *visit) verdict {
	params, v, ok := f.signedForm(w, r, at)
	if !ok {
		return v
	}
	var account, id, from, to, service, body, optOut string
	if !params.read(map[string]*string{
		"AccountSid": &account, "MessageSid": &id, "From": &from, "To": &to, "MessagingServiceSid": &service,
		"Body": &body, "OptOutType": &optOut,
	}) || !messageID.MatchString(id) {
		return malformed
	}
	if !f.ourAccount(account) {
		return wrongAccount
	}
	if !e164.MatchString(from) {
		return say(w, "", nothingNew) // a short code or another network: nobody of ours
	}
	t := text{
		id: hashed(id), from: pii.NewPhone(from), playbook: f.playbookFor(to, service),
		hasReplied: optOut != "" || f.cfg.Twilio.AnswersWords && e164.MatchString(to) && twilioAnswers(body),
	}
	t.word, t.language = reply.Read(body, t.playbook)
	switch optOut { // Twilio's own word on it, which also knows the words of the account's settings
	case "STOP":
		if t.word != reply.StopCall {
			t.word = reply.Stop
		}
	case "START":
		t.word = reply.Start
	case "HELP":
		t.word = reply.Help
	}
	f.metrics.replies.WithLabelValues(t.word.String()).Inc()
	if t.word == reply.None {
		return say(w, "", nothingNew)
	}
	_, _, err := f.Replies.Get(r.Context(), t.id)
	if err == nil {
		return say(w, "", duplicate)
	}
	if !errors.Is(err, bus.ErrNotFound) && !t.stops() {
		return unavailable // an opt-out alone is tried without knowing: twice is as good as once
	}
	if t.word == reply.Start {
		return f.start(w, r, t)
	}
	answer, err := f.obey(r.Context(), t)
	if err != nil {
		return f.lost(t.word, err)
	}
	switch mine, err := f.note(r.Context(), t); {
	case err != nil:
		return f.lost(t.word, err)
	case !mine:
		return say(w, "", duplicate)
	}
	return say(w, answer, answered)
}

// start takes an opt-out back. Here the note comes first: of a START that Twilio tells twice, the second telling may come after
// a later STOP, and must not undo it.
//
// A crash or a failure between the note and the deed loses the START: the customer goes without texts, and is not told otherwise
// by us, until they text it again.
func (f *Frontdoor) start(w http.ResponseWriter, r *http.Request, t text) verdict {
	switch mine, err := f.note(r.Context(), t); {
	case err != nil:
		return f.lost(t.word, err)
	case !mine:
		return say(w, "", duplicate)
	}
	answer, err := f.obey(r.Context(), t)
	if err != nil {
		f.Log.Error().Err(err).Msg("a customer's START was not worked off and is not tried again: they get no texts until they text it once more")
		return unavailable
	}
	return say(w, answer, answered)
}

// note writes down that a text is worked off; mine is false if another request, which was told of the same text, has.
func (f *Frontdoor) note(ctx context.Context, t text) (mine bool, err error) {
	_, err = f.Replies.Create(ctx, t.id, []byte(t.word.String()))
	if errors.Is(err, bus.ErrExists) {
		return false, nil
	}
	return err == nil, err
}

// stops says whether the customer wants no more texts, whatever else they want.
func (t text) stops() bool { return t.word == reply.Stop || t.word == reply.StopCall }

// twilioAnswers says whether a text is one of the words that Twilio answers by itself on ordinary numbers, and tells us of all
// the same: https://help.twilio.com/articles/223134027. Short codes, which are no E.164 numbers, it leaves to us.
func twilioAnswers(body string) bool {
	switch strings.ToUpper(strings.TrimSpace(body)) {
	case "STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "OPTOUT", "REVOKE", "START", "YES", "UNSTOP", "HELP", "INFO":
		return true
	}
	return false
}

// lost says that Twilio must repeat a text.
func (f *Frontdoor) lost(w reply.Word, err error) verdict {
	f.Log.Warn().Err(err).Str("word", w.String()).Msg("a customer's text could not be worked off, waiting for its repetition")
	return unavailable
}

// obey does what the customer asks for and returns the answer.
func (f *Frontdoor) obey(ctx context.Context, t text) (answer string, err error) {
	word := t.word
	switch word {
	case reply.Stop:
		err = f.stop(ctx, t)
	case reply.Start:
		err = f.Suppressions.Remove(ctx, sms, t.from)
	case reply.Call:
		var found bool
		if found, err = f.call(ctx, t); err == nil && !found {
			word = reply.NoCall
		}
	case reply.StopCall:
		if err = f.stop(ctx, t); err != nil {
			break
		}
		var found bool
		if found, err = f.call(ctx, t); err == nil && !found {
			word = reply.Stop // its answer says where they can call
		}
	}
	if err != nil || t.hasReplied || t.playbook == nil {
		return "", err
	}
	return reply.Answer(t.playbook, word, t.language), nil
}

// stop records an opt-out, and tells the ledger whose it is as far as that can be found out.
//
// It lies on the first attempt at the notice of w0: an opt-out is the customer's, not a message's, and every incident has w0.
func (f *Frontdoor) stop(ctx context.Context, t text) error {
	// Before anything else: from here on nothing is sent to the number, whatever becomes of the rest.
	if err := f.Suppressions.Add(ctx, sms, t.from, "STOP"); err != nil {
		return err
	}
	places, err := f.find(ctx, t.from)
	if err != nil {
		f.metrics.unplaced.Inc()
		f.Log.Warn().Err(err).Msg("an opt-out is in force, but whose it is cannot be looked up; the status does not count it")
		return nil
	}
	var facts []fact
	for _, p := range places {
		if inc := f.Incidents.Get(p.GetIncident()); inc != nil && inc.Declared() {
			facts = append(facts, fact{
				page:     topology.PageKey{Channel: sms, Incident: inc.ID, Wave: firstWave, Page: p.GetPage()},
				provider: twilio, attempt: 1, slot: p.GetSlot(),
				word: receipt.Word{Result: candorv1.Result_RESULT_OPTED_OUT, Reason: "sms_stop"},
			})
		}
	}
	if len(facts) == 0 {
		return nil
	}
	_, err = f.receipts.Store(ctx, facts...)
	return err
}

// firstWave is the wave that every incident has.
const firstWave = "w0"

// call asks for a call, in the newest incident that goes on, calls customers at all, and has this one in it: one that is closing
// calls nobody new, and what cannot be kept must not be promised. Where two customers share the number the first one's place is taken: the
// agent asks for the name in any case.
func (f *Frontdoor) call(ctx context.Context, t text) (found bool, err error) {
	places, err := f.find(ctx, t.from)
	if err != nil {
		return false, err
	}
	var place *candorv1.CustomerPlace
	var newest *incident.Incident
	for _, p := range places {
		inc := f.Incidents.Get(p.GetIncident())
		if inc != nil && inc.Running() && f.calls(inc) && (newest == nil || inc.DeclaredAt.After(newest.DeclaredAt)) {
			place, newest = p, inc
		}
	}
	if place == nil {
		return false, nil
	}
	data, err := proto.Marshal(&candorv1.CallRequest{
		Id: t.id, Customer: place, AskedAt: timestamppb.New(f.Clock.Now()), AskedBy: "sms", Language: t.language,
	})
	if err != nil {
		return false, fmt.Errorf("encode call request: %w", err)
	}
	// A crash after this asks again under the same id, which is the same asking.
	if _, err := f.Bus.Append(ctx, topology.StreamCalls, bus.Message{Subject: topology.CallRequested(newest.ID), Data: data}); err != nil {
		return false, err
	}
	return true, nil
}

// calls says whether an incident's playbook has customers called: without that there is no queue that a wish would get into.
func (f *Frontdoor) calls(inc *incident.Incident) bool {
	set, err := f.texts.Plan(inc)
	return err == nil && set.Playbook.Calls != nil
}

// find asks the api for the places of a number. The question is sealed: the broker sees no number.
func (f *Frontdoor) find(ctx context.Context, phone pii.Phone) ([]*candorv1.CustomerPlace, error) {
	plain, err := proto.Marshal(&candorv1.FindRequest{Query: phone.Reveal()})
	if err != nil {
		return nil, fmt.Errorf("encode question: %w", err)
	}
	sealed, err := f.Door.SealRequest(plain)
	clear(plain)
	if err != nil {
		return nil, fmt.Errorf("seal question: %w", err)
	}
	data, err := proto.Marshal(&candorv1.PlaceRequest{Sealed: sealed})
	if err != nil {
		return nil, fmt.Errorf("encode question: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	answer, err := f.Bus.Request(ctx, topology.Ask("api", "find"), data, nil)
	var remote *bus.RemoteError
	switch {
	case errors.As(err, &remote) && remote.Code == bus.CodeNotFound:
		return nil, nil
	case errors.As(err, &remote):
		return nil, fmt.Errorf("the api cannot look up a number: %s", remote.Code) // its words may quote the question
	case err != nil:
		return nil, err
	}
	var found candorv1.PlaceResponse
	if err := proto.Unmarshal(answer.Data, &found); err != nil {
		return nil, fmt.Errorf("decode places: %w", err)
	}
	return found.GetPlaces(), nil
}

// playbookFor returns the playbook in whose name the customer was written to: that of the newest declared incident with this
// sender, else of the newest at all, else none.
func (f *Frontdoor) playbookFor(to, service string) *playbook.Playbook {
	declared := slices.DeleteFunc(f.Incidents.List(), func(i *incident.Incident) bool { return i.DeclaredAt.IsZero() })
	slices.SortStableFunc(declared, func(a, b *incident.Incident) int { return b.DeclaredAt.Compare(a.DeclaredAt) })
	var newest *playbook.Playbook
	for _, inc := range declared {
		set, err := f.texts.Plan(inc)
		if err != nil {
			continue // the api has refused such a playbook; another version's is not worth an answer lost
		}
		if newest == nil {
			newest = set.Playbook
		}
		tw := set.Playbook.Providers.Twilio
		if tw != nil && slices.ContainsFunc(tw.Senders, func(s playbook.Sender) bool {
			return s.From != "" && (s.From == to || s.From == service)
		}) {
			return set.Playbook
		}
	}
	return newest
}

// hashed stands for a provider's id of a text where it is kept.
func hashed(id string) string {
	sum := sha256.Sum256([]byte("candor text " + id))
	return hex.EncodeToString(sum[:16])
}

// say answers with TwiML; an empty text sends nothing to the customer.
func say(w http.ResponseWriter, text string, v verdict) verdict {
	var b bytes.Buffer
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?><Response>`)
	if text != "" {
		b.WriteString("<Message>")
		_ = xml.EscapeText(&b, []byte(text)) // a buffer never fails
		b.WriteString("</Message>")
	}
	b.WriteString("</Response>")
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	_, _ = w.Write(b.Bytes()) // whoever has gone away asks again
	return v
}
