package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	candorv1 "candor/proto/candor/v1"
)

const barWidth = 24

func statusCommand(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status ID", GroupID: groupWatch, Args: id,
		Short: "Show who was told and who was not",
		Long: `Shows people first: how many are on file, how many were told on at least one
channel, how many were not and why, and how many rows of the file are nobody's
notices. Then every wave by channel: where each message stands, and for what
reason. Then the message that comes next, what waits for a person, and what is
still open.

accepted   the provider has taken it; whether it arrived is not known
delivered  the provider reports that it arrived; nobody can say that it was read
uncertain  it may have been sent: the answer was lost

Ends with exit code 0 if the incident is complete, and 3 if it is not.`,
		Example: `  candor status breach-2026-11
  candor status breach-2026-11 --json | jq .people`,
	}
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		status, err := s.status(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if asJSON {
			err = c.proto(status)
		} else {
			err = c.status(cmd.Context(), s, status)
		}
		if err == nil && !status.GetComplete() {
			return &failure{code: exitIncomplete}
		}
		return err
	}
	return cmd
}

func (s *client) status(ctx context.Context, name string) (*candorv1.Status, error) {
	resp, err := s.GetStatus(ctx, connect.NewRequest(&candorv1.GetStatusRequest{Incident: name}))
	if err != nil {
		return nil, err
	}
	return resp.Msg.GetStatus(), nil
}

func (c *cli) status(ctx context.Context, s *client, st *candorv1.Status) error {
	inc, err := s.incident(ctx, st.GetIncident())
	if err != nil {
		return err
	}
	c.statusHead(inc, st)
	c.people(st)
	for _, w := range st.GetWaves() {
		for _, ch := range w.GetChannels() {
			c.funnel(w.GetWave(), ch)
		}
	}
	c.touch(ctx, s, inc)
	c.verdict(inc, st)
	return nil
}

// touch says what customers hear next, and what waits for a person.
func (c *cli) touch(ctx context.Context, s *client, inc *candorv1.Incident) {
	if inc.GetDeclaredAt() == nil {
		return
	}
	w := c.out
	var lines []string
	at := &setting{place: c.zone}
	resp, err := s.GetTimeline(ctx, connect.NewRequest(&candorv1.GetTimelineRequest{Incident: inc.GetId()}))
	if err != nil {
		lines = append(lines, w.paint(faint, "next: not known, "+explain(err).what))
	} else {
		at = settingOf(resp.Msg.GetTimeline())
		if next := coming(resp.Msg.GetTimeline()); next != "" {
			lines = append(lines, wrap("next: "+next, w.textWidth(), "  "))
		}
	}
	if d := inc.GetAsks(); d != nil {
		lines = append(lines, w.paint(yellow, asking(d, at))+"\n  "+answers(inc.GetId(), d.GetName(), d.GetReason()))
	}
	switch open, err := s.alerts(ctx, inc.GetId(), false); {
	case err != nil:
		lines = append(lines, w.paint(faint, "alerts: not known, "+explain(err).what))
	case len(open) > 0:
		lines = append(lines, w.paint(yellow, plural(uint64(len(open)), "alert of the response team is", "alerts of the response team are")+" open: candor alerts "+inc.GetId()))
	}
	if len(lines) > 0 {
		w.line("\n" + strings.Join(lines, "\n"))
	}
}

func (c *cli) statusHead(inc *candorv1.Incident, st *candorv1.Status) {
	w := c.out
	state := candorv1.Word(inc.GetState())
	if inc.GetState() == candorv1.IncidentState_INCIDENT_STATE_PAUSED {
		state += " (" + channelWords(inc.GetPausedChannels()) + ")"
	}
	w.printf("%s  %s", w.paint(bold, inc.GetId()), w.paint(stateColour(inc.GetState()), state))
	if inc.GetDeclaredAt() != nil {
		w.printf(" by %s and %s, %s", inc.GetDeclaredBy(), inc.GetApprovedBy(), c.clock(inc.GetDeclaredAt()))
	}
	w.line()
	if inc.GetReason() != "" {
		w.line("why: " + quoted(inc.GetReason())[0])
	}
	w.line(w.paint(faint, "as of "+c.clock(st.GetAsOf())))
}

