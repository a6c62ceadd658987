package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
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
}

type resultRow struct {
	line   int
	report *candorv1.CompleteRequest
}

// open counts the rows that say nothing yet.
func (r *results) open() (n uint64) {
	for _, row := range r.rows {
		if row.report.GetDisposition() == "" {
			n++
		}
	}
	return n
}

// reported are the columns of a result.
var reported = []string{"lease", "disposition", "call_back_at", "phone", "started_at", "answered_at", "ended_at", "call_id"}

const (
	mostResults = 1_000_000
	longestHead = 64 << 10
	longestCell = 512
)

// readResults reads CSV, be it cut by commas, semicolons or tabs. A row that is wrong is a problem, a file without its header is
// an error.
func readResults(in io.Reader) (*results, error) {
	b := bufio.NewReaderSize(in, longestHead)
	if bom, _ := b.Peek(3); bytes.Equal(bom, []byte("\ufeff")) { // what cannot be peeked is no mark
		_, _ = b.Discard(3) // it was peeked
	}
	head, err := b.Peek(longestHead)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	head, _, _ = bytes.Cut(head, []byte("\n"))
	r := csv.NewReader(b)
	r.Comma, r.FieldsPerRecord, r.LazyQuotes, r.ReuseRecord = delimiter(head), -1, true, true
	names, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty")
	}
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	res := &results{}
	columns, err := res.columns(names)
	if err != nil {
		return nil, err
	}
	seen := map[string]resultRow{}
	for {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			return res, nil
		}
		if err != nil {
			return nil, err
		}
		line, _ := r.FieldPos(0)
		if len(res.rows)+len(res.problems) == mostResults {
			return nil, fmt.Errorf("more than %d rows: cut the file into several", mostResults)
		}
		row, err := readResult(line, columns, cells)
		before, twice := seen[row.report.GetLease()]
		switch {
		case err == nil && twice && proto.Equal(before.report, row.report):
			continue
		case err == nil && twice:
			err = fmt.Errorf("line %d has the same lease and says something else: a lease is one call", before.line)
		}
		switch {
		case errors.Is(err, errEmptyRow):
		case err != nil:
			res.problems = append(res.problems, rowProblem{line, err.Error()})
		default:
			seen[row.report.GetLease()] = row
			res.rows = append(res.rows, row)
		}
	}
}

// delimiter is what cuts the header into the most pieces.
func delimiter(head []byte) rune {
	best := ','
	for _, d := range ";\t" {
		if bytes.Count(head, []byte(string(d))) > bytes.Count(head, []byte(string(best))) {
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

var (
	errEmptyRow = errors.New("the row is empty")
	errNoLease  = errors.New("the lease is missing: copy it from the list that candor calls export wrote")
)

func readResult(line int, columns map[string]int, cells []string) (resultRow, error) {
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
	for _, name := range reported {
		if len(cell(name)) > longestCell {
			return row, fmt.Errorf("%s has more than %d characters", name, longestCell)
		}
	}
	if row.report.GetLease() == "" {
		return row, errNoLease
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
