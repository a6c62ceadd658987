package frontdoor

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // Twilio's choice; HMAC does not depend on what SHA-1 has lost
	"encoding/base64"
	"hash"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"candor/pkg/journal"
	"candor/pkg/noticeid"
	"candor/pkg/receipt"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

const (
	twilioSignature = "X-Twilio-Signature"
	twilio          = "twilio"
)

// twilioVerifier checks Twilio's signature: HMAC-SHA1 over the public URL and the sorted parameters.
type twilioVerifier struct {
	// bases are the public URL as it was configured, then with and without its port: Twilio itself is not consistent there.
	bases []string
	macs  sync.Pool
}

type twilioMAC struct {
	h   hash.Hash
	buf []byte
	sum [sha1.Size]byte
}

func newTwilioVerifier(publicURL, token string) *twilioVerifier {
	v := &twilioVerifier{bases: []string{strings.TrimRight(publicURL, "/")}}
	v.macs.New = func() any { return &twilioMAC{h: hmac.New(sha1.New, []byte(token))} }
	u, err := url.Parse(v.bases[0])
	if err != nil {
		return v // Validate has refused it
	}
	port := map[string]string{"https": "443", "http": "80"}[u.Scheme]
	with, without := *u, *u
	if u.Port() == "" {
		with.Host = net.JoinHostPort(u.Hostname(), port)
	}
	without.Host = strings.TrimSuffix(u.Host, ":"+u.Port())
	for _, other := range []string{with.String(), without.String()} {
		if !slices.Contains(v.bases, other) {
			v.bases = append(v.bases, other)
		}
	}
	return v
}

// verify says whether Twilio made the signature for these parameters, sent to this path and query of the public URL. A
// fragment is no part of either.
func (v *twilioVerifier) verify(path, query string, f form, signature string) bool {
	if len(signature) != base64.StdEncoding.EncodedLen(sha1.Size) {
		return false
	}
	var room [sha1.Size + 1]byte // without padding the same characters hold a byte more
	n, err := base64.StdEncoding.Strict().Decode(room[:], []byte(signature))
	if err != nil || n != sha1.Size {
		return false
	}
	want := room[:n]
	m := v.macs.Get().(*twilioMAC)
	defer v.macs.Put(m)
	for _, base := range v.bases {
		m.buf = append(append(m.buf[:0], base...), path...)
		if query != "" {
			m.buf = append(append(m.buf, '?'), query...)
		}
		end := len(m.buf)
		m.buf = f.appendFirst(m.buf)
		ok := m.is(want)
		if !ok && f.repeats() {
			m.buf = f.appendAll(m.buf[:end])
			ok = m.is(want)
		}
		clear(m.buf)
		if ok {
			return true
		}
	}
	return false
}

func (m *twilioMAC) is(want []byte) bool {
	m.h.Reset()
	_, _ = m.h.Write(m.buf) // a hash never fails
	return hmac.Equal(want, m.h.Sum(m.sum[:0]))
}

// appendFirst appends what is signed by Twilio's helper for Go: of a key that repeats, the first value.
func (f form) appendFirst(b []byte) []byte {
	for i, x := range f {
		if i > 0 && x.key == f[i-1].key {
			continue
		}
		b = append(append(b, x.key...), x.value...)
	}
	return b
}

// appendAll appends what is signed by Twilio's helpers for Node, Python and others: of a key that repeats, each different
// value once, sorted.
func (f form) appendAll(b []byte) []byte {
	for from := 0; from < len(f); {
		to := from + 1
		for to < len(f) && f[to].key == f[from].key {
			to++
		}
		values := make([]string, 0, to-from)
		for _, x := range f[from:to] {
			values = append(values, x.value)
		}
		slices.Sort(values)
		for _, value := range slices.Compact(values) {
			b = append(append(b, f[from].key...), value...)
		}
		from = to
	}
	return b
}

// signedForm reads a request of Twilio's, and takes one of the road's slots for it; ok is false with a verdict for one that is
// refused.
func (f *Frontdoor) signedForm(w http.ResponseWriter, r *http.Request, at *visit) (form, verdict, bool) {
	signature := r.Header.Get(twilioSignature)
	if signature == "" {
		return nil, badSignature, false // what is not even signed is not worth reading
	}
	body, err := at.readBody(w, r, f.cfg.Twilio.MaxBody, textTime)
	if err != nil {
		return nil, bodyVerdict(err), false
	}
	params, err := parseForm(string(body))
	if err != nil {
		return nil, malformed, false
	}
	if !f.twilio.verify(r.URL.EscapedPath(), r.URL.RawQuery, params, signature) {
		return nil, badSignature, false
	}
	if !at.begin() {
		return nil, busy, false
	}
	return params, 0, true
}

// status takes what becomes of a text.
func (f *Frontdoor) status(w http.ResponseWriter, r *http.Request, at *visit) verdict {
	key, attempt, err := f.IDs.Parse(r.PathValue("id"))
	if err != nil {
		return badID
	}
	if key.Channel != candorv1.Channel_CHANNEL_SMS || key.Slot >= journal.MaxSlots {
		return wrongChannel
	}
	params, v, ok := f.signedForm(w, r, at)
	if !ok {
		return v
	}
	var account, status, code, message string
	if !params.read(map[string]*string{"AccountSid": &account, "MessageStatus": &status, "ErrorCode": &code, "MessageSid": &message}) {
		return malformed
	}
	if !f.ourAccount(account) {
		return wrongAccount
	}
	if status == "" {
		return malformed
	}
	number, err := strconv.Atoi(code)
	if err != nil {
		number = 0 // none, or none that anybody knows
	}
	word, ok := receipt.Twilio(status, number)
	if !ok {
		w.WriteHeader(http.StatusNoContent)
		return nothingNew
	}
	v = f.store(r, factOf(key, attempt, twilio, word, message))
	if v != unavailable {
		w.WriteHeader(http.StatusNoContent)
	}
	return v
}

func (f *Frontdoor) ourAccount(sid string) bool {
	return f.cfg.Twilio.AccountSID == "" || sid == "" || strings.EqualFold(sid, f.cfg.Twilio.AccountSID)
}

// store writes facts down, and says what that was.
func (f *Frontdoor) store(r *http.Request, facts ...fact) verdict {
	fresh, err := f.receipts.Store(r.Context(), facts...)
	switch {
	case err != nil:
		return unavailable
	case fresh == 0:
		return duplicate
	}
	return stored
}

func factOf(k noticeid.Key, attempt uint32, provider string, w receipt.Word, messageID string) fact {
	return fact{
		page:     topology.PageKey{Channel: k.Channel, Incident: k.Incident, Wave: k.Wave, Page: k.Page},
		provider: provider, attempt: attempt, slot: k.Slot, word: w, messageID: plainID(messageID),
	}
}

// maxMessageID is longer than any id that a provider gives.
const maxMessageID = 64

// plainID takes a provider's message id only if it is one: ids stand one a line in an entry.
func plainID(s string) string {
	if len(s) > maxMessageID {
		return ""
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return ""
		}
	}
	return s
}
