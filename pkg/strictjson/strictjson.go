// Package strictjson reads requests of foreign programs in JSON: a field that does not exist is a mistake, since whoever wrote it
// meant something by it, and what is wrong is named by its field and never by its value, which may be about a person.
package strictjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

var (
	// fieldName is what may be repeated of a name that somebody else wrote.
	fieldName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,39}$`)
	place     = regexp.MustCompile(`\(line [0-9]+:[0-9]+\)`)
)

// Read decodes a message.
func Read(data []byte, m proto.Message) error {
	err := protojson.Unmarshal(data, m)
	if err == nil {
		return nil
	}
	desc := m.ProtoReflect().Descriptor()
	var fields map[string]json.RawMessage
	if json.Unmarshal(data, &fields) != nil {
		return fmt.Errorf("this is no JSON of a %s%s", desc.FullName(), placeOf(err))
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if wrong := field(name, fields[name], m); wrong != nil {
			return wrong
		}
	}
	return fmt.Errorf("this is no JSON of a %s%s: a field stands there twice, perhaps", desc.FullName(), placeOf(err))
}

// placeOf is where in the text a mistake lies, if that is known.
func placeOf(err error) string {
	if at := place.FindString(err.Error()); at != "" {
		return " " + at
	}
	return ""
}

// field says what is wrong with a field by itself.
func field(name string, value json.RawMessage, m proto.Message) error {
	desc := m.ProtoReflect().Descriptor()
	fd := desc.Fields().ByJSONName(name)
	if fd == nil {
		fd = desc.Fields().ByTextName(name)
	}
	if fd == nil {
		if !fieldName.MatchString(name) {
			name = "of another name"
		}
		return fmt.Errorf("there is no field %s: a %s has %s", name, desc.FullName(), strings.Join(names(desc), ", "))
	}
	alone, err := json.Marshal(map[string]json.RawMessage{name: value})
	if err == nil {
		err = protojson.Unmarshal(alone, m.ProtoReflect().New().Interface())
	}
	if err != nil {
		return errors.New("the field " + fd.JSONName() + " cannot be read: write " + form(fd)) //nolint:err113 // the cause repeats the value
	}
	return nil
}

func names(desc protoreflect.MessageDescriptor) (all []string) {
	for i := range desc.Fields().Len() {
		all = append(all, desc.Fields().Get(i).JSONName())
	}
	if len(all) == 0 {
		return []string{"none"}
	}
	return all
}

// form says how a field is written.
func form(fd protoreflect.FieldDescriptor) string {
	word := ""
	switch fd.Kind() {
	case protoreflect.StringKind:
		word = `a text, as in "text"`
	case protoreflect.BoolKind:
		word = "true or false"
	case protoreflect.EnumKind:
		var values []string
		for i := range fd.Enum().Values().Len() {
			values = append(values, fmt.Sprintf("%q", fd.Enum().Values().Get(i).Name()))
		}
		word = "one of " + strings.Join(values, ", ")
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.Fixed32Kind, protoreflect.Fixed64Kind:
		word = "a whole number from 0 on"
	case protoreflect.BytesKind:
		word = "base64"
	case protoreflect.MessageKind:
		switch fd.Message().FullName() {
		case "google.protobuf.Duration":
			word = `seconds, as in "600s"`
		case "google.protobuf.Timestamp":
			word = `date and time with their zone, as in "2026-11-23T17:30:00+01:00"`
		default:
			word = "a " + string(fd.Message().FullName())
		}
	default:
		word = "a number"
	}
	if fd.IsList() {
		return "a list, in brackets, of which each is " + word
	}
	return word
}
