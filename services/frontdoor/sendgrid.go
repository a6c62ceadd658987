package frontdoor

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"candor/pkg/journal"
	"candor/pkg/pii"
	"candor/pkg/receipt"
	candorv1 "candor/proto/candor/v1"
)

const (
	sendGridSignature = "X-Twilio-Email-Event-Webhook-Signature"
	sendGridTimestamp = "X-Twilio-Email-Event-Webhook-Timestamp"
	sendgrid          = "sendgrid"
)

const (
	maxSignature = 256 // a signature of P-256 takes 96 characters
	maxTimestamp = 20
	// usualEvent is how many bytes an event has, about.
	usualEvent = 512
	// clocksApart is how far in the future a signature may be.
	clocksApart = 10 * time.Minute
)

// sendGridVerifier checks SendGrid's signature: ECDSA over SHA-256 of the timestamp and the raw body.
type sendGridVerifier struct {
	key    *ecdsa.PublicKey
	maxAge time.Duration
	now    func() time.Time
}

func newSendGridVerifier(cfg SendGridConfig, now func() time.Time) (*sendGridVerifier, error) {
	key, err := parsePublicKey(cfg.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("sendgrid.public_key: %w", err)
	}
	return &sendGridVerifier{key: key, maxAge: cfg.MaxAge, now: now}, nil
}

// parsePublicKey reads the key as SendGrid's console shows it.
func parsePublicKey(s string) (*ecdsa.PublicKey, error) {
	const remedy = "copy the verification key that SendGrid shows under Mail Settings, Event Webhook, Signature Verification"
	der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(s))
	if err != nil {
		return nil, errors.New("is not base64: " + remedy)
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errors.New("is not a public key: " + remedy)
	}
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return nil, fmt.Errorf("is on curve %s, and SendGrid's is on P-256: %s", k.Curve.Params().Name, remedy)
		}
		return k, nil
	case *rsa.PublicKey:
		return nil, errors.New("is an RSA key, and SendGrid signs events with ECDSA: " + remedy)
	}
	return nil, fmt.Errorf("is a %T, and SendGrid signs events with ECDSA: %s", key, remedy)
}

// verify says whether SendGrid signed the body at the time of the timestamp.
func (v *sendGridVerifier) verify(body []byte, signature, timestamp string) bool {
	if signature == "" || len(signature) > maxSignature || timestamp == "" || len(timestamp) > maxTimestamp {
		return false
	}
	der, err := base64.StdEncoding.DecodeString(signature)
	if err != nil {
		return false
	}
	h := sha256.New()
	_, _ = h.Write([]byte(timestamp)) // a hash never fails
	_, _ = h.Write(body)
	return ecdsa.VerifyASN1(v.key, h.Sum(nil), der)
}

// fresh says whether the timestamp is neither too old nor of the future.
func (v *sendGridVerifier) fresh(timestamp string) bool {
	if v.maxAge == 0 {
		return true
	}
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return false
	}
	age := v.now().Sub(time.Unix(seconds, 0))
	return age <= v.maxAge && age >= -clocksApart
}

// events takes what becomes of e-mails.
func (f *Frontdoor) events(w http.ResponseWriter, r *http.Request, at *visit) verdict {
	signature, timestamp := r.Header.Get(sendGridSignature), r.Header.Get(sendGridTimestamp)
	if signature == "" || timestamp == "" {
		return badSignature // what is not even signed is not worth reading
	}
	body, err := at.readBody(w, r, f.cfg.SendGrid.MaxBody, mailTime)
	if err != nil {
		return bodyVerdict(err)
	}
	if !f.sendgrid.verify(body, signature, timestamp) {
		return badSignature
	}
	if !f.sendgrid.fresh(timestamp) {
		return stale
	}
	if !at.begin() {
		return busy
	}
	var (
		facts   = make([]fact, 0, len(body)/usualEvent+1)
		optOuts []event
		counts  [verdicts]int
	)
	whole := readEvents(body, func(e *event) {
		fact, v := f.factOfEvent(e)
		counts[v]++
		if v != stored {
			return
		}
		facts = append(facts, fact)
		if fact.word.Result == candorv1.Result_RESULT_OPTED_OUT {
			optOuts = append(optOuts, *e)
		}
	})
	for _, e := range optOuts {
		// Hashed here, and kept nowhere else. Before the receipt: a crash in between leaves it to SendGrid to say it again, and
		// whoever asked is written to no more.
		if e.Email == "" {
			continue
		}
		if err := f.Suppressions.Add(r.Context(), candorv1.Channel_CHANNEL_EMAIL, pii.NewEmail(e.Email), sendgrid+"_"+e.Event); err != nil {
			return unavailable
		}
	}
	v := nothingNew
	if len(facts) > 0 {
		v = f.store(r, facts...)
	}
	for of, n := range counts {
		if n > 0 {
			f.metrics.events.WithLabelValues(verdictNames[of]).Add(float64(n))
		}
	}
	switch {
	case v == unavailable:
	case !whole:
		return malformed // what could be read before is stored all the same
	default:
		w.WriteHeader(http.StatusOK)
	}
	return v
}

// event is what is read of one of SendGrid's; the rest of it is not looked at.
type event struct {
	// ID is what went out as custom argument candor_id.
	ID             string `json:"candor_id"`
	Event          string `json:"event"`
	Type           string `json:"type"`
	Reason         string `json:"reason"`
	Status         string `json:"status"`
	Classification string `json:"bounce_classification"`
	MessageID      string `json:"sg_message_id"`
	Email          string `json:"email"`
}

// readEvents hands fn one event after the other, the odd ones as far as they can be read. It returns false if the body is no
// array of values to its end.
func readEvents(body []byte, fn func(*event)) bool {
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return false
	}
	for d.More() {
		var e event
		err := d.Decode(&e)
		var kind *json.UnmarshalTypeError
		if err != nil && !errors.As(err, &kind) {
			return false
		}
		fn(&e)
	}
	if _, err := d.Token(); err != nil {
		return false
	}
	return len(bytes.TrimSpace(body[d.InputOffset():])) == 0
}

// factOfEvent returns what an event says of a notice; the verdict is stored if it says anything.
func (f *Frontdoor) factOfEvent(e *event) (fact, verdict) {
	switch {
	case e.Event == "":
		return fact{}, malformed
	case e.ID == "":
		return fact{}, foreign // other mail of the same account
	}
	key, attempt, err := f.IDs.Parse(e.ID)
	if err != nil {
		return fact{}, badID
	}
	if key.Channel != candorv1.Channel_CHANNEL_EMAIL || key.Slot >= journal.MaxSlots {
		return fact{}, wrongChannel
	}
	reason := e.Reason
	if e.Event != "dropped" {
		reason = e.Classification
	}
	word, ok := receipt.SendGrid(e.Event, e.Type, reason, e.Status)
	if !ok {
		return fact{}, nothingNew
	}
	// What stands before the first dot is the X-Message-Id of the request.
	message, _, _ := strings.Cut(e.MessageID, ".")
	return factOf(key, attempt, sendgrid, word, message), stored
}
