package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"

	"candor/pkg/bus"
	"candor/pkg/finder"
	"candor/pkg/incident"
	"candor/pkg/plan"
	"candor/pkg/token"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

const rowsProcedure = "/roster/Add"

// AddedRows is the answer to rows that are to be added to an incident.
type AddedRows struct {
	Upload
	// OnFile counts the rows whose customer is on file already.
	OnFile int `json:"on_file"`
	// Addition is the candor.v1.AdditionStatus that a second person approves; there is none if everybody is on file.
	Addition json.RawMessage `json:"addition,omitempty"`
}

func (a *API) uploadRows(w http.ResponseWriter, r *http.Request) {
	up, err := a.addRows(r)
	if up == nil {
		up = &AddedRows{}
	}
	a.answerUpload(w, rowsProcedure, up, up.Report, err)
}

// addRows seals the customers of a file who are not on file on pages of their own, and drafts the first notice for them.
//
// A crash leaves pages, or pages and a manifest, that no addition names: nobody can approve them, and the next rows that are
// added to the incident clear them away. After the draft the addition is there, whether or not the answer arrived.
func (a *API) addRows(r *http.Request) (*AddedRows, error) {
	ctx, err := a.authenticate(r.Context(), bearerOf(r.Header), token.Amend)
	if err != nil {
		return nil, err
	}
	id := r.PathValue("incident")
	opts, err := uploadOptions(r)
	if err := errors.Join(topology.ValidIncident(id), err); err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	if err := a.begin(id); err != nil {
		return nil, err
	}
	defer a.end(id)
	inc, err := a.load(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := addable(inc); err != nil {
		return nil, err
	}
	sh, err := a.store.shelf(ctx, id)
	if err == nil {
		err = a.clearRows(ctx, inc, sh)
	}
	if err != nil {
		return nil, err
	}
	keys, err := a.Vault.Incident(id)
	if err != nil {
		return nil, err
	}
	set, err := a.texts.Plan(inc)
	if err != nil {
		return nil, err
	}
	opts.FirstPage, opts.Key = sh.next(), keys.CodeKey()
	opts.DefaultCountry = cmp.Or(opts.DefaultCountry, set.Playbook.Country)
	opts.DefaultZone = cmp.Or(opts.DefaultZone, set.Playbook.TimeZone)
	opts.DefaultLanguage = cmp.Or(opts.DefaultLanguage, set.Playbook.Languages.Default)
	known := rosterOf(inc)
	known.Manifests = append(known.Manifests, waitingRows(inc)...)
	if opts.OnFile, err = a.finder.OnFile(ctx, known); err != nil {
		return nil, err
	}
	report, sums, err := a.importRows(ctx, id, r.Body, opts, keys)
	up := &AddedRows{Upload: Upload{Incident: id, Report: report}}
	if err != nil {
		a.forgetPages(ctx, id, sums)
		return up, err
	}
	up.Digest, up.OnFile = report.Digest, report.OnFile
	if wave := rowsWith(inc, report.Digest); wave != "" {
		up.Known = true
		a.forgetPages(ctx, id, sums) // of rows that have no reference twice
		return up, up.show(inc, wave)
	}
	if report.Customers == 0 {
		return up, nil
	}
	return up, a.draftRows(ctx, inc, up, withSums(report.Manifest(), sums))
}

// addable refuses rows for an incident that takes none.
func addable(inc *incident.Incident) error {
	switch inc.State {
	case candorv1.IncidentState_INCIDENT_STATE_DRAFT, candorv1.IncidentState_INCIDENT_STATE_REJECTED:
		return refuse(connect.CodeFailedPrecondition, "incident %s is not approved yet: upload its roster again with these rows in it, and declare it", inc.ID)
	}
	return running(inc, "added to")
}

// waitingRows are the manifests of rows that nobody has decided about.
func waitingRows(inc *incident.Incident) (subjects []string) {
	for _, add := range inc.Additions {
		if add.GetAddition().GetKind() == incident.KindRoster && waits(add) {
			subjects = append(subjects, add.GetAddition().GetManifest())
		}
	}
	return subjects
}

// rowsWith returns the wave of the rows that the same file has added already, or will add if they are approved.
func rowsWith(inc *incident.Incident, digest string) string {
	for wave, add := range inc.Additions {
		if r := add.GetAddition(); r.GetKind() == incident.KindRoster && r.GetRosterDigest() == digest && add.Rejected == "" {
			return wave
		}
	}
	return ""
}

// draftRows plans for rows that are sealed and stored, and drafts their addition. What nobody will approve is purged again.
func (a *API) draftRows(ctx context.Context, inc *incident.Incident, up *AddedRows, m *candorv1.RosterManifest) error {
	prefix := incident.FirstWave + "-a"
	subject := rowsSubject(inc.ID, inc.NextAddition(prefix), m.GetDigest())
	add, err := a.planRows(ctx, inc, subject, m)
	if err == nil {
		err = a.store.putManifest(ctx, subject, m)
	}
	var drafted *incident.Incident
	if err == nil {
		drafted, err = a.change(ctx, inc.ID, func(inc *incident.Incident) (*candorv1.BreachEvent, error) {
			if err := addable(inc); err != nil {
				return nil, err
			}
			add.Wave = inc.NextAddition(prefix)
			add.Plan.Wave = add.GetWave()
			return drafting(inc, add, "add the rows in several files")
		})
	}
	if err != nil {
		if !errors.Is(err, bus.ErrUnknownOutcome) { // after which the addition may be there, and needs the pages
			a.forgetRows(ctx, inc.ID, subject, m)
		}
		return err
	}
	a.metrics.customers.Add(float64(m.GetCustomers()))
	a.Log.Info().Str("incident", inc.ID).Str("wave", add.GetWave()).Uint64("customers", m.GetCustomers()).Int("on_file", up.OnFile).
		Int("pages", len(m.GetPages())).Msg("rows drafted")
	return up.show(drafted, add.GetWave())
}

// planRows says what the first notice comes to for those who are added.
func (a *API) planRows(ctx context.Context, inc *incident.Incident, subject string, m *candorv1.RosterManifest) (*candorv1.Addition, error) {
	in, err := a.planInput(inc.Draft.GetDeclaration())
	if err != nil {
		return nil, err
	}
	p, err := plan.Make(ctx, in, m, a.loads(inc.ID, m))
	if err != nil {
		return nil, fmt.Errorf("plan the rows that are added to incident %s: %w", inc.ID, err)
	}
	if blockers := p.GetBlockers(); len(blockers) > 0 {
		return nil, refuse(connect.CodeFailedPrecondition, "the rows cannot be added to incident %s: %s", inc.ID, findingWords(blockers))
	}
	add := &candorv1.Addition{
		Kind: incident.KindRoster, Base: incident.FirstWave, Customers: m.GetCustomers(),
		Manifest: subject, RosterDigest: m.GetDigest(), Added: p.GetPeople(), Plan: p.GetWaves()[0],
	}
	for ch := range in.Playbook.Waves[incident.FirstWave].Each {
		add.Channels = append(add.Channels, ch)
	}
	return add, nil
}

func findingWords(findings []*candorv1.Finding) string {
	all := make([]string, len(findings))
	for i, f := range findings {
		all[i] = f.GetMessage() + " (" + f.GetRemedy() + ")"
	}
	return strings.Join(all, "; ")
}

func (u *AddedRows) show(inc *incident.Incident, wave string) (err error) {
	u.Addition, err = protojson.Marshal(additionStatus(inc, wave))
	return err
}

// clearRows purges rows that no addition names: those of one that was rejected, and of one that was never drafted.
func (a *API) clearRows(ctx context.Context, inc *incident.Incident, sh *shelf) error {
	for subject, m := range sh.rows {
		named := false
		for _, add := range inc.Additions {
			named = named || add.GetAddition().GetManifest() == subject && add.Rejected == ""
		}
		if named {
			continue
		}
		if err := a.store.purgeRows(ctx, inc.ID, subject, m); err != nil {
			return fmt.Errorf("clear away rows that were not added: %w", err)
		}
	}
	if _, err := a.store.purge(ctx, inc.ID, sh.orphans()); err != nil {
		return fmt.Errorf("clear away rows that were not added: %w", err)
	}
	return nil
}

// forgetRows purges rows that were stored in vain; what it cannot purge now, the next rows do.
func (a *API) forgetRows(ctx context.Context, id, subject string, m *candorv1.RosterManifest) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), forgetTimeout)
	defer cancel()
	if err := a.store.purgeRows(ctx, id, subject, m); err != nil {
		a.Log.Warn().Err(err).Str("incident", id).Msg("rows that are not added are left for the next ones to clear away")
	}
}

