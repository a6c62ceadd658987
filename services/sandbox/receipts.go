package sandbox

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// Receipts says what becomes of a message after it was taken, and how the providers tell. Who has which fate follows from
// seed, address and attempt alone, so that two runs compare. Nothing is told where there is nobody to be told: a text without
// a StatusCallback, an e-mail while the events have no URL.
type Receipts struct {
	Enabled bool   `json:"enabled" yaml:"enabled"` // without, messages stay as they were taken
	Seed    uint64 `json:"seed"    yaml:"seed"`

	DelaySent  Duration `json:"delay_sent"  yaml:"delay_sent"`  // until a text is sent, an e-mail processed
	DelayFinal Duration `json:"delay_final" yaml:"delay_final"` // from there to what became of it; as long again where more follows
	Flush      Duration `json:"flush"       yaml:"flush"`       // how long events of e-mails wait for others; default 1s
	BatchBytes int      `json:"batch_bytes" yaml:"batch_bytes"` // of one post of events; default 768 kB

	Duplicate  float64  `json:"duplicate"   yaml:"duplicate"`   // share of receipts told twice
	Shuffle    float64  `json:"shuffle"     yaml:"shuffle"`     // share of receipts told late, after those that follow
	ShuffleFor Duration `json:"shuffle_for" yaml:"shuffle_for"` // by up to this much; default twice delay_final and a tenth of a second
	Silent     float64  `json:"silent"      yaml:"silent"`      // share of texts of which Twilio never tells; SendGrid tries for a day
	Forge      float64  `json:"forge"       yaml:"forge"`       // extra receipts that lie, half of them signed wrongly, half about an id that is none
	RetryMost  int      `json:"retry_most"  yaml:"retry_most"`  // retries of a post of events; default 50. Of a callback Twilio's own rules hold, and this
	RetryWait  Duration `json:"retry_wait"  yaml:"retry_wait"`  // before the first retry, twice as long before each further one; default 100ms

	// Shares of people. A code that passes, such as 30003, meets the first attempt only, and so do blocked and deferred.
	Undelivered   map[int]float64 `json:"undelivered"    yaml:"undelivered"` // texts, by Twilio's error code
	Bounced       float64         `json:"bounced"        yaml:"bounced"`     // no such mailbox; further mail to it is dropped
	Blocked       float64         `json:"blocked"        yaml:"blocked"`     // this mail is refused, the mailbox exists
	DeferredFirst float64         `json:"deferred_first" yaml:"deferred_first"`
	Spam          float64         `json:"spam"           yaml:"spam"` // delivered and reported as spam; further mail is dropped
}

// Hooks are the addresses that a customer of the providers sets in their consoles. Empty, nothing is sent there.
type Hooks struct {
	EventsURL  string `json:"events_url"`  // SendGrid's event webhook
	InboundURL string `json:"inbound_url"` // where Twilio tells what phones text back
}

// Validate reports every share that is none.
func (r Receipts) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("receipts: "+format, args...)) }
	share := func(name string, v float64) {
		if !(v >= 0 && v <= 1) { // NaN too
			bad("%s is %v, give a share from 0 to 1", name, v)
		}
	}
	share("duplicate", r.Duplicate)
	share("shuffle", r.Shuffle)
	share("silent", r.Silent)
	share("forge", r.Forge)
	texts := 0.0
	for _, code := range slices.Sorted(maps.Keys(r.Undelivered)) {
		if code < 30001 || code > 65535 {
			bad("undelivered: %d is no code of an undelivered message, give one such as 30003", code)
		}
		share("undelivered."+strconv.Itoa(code), r.Undelivered[code])
		texts += r.Undelivered[code]
	}
	share("bounced", r.Bounced)
	share("blocked", r.Blocked)
	share("deferred_first", r.DeferredFirst)
	share("spam", r.Spam)
	const rounding = 1e-9
	if texts > 1+rounding {
		bad("the shares of undelivered sum up to %v, keep them to 1 together", texts)
	}
	if sum := r.Bounced + r.Blocked + r.DeferredFirst + r.Spam; sum > 1+rounding {
		bad("bounced, blocked, deferred_first and spam sum up to %v, keep them to 1 together", sum)
	}
	if min(r.DelaySent, r.DelayFinal, r.Flush, r.ShuffleFor, r.RetryWait) < 0 {
		bad("no time can be negative")
	}
	if r.BatchBytes < 0 || r.RetryMost < 0 {
		bad("batch_bytes and retry_most cannot be negative")
	}
	return errors.Join(errs...)
}

