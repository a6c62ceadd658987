package main

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	candorv1 "candor/proto/candor/v1"
)

// results are the rows of a file in which a dialer says how its calls ended.
type results struct {
	rows     []resultRow
	problems []rowProblem
	ignored  []string // columns
	// lines counts those that are not empty, and repeated those that said once more what another one says.
	lines, repeated uint64
}

type resultRow struct {
	line   int
	report *candorv1.CompleteRequest
}

// reported are the columns of a result.
var reported = []string{"lease", "disposition", "call_back_at", "phone", "started_at", "answered_at", "ended_at", "call_id"}

const (
	mostResults = 1_000_000
	longestLine = 1 << 20
	longestCell = 512
)

// readResults reads CSV, be it cut by commas, semicolons or tabs. Every line is a row: it is taken, or named as a problem, and none is
// swallowed by a quotation mark in another one. A file without its header is an error.
func readResults(in io.Reader) (*results, error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 64<<10), longestLine)
	if !lines.Scan() && lines.Err() == nil {
		return nil, errors.New("the file is empty")
	}
	if err := lineError(lines.Err(), 1); err != nil {
		return nil, err
	}
	head := strings.TrimPrefix(lines.Text(), "\ufeff")
	cut := delimiter(head)
	names, err := cellsOf(head, cut, math.MaxInt)
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	res := &results{}
	columns, err := res.columns(names)
	if err != nil {
		return nil, err
	}
	seen, line := map[string]resultRow{}, 1
	for lines.Scan() {
		line++
		cells, err := cellsOf(lines.Text(), cut, len(names))
		row := resultRow{line: line}
		if err == nil {
			row, err = readResult(line, columns, len(names), cells)
		}
		if errors.Is(err, errEmptyRow) {
			continue
		}
		if res.lines++; res.lines > mostResults {
			return nil, fmt.Errorf("more than %d rows: cut the file into several", mostResults)
		}
		before, twice := seen[row.report.GetLease()]
		switch {
		case err == nil && twice && proto.Equal(before.report, row.report):
			res.repeated++
			continue
		case err == nil && twice:
			err = fmt.Errorf("line %d has the same lease and says something else: a lease is one call", before.line)
		}
		if err != nil {
			res.problems = append(res.problems, rowProblem{line, err.Error()})
			continue
		}
		seen[row.report.GetLease()] = row
		res.rows = append(res.rows, row)
	}
	return res, lineError(lines.Err(), line+1)
}

// lineError says of which line it is that it cannot be read.
func lineError(err error, line int) error {
	if errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("line %d is longer than %d KB: that is no list of calls", line, longestLine>>10)
	}
	return err
}

var (
	errReturn = errors.New("the line holds a carriage return: save the file with line feeds, or with both, and take line breaks out of its cells")
	errQuotes = errors.New("a quotation mark is not closed on this line, or stands within a cell: a row is one line, so take line breaks out of its " +
		"cells, and double the marks in a cell that stands in marks itself")
)

// cellsOf cuts a line into its cells; most is how many there may be. Where tabs cut, quotation marks may stand inside cells, and need
// be neither doubled nor closed.
func cellsOf(line string, cut rune, most int) ([]string, error) {
	if strings.Contains(line, "\r") { // it may be several rows
		return nil, errReturn
	}
	plain := strings.Split(line, string(cut))
	if !strings.Contains(line, `"`) {
		return plain, nil
	}
	if cut == '\t' && len(plain) <= most {
		return unquoted(plain), nil
	}
	r := csv.NewReader(strings.NewReader(line))
	r.Comma, r.FieldsPerRecord = cut, -1
	cells, err := r.Read()
	if err != nil {
		return nil, errQuotes
	}
	return cells, nil
}

// unquoted takes the marks away from cells that stand in marks as a whole.
func unquoted(cells []string) []string {
	for i, cell := range cells {
		if len(cell) < 2 || cell[0] != '"' || cell[len(cell)-1] != '"' {
			continue
		}
		if inner := cell[1 : len(cell)-1]; !strings.Contains(strings.ReplaceAll(inner, `""`, ""), `"`) {
			cells[i] = strings.ReplaceAll(inner, `""`, `"`)
		}
	}
	return cells
}

// delimiter is what cuts the header into the most pieces.
func delimiter(head string) rune {
	best := ','
	for _, d := range ";\t" {
		if strings.Count(head, string(d)) > strings.Count(head, string(best)) {
			best = d
		}
	}
	return best
}

