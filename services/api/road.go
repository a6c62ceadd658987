package api

import (
	"context"
	"mime"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/token"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// Headers of a declaration that comes by NATS.
const (
	headerToken       = "Candor-Token"
	headerContentType = "Content-Type"
)

const declareConcurrency = 2

// serveDeclare takes declarations from NATS: the same code decides, whichever road they came by.
func (a *API) serveDeclare(ctx context.Context) error {
	return a.Bus.Serve(ctx, topology.Declare, "api", declareConcurrency, func(ctx context.Context, r bus.Request) (bus.Reply, error) {
		reply, err := a.declareFromNATS(ctx, r)
		a.metrics.count(topology.Declare, err)
		if err != nil {
			return bus.Reply{}, a.asReply(topology.Declare, err)
		}
		return reply, nil
	})
}

func (a *API) declareFromNATS(ctx context.Context, r bus.Request) (bus.Reply, error) {
	ctx, err := a.authenticate(ctx, r.Header[headerToken], token.Declare)
	if err != nil {
		return bus.Reply{}, err
	}
	asJSON, err := isJSON(r)
	if err != nil {
		return bus.Reply{}, err
	}
	d := &candorv1.Declaration{}
	if asJSON {
		err = readJSON(r.Data, d, protojson.UnmarshalOptions{})
	} else {
		err = proto.Unmarshal(r.Data, d)
	}
	if err != nil {
		return bus.Reply{}, refuse(connect.CodeInvalidArgument,
			"declaration cannot be read: send a candor.v1.Declaration as application/json or application/protobuf: %w", err)
	}
	q := &candorv1.DeclareRequest{Declaration: d}
	if err := a.validate(q); err != nil {
		return bus.Reply{}, err
	}
	resp, err := a.declare(ctx, q)
	if err != nil {
		return bus.Reply{}, err
	}
	reply := bus.Reply{Header: map[string]string{headerContentType: "application/protobuf"}}
	if asJSON {
		reply.Header[headerContentType] = "application/json"
		reply.Data, err = protojson.Marshal(resp)
	} else {
		reply.Data, err = proto.Marshal(resp)
	}
	return reply, err
}

// isJSON goes by the header; without one, JSON starts with a brace and protobuf does not: its first byte is a field's tag.
func isJSON(r bus.Request) (bool, error) {
	if r.Header[headerContentType] == "" {
		return len(r.Data) > 0 && r.Data[0] == '{', nil
	}
	kind, _, err := mime.ParseMediaType(r.Header[headerContentType])
	switch {
	case err == nil && kind == "application/json":
		return true, nil
	case err == nil && (kind == "application/protobuf" || kind == "application/x-protobuf"):
		return false, nil
	}
	return false, refuse(connect.CodeInvalidArgument, "content type %q: send application/json or application/protobuf", r.Header[headerContentType])
}
