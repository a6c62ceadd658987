package calls

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/callqueue"
	"candor/pkg/incident"
	"candor/pkg/pii"
	"candor/pkg/roster"
	"candor/pkg/token"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// serve answers dialers for as long as this process owns the queue.
func (o *owner) serve(ctx context.Context) error {
	c := o.Calls
	return c.Bus.ServeService(ctx, bus.Service{
		Name: topology.CallService, Version: version(), Description: "who is to be called: claim tasks, and say how the calls ended",
		Queue: "calls", InHand: c.cfg.InHand, Within: claimWaits + within,
	}, []bus.Endpoint{
		waits(c, endpoint(c, "claim", token.Call, o.claim)),
		endpoint(c, "renew", token.Call, o.renew),
		endpoint(c, "release", token.Call, o.release),
		endpoint(c, "complete", token.Call, o.complete),
		endpoint(c, "add", token.Queue, o.add),
		endpoint(c, "explain", token.Queue, o.explain),
		endpoint(c, "script", token.Queue, o.scriptFor),
		endpoint(c, "queue", token.Queue, o.counts),
	})
}

// isCode is what a disposition looks like.
var isCode = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)

// waits gives an endpoint whose requests wait a room of their own, so that those who wait for customers keep nobody from saying
// how a call ended.
func waits(c *Calls, e bus.Endpoint) bus.Endpoint {
	e.InHand = c.cfg.InHand
	return e
}

// told is what a dialer is told of a command that the queue refused.
func told(err error) error {
	var (
		unknown  *callqueue.UnknownDispositionError
		callBack *callqueue.CallBackTimeError
		reported *callqueue.ReportedError
	)
	code := bus.Code("")
	switch {
	case err == nil:
		return nil
	case errors.Is(err, callqueue.ErrUnknownLease), errors.Is(err, callqueue.ErrNoTask):
		code = bus.CodeNotFound
	case errors.Is(err, callqueue.ErrForeignLease):
		code = bus.CodePermissionDenied
	case errors.Is(err, callqueue.ErrLeaseOver), errors.Is(err, callqueue.ErrWithdrawn), errors.Is(err, callqueue.ErrNotNow):
		code = bus.CodePrecondition
	case errors.As(err, &reported):
		code = bus.CodeExists
	case errors.As(err, &unknown), errors.As(err, &callBack), errors.Is(err, callqueue.ErrCallBackMissing),
		errors.Is(err, callqueue.ErrCallBackUnwanted), errors.Is(err, callqueue.ErrForeignNumber):
		code = bus.CodeInvalid
	default:
		return err
	}
	return bus.Errorf(code, "%v", err)
}

const (
	opensAtOnce = 4
	stopAgain   = 100 * time.Millisecond
	// asideFor is how long a page that cannot be read is put aside, and asideBriefly one that may be read in a moment.
	asideFor     = time.Minute
	asideBriefly = 2 * time.Second
	// handsWithin is how long a claim goes on, after the time that it waits, when what it was granted cannot be handed out.
	handsWithin = within / 2
)

// claim leases tasks and adds what a call needs: here personal data leaves the vault, and nowhere else.
//
// A crash after the leases are stored: nobody has heard of them, and they end by themselves.
func (o *owner) claim(ctx context.Context, who token.Identity, q *candorv1.ClaimRequest) (*candorv1.ClaimResponse, error) {
	c := callqueue.Claim{
		Dialer: who.ID, Mode: q.GetMode(), Max: int(q.GetMax()), Skills: q.GetSkills(), Languages: q.GetLanguages(),
		Incidents: q.GetIncidents(), LeaseFor: o.Clock.Work(q.GetLease().AsDuration()), Random: random,
	}
	for _, id := range c.Incidents {
		if o.Incidents.Get(id) == nil {
			return nil, bus.Errorf(bus.CodeNotFound, "there is no incident %s", id)
		}
	}
	until := o.Clock.Mono() + min(q.GetWait().AsDuration(), claimWaits)
	for {
		granted, err := o.lease(ctx, c, until-o.Clock.Mono())
		if err != nil {
			return nil, err
		}
		resp, err := o.hand(ctx, who, granted)
		if err != nil || len(resp.GetTasks()) > 0 || len(granted) == 0 || o.Clock.Mono() > until+handsWithin {
			return resp, err
		}
		// All of them had been opted out in the meantime, or cannot be read; others may be there.
	}
}

