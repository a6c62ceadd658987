package bus

import "github.com/nats-io/nats.go/jetstream"

// JS is for tests that look at what the broker was told.
func (b *Bus) JS() jetstream.JetStream { return b.js }
