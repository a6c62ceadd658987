package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/roster"
	"candor/pkg/token"
	"candor/pkg/topology"
	"candor/pkg/vault"
	candorv1 "candor/proto/candor/v1"
)

const uploadProcedure = "/roster/Upload"

// Upload is the answer to a roster's upload.
type Upload struct {
	Incident string `json:"incident"`
	// Digest is what a declaration names the roster by.
	Digest string `json:"digest"`
	// Known is true if this very roster was there already.
	Known  bool           `json:"known"`
	Report *roster.Report `json:"report"`
}

// uploadError is the answer to an upload that failed, in the form that Connect gives its errors.
type uploadError struct {
	Code    string         `json:"code"`
	Message string         `json:"message"`
	Report  *roster.Report `json:"report,omitempty"` // of a file whose words must be mapped first
}

func (a *API) uploadRoster(w http.ResponseWriter, r *http.Request) {
	up, err := a.upload(r)
	if up == nil {
		up = &Upload{}
	}
	a.answerUpload(w, uploadProcedure, up, up.Report, err)
}

// answerUpload answers with what was made of a file, or says why it was not taken.
func (a *API) answerUpload(w http.ResponseWriter, procedure string, up any, report *roster.Report, err error) {
	a.metrics.count(procedure, err)
	w.Header().Set("Content-Type", "application/json")
	if err == nil {
		_ = json.NewEncoder(w).Encode(up) // the caller has gone: its next try finds the roster there
		return
	}
	err = a.asConnect(procedure, err)
	var c *connect.Error
	errors.As(err, &c)
	w.WriteHeader(httpStatus(c.Code()))
	_ = json.NewEncoder(w).Encode(uploadError{Code: c.Code().String(), Message: c.Message(), Report: report}) // as above
}

// httpStatus is the status that Connect gives a code.
func httpStatus(c connect.Code) int {
	switch c {
	case connect.CodeInvalidArgument, connect.CodeFailedPrecondition, connect.CodeOutOfRange:
		return http.StatusBadRequest
	case connect.CodeUnauthenticated:
		return http.StatusUnauthorized
	case connect.CodePermissionDenied:
		return http.StatusForbidden
	case connect.CodeNotFound:
		return http.StatusNotFound
	case connect.CodeAlreadyExists, connect.CodeAborted:
		return http.StatusConflict
	case connect.CodeResourceExhausted:
		return http.StatusTooManyRequests
	case connect.CodeUnavailable:
		return http.StatusServiceUnavailable
	case connect.CodeDeadlineExceeded:
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}

// upload reads a file as it comes, seals its pages and stores them; nothing of it touches the disk in the clear.
//
// A crash before the manifest leaves sealed pages that no manifest covers: nobody can declare them, and the next upload
// for the incident purges them. After the manifest the roster is there, whether or not the answer arrived.
func (a *API) upload(r *http.Request) (*Upload, error) {
	ctx, err := a.authenticate(r.Context(), bearerOf(r.Header), token.Upload)
	if err != nil {
		return nil, err
	}
	id := r.PathValue("incident")
	if err := topology.ValidIncident(id); err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	opts, err := uploadOptions(r)
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	if err := a.begin(id); err != nil {
		return nil, err
	}
	defer a.end(id)
	if err := a.mayUpload(ctx, id); err != nil {
		return nil, err
	}
	sh, err := a.store.shelf(ctx, id)
	if err != nil {
		return nil, err
	}
	opts.FirstPage = sh.next()
	if _, err := a.store.purge(ctx, id, sh.orphans()); err != nil {
		return nil, fmt.Errorf("clear away an upload that did not come to its end: %w", err)
	}
	keys, err := a.keys(id)
	if err != nil {
		return nil, err
	}
	opts.Key = keys.CodeKey()
	return a.receive(ctx, id, r, opts, keys, sh)
}

// receive imports the body. What it stored without a manifest it purges again.
func (a *API) receive(ctx context.Context, id string, r *http.Request, opts roster.Options, keys *vault.Keys, sh *shelf) (*Upload, error) {
	start := a.Clock.Now()
	report, sums, err := a.importRows(ctx, id, r.Body, opts, keys)
	up := &Upload{Incident: id, Report: report}
	if err == nil {
		up.Digest = report.Digest
		up.Known, err = a.publish(ctx, id, sh.manifests[report.Digest], withSums(report.Manifest(), sums))
	}
	switch {
	case err == nil && !up.Known:
		a.metrics.customers.Add(float64(report.Customers))
		a.Log.Info().Str("incident", id).Int("customers", report.Customers).Int("rejected", report.Rejected).
			Int("pages", len(report.Pages)).Dur("took", a.Clock.Now().Sub(start)).Msg("roster stored")
	case !errors.Is(err, bus.ErrUnknownOutcome): // after which the manifest may be there, and needs the pages
		a.forgetPages(ctx, id, sums)
	}
	return up, err
}

// importRows seals and stores the customers of a file, and returns the hashes of the sealed pages, also with an error.
func (a *API) importRows(ctx context.Context, id string, file io.Reader, opts roster.Options, keys *vault.Keys) (*roster.Report, map[uint32][]byte, error) {
	s := newSealer(ctx, a.Bus, keys, id)
	report, err := roster.Import(ctx, file, opts, s)
	sums, serr := s.Close()
	switch {
	case serr != nil:
		err = serr // the import stopped because the pages could not be stored
	case err != nil && !ours(err):
		err = connect.NewError(connect.CodeInvalidArgument, err)
	case err == nil:
		err = blocked(report)
	}
	return report, sums, err
}

// publish puts the manifest, unless this very roster is there already and whole.
func (a *API) publish(ctx context.Context, id string, there, m *candorv1.RosterManifest) (known bool, err error) {
	if there != nil {
		gone, err := a.store.missing(ctx, id, there)
		if err != nil || len(gone) == 0 {
			return err == nil, err
		}
		// Pages were lost: the same customers are put under the same name again, on new pages.
		if _, err := a.Bus.Purge(ctx, topology.StreamRoster, manifestSubject(id, there.GetDigest())); err != nil {
			return false, err
		}
	}
	return false, a.store.putManifest(ctx, manifestSubject(id, m.GetDigest()), m)
}

// forgetPages purges what an upload stored in vain; what it cannot purge now, the next upload does.
func (a *API) forgetPages(ctx context.Context, id string, sums map[uint32][]byte) {
	pages := make([]uint32, 0, len(sums))
	for page := range sums {
		pages = append(pages, page)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), forgetTimeout)
	defer cancel()
	if _, err := a.store.purge(ctx, id, pages); err != nil {
		a.Log.Warn().Err(err).Str("incident", id).Msg("pages of an upload in vain are left for the next one to clear away")
	}
}

