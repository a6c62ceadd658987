package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"candor/pkg/roster"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
	"candor/services/api"
)

func rosterAddCommand(c *cli) *cobra.Command {
	var rejects, playbookFile string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "add ID FILE",
		Short: "Draft a first notice for customers who were found later",
		Long: `Uploads a file of more affected customers of an incident that was declared. Whoever
is on file already, by customer_ref, is left as they are and not told twice. The
others get the first notice once a second person has approved it with candor
approve, and what runs already goes on meanwhile. Then they join the follow-ups.

The file is read as candor roster check reads it, with the same flags. It is sealed
as it is read, under the incident's own key. FILE may be - for standard input.

Ends with exit code 7 if the file cannot be used as it is.`,
		Example: `  candor roster add breach-2026-11 found-later.csv
  candor roster add breach-2026-11 found-later.csv --rejects rejects.csv --map email="E-mail Address"`,
		Args: func(_ *cobra.Command, args []string) error {
			switch len(args) {
			case 0:
				return errors.New("to which incident, and whom? name its id and the customer file")
			case 1:
				return errors.New("whom? name the customer file after the incident's id")
			case 2:
				return nil
			}
			return errors.New("one file at a time")
		},
	}
	reading := readingFlags(cmd)
	cmd.Flags().StringVar(&rejects, "rejects", "", "new `FILE` for the rejected rows: row, customer_ref, column, reason, remedy")
	cmd.Flags().StringVar(&playbookFile, "playbook", "", "`FILE` whose country, time zone and language are the defaults; else the incident's")
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, path := args[0], args[1]
		if err := topology.ValidIncident(name); err != nil {
			return usageError(cmd, "%v", err)
		}
		if playbookFile != "" {
			pb, err := readPlaybook(playbookFile)
			if err != nil {
				return err
			}
			reading.defaults(pb)
		}
		if _, err := reading.options(cmd); err != nil {
			return err
		}
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		if rejects != "" {
			if err := c.writeRejects(cmd, path, reading, rejects); err != nil {
				return err
			}
		}
		file, err := c.openRoster(path)
		if err != nil {
			return err
		}
		defer file.Close()
		rows := &api.AddedRows{}
		err = s.put(cmd.Context(), name, "rows", file, reading.query(path), rows)
		file.Close()
		switch {
		case err != nil:
			return err
		case asJSON:
			return c.json(rows)
		}
		return c.added(cmd.Context(), s, name, rows)
	}
	return cmd
}

// writeRejects reads the file on this machine alone, for the rows that nobody is told by.
func (c *cli) writeRejects(cmd *cobra.Command, path string, how *reading, rejects string) (err error) {
	if path == "-" {
		return usageError(cmd, "--rejects reads the file once more: name a file, not standard input")
	}
	opts, err := how.options(cmd)
	if err != nil {
		return err
	}
	file, err := c.openRoster(path)
	if err != nil {
		return err
	}
	defer file.Close()
	f, err := newFile(rejects)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	opts.Rejects = f
	if _, err := roster.Import(cmd.Context(), file, opts, roster.Discard()); err != nil {
		return unreadable(path, err)
	}
	return nil
}

// added says what was found in the file, and that nobody is told yet.
func (c *cli) added(ctx context.Context, s *client, name string, rows *api.AddedRows) error {
	if rows.Report != nil {
		if err := rows.Report.Text(c.out); err != nil {
			return err
		}
		c.out.line()
	}
	if len(rows.Addition) == 0 {
		c.out.line("Nobody in the file is new: there is nothing to approve.")
		return nil
	}
	a := &candorv1.AdditionStatus{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(rows.Addition, a); err != nil {
		return fmt.Errorf("answer to the upload: %w", err)
	}
	c.addition(&candorv1.Incident{Id: name}, a, c.setting(ctx, s, name), prefix(a))
	if rows.Known {
		c.out.line("\nThis very file was uploaded before: nothing changed.")
	}
	if a.GetApprovedBy() != "" {
		c.out.printf("%s has approved it.\n", a.GetApprovedBy())
	} else {
		c.out.printf("\nNobody of them is told before a second person approves it. What next: a second person runs\n  %s\n", approveLine(name, a))
	}
	return nil
}
