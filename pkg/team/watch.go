package team

import (
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/incident"
	candorv1 "candor/proto/candor/v1"
)

// Watch folds the events of an incident into the alerts that they make, and knows which of them need nobody any more. It
// belongs to one goroutine at a time.
type Watch struct {
	incident string
	// Draft is the newest revision; nil before the first.
	Draft *candorv1.Drafted

	alerts    []*candorv1.Alert
	draft     *candorv1.Alert                      // that of the revision that waits
	additions map[string]*addition                 // by wave
	paused    map[candorv1.Channel]*candorv1.Alert // the last one by which a channel is paused
	asks      map[string]*candorv1.Alert           // by name and due time
}

type addition struct {
	kind  string
	alert *candorv1.Alert
}

// NewWatch returns the Watch of an incident without events.
func NewWatch(incident string) *Watch {
	return &Watch{
		incident: incident, additions: map[string]*addition{}, paused: map[candorv1.Channel]*candorv1.Alert{}, asks: map[string]*candorv1.Alert{},
	}
}

// Alerts returns a copy of all alerts that the events made, oldest first, with Over set where nobody is needed any more.
func (w *Watch) Alerts() []*candorv1.Alert {
	all := make([]*candorv1.Alert, len(w.alerts))
	for i, a := range w.alerts {
		all[i] = proto.CloneOf(a)
	}
	return all
}

// Fold takes the next event of breach.incident.<id>.
func (w *Watch) Fold(m bus.Stored) error {
	e := &candorv1.BreachEvent{}
	if err := proto.Unmarshal(m.Data, e); err != nil {
		return fmt.Errorf("event %d of incident %s is damaged: %w", m.Seq, w.incident, err)
	}
	raise := func(k candorv1.AlertKind, text string) *candorv1.Alert {
		a := &candorv1.Alert{
			Id: fmt.Sprintf("%s-%d", candorv1.Word(k), m.Seq), Incident: w.incident, Kind: k, Text: text, RaisedAt: timestamppb.New(e.GetOccurredAt().AsTime()),
		}
		w.alerts = append(w.alerts, a)
		return a
	}
	words := words{w.incident}
	switch ev := e.GetEvent().(type) {
	case *candorv1.BreachEvent_Drafted:
		over(w.draft)
		w.Draft = ev.Drafted
		w.draft = raise(candorv1.AlertKind_ALERT_KIND_DRAFT, words.draft(ev.Drafted.GetRevision()))
	case *candorv1.BreachEvent_Rejected:
		over(w.draft)
	case *candorv1.BreachEvent_Approved:
		over(w.draft)
		raise(candorv1.AlertKind_ALERT_KIND_DECLARED, words.declared())
	case *candorv1.BreachEvent_AdditionDrafted:
		add := ev.AdditionDrafted.GetAddition()
		w.additions[add.GetWave()] = &addition{add.GetKind(), raise(candorv1.AlertKind_ALERT_KIND_DRAFT, words.addition(add.GetKind(), add.GetWave()))}
	case *candorv1.BreachEvent_AdditionRejected:
		if add := w.additions[ev.AdditionRejected.GetWave()]; add != nil {
			over(add.alert)
		}
	case *candorv1.BreachEvent_AdditionApproved:
		add := w.additions[ev.AdditionApproved.GetWave()]
		if add == nil {
			break
		}
		over(add.alert)
		switch add.kind {
		case incident.KindClose:
			w.closing()
			raise(candorv1.AlertKind_ALERT_KIND_CLOSED, words.closing())
		case incident.KindReopen:
			w.end()
			raise(candorv1.AlertKind_ALERT_KIND_DECLARED, words.reopened())
			if held := slices.Sorted(maps.Keys(w.paused)); len(held) > 0 {
				w.pause(raise(candorv1.AlertKind_ALERT_KIND_PAUSED, words.stillPaused(held)), held)
			}
		}
	case *candorv1.BreachEvent_Paused:
		kind, text := candorv1.AlertKind_ALERT_KIND_PAUSED, words.paused(ev.Paused)
		if e.GetActor() == incident.Service("").Token {
			kind, text = candorv1.AlertKind_ALERT_KIND_THRESHOLD, words.threshold(ev.Paused)
		}
		w.pause(raise(kind, text), ev.Paused.GetChannels())
	case *candorv1.BreachEvent_Resumed:
		w.resume(ev.Resumed.GetChannels())
	case *candorv1.BreachEvent_FollowUpDecided:
		d := ev.FollowUpDecided
		key := fmt.Sprint(d.GetName(), " ", d.GetDueAt().AsTime().UnixNano())
		over(w.asks[key])
		delete(w.asks, key)
		if d.GetDecision() == candorv1.FollowUpDecision_FOLLOW_UP_DECISION_ASK {
			w.asks[key] = raise(candorv1.AlertKind_ALERT_KIND_OVERDUE, words.overdue(d))
		}
	case *candorv1.BreachEvent_Closing:
		w.closing()
		raise(candorv1.AlertKind_ALERT_KIND_CLOSED, words.closing())
	case *candorv1.BreachEvent_Closed:
		w.end()
		raise(candorv1.AlertKind_ALERT_KIND_CLOSED, words.closed())
	case *candorv1.BreachEvent_Aborted:
		w.end()
		raise(candorv1.AlertKind_ALERT_KIND_ABORTED, words.aborted())
	case *candorv1.BreachEvent_Shredded:
		w.end() // the addresses went with the key
	}
	return nil
}

func over(a *candorv1.Alert) {
	if a != nil {
		a.Over = true
	}
}

// end is when nothing that was asked before needs an answer. What is paused stays so, which matters again if the incident is
// opened again.
func (w *Watch) end() {
	for _, a := range w.alerts {
		a.Over = true
	}
	clear(w.asks)
}

// closing voids what can be decided no more, and what is true no more: that customers are being told. A pause holds the closing
// note too.
func (w *Watch) closing() {
	for _, a := range w.alerts {
		if a.GetKind() == candorv1.AlertKind_ALERT_KIND_DECLARED {
			a.Over = true
		}
	}
	for key, a := range w.asks {
		over(a)
		delete(w.asks, key)
	}
	for _, add := range w.additions {
		over(add.alert)
	}
}

func (w *Watch) pause(a *candorv1.Alert, channels []candorv1.Channel) {
	if len(channels) == 0 {
		channels = []candorv1.Channel{candorv1.Channel_CHANNEL_UNSPECIFIED} // all of them
	}
	for _, ch := range channels {
		before := w.paused[ch]
		w.paused[ch] = a
		w.release(before)
	}
}

func (w *Watch) resume(channels []candorv1.Channel) {
	if len(channels) == 0 {
		for _, a := range w.paused {
			over(a)
		}
		clear(w.paused)
	}
	for _, ch := range channels {
		before := w.paused[ch]
		delete(w.paused, ch)
		w.release(before)
	}
}

// release ends the alert of a pause that holds no channel any more.
func (w *Watch) release(a *candorv1.Alert) {
	for _, still := range w.paused {
		if still == a {
			return
		}
	}
	over(a)
}