const forgetTimeout = time.Minute

// withSums makes a manifest name the sealed pages.
func withSums(m *candorv1.RosterManifest, sums map[uint32][]byte) *candorv1.RosterManifest {
	for _, p := range m.GetPages() {
		p.SealedSha256 = sums[p.GetNumber()]
	}
	return m
}

// blocked refuses a file that holds words which decide who is told what and which nobody mapped.
func blocked(r *roster.Report) error {
	if len(r.Blockers) == 0 {
		return nil
	}
	var all []string
	for _, b := range r.Blockers {
		var words []string
		for _, w := range b.Words {
			words = append(words, fmt.Sprintf("%q", w.Word))
		}
		all = append(all, fmt.Sprintf("%s %s: %s", b.Text, strings.Join(words, ", "), b.Remedy))
	}
	return refuse(connect.CodeFailedPrecondition, "the file cannot be used yet: %s", strings.Join(all, "; "))
}

// begin lets one upload of an incident run at a time. Two processes may each let one in: of those, the write-once pages
// refuse one, and an approval looks whether all pages are there.
func (a *API) begin(id string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.uploading[id] {
		return refuse(connect.CodeAborted, "a roster of incident %s is being uploaded at this moment: wait until it is there", id)
	}
	a.uploading[id] = true
	return nil
}

func (a *API) end(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.uploading, id)
}

// mayUpload refuses another roster for people whom two persons have approved already.
func (a *API) mayUpload(ctx context.Context, id string) error {
	inc, err := a.events.Load(ctx, id)
	if err != nil && !errors.Is(err, incident.ErrUnknown) {
		return fmt.Errorf("read incident %s: %w", id, err)
	}
	if revisable(inc) != nil {
		return refuse(connect.CodeFailedPrecondition, "incident %s is %s: its roster is frozen; add those who are missing with candor roster add, or, if it has ended, declare them under another id", id, candorv1.Word(inc.State))
	}
	return nil
}

func (a *API) keys(id string) (*vault.Keys, error) {
	if err := a.Vault.Create(id); err != nil {
		return nil, err
	}
	return a.Vault.Incident(id)
}
