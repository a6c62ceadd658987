package topology

import (
	"fmt"
	"slices"
	"strings"

	"candor/pkg/bus"
	candorv1 "candor/proto/candor/v1"
)

// Target is a service that a process can be.
type Target struct {
	Name   string
	Does   string   // one line
	Reads  []string // streams and buckets
	Takes  []string // durable consumers, as stream/consumer
	Serves []string // requests
	Writes []string // subjects, and requests to others
	purges []string // streams
	makes  bool     // streams, consumers and buckets, as the table has them
}

// Targets lists every target, in the order in which a notice meets them.
func Targets() []Target {
	declared := StreamBreach + "/" + ConsumerDeclared
	return []Target{
		{
			Name: "api", Does: "owns incidents, rosters, approval and tokens; what the command line talks to",
			Reads: []string{
				StreamBreach, StreamRoster, StreamJournal, StreamReceipts, StreamCalls, StreamTeam, BucketTokens, BucketSuppressions,
			},
			Serves: []string{Declare, "ask.api.>"},
			Writes: []string{
				BreachAll, "roster.>", TeamEvents("*"), Ask("ledger", ">"), Ask("planner", ">"), CallMethod(">"),
				bucket(BucketTokens), bucket(BucketSuppressions),
			},
			purges: []string{StreamRoster},
			makes:  true,
		},
		{
			Name: "planner", Does: "turns waves into orders and puts back what is missing",
			Reads:  []string{StreamBreach, StreamRoster, StreamOrders, StreamJournal, StreamReceipts, BucketSuppressions},
			Takes:  []string{declared, StreamBreach + "/" + ConsumerResumed, StreamBreach + "/" + ConsumerAborted, StreamBreach + "/" + ConsumerUpdated},
			Serves: []string{"ask.planner.>"},
			Writes: []string{BreachAll, "order.>", "later.>", "journal.>", Ask("ledger", ">")},
			purges: []string{StreamOrders},
		},
		{
			Name: "followup", Does: "keeps the timetable: decides what becomes of follow-ups and updates when they are due",
			Reads:  []string{StreamBreach, StreamTimetable},
			Takes:  []string{StreamTimetable + "/" + ConsumerDue},
			Serves: []string{},
			Writes: []string{BreachAll, "timetable.>", "ask.ledger.>"},
			purges: []string{StreamTimetable},
		},
		worker(candorv1.Channel_CHANNEL_SMS, "sends text messages"),
		worker(candorv1.Channel_CHANNEL_EMAIL, "sends e-mail"),
		{
			Name: "calls", Does: "owns the call queue and hands dialers the right person at the right time",
			Reads: []string{
				StreamBreach, StreamRoster, StreamJournal, StreamReceipts, StreamCalls, BucketTokens, BucketSuppressions, BucketCallOwner,
			},
			Takes:  takes(candorv1.Channel_CHANNEL_CALL),
			Serves: []string{CallMethod(">"), "$SRV.>"},
			Writes: []string{
				CallEvents("*"), CallRequested("*"), JournalPrefix(candorv1.Channel_CHANNEL_CALL) + ">",
				bucket(BucketSuppressions), bucket(BucketCallOwner), Ask("api", "find"),
			},
		},
		{
			Name: "ledger", Does: "knows where every notice stands",
			Reads:  []string{StreamBreach, StreamRoster, StreamOrders, StreamJournal, StreamReceipts, StreamCalls},
			Serves: []string{"ask.ledger.>"},
			Writes: []string{},
		},
		{
			Name: "frontdoor", Does: "faces the internet: takes what providers and customers say, and nothing else",
			Reads:  []string{StreamBreach, StreamReceipts, StreamCalls, BucketSuppressions, BucketReplies},
			Serves: []string{},
			Writes: []string{"receipt.>", "call.request.*", bucket(BucketSuppressions), bucket(BucketReplies), Ask("api", "find")},
		},
		{
			Name: "team", Does: "tells the response team what needs them, and reminds until somebody acknowledges",
			Reads:  []string{StreamBreach, StreamRoster, StreamTeam, BucketLimits},
			Takes:  []string{StreamOrders + "/" + ConsumerTeam},
			Serves: []string{},
			Writes: []string{TeamEvents("*"), "order.*." + LaneTeam + ".>", bucket(BucketLimits)},
		},
		{Name: "sandbox", Does: "plays the providers: sends nothing, shows every inbox; only when named"},
		{
			Name: "nats", Does: "the broker for other processes, with an fsync before every acknowledgement",
			Serves: []string{"ask.nats.>"},
		},
	}
}

func worker(ch candorv1.Channel, does string) Target {
	name := ChannelToken(ch)
	return Target{
		Name: name, Does: does,
		Reads:  []string{StreamBreach, StreamRoster, StreamJournal, StreamReceipts, BucketSuppressions, BucketLimits},
		Takes:  takes(ch),
		Serves: []string{"ask." + name + ".>"},
		Writes: []string{"later." + name + ".>", JournalPrefix(ch) + ">", bucket(BucketLimits), Ask("nats", "space")},
	}
}

