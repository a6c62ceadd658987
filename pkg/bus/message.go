package bus

import (
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Message is something to append to a stream.
type Message struct {
	Subject string
	Data    []byte
	Header  map[string]string // no name may start with Nats-
	Expect  *uint64           // the last sequence that this subject must have, 0 for none; nil appends unfenced
}

// Seq is for Message.Expect.
func Seq(n uint64) *uint64 { return &n }

// Stored is a message as the stream holds it.
type Stored struct {
	Subject string
	Seq     uint64
	Time    time.Time
	Data    []byte
	Header  map[string]string
}

const reservedPrefix = "Nats-"

// wireHeader is never nil: the batch protocol adds to it.
func wireHeader(h map[string]string) (nats.Header, error) {
	out := make(nats.Header, len(h)+4)
	for k, v := range h {
		if strings.HasPrefix(strings.ToLower(k), "nats-") {
			return nil, fmt.Errorf("header %s: names that start with %s belong to the broker", k, reservedPrefix)
		}
		out[k] = []string{v}
	}
	return out, nil
}

func readHeader(h nats.Header) map[string]string {
	var out map[string]string
	for k, v := range h {
		if len(v) == 0 || strings.HasPrefix(k, reservedPrefix) {
			continue
		}
		if out == nil {
			out = make(map[string]string, len(h))
		}
		out[k] = v[0]
	}
	return out
}
