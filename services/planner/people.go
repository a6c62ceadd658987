package planner

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"candor/pkg/audience"
	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/roster"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// choice says which slots of a page belong to a wave: nil for nobody, and empty for everyone, for whom no page is opened.
type choice func(context.Context, *candorv1.RosterPageInfo) ([]uint32, error)

// who returns the choice of the wave's people, and whether it depends on where their notices stand at this moment.
func (b *blueprint) who(ctx context.Context) (who choice, asked bool, err error) {
	if b.inc.KindOf(b.wave) == incident.KindResend {
		return named(b.inc.Additions[b.wave].GetAddition().GetPeople()), false, nil
	}
	a, of, err := b.audience()
	if err != nil {
		return nil, false, err
	}
	if len(a.Channels()) == 0 {
		return func(ctx context.Context, page *candorv1.RosterPageInfo) ([]uint32, error) {
			if a.Everyone() {
				return []uint32{}, nil
			}
			return b.match(ctx, a, page, nil)
		}, false, nil
	}
	frozen, err := b.frozen(ctx)
	if err != nil {
		return nil, false, err
	}
	people, err := b.people(ctx, of)
	if err != nil {
		return nil, false, err
	}
	return func(ctx context.Context, page *candorv1.RosterPageInfo) ([]uint32, error) {
		if slots, open := frozen[page.GetNumber()]; open {
			return slots, nil
		}
		return b.match(ctx, a, page, people)
	}, true, nil
}

// audience returns whom the wave is for, and the waves whose notices say who was told; without any, all do.
func (b *blueprint) audience() (a audience.Audience, of []string, err error) {
	switch b.inc.KindOf(b.wave) {
	case incident.KindFollowUp:
		return b.base.Audience.And(audience.Told()), nil, nil
	case incident.KindClosingNote:
		return audience.Told(), nil, nil
	case incident.KindUpdate, incident.KindCorrection:
		add := b.inc.Additions[b.wave].GetAddition()
		if a, err = audience.Parse(add.GetAudience()); err != nil {
			return a, nil, fmt.Errorf("audience of the %s: %w", add.GetKind(), err)
		}
		if add.GetCorrects() != "" {
			of = b.inc.Sharing(add.GetCorrects())
		}
		return a, of, nil
	}
	if a = b.base.Audience; len(a.Channels()) > 0 {
		return a, nil, fmt.Errorf("the wave's audience asks for the state of notices, of which there are none yet: %s", a)
	}
	return a, nil, nil
}

// frozen returns the people of the pages of which a journal of the wave is open.
func (b *blueprint) frozen(ctx context.Context) (map[uint32][]uint32, error) {
	pages := map[uint32][]uint32{}
	_, err := b.bus.Read(ctx, topology.StreamJournal, journalsOf(b.inc.ID, b.wave), 1, func(m bus.Stored) error {
		e := &candorv1.JournalEntry{}
		if err := proto.Unmarshal(m.Data, e); err != nil {
			return fmt.Errorf("%s, entry %d is damaged: %w", m.Subject, m.Seq, err)
		}
		k, ok := topology.ParseJournal(m.Subject)
		if e.GetOpened() == nil || !ok {
			return nil
		}
		slots := slotsOf(e.GetOpened())
		if other, open := pages[k.Page]; open && !slices.Equal(slots, other) {
			return fmt.Errorf("page %d of wave %s is open for different people on different channels: nothing more is sent; look at candor incidents", k.Page, b.wave)
		}
		pages[k.Page] = slots
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the journals of wave %s: %w", b.wave, err)
	}
	return pages, nil
}

// people asks the ledger where the incident's customers stand now, by the notices of some waves or all.
func (b *blueprint) people(ctx context.Context, waves []string) (audience.People, error) {
	at, err := b.last(ctx)
	if err != nil {
		return nil, err
	}
	q := &candorv1.PeopleRequest{Incident: b.inc.ID, Waves: waves, JournalSeq: at.journal, ReceiptsSeq: at.receipts}
	pages := audience.People{}
	for after := ""; ; {
		res := &candorv1.PeopleResponse{}
		next, err := b.askPart(ctx, "people", q, res, after)
		if err != nil {
			return nil, err
		}
		pages.Add(res)
		if next == "" {
			return pages, nil
		}
		after = next
	}
}

// match lists the slots of a page that belong to an audience. It opens the page only for what is said of customers themselves.
func (b *blueprint) match(ctx context.Context, who audience.Audience, page *candorv1.RosterPageInfo, where audience.People) (slots []uint32, err error) {
	customers := make([]roster.Customer, 1)
	if who.AsksFields() {
		opened, err := b.Planner.pages.OpenPage(ctx, b.inc.ID, page.GetNumber(), page.GetSealedSha256())
		if err != nil {
			return nil, err
		}
		if customers = opened.Customers; len(customers) != int(page.GetCustomers()) {
			return nil, fmt.Errorf("page %d holds %d customers, its manifest says %d", page.GetNumber(), len(customers), page.GetCustomers())
		}
	}
	for n := range page.GetCustomers() {
		if who.Match(&customers[int(n)%len(customers)], where.Of(page.GetNumber(), int(n))) {
			slots = append(slots, n)
		}
	}
	return slots, nil
}

// named are the slots of a page that are listed one by one.
func named(people []*candorv1.PageSlots) choice {
	byPage := map[uint32][]uint32{}
	for _, on := range people {
		byPage[on.GetPage()] = append(byPage[on.GetPage()], on.GetSlots()...)
	}
	return func(_ context.Context, page *candorv1.RosterPageInfo) ([]uint32, error) {
		return unpack(byPage[page.GetNumber()], page)
	}
}

// unpack lists slots in order, each once, and refuses those that the page does not have; nil for none.
func unpack(runs []uint32, page *candorv1.RosterPageInfo) ([]uint32, error) {
	for i := 0; i < len(runs); i += 2 {
		if i+1 == len(runs) || uint64(runs[i])+uint64(runs[i+1]) > uint64(page.GetCustomers()) {
			return nil, fmt.Errorf("slots %v lie outside page %d of %d customers", runs, page.GetNumber(), page.GetCustomers())
		}
	}
	slots := journal.Slots(runs)
	slices.Sort(slots)
	if slots = slices.Compact(slots); len(slots) == 0 {
		return nil, nil
	}
	return slots, nil
}
