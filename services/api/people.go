package api

import (
	"context"

	"candor/pkg/audience"
	candorv1 "candor/proto/candor/v1"
)

// people is where the customers of an incident stand on each channel, by page: the best word over some waves.
type people map[uint32][]*candorv1.ChannelStates

// people asks the ledger; without a wave over all of them.
func (a *API) people(ctx context.Context, id, wave string) (people, error) {
	q, after, all := &candorv1.PeopleRequest{Incident: id}, "", people{}
	if wave != "" {
		q.Waves = []string{wave}
	}
	for {
		part := &candorv1.PeopleResponse{}
		next, err := a.askAfter(ctx, "ledger", "people", after, q, part)
		if err != nil {
			return nil, err
		}
		for _, p := range part.GetPages() {
			all[p.GetPage()] = p.GetChannels()
		}
		if next == "" {
			return all, nil
		}
		after = next
	}
}

// of tells where one customer stands.
func (p people) of(page uint32, slot int) audience.States {
	channels := p[page]
	return func(ch candorv1.Channel) candorv1.NoticeState {
		for _, c := range channels {
			if c.GetChannel() == ch && slot < len(c.GetStates()) {
				return candorv1.NoticeState(c.GetStates()[slot])
			}
		}
		return candorv1.NoticeState_NOTICE_STATE_UNSPECIFIED
	}
}
