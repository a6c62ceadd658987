package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/playbook"
	"candor/pkg/team"
	"candor/pkg/topology"
	"candor/pkg/vault"
	candorv1 "candor/proto/candor/v1"
)

// teamService is the TeamService of the contract.
type teamService struct{ api *API }

func (s teamService) ListAlerts(ctx context.Context, q *connect.Request[candorv1.ListAlertsRequest]) (*connect.Response[candorv1.ListAlertsResponse], error) {
	return answer(ctx, q, s.api.listAlerts)
}

func (s teamService) Acknowledge(ctx context.Context, q *connect.Request[candorv1.AcknowledgeRequest]) (*connect.Response[candorv1.AcknowledgeResponse], error) {
	return answer(ctx, q, s.api.acknowledge)
}

// listAlerts lists what still needs somebody, or everything, oldest first within each incident.
func (a *API) listAlerts(ctx context.Context, q *candorv1.ListAlertsRequest) (*candorv1.ListAlertsResponse, error) {
	ids := []string{q.GetIncident()}
	if q.GetIncident() == "" {
		subjects, err := a.Bus.CountSubjects(ctx, topology.StreamTeam, topology.TeamEvents("*"))
		if err != nil {
			return nil, fmt.Errorf("list alerts: %w", err)
		}
		ids = ids[:0]
		for _, subject := range slices.Sorted(maps.Keys(subjects)) {
			if id, ok := topology.ParseTeamEvents(subject); ok {
				ids = append(ids, id)
			}
		}
	} else if _, err := a.load(ctx, q.GetIncident()); err != nil {
		return nil, err
	}
	resp := &candorv1.ListAlertsResponse{}
	log := team.NewLog(a.Bus, a.Clock.Now)
	for _, id := range ids {
		board, err := log.Load(ctx, id)
		if err != nil {
			return nil, err
		}
		for _, alert := range board.Alerts() {
			if q.GetAll() || alert.Open() {
				resp.Alerts = append(resp.Alerts, alert.Alert)
			}
		}
	}
	return resp, nil
}

// acknowledge ends the reminders of some alerts, or of all that are open. Whoever acknowledged first stays the one who did.
//
// A crash leaves some acknowledged; asking again goes on with the rest.
func (a *API) acknowledge(ctx context.Context, q *candorv1.AcknowledgeRequest) (*candorv1.AcknowledgeResponse, error) {
	inc, err := a.load(ctx, q.GetIncident())
	if err != nil {
		return nil, err
	}
	log := team.NewLog(a.Bus, a.Clock.Now)
	board, err := log.Load(ctx, inc.ID)
	if err != nil {
		return nil, err
	}
	ids := q.GetAlerts()
	if len(ids) == 0 {
		for _, alert := range board.Alerts() {
			if alert.Open() {
				ids = append(ids, alert.GetId())
			}
		}
	}
	for _, id := range ids {
		if board.Alert(id) == nil {
			return nil, refuse(connect.CodeNotFound, "incident %s has no alert %s: candor alerts %s lists them", inc.ID, id, inc.ID)
		}
	}
	who := caller(ctx)
	resp := &candorv1.AcknowledgeResponse{}
	for _, id := range ids {
		err := log.Decide(ctx, board, func() *candorv1.TeamEvent {
			if board.Alert(id).GetAcknowledgedBy() != "" {
				return nil
			}
			return &candorv1.TeamEvent{Event: &candorv1.TeamEvent_Acknowledged{
				Acknowledged: &candorv1.AlertAcknowledged{Alert: id, Actor: who.Token, Person: who.Person},
			}}
		})
		if err != nil {
			return nil, fmt.Errorf("record the acknowledgement of alert %s: %w", id, err)
		}
		resp.Alerts = append(resp.Alerts, board.Alert(id).Alert)
	}
	return resp, nil
}

// redact returns the declaration with a mark in place of each address of the team, and what the marks stand for.
func (a *API) redact(d *candorv1.Declaration) (*candorv1.Declaration, map[string]string, error) {
	keys, noKey := a.Vault.Incident(d.GetIncident())
	var key []byte
	if noKey == nil {
		key = keys.TeamKey()
	}
	text, addresses, err := playbook.Redact("playbook", []byte(d.GetPlaybook()), func(address string) string { return team.Mark(key, address) })
	if err != nil {
		_, ferr := playbook.ParseFacts("facts", []byte(d.GetFacts()))
		return nil, nil, connect.NewError(connect.CodeInvalidArgument, errors.Join(err, ferr))
	}
	facts := strings.ToLower(d.GetFacts())
	for _, address := range addresses {
		if strings.Contains(facts, strings.ToLower(address)) {
			return nil, nil, refuse(connect.CodeInvalidArgument, "the facts hold an address or secret of the response team: delete it there, since only the playbook's team is sealed")
		}
	}
	switch {
	case len(addresses) == 0:
		return d, nil, nil
	case errors.Is(noKey, vault.ErrNoKey):
		return nil, nil, noRoster(d) // the upload makes it
	case noKey != nil:
		return nil, nil, noKey
	}
	redacted := proto.CloneOf(d)
	redacted.Playbook = string(text)
	return redacted, addresses, nil
}

