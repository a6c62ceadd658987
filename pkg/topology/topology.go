// Package topology is the one table of streams, subjects, consumers, buckets and services: the broker is configured from
// it, permissions are generated from it and the docs are printed from it.
//
// The events of an incident lie on breach.incident.<id>, facts for everybody else on breach.<fact>.<id>: three tokens each,
// so that the stream BREACH (breach.*.*) does not take in the request breach.declare and answer it with an
// acknowledgement of its own.
//
// In, out: the broker's configuration.   Crash: Apply is repeated at the next start and changes nothing twice.
package topology

import (
	"time"

	"candor/pkg/bus"
	candorv1 "candor/proto/candor/v1"
)

// Streams.
const (
	StreamBreach    = "BREACH"
	StreamRoster    = "ROSTER"
	StreamOrders    = "ORDERS"
	StreamJournal   = "JOURNAL"
	StreamReceipts  = "RECEIPTS"
	StreamCalls     = "CALLS"
	StreamTimetable = "TIMETABLE"
	StreamTeam      = "TEAM"
)

// Buckets.
const (
	BucketTokens       = "TOKENS"
	BucketSuppressions = "SUPPRESSIONS"
	BucketLimits       = "LIMITS"
	BucketReplies      = "REPLIES"
	BucketCallOwner    = "CALLOWNER"
)

// Lanes of a channel: follow-ups never stand before a first notice.
const (
	LaneFirst = "first"
	LaneNext  = "next"
)

// LaneTeam is that of messages to the response team, which are no notices: neither pause nor quiet hours hold them up.
const LaneTeam = "team"

// Lanes lists the lanes of notices in the order in which they matter.
var Lanes = [...]string{LaneFirst, LaneNext}

// Facts that the api republishes when they have happened.
const (
	FactDeclared = "declared"
	FactPaused   = "paused"
	FactResumed  = "resumed"
	FactUpdated  = "updated"
	FactClosed   = "closed"
	FactAborted  = "aborted"
)

// Durable consumers of the planner, of followup and of team.
const (
	ConsumerDeclared = "planner-declared"
	ConsumerResumed  = "planner-resumed"
	ConsumerAborted  = "planner-aborted"
	ConsumerUpdated  = "planner-updated"
	ConsumerDue      = "followup-due"
	ConsumerTeam     = "team"
)

const (
	// AckWait is how long a worker may go without progress before its order is given to another one.
	AckWait = 30 * time.Second
	// MaxAckPending is how many orders of one lane may be in hand, over all workers.
	MaxAckPending = 256
)

func streams() []bus.StreamSpec {
	return []bus.StreamSpec{
		{
			Name: StreamBreach, Subjects: []string{BreachAll}, Kept: true,
			Description: "incidents: every event, fenced, and the facts republished from them",
		},
		{
			Name: StreamJournal, Subjects: []string{"journal.*.*.*.*"}, Kept: true,
			Description: "per page, wave and channel: opened, intents, outcomes, sealed; no personal data",
		},
		{
			Name: StreamRoster, Subjects: []string{"roster.*.*"}, WriteOnce: true, Direct: true,
			Description: "sealed pages of customers: the only place with personal data, encrypted; purged when shredded",
		},
		{
			Name: StreamOrders, Subjects: []string{"order.*.*.*.*.*", "later.*.*.*.*.*"}, WorkQueue: true, Schedules: true,
			Description: "orders to work off a page; later holds one until its hour",
		},
		{
			Name: StreamReceipts, Subjects: []string{"receipt.*.*.*.*"}, Kept: true,
			Description: "what providers say afterwards, batched; folded together with the journals",
		},
		{
			Name: StreamCalls, Subjects: []string{"call.>"}, Kept: true,
			Description: "events of the call queue: queued, leased, renewed, completed, expired",
		},
		{
			Name: StreamTimetable, Subjects: []string{"timetable.*.*", "due.*.*"}, WorkQueue: true, Schedules: true,
			Description: "one schedule for the next follow-up, and the follow-ups that are due",
		},
		{
			Name: StreamTeam, Subjects: []string{TeamEvents("*")}, Kept: true,
			Description: "what the response team was told, and who acknowledged; no address",
		},
	}
}

func buckets() []bus.BucketSpec {
	return []bus.BucketSpec{
		{Name: BucketTokens, Description: "access tokens, hashed"},
		{Name: BucketSuppressions, Description: "opt-outs by keyed hash"},
		{Name: BucketReplies, Description: "replies of customers that were answered, by hash of the provider's message id; for a month", TTL: 30 * 24 * time.Hour},
		{Name: BucketCallOwner, Description: "which process answers for the call queue, renewed every second; lost at a restart, after which one asks for it anew", Memory: true},
		{Name: BucketLimits, Description: "next free instant per sender; lost at a restart, which costs a short burst", Memory: true},
	}
}

// queueChannels have orders. Those for calls are turned into tasks, which dialers lease.
func queueChannels() []candorv1.Channel {
	return []candorv1.Channel{candorv1.Channel_CHANNEL_SMS, candorv1.Channel_CHANNEL_EMAIL, candorv1.Channel_CHANNEL_CALL}
}

func consumers() []bus.ConsumerSpec {
	out := []bus.ConsumerSpec{
		{Stream: StreamBreach, Name: ConsumerDeclared, Filter: BreachFact(FactDeclared, "*")},
		{Stream: StreamBreach, Name: ConsumerResumed, Filter: BreachFact(FactResumed, "*")},
		{Stream: StreamBreach, Name: ConsumerAborted, Filter: BreachFact(FactAborted, "*")},
		{Stream: StreamBreach, Name: ConsumerUpdated, Filter: BreachFact(FactUpdated, "*")},
		{Stream: StreamTimetable, Name: ConsumerDue, Filter: Due("*", "*")},
		{Stream: StreamOrders, Name: ConsumerTeam, Filter: "order.*." + LaneTeam + ".>"},
	}
	for _, ch := range queueChannels() {
		for _, lane := range Lanes {
			out = append(out, bus.ConsumerSpec{
				Stream: StreamOrders, Name: OrderConsumer(ch, lane), Filter: "order." + ChannelToken(ch) + "." + lane + ".>",
			})
		}
	}
	for i := range out {
		out[i].AckWait, out[i].MaxAckPending = AckWait, MaxAckPending
	}
	return out
}
