package planner

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/playbook"
	"candor/pkg/roster"
	candorv1 "candor/proto/candor/v1"
)

// everyChannel stands for all channels among those that are paused.
const everyChannel = candorv1.Channel_CHANNEL_UNSPECIFIED

// canary chooses the jobs that go before all others: on each channel as many pages, and a part of the next one, as make the
// number of notices that the playbook asks for. Customers whom the channel cannot reach do not count. It opens no more pages
// than it needs, and chooses the same people whenever it is asked. None if the wave has no canary, or is no larger than it.
func (p *Planner) canary(ctx context.Context, inc *incident.Incident, wave string, jobs []job) ([]job, error) {
	set, err := p.texts.Plan(inc)
	if err != nil {
		return nil, err
	}
	w := set.Playbook.Waves[wave] // an addition has no canary: its people were chosen one by one
	if w == nil || w.Guard.Canary <= 0 {
		return nil, nil
	}
	var first []job
	left := map[candorv1.Channel]int{}
	for ch := range w.Each {
		if ch != candorv1.Channel_CHANNEL_CALL { // which takes days to be judged, and begins with the rest
			left[ch] = w.Guard.Canary
		}
	}
	whole := 0 // jobs that go as they are
	pages := map[uint32]*roster.Page{}
	for _, j := range jobs {
		n := left[j.key.Channel]
		if n == 0 {
			continue
		}
		page := pages[j.key.Page]
		if page == nil {
			if page, err = p.pages.OpenPage(ctx, inc.ID, j.key.Page, j.opened.GetPageSha256()); err != nil {
				return nil, err
			}
			pages[j.key.Page] = page
		}
		slots, usable := upTo(n, slotsOf(j.opened), page, j.key.Channel)
		left[j.key.Channel] -= usable
		j.whole = false // the others may be there already, if they followed meanwhile
		if len(slots) == j.notices() {
			whole++
		} else {
			j.opened = proto.CloneOf(j.opened)
			j.opened.Audience = journal.Runs(slots)
		}
		first = append(first, j)
	}
	if whole == len(jobs) {
		return nil, nil
	}
	return first, nil
}

// upTo cuts the slots off behind the last of n customers whom the channel can reach. If there are no more, it cuts nothing.
func upTo(n int, slots []uint32, page *roster.Page, ch candorv1.Channel) (part []uint32, usable int) {
	for i, slot := range slots {
		if int(slot) >= len(page.Customers) {
			break
		}
		if ok, _ := page.Customers[slot].Usable(ch); !ok {
			continue
		}
		if usable == n {
			return slots[:i], usable
		}
		usable++
	}
	return slots, usable
}

// split parts the jobs of a wave into those that the canary began, whose journals may have a part of their people, and
// those whose journals are not there yet.
func split(jobs, first []job) (begun, rest []job) {
	in := map[journal.Key]bool{}
	for _, j := range first {
		in[j.key] = true
	}
	for _, j := range jobs {
		if in[j.key] {
			j.admits = admittedAfterCanary
			begun = append(begun, j)
		} else {
			rest = append(rest, j)
		}
	}
	return begun, rest
}

// judge looks at the canary of the first wave, and lets the others follow or pauses the incident.
//
// A crash before CanaryPassed or Paused: it is judged again. A crash after CanaryPassed: the next look, or the next planner to
// start, plans the rest. A crash after Paused: the api tells everybody else at its next start.
func (t *tender) judge(ctx context.Context, c *charge) error {
	const wave = incident.FirstWave
	inc := c.inc
	if inc.Waves[wave] != nil || c.without || !mayBegin(inc, wave) {
		return nil
	}
	set, err := t.texts.Plan(inc)
	if err != nil {
		return err
	}
	guard := set.Playbook.Waves[wave].Guard
	if guard.Canary > 0 && c.canary == nil {
		jobs, err := t.jobs(ctx, inc, wave)
		if err != nil {
			return err
		}
		if c.canary, err = t.Planner.canary(ctx, inc, wave, jobs); err != nil {
			return err
		}
	}
	if len(c.canary) == 0 {
		c.without = true
		return nil
	}
	switch {
	case inc.Canaries[wave] == incident.CanaryGood:
		return t.begin(ctx, inc, wave)
	case inc.Paused[everyChannel]:
		return nil
	case inc.Canaries[wave] == incident.CanaryBad:
		return t.pass(ctx, c, wave) // a person resumed, who knew
	}
	good, wrong, err := t.verdict(ctx, c, wave, guard)
	switch {
	case err != nil:
		return err
	case wrong != "":
		reason := fmt.Sprintf("the canary of wave %s did not do well: %s. Nobody else was told. Mend the cause and resume, or abort", wave, wrong)
		return t.pause(ctx, c, &candorv1.Paused{Canary: wave, Reason: reason})
	case good:
		return t.pass(ctx, c, wave)
	}
	return nil
}

