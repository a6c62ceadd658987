package ledger

import (
	"testing"

	candorv1 "candor/proto/candor/v1"
)

// FuzzPageToken hands in tokens that are none of ours: refused, or a list that ends.
func FuzzPageToken(f *testing.F) {
	f.Add("")
	f.Add("?")
	f.Add(encodeCursor(&candorv1.NoticeKey{Wave: "w0", Channel: sms, Page: 1, Slot: 3}))
	f.Add(encodeCursor(&candorv1.NoticeKey{Wave: "w0", Channel: -1, Page: 1<<32 - 1, Slot: 1<<32 - 1}))
	f.Fuzz(func(t *testing.T, token string) {
		p := newPen(t)
		p.openAll()
		seen := 0
		for parts := 0; ; parts++ {
			from, err := decodeCursor(token)
			if err != nil {
				if parts > 0 {
					t.Fatalf("our own token %q is refused: %v", token, err)
				}
				return
			}
			if parts > 20 {
				t.Fatalf("the list does not end: %q", token)
			}
			res := p.books.list(&candorv1.ListNoticesRequest{Incident: "i1", Limit: 3}, from)
			if seen += len(res.GetNotices()); seen > 20 {
				t.Fatalf("%d notices of 20", seen)
			}
			p.books.export("i1", from)
			if token = res.GetNextPageToken(); token == "" {
				return
			}
		}
	})
}
