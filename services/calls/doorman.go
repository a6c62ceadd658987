package calls

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"

	"candor/pkg/bus"
	"candor/pkg/token"
)

// doorman knows the tokens: the bucket TOKENS, kept in memory a moment behind. Dialers ask thousands of times a second, and
// a revoked token is refused as soon as the broker has told of it.
type doorman struct {
	token.KV
	watch func(ctx context.Context, fn func(key string, value []byte, rev uint64, deleted bool) error, caughtUp func()) error
	ready chan struct{} // closed when everything that was there at start is known

	mu     sync.RWMutex
	values map[string][]byte
}

func newDoorman(kv *bus.KV) *doorman {
	return &doorman{KV: kv, watch: kv.Watch, ready: make(chan struct{}), values: map[string][]byte{}}
}

func (d *doorman) run(ctx context.Context) error {
	once := sync.OnceFunc(func() { close(d.ready) })
	err := d.watch(ctx, func(key string, value []byte, _ uint64, deleted bool) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		if deleted {
			delete(d.values, key)
			return nil
		}
		d.values[key] = value
		return nil
	}, once)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the end of ctx is no failure
	}
	return fmt.Errorf("watch tokens: %w", err)
}

// Get is the bucket's, answered from memory.
func (d *doorman) Get(_ context.Context, key string) ([]byte, uint64, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	value, ok := d.values[key]
	if !ok {
		return nil, 0, bus.ErrNotFound
	}
	return value, 1, nil
}

const bearerRemedy = "send the header Authorization: Bearer <token>; an admin makes one with candor token create --role dialer"

// admit finds out who is asking, and refuses those who may not.
func admit(ctx context.Context, tokens *token.Store, r bus.Request, action token.Action) (token.Identity, error) {
	bearer := bearerOf(r.Header)
	if bearer == "" {
		return token.Identity{}, bus.Errorf(bus.CodeUnauthenticated, "this needs a token: %s", bearerRemedy)
	}
	who, err := tokens.Authenticate(ctx, bearer)
	if errors.Is(err, token.ErrInvalid) {
		return token.Identity{}, bus.Errorf(bus.CodeUnauthenticated, "%v, it may be revoked or cut off: %s", err, bearerRemedy)
	}
	if err != nil {
		return token.Identity{}, fmt.Errorf("find out who is asking: %w", err)
	}
	if !who.Allows(action) {
		return token.Identity{}, bus.Errorf(bus.CodePermissionDenied, "this token may not %s: take one with another role", action)
	}
	return who, nil
}

// bearerOf reads the header Authorization, however its name is written: NATS leaves that to the sender.
func bearerOf(header map[string]string) string {
	value, ok := header["Authorization"]
	if !ok {
		for name := range maps.Keys(header) {
			if strings.EqualFold(name, "Authorization") {
				value = header[name]
			}
		}
	}
	return token.FromHeader(value)
}
