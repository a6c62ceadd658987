package suppression_test

import (
	"testing"

	"candor/pkg/bustest"
	"candor/pkg/pii"
)

func TestAFollowerHearsOfWhatComesAndGoes(t *testing.T) {
	t.Parallel()
	kv, ctx, phone := bucket(t, bustest.New(t)), t.Context(), pii.NewPhone("+15005550006")
	s := start(t, kv)
	type change struct {
		number uint64
		in     bool
	}
	var heard []change // told before Add and Remove return
	stop := s.Follow(func(number uint64, in bool) { heard = append(heard, change{number, in}) })
	for _, err := range []error{s.Add(ctx, call, phone, "person"), s.Remove(ctx, call, phone)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(heard) != 2 || heard[0] != (change{s.Number(phone), true}) || heard[1] != (change{s.Number(phone), false}) {
		t.Errorf("heard %v", heard)
	}
	stop()
	if err := s.Add(ctx, call, phone, "person"); err != nil || len(heard) != 2 {
		t.Errorf("heard %v after the end, %v", heard, err)
	}
}
