package calls

import (
	"context"
	"errors"
	"mime"
	"strings"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"candor/pkg/buildinfo"
	"candor/pkg/bus"
	"candor/pkg/strictjson"
	"candor/pkg/token"
	"candor/pkg/topology"
)

const (
	// claimWaits is the longest that a claim waits for a task.
	claimWaits = 30 * time.Second
	// within is how long a request may take besides.
	within = 10 * time.Second
)

const contentType = "Content-Type"

// message is a protobuf message by its value type.
type message[T any] interface {
	*T
	proto.Message
}

// endpoint is one method of the micro service: protobuf or JSON in, the same out.
func endpoint[Q, R any, PQ message[Q], PR message[R]](c *Calls, name string, action token.Action, h func(context.Context, token.Identity, PQ) (PR, error)) bus.Endpoint {
	return bus.Endpoint{
		Name: name, Subject: topology.CallMethod(name),
		Metadata: map[string]string{
			"request": string(PQ(new(Q)).ProtoReflect().Descriptor().FullName()), "response": string(PR(new(R)).ProtoReflect().Descriptor().FullName()),
			"format": "application/protobuf or application/json, by Content-Type or the first byte",
		},
		Handle: func(ctx context.Context, r bus.Request) (bus.Reply, error) {
			who, err := admit(ctx, c.tokens, r, action)
			if err != nil {
				return bus.Reply{}, err
			}
			asJSON, err := isJSON(r)
			if err != nil {
				return bus.Reply{}, err
			}
			q := PQ(new(Q))
			if err := c.read(r.Data, asJSON, q); err != nil {
				return bus.Reply{}, err
			}
			answer, err := h(ctx, who, q)
			c.metrics.request(name, err)
			if err != nil {
				return bus.Reply{}, c.asReply(name, err)
			}
			return reply(asJSON, answer)
		},
	}
}

// read decodes a request and checks what the contract says of it.
func (c *Calls) read(data []byte, asJSON bool, q proto.Message) error {
	if asJSON {
		if err := strictjson.Read(data, q); err != nil {
			return bus.Errorf(bus.CodeInvalid, "request cannot be read: %v", err)
		}
	} else if proto.Unmarshal(data, q) != nil { // whose words say nothing more
		return bus.Errorf(bus.CodeInvalid, "request cannot be read: send a %s as application/json or application/protobuf", q.ProtoReflect().Descriptor().FullName())
	}
	var violations *protovalidate.ValidationError
	if err := c.validator.Validate(q); errors.As(err, &violations) {
		return bus.Errorf(bus.CodeInvalid, "%v", err)
	} else if err != nil {
		return err
	}
	return nil
}

func reply(asJSON bool, answer proto.Message) (r bus.Reply, err error) {
	if asJSON {
		r.Header = map[string]string{contentType: "application/json"}
		r.Data, err = protojson.Marshal(answer)
		return r, err
	}
	r.Header = map[string]string{contentType: "application/protobuf"}
	r.Data, err = proto.Marshal(answer)
	return r, err
}

// isJSON goes by the header; without one, JSON starts with a brace and protobuf does not: its first byte is a field's tag.
func isJSON(r bus.Request) (bool, error) {
	var said string
	for name, value := range r.Header {
		if strings.EqualFold(name, contentType) {
			said = value
		}
	}
	if said == "" {
		return strings.HasPrefix(strings.TrimLeft(string(r.Data[:min(len(r.Data), 64)]), " \t\r\n"), "{"), nil
	}
	kind, _, err := mime.ParseMediaType(said)
	switch {
	case err == nil && kind == "application/json":
		return true, nil
	case err == nil && (kind == "application/protobuf" || kind == "application/x-protobuf"):
		return false, nil
	}
	return false, bus.Errorf(bus.CodeInvalid, "content type %q: send application/json or application/protobuf", said)
}

// asReply makes of every error one that the caller reads. What is ours to mend is logged.
func (c *Calls) asReply(method string, err error) error {
	var remote *bus.RemoteError
	switch {
	case errors.As(err, &remote):
		return remote
	case errors.Is(err, errLostSeat), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, bus.ErrUnavailable), errors.Is(err, bus.ErrUnknownOutcome):
		return bus.Errorf(bus.CodeUnavailable, "the call queue cannot answer at this moment: ask again")
	}
	c.Log.Error().Err(err).Str("method", method).Msg("request failed")
	return bus.Errorf(bus.CodeInternal, "%s failed: the log of the target calls says more", method)
}

// version is the service's, in the form that micro services want.
func version() string {
	v := strings.TrimPrefix(buildinfo.Read().Version, "v")
	if strings.Count(v, ".") < 2 {
		return "0.0.0"
	}
	return v
}
