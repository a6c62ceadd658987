package topology

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	candorv1 "candor/proto/candor/v1"
)

const (
	// Declare is the request by which anybody with credentials hands over a declaration; it lies in no stream.
	Declare = "breach.declare"
	// BreachAll is every event and fact of every incident.
	BreachAll = "breach.*.*"

	breachIncident = "breach.incident."
)

var incidentID = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,39}$`)

// ValidIncident says whether an id can name an incident: it becomes part of subjects, file names and addresses.
func ValidIncident(id string) error {
	if !incidentID.MatchString(id) {
		return fmt.Errorf("incident id %q: use 2 to 40 of a-z, 0-9 and -, and start with a letter or digit", id)
	}
	switch id {
	case "all", "declare", "incident":
		return fmt.Errorf("incident id %q is a reserved word: add the date or the place", id)
	}
	return nil
}

// ChannelToken is a channel's name in subjects, settings and reports.
func ChannelToken(ch candorv1.Channel) string {
	switch ch {
	case candorv1.Channel_CHANNEL_SMS:
		return "sms"
	case candorv1.Channel_CHANNEL_EMAIL:
		return "email"
	case candorv1.Channel_CHANNEL_CALL:
		return "call"
	default:
		return "unspecified"
	}
}

// ParseChannel is the reverse of ChannelToken.
func ParseChannel(token string) (candorv1.Channel, bool) {
	switch token {
	case "sms":
		return candorv1.Channel_CHANNEL_SMS, true
	case "email":
		return candorv1.Channel_CHANNEL_EMAIL, true
	case "call":
		return candorv1.Channel_CHANNEL_CALL, true
	}
	return candorv1.Channel_CHANNEL_UNSPECIFIED, false
}

// Breach is where the events of an incident lie.
func Breach(incident string) string { return breachIncident + incident }

// ParseBreach returns the incident of a subject made by Breach.
func ParseBreach(subject string) (incident string, ok bool) {
	incident, ok = strings.CutPrefix(subject, breachIncident)
	return incident, ok && ValidIncident(incident) == nil
}

// BreachFact is where a fact of an incident is told to everybody else.
func BreachFact(fact, incident string) string { return "breach." + fact + "." + incident }

// ParseBreachFact is the reverse of BreachFact.
func ParseBreachFact(subject string) (fact, incident string, ok bool) {
	t := strings.Split(subject, ".")
	if len(t) != 3 || t[0] != "breach" || t[1] == "incident" || t[1] == "" || ValidIncident(t[2]) != nil {
		return "", "", false
	}
	return t[1], t[2], true
}

// Page is where a sealed page of a roster lies.
func Page(incident string, page uint32) string { return "roster." + incident + "." + number(page) }

// ParsePage is the reverse of Page.
func ParsePage(subject string) (incident string, page uint32, ok bool) {
	t := strings.Split(subject, ".")
	if len(t) != 3 || t[0] != "roster" || ValidIncident(t[1]) != nil {
		return "", 0, false
	}
	page, ok = parseNumber(t[2])
	return t[1], page, ok
}

// Pages is every page of an incident's roster.
func Pages(incident string) string { return "roster." + incident + ".*" }

// PageKey names one page of one wave on one channel: an order, its journal and its receipts.
type PageKey struct {
	Channel  candorv1.Channel
	Incident string
	Wave     string
	Page     uint32
}

// Order is the subject of an order that may be worked off now.
func Order(ch candorv1.Channel, lane, incident, wave string, page uint32) string {
	return "order." + ChannelToken(ch) + "." + lane + "." + incident + "." + wave + "." + number(page)
}

// Later is where an order waits for its hour.
func Later(ch candorv1.Channel, lane, incident, wave string, page uint32) string {
	return "later." + ChannelToken(ch) + "." + lane + "." + incident + "." + wave + "." + number(page)
}

// ParseOrder is the reverse of Order.
func ParseOrder(subject string) (k PageKey, lane string, ok bool) {
	return parseOrder("order", subject)
}

// ParseLater is the reverse of Later.
func ParseLater(subject string) (k PageKey, lane string, ok bool) {
	return parseOrder("later", subject)
}

// OrdersOf are the filters that cover all orders of an incident, waiting ones first. They name channel and lane: a purge
// frees the orders in hand only if its filter lies within the consumer's.
func OrdersOf(incident string) []string {
	var later, order []string
	for _, ch := range queueChannels() {
		for _, lane := range Lanes {
			tail := "." + ChannelToken(ch) + "." + lane + "." + incident + ".>"
			later, order = append(later, "later"+tail), append(order, "order"+tail)
		}
	}
	return append(later, order...)
}

// OrderConsumer is the durable consumer of a channel's lane.
func OrderConsumer(ch candorv1.Channel, lane string) string { return ChannelToken(ch) + "-" + lane }

// Journal is where the record of an order lies.
func Journal(ch candorv1.Channel, incident, wave string, page uint32) string {
	return JournalPrefix(ch) + incident + "." + wave + "." + number(page)
}

// ParseJournal is the reverse of Journal.
func ParseJournal(subject string) (PageKey, bool) { return parseKey("journal", subject) }

// JournalPrefix starts every journal of a channel.
func JournalPrefix(ch candorv1.Channel) string { return "journal." + ChannelToken(ch) + "." }

// JournalsOf is every journal of an incident.
func JournalsOf(incident string) string { return "journal.*." + incident + ".>" }

// Receipt is where the receipts of an order lie.
func Receipt(ch candorv1.Channel, incident, wave string, page uint32) string {
	return "receipt." + ChannelToken(ch) + "." + incident + "." + wave + "." + number(page)
}

// ParseReceipt is the reverse of Receipt.
func ParseReceipt(subject string) (PageKey, bool) { return parseKey("receipt", subject) }

// CallRequested is where a customer's wish to be called lies, until and after the call.
func CallRequested(incident string) string { return "call.request." + incident }

// ParseCallRequested is the reverse of CallRequested.
func ParseCallRequested(subject string) (incident string, ok bool) {
	incident, ok = strings.CutPrefix(subject, "call.request.")
	return incident, ok && ValidIncident(incident) == nil
}

// CallEvents is where the events of an incident's call tasks lie.
func CallEvents(incident string) string { return "call.incident." + incident }

// ParseCallEvents is the reverse of CallEvents.
func ParseCallEvents(subject string) (incident string, ok bool) {
	incident, ok = strings.CutPrefix(subject, "call.incident.")
	return incident, ok && ValidIncident(incident) == nil
}

// CallService is the name of the micro service that dialers talk to, and starts its subjects. They lie in no stream.
const CallService = "calls"

// CallMethod is where dialers ask for a method of the call queue, such as claim.
func CallMethod(method string) string { return CallService + "." + method }

// Timetable is where the next follow-up of a name waits for its hour.
func Timetable(incident, name string) string { return "timetable." + incident + "." + name }

// Due is where a follow-up appears when its hour has come.
func Due(incident, name string) string { return "due." + incident + "." + name }

// TeamEvents is where lies what the response team of an incident was told.
func TeamEvents(incident string) string { return "team." + incident }

// ParseTeamEvents is the reverse of TeamEvents.
func ParseTeamEvents(subject string) (incident string, ok bool) {
	incident, ok = strings.CutPrefix(subject, "team.")
	return incident, ok && ValidIncident(incident) == nil
}

// TeamOrder is the subject of a message to one member of the response team, by a medium: sms, email or hook.
func TeamOrder(medium, incident, alert string, member uint32) string {
	return "order." + medium + "." + LaneTeam + "." + incident + "." + alert + "." + number(member)
}

// TeamAddresses is where the response team's addresses lie sealed, beside the pages; digest is that of what is sealed.
func TeamAddresses(incident, digest string) string {
	return "roster." + incident + "." + teamToken + digest
}

const teamToken = "team-"

// IsTeamAddresses tells a subject made by TeamAddresses from the others beside it.
func IsTeamAddresses(subject string) bool {
	t := strings.Split(subject, ".")
	return len(t) == 3 && t[0] == "roster" && strings.HasPrefix(t[2], teamToken)
}

// Headers by which a long answer is fetched in parts: the reply's Next is the following request's After; the last part has none.
const (
	HeaderAfter = "after"
	HeaderNext  = "next"
)

// Ask is a request that a service answers at once.
func Ask(service, method string) string { return "ask." + service + "." + method }

func parseOrder(kind, subject string) (PageKey, string, bool) {
	t := strings.Split(subject, ".")
	if len(t) != 6 || t[0] != kind || t[2] != LaneFirst && t[2] != LaneNext {
		return PageKey{}, "", false
	}
	k, ok := key(t[1], t[3], t[4], t[5])
	return k, t[2], ok
}

func parseKey(kind, subject string) (PageKey, bool) {
	t := strings.Split(subject, ".")
	if len(t) != 5 || t[0] != kind {
		return PageKey{}, false
	}
	return key(t[1], t[2], t[3], t[4])
}

func key(channel, incident, wave, page string) (PageKey, bool) {
	ch, ok := ParseChannel(channel)
	n, isNumber := parseNumber(page)
	if !ok || !isNumber || wave == "" || ValidIncident(incident) != nil {
		return PageKey{}, false
	}
	return PageKey{Channel: ch, Incident: incident, Wave: wave, Page: n}, true
}

func number(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// parseNumber takes only what number writes: a page has one subject.
func parseNumber(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && number(uint32(n)) == s
}
