package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"candor/pkg/incident"
	"candor/pkg/plan"
	"candor/pkg/playbook"
	"candor/pkg/roster"
	"candor/pkg/team"
	candorv1 "candor/proto/candor/v1"
)

// mostPreviews is how many messages the api renders at once.
const mostPreviews = 50

// files are what a declaration is made of.
type files struct{ playbook, facts, roster string }

func fileFlags(cmd *cobra.Command) *files {
	f := &files{}
	cmd.Flags().StringVar(&f.playbook, "playbook", "playbook.yaml", "`FILE` with the texts, limits, quiet hours and prices")
	cmd.Flags().StringVar(&f.facts, "facts", "facts.yaml", "`FILE` with the facts of this breach")
	cmd.Flags().StringVar(&f.roster, "roster", "", "`FILE` with the affected customers")
	return f
}

// papers are a playbook and facts without a mistake.
type papers struct {
	playbook               *playbook.Playbook
	facts                  *playbook.Facts
	playbookText, factText []byte
}

// read reads both files, and returns the mistakes of both.
func (f *files) read() (*papers, error) {
	p := &papers{}
	var errs [2]error
	var err error
	if p.playbookText, err = readText(f.playbook, "playbook"); err != nil {
		return nil, err
	}
	if p.factText, err = readText(f.facts, "facts"); err != nil {
		return nil, err
	}
	if p.playbook, errs[0] = playbook.Parse(f.playbook, p.playbookText); errs[0] == nil {
		// The api seals the team's addresses under a key of the incident's; whether it can is seen without one.
		_, _, errs[0] = playbook.Redact(f.playbook, p.playbookText, func(address string) string { return team.Mark(nil, address) })
	}
	p.facts, errs[1] = playbook.ParseFacts(f.facts, p.factText)
	return p, errors.Join(errs[:]...)
}

func (c *cli) planInput(p *papers, d *candorv1.Declaration) plan.Input {
	return plan.Input{Incident: d.GetIncident(), Hash: incident.Hash(d), Playbook: p.playbook, Facts: p.facts, Now: c.now()}
}

// compile finds the mistakes that show only when a text is put together with the facts.
func (c *cli) compile(ctx context.Context, p *papers) error {
	maker, err := plan.Start(ctx, c.planInput(p, &candorv1.Declaration{}))
	if err != nil {
		return err
	}
	_, err = maker.Plan(&candorv1.RosterManifest{}, nil)
	return err
}

func planCommand(c *cli) *cobra.Command {
	var asJSON bool
	var preview int
	cmd := &cobra.Command{
		Use: "plan [ID]", GroupID: groupPrepare, Args: cobra.MaximumNArgs(1),
		Short: "Show who would be told what, when, and at what price",
		Long: `Says, before anything is sent, how many customers each channel reaches, why it
does not reach the others, how long the texts are, what they cost, and when the
first and the last customer will have been told, quiet hours included; what must
be mended before anybody can approve, and what is good to know.

With --roster it plans from files, on this machine alone. With the ID of an
incident it shows the plan that the server made of what was declared; with both,
it shows what declaring these files under that ID would come to, with the hash
that an approval of it would name.

It never sends or stores anything. Messages shown by --preview are masked.

Ends with exit code 7 if the plan has blockers or a file has mistakes.`,
		Example: `  candor plan --roster customers.csv
  candor plan --roster customers.csv --playbook playbook.yaml --facts facts.yaml --preview 3
  candor plan breach-2026-11 --json`,
	}
	from := fileFlags(cmd)
	how := readingFlags(cmd)
	cmd.Flags().IntVar(&preview, "preview", 0, "show `N` messages as customers would read them, masked")
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if preview < 0 || preview > mostPreviews {
			return usageError(cmd, "--preview %d: 0 to %d messages", preview, mostPreviews)
		}
		name := ""
		if len(args) == 1 {
			name = args[0]
		}
		var p *candorv1.Plan
		var messages []*candorv1.PreviewMessage
		var err error
		switch {
		case from.roster != "":
			p, messages, err = c.planFiles(cmd, name, from, how, preview)
		case name != "":
			p, messages, err = c.planIncident(cmd, name, to, preview)
		default:
			return usageError(cmd, "plan for whom? name the customer file with --roster, or the id of an incident")
		}
		if err != nil {
			return err
		}
		return c.showPlan(p, messages, asJSON)
	}
	return cmd
}

