package api

import (
	"context"
	"fmt"
	"slices"

	"connectrpc.com/connect"

	"candor/pkg/incident"
	"candor/pkg/roster"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

const everyChannel = candorv1.Channel_CHANNEL_UNSPECIFIED

// declared refuses what can only be done while something may be sent, be it the last word.
func declared(inc *incident.Incident, what string) error {
	if err := drafted(inc); err != nil {
		return err
	}
	if !inc.Declared() {
		return refuse(connect.CodeFailedPrecondition, "incident %s is %s: only one that is declared can be %s", inc.ID, candorv1.Word(inc.State), what)
	}
	return nil
}

// running refuses what adds to an incident that nobody may add to: each state has its own way out.
func running(inc *incident.Incident, what string) error {
	if err := drafted(inc); err != nil || inc.Running() {
		return err
	}
	remedy := ""
	switch inc.State {
	case candorv1.IncidentState_INCIDENT_STATE_DRAFT:
		remedy = "change it as it is, or approve it first"
	case candorv1.IncidentState_INCIDENT_STATE_REJECTED:
		remedy = "change it, declare it again, and approve it first"
	case candorv1.IncidentState_INCIDENT_STATE_CLOSING:
		remedy = "its last word is on its way, and nobody is told anything after that; reopen it when it is closed"
	case candorv1.IncidentState_INCIDENT_STATE_CLOSED:
		remedy = "reopen it first with candor reopen"
	case candorv1.IncidentState_INCIDENT_STATE_ABORTING, candorv1.IncidentState_INCIDENT_STATE_ABORTED:
		remedy = "nothing is sent for it any more; declare under another id what is left to say"
	case candorv1.IncidentState_INCIDENT_STATE_SHREDDED:
		remedy = "its customers cannot be told anything any more"
	}
	return refuse(connect.CodeFailedPrecondition, "incident %s is %s and cannot be %s: %s", inc.ID, candorv1.Word(inc.State), what, remedy)
}

func checkChannels(chs []candorv1.Channel) error {
	channels := roster.Channels()
	for _, ch := range chs {
		if !slices.Contains(channels[:], ch) {
			return refuse(connect.CodeInvalidArgument, "there is no channel %d: name sms, email or call, or none for all of them", ch)
		}
	}
	return nil
}

// pause takes effect at every worker's next stride.
func (a *API) pause(ctx context.Context, q *candorv1.PauseRequest) (*candorv1.PauseResponse, error) {
	if err := checkChannels(q.GetChannels()); err != nil {
		return nil, err
	}
	inc, err := a.pauseChannels(ctx, q.GetIncident(), q.GetChannels(), q.GetReason())
	if err != nil {
		return nil, err
	}
	a.tell(ctx, topology.FactPaused, inc)
	resp := &candorv1.PauseResponse{Incident: shown(inc)}
	status, err := a.status(ctx, inc.ID)
	if err != nil {
		// The pause stands, whether or not somebody can say what was on its way.
		a.Log.Warn().Err(err).Str("incident", inc.ID).Msg("paused, but the ledger does not say what is at the provider")
		return resp, nil
	}
	for _, w := range status.GetWaves() {
		for _, ch := range w.GetChannels() {
			if inc.PausedFor(ch.GetChannel()) {
				resp.AtProvider += ch.GetStates()["intended"]
			}
		}
	}
	return resp, nil
}

func (a *API) pauseChannels(ctx context.Context, id string, chs []candorv1.Channel, reason string) (*incident.Incident, error) {
	return a.change(ctx, id, func(inc *incident.Incident) (*candorv1.BreachEvent, error) {
		if err := declared(inc, "paused"); err != nil {
			return nil, err
		}
		wanted := chs
		if len(wanted) == 0 {
			wanted = []candorv1.Channel{everyChannel}
		}
		if !slices.ContainsFunc(wanted, func(ch candorv1.Channel) bool { return !inc.Paused[ch] }) {
			return nil, nil
		}
		return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Paused{Paused: &candorv1.Paused{Channels: chs, Reason: reason}}}, nil
	})
}

// resume lets all channels, or some of them, go on.
func (a *API) resume(ctx context.Context, q *candorv1.ResumeRequest) (*candorv1.ResumeResponse, error) {
	chs := q.GetChannels()
	if err := checkChannels(chs); err != nil {
		return nil, err
	}
	inc, err := a.load(ctx, q.GetIncident())
	if err != nil {
		return nil, err
	}
	if inc.Paused[everyChannel] && len(chs) > 0 {
		// A pause of everything becomes one of the others, before anything is resumed.
		// A crash between the two leaves everything paused.
		all := roster.Channels()
		others := slices.DeleteFunc(all[:], func(ch candorv1.Channel) bool { return slices.Contains(chs, ch) })
		if len(others) > 0 {
			if _, err := a.pauseChannels(ctx, inc.ID, others, inc.Reason); err != nil {
				return nil, err
			}
			chs = append(slices.Clone(chs), everyChannel)
		} else {
			chs = nil
		}
	}
	inc, err = a.change(ctx, inc.ID, func(inc *incident.Incident) (*candorv1.BreachEvent, error) {
		if err := declared(inc, "resumed"); err != nil {
			return nil, err
		}
		if len(inc.Paused) == 0 || len(chs) > 0 && !slices.ContainsFunc(chs, func(ch candorv1.Channel) bool { return inc.Paused[ch] }) {
			return nil, nil
		}
		return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Resumed{Resumed: &candorv1.Resumed{Channels: chs}}}, nil
	})
	if err != nil {
		return nil, err
	}
	a.tell(ctx, topology.FactResumed, inc)
	return &candorv1.ResumeResponse{Incident: shown(inc)}, nil
}