// rejectedRows purges the pages of rows that were rejected.
func (a *API) rejectedRows(ctx context.Context, id string, add *candorv1.Addition) {
	m, err := a.pages.Manifest(ctx, add.GetManifest())
	if errors.Is(err, bus.ErrNotFound) {
		return // they were purged before
	}
	if err != nil {
		a.Log.Warn().Err(err).Str("incident", id).Str("wave", add.GetWave()).Msg("rows that were rejected are left for the next ones to clear away")
		return
	}
	a.forgetRows(ctx, id, add.GetManifest(), m)
}

// stillMissing refuses rows whose pages are gone, or whose customers came onto the file in another way since they were drafted.
func (a *API) stillMissing(ctx context.Context, inc *incident.Incident, add *candorv1.Addition) error {
	m, err := a.pages.Manifest(ctx, add.GetManifest())
	if errors.Is(err, bus.ErrNotFound) {
		return refuse(connect.CodeFailedPrecondition, "the rows of %s of incident %s are gone: reject it, and add them again with candor roster add", add.GetWave(), inc.ID)
	}
	if err != nil {
		return err
	}
	gone, err := a.store.missing(ctx, inc.ID, m)
	if err != nil {
		return err
	}
	if len(gone) > 0 {
		return refuse(connect.CodeFailedPrecondition, "%d pages of %s of incident %s are gone: reject it, and add its rows again with candor roster add", len(gone), add.GetWave(), inc.ID)
	}
	onFile, err := a.finder.OnFile(ctx, rosterOf(inc))
	if err != nil {
		return err
	}
	n, err := a.countOnFile(ctx, inc.ID, m, onFile)
	if err != nil {
		return err
	}
	if n > 0 {
		return refuse(connect.CodeFailedPrecondition, "%d of the %d customers of %s came onto the file of incident %s since it was drafted: reject it, and add the rows again with candor roster add",
			n, add.GetCustomers(), add.GetWave(), inc.ID)
	}
	return nil
}

func (a *API) countOnFile(ctx context.Context, id string, m *candorv1.RosterManifest, onFile *finder.OnFile) (n int, err error) {
	for _, info := range m.GetPages() {
		page, err := a.pages.OpenPage(ctx, id, info.GetNumber(), info.GetSealedSha256())
		if err != nil {
			return n, err
		}
		for i := range page.Customers {
			known, err := onFile.Ref(ctx, page.Customers[i].Ref)
			if err != nil {
				return n, err
			}
			if known {
				n++
			}
		}
	}
	return n, nil
}
