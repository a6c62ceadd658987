package plan

import (
	"context"
	"fmt"
	"iter"

	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/audience"
	candorv1 "candor/proto/candor/v1"
)

// Added is one wave that is added to an incident, such as an update, or the first notice to rows that came later.
type Added struct {
	// Wave of Input.Playbook that has its texts; of an update, that of Set.With.
	Wave string
	// Audience is who gets it. States tells where a customer of a page stands, on the channels that Audience names; it is
	// called on any goroutine, and may be nil if Audience names none.
	Audience audience.Audience
	States   func(page uint32, slot int) audience.States
}

// Count is what an added wave comes to.
type Count struct {
	Wave *candorv1.WavePlan
	// Customers belong to the audience; Reachable are those of them whom one of the wave's channels reaches.
	Customers, Reachable uint64
	Blockers, Warnings   []*candorv1.Finding

	maker *Maker
}

// Wave counts an added wave over the pages of an incident. in.Now is when it is sent. The error joins all mistakes in its
// texts, each in its own file.
func Wave(ctx context.Context, in Input, add Added, pages iter.Seq2[Load, error]) (*Count, error) {
	if in.Playbook.Waves[add.Wave] == nil {
		return nil, fmt.Errorf("the playbook has no wave %s", add.Wave)
	}
	if len(add.Audience.Channels()) > 0 && add.States == nil {
		return nil, fmt.Errorf("count %s: nobody says where customers stand", add.Audience)
	}
	w, err := compileWave(in, add.Wave)
	if err != nil {
		return nil, err
	}
	w.first, w.open, w.audience, w.states = true, true, add.Audience, add.States
	k := start(ctx, in, []*wave{w})
	for load, err := range pages {
		if err == nil {
			err = k.Load(load)
		}
		if err != nil {
			_ = k.wait() // the first error is told
			return nil, err
		}
	}
	if err := k.wait(); err != nil {
		return nil, err
	}
	f := &findings{plan: &candorv1.Plan{MadeAt: timestamppb.New(in.Now)}}
	c := &Count{Wave: k.wavePlan(w, k.total.waves[0], f), Customers: k.total.members, Reachable: k.total.reachable, maker: k}
	c.Wave.Sent = nil
	switch {
	case c.Customers == 0:
		f.block("nobody", "no customer belongs to "+add.Audience.String(), "name another audience")
	case c.Reachable == 0:
		f.block("nobody_reachable", "no customer of the audience can be reached on a channel of the wave", "add a channel, or name another audience")
	}
	f.sort()
	c.Blockers, c.Warnings = f.plan.GetBlockers(), f.plan.GetWarnings()
	return c, nil
}

// Preview renders n masked messages for customers that were counted.
func (c *Count) Preview(n int) ([]*candorv1.PreviewMessage, error) { return c.maker.Preview(n) }
