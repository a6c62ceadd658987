package ledger

import (
	"cmp"
	"encoding/base64"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/journal"
	candorv1 "candor/proto/candor/v1"
)

// list returns the notices that a request asks for, from a cursor on; nil if the incident has no journal.
func (b *books) list(r *candorv1.ListNoticesRequest, from *candorv1.NoticeKey) *candorv1.ListNoticesResponse {
	limit := min(int(r.GetLimit()), listMost)
	if limit == 0 {
		limit = listDefault
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	bk := b.incidents[r.GetIncident()]
	if bk == nil {
		return nil
	}
	b.recount(bk)
	wanted := func(c journal.Code) bool {
		return (len(r.GetStates()) == 0 || slices.Contains(r.GetStates(), c.State())) &&
			(r.GetReason() == "" || r.GetReason() == b.words.Reason(c))
	}
	res := &candorv1.ListNoticesResponse{}
	size := 0
	var codes []journal.Code
	for _, f := range bk.funnels {
		if r.GetWave() != "" && r.GetWave() != f.wave || r.GetChannel() != 0 && r.GetChannel() != f.channel {
			continue
		}
		for _, sh := range f.sheets {
			var here tally
			for _, n := range sh.counts {
				if wanted(n.code) {
					here = append(here, n)
					res.Total += uint64(n.n)
				}
			}
			if len(here) == 0 || res.GetNextPageToken() != "" || compare(sh, from) < 0 {
				continue
			}
			first := 0
			if compare(sh, from) == 0 {
				first = int(from.GetSlot())
			}
			codes = sh.state.Codes(codes[:0])
			for n, c := range codes {
				if n < first || !slices.ContainsFunc(here, func(h count) bool { return h.code == c }) {
					continue
				}
				key := &candorv1.NoticeKey{Wave: f.wave, Channel: f.channel, Page: sh.page.number, Slot: uint32(n)}
				if len(res.GetNotices()) == limit || size > partBytes {
					res.NextPageToken = encodeCursor(key)
					break
				}
				notice := &candorv1.Notice{Key: key, State: c.State(), Reason: b.words.Reason(c)}
				size += proto.Size(notice) + 4
				res.Notices = append(res.Notices, notice)
			}
		}
	}
	return res
}

// export returns one byte for every slot of the journals from a cursor on, and the cursor of what did not fit; nil if the
// incident has no journal.
func (b *books) export(id string, from *candorv1.NoticeKey) (res *candorv1.ExportNoticesResponse, next string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	bk := b.incidents[id]
	if bk == nil {
		return nil, ""
	}
	res = &candorv1.ExportNoticesResponse{}
	size := 0
	var codes []journal.Code
	for _, f := range bk.funnels {
		for _, sh := range f.sheets {
			if compare(sh, from) < 0 || sh.state.Opened == nil {
				continue
			}
			if size > partBytes {
				return res, encodeCursor(&candorv1.NoticeKey{Wave: f.wave, Channel: f.channel, Page: sh.page.number})
			}
			codes = sh.state.Codes(codes[:0])
			p := &candorv1.PageNotices{
				Key:    &candorv1.PageKey{Wave: f.wave, Channel: f.channel, Page: sh.page.number},
				States: make([]byte, len(codes)),
			}
			for n, c := range codes {
				p.States[n] = byte(c.State())
			}
			size += proto.Size(p) + 4
			res.Pages = append(res.Pages, p)
		}
	}
	return res, ""
}

// dead lists the dead letters of an incident, or of all if none is named, by incident, wave, channel and page.
func (b *books) dead(id string) *candorv1.ListDeadLettersResponse {
	b.mu.Lock()
	defer b.mu.Unlock()
	res := &candorv1.ListDeadLettersResponse{}
	for _, bk := range b.incidents {
		if id != "" && id != bk.incident {
			continue
		}
		b.recount(bk)
		for _, f := range bk.funnels {
			for _, sh := range f.sheets {
				if !sh.dead() {
					continue
				}
				d := &candorv1.DeadLetter{
					Incident: bk.incident, Reason: sh.state.DeadFor, At: timestamppb.New(sh.state.DeadAt),
					Key: &candorv1.PageKey{Wave: f.wave, Channel: f.channel, Page: sh.page.number},
				}
				d.OpenNotices = sh.counts.open()
				res.DeadLetters = append(res.DeadLetters, d)
			}
		}
	}
	slices.SortStableFunc(res.GetDeadLetters(), func(a, b *candorv1.DeadLetter) int { return cmp.Compare(a.GetIncident(), b.GetIncident()) })
	return res
}

// compare orders a journal against the one that a cursor points at.
func compare(sh *sheet, at *candorv1.NoticeKey) int {
	return cmp.Or(sh.funnel.compare(at.GetWave(), at.GetChannel()), cmp.Compare(sh.page.number, at.GetPage()))
}

// encodeCursor makes an opaque word of where an answer goes on.
func encodeCursor(k *candorv1.NoticeKey) string {
	data, err := proto.Marshal(k)
	if err != nil {
		panic(err) // only a wave that is no UTF-8 could be the cause, and its subject is a stray
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

func decodeCursor(s string) (*candorv1.NoticeKey, error) {
	k := &candorv1.NoticeKey{}
	data, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		err = proto.Unmarshal(data, k)
	}
	if err != nil {
		return nil, bus.Errorf(bus.CodeInvalid, "page token %q is none of ours: pass on the one of the last answer, unchanged", s)
	}
	return k, nil
}
