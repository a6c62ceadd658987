package bench

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"candor/pkg/roster"
)

// playASide is the argument with which this binary is a side of a measurement.
const playASide = "play-a-side"

func TestMain(m *testing.M) {
	if slices.Equal(os.Args[1:], []string{playASide}) {
		if err := Side(context.Background(), os.Stdin, os.Stdout, zerolog.New(os.Stderr).Level(zerolog.WarnLevel)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func lab(t *testing.T) *Lab {
	t.Helper()
	return &Lab{Command: []string{os.Args[0], playASide}, Dir: t.TempDir(), Scale: 1e-9, Pairs: 1, Say: t.Logf}
}

// What is measured with a handful of people means nothing; that there is a figure in every row means that all sides did their work.
func TestEveryMeasurementMeasures(t *testing.T) {
	t.Parallel()
	l := lab(t)
	for _, m := range Measurements() {
		rows, err := l.Measure(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) == 0 {
			t.Errorf("%s has no rows", m.Name)
		}
		for _, r := range rows {
			if !(r.Value > 0) || math.IsInf(r.Value, 0) || r.What == "" || r.Ours == "" {
				t.Errorf("%s: %+v", m.Name, r)
			}
		}
	}
	if left, err := filepath.Glob(filepath.Join(l.Dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestASideThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	l := lab(t)
	if _, err := l.once(t.Context(), role{Name: "import", Dir: filepath.Join(l.Dir, "nothing.csv")}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("error %v", err)
	}
	if _, err := l.once(t.Context(), role{Name: "tenor"}); err == nil || !strings.Contains(err.Error(), `no role "tenor"`) {
		t.Errorf("error %v", err)
	}
}

func TestTargets(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		row                     Row
		result, target, verdict string
	}{
		{ratio("speed", "1", "2", 0.9, 0.85, 0), "0.90 ×", "≥ 0.85 ×", "yes"},
		{ratio("speed", "1", "2", 0.84, 0.85, 0), "0.84 ×", "≥ 0.85 ×", "no"},
		{ratio("cost", "1", "2", 2.6, 0, 2.5), "2.60 ×", "≤ 2.50 ×", "no"},
		{ratio("nobody measured", "", "", math.NaN(), 0, 2.5), "NaN ×", "≤ 2.50 ×", "no"},
		{figure("memory", 667.4, "MB", 0, 700), "667 MB", "≤ 700 MB", "yes"},
		{figure("rebuild", 4_412_345, "notices/s", 1e6, 0), "4,412,345 notices/s", "≥ 1,000,000 notices/s", "yes"},
		{figure("for information", 61.25, "s", 0, 0), "61.2 s", "", ""},
	} {
		if r := tt.row; r.result() != tt.result || r.target() != tt.target || r.verdict() != tt.verdict {
			t.Errorf("%s: %q, %q, %q; want %q, %q, %q", r.What, r.result(), r.target(), r.verdict(), tt.result, tt.target, tt.verdict)
		}
	}
}

func TestTables(t *testing.T) {
	t.Parallel()
	rows := []Row{ratio("speed", "9/s", "10/s", 0.9, 0.85, 0)}
	var markdown, text bytes.Buffer
	if err := Markdown(&markdown, rows); err != nil {
		t.Fatal(err)
	}
	if err := Text(&text, rows); err != nil {
		t.Fatal(err)
	}
	if want := "| speed | 9/s | 10/s | 0.90 × | ≥ 0.85 × | yes |\n"; !strings.HasSuffix(markdown.String(), want) || !strings.Contains(markdown.String(), Machine()) {
		t.Errorf("markdown:\n%s", &markdown)
	}
	if !strings.Contains(text.String(), "speed  9/s     10/s     0.90 ×  ≥ 0.85 ×  yes") {
		t.Errorf("text:\n%s", &text)
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	if got := []float64{median([]float64{3, 1, 2}), median([]float64{4, 1}), median([]float64{7})}; !slices.Equal(got, []float64{2, 2.5, 7}) {
		t.Errorf("medians %v", got)
	}
	if !math.IsNaN(median(nil)) {
		t.Error("nothing has a median")
	}
}

// Requests are only as large as they may be if everybody reads the same text and pages are full.
func TestTheCrowdSharesItsPages(t *testing.T) {
	t.Parallel()
	var file bytes.Buffer
	if err := crowd(&file, 2500); err != nil {
		t.Fatal(err)
	}
	report, err := roster.Import(t.Context(), &file, roster.Options{}, roster.Discard())
	if err != nil {
		t.Fatal(err)
	}
	if report.Customers != 2500 || report.Rejected != 0 || len(report.Pages) != 3 {
		t.Errorf("%d customers on %d pages, %d rejected; want 2500 on 3", report.Customers, len(report.Pages), report.Rejected)
	}
	plain, err := plainPeople(2500)
	if err != nil {
		t.Fatal(err)
	}
	codes := map[string]bool{}
	for _, p := range plain {
		codes[p.code] = true
		if len(p.phone) != len("+12125550100") || !strings.HasPrefix(p.phone, "+1") || p.email == "" || p.given == "" {
			t.Fatalf("a plain program's person lacks something: %d bytes of number", len(p.phone))
		}
	}
	if len(codes) != 2500 {
		t.Errorf("%d codes of 2500 people", len(codes))
	}
}

func TestAloneLeavesOneChannel(t *testing.T) {
	t.Parallel()
	pb, _, err := Texts(1)
	if err != nil {
		t.Fatal(err)
	}
	for _, channel := range []string{"sms", "email"} {
		left := alone(pb, channel)
		for _, name := range []string{"sms", "email"} {
			if got := strings.Contains(left, "\n      "+name+":\n"); got != (name == channel) {
				t.Errorf("%s alone: %s there: %v", channel, name, got)
			}
		}
		if !strings.Contains(left, "\ndata:\n") {
			t.Errorf("%s alone: what follows the waves is gone", channel)
		}
	}
}