// people come first: an incident is about them, not about messages.
func (c *cli) people(st *candorv1.Status) {
	w, p := c.out, st.GetPeople()
	w.printf("\n%s\n", w.paint(bold, "People"))
	rows := [][]cell{
		{text("on file"), count(p.GetOnFile())},
		{text("told"), count(p.GetTold()), right(percent(p.GetTold(), p.GetOnFile())), tinted(green, textBar(p.GetTold(), p.GetOnFile(), barWidth))},
		{text("unreached"), count(p.GetUnreached()), right(percent(p.GetUnreached(), p.GetOnFile()))},
	}
	for _, reason := range byCount(p.GetUnreachedReasons()) {
		rows = append(rows, []cell{tinted(faint, "  "+reasonWords(reason)), {text: number(p.GetUnreachedReasons()[reason]), colour: faint, right: true}})
	}
	if n := p.GetRejectedRows(); n > 0 {
		rows = append(rows, []cell{text("rejected rows"), count(n), right(""), tinted(yellow, "in the file, and in nobody's notices")})
	}
	if n := st.GetCallRequests(); n > 0 {
		rows = append(rows, []cell{text("asked for a call"), count(n), right("")})
		if open := st.GetCallRequestsOpen(); open > 0 {
			rows[len(rows)-1] = append(rows[len(rows)-1], tinted(yellow, plural(open, "customer waits", "customers wait")+" for one"))
		}
	}
	w.table("  ", rows)
}

// noticeStates in the order of a funnel, the best first.
func noticeStates() []candorv1.NoticeState {
	return []candorv1.NoticeState{
		candorv1.NoticeState_NOTICE_STATE_DELIVERED, candorv1.NoticeState_NOTICE_STATE_ACCEPTED,
		candorv1.NoticeState_NOTICE_STATE_UNCERTAIN, candorv1.NoticeState_NOTICE_STATE_INTENDED,
		candorv1.NoticeState_NOTICE_STATE_WAITING, candorv1.NoticeState_NOTICE_STATE_PLANNED,
		candorv1.NoticeState_NOTICE_STATE_SUPPRESSED, candorv1.NoticeState_NOTICE_STATE_FAILED, candorv1.NoticeState_NOTICE_STATE_EXPIRED,
	}
}

func noticeColour(s candorv1.NoticeState) string {
	switch s {
	case candorv1.NoticeState_NOTICE_STATE_DELIVERED:
		return green
	case candorv1.NoticeState_NOTICE_STATE_ACCEPTED:
		return blue
	case candorv1.NoticeState_NOTICE_STATE_UNCERTAIN:
		return yellow
	case candorv1.NoticeState_NOTICE_STATE_FAILED, candorv1.NoticeState_NOTICE_STATE_EXPIRED:
		return red
	}
	return ""
}

// stateWords is a notice's state as a person reads it.
func stateWords(state string) string {
	switch state {
	case "planned":
		return "not begun"
	case "intended":
		return "being sent"
	case "suppressed":
		return "not sent"
	}
	return plain(state)
}

func (c *cli) funnel(wave string, ch *candorv1.ChannelStatus) {
	w := c.out
	head := fmt.Sprintf("Wave %s, %s", wave, candorv1.Word(ch.GetChannel()))
	w.printf("\n%s  %s", w.paint(bold, head), plural(ch.GetPlannedTotal(), "notice", "notices"))
	if ch.GetSettled() {
		w.printf(", %s", w.paint(green, "settled"))
	} else if p := pace(ch); p != "done" {
		w.printf(", %s", p)
	}
	w.line()
	var rows [][]cell
	for _, state := range noticeStates() {
		n := ch.GetStates()[candorv1.Word(state)]
		if n == 0 {
			continue
		}
		rows = append(rows, []cell{
			tinted(noticeColour(state), candorv1.Word(state)), count(n), right(percent(n, ch.GetPlannedTotal())),
			tinted(noticeColour(state), textBar(n, ch.GetPlannedTotal(), barWidth)),
		})
		for _, r := range ch.GetReasons() {
			if r.GetState() == state {
				rows = append(rows, []cell{tinted(faint, "  "+plain(r.GetReason())), {text: number(r.GetCount()), colour: faint, right: true}})
			}
		}
	}
	for _, more := range []struct {
		what string
		n    uint64
	}{{"not delivered at first", ch.GetBounced()}, {"asked for no more", ch.GetOptedOut()}} {
		if more.n > 0 {
			rows = append(rows, []cell{tinted(faint, more.what), {text: number(more.n), colour: faint, right: true}})
		}
	}
	w.table("  ", rows)
}

