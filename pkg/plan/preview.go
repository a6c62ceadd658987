package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"candor/pkg/notice"
	"candor/pkg/roster"
	"candor/pkg/script"
	"candor/pkg/segment"
	candorv1 "candor/proto/candor/v1"
)

// preview renders n messages of a wave for customers of the pages, with the personal parts masked: one of each channel and
// language before a second one of any.
func preview(in Input, w *wave, n int, pages []*roster.Page) ([]*candorv1.PreviewMessage, error) {
	pages = slices.SortedFunc(slices.Values(pages), func(a, b *roster.Page) int { return cmp.Compare(a.Number, b.Number) })
	var list []*candorv1.PreviewMessage
	rounds := 0
	for _, p := range pages {
		rounds = max(rounds, len(p.Customers))
	}
	for round := range rounds {
		for _, ch := range w.channels {
			for _, p := range pages {
				c := customerAt(p, w, ch.channel, round)
				if c == nil {
					continue
				}
				if len(list) == n {
					return list, nil
				}
				m, err := message(ch, in.Playbook.Languages.Language(p.Language), c)
				if err != nil {
					return nil, fmt.Errorf("preview of customer %s: %w", c.Ref, err)
				}
				list = append(list, m)
			}
		}
	}
	return list, nil
}

// message is what a customer would read. Its length is the real one's: the mask hides names, not what they cost.
func message(ch *channel, language string, c *roster.Customer) (*candorv1.PreviewMessage, error) {
	m := &candorv1.PreviewMessage{CustomerRef: c.Ref, Channel: ch.channel, Language: language}
	masked := notice.Mask(c)
	var err error
	t := ch.texts[language]
	switch ch.channel {
	case candorv1.Channel_CHANNEL_SMS:
		info := segment.Count(t.SMS(c))
		m.Text, m.Segments, m.Encoding = t.SMS(masked), uint32(info.Segments), info.Encoding.String()
	case candorv1.Channel_CHANNEL_CALL:
		said := ch.script.For(language, masked)
		var b strings.Builder
		err = script.Text(&b, &candorv1.Script{Version: said.GetVersion(), Language: language, Parts: said.GetParts()})
		m.Text = b.String()
	default:
		m.Subject, m.Text, _, err = t.RenderEmail(masked)
	}
	return m, err
}

// customerAt returns the page's nth customer who is told on the channel, or nil.
func customerAt(p *roster.Page, w *wave, ch candorv1.Channel, nth int) *roster.Customer {
	for i := range p.Customers {
		c := &p.Customers[i]
		if ok, _ := c.Usable(ch); !ok || w.open && !w.member(p, i) {
			continue
		}
		if nth == 0 {
			return c
		}
		nth--
	}
	return nil
}
