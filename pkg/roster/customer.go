package roster

import (
	"fmt"
	"strings"

	"candor/pkg/pii"
	candorv1 "candor/proto/candor/v1"
)

// Customer is one affected person.
type Customer struct {
	// Ref is the company's own reference; Code the one that Candor prints in every text and speaks in every call.
	Ref, Code             string
	GivenName, FamilyName pii.Name
	Email                 pii.Email
	// Phones are in E.164 form, those that can take a text first.
	Phones []pii.Phone
	// TextPhones says how many of Phones can take a text.
	TextPhones uint8
	// Extensions stand beside Phones, one for one; nil when there are none.
	Extensions []pii.Phone
	// Language is a BCP 47 tag, Country an ISO 3166 code or empty, TimeZone an IANA name.
	Language, Country, Region, PostalCode, TimeZone string
	ZoneSource                                      ZoneSource
	Tier                                            uint8
	Data                                            DataKinds
	// Compromised channels leak to whoever has the data; a customer opted out of the others.
	Compromised, OptOut ChannelSet
}

// Reasons why a channel cannot reach a customer.
const (
	NoNumber           = "no_number"
	CallOnlyNumber     = "call_only_number"
	NoAddress          = "no_address"
	OptedOut           = "opted_out"
	CompromisedChannel = "compromised_channel"
	UnknownChannel     = "unknown_channel"
)

// Channels are those that can reach a customer, in the order in which they are reported.
func Channels() [3]candorv1.Channel {
	return [3]candorv1.Channel{candorv1.Channel_CHANNEL_SMS, candorv1.Channel_CHANNEL_EMAIL, candorv1.Channel_CHANNEL_CALL}
}

// ChannelName returns the channel's name in reports and files: sms, email or call.
func ChannelName(ch candorv1.Channel) string {
	switch ch {
	case candorv1.Channel_CHANNEL_SMS:
		return "sms"
	case candorv1.Channel_CHANNEL_EMAIL:
		return "email"
	case candorv1.Channel_CHANNEL_CALL:
		return "call"
	}
	return "unknown"
}

// Usable says whether the channel can reach the customer, and if not, why, as a stable code.
func (c *Customer) Usable(ch candorv1.Channel) (ok bool, reason string) {
	switch ch {
	case candorv1.Channel_CHANNEL_SMS:
		if len(c.Phones) == 0 {
			return false, NoNumber
		}
		if c.TextPhones == 0 {
			return false, CallOnlyNumber
		}
	case candorv1.Channel_CHANNEL_CALL:
		if len(c.Phones) == 0 {
			return false, NoNumber
		}
	case candorv1.Channel_CHANNEL_EMAIL:
		if c.Email.IsZero() {
			return false, NoAddress
		}
	default:
		return false, UnknownChannel
	}
	if c.Compromised.Has(ch) {
		return false, CompromisedChannel
	}
	if c.OptOut.Has(ch) {
		return false, OptedOut
	}
	return true, ""
}

// Reachable says whether any channel can reach the customer.
func (c *Customer) Reachable() bool {
	for _, ch := range Channels() {
		if ok, _ := c.Usable(ch); ok {
			return true
		}
	}
	return false
}

// TextPhone returns the number that takes the customer's texts, or a zero one.
func (c *Customer) TextPhone() pii.Phone {
	if c.TextPhones == 0 {
		return pii.Phone{}
	}
	return c.Phones[0]
}

// ChannelSet is a set of channels.
type ChannelSet uint8

// Has says whether the channel is in the set.
func (s ChannelSet) Has(ch candorv1.Channel) bool { return s&channelBit(ch) != 0 }

// With returns the set with the channel in it.
func (s ChannelSet) With(ch candorv1.Channel) ChannelSet { return s | channelBit(ch) }

// String lists the channels, as in sms,call.
func (s ChannelSet) String() string {
	var names []string
	for _, ch := range Channels() {
		if s.Has(ch) {
			names = append(names, ChannelName(ch))
		}
	}
	return strings.Join(names, ",")
}

func channelBit(ch candorv1.Channel) ChannelSet {
	switch ch {
	case candorv1.Channel_CHANNEL_SMS:
		return 1
	case candorv1.Channel_CHANNEL_EMAIL:
		return 2
	case candorv1.Channel_CHANNEL_CALL:
		return 4
	}
	return 0
}

// ZoneSource says where a customer's time zone came from.
type ZoneSource uint8

// The sources of a time zone, the surest first.
const (
	ZoneFromColumn ZoneSource = iota + 1
	ZoneFromAddress
	ZoneFromNumber
	ZoneFromDefault
)

// String returns the source's name in reports.
func (z ZoneSource) String() string {
	switch z {
	case ZoneFromColumn:
		return "column"
	case ZoneFromAddress:
		return "address"
	case ZoneFromNumber:
		return "number"
	case ZoneFromDefault:
		return "default"
	}
	return fmt.Sprintf("ZoneSource(%d)", uint8(z))
}