// sealTeam stores the addresses behind all marks of a team, and returns the subject on which they lie; empty for none.
//
// The same addresses have the same subject, so doing it again after a crash or a lost answer changes nothing.
func (a *API) sealTeam(ctx context.Context, id string, t *playbook.Team, fresh map[string]string) (string, error) {
	all := &candorv1.TeamAddresses{Addresses: map[string]string{}}
	var copied []string // marks that came without their address: somebody declares a playbook that was stored
	for _, r := range team.Recipients(t) {
		for _, mark := range []string{r.Mark, r.Secret} {
			if address, ok := fresh[mark]; ok {
				all.Addresses[mark] = address
			} else if mark != "" {
				copied = append(copied, mark)
			}
		}
	}
	if err := a.recall(ctx, id, all, copied); err != nil || len(all.GetAddresses()) == 0 {
		return "", err
	}
	subject := topology.TeamAddresses(id, team.Digest(all))
	plain, err := proto.Marshal(all)
	if err != nil {
		return "", fmt.Errorf("encode the team's addresses: %w", err)
	}
	keys, err := a.Vault.Incident(id)
	if err != nil {
		return "", err
	}
	sealed, err := keys.Seal(subject, plain)
	if err != nil {
		return "", err
	}
	_, err = a.Bus.Append(ctx, topology.StreamRoster, bus.Message{Subject: subject, Data: sealed, Expect: bus.Seq(0)})
	if err == nil {
		return subject, nil
	}
	// It lies there already, or the answer was lost.
	there, rerr := a.openTeam(ctx, keys, subject)
	switch {
	case errors.Is(rerr, bus.ErrNotFound):
		return "", fmt.Errorf("store the team's addresses: %w", err)
	case rerr != nil:
		return "", rerr
	case !proto.Equal(there, all):
		return "", fmt.Errorf("%s holds other addresses than its name says", subject)
	}
	return subject, nil
}

// recall adds the addresses behind marks that the incident knows from an earlier declaration.
func (a *API) recall(ctx context.Context, id string, all *candorv1.TeamAddresses, marks []string) error {
	if len(marks) == 0 {
		return nil
	}
	keys, err := a.Vault.Incident(id)
	if err != nil && !errors.Is(err, vault.ErrNoKey) {
		return err
	}
	known := map[string]string{}
	if err == nil {
		subjects, err := a.Bus.CountSubjects(ctx, topology.StreamRoster, topology.Pages(id))
		if err != nil {
			return fmt.Errorf("list the team's addresses: %w", err)
		}
		for subject := range subjects {
			if !topology.IsTeamAddresses(subject) {
				continue
			}
			t, err := a.openTeam(ctx, keys, subject)
			if err != nil {
				return err
			}
			maps.Copy(known, t.GetAddresses())
		}
	}
	var strange []string
	for _, mark := range marks {
		if address, ok := known[mark]; ok {
			all.Addresses[mark] = address
		} else if !slices.Contains(strange, mark) {
			strange = append(strange, mark)
		}
	}
	if len(strange) > 0 {
		return refuse(connect.CodeInvalidArgument, "incident %s has no address behind %s: write the address itself into the playbook's team; a mark stands for one only where it was made",
			id, strings.Join(strange, ", "))
	}
	return nil
}

func (a *API) openTeam(ctx context.Context, keys *vault.Keys, subject string) (*candorv1.TeamAddresses, error) {
	m, err := a.Bus.Last(ctx, topology.StreamRoster, subject)
	if err != nil {
		return nil, err
	}
	plain, err := keys.Open(subject, m.Data)
	if err != nil {
		return nil, err
	}
	t := &candorv1.TeamAddresses{}
	if proto.Unmarshal(plain, t) != nil { // its error could quote what is sealed
		return nil, fmt.Errorf("%s is damaged", subject)
	}
	return t, nil
}