// pass lets the wave go on; bus.ErrOvertaken if somebody else wrote meanwhile.
func (t *tender) pass(ctx context.Context, c *charge, wave string) error {
	inc, err := t.log.Append(ctx, c.inc, incident.Service("planner"), &candorv1.BreachEvent{
		Event: &candorv1.BreachEvent_CanaryPassed{CanaryPassed: &candorv1.CanaryPassed{Wave: wave}},
	})
	if err != nil {
		return err
	}
	t.out.Info().Str("incident", inc.ID).Str("wave", wave).Msg("canary passed")
	return t.begin(ctx, inc, wave)
}

// verdict says whether the canary did well, or in a sentence what is wrong with it; neither as long as it is not known.
func (t *tender) verdict(ctx context.Context, c *charge, wave string, guard playbook.Guard) (good bool, wrong string, err error) {
	at, err := t.last(ctx)
	if err != nil {
		return false, "", err
	}
	res := &candorv1.CanaryResponse{}
	err = t.ask(ctx, "canary", &candorv1.CanaryRequest{
		Incident: c.inc.ID, Wave: wave, JournalSeq: at.journal, ReceiptsSeq: at.receipts,
	}, res)
	if err != nil {
		return false, "", err
	}
	good = true
	var open, uncertain uint64
	channels := map[candorv1.Channel]bool{}
	for _, ch := range res.GetChannels() {
		channels[ch.GetChannel()] = true
		// The share is one of all notices of the canary: while some are under way, it can only rise.
		n := tally{tried: ch.GetNotices(), rejected: ch.GetRejected(), bounced: ch.GetBounced()}
		if wrong := complaint(guard, ch.GetChannel(), n, ch.GetReasons()); wrong != "" {
			return false, wrong, nil
		}
		heard := ch.GetWaiting() == 0 || ch.GetLastAcceptedAt() != nil && !t.now().Before(ch.GetLastAcceptedAt().AsTime().Add(guard.CanaryWait))
		good = good && ch.GetOpen() == 0 && heard
		open += ch.GetOpen()
		for _, r := range ch.GetReasons() {
			if r.GetState() == candorv1.NoticeState_NOTICE_STATE_UNCERTAIN {
				uncertain += r.GetCount()
			}
		}
	}
	for _, j := range c.canary {
		good = good && channels[j.key.Channel]
	}
	if good {
		good, err = t.allOpen(ctx, c)
		return good, "", err
	}
	if open == 0 {
		return false, "", nil
	}
	wrong, err = t.stopped(ctx, c, open, uncertain, max(guard.CanaryWait, t.cfg.PutBackAgain))
	return false, wrong, err
}

// allOpen says whether all journals of the canary are open: a planner may be about to open them.
func (t *tender) allOpen(ctx context.Context, c *charge) (bool, error) {
	for _, j := range c.canary {
		st, err := t.journal.Load(ctx, j.key)
		if err != nil || st.Opened == nil {
			return false, err
		}
	}
	return true, nil
}

// stopped says in a sentence why the canary's open notices come to no end by themselves; empty if they may. Those that may
// have been sent are given some time, in which their provider is asked.
func (t *tender) stopped(ctx context.Context, c *charge, open, uncertain uint64, patience time.Duration) (string, error) {
	for _, j := range c.canary {
		st, err := t.journal.Load(ctx, j.key)
		if err != nil {
			return "", err
		}
		if st.DeadFor != "" {
			return fmt.Sprintf("its %s cannot be worked off (%s)", words(j.key.Channel), st.DeadFor), nil
		}
	}
	switch now := t.now(); {
	case uncertain < open:
		c.uncertainSince = time.Time{}
	case c.uncertainSince.IsZero():
		c.uncertainSince = now
	case !now.Before(c.uncertainSince.Add(patience)):
		return fmt.Sprintf("%d of its notices may have been sent, and nobody can say", uncertain), nil
	}
	return "", nil
}