func (c *cli) showPlan(p *candorv1.Plan, messages []*candorv1.PreviewMessage, asJSON bool) error {
	var err error
	if asJSON {
		err = c.planJSON(p, messages)
	} else {
		if p.GetIncident() == "" {
			p.Incident, p.PlanHash = "(none)", "(name the incident to see what an approval would name: candor plan ID)"
		}
		if err = plan.Text(c.out, p, c.zone); err == nil {
			c.messages(messages)
		}
	}
	if err == nil && len(p.GetBlockers()) > 0 {
		return &failure{code: exitMistakes}
	}
	return err
}

func (c *cli) planFiles(cmd *cobra.Command, name string, from *files, how *reading, preview int) (*candorv1.Plan, []*candorv1.PreviewMessage, error) {
	papers, err := from.read()
	if err != nil {
		return nil, nil, err
	}
	how.defaults(papers.playbook)
	opts, err := how.options(cmd)
	if err != nil {
		return nil, nil, err
	}
	file, err := c.openRoster(from.roster)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	d := &candorv1.Declaration{Incident: name, Playbook: string(papers.playbookText), Facts: string(papers.factText)}
	maker, err := plan.Start(cmd.Context(), c.planInput(papers, d))
	if err != nil {
		return nil, nil, err
	}
	report, err := roster.Import(cmd.Context(), file, opts, maker)
	file.Close()
	if err != nil {
		_, _ = maker.Plan(&candorv1.RosterManifest{}, nil) // ends its goroutines
		return nil, nil, unreadable(from.roster, err)
	}
	p, err := maker.Plan(report.Manifest(), report.Blockers)
	if err != nil {
		return nil, nil, err
	}
	p.PlanHash = ""
	if name != "" {
		d.RosterDigest = report.Digest
		p.PlanHash = fmt.Sprintf("%x", incident.Hash(d))
	}
	if preview == 0 {
		return p, nil, nil
	}
	messages, err := maker.Preview(preview)
	return p, messages, err
}

func (c *cli) planIncident(cmd *cobra.Command, name string, to *remote, preview int) (*candorv1.Plan, []*candorv1.PreviewMessage, error) {
	s, err := c.connect(cmd, to)
	if err != nil {
		return nil, nil, err
	}
	inc, err := s.incident(cmd.Context(), name)
	if err != nil || preview == 0 {
		return inc.GetPlan(), nil, err
	}
	messages, err := s.preview(cmd.Context(), name, preview)
	return inc.GetPlan(), messages, err
}

func (s *client) preview(ctx context.Context, name string, n int) ([]*candorv1.PreviewMessage, error) {
	resp, err := s.Preview(ctx, connect.NewRequest(&candorv1.PreviewRequest{Incident: name, Count: uint32(n)})) //nolint:gosec // at most 50
	if err != nil {
		return nil, err
	}
	return resp.Msg.GetMessages(), nil
}

// planJSON is the plan, and the messages beside its fields if any were asked for.
func (c *cli) planJSON(p *candorv1.Plan, messages []*candorv1.PreviewMessage) error {
	if messages == nil {
		return c.proto(p)
	}
	data, err := protoJSON(p)
	if err != nil {
		return err
	}
	object := map[string]json.RawMessage{}
	if err := json.Unmarshal(data, &object); err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	list := make([]json.RawMessage, len(messages))
	for i, m := range messages {
		if list[i], err = protoJSON(m); err != nil {
			return err
		}
	}
	if object["preview"], err = json.Marshal(list); err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	return c.json(object)
}

// messages shows what customers would read.
func (c *cli) messages(all []*candorv1.PreviewMessage) {
	for _, m := range all {
		head := fmt.Sprintf("%s in %s, as %s would read it", channelTitle(m.GetChannel()), m.GetLanguage(), m.GetCustomerRef())
		if m.GetChannel() == candorv1.Channel_CHANNEL_SMS {
			head += fmt.Sprintf(" (%s, %s)", plural(uint64(m.GetSegments()), "segment", "segments"), m.GetEncoding())
		}
		c.out.printf("\n%s\n", c.out.paint(bold, head))
		margin := c.out.paint(faint, "  │")
		if m.GetSubject() != "" {
			c.out.line(margin + " " + c.out.paint(bold, quoted(m.GetSubject())[0]) + "\n" + margin)
		}
		for _, l := range quoted(m.GetText()) {
			for _, part := range strings.Split(wrap(l, c.out.textWidth()-4, ""), "\n") {
				c.out.line(strings.TrimRight(margin+" "+part, " "))
			}
		}
	}
}