// abort ends an incident for ever, and answers when no notice can be sent any more.
//
// A crash after Aborted leaves an aborting incident: nothing more is intended once the planner, which is told of it too,
// has sealed the journals, and aborting again goes on from there.
func (a *API) abort(ctx context.Context, q *candorv1.AbortRequest) (*candorv1.AbortResponse, error) {
	inc, err := a.change(ctx, q.GetIncident(), func(inc *incident.Incident) (*candorv1.BreachEvent, error) {
		if err := drafted(inc); err != nil || inc.Ended() {
			return nil, err
		}
		return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Aborted{Aborted: &candorv1.Aborted{Reason: q.GetReason()}}}, nil
	})
	if err != nil {
		return nil, err
	}
	if inc.State == candorv1.IncidentState_INCIDENT_STATE_ABORTING {
		a.tell(ctx, topology.FactAborted, inc)
		if inc, err = a.seal(ctx, inc); err != nil {
			return nil, err
		}
	}
	return &candorv1.AbortResponse{
		Incident: shown(inc), AtProvider: inc.Sealed.GetAtProvider(), Uncertain: inc.Sealed.GetUncertain(),
	}, nil
}

// seal has every journal sealed and then says so.
func (a *API) seal(ctx context.Context, inc *incident.Incident) (*incident.Incident, error) {
	sealed := &candorv1.SealResponse{}
	// A draft that was never declared has no journals, and can have none: Aborted is fenced against the approval.
	if !inc.DeclaredAt.IsZero() {
		rctx, cancel := context.WithTimeout(ctx, a.cfg.SealTimeout)
		defer cancel()
		req := &candorv1.SealRequest{Incident: inc.ID, Reason: inc.Reason}
		if err := a.ask(rctx, "planner", "seal", req, sealed); err != nil {
			return nil, fmt.Errorf("incident %s is aborting, but its journals are not all sealed yet, abort it again: %w", inc.ID, err)
		}
	}
	return a.change(ctx, inc.ID, func(inc *incident.Incident) (*candorv1.BreachEvent, error) {
		if inc.State != candorv1.IncidentState_INCIDENT_STATE_ABORTING {
			return nil, nil
		}
		return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_AllSealed{AllSealed: &candorv1.AllSealed{
			Journals: sealed.GetJournals(), AtProvider: sealed.GetAtProvider(), Uncertain: sealed.GetUncertain(),
		}}}, nil
	})
}

// shred destroys the incident's key and purges its pages. The manifests stay: they count, and name nobody.
//
// A crash leaves an ended incident whose key is gone: shredding again purges what is left and says so.
func (a *API) shred(ctx context.Context, q *candorv1.ShredRequest) (*candorv1.ShredResponse, error) {
	inc, err := a.load(ctx, q.GetIncident())
	if err != nil {
		return nil, err
	}
	switch inc.State {
	case candorv1.IncidentState_INCIDENT_STATE_ABORTED, candorv1.IncidentState_INCIDENT_STATE_CLOSED,
		candorv1.IncidentState_INCIDENT_STATE_SHREDDED:
	default:
		return nil, refuse(connect.CodeFailedPrecondition,
			"incident %s is %s: its customers are shredded only after it was closed or aborted, so that nobody who must still be told is lost",
			inc.ID, candorv1.Word(inc.State))
	}
	if err := a.Vault.Shred(inc.ID); err != nil {
		return nil, err
	}
	a.finder.Forget(inc.ID)
	resp := &candorv1.ShredResponse{}
	if resp.PagesPurged, err = a.store.purgeAll(ctx, inc.ID); err != nil {
		return nil, fmt.Errorf("the key of incident %s is destroyed, but sealed pages are left, shred it again: %w", inc.ID, err)
	}
	inc, err = a.change(ctx, inc.ID, func(inc *incident.Incident) (*candorv1.BreachEvent, error) {
		if inc.State == candorv1.IncidentState_INCIDENT_STATE_SHREDDED {
			return nil, nil
		}
		if !inc.Ended() {
			return nil, refuse(connect.CodeAborted, "the key of incident %s is destroyed, but it was reopened at the same moment: abort it", inc.ID)
		}
		return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Shredded{Shredded: &candorv1.Shredded{}}}, nil
	})
	if err != nil {
		return nil, err
	}
	resp.Incident = shown(inc)
	return resp, nil
}

// tell publishes a fact that was decided. It must not fail the decision: what is not told now, the republisher tells.
func (a *API) tell(ctx context.Context, fact string, inc *incident.Incident) {
	if err := a.events.Republish(ctx, fact, inc); err != nil {
		a.Log.Warn().Err(err).Str("incident", inc.ID).Str("fact", fact).Msg("decided, but not told to others yet")
	}
}