// takes are the orders of a channel.
func takes(ch candorv1.Channel) (consumers []string) {
	for _, lane := range Lanes {
		consumers = append(consumers, StreamOrders+"/"+OrderConsumer(ch, lane))
	}
	return consumers
}

// The NATS users of machines that are no target and may do one thing: declare, or work the call queue.
const (
	Declarer = "declarer"
	Dialer   = "dialer"
)

// Several is the NATS user of a process that is more than one target: it may do what any of them may.
const Several = "several"

// Guests lists them.
func Guests() []string { return []string{Declarer, Dialer} }

// Permissions returns what the NATS user of a target may publish and subscribe to; its replies arrive under
// _INBOX.<target>, so that nobody reads another's answers. The target nats needs none: it is the server.
func Permissions(target string) (publish, subscribe []string) {
	subscribe = []string{"_INBOX." + target + ".>"}
	switch target {
	case Declarer:
		return []string{Declare}, subscribe
	case Dialer:
		return []string{CallMethod(">")}, subscribe
	case Several:
		for _, t := range Targets() {
			p, s := Permissions(t.Name)
			publish = append(publish, p...)
			if len(s) > 0 {
				subscribe = append(subscribe, s[1:]...) // its answers arrive under a name of its own
			}
		}
		slices.Sort(publish)
		slices.Sort(subscribe)
		return slices.Compact(publish), slices.Compact(subscribe)
	}
	i := slices.IndexFunc(Targets(), func(t Target) bool { return t.Name == target })
	if i < 0 {
		return nil, nil
	}
	t := Targets()[i]
	if t.Reads == nil {
		return nil, nil
	}
	publish = append(publish, t.Writes...)
	publish = append(publish, "$JS.API.STREAM.NAMES", "$JS.API.STREAM.INFO.*")
	for _, s := range t.Reads {
		if isBucket(s) {
			s = "KV_" + s
		}
		publish = append(publish,
			"$JS.API.STREAM.MSG.GET."+s, "$JS.API.DIRECT.GET."+s+".>",
			"$JS.API.CONSUMER.CREATE."+s+".>", "$JS.API.CONSUMER.INFO."+s+".*", "$JS.API.CONSUMER.MSG.NEXT."+s+".*")
	}
	for _, c := range t.Takes {
		stream, name, _ := strings.Cut(c, "/")
		publish = append(publish,
			"$JS.API.CONSUMER.INFO."+stream+"."+name, "$JS.API.CONSUMER.MSG.NEXT."+stream+"."+name, "$JS.ACK."+stream+"."+name+".>")
	}
	for _, stream := range t.purges {
		publish = append(publish, "$JS.API.STREAM.PURGE."+stream)
	}
	if t.makes {
		publish = append(publish, makes()...)
	}
	return publish, append(subscribe, t.Serves...)
}

// makes is what Apply asks the broker for. Whoever may change a stream may also have the broker copy it elsewhere or weaken it:
// SECURITY.md says so of the api's key.
func makes() (publish []string) {
	publish = append(publish, "$JS.API.INFO")
	var names []string
	for _, s := range streams() {
		names = append(names, s.Name)
	}
	for _, k := range buckets() {
		names = append(names, "KV_"+k.Name)
	}
	for _, name := range names {
		publish = append(publish, "$JS.API.STREAM.CREATE."+name, "$JS.API.STREAM.UPDATE."+name)
	}
	for _, c := range consumers() {
		publish = append(publish, "$JS.API.CONSUMER.CREATE."+c.Stream+"."+c.Name+".>")
	}
	return publish
}

func bucket(name string) string { return "$KV." + name + ".>" }

func isBucket(name string) bool {
	return slices.ContainsFunc(buckets(), func(b bus.BucketSpec) bool { return b.Name == name })
}

// Markdown prints the table for the docs.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| stream | subjects | kind | holds |\n|---|---|---|---|\n")
	for _, s := range streams() {
		kind := "kept"
		switch {
		case s.WorkQueue:
			kind = "work queue, schedules"
		case s.WriteOnce:
			kind = "write-once"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", s.Name, code(s.Subjects), kind, s.Description)
	}
	b.WriteString("\n| bucket | storage | holds |\n|---|---|---|\n")
	for _, k := range buckets() {
		storage := "file"
		if k.Memory {
			storage = "memory"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", k.Name, storage, k.Description)
	}
	b.WriteString("\n| consumer | stream | takes |\n|---|---|---|\n")
	for _, c := range consumers() {
		fmt.Fprintf(&b, "| %s | %s | `%s` |\n", c.Name, c.Stream, c.Filter)
	}
	b.WriteString("\n| target | does | reads | takes | answers | writes |\n|---|---|---|---|---|---|\n")
	for _, t := range Targets() {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", t.Name, t.Does, strings.Join(t.Reads, ", "), code(t.Takes), code(t.Serves), code(t.Writes))
	}
	return b.String()
}

func code(ss []string) string {
	q := make([]string, len(ss))
	for i, s := range ss {
		q[i] = "`" + s + "`"
	}
	return strings.Join(q, ", ")
}