// hand makes tasks of leases. Customers who were opted out in the meantime are left out, and so are those of whom nothing can be
// read, whose pages are put aside for a while; they are given back. An error is about the whole claim.
func (o *owner) hand(ctx context.Context, who token.Identity, granted []callqueue.Granted) (*candorv1.ClaimResponse, error) {
	tasks, errs := make([]*candorv1.CallTask, len(granted)), make([]error, len(granted))
	var g errgroup.Group
	g.SetLimit(opensAtOnce)
	for i := range granted {
		g.Go(func() error {
			tasks[i], errs[i] = o.task(ctx, &granted[i])
			return nil
		})
	}
	_ = g.Wait() // each has its own error
	var whole error
	for _, err := range errs {
		if err != nil && (ctx.Err() != nil || errors.Is(err, errLostSeat)) {
			whole = fmt.Errorf("hand out tasks: %w", err)
		}
	}
	resp := &candorv1.ClaimResponse{}
	for i, t := range tasks {
		place := granted[i].Place
		switch {
		case whole == nil && errs[i] == nil:
			o.aside.clear(pageKey{place.Incident, place.Page})
		case whole == nil:
			o.putAside(ctx, place, errs[i]) // before the task is back in the queue
		}
		if whole == nil && t != nil {
			resp.Tasks = append(resp.Tasks, t)
			continue
		}
		if err := o.giveBack(ctx, who, granted[i].Lease); err != nil {
			o.Log.Warn().Err(err).Str("incident", place.Incident).Msg("a task that cannot be handed out stays leased until its time is over")
		}
	}
	if whole != nil {
		return nil, whole
	}
	return resp, nil
}

// putAside keeps the customers of a page from being claimed for a while, since nobody can be told how to call them. Who is on
// other pages is handed out.
func (o *owner) putAside(ctx context.Context, p callqueue.Place, cause error) {
	wait := asideFor
	if !lasting(cause) {
		wait = asideBriefly
	}
	if o.aside.add(pageKey{p.Incident, p.Page}) {
		o.Log.Error().Err(cause).Str("incident", p.Incident).Uint32("page", p.Page).Dur("again_in", wait).
			Msg("customers of a page cannot be handed to dialers, which is tried again: mend the cause")
	}
	err := o.submit(context.WithoutCancel(ctx), func(now time.Time) ([]callqueue.Event, error) {
		o.queue.Shelve(now, p.Incident, p.Page, now.Add(o.Clock.Work(wait)))
		return nil, nil
	})
	if err != nil {
		o.Log.Debug().Err(err).Str("incident", p.Incident).Uint32("page", p.Page).Msg("page is not put aside: another process owns the call queue")
	}
}

// aside are the pages that were put aside and have not been read since, so that each is logged once.
type aside struct {
	mu    sync.Mutex
	pages map[pageKey]struct{}
}

// add says whether the page is news.
func (a *aside) add(k pageKey) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pages == nil {
		a.pages = map[pageKey]struct{}{}
	}
	_, known := a.pages[k]
	a.pages[k] = struct{}{}
	return !known
}

func (a *aside) clear(k pageKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.pages, k)
}

func (o *owner) giveBack(ctx context.Context, who token.Identity, l callqueue.Lease) error {
	return o.submit(context.WithoutCancel(ctx), func(now time.Time) ([]callqueue.Event, error) {
		e, err := o.queue.Release(now, l, who.ID, "")
		return of(l.Place.Incident, []*candorv1.CallEvent{e}), err
	})
}

// task makes what a dialer gets; nil if the customer has been opted out.
func (o *owner) task(ctx context.Context, g *callqueue.Granted) (*candorv1.CallTask, error) {
	inc, set, err := o.plan(ctx, g.Place.Incident)
	if err != nil {
		return nil, err
	}
	customer, err := o.customer(ctx, inc, g.Place)
	if err != nil {
		return nil, err
	}
	phone := customer.Phones[g.Phone]
	if o.Suppressions.Has(channel, phone) {
		hash := o.Suppressions.Number(phone)
		return nil, o.submit(ctx, func(now time.Time) ([]callqueue.Event, error) {
			o.queue.Suppress(now, hash)
			return nil, nil
		})
	}
	script, err := o.scriptOf(inc, set)
	if err != nil {
		return nil, err
	}
	t := &candorv1.CallTask{
		Task: taskID(g.Place), Lease: g.Lease.String(), ExpiresAt: timestamppb.New(g.ExpiresAt), Fence: g.Lease.Fence,
		Incident: g.Place.Incident, Attempt: g.Attempt, Phone: phone.Reveal(), GivenName: customer.GivenName.Reveal(),
		Language: g.Language, Code: customer.Code, Purpose: g.Purpose, CallBackAt: stamp(g.CallBackAt),
		WindowEndsAt: stamp(g.WindowEndsAt), CallerId: set.Playbook.Calls.CallerID, Script: script.For(g.Language, customer),
	}
	for _, i := range g.Next {
		if next := customer.Phones[i]; !o.Suppressions.Has(channel, next) {
			t.NextPhones = append(t.NextPhones, next.Reveal())
		}
	}
	return t, nil
}

func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// taskID names a task: a customer has one.
func taskID(p callqueue.Place) string { return fmt.Sprintf("%s.%d.%d", p.Incident, p.Page, p.Slot) }

