package topology

import (
	"context"

	"candor/pkg/bus"
)

// Release gives back every order that was in hand when the broker went down. Whoever holds the data folder's lock knows
// that their holders died with it, and need not wait until AckWait has passed. Apply makes the consumers anew.
//
// A crash between the two leaves queues without consumers, which the next start makes.
func Release(ctx context.Context, b *bus.Bus) error {
	for _, c := range consumers() {
		if c.Stream != StreamOrders {
			continue
		}
		if err := b.DropConsumer(ctx, c.Stream, c.Name); err != nil {
			return err
		}
	}
	return nil
}
