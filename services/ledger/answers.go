package ledger

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

const (
	partBytes   = 900_000 // of an answer; the broker carries a million
	listDefault = 100
	listMost    = 10_000
)

// serve answers one kind of request, once the ledger and the incidents have been read.
func serve[T any, Req interface {
	*T
	proto.Message
}](ctx context.Context, l *Ledger, method string, h func(context.Context, Req, string) (proto.Message, string, error),
) error {
	return l.bus.Serve(ctx, topology.Ask("ledger", method), "ledger", l.cfg.Answers, func(ctx context.Context, r bus.Request) (bus.Reply, error) {
		req := Req(new(T))
		if err := proto.Unmarshal(r.Data, req); err != nil {
			return bus.Reply{}, bus.Errorf(bus.CodeInvalid, "request is damaged: %v", err)
		}
		for _, ready := range []<-chan struct{}{l.ready, l.incidents.Ready()} {
			select {
			case <-ready:
			case <-ctx.Done():
				return bus.Reply{}, bus.Errorf(bus.CodeUnavailable, "the ledger is still being read from the journals; ask again in a moment")
			}
		}
		res, next, err := h(ctx, req, r.Header[topology.HeaderAfter])
		if err != nil {
			return bus.Reply{}, err
		}
		data, err := proto.Marshal(res)
		if err != nil {
			return bus.Reply{}, err
		}
		reply := bus.Reply{Data: data}
		if next != "" {
			reply.Header = map[string]string{topology.HeaderNext: next}
		}
		return reply, nil
	})
}

func (l *Ledger) answerStatus(ctx context.Context, r *candorv1.GetStatusRequest, _ string) (proto.Message, string, error) {
	st, err := l.CurrentStatus(ctx, r.GetIncident())
	if err != nil {
		return nil, "", unreadable(err)
	}
	if st == nil {
		return nil, "", unknown(r.GetIncident())
	}
	return &candorv1.GetStatusResponse{Status: st}, "", nil
}

func (l *Ledger) answerList(_ context.Context, r *candorv1.ListNoticesRequest, _ string) (proto.Message, string, error) {
	from, err := decodeCursor(r.GetPageToken())
	if err != nil {
		return nil, "", err
	}
	res := l.books.list(r, from)
	if res == nil && l.incidents.Get(r.GetIncident()) == nil {
		return nil, "", unknown(r.GetIncident())
	}
	return res, "", nil
}

func (l *Ledger) answerExport(_ context.Context, r *candorv1.ExportNoticesRequest, after string) (proto.Message, string, error) {
	from, err := decodeCursor(after)
	if err != nil {
		return nil, "", err
	}
	res, next := l.books.export(r.GetIncident(), from)
	if res == nil && l.incidents.Get(r.GetIncident()) == nil {
		return nil, "", unknown(r.GetIncident())
	}
	return res, next, nil
}

func (l *Ledger) answerDead(_ context.Context, r *candorv1.ListDeadLettersRequest, _ string) (proto.Message, string, error) {
	return l.books.dead(r.GetIncident()), "", nil
}

func (l *Ledger) answerUnreached(ctx context.Context, r *candorv1.UnreachedRequest, after string) (proto.Message, string, error) {
	from, err := decodeCursor(after)
	if err != nil {
		return nil, "", err
	}
	if l.incidents.Get(r.GetIncident()) == nil {
		return nil, "", unknown(r.GetIncident())
	}
	if _, err := l.current(ctx); err != nil {
		return nil, "", err
	}
	res, next, more := l.books.unreached(r, from.GetPage())
	if !more {
		return res, "", nil
	}
	return res, encodeCursor(&candorv1.NoticeKey{Page: next}), nil
}

func (l *Ledger) answerMoveOn(ctx context.Context, r *candorv1.MoveOnRequest, _ string) (proto.Message, string, error) {
	if err := l.upTo(ctx, extentOf(r)); err != nil {
		return nil, "", err
	}
	return l.books.moveOn(r), "", nil
}

func (l *Ledger) answerCanary(ctx context.Context, r *candorv1.CanaryRequest, _ string) (proto.Message, string, error) {
	if err := l.upTo(ctx, extentOf(r)); err != nil {
		return nil, "", err
	}
	return l.books.canary(r), "", nil
}

func (l *Ledger) answerPeople(ctx context.Context, r *candorv1.PeopleRequest, after string) (proto.Message, string, error) {
	from, err := decodeCursor(after)
	if err != nil {
		return nil, "", err
	}
	if err := l.upTo(ctx, extentOf(r)); err != nil {
		return nil, "", err
	}
	res, next, more := l.books.standing(r, from.GetPage())
	if res == nil && l.incidents.Get(r.GetIncident()) == nil {
		return nil, "", unknown(r.GetIncident())
	}
	if !more {
		return res, "", nil
	}
	return res, encodeCursor(&candorv1.NoticeKey{Page: next}), nil
}

func (l *Ledger) answerSweep(ctx context.Context, r *candorv1.SweepRequest, _ string) (proto.Message, string, error) {
	if err := l.upTo(ctx, extentOf(r)); err != nil {
		return nil, "", err
	}
	ends, err := l.current(ctx)
	if err != nil {
		return nil, "", err
	}
	return l.books.sweep(r, l.incidents.Get(r.GetIncident()), l.look(ends)), "", nil
}

// ends are sequences of the streams.
type ends struct{ journals, receipts, calls uint64 }

func extentOf(r interface {
	GetJournalSeq() uint64
	GetReceiptsSeq() uint64
},
) ends {
	return ends{journals: r.GetJournalSeq(), receipts: r.GetReceiptsSeq()}
}

var errBehind = errors.New("the ledger has not read so far yet")

// upTo returns when both streams are folded up to given sequences; an error that travels, if that takes too long.
func (l *Ledger) upTo(ctx context.Context, e ends) error {
	if err := l.await(ctx, e); err != nil {
		return unreadable(err)
	}
	if !l.books.journals.reached(e.journals) || !l.books.receipts.reached(e.receipts) {
		return unreadable(errBehind)
	}
	return nil
}

// current returns when both streams are folded up to their ends, and where these are.
func (l *Ledger) current(ctx context.Context) (ends, error) {
	e, err := l.ends(ctx)
	if err != nil {
		return ends{}, unreadable(err)
	}
	return e, l.upTo(ctx, e)
}

func unreadable(err error) error {
	return bus.Errorf(bus.CodeUnavailable, "the streams cannot be read: %v; ask again in a moment", err)
}

func unknown(id string) error {
	return bus.Errorf(bus.CodeNotFound, "there is no incident %q: candor incidents lists them", id)
}
