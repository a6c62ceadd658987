package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"candor/pkg/playbook"
	"candor/pkg/roster"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

func rosterCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "roster", GroupID: groupPrepare, Args: cobra.ArbitraryArgs, RunE: group,
		Short: "Check the file of affected customers, add those found later",
		Long: `The roster is the file of affected customers: CSV (comma, semicolon, tab or bar)
or NDJSON, in any usual encoding, plain, .gz or .zst. candor declare uploads it.
Who is found later is added to an incident with candor roster add.`,
	}
	cmd.AddCommand(rosterCheckCommand(c), rosterAddCommand(c))
	return cmd
}

func rosterCheckCommand(c *cli) *cobra.Command {
	var rejects, playbookFile string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check FILE|ID",
		Short: "Show what Candor makes of a customer file",
		Long: `Reads the whole file and shows what Candor makes of it: which column is taken
for what, whom each channel can reach, which rows no channel can reach and why,
what was merged, and what a person should look at. Every row is accounted for:
rows read = customers + merged + rejected.

Nothing is sent, stored or uploaded. What is printed holds no name, number or
address; rows are named by their number and customer_ref. FILE may be - for
standard input.

The digest names exactly what was made of the file: candor declare prints the
same one, if it is given the same flags or the same playbook.

With the ID of an incident it shows what the roster that was uploaded for it
holds.

Ends with exit code 7 if the file cannot be declared as it is.`,
		Example: `  candor roster check customers.csv
  candor roster check export.csv.gz --map email="E-mail Address" --map-data tarjeta=payment_card
  candor roster check customers.csv --rejects rejects.csv --playbook playbook.yaml
  candor roster check breach-2026-11`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("which file? name one")
			}
			return nil
		},
	}
	reading := readingFlags(cmd)
	cmd.Flags().StringVar(&rejects, "rejects", "", "new `FILE` for the rejected rows: row, customer_ref, column, reason, remedy")
	cmd.Flags().StringVar(&playbookFile, "playbook", "", "`FILE` whose country, time zone and language are the defaults")
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if _, err := os.Stat(args[0]); errors.Is(err, fs.ErrNotExist) && topology.ValidIncident(args[0]) == nil {
			return c.uploadedRoster(cmd, args[0], to, asJSON)
		}
		if playbookFile != "" {
			pb, err := readPlaybook(playbookFile)
			if err != nil {
				return err
			}
			reading.defaults(pb)
		}
		opts, err := reading.options(cmd)
		if err != nil {
			return err
		}
		return c.rosterCheck(cmd, args[0], opts, rejects, asJSON)
	}
	return cmd
}

// uploadedRoster shows what the roster of an incident holds.
func (c *cli) uploadedRoster(cmd *cobra.Command, name string, to *remote, asJSON bool) error {
	s, err := c.connect(cmd, to)
	if err != nil {
		return err
	}
	resp, err := s.GetRoster(cmd.Context(), connect.NewRequest(&candorv1.GetRosterRequest{Incident: name}))
	if err != nil {
		return err
	}
	m := resp.Msg.GetManifest()
	if asJSON {
		return c.proto(m)
	}
	c.out.printf("Digest   %s\n\n%s rows read = %s customers + %s merged + %s rejected   (%s empty lines ignored)\n\nCustomers by channel\n",
		m.GetDigest(), number(m.GetRows()), number(m.GetCustomers()), number(m.GetMerged()), number(m.GetRejected()), number(m.GetEmptyLines()))
	for _, ch := range slices.Sorted(maps.Keys(m.GetUsable())) {
		c.out.printf("  %-5s  %s\n", ch, number(m.GetUsable()[ch]))
	}
	for _, by := range []struct {
		what   string
		counts map[string]uint64
	}{
		{"language", m.GetByLanguage()},
		{"country", m.GetByCountry()},
		{"tier", m.GetByTier()},
		{"time zone", m.GetByZone()},
		{"source of the zone", m.GetByZoneSource()},
		{"kind of data", m.GetByData()},
	} {
		var parts []string
		for _, k := range slices.SortedFunc(maps.Keys(by.counts), func(a, b string) int {
			return cmp.Or(cmp.Compare(by.counts[b], by.counts[a]), cmp.Compare(a, b))
		}) {
			parts = append(parts, k+" "+number(by.counts[k]))
		}
		c.out.printf("Customers by %s: %s\n", by.what, strings.Join(parts, ", "))
	}
	c.out.printf("%s\n", plural(uint64(len(m.GetPages())), "page", "pages"))
	return nil
}

