package sandbox

import (
	"bytes"
	"strconv"
)

// A fate is drawn from the seed, the address and the attempt, and from nothing else.

const (
	saltFate = iota + 1
	saltSilent
	saltDuplicate
	saltShuffle
	saltForge
)

func throw(seed, who uint64, salt uint64) float64 { return unit(mix(seed ^ mix(who^salt<<56))) }

// textFate is what becomes of a text: 0 for delivered, or Twilio's error code.
func (p *receiptPlan) textFate(number uint64, attempt uint16) uint16 {
	code := uint16(0)
	if magic, ok := magicCode(number); ok {
		code = magic
	} else {
		luck := throw(p.Seed, number, saltFate)
		for _, c := range p.codes {
			if luck -= c.share; luck < 0 {
				code = c.code
				break
			}
		}
	}
	if code != 0 && attempt > 1 && lookUpCode(code).passes {
		return 0
	}
	return code
}

// Of the numbers +1 500 555 3nnn each has the fate that Twilio calls 30nnn; of magicSilent nothing is ever told.
const (
	magicCodes  = 15005553000
	magicSilent = 15005554000
)

func magicCode(number uint64) (uint16, bool) {
	if number <= magicCodes || number >= magicCodes+1000 {
		return 0, false
	}
	return uint16(30000 + number - magicCodes), true //nolint:gosec // below 31000
}

// silent reports whether nothing is told of a text.
func (p *receiptPlan) silent(number uint64) bool {
	return number == magicSilent || p.Silent > 0 && throw(p.Seed, number, saltSilent) < p.Silent
}

// carrierCode is one way for a text to come to nothing.
type carrierCode struct {
	words    string
	failed   bool // it never left Twilio: its status is failed, not undelivered
	passes   bool // the next attempt arrives
	doubtful bool // it may have arrived all the same
}

var carrierCodes = map[uint16]carrierCode{
	30001: {words: "Queue overflow", failed: true, passes: true},
	30002: {words: "Account suspended", failed: true},
	30003: {words: "Unreachable destination handset", passes: true},
	30004: {words: "Message blocked"},
	30005: {words: "Unknown destination handset"},
	30006: {words: "Landline or unreachable carrier"},
	30007: {words: "Message filtered by the carrier"},
	30008: {words: "Unknown error", passes: true},
	30017: {words: "Carrier network congestion", passes: true},
	30022: {words: "10DLC rate limit exceeded", failed: true, passes: true},
	30023: {words: "10DLC daily cap reached", failed: true, passes: true},
	30032: {words: "Toll-free number has not been verified", failed: true},
	30034: {words: "Message from an unregistered number", failed: true},
	30036: {words: "Validity period expired", failed: true, passes: true},
	30410: {words: "Provider timeout", failed: true, passes: true, doubtful: true},
	30450: {words: "Message blocked by SMS pumping protection"},
}

func lookUpCode(code uint16) carrierCode {
	if c, ok := carrierCodes[code]; ok {
		return c
	}
	return carrierCode{words: "Undelivered"}
}

// phase is how far a message has come. Without receipts it stays phaseTaken.
type phase uint8

const (
	phaseTaken phase = iota
	phaseQueued
	phaseSent      // or processed
	phaseDeferred  // e-mail only
	phaseDelivered // for good, as all below
	phaseUndelivered
	phaseFailed
	phaseBounced
	phaseBlocked
	phaseSpam // delivered, and reported as spam
)

// final reports whether nothing more will become of the message.
func (p phase) final() bool { return p >= phaseDelivered }

// mailFate is what becomes of a mail in the end. phaseDeferred is delivered later.
func (p *receiptPlan) mailFate(address []byte, attempt uint16) phase {
	fate, magic := magicMailbox(address)
	if !magic {
		luck := throw(p.Seed, hashAddress(address), saltFate)
		for _, c := range [...]struct {
			share float64
			fate  phase
		}{{p.Bounced, phaseBounced}, {p.Blocked, phaseBlocked}, {p.DeferredFirst, phaseDeferred}, {p.Spam, phaseSpam}} {
			if luck -= c.share; luck < 0 {
				fate = c.fate
				break
			}
		}
	}
	if attempt > 1 && (fate == phaseBlocked || fate == phaseDeferred) {
		return phaseDelivered
	}
	return fate
}

// magicMailbox knows bounce@, blocked@, deferred@ and spam@ of any domain, with or without a +tag.
func magicMailbox(address []byte) (phase, bool) {
	local, _, _ := bytes.Cut(address, []byte{'@'})
	local, _, _ = bytes.Cut(local, []byte{'+'})
	switch string(local) {
	case "bounce":
		return phaseBounced, true
	case "blocked":
		return phaseBlocked, true
	case "deferred":
		return phaseDeferred, true
	case "spam":
		return phaseSpam, true
	default:
		return phaseDelivered, false
	}
}

// hashAddress is FNV-1a: the same in every process, unlike the hashes of the stores.
func hashAddress(address []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range address {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// fate names what became of a text, for the truth: empty while nothing has.
func (m *text) fate() string {
	switch {
	case m.flags&textOverflow != 0:
		return "30001"
	case m.phase == phaseDelivered:
		return fateDelivered
	case m.phase.final():
		return strconv.Itoa(int(m.code))
	default:
		return ""
	}
}

// The fates that are no code of Twilio's.
const (
	fateDelivered = "delivered"
	fateBounce    = "bounce"
	fateBlocked   = "blocked"
	fateDropped   = "dropped"
)

func (e *mail) fate() string {
	switch {
	case e.flags&mailDropped != 0:
		return fateDropped
	case e.phase == phaseDelivered || e.phase == phaseSpam:
		return fateDelivered
	case e.phase == phaseBounced:
		return fateBounce
	case e.phase == phaseBlocked:
		return fateBlocked
	default:
		return ""
	}
}
