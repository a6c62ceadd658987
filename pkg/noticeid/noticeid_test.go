package noticeid

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"sync"
	"testing"

	candorv1 "candor/proto/candor/v1"
)

var (
	key     = bytes.Repeat([]byte{7}, 32)
	typical = Key{
		Incident: "0f8fad5b-d9cb-469f-a165-70867728950e", Wave: "f-reminder-2026-11-24T09",
		Channel: candorv1.Channel_CHANNEL_EMAIL, Page: 3999, Slot: 999,
	}
)

func TestIDsAreReadBack(t *testing.T) {
	t.Parallel()
	c := New(key)
	for _, k := range []Key{
		{},
		{Incident: "i", Wave: "w0", Channel: candorv1.Channel_CHANNEL_SMS},
		{Incident: "acme-2026-11", Wave: "w0", Channel: candorv1.Channel_CHANNEL_CALL, Page: 1<<32 - 1, Slot: 1<<32 - 1},
		{Incident: "a.b", Wave: "ü", Channel: -1, Page: 127, Slot: 128},
		{Incident: strings.Repeat("i", 300), Wave: strings.Repeat("w", 300)},
		typical,
	} {
		for _, attempt := range []uint32{0, 1, 10, 1<<32 - 1} {
			id := string(c.Append([]byte("/sms/"), k, attempt))[len("/sms/"):]
			got, n, err := c.Parse(id)
			if err != nil || got != k || n != attempt {
				t.Errorf("Parse(%q) = %+v, %d, %v; want %+v, %d", id, got, n, err, k, attempt)
			}
			if notice, _, _ := strings.Cut(id, "."); notice != c.Notice(k) {
				t.Errorf("Notice = %q, but the id begins with %q", c.Notice(k), notice)
			}
		}
	}
}

func TestOfKnowsItsIncident(t *testing.T) {
	t.Parallel()
	notice := []byte(New(key).Notice(Key{Incident: "acme-1", Wave: "w0", Page: 3, Slot: 9}))
	for incident, want := range map[string]bool{"acme-1": true, "acme": false, "acme-2": false, "acme-1w": false, "": false} {
		if got := Of(incident, notice); got != want {
			t.Errorf("Of(%q) = %v, want %v", incident, got, want)
		}
	}
	for _, nonsense := range []string{"", "#", "BmFj"} {
		if Of("acme-1", []byte(nonsense)) {
			t.Errorf("%q is said to be a notice of acme-1", nonsense)
		}
	}
}

// The ids stand in callback URLs that are out there for days: a new version must still read them.
func TestFormatStays(t *testing.T) {
	t.Parallel()
	c := New(key)
	k := Key{Incident: "acme-2026-11", Wave: "w0", Channel: candorv1.Channel_CHANNEL_SMS, Page: 12, Slot: 345}
	const want = "DGFjbWUtMjAyNi0xMQJ3MAEM2QI.2.noQcbrkKKXxNbxRZ"
	if got := string(c.Append(nil, k, 2)); got != want {
		t.Errorf("Append = %q, want %q", got, want)
	}
}

func TestIDsAreShortAndFitAPath(t *testing.T) {
	t.Parallel()
	id := New(key).Append(nil, typical, 1)
	if len(id) > 130 || !regexp.MustCompile(`^[A-Za-z0-9_-]+\.[0-9]+\.[A-Za-z0-9_-]{16}$`).Match(id) {
		t.Errorf("id %s has %d characters", id, len(id))
	}
	k := typical
	k.Wave = "w0"
	if id := New(key).Append(nil, k, 1); len(id) > 100 {
		t.Errorf("id %s of an incident named by a UUID has %d characters, want at most 100", id, len(id))
	}
}

func TestForgedIDsAreRefused(t *testing.T) {
	t.Parallel()
	c := New(key)
	id := string(c.Append(nil, typical, 1))
	forged := []string{"", ".", "..", "...", id + ".", "." + id, id + "=", id + "A", id[:len(id)-1], strings.Repeat("A", 5000)}
	forged = append(forged, string(New([]byte("another installation")).Append(nil, typical, 1)))
	forged = append(forged, strings.Replace(id, ".1.", ".2.", 1), strings.Replace(id, ".1.", ".01.", 1), strings.Replace(id, ".1.", ".+1.", 1))
	for i := range id { // one wrong character anywhere
		b := []byte(id)
		b[i] ^= 1
		forged = append(forged, string(b))
	}
	for _, f := range forged {
		if k, _, err := c.Parse(f); !errors.Is(err, ErrInvalid) {
			t.Errorf("Parse(%q) = %+v, %v; want ErrInvalid", f, k, err)
		}
	}
}

// A text with a good MAC that is no key comes from a key that leaked or is used for something else too.
func TestSignedNonsenseIsRefused(t *testing.T) {
	t.Parallel()
	c := New(key)
	for _, body := range []string{"x", "AA.1", ".1", "!!.1", "AAAAAAA.x", "AAAAAAA.-1", "AAAAAAA.4294967296", "AAAAAAAA.1", "_____w.1", "BUFB.1"} {
		s := c.states.Get().(*state)
		id := body + "." + base64url.EncodeToString(s.sign([]byte(body)))
		if k, _, err := c.Parse(id); !errors.Is(err, ErrInvalid) {
			t.Errorf("Parse(%q) = %+v, %v; want ErrInvalid", id, k, err)
		}
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	s, dst := New(key).states.New().(*state), make([]byte, 0, 256) // not through the pool, which may be emptied at any time
	if n := testing.AllocsPerRun(1000, func() { dst = s.append(dst[:0], typical, 1) }); n != 0 {
		t.Errorf("%v allocations for each id, want 0", n)
	}
}

func TestCodecIsSafeForManyGoroutines(t *testing.T) {
	t.Parallel()
	c := New(key)
	var wg sync.WaitGroup
	for g := range uint32(4) {
		wg.Go(func() {
			k := typical
			for k.Slot = range 500 {
				id := string(c.Append(nil, k, g))
				if got, n, err := c.Parse(id); err != nil || got != k || n != g {
					t.Errorf("Parse(%q) = %+v, %d, %v", id, got, n, err)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzParse(f *testing.F) {
	c := New(key)
	f.Add(string(c.Append(nil, typical, 1)))
	f.Add(string(c.Append(nil, Key{}, 0)))
	f.Add("DGFj.1.AAAAAAAAAAAAAAAA")
	f.Add("...")
	f.Fuzz(func(t *testing.T, id string) {
		k, attempt, err := c.Parse(id)
		if err != nil {
			if k != (Key{}) || attempt != 0 {
				t.Errorf("Parse(%q) refused, and answered %+v", id, k)
			}
			return
		}
		if again := string(c.Append(nil, k, attempt)); again != id {
			t.Errorf("Parse(%q) succeeded, but the id is spelled %q", id, again)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add(appendKey(nil, typical))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		k, ok := parseKey(b)
		if !ok {
			return
		}
		if again, ok := parseKey(appendKey(nil, k)); !ok || again != k {
			t.Errorf("%+v is read back as %+v, %t", k, again, ok)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	c, dst := New(key), make([]byte, 0, 256)
	k := Key{Incident: "acme-2026-11", Wave: "w0", Channel: candorv1.Channel_CHANNEL_SMS, Page: 12, Slot: 345}
	b.ReportAllocs()
	for b.Loop() {
		dst = c.Append(dst[:0], k, 1)
	}
}

func BenchmarkParse(b *testing.B) {
	c := New(key)
	id := string(c.Append(nil, typical, 1))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := c.Parse(id); err != nil {
			b.Fatal(err)
		}
	}
}