func (c *cli) rosterCheck(cmd *cobra.Command, path string, opts roster.Options, rejects string, asJSON bool) (err error) {
	file, err := c.openRoster(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if rejects != "" {
		f, err := newFile(rejects)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		opts.Rejects = f
	}
	report, err := roster.Import(cmd.Context(), file, opts, roster.Discard())
	file.Close()
	if err != nil {
		return unreadable(path, err)
	}
	if asJSON {
		err = c.json(report)
	} else {
		err = report.Text(c.out)
	}
	if err == nil && len(report.Blockers) > 0 {
		return &failure{code: exitMistakes}
	}
	return err
}

// unreadable says what keeps a customer file from being read.
func unreadable(path string, err error) error {
	return &failure{code: exitMistakes, what: path + ": " + strings.TrimPrefix(err.Error(), "read roster: "), cause: err}
}

// reading says how a customer file is read.
type reading struct {
	mapping, mapData        []string
	country, zone, language string
}

func readingFlags(cmd *cobra.Command) *reading {
	r := &reading{}
	cmd.Flags().StringArrayVar(&r.mapping, "map", nil, "take a column for a field, `FIELD=HEADER`, as in email=\"E-mail Address\"; fields are "+strings.Join(roster.Fields(), ", "))
	cmd.Flags().StringArrayVar(&r.mapData, "map-data", nil, "take a word for a kind of data, `WORD=KIND`, as in tarjeta=payment_card")
	cmd.Flags().StringVar(&r.country, "default-country", "", "`COUNTRY` of numbers that do not say theirs, as in US; else the playbook's")
	cmd.Flags().StringVar(&r.zone, "default-zone", "", "time `ZONE` where nothing tells it, as in America/New_York; else the playbook's")
	cmd.Flags().StringVar(&r.language, "default-language", "", "`LANGUAGE` of rows that name none, as in en; else the playbook's")
	return r
}

// defaults are the playbook's, where no flag names another one.
func (r *reading) defaults(pb *playbook.Playbook) {
	for _, d := range []struct {
		to    *string
		value string
	}{{&r.country, pb.Country}, {&r.zone, pb.TimeZone}, {&r.language, pb.Languages.Default}} {
		if *d.to == "" {
			*d.to = d.value
		}
	}
}

func (r *reading) options(cmd *cobra.Command) (roster.Options, error) {
	opts := roster.Options{
		DefaultCountry: r.country, DefaultZone: r.zone, DefaultLanguage: r.language,
		Map: map[string][]string{}, MapData: map[string]string{},
	}
	for _, m := range r.mapping {
		field, header, ok := strings.Cut(m, "=")
		if !ok || field == "" || header == "" {
			return opts, usageError(cmd, "--map %s: write FIELD=HEADER, as in email=\"E-mail Address\"", m)
		}
		opts.Map[field] = append(opts.Map[field], header)
	}
	for _, m := range r.mapData {
		w, kind, ok := strings.Cut(m, "=")
		if !ok || w == "" || kind == "" {
			return opts, usageError(cmd, "--map-data %s: write WORD=KIND, as in tarjeta=payment_card", m)
		}
		opts.MapData[w] = kind
	}
	return opts, nil
}

// query is options for an upload.
func (r *reading) query(path string) url.Values {
	q := url.Values{"name": {filepath.Base(path)}}
	for key, values := range map[string][]string{
		"map": r.mapping, "map_data": r.mapData,
		"default_country": {r.country}, "default_zone": {r.zone}, "default_language": {r.language},
	} {
		for _, v := range values {
			if v != "" {
				q.Add(key, v)
			}
		}
	}
	return q
}

// rosterFile is a customer file that shows how far it was read.
type rosterFile struct {
	io.Reader
	size  int64 // -1 if not known
	close func()
}

// Close is for when the reading is over, and harmless a second time.
func (f *rosterFile) Close() {
	if f.close != nil {
		f.close()
		f.close = nil
	}
}

// openRoster opens the file, with a progress bar if somebody looks and it takes a while.
func (c *cli) openRoster(path string) (*rosterFile, error) {
	if path == "-" {
		return &rosterFile{Reader: c.in, size: -1}, nil
	}
	f, err := os.Open(path) //nolint:gosec // the user names the file
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &failure{code: exitFailed, what: "there is no file " + path, remedy: "name the customer file; candor init makes a sample, roster.csv", cause: err}
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a folder: name the customer file in it", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	r := &rosterFile{Reader: f, size: info.Size(), close: func() { _ = f.Close() }} // it was read, not written
	if c.err.terminal() && r.size > 4<<20 {
		c.showReading(r, filepath.Base(path))
	}
	return r, nil
}

func (c *cli) showReading(r *rosterFile, name string) {
	bars := mpb.New(mpb.WithOutput(c.err.file), mpb.WithWidth(min(c.err.width(), 90)))
	bar := bars.New(r.size, barStyle(),
		mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(name+" ")),
		mpb.AppendDecorators(decor.Percentage(), decor.Name("  "), decor.CountersKibiByte("% .1f of % .1f"), decor.Name("  "), decor.AverageETA(decor.ET_STYLE_GO)),
	)
	r.Reader = bar.ProxyReader(r.Reader)
	closeFile := r.close
	r.close = func() {
		bar.Abort(true)
		bars.Wait()
		closeFile()
	}
}

func barStyle() mpb.BarStyleComposer {
	return mpb.BarStyle().Lbound("").Rbound("").Filler("█").Tip("█").Padding("░")
}

// newFile makes a file for rejected rows, which hold what customers gave: it is nobody else's, and replaces none.
func newFile(path string) (*os.File, error) {
	if path == "-" {
		return nil, &failure{code: exitUsage, what: "--rejects -: standard output has the report already", remedy: "name a new file"}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the user names the file
	if errors.Is(err, fs.ErrExist) {
		return nil, refusal(path+" is there already, and is not overwritten", "name another file, or move it away")
	}
	return f, err
}

func readPlaybook(path string) (*playbook.Playbook, error) {
	data, err := readText(path, "playbook")
	if err != nil {
		return nil, err
	}
	return playbook.Parse(path, data)
}

func readText(path, flag string) ([]byte, error) {
	data, err := os.ReadFile(path) //nolint:gosec // the user names the file
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &failure{code: exitFailed, what: "there is no file " + path, remedy: "name it with --" + flag + "; candor init makes one to start from", cause: err}
	}
	return data, err
}
