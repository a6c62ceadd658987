package callqueue

import (
	"testing"
	"time"

	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

// Each disposition of the prepared table, reported on Monday at ten in New York of a customer with one number.
func TestWhatFollowsFromADisposition(t *testing.T) {
	t.Parallel()
	const done, failed, suppressed, waiting = "done", "failed", "suppressed", "waiting"
	want := map[string]struct {
		state, next string
		most        int // reports until the task has failed; 0 where the first one ends it, -1 where none does
	}{
		"notified":          {done, "", 0},
		"notified_callback": {waiting, "Tue 14:45", -1},
		"callback":          {waiting, "Tue 14:45", -1},
		"refused_info":      {failed, "", 0},
		"third_party":       {waiting, "Tue 12:00", 3},
		"wrong_number":      {failed, "", 0},
		"do_not_call":       {suppressed, "", 0},
		"deceased":          {failed, "", 0},
		"incapacity":        {failed, "", 0},
		"no_answer":         {waiting, "Mon 14:00", 4},
		"busy":              {waiting, "Mon 10:15", 4},
		"voicemail_no_msg":  {waiting, "Mon 14:00", 3},
		"voicemail_left":    {waiting, "Wed 12:00", 2},
		"amd_uncertain":     {waiting, "Mon 14:00", 4},
		"fax_modem":         {failed, "", 0},
		"invalid":           {waiting, "Tue 12:00", 2},
		"rejected":          {waiting, "Tue 12:00", 2},
		"congestion":        {waiting, "Mon 10:02", -1},
		"trunk_fail":        {waiting, "Mon 10:02", -1},
		"abandoned":         {waiting, "Thu 10:00", 2},
		"hung_up_early":     {waiting, "Tue 12:00", 2},
		"language_needed":   {waiting, "Mon 11:00", 3},
		"agent_skip":        {waiting, "Mon 10:10", 3},
		"suspected_scam":    {waiting, "Thu 10:00", 2},
		"escalated":         {done, "", 0},
		"cancelled":         {failed, "", 0},
	}
	table := playbook.DefaultCalls().Dispositions
	for code := range table {
		if _, ok := want[code]; !ok {
			t.Errorf("nobody looks at %s", code)
		}
	}
	for code, want := range want {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			d, ok := table[code]
			if !ok {
				t.Fatal("is not in the table")
			}
			w := oneTask(t, at(t, "Mon 10:00"), nil, inNewYork(t, 7))
			report := func(g Granted) Answer {
				r := Report{Disposition: code}
				if d.CallBack {
					r.CallBackAt = w.now.Add(29 * time.Hour)
				}
				return w.mustComplete(g.Lease, r)
			}
			answer := report(w.one())
			if got := candorv1.Word(answer.State); got != want.state {
				t.Errorf("state %s, want %s", got, want.state)
			}
			if want.next == "" {
				if !answer.NextAt.IsZero() {
					t.Errorf("next at %v, want never", answer.NextAt)
				}
			} else if next := at(t, want.next); !answer.NextAt.Equal(next) {
				t.Errorf("next at %v, want %v", answer.NextAt.In(next.Location()), next)
			}
			if want.most == 0 {
				return
			}
			for n := 2; n < 12; n++ {
				w.now = answer.NextAt.Add(-time.Second)
				w.tick()
				w.none()
				w.now = answer.NextAt
				answer = report(w.one())
				if over(answer.State) {
					if n != want.most {
						t.Errorf("ended with report %d, want %d", n, want.most)
					}
					return
				}
			}
			if want.most > 0 {
				t.Errorf("did not end, want after %d", want.most)
			}
		})
	}
}

func TestTheNextNumber(t *testing.T) {
	t.Parallel()
	stays := func(c *playbook.Calls) {
		d := c.Dispositions["no_answer"]
		d.Number = ""
		c.Dispositions["no_answer"] = d
	}
	for _, tt := range []struct {
		name    string
		change  func(*playbook.Calls)
		reports []string
		phones  []int // dialled, one for each report
		state   string
	}{
		{"a bad one is never dialled again", nil, []string{"wrong_number", "no_answer", "no_answer"}, []int{0, 1, 1}, "waiting"},
		{"no number left", nil, []string{"wrong_number", "fax_modem"}, []int{0, 1}, "failed"},
		{"invalid on two days", stays, []string{"invalid", "no_answer", "invalid"}, []int{0, 1, 1}, "waiting"},
		{"invalid, both, on two days", nil, []string{"invalid", "invalid", "invalid", "invalid"}, []int{0, 1, 0, 1}, "failed"},
		{"stays where the table says so", stays, []string{"no_answer", "no_answer"}, []int{0, 0}, "waiting"},
		{"no answer turns to the next one", nil, []string{"no_answer", "no_answer", "no_answer", "no_answer"}, []int{0, 1, 0, 1}, "failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := oneTask(t, at(t, "Mon 10:00"), tt.change, inNewYork(t, 7, 8))
			for i, code := range tt.reports {
				g := w.one()
				if g.Phone != tt.phones[i] {
					t.Errorf("call %d goes to phone %d, want %d", i, g.Phone, tt.phones[i])
				}
				answer := w.mustComplete(g.Lease, Report{Disposition: code})
				if !answer.NextAt.IsZero() {
					w.now = answer.NextAt
				}
			}
			w.now = w.now.Add(-time.Second)
			if got := w.state(); got != tt.state {
				t.Errorf("is %s, want %s", got, tt.state)
			}
		})
	}
}
