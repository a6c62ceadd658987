// Package provider says how Candor speaks with those who carry its messages: what a request holds, what can become of it,
// and a transport that never lets a request out late and always knows whether one may have left.
//
// In: one SMS, or one e-mail for many recipients, each under an opaque id.   Out: an Outcome for each of them.
// Crash: a request that had left is ambiguous. The journal holds its intent, and the provider is asked, never sent to again.
package provider

import (
	"context"
	"fmt"
	"io"
	"time"

	"candor/pkg/pii"
)

// Class sorts outcomes by what may be done next.
type Class uint8

// The zero Class is Unknown: what nobody has classified may have been sent.
const (
	Unknown       Class = iota // ambiguous, may have been sent: find out, never send again blindly
	Accepted                   // the provider took it and named it
	NotSent                    // definitely not created: try again, after RetryAfter at the earliest
	BadAddress                 // definitely not created, this number or mailbox can never take it: next phone, or other channel
	Refused                    // definitely not created, final for this person on this channel: other channel
	Misconfigured              // definitely not created for reasons that concern everybody: stop the sender, a human must act
	Defect                     // definitely not created, the message itself is wrong: dead letter
)

var classNames = [...]string{"unknown", "accepted", "not_sent", "bad_address", "refused", "misconfigured", "defect"}

// String names the class as metrics and the journal do.
func (c Class) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return fmt.Sprintf("class(%d)", uint8(c))
}

// Outcome is what became of one recipient of one request.
type Outcome struct {
	Class      Class
	ID         string        // the provider's message id; SendGrid's is one for all recipients of a request
	Reason     string        // stable snake_case, such as twilio_21610 or timeout_after_write; empty when accepted
	RetryAfter time.Duration // when the provider named a time, at most MaxRetryAfter
	Throttled  bool          // the provider asks for less: slow everybody down, not only this order
	Skew       time.Duration // the provider's clock minus ours, as far as its one-second Date header proves; 0 when unknown
}

// Error carries an Outcome other than a sent message's, such as a failed look-up's.
type Error struct{ Outcome Outcome }

// Error names the class and the reason.
func (e *Error) Error() string { return e.Outcome.Class.String() + ": " + e.Outcome.Reason }

// SMS is one text message.
type SMS struct {
	ID   string // opaque id of notice and attempt, comes back in the receipt; empty for no receipt
	To   pii.Phone
	From string // E.164 number, short code, or Messaging Service SID (MG…)
	Body string
}

// SMSSender hands over one text message; it never starts a request after sendBefore.
//
// sendBefore is now().Add(d) at the intent, with its monotonic reading: the two clocks are compared by it.
type SMSSender interface {
	SendSMS(ctx context.Context, m SMS, sendBefore time.Time) Outcome
}

// Found is a text message that the provider says it has.
type Found struct {
	ID      string
	Body    string
	Created time.Time // whole seconds, by the provider's clock
	Status  string
}

// SMSLookup finds what was sent to a number since a moment, newest first; an error says nothing about what was sent.
type SMSLookup interface {
	FindSMS(ctx context.Context, to pii.Phone, since time.Time) ([]Found, error)
}

// Email is one text for many recipients, who do not see each other.
type Email struct {
	From, FromName, ReplyTo string
	Subject, Text, HTML     string   // may contain the tags in Vars
	Vars                    []string // tags such as -code-, each replaced by the recipient's own value
	Recipients              []Recipient
}

// Recipient is one of an Email's readers.
type Recipient struct {
	ID     string // opaque id of notice and attempt, comes back in the receipt; empty for none
	To     pii.Email
	Name   pii.Name
	Values []string // aligned with Email.Vars
}

// EmailSender hands over an Email and answers for each recipient, in their order; sendBefore as with SMSSender.
type EmailSender interface {
	SendEmail(ctx context.Context, m *Email, sendBefore time.Time) []Outcome
}

// The texts hold personal data, so none of these types prints or marshals more than its ids.

// Format prints the id alone.
func (m SMS) Format(f fmt.State, _ rune) { write(f, "sms "+m.ID) }

// MarshalText is the id alone.
func (m SMS) MarshalText() ([]byte, error) { return []byte("sms " + m.ID), nil }

// Format prints the id alone.
func (m Found) Format(f fmt.State, _ rune) { write(f, "sms "+m.ID) }

// MarshalText is the id alone.
func (m Found) MarshalText() ([]byte, error) { return []byte("sms " + m.ID), nil }

// Format prints the number of recipients alone.
func (m Email) Format(f fmt.State, _ rune) { write(f, m.label()) }

// MarshalText is the number of recipients alone.
func (m Email) MarshalText() ([]byte, error) { return []byte(m.label()), nil }

// Format prints the id alone.
func (r Recipient) Format(f fmt.State, _ rune) { write(f, "recipient "+r.ID) }

// MarshalText is the id alone.
func (r Recipient) MarshalText() ([]byte, error) { return []byte("recipient " + r.ID), nil }

func (m Email) label() string { return fmt.Sprintf("email to %d", len(m.Recipients)) }

func write(w io.Writer, s string) {
	_, _ = io.WriteString(w, s) // fmt's own buffer does not fail
}
