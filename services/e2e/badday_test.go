package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"candor/pkg/pii"
	"candor/pkg/suppression"
	"candor/pkg/topology"
	"candor/pkg/vault"
	candorv1 "candor/proto/candor/v1"
	"candor/services/app"
	"candor/services/bench"
)

// smallDisk mounts a file system of a few megabytes.
func smallDisk(t *testing.T, megabytes int) string {
	t.Helper()
	dir := t.TempDir()
	if err := mountMemory(dir, megabytes); err != nil {
		t.Skipf("a full disk was NOT tried: a small file system cannot be mounted here (%v); run the tests as root on Linux", err)
	}
	t.Cleanup(func() {
		if err := unmount(dir); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// fill takes all of the disk but for what is to be left, and returns what gives it back.
func fill(t *testing.T, dir string, left int64) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // it is as full as can be
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	size := max(int64(st.Bavail)*int64(st.Bsize)-left, 0) //nolint:unconvert // other systems have another type
	if _, err := io.CopyN(f, zeros{}, size); err != nil && left > 0 {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestBelowTheMarkNothingNewIsSent(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.data = smallDisk(t, 64)
	s.startSandbox("{listen: '127.0.0.1:0'}")
	p := s.start("all", map[string]string{"nats": "{listen: '127.0.0.1:0', free_space_mark: 16000000}"})
	s.drive(p)
	free := fill(t, s.data, 12_000_000)
	p.says("disk nearly full")
	// A worker elsewhere is told of it.
	elsewhere := s.start("sms", map[string]string{"nats": fmt.Sprintf("{url: %q}", p.NATS)})
	const customers = 300
	inc := declare(t, s.driver, bench.Story{Incident: "brim", Customers: customers, EmailBatch: 100})
	p.says("nothing new is sent until space is free")
	elsewhere.says("nothing new is sent until space is free")
	truth, err := s.truth.Truth(t.Context())
	if err != nil || truth.SMS.Requests+truth.Email.Requests > 0 {
		t.Errorf("requests were made: %+v, %v", truth, err)
	}
	free()
	whole(t, s.rest(inc.GetId()), nil, customers)
}

// A disk that is full to the last byte makes appends hang, without an error.
func TestAFullDiskIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		start func(s *site) (worker *process)
	}{
		{"one process", func(s *site) *process {
			p := s.start("all")
			s.drive(p)
			return p
		}},
		{"separate processes", func(s *site) *process {
			_, services := s.split()
			return services["sms"]
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.data = smallDisk(t, 32)
			s.startSandbox("{listen: '127.0.0.1:0', twilio: {latency: 400ms}, sendgrid: {latency: 400ms}}")
			worker := tt.start(s)
			const customers = 1000
			inc := declare(t, s.driver, bench.Story{Incident: "full", Customers: customers, EmailBatch: 10})
			accepted(t, s.truth, 50, 0)
			free := fill(t, s.data, 0)
			worker.says("outcomes wait for the journal")
			free()
			v := s.rest(inc.GetId())
			if v.Lost != 0 || v.Duplicates != 0 || v.Notices["sms"]["accepted"]+v.Notices["sms"]["suppressed"] != customers {
				t.Errorf("verdict = %+v", v)
			}
		})
	}
}

func TestASecondProcessOnTheSameFolderIsToldSo(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.startSandbox("{listen: '127.0.0.1:0'}")
	first := s.start("all")
	second, _ := s.launch("all", nil)
	select {
	case <-second.ended:
	case <-time.After(patience):
		t.Fatal("two processes run on one folder")
	}
	want := fmt.Sprintf("is in use by process %d: stop that one", first.cmd.Process.Pid)
	if second.status == nil || !strings.Contains(second.said(), want) {
		t.Errorf("the second process ended with %v and said %q, want %q", second.status, second.said(), want)
	}
	s.drive(first)
	v, err := s.driver.Tell(t.Context(), bench.Story{Incident: "still", EmailBatch: 10}, s.truth)
	whole(t, v, err, 12)
}

func TestTenMistakesAreShownAtOnce(t *testing.T) {
	t.Parallel()
	p := play(t, nil)
	pb, facts, err := bench.Texts(10)
	if err != nil {
		t.Fatal(err)
	}
	mistakes := []struct{ from, to, says string }{
		{"  legal_name: Northwind Power, Inc.\n", "", "legal_name"},
		{"  short_name:", "  shortname:", "shortname"},
		{"  phone: 1-800-555-0142", "  phone: call us", "phone"},
		{"  default: en", "  default: fr", "fr"},
		{"country: US", "country: Atlantis", "Atlantis"},
		{"time_zone: America/New_York", "time_zone: Mars/Olympus", "Mars/Olympus"},
		{"    from: notices@northwind.example", "    from: not an address", "not an address"},
		{"    batch: 10", "    batch: 100000", "100000 people in one request"},
		{"  currency: USD", "  currency: dollars", "dollars"},
		{"retry_for: 24h", "retry_for: a day", "retry_for"},
	}
	for _, m := range mistakes {
		if !strings.Contains(pb, m.from) {
			t.Fatalf("the playbook has no %q", m.from)
		}
		pb = strings.Replace(pb, m.from, m.to, 1)
	}
	people, err := bench.Customers(0)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := p.driver.Upload(t.Context(), "wrong", people, url.Values{"name": {"roster.csv"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.driver.Declare(t.Context(), &candorv1.Declaration{Incident: "wrong", Playbook: pb, Facts: facts, RosterDigest: digest})
	if err == nil {
		t.Fatal("a playbook with ten mistakes was taken")
	}
	for _, m := range mistakes {
		if !strings.Contains(err.Error(), m.says) {
			t.Errorf("the answer does not speak of %q: %v", m.says, err)
		}
	}
	if lines := strings.Count(err.Error(), "playbook:"); lines < len(mistakes) {
		t.Errorf("%d mistakes with their place, want %d:\n%v", lines, len(mistakes), err)
	}
}

func TestACutOffUploadLeavesNothing(t *testing.T) {
	t.Parallel()
	p := play(t, nil)
	people, err := bench.Customers(20_000)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(people)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.driver.Upload(t.Context(), "cut", bytes.NewReader(cutShort(t, string(text))), url.Values{"name": {"roster.csv.gz"}})
	if err == nil || !strings.Contains(err.Error(), "ends in the middle") {
		t.Errorf("a file cut off: %v", err)
	}
	left, err := p.bus().CountSubjects(t.Context(), topology.StreamRoster, topology.Pages("cut"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// STOP is looked up for each message, also within a stride that was announced before it came.
func TestStopIsHeardBeforeTheNextRequest(t *testing.T) {
	t.Parallel()
	p := play(t, func(cfg *app.Config) {
		cfg.SMS.InFlight, cfg.Sandbox.Twilio.Latency = 1, 500*time.Millisecond // enough is still to be sent when STOP is said
	})
	var file strings.Builder
	file.WriteString("customer_ref,email,phone,language,country,time_zone\n")
	const customers = 20
	for i := range customers {
		fmt.Fprintf(&file, "C%02d,c%02d@example.com,+1212555%04d,en,US,America/New_York\n", i, i, 100+i)
	}
	pb, facts, err := bench.Texts(100)
	if err != nil {
		t.Fatal(err)
	}
	v, err := vault.Open(p.keys, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	kv, err := p.bus().KV(t.Context(), topology.BucketSuppressions)
	if err != nil {
		t.Fatal(err)
	}
	stops := suppression.New(kv, v.Door().SuppressionKey())
	p.tell("stop", pb, facts, strings.NewReader(file.String()))
	accepted(t, p.sandbox, 2, 0)
	for _, line := range []int{customers - 1, customers - 2} {
		if err := stops.Add(t.Context(), candorv1.Channel_CHANNEL_SMS, pii.NewPhone(fmt.Sprintf("+1212555%04d", 100+line)), "STOP"); err != nil {
			t.Fatal(err)
		}
	}
	if truth, err := p.sandbox.Truth(t.Context()); err != nil || truth.SMS.Accepted > customers-5 {
		t.Fatalf("STOP came too late to show anything: %+v, %v", truth.SMS, err)
	}
	got := p.rest("stop")
	whole(t, got, nil, customers)
	if got.Notices["sms"]["suppressed"] != 2 || got.Sandbox["sms"] != customers-2 || got.Sandbox["email"] != customers {
		t.Errorf("two said STOP to text messages: %+v", got)
	}
}

func TestARestartGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.startSandbox("{listen: '127.0.0.1:0', twilio: {latency: 10ms}}")
	s.settings["sms"] = "{request_timeout: 5s, visibility_lag: 0s, in_flight: 8}"
	p := s.start("all")
	s.drive(p)
	const customers = 500
	inc := declare(t, s.driver, bench.Story{Incident: "restart", Customers: customers, EmailBatch: 100})
	for n := range uint64(3) {
		accepted(t, s.truth, 60*(n+1), 0)
		p.stop() // in order: whatever is in hand is finished and written down
		p = s.start("all")
	}
	s.drive(p)
	v := s.rest(inc.GetId())
	whole(t, v, nil, customers)
}