func (o *owner) customer(ctx context.Context, inc *incident.Incident, p callqueue.Place) (*roster.Customer, error) {
	page, err := o.folder.next(ctx, inc, p.Page)
	if err != nil {
		return nil, err
	}
	if int(p.Slot) >= len(page.Customers) {
		return nil, fmt.Errorf("page %d of incident %s has no customer %d", p.Page, p.Incident, p.Slot)
	}
	return &page.Customers[p.Slot], nil
}

func (o *owner) renew(ctx context.Context, who token.Identity, q *candorv1.RenewRequest) (*candorv1.RenewResponse, error) {
	l, err := callqueue.ParseLease(q.GetLease())
	if err != nil {
		return nil, told(err)
	}
	var until time.Time
	err = o.submit(ctx, func(now time.Time) ([]callqueue.Event, error) {
		at, e, err := o.queue.Renew(now, l, who.ID, o.Clock.Work(q.GetLeaseFor().AsDuration()))
		until = at
		return of(l.Place.Incident, []*candorv1.CallEvent{e}), err
	})
	if err != nil {
		return nil, told(err)
	}
	return &candorv1.RenewResponse{ExpiresAt: timestamppb.New(until)}, nil
}

func (o *owner) release(ctx context.Context, who token.Identity, q *candorv1.ReleaseRequest) (*candorv1.ReleaseResponse, error) {
	l, err := callqueue.ParseLease(q.GetLease())
	if err != nil {
		return nil, told(err)
	}
	err = o.submit(ctx, func(now time.Time) ([]callqueue.Event, error) {
		e, err := o.queue.Release(now, l, who.ID, q.GetReason())
		return of(l.Place.Incident, []*candorv1.CallEvent{e}), err
	})
	if err != nil {
		return nil, told(err)
	}
	return &candorv1.ReleaseResponse{}, nil
}

func (o *owner) complete(ctx context.Context, who token.Identity, q *candorv1.CompleteRequest) (*candorv1.CompleteResponse, error) {
	l, err := callqueue.ParseLease(q.GetLease())
	if err != nil {
		return nil, told(err)
	}
	if !isCode.MatchString(q.GetDisposition()) { // it may be a note, and is not repeated
		return nil, bus.Errorf(bus.CodeInvalid, "complete: the disposition is no code: use one of the playbook's table, such as notified or no_answer")
	}
	r := callqueue.Report{
		Disposition: q.GetDisposition(), CallBackAt: instant(q.GetCallBackAt()), CallID: q.GetCallId(),
		StartedAt: instant(q.GetStartedAt()), AnsweredAt: instant(q.GetAnsweredAt()), EndedAt: instant(q.GetEndedAt()),
	}
	if q.GetPhone() != "" {
		r.Number = o.Suppressions.Number(pii.NewPhone(strings.TrimSpace(q.GetPhone())))
	}
	var (
		answer   callqueue.Answer
		reported *candorv1.CallCompleted
	)
	err = o.submit(ctx, func(now time.Time) ([]callqueue.Event, error) {
		a, e, err := o.queue.Complete(now, l, who.ID, r)
		answer, reported = a, e.GetCompleted()
		return of(l.Place.Incident, []*candorv1.CallEvent{e}), err
	})
	var late *callqueue.CallBackTimeError
	if errors.As(err, &late) && !late.At.After(late.From) && q.GetEndedAt() == nil {
		return nil, bus.Errorf(bus.CodeInvalid, "%v; if the call itself was before that, say with ended_at when it ended", err)
	}
	if err != nil {
		return nil, told(err)
	}
	if reported != nil {
		o.heed(ctx, l.Place, reported)
	}
	return &candorv1.CompleteResponse{State: answer.State, Late: answer.Late, NextAt: stamp(answer.NextAt)}, nil
}

// instant is the zero time for no timestamp.
func instant(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// heed puts the number of somebody who wants no calls on the list of opt-outs. The queue knows of it already, and for ever,
// so a crash here costs the list an entry and nobody a call.
func (o *owner) heed(ctx context.Context, p callqueue.Place, e *candorv1.CallCompleted) {
	inc, set, err := o.plan(ctx, p.Incident)
	if err == nil && !set.Playbook.Calls.Dispositions[e.GetDisposition()].DoNotCall {
		return
	}
	var customer *roster.Customer
	for ; ; _ = pause(ctx, stopAgain) {
		if err == nil && customer == nil {
			customer, err = o.customer(ctx, inc, p)
		}
		if err == nil && int(e.GetPhone()) < len(customer.Phones) {
			err = o.Suppressions.Add(ctx, channel, customer.Phones[e.GetPhone()], e.GetDisposition())
		}
		if err == nil {
			return
		}
		if ctx.Err() != nil || lasting(err) {
			o.Log.Warn().Err(err).Str("incident", p.Incident).Msg("somebody wants no calls and gets none, but is not on the list of opt-outs: add them by candor suppressions add")
			return
		}
		err = nil
	}
}
