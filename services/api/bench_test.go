package api_test

import (
	"bytes"
	"testing"
	"time"

	"connectrpc.com/connect"

	"candor/pkg/roster"
	"candor/pkg/token"
	candorv1 "candor/proto/candor/v1"
)

// BenchmarkUpload puts a roster on the disk, with an fsync before every acknowledgement; BenchmarkImport is what of that
// is reading the file.
func BenchmarkUpload(b *testing.B) {
	const n = 200_000
	h := newHouseWith(b, true)
	bearer := h.token("Dana", token.Commander)
	file := rows(n)
	for i := 0; b.Loop(); i++ {
		if status, body := h.put(bearer, "bench-"+string(rune('a'+i%26))+string(rune('a'+i/26)), nil, bytes.NewReader(file)); status != 200 {
			b.Fatalf("%d %s", status, body)
		}
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "rows/s")
}

func BenchmarkImport(b *testing.B) {
	const n = 200_000
	file := rows(n)
	for b.Loop() {
		if _, err := roster.Import(b.Context(), bytes.NewReader(file), roster.Options{}, roster.Discard()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkApprove is what stands between a person's yes and the planner's hearing of it, at 280,000 customers.
func BenchmarkApprove(b *testing.B) {
	h := newHouseWith(b, true)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	file := rows(280_000)
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		id := "bench-" + string(rune('a'+i%26)) + string(rune('a'+i/26))
		d := h.declaration(dana, id)
		d.RosterDigest = h.upload(dana.bearer, id, nil, file).Digest
		hash := h.declare(dana, d).GetIncident().GetPlanHash()
		b.StartTimer()
		if _, err := h.approve(erin, id, hash); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFind is a question about one of 280,000 customers, over the wire: their page, and both of its journals and receipts
// as 300 text messages and 300 e-mails of it leave them.
func BenchmarkFind(b *testing.B) {
	h := newHouseWith(b, true)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	_, page := h.told(dana, erin, "bench", 280_000)
	for _, ch := range []candorv1.Channel{sms, email} {
		h.journal("bench", "w0", "w0", "en", ch, page, 1000)
		for i := range uint32(100) {
			h.receipt("bench", "w0", ch, page, 11*time.Hour, candorv1.Result_RESULT_DELIVERED, 3*i, 3)
		}
	}
	for b.Loop() {
		resp, err := dana.ledger.Find(b.Context(), connect.NewRequest(&candorv1.FindRequest{Query: "canary0@example.com"}))
		if err != nil || len(resp.Msg.GetCustomers()) != 1 || len(resp.Msg.GetCustomers()[0].GetNotices()) != 2 {
			b.Fatal(resp, err)
		}
	}
}

// BenchmarkTimeline is a month of 280,000 customers, all told by text message, and that of one of them.
func BenchmarkTimeline(b *testing.B) {
	h := newHouse(b)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	h.told(dana, erin, "bench", 280_000)
	h.happen("bench", planned("w0"))
	k := serveBooks(h)
	roster, err := dana.incidents.GetRoster(b.Context(), connect.NewRequest(&candorv1.GetRosterRequest{Incident: "bench"}))
	if err != nil {
		b.Fatal(err)
	}
	everybody := make([]int, 1000)
	for i := range everybody {
		everybody[i] = i
	}
	for _, p := range roster.Msg.GetManifest().GetPages() {
		k.told("", p.GetNumber(), int(p.GetCustomers()), everybody[:p.GetCustomers()]...)
	}
	for _, customer := range []string{"", "C000007"} {
		b.Run("of "+customer, func(b *testing.B) {
			for b.Loop() {
				resp, err := dana.incidents.GetTimeline(b.Context(), connect.NewRequest(&candorv1.GetTimelineRequest{Incident: "bench", Customer: customer}))
				if n := len(resp.Msg.GetTimeline().GetEntries()); err != nil || customer == "" && n < 5 {
					b.Fatal(n, err)
				}
			}
		})
	}
}