// columns finds the place of each column, and notes those that nobody reads.
func (r *results) columns(names []string) (map[string]int, error) {
	at := map[string]int{}
	for i, name := range names {
		name = strings.ToLower(strings.TrimSpace(name))
		switch _, twice := at[name]; {
		case twice:
			return nil, fmt.Errorf("there are two columns %q: keep one", printable(name))
		case slices.Contains(reported, name):
			at[name] = i
		case !slices.Contains(exported, name) && name != "":
			r.ignored = append(r.ignored, printable(name))
		}
	}
	for _, name := range []string{"lease", "disposition"} {
		if _, ok := at[name]; !ok {
			return nil, fmt.Errorf("there is no column %s: the first line names the columns, such as %s", name, strings.Join(reported, ","))
		}
	}
	return at, nil
}

// printable is a word of somebody else's making as it may be shown.
func printable(s string) string {
	if len(s) > 40 {
		s = strings.ToValidUTF8(s[:40], "") + "…"
	}
	return strings.Join(quoted(strings.ReplaceAll(s, "\n", " ")), "")
}

// isCode is what a disposition looks like. What does not is a note perhaps, and is not repeated.
var isCode = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)

var (
	errEmptyRow = errors.New("the row is empty")
	errTooMany  = errors.New("the row has more cells than the first line has names: a cell that holds what cuts the cells stands in quotation marks")
	errNoCode   = errors.New("disposition: this is no code; write one of the playbook's table, such as notified or no_answer")
	errNoLease  = errors.New("the lease is missing: copy it from the list that candor calls export wrote")
)

func readResult(line int, columns map[string]int, named int, cells []string) (resultRow, error) {
	cell := func(name string) string {
		i, ok := columns[name]
		if !ok || i >= len(cells) {
			return ""
		}
		// An apostrophe keeps a spreadsheet from taking a cell for a formula, and is not part of it.
		return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(cells[i]), "'"))
	}
	row := resultRow{line: line, report: &candorv1.CompleteRequest{
		Lease: cell("lease"), Disposition: strings.ToLower(cell("disposition")), CallId: cell("call_id"),
	}}
	if !slices.ContainsFunc(cells, func(s string) bool { return strings.TrimSpace(s) != "" }) {
		return row, errEmptyRow
	}
	if slices.ContainsFunc(cells[min(named, len(cells)):], func(s string) bool { return strings.TrimSpace(s) != "" }) {
		return row, errTooMany // what stands in which column is anybody's guess
	}
	for _, name := range reported {
		if len(cell(name)) > longestCell {
			return row, fmt.Errorf("%s has more than %d characters", name, longestCell)
		}
	}
	if row.report.GetLease() == "" {
		return row, errNoLease
	}
	if d := row.report.GetDisposition(); d != "" && !isCode.MatchString(d) {
		return row, errNoCode
	}
	var err error
	if row.report.Phone, err = dialled(cell("phone")); err != nil {
		return row, err
	}
	for _, at := range []struct {
		name string
		to   **timestamppb.Timestamp
	}{
		{"call_back_at", &row.report.CallBackAt}, {"started_at", &row.report.StartedAt}, {"answered_at", &row.report.AnsweredAt}, {"ended_at", &row.report.EndedAt},
	} {
		s := cell(at.name)
		if s == "" {
			continue
		}
		t, err := zonedTime(s)
		if err != nil {
			return row, fmt.Errorf("%s: %w", at.name, err)
		}
		*at.to = timestamppb.New(t.Round(0).In(time.UTC))
	}
	return row, nil
}

var (
	rounded  = regexp.MustCompile(`^[0-9][.,][0-9]+[eE]\+[0-9]+$`)
	spelling = strings.NewReplacer(" ", "", "-", "", "(", "", ")", "", ".", "", "\u00a0", "", "/", "")

	errRounded = errors.New("phone: a spreadsheet has rounded the number; make the column text, and take the number from the list again")
	errPhone   = errors.New("phone: write the number in international form, such as +15005550123")
)

// dialled is the number of a cell in E.164 form, also if a spreadsheet has taken its plus away. It is never part of an error.
func dialled(s string) (string, error) {
	switch {
	case s == "":
		return "", nil
	case rounded.MatchString(s):
		return "", errRounded
	}
	s = spelling.Replace(s)
	if rest, ok := strings.CutPrefix(s, "00"); ok {
		s = "+" + rest
	}
	if !strings.HasPrefix(s, "+") {
		s = "+" + s
	}
	if !dialable.MatchString(s) || len(s) < 8 || s[1] == '0' {
		return "", errPhone
	}
	return s, nil
}
