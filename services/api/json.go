package api

import (
	"errors"
	"regexp"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"candor/pkg/strictjson"
)

// jsonPlace finds where in a text a mistake lies.
var jsonPlace = regexp.MustCompile(`\(line [0-9]+:[0-9]+\)`)

// readJSON reads a message. Its errors name the place and never repeat what stands there, which may be a whole playbook.
func readJSON(data []byte, m proto.Message, o protojson.UnmarshalOptions) error {
	err := o.Unmarshal(data, m)
	if err == nil {
		return nil
	}
	text := "this is no JSON of a " + string(m.ProtoReflect().Descriptor().FullName())
	if place := jsonPlace.FindString(err.Error()); place != "" {
		text += " " + place
	}
	return errors.New(text)
}

// jsonCodec is Connect's own, but for the errors.
type jsonCodec struct{ name string }

// strictCodec refuses fields that there are not, as the call queue does over NATS: a dialer that misspells one gets customers
// whom it did not ask for.
type strictCodec struct{ jsonCodec }

func jsonCodecs() []connect.HandlerOption {
	return []connect.HandlerOption{connect.WithCodec(jsonCodec{"json"}), connect.WithCodec(jsonCodec{"json; charset=utf-8"})}
}

func strictCodecs() []connect.HandlerOption {
	return []connect.HandlerOption{
		connect.WithCodec(strictCodec{jsonCodec{"json"}}), connect.WithCodec(strictCodec{jsonCodec{"json; charset=utf-8"}}),
	}
}

var errNoMessage = errors.New("this is no message of protobuf")

func (c jsonCodec) Name() string { return c.name }

func (jsonCodec) IsBinary() bool { return false }

func (jsonCodec) Marshal(m any) ([]byte, error) {
	p, ok := m.(proto.Message)
	if !ok {
		return nil, errNoMessage
	}
	return protojson.Marshal(p)
}

func (c strictCodec) Unmarshal(data []byte, m any) error {
	p, ok := m.(proto.Message)
	if !ok || len(data) == 0 {
		return c.jsonCodec.Unmarshal(data, m)
	}
	return strictjson.Read(data, p)
}

func (jsonCodec) Unmarshal(data []byte, m any) error {
	p, ok := m.(proto.Message)
	switch {
	case !ok:
		return errNoMessage
	case len(data) == 0:
		return errors.New("no JSON at all: send {} at least")
	}
	return readJSON(data, p, protojson.UnmarshalOptions{DiscardUnknown: true})
}
