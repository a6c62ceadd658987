package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	candorv1 "candor/proto/candor/v1"
)

const (
	narrowest   = 60               // terminal that has room for bars
	lineEvery   = 2 * time.Second  // of a watch that nobody sees live
	retryEvery  = time.Second      // when the server went away under a watch
	retryAtMost = 60 * time.Second // before the watch gives up
)

func watchCommand(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "watch ID", GroupID: groupWatch, Args: id,
		Short: "Watch people being told, live",
		Long: `Shows how an incident goes, as it goes: on a terminal a bar for the people and one
for every wave and channel, with rate and time left; else a line every few
seconds; with --json a status object on every change.

It ends when the incident is complete, or when you press q or Ctrl-C. Leaving
changes nothing: Candor goes on without anybody watching. If the server goes
away it is waited for, for a minute.

Ends with exit code 0 if the incident is complete, and 3 if you left before.`,
		Example: `  candor watch breach-2026-11
  candor watch breach-2026-11 && echo "everybody was told who can be"`,
	}
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		show := c.view(asJSON)
		status, err := c.watch(cmd.Context(), s, args[0], show)
		switch {
		case err != nil && !errors.Is(err, errLeft):
			return err
		case !status.GetComplete():
			if !asJSON {
				c.err.line("You left; the sending goes on. candor status " + args[0] + " shows where it stands.")
			}
			return &failure{code: exitIncomplete}
		case asJSON:
			return nil
		}
		inc, err := s.incident(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		c.verdict(inc, status)
		return nil
	}
	return cmd
}

// errLeft says that whoever watched has gone.
var errLeft = errors.New("left")

// view shows one status after the other.
type view interface {
	show(*candorv1.Status)
	// close leaves what was shown last on the screen.
	close()
	// left is closed when whoever looks wants to go; nil if they cannot say so.
	left() <-chan struct{}
}

func (c *cli) view(asJSON bool) view {
	switch {
	case asJSON:
		return &jsonView{c: c}
	case c.out.terminal() && c.out.width() >= narrowest:
		return newBars(c)
	}
	return &lineView{c: c}
}

// watch follows an incident until it is complete, and returns the last status.
func (c *cli) watch(ctx context.Context, s *client, name string, v view) (last *candorv1.Status, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer v.close()
	if gone := v.left(); gone != nil {
		go func() {
			select {
			case <-gone:
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	var silentSince time.Time
	for {
		err := s.follow(ctx, name, func(st *candorv1.Status) bool {
			last, silentSince = st, time.Time{}
			v.show(st)
			return !st.GetComplete()
		})
		switch {
		case last.GetComplete():
			return last, nil
		case ctx.Err() != nil:
			return last, errLeft
		case last == nil || connect.CodeOf(err) != connect.CodeUnavailable && exitOf(err) != exitUnreachable:
			return last, err
		}
		if silentSince.IsZero() {
			silentSince = c.now()
		}
		if c.now().Sub(silentSince) > retryAtMost {
			return last, err
		}
		select {
		case <-time.After(s.retry):
		case <-ctx.Done():
			return last, errLeft
		}
	}
}

func exitOf(err error) int {
	if err == nil {
		return exitDone
	}
	return explain(err).code
}

// follow hands over every status until more returns false, or the stream ends.
func (s *client) follow(ctx context.Context, name string, more func(*candorv1.Status) bool) error {
	stream, err := s.WatchStatus(ctx, connect.NewRequest(&candorv1.WatchStatusRequest{Incident: name}))
	if err != nil {
		return s.explain(err)
	}
	defer func() { _ = stream.Close() }() // nothing more is wanted of it
	for stream.Receive() {
		if !more(stream.Msg().GetStatus()) {
			return nil
		}
	}
	if err := stream.Err(); err != nil {
		return s.explain(err)
	}
	return connect.NewError(connect.CodeUnavailable, errors.New("the server ended the watch: watch again"))
}

// jsonView prints every status.
type jsonView struct{ c *cli }

func (v *jsonView) show(st *candorv1.Status) { _ = v.c.proto(st) } // what cannot be written is told at the end
func (*jsonView) close()                     {}
func (*jsonView) left() <-chan struct{}      { return nil }

// lineView prints a line every few seconds, for logs.
type lineView struct {
	c       *cli
	printed time.Time
	last    string
}

func (*lineView) close()                {}
func (*lineView) left() <-chan struct{} { return nil }

func (v *lineView) show(st *candorv1.Status) {
	now := v.c.now()
	if !st.GetComplete() && now.Sub(v.printed) < lineEvery {
		return
	}
	line := summary(st)
	if line == v.last {
		return
	}
	v.printed, v.last = now, line
	v.c.out.line(st.GetAsOf().AsTime().In(v.c.zone).Format(time.TimeOnly) + "  " + line)
}

// summary is a status on one line.
func summary(st *candorv1.Status) string {
	parts := []string{fmt.Sprintf("told %s of %s", number(st.GetPeople().GetTold()), number(st.GetPeople().GetOnFile()))}
	for _, w := range st.GetWaves() {
		for _, ch := range w.GetChannels() {
			part := fmt.Sprintf("%s %s %s of %s", w.GetWave(), candorv1.Word(ch.GetChannel()), number(ch.GetPlannedTotal()-openNotices(ch)), number(ch.GetPlannedTotal()))
			if p := pace(ch); p != "done" {
				part += " (" + p + ")"
			}
			parts = append(parts, part)
		}
	}
	if len(st.GetWaves()) == 0 && len(st.GetOpen()) > 0 {
		parts = append(parts, st.GetOpen()[0])
	}
	return strings.Join(parts, "  ")
}
