package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"candor/pkg/plan"
	"candor/pkg/roster"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
	"candor/services/api"
)

func declareCommand(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "declare ID", GroupID: groupTell, Args: id,
		Short: "Hand over playbook, facts and customers: a draft",
		Long: `Checks playbook and facts, uploads the customer file, and makes a draft of the
incident ID, a name of your choosing: lower-case letters, digits and hyphens.
Then it shows the plan and its hash.

It tells nobody. A draft becomes a declared incident when a second person runs
candor approve, naming that very hash. Declaring the same again changes nothing;
declaring something else under the same ID is a new revision as long as nobody
has approved, and voids what an approver has seen so far.

The customer file is sealed as it is read, under a key of this incident alone.
It is uploaded once: the same file again is recognised.

Ends with exit code 7 if there are mistakes, in which case no draft is made, or
blockers, in which case the draft is there and nobody can approve it.`,
		Example: `  candor declare breach-2026-11 --roster customers.csv
  candor declare breach-2026-11 --roster export.csv.gz --playbook playbook.yaml --facts facts.yaml \
      --map email="E-mail Address" --map-data tarjeta=payment_card`,
	}
	from := fileFlags(cmd)
	how := readingFlags(cmd)
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if from.roster == "" {
			return usageError(cmd, "for whom? name the customer file with --roster")
		}
		if err := topology.ValidIncident(args[0]); err != nil {
			return usageError(cmd, "%v", err)
		}
		resp, err := c.declare(cmd, args[0], from, how, to)
		if err != nil {
			return err
		}
		if asJSON {
			err = c.proto(resp)
		} else {
			err = c.declared(resp, from.roster)
		}
		if err == nil && len(resp.GetIncident().GetPlan().GetBlockers()) > 0 {
			return &failure{code: exitMistakes}
		}
		return err
	}
	return cmd
}

func (c *cli) declare(cmd *cobra.Command, name string, from *files, how *reading, to *remote) (*candorv1.DeclareResponse, error) {
	ctx := cmd.Context()
	papers, err := from.read()
	if err != nil {
		return nil, err
	}
	if err := c.compile(ctx, papers); err != nil {
		return nil, err
	}
	how.defaults(papers.playbook)
	if _, err := how.options(cmd); err != nil {
		return nil, err
	}
	s, err := c.connect(cmd, to)
	if err != nil {
		return nil, err
	}
	file, err := c.openRoster(from.roster)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	up, err := upload(ctx, s, name, file, how.query(from.roster))
	file.Close()
	if err != nil {
		return nil, err
	}
	resp, err := s.Declare(ctx, connect.NewRequest(&candorv1.DeclareRequest{Declaration: &candorv1.Declaration{
		Incident: name, Playbook: string(papers.playbookText), Facts: string(papers.factText), RosterDigest: up.Digest,
	}}))
	if err != nil {
		return nil, err
	}
	return resp.Msg, nil
}

// refusedUpload is the answer to an upload that failed.
type refusedUpload struct {
	Code    string         `json:"code"`
	Message string         `json:"message"`
	Report  *roster.Report `json:"report"`
}

// upload hands the roster over as it is read.
func upload(ctx context.Context, s *client, name string, file *rosterFile, query url.Values) (*api.Upload, error) {
	up := &api.Upload{}
	return up, s.put(ctx, name, "roster", file, query, up)
}

// put hands a customer file over as it is read, and reads the answer.
func (s *client) put(ctx context.Context, name, what string, file *rosterFile, query url.Values, answer any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, s.url+api.RosterPrefix+url.PathEscape(name)+"/"+what+"?"+query.Encode(), io.NopCloser(file))
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	req.ContentLength = file.size
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Expect", "100-continue") // whoever may not upload is told before the file has travelled
	resp, err := s.http.Do(req)
	if err != nil {
		return s.unreachable(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
			return fmt.Errorf("answer to the upload: %w", err)
		}
		return nil
	}
	refused := refusedUpload{}
	if err := json.NewDecoder(resp.Body).Decode(&refused); err != nil || refused.Message == "" {
		return &failure{
			code: exitFailed, what: fmt.Sprintf("%s answered the upload with %s", s.url, resp.Status),
			remedy: "is that a candor serve, and does a proxy before it let files of this size through?",
		}
	}
	if refused.Report != nil && len(refused.Report.Blockers) > 0 {
		return rosterBlocked(refused.Report)
	}
	if refused.Code == connect.CodeInvalidArgument.String() {
		return &failure{code: exitMistakes, what: "the customer file: " + strings.TrimPrefix(refused.Message, "read roster: "), remedy: "candor roster check shows what is made of it"}
	}
	return s.explain(uploadError(refused))
}

// uploadError is the answer as if it had come by Connect.
func uploadError(r refusedUpload) error {
	var code connect.Code
	if err := code.UnmarshalText([]byte(r.Code)); err != nil {
		code = connect.CodeUnknown
	}
	return connect.NewWireError(code, errors.New(r.Message))
}

// rosterBlocked says what must be mapped or mended before the file can be declared.
func rosterBlocked(r *roster.Report) error {
	what := "the customer file cannot be declared as it is"
	for _, b := range r.Blockers {
		what += "\n- " + b.Text
		for _, w := range b.Words {
			what += fmt.Sprintf("\n    %q in %s", w.Word, plural(uint64(w.Count), "row", "rows")) //nolint:gosec // a count
		}
		what += "\n  " + b.Remedy
	}
	return &failure{code: exitMistakes, what: what, remedy: "candor roster check shows the whole file; nothing of it was kept"}
}

// declared says what was made, and that nobody is told yet.
func (c *cli) declared(resp *candorv1.DeclareResponse, file string) error {
	inc := resp.GetIncident()
	if err := plan.Text(c.out, inc.GetPlan(), c.zone); err != nil {
		return err
	}
	c.out.line()
	if n := inc.GetPlan().GetPeople().GetRejected(); n > 0 {
		c.out.printf("To see what is wrong with %s:\n  candor roster check %s --rejects rejects.csv\n\n", plural(n, "rejected row", "rejected rows"), file)
	}
	switch {
	case resp.GetKnown():
		c.out.printf("This is revision %d of %s already (%s): nothing changed.\n", inc.GetRevision(), inc.GetId(), candorv1.Word(inc.GetState()))
	default:
		c.out.printf("%s of %s is made. Nobody is told before a second person approves it.\n",
			c.out.paint(bold, fmt.Sprintf("Draft %d", inc.GetRevision())), inc.GetId())
	}
	switch {
	case inc.GetState() != candorv1.IncidentState_INCIDENT_STATE_DRAFT:
	case len(inc.GetPlan().GetBlockers()) > 0:
		c.out.line("First mend what is listed above, and declare again.")
	default:
		c.out.printf("What next: a second person runs\n  candor approve %s\n", inc.GetId())
	}
	return nil
}
