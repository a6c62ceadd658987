package main

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// suppressionsAtOnce is how many opt-outs one request carries.
const suppressionsAtOnce = 5000

func suppressionsCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "suppressions", GroupID: groupTell, Args: cobra.ArbitraryArgs, RunE: group,
		Short: "Keep the list of who must not be written to on a channel",
		Long: `Who texts STOP, or asks an agent not to be called, is not written to on that channel
again. It closes the channel and not the duty to notify: other channels go on.

The list lies under a keyed hash. Nobody can read an address out of it.`,
	}
	cmd.AddCommand(suppressionsAddCommand(c), suppressionsRemoveCommand(c), suppressionsExportCommand(c), suppressionsImportCommand(c))
	return cmd
}

func suppressionsAddCommand(c *cli) *cobra.Command {
	var file, reason string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "add CHANNEL", Args: oneChannel,
		Short: "Add addresses: a list of your own, one a line",
		Long: `Reads phone numbers in international form, or e-mail addresses, one a line, from
standard input or a file, and adds them to those that are not written to on the
channel. Lines that are no address are named by their number, and all others are
added. Adding one twice changes nothing.`,
		Example: `  candor suppressions add sms --file stopped.txt
  echo +15005550123 | candor suppressions add call --reason asked_agent`,
	}
	addressFlags(cmd, &file, &asJSON)
	cmd.Flags().StringVar(&reason, "reason", "list", "`WORD` that says why, and names nobody")
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var added uint64
		problems, err := c.addresses(cmd, to, file, args[0], func(s *client, list []*candorv1.Suppression) ([]*candorv1.SuppressionProblem, error) {
			for _, one := range list {
				one.Reason = reason
			}
			resp, err := s.AddSuppressions(cmd.Context(), connect.NewRequest(&candorv1.AddSuppressionsRequest{Suppressions: list}))
			if err != nil {
				return nil, err
			}
			added += resp.Msg.GetAdded()
			return resp.Msg.GetProblems(), nil
		})
		if err != nil {
			return err
		}
		return c.suppressed(asJSON, "added", added, problems)
	}
	return cmd
}

func suppressionsRemoveCommand(c *cli) *cobra.Command {
	var file string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "remove CHANNEL", Args: oneChannel,
		Short: "Take addresses off the list, if their owners said so",
		Long: `Reads addresses as candor suppressions add does, and takes them off the list. Do it
only when the owner asked for it: a text of START does the same by itself.`,
		Example: `  echo +15005550123 | candor suppressions remove sms`,
	}
	addressFlags(cmd, &file, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var removed uint64
		problems, err := c.addresses(cmd, to, file, args[0], func(s *client, list []*candorv1.Suppression) ([]*candorv1.SuppressionProblem, error) {
			resp, err := s.RemoveSuppressions(cmd.Context(), connect.NewRequest(&candorv1.RemoveSuppressionsRequest{Suppressions: list}))
			if err != nil {
				return nil, err
			}
			removed += resp.Msg.GetRemoved()
			return nil, nil
		})
		if err != nil {
			return err
		}
		return c.suppressed(asJSON, "removed", removed, problems)
	}
	return cmd
}

func suppressionsExportCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "export", Args: none,
		Short: "Write the list as hashes, for a backup or another installation with the same key",
		Long: `Writes CSV with the columns hash and reason. It holds no address, and nobody can get
one out of it who does not have the installation's key.`,
		Example: `  candor suppressions export >suppressions.csv`,
	}
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		stream, err := s.ExportSuppressions(cmd.Context(), connect.NewRequest(&candorv1.ExportSuppressionsRequest{}))
		if err != nil {
			return s.explain(err)
		}
		defer func() { err = errors.Join(err, stream.Close()) }()
		w := csv.NewWriter(c.out)
		if err := w.Write([]string{"hash", "reason"}); err != nil {
			return err
		}
		for stream.Receive() {
			for _, one := range stream.Msg().GetSuppressions() {
				if err := w.Write([]string{one.GetHash(), one.GetReason()}); err != nil {
					return err
				}
			}
		}
		w.Flush()
		return errors.Join(s.explain(stream.Err()), w.Error())
	}
	return cmd
}

