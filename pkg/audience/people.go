package audience

import candorv1 "candor/proto/candor/v1"

// People is where the customers of an incident stand, by page: for each channel one byte a slot, as the ledger says it.
type People map[uint32][]*candorv1.ChannelStates

// Add takes a part of the ledger's answer.
func (p People) Add(part *candorv1.PeopleResponse) {
	for _, page := range part.GetPages() {
		p[page.GetPage()] = page.GetChannels()
	}
}

// Of tells where one customer stands.
func (p People) Of(page uint32, slot int) States {
	channels := p[page]
	return func(ch candorv1.Channel) candorv1.NoticeState {
		for _, c := range channels {
			if states := c.GetStates(); c.GetChannel() == ch && slot < len(states) {
				return candorv1.NoticeState(states[slot])
			}
		}
		return candorv1.NoticeState_NOTICE_STATE_UNSPECIFIED
	}
}
