package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect"

	candorv1 "candor/proto/candor/v1"
)

func TestNobodyIsRoundedAway(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		n, of      uint64
		share, bar string
	}{
		{0, 0, "", ""},
		{0, 280_000, "0 %", "░░░░"},
		{1, 280_000, "0.1 %", "█░░░"},
		{140_000, 280_000, "50.0 %", "██░░"},
		{279_999, 280_000, "99.9 %", "███░"},
		{280_000, 280_000, "100 %", "████"},
	} {
		if got := percent(tt.n, tt.of); got != tt.share {
			t.Errorf("percent(%d, %d) = %q, want %q", tt.n, tt.of, got, tt.share)
		}
		if got := textBar(tt.n, tt.of, 4); got != tt.bar {
			t.Errorf("textBar(%d, %d) = %q, want %q", tt.n, tt.of, got, tt.bar)
		}
	}
}

func TestPaceSaysWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		states map[string]uint64
		rate   float64
		want   string
	}{
		{map[string]uint64{"accepted": 5, "suppressed": 2}, 3, "done"},
		{map[string]uint64{"planned": 990, "intended": 10}, 25, "25/s, 40 s left"},
		{map[string]uint64{"planned": 990, "waiting": 1200}, 2.5, "2.5/s, 6 min 36 s left, 1,200 waiting"},
		{map[string]uint64{"planned": 7}, 0, "7 not begun"},
		{map[string]uint64{"intended": 7, "uncertain": 1}, 0, "being sent, 1 uncertain"},
		{map[string]uint64{"waiting": 1}, 12, "1 waiting"},
		{map[string]uint64{"uncertain": 3}, 12, "3 uncertain"},
	} {
		if got := pace(&candorv1.ChannelStatus{States: tt.states, RatePerSec: tt.rate}); got != tt.want {
			t.Errorf("pace(%v at %v/s) = %q, want %q", tt.states, tt.rate, got, tt.want)
		}
	}
}

func TestTextsOfOthersCannotMoveTheCursor(t *testing.T) {
	t.Parallel()
	got := quoted("one\x1b[2J\x07\r\n\n\n\ntwo\u009b31m\n")
	if want := []string{"one[2J", "", "two31m"}; strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("quoted = %q, want %q", got, want)
	}
}

func TestTablesStandStraight(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	(&printer{w: &b, coloured: true}).table("  ", [][]cell{
		{text("año"), count(1234567), text("last")}, {tinted(green, "a"), count(5)},
	})
	want := "  año  1,234,567  last\n  \x1b[32ma\x1b[0m            5\n"
	if b.String() != want {
		t.Errorf("table:\n%q\nwant\n%q", b.String(), want)
	}
}

func TestErrorsHaveTheirExitCodes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err          error
		code         int
		what, remedy string
	}{
		{errors.New("disk is broken"), exitFailed, "disk is broken", ""},
		{refusal("no", "ask"), exitRefused, "no", "ask"},
		{fmt.Errorf("declare: %w", refusal("no", "ask")), exitRefused, "no", "ask"},
		{fromServer(connect.CodeNotFound, "there is no incident x: see candor incidents"), exitNothing, "there is no incident x", "see candor incidents"},
		{fromServer(connect.CodePermissionDenied, "ana drafted it: a second person must approve it"), exitRefused, "ana drafted it", "a second person must approve it"},
		{fromServer(connect.CodeFailedPrecondition, "incident x is draft"), exitRefused, "incident x is draft", ""},
		{fromServer(connect.CodeAborted, "changed"), exitRefused, "changed", ""},
		{fromServer(connect.CodeInvalidArgument, "bad id"), exitUsage, "bad id", ""},
		{fromServer(connect.CodeUnavailable, "the ledger does not answer"), exitUnreachable, "the ledger does not answer", ""},
		{fromServer(connect.CodeInternal, "read x: broken: the log says more"), exitFailed, "read x: broken: the log says more", ""},
	} {
		f := explain(tt.err)
		if f.code != tt.code || f.what != tt.what || f.remedy != tt.remedy {
			t.Errorf("explain(%v) = %d %q %q, want %d %q %q", tt.err, f.code, f.what, f.remedy, tt.code, tt.what, tt.remedy)
		}
	}
}

func fromServer(code connect.Code, message string) error {
	return connect.NewWireError(code, errors.New(message))
}