// verdict says whether it is over, and if not, what is missing.
func (c *cli) verdict(inc *candorv1.Incident, st *candorv1.Status) {
	w := c.out
	if n := st.GetDuplicates(); n > 0 {
		w.printf("\n%s\n", w.paint(red, plural(n, "notice was", "notices were")+" accepted twice: this must never happen, report it"))
	}
	for _, d := range st.GetDamage() {
		w.printf("\n%s\n", w.paint(red, "Damage: "+wrap(d, w.textWidth(), "  ")))
	}
	for _, a := range waiting(inc) {
		w.printf("\n%s\n  %s\n", w.paint(yellow, additionSummary(a)+" waits for its approval:"), approveLine(inc.GetId(), a))
	}
	if !st.GetComplete() {
		w.printf("\n%s\n", w.paint(yellow, "Not complete:"))
		for _, o := range st.GetOpen() {
			w.line("  - " + wrap(o, w.textWidth(), "    "))
		}
		for _, p := range st.GetStuck() {
			w.printf("  - %s\n", w.paint(red, fmt.Sprintf("wave %s, %s, page %d has not moved since %s: %s open; look at the log of its worker",
				p.GetKey().GetWave(), candorv1.Word(p.GetKey().GetChannel()), p.GetKey().GetPage(), c.clock(p.GetUnchangedSince()), plural(p.GetOpenNotices(), "notice is", "notices are"))))
		}
		return
	}
	switch inc.GetState() {
	case candorv1.IncidentState_INCIDENT_STATE_ABORTED, candorv1.IncidentState_INCIDENT_STATE_SHREDDED:
		w.printf("\n%s nobody is told any more. %s not told.\n", w.paint(red, "Ended:"), plural(st.GetPeople().GetUnreached(), "customer was", "customers were"))
		return
	case candorv1.IncidentState_INCIDENT_STATE_CLOSED:
		w.printf("\n%s since %s: the last word was said, and nobody is told any more. %s not told.\n", w.paint(green, "✓ Closed"), c.clock(inc.GetClosedAt()),
			plural(st.GetPeople().GetUnreached(), "customer was", "customers were"))
		return
	}
	w.printf("\n%s", w.paint(green, "✓ Complete"))
	if until := st.GetProvisionalUntil(); until != nil {
		w.printf(", provisionally: until %s a provider may still report that a message did not arrive", until.AsTime().In(c.zone).Format("2 Jan 2006 15:04"))
	}
	w.line(".")
}

// openStates are those after which something must still happen.
func openStates() []candorv1.NoticeState {
	return []candorv1.NoticeState{
		candorv1.NoticeState_NOTICE_STATE_PLANNED, candorv1.NoticeState_NOTICE_STATE_WAITING,
		candorv1.NoticeState_NOTICE_STATE_INTENDED, candorv1.NoticeState_NOTICE_STATE_UNCERTAIN,
	}
}

// openNotices is how many notices of a channel are not settled.
func openNotices(ch *candorv1.ChannelStatus) (n uint64) {
	for _, s := range openStates() {
		n += ch.GetStates()[candorv1.Word(s)]
	}
	return n
}

// pace is how fast a channel goes, and how long it will take like that; or what it waits for.
func pace(ch *candorv1.ChannelStatus) string {
	var waits []string
	for _, s := range []candorv1.NoticeState{candorv1.NoticeState_NOTICE_STATE_WAITING, candorv1.NoticeState_NOTICE_STATE_UNCERTAIN} {
		if n := ch.GetStates()[candorv1.Word(s)]; n > 0 {
			waits = append(waits, number(n)+" "+candorv1.Word(s))
		}
	}
	moving := ch.GetStates()["planned"] + ch.GetStates()["intended"]
	rate := ch.GetRatePerSec()
	switch {
	case openNotices(ch) == 0:
		return "done"
	case moving > 0 && rate >= 0.1:
		left := span(time.Duration(float64(moving) / rate * float64(time.Second)))
		return strings.Join(append([]string{perSecond(rate), left + " left"}, waits...), ", ")
	case moving > 0 && ch.GetStates()["intended"] > 0:
		return strings.Join(append([]string{"being sent"}, waits...), ", ")
	case moving > 0:
		return strings.Join(append([]string{number(moving) + " not begun"}, waits...), ", ")
	}
	return strings.Join(waits, ", ")
}

func perSecond(rate float64) string {
	if rate < 10 {
		return fmt.Sprintf("%.1f/s", rate)
	}
	return number(uint64(rate+0.5)) + "/s"
}