// maxRetries bounds retry_most, which is counted in a byte.
const maxRetries = 250

// receiptPlan is Receipts with its blanks filled in.
type receiptPlan struct {
	Receipts
	codes []codeShare // by code, so that a seed means the same everywhere
}

type codeShare struct {
	code  uint16
	share float64
}

func newReceiptPlan(r Receipts) *receiptPlan {
	if r.Flush == 0 {
		r.Flush = Duration(time.Second)
	}
	if r.BatchBytes == 0 {
		r.BatchBytes = 768 << 10
	}
	if r.ShuffleFor == 0 {
		r.ShuffleFor = 2*r.DelayFinal + Duration(100*time.Millisecond)
	}
	if r.RetryMost == 0 {
		r.RetryMost = 50
	}
	if r.RetryWait == 0 {
		r.RetryWait = Duration(100 * time.Millisecond)
	}
	r.RetryMost = min(r.RetryMost, maxRetries)
	p := &receiptPlan{Receipts: r}
	for _, code := range slices.Sorted(maps.Keys(r.Undelivered)) {
		p.codes = append(p.codes, codeShare{uint16(code), r.Undelivered[code]}) //nolint:gosec // validated
	}
	return p
}

// SetReceipts replaces what becomes of messages that are taken from now on, and how it is told.
func (s *Sandbox) SetReceipts(r Receipts) error {
	if err := r.Validate(); err != nil {
		return err
	}
	s.plan.Store(newReceiptPlan(r))
	return nil
}

// SetHooks replaces the addresses that the providers' consoles hold.
func (s *Sandbox) SetHooks(h Hooks) error {
	if err := h.Validate(); err != nil {
		return err
	}
	s.hooks.Store(&h)
	return nil
}

// Validate reports every address that is none.
func (h Hooks) Validate() error {
	var errs []error
	for _, u := range []struct{ name, url string }{{"sendgrid.events_url", h.EventsURL}, {"twilio.inbound_url", h.InboundURL}} {
		if u.url != "" && !validCallback([]byte(u.url)) {
			errs = append(errs, fmt.Errorf("sandbox: %s is no URL, give one such as https://host/hooks", u.name))
		}
	}
	return errors.Join(errs...)
}

// ReceiptsTruth is what was told and whether it was heard.
type ReceiptsTruth struct {
	Pending      uint64 `json:"pending"`      // still to be told, messages whose fate is to come included
	Posts        uint64 `json:"posts"`        // requests made, retries included
	Acknowledged uint64 `json:"acknowledged"` // receipts that were answered with 2xx; duplicates count, forged ones do not
	Refused      uint64 `json:"refused"`      // posts of genuine receipts that were not
	Lost         uint64 `json:"lost"`         // receipts that were given up
	Silent       uint64 `json:"silent"`       // receipts that were never told, on purpose
	Duplicates   uint64 `json:"duplicates"`   // receipts told once more
	Forged       uint64 `json:"forged"`       // lies told
	ForgedTaken  uint64 `json:"forged_taken"` // posts with a wrong signature that were answered with 2xx; anything but 0 is a defect
	Replies      uint64 `json:"replies"`      // texts that phones sent
	Answers      uint64 `json:"answers"`      // texts that came back to these: Twilio's own, and those of the inbound URL
}

// tally counts what is told. Everybody writes it.
type tally struct {
	owed, posts, acknowledged, refused, lost, silent, duplicates, forged, forgedTaken, replies, answers atomic.Int64
}

func (t *tally) truth() ReceiptsTruth {
	n := func(v *atomic.Int64) uint64 { return uint64(max(v.Load(), 0)) } //nolint:gosec // not negative
	return ReceiptsTruth{
		Pending: n(&t.owed), Posts: n(&t.posts), Acknowledged: n(&t.acknowledged), Refused: n(&t.refused), Lost: n(&t.lost),
		Silent: n(&t.silent), Duplicates: n(&t.duplicates), Forged: n(&t.forged), ForgedTaken: n(&t.forgedTaken),
		Replies: n(&t.replies), Answers: n(&t.answers),
	}
}
