// Package twiliocode is Twilio's error codes, and what each means for a text message and for its sender.
//
// In: a code, from an answer or a status callback.   Out: the rule.   Crash: nothing to lose, it is a table.
package twiliocode

import "candor/pkg/provider"

// Rule is what an error code means for the message and for the sender.
type Rule struct {
	Class provider.Class
	// Throttled asks everybody for less.
	Throttled bool
	Meaning   string
}

// rules is data, from Twilio's error dictionary. Codes above 30000 come with receipts, and at once only with status failed.
var rules = map[int]Rule{
	10001: {provider.Misconfigured, false, "account is not active"},
	20001: {provider.Defect, false, "unknown parameter"},
	20003: {provider.Misconfigured, false, "credentials are wrong"},
	20005: {provider.Misconfigured, false, "account is not active"},
	20006: {provider.Misconfigured, false, "account may not do this"},
	20008: {provider.Misconfigured, false, "test credentials cannot do this"},
	20403: {provider.Misconfigured, false, "account may not do this"},
	20404: {provider.Misconfigured, false, "account or resource does not exist"},

	14107: {provider.NotSent, true, "more than 15 messages between two numbers in 30 seconds"},
	20429: {provider.NotSent, true, "too many requests at once"},
	21611: {provider.NotSent, true, "sender's queue holds more than 10 hours"},
	63017: {provider.NotSent, true, "account's rate is used up"},
	63038: {provider.NotSent, true, "account's daily limit is used up"},

	21211: {provider.BadAddress, false, "number is not valid"},
	21214: {provider.BadAddress, false, "number cannot be reached"},
	21217: {provider.BadAddress, false, "number is not valid"},
	21265: {provider.BadAddress, false, "number cannot be a short code"},
	21408: {provider.BadAddress, false, "number's country is not enabled in the account's geo permissions"},
	21612: {provider.BadAddress, false, "no route between this sender and this number"},
	21614: {provider.BadAddress, false, "number is not a mobile"},
	21635: {provider.BadAddress, false, "number is a landline"},
	21610: {provider.Refused, false, "customer has replied STOP"},

	21212: {provider.Misconfigured, false, "sender is not valid"},
	21603: {provider.Misconfigured, false, "sender is missing"},
	21606: {provider.Misconfigured, false, "sender does not belong to the account or cannot send texts"},
	21608: {provider.Misconfigured, false, "trial account may only write to verified numbers"},
	21609: {provider.Misconfigured, false, "callback URL is not valid"},
	21659: {provider.Misconfigured, false, "sender is not a number or short code of the account"},
	21660: {provider.Misconfigured, false, "sender does not belong to the account"},
	21701: {provider.Misconfigured, false, "Messaging Service does not exist"},
	21703: {provider.Misconfigured, false, "Messaging Service has no sender"},
	21704: {provider.Misconfigured, false, "Messaging Service has no sender for this number"},
	21705: {provider.Misconfigured, false, "Messaging Service is not valid"},

	21602: {provider.Defect, false, "text is empty"},
	21604: {provider.Defect, false, "number is missing"},
	21605: {provider.Defect, false, "text is too long"},
	21617: {provider.Defect, false, "text is longer than 1600 characters"},
	21619: {provider.Defect, false, "text or media is missing"},
	21624: {provider.Defect, false, "validity period is not valid"},
	21658: {provider.Defect, false, "a parameter is too long"},

	30001: {provider.NotSent, true, "Messaging Service's queue is full"},
	30002: {provider.Misconfigured, false, "account was suspended"},
	30003: {provider.NotSent, false, "handset is off or out of reach"},
	30004: {provider.Refused, false, "message was blocked"},
	30005: {provider.BadAddress, false, "number is unknown"},
	30006: {provider.BadAddress, false, "landline, or the carrier cannot be reached"},
	30007: {provider.Refused, false, "message was filtered"},
	30008: {provider.NotSent, false, "carrier gives no reason"},
	30017: {provider.NotSent, true, "carrier is congested"},
	30022: {provider.NotSent, true, "registered rate is used up"},
	30023: {provider.NotSent, true, "carrier's daily limit is used up"},
	30027: {provider.NotSent, true, "carrier's daily limit is used up"},
	30032: {provider.Misconfigured, false, "toll-free number is not verified"},
	30034: {provider.Misconfigured, false, "sender is not registered with the carriers"},
	30036: {provider.NotSent, false, "message waited in the queue for too long"},
	30410: {provider.Unknown, false, "carrier did not answer; it may have been sent"},
	30450: {provider.Refused, false, "message was blocked as pumping"},
	30453: {provider.Refused, false, "message was blocked as pumping"},
}

// Of returns the rule of a code; false for a code that is not in the table.
func Of(code int) (Rule, bool) {
	r, ok := rules[code]
	return r, ok
}