func suppressionsImportCommand(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "import FILE", Args: oneFile,
		Short: "Take back what candor suppressions export wrote",
		Long: `Reads the CSV that candor suppressions export wrote, with - from standard input. The
hashes mean something only under the key with which they were made. For a list of
addresses there is candor suppressions add.`,
		Example: `  candor suppressions import suppressions.csv`,
	}
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		in, done, err := c.input(args[0])
		if err != nil {
			return err
		}
		defer done()
		list, err := readHashes(args[0], in)
		if err != nil {
			return err
		}
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		var n uint64
		for len(list) > 0 {
			part := list[:min(len(list), suppressionsAtOnce)]
			list = list[len(part):]
			resp, err := s.ImportSuppressions(cmd.Context(), connect.NewRequest(&candorv1.ImportSuppressionsRequest{Suppressions: part}))
			if err != nil {
				return err
			}
			n += resp.Msg.GetImported()
		}
		return c.suppressed(asJSON, "imported", n, nil)
	}
	return cmd
}

// readHashes reads the CSV of an export.
func readHashes(name string, in io.Reader) ([]*candorv1.HashedSuppression, error) {
	r := csv.NewReader(in)
	r.FieldsPerRecord = 2
	var list []*candorv1.HashedSuppression
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, &failure{code: exitMistakes, what: fmt.Sprintf("%s: %v", name, err), remedy: "give the file that candor suppressions export wrote; for addresses there is candor suppressions add", cause: err}
		}
		if line, _ := r.FieldPos(0); line == 1 && row[0] == "hash" {
			continue
		}
		list = append(list, &candorv1.HashedSuppression{Hash: row[0], Reason: row[1]})
	}
}

func addressFlags(cmd *cobra.Command, file *string, asJSON *bool) {
	cmd.Flags().StringVar(file, "file", "-", "`FILE` with an address a line; - is standard input")
	jsonFlag(cmd, asJSON)
}

func oneChannel(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return errors.New("which channel? name one of sms, email and call")
	}
	if _, ok := topology.ParseChannel(args[0]); !ok {
		return fmt.Errorf("channel %s: there are sms, email and call", args[0])
	}
	return nil
}

func oneFile(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return errors.New("which file? name one, or - for standard input")
	}
	return nil
}

// input opens a file, or standard input for a dash.
func (c *cli) input(name string) (io.Reader, func(), error) {
	if name == "-" {
		return c.in, func() {}, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, &failure{code: exitFailed, what: err.Error(), remedy: "name a file that is there, or - for standard input", cause: err}
	}
	return f, func() { _ = f.Close() }, nil // only read from
}

// addresses reads a list and hands it over in parts; problems are returned by line.
func (c *cli) addresses(cmd *cobra.Command, to *remote, file, channel string, give func(*client, []*candorv1.Suppression) ([]*candorv1.SuppressionProblem, error)) ([]*candorv1.SuppressionProblem, error) {
	in, done, err := c.input(file)
	if err != nil {
		return nil, err
	}
	defer done()
	s, err := c.connect(cmd, to)
	if err != nil {
		return nil, err
	}
	ch, _ := topology.ParseChannel(channel) // checked with the arguments
	var list []*candorv1.Suppression
	var lines []uint32
	var problems []*candorv1.SuppressionProblem
	flush := func() error {
		if len(list) == 0 {
			return nil
		}
		found, err := give(s, list)
		for _, p := range found {
			problems = append(problems, &candorv1.SuppressionProblem{Index: lines[p.GetIndex()], Problem: p.GetProblem()})
		}
		list, lines = list[:0], lines[:0]
		return err
	}
	scan := bufio.NewScanner(in)
	for n := uint32(1); scan.Scan(); n++ {
		line := strings.TrimSpace(strings.TrimPrefix(scan.Text(), "\ufeff"))
		if line == "" || line[0] == '#' {
			continue
		}
		list, lines = append(list, &candorv1.Suppression{Channel: ch, Address: line}), append(lines, n)
		if len(list) == suppressionsAtOnce {
			if err := flush(); err != nil {
				return problems, err
			}
		}
	}
	if err := scan.Err(); err != nil {
		return problems, fmt.Errorf("read %s: %w", file, err)
	}
	return problems, flush()
}

// suppressed says what became of a list.
func (c *cli) suppressed(asJSON bool, what string, n uint64, problems []*candorv1.SuppressionProblem) error {
	if asJSON {
		lines := []map[string]any{}
		for _, p := range problems {
			lines = append(lines, map[string]any{"line": p.GetIndex(), "problem": p.GetProblem()})
		}
		if err := c.json(map[string]any{what: n, "problems": lines}); err != nil {
			return err
		}
	} else {
		c.out.printf("%s %s.\n", plural(n, "address", "addresses"), what)
		for _, p := range problems {
			c.err.printf("line %d: %s\n", p.GetIndex(), p.GetProblem())
		}
	}
	if len(problems) > 0 {
		return &failure{code: exitMistakes, what: plural(uint64(len(problems)), "line was", "lines were") + " left out", remedy: "write numbers in international form, like +15005550123"}
	}
	return nil
}
