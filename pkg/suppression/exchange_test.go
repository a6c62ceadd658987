package suppression_test

import (
	"maps"
	"strings"
	"testing"

	"candor/pkg/bustest"
	"candor/pkg/pii"
	"candor/pkg/suppression"
)

// What one installation exports holds in another one with the same key, and means nothing in one with its own.
func TestExportedOptOutsHoldElsewhere(t *testing.T) {
	t.Parallel()
	ctx, phone, mailbox := t.Context(), pii.NewPhone("+15005550006"), pii.NewEmail("Ana@example.com")
	from := start(t, bucket(t, bustest.New(t)))
	for _, add := range []func() error{
		func() error { return from.Add(ctx, sms, phone, "STOP") },
		func() error { return from.Add(ctx, email, mailbox, "list") },
	} {
		if err := add(); err != nil {
			t.Fatal(err)
		}
	}
	exported := map[string]string{}
	if err := from.Export(ctx, func(hash, reason string) error { exported[hash] = reason; return nil }); err != nil {
		t.Fatal(err)
	}
	if len(exported) != 2 || strings.Contains(strings.Join(append(keysOf(exported), "5550006"), " "), "ana@") {
		t.Fatalf("exported %v", exported)
	}
	into := bucket(t, bustest.New(t))
	to, stranger := start(t, into), suppression.New(into, []byte("another installation"))
	for hash, reason := range exported {
		if err := to.Import(ctx, hash, reason); err != nil {
			t.Fatal(err)
		}
		if err := stranger.Import(ctx, hash, reason); err != nil {
			t.Fatal(err)
		}
	}
	if !to.Has(sms, phone) || !to.Has(email, pii.NewEmail("ana@example.com")) || to.Has(call, phone) {
		t.Error("the imported opt-outs are not those that were exported")
	}
	if stranger.Has(sms, phone) {
		t.Error("an opt-out is known under another key")
	}
	for _, bad := range []string{"", "zz", strings.Repeat("z", 32), strings.Repeat("0", 33)} {
		if err := to.Import(ctx, bad, "x"); err == nil || strings.Contains(err.Error(), "zz") {
			t.Errorf("import of %q: %v", bad, err)
		}
	}
}

func keysOf(m map[string]string) (keys []string) {
	for k := range maps.Keys(m) {
		keys = append(keys, k)
	}
	return keys
}

func TestRemovedOptOutIsInForceNoMore(t *testing.T) {
	t.Parallel()
	kv := bucket(t, bustest.New(t))
	ctx, phone := t.Context(), pii.NewPhone("+15005550006")
	own, there := watched{kv, make(chan string, 10)}, watched{kv, make(chan string, 10)}
	here, elsewhere := start(t, own), start(t, there)
	if err := here.Add(ctx, sms, phone, "STOP"); err != nil {
		t.Fatal(err)
	}
	<-there.seen
	<-own.seen // or it would be told of the opt-out when it is over
	version := here.Version()
	for range 2 { // one that is gone is no error
		if err := here.Remove(ctx, sms, phone); err != nil {
			t.Fatal(err)
		}
	}
	<-there.seen
	if here.Has(sms, phone) || elsewhere.Has(sms, phone) || here.Len() != 0 || here.Version() == version {
		t.Error("the opt-out is still in force")
	}
	left := 0
	if err := here.Export(ctx, func(string, string) error { left++; return nil }); err != nil || left != 0 {
		t.Errorf("%d opt-outs are left, %v", left, err)
	}
}
