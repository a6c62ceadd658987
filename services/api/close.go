package api

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	"candor/pkg/incident"
	"candor/pkg/timetable"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// years is how far ahead follow-ups are counted that an end would drop.
const years = 2

// standing is what would be left undone if an incident ended now.
type standing struct {
	untold              map[string]uint64 // customers, by reason
	unsent              map[string]uint64 // text messages and e-mails, by wave
	callRequests, calls uint64
	deadLetters         uint64
}

// left asks the ledger what would be left undone if the incident ended as it is: asked after the incident was read, so that
// whoever is fenced by the incident decides about everybody who is in it.
func (a *API) left(ctx context.Context, inc *incident.Incident) (standing, error) {
	status, err := a.upToDate(ctx, inc)
	if err != nil {
		return standing{}, err
	}
	return standingIn(status), nil
}

// catchUp is how long the ledger is given to read what was decided a moment ago.
const catchUp = 3 * time.Second

// upToDate is the ledger's word on everything that was written and on everybody who is on file. What it does not know yet
// would look as if nothing were open and nobody were left.
func (a *API) upToDate(ctx context.Context, inc *incident.Incident) (*candorv1.Status, error) {
	enough := time.NewTimer(catchUp)
	defer enough.Stop()
	again := time.NewTicker(catchUp / 100)
	defer again.Stop()
	for {
		status, err := a.status(ctx, inc.ID)
		if err != nil {
			return nil, err
		}
		if status.GetFoldedTo() >= status.GetJournalLast() && status.GetReceiptsFoldedTo() >= status.GetReceiptsLast() &&
			status.GetPeople().GetOnFile() >= inc.OnFile().GetCustomers() {
			return status, nil
		}
		select {
		case <-again.C:
		case <-enough.C:
			return nil, refuse(connect.CodeUnavailable, "the ledger has not read everything about incident %s yet: try again in a moment", inc.ID)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// standingIn reads it from the ledger's status. Those who are in no wave at all stand among the untold.
func standingIn(s *candorv1.Status) standing {
	left := standing{untold: map[string]uint64{}, unsent: map[string]uint64{}, callRequests: s.GetCallRequestsOpen(), deadLetters: s.GetDeadLetters()}
	for reason, n := range s.GetPeople().GetUnreachedReasons() {
		if n > 0 {
			left.untold[reason] = n
		}
	}
	for _, w := range s.GetWaves() {
		for _, ch := range w.GetChannels() {
			switch n := timetable.Open(ch); {
			case ch.GetChannel() == candorv1.Channel_CHANNEL_CALL:
				left.calls += n
			case n > 0:
				left.unsent[w.GetWave()] += n
			}
		}
	}
	return left
}

func (l standing) nobody() bool {
	return len(l.untold) == 0 && len(l.unsent) == 0 && l.callRequests == 0
}

// String says it in a sentence's part.
func (l standing) String() string {
	var parts []string
	var untold uint64
	var reasons []string
	for _, reason := range slices.Sorted(maps.Keys(l.untold)) {
		untold += l.untold[reason]
		reasons = append(reasons, fmt.Sprintf("%d %s", l.untold[reason], reason))
	}
	if untold > 0 {
		parts = append(parts, fmt.Sprintf("customers who are not told: %d (%s)", untold, strings.Join(reasons, ", ")))
	}
	for _, wave := range slices.Sorted(maps.Keys(l.unsent)) {
		parts = append(parts, fmt.Sprintf("messages of %s that are not sent yet: %d", wave, l.unsent[wave]))
	}
	if l.callRequests > 0 {
		parts = append(parts, fmt.Sprintf("wishes to be called that are open: %d", l.callRequests))
	}
	if l.calls > 0 {
		parts = append(parts, fmt.Sprintf("calls that are not ended: %d", l.calls))
	}
	return strings.Join(parts, "; ")
}

// command is the one by which everything that is left is named.
func (l standing) command(id string, calls candorv1.CallsAtClose) string {
	words := []string{"candor close", id}
	if len(l.untold) > 0 {
		words = append(words, "--untold", strings.Join(slices.Sorted(maps.Keys(l.untold)), ","))
	}
	if len(l.unsent) > 0 {
		words = append(words, "--despite-unsent")
	}
	if l.callRequests > 0 {
		words = append(words, "--despite-call-requests")
	}
	switch {
	case calls == candorv1.CallsAtClose_CALLS_AT_CLOSE_WITHDRAW:
		words = append(words, "--calls withdraw")
	case l.calls > 0:
		words = append(words, "--calls drain")
	}
	return strings.Join(words, " ")
}

// names says whether everything that is left was named: a reason by itself, or by its part before the colon.
func (l standing) names(q *candorv1.CloseRequest) bool {
	for reason := range l.untold {
		kind, _, _ := strings.Cut(reason, ":")
		if !slices.Contains(q.GetUntold(), reason) && !slices.Contains(q.GetUntold(), kind) {
			return false
		}
	}
	return (l.callRequests == 0 || q.GetCallRequests()) && (len(l.unsent) == 0 || q.GetUnsent())
}

// closable refuses an end that leaves out what the request does not name, or that would never come.
func (l standing) closable(id string, q *candorv1.CloseRequest) error {
	if l.calls > 0 && q.GetCalls() == candorv1.CallsAtClose_CALLS_AT_CLOSE_UNSPECIFIED || !l.names(q) {
		return refuse(connect.CodeFailedPrecondition,
			"incident %s cannot be closed like that: %s; wait for them, or name them, and a second person approves the end: %s (--calls withdraw takes back the calls that nobody makes yet)",
			id, l, l.command(id, q.GetCalls()))
	}
	return l.comesToAnEnd(id)
}

// comesToAnEnd refuses an end that would wait for calls which nobody makes.
func (l standing) comesToAnEnd(id string) error {
	if l.calls > 0 && l.deadLetters > 0 {
		return refuse(connect.CodeFailedPrecondition,
			"incident %s has pages that only a person can help, and calls that are not ended: the end would wait for them; look at candor deadletter list, mend the cause and replay",
			id)
	}
	return nil
}

// close ends an incident with a last word at once if nobody is left out, and else drafts its end for a second person.
//
// A crash leaves nothing, the draft, or an incident that closes: asking again finds it.
func (a *API) close(ctx context.Context, q *candorv1.CloseRequest) (*candorv1.CloseResponse, error) {
	inc, err := a.load(ctx, q.GetIncident())
	if err != nil {
		return nil, err
	}
	if inc.Closing() != nil {
		return &candorv1.CloseResponse{Incident: shown(inc)}, nil
	}
	if err := running(inc, "closed"); err != nil {
		return nil, err
	}
	left, err := a.left(ctx, inc)
	if err != nil {
		return nil, err
	}
	resp := &candorv1.CloseResponse{
		Incident: shown(inc), Untold: left.untold, Unsent: left.unsent, CallRequestsOpen: left.callRequests, CallsOpen: left.calls,
	}
	if resp.FollowUpsDropped, err = a.stillToCome(inc); err != nil || q.GetDryRun() {
		return resp, err
	}
	drafts := ""
	inc, err = a.change(ctx, inc.ID, func(inc *incident.Incident) (*candorv1.BreachEvent, error) {
		if drafts = ""; inc.Closing() != nil {
			return nil, nil
		}
		if err := running(inc, "closed"); err != nil {
			return nil, err
		}
		// Asked again for every incident that this is fenced by: rows may have been approved a moment ago.
		if left, err = a.left(ctx, inc); err != nil {
			return nil, err
		}
		if err := left.closable(inc.ID, q); err != nil {
			return nil, err
		}
		closing, err := a.closing(inc, q.GetCalls())
		if err != nil {
			return nil, err
		}
		if left.nobody() {
			return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Closing{Closing: closing}}, nil
		}
		add := &candorv1.Addition{
			Wave: inc.NextAddition(incident.KindClose + "-"), Kind: incident.KindClose, ChosenBy: strings.Join(q.GetUntold(), ","),
			Closing: closing, Untold: left.untold, Unsent: left.unsent, CallRequestsOpen: left.callRequests,
		}
		if drafts = waiting(inc, add); drafts != "" {
			return nil, nil
		}
		drafts = add.GetWave()
		return drafting(inc, add, "name the reasons by their part before the colon")
	})
	if err != nil {
		return nil, err
	}
	resp.Incident, resp.Untold, resp.Unsent = shown(inc), left.untold, left.unsent
	resp.CallRequestsOpen, resp.CallsOpen = left.callRequests, left.calls
	if drafts != "" {
		resp.Addition = additionStatus(inc, drafts)
		a.Log.Info().Str("incident", inc.ID).Str("addition", drafts).Msg("end drafted")
		return resp, nil
	}
	a.tell(ctx, topology.FactUpdated, inc)
	a.Log.Info().Str("incident", inc.ID).Msg("incident closes")
	return resp, nil
}

// closing is the end as it would be now: with the closing note, if the playbook has one.
func (a *API) closing(inc *incident.Incident, calls candorv1.CallsAtClose) (*candorv1.Closing, error) {
	set, err := a.texts.Plan(inc)
	if err != nil {
		return nil, err
	}
	c := &candorv1.Closing{Base: set.Playbook.ClosingNote, Calls: calls}
	if c.GetBase() != "" {
		c.Wave = inc.NextWave()
	}
	return c, nil
}

// stillToCome counts the messages that the end of an incident leaves unsent: follow-ups, and news that go out later.
func (a *API) stillToCome(inc *incident.Incident) (uint64, error) {
	t, err := a.timetable(inc)
	if err != nil {
		return 0, err
	}
	n := uint64(len(inc.Asks()))
	for _, c := range t.Coming(a.Clock.Now(), a.Clock.Now().AddDate(years, 0, 0)) {
		if c.GetDecision() != candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SKIP {
			n++
		}
	}
	return n, nil
}

// stillCovered refuses an end that leaves out more than its two people know of.
func (a *API) stillCovered(ctx context.Context, inc *incident.Incident, add *candorv1.Addition) error {
	again := "reject it, and draft it again with " + howToDraft(add.GetKind())
	if wave := add.GetClosing().GetWave(); wave != "" && inc.KindOf(wave) != "" {
		return refuse(connect.CodeFailedPrecondition, "%s of incident %s has its closing note as %s, and another message took that name since: %s", add.GetWave(), inc.ID, wave, again)
	}
	left, err := a.left(ctx, inc)
	if err != nil {
		return err
	}
	for _, reason := range slices.Sorted(maps.Keys(left.untold)) {
		if n, named := left.untold[reason], add.GetUntold()[reason]; n > named {
			return refuse(connect.CodeFailedPrecondition, "%d customers of incident %s are not told for the reason %s, and %s names %d: %s", n, inc.ID, reason, add.GetWave(), named, again)
		}
	}
	for _, wave := range slices.Sorted(maps.Keys(left.unsent)) {
		if n, named := left.unsent[wave], add.GetUnsent()[wave]; n > named {
			return refuse(connect.CodeFailedPrecondition, "%d messages of %s of incident %s are not sent yet, and %s names %d: %s", n, wave, inc.ID, add.GetWave(), named, again)
		}
	}
	if left.callRequests > add.GetCallRequestsOpen() {
		return refuse(connect.CodeFailedPrecondition, "%d customers of incident %s wait to be called, and %s names %d: %s", left.callRequests, inc.ID, add.GetWave(), add.GetCallRequestsOpen(), again)
	}
	if left.calls > 0 && add.GetClosing().GetCalls() == candorv1.CallsAtClose_CALLS_AT_CLOSE_UNSPECIFIED {
		return refuse(connect.CodeFailedPrecondition, "%d calls of incident %s are not ended, and %s does not say what becomes of them: %s --calls drain", left.calls, inc.ID, add.GetWave(), again)
	}
	return left.comesToAnEnd(inc.ID)
}

// reopen drafts a new beginning of a closed incident.
//
// A crash leaves either nothing or the draft; asking again finds the one that waits.
func (a *API) reopen(ctx context.Context, q *candorv1.ReopenRequest) (*candorv1.ReopenResponse, error) {
	wave := ""
	inc, err := a.change(ctx, q.GetIncident(), func(inc *incident.Incident) (*candorv1.BreachEvent, error) {
		if err := drafted(inc); err != nil {
			return nil, err
		}
		if err := a.stillClosed(inc); err != nil {
			return nil, err
		}
		add := &candorv1.Addition{Wave: inc.NextAddition(incident.KindReopen + "-"), Kind: incident.KindReopen, ChosenBy: q.GetReason()}
		if wave = waiting(inc, add); wave != "" {
			return nil, nil
		}
		wave = add.GetWave()
		return drafting(inc, add, "say it in fewer words")
	})
	if err != nil {
		return nil, err
	}
	a.Log.Info().Str("incident", inc.ID).Str("addition", wave).Msg("new beginning drafted")
	return &candorv1.ReopenResponse{Addition: additionStatus(inc, wave)}, nil
}

// stillClosed refuses a new beginning of what has not ended, and of what cannot begin again.
func (a *API) stillClosed(inc *incident.Incident) error {
	if inc.State != candorv1.IncidentState_INCIDENT_STATE_CLOSED {
		return refuse(connect.CodeFailedPrecondition, "incident %s is %s: only a closed one can be reopened", inc.ID, candorv1.Word(inc.State))
	}
	_, err := a.Vault.Incident(inc.ID) // without its key nobody can be told anything
	return err
}
