// Command protoc-gen-openapi describes services in OpenAPI 3.0, as Connect serves them: JSON by POST on the procedure's path.
//
// In: a code generator request of protoc or buf, with the option service=NAME.   Out: openapi.yaml.   Crash: nothing is
// written.
package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	var service string
	protogen.Options{ParamFunc: func(name, value string) error {
		if name != "service" {
			return fmt.Errorf("option %s: there is service=NAME", name)
		}
		service = value
		return nil
	}}.Run(func(p *protogen.Plugin) error {
		p.SupportedFeatures = uint64(pluginpb.CodeGeneratorResponse_FEATURE_PROTO3_OPTIONAL)
		d := &document{schemas: map[string]any{}}
		for _, f := range p.Files {
			for _, s := range f.Services {
				if f.Generate && string(s.Desc.Name()) == service {
					d.service(s)
				}
			}
		}
		if d.title == "" {
			return fmt.Errorf("no service %s", service)
		}
		out := p.NewGeneratedFile("openapi.yaml", "")
		enc := yaml.NewEncoder(out)
		enc.SetIndent(2)
		return enc.Encode(d.node())
	})
}

// document is the answer as it grows.
type document struct {
	title, about string
	paths        []entry
	schemas      map[string]any
}

// entry keeps the order in which things stand.
type entry struct {
	key   string
	value any
}

// object is a mapping in order.
func object(entries ...entry) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, e := range entries {
		if e.value == nil || e.value == "" {
			continue
		}
		var key, value yaml.Node
		key.SetString(e.key)
		if node, ok := e.value.(*yaml.Node); ok {
			value = *node
		} else if err := value.Encode(e.value); err != nil {
			panic(err) // only what this program makes
		}
		n.Content = append(n.Content, &key, &value)
	}
	return n
}

func (d *document) service(s *protogen.Service) {
	d.title, d.about = string(s.Desc.FullName()), words(s.Comments.Leading)
	for _, m := range s.Methods {
		op := object(
			entry{"operationId", m.GoName}, entry{"summary", words(m.Comments.Leading)},
			entry{"requestBody", object(entry{"required", true}, entry{"content", jsonOf(d.ref(m.Input))})},
			entry{"responses", object(
				entry{"200", object(entry{"description", "The answer."}, entry{"content", jsonOf(d.ref(m.Output))})},
				entry{"default", object(entry{"description", "What is wrong, and what to do about it."}, entry{"content", jsonOf(schemaRef("Error"))})},
			)},
		)
		d.paths = append(d.paths, entry{fmt.Sprintf("/%s/%s", s.Desc.FullName(), m.Desc.Name()), object(entry{"post", op})})
	}
}

func (d *document) node() *yaml.Node {
	d.schemas["Error"] = object(entry{"type", "object"}, entry{"description", "As Connect writes errors; the HTTP status follows from the code."}, entry{"properties", object(
		entry{"code", object(entry{"type", "string"}, entry{"description", "invalid_argument, unauthenticated, permission_denied, not_found, failed_precondition, unavailable and the like."})},
		entry{"message", object(entry{"type", "string"})},
	)})
	var schemas []entry
	for _, name := range slices.Sorted(maps.Keys(d.schemas)) {
		schemas = append(schemas, entry{name, d.schemas[name]})
	}
	return object(
		entry{"openapi", "3.0.3"},
		entry{"info", object(entry{"title", d.title}, entry{"description", d.about}, entry{"version", "1"})},
		entry{"security", []map[string][]string{{"token": {}}}},
		entry{"paths", object(d.paths...)},
		entry{"components", object(
			entry{"securitySchemes", object(entry{"token", object(entry{"type", "http"}, entry{"scheme", "bearer"})})},
			entry{"schemas", object(schemas...)},
		)},
	)
}

func jsonOf(schema *yaml.Node) *yaml.Node {
	return object(entry{"application/json", object(entry{"schema", schema})})
}

func schemaRef(name string) *yaml.Node { return object(entry{"$ref", "#/components/schemas/" + name}) }

// ref describes a message once, and points at it.
func (d *document) ref(m *protogen.Message) *yaml.Node {
	name := string(m.Desc.Name())
	if _, known := d.schemas[name]; known {
		return schemaRef(name)
	}
	d.schemas[name] = nil // a message may hold itself
	var properties []entry
	for _, f := range m.Fields {
		schema := d.field(f)
		if about := words(f.Comments.Leading); about != "" {
			if schema.Content[0].Value == "$ref" { // beside a reference nothing else is read
				schema = object(entry{"allOf", []*yaml.Node{schema}})
			}
			schema.Content = append(schema.Content, object(entry{"description", about}).Content...)
		}
		properties = append(properties, entry{f.Desc.JSONName(), schema})
	}
	d.schemas[name] = object(entry{"type", "object"}, entry{"description", words(m.Comments.Leading)}, entry{"properties", object(properties...)})
	return schemaRef(name)
}

func (d *document) field(f *protogen.Field) *yaml.Node {
	switch {
	case f.Desc.IsMap():
		return object(entry{"type", "object"}, entry{"additionalProperties", d.value(f.Message.Fields[1])})
	case f.Desc.IsList():
		return object(entry{"type", "array"}, entry{"items", d.value(f)})
	}
	return d.value(f)
}

// value is the JSON form of one value, by protobuf's rules.
func (d *document) value(f *protogen.Field) *yaml.Node {
	typed := func(name, format string) *yaml.Node { return object(entry{"type", name}, entry{"format", format}) }
	switch k := f.Desc.Kind(); k {
	case protoreflect.BoolKind:
		return typed("boolean", "")
	case protoreflect.StringKind:
		return typed("string", "")
	case protoreflect.BytesKind:
		return typed("string", "byte")
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return typed("number", k.String())
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind, protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return typed("integer", "")
	case protoreflect.EnumKind:
		d.enum(f.Enum)
		return schemaRef(string(f.Enum.Desc.Name()))
	case protoreflect.MessageKind, protoreflect.GroupKind:
		switch f.Message.Desc.FullName() {
		case "google.protobuf.Timestamp":
			return typed("string", "date-time")
		case "google.protobuf.Duration":
			return object(entry{"type", "string"}, entry{"pattern", `^-?[0-9]+(\.[0-9]{1,9})?s$`}, entry{"example", "30s"})
		}
		return d.ref(f.Message)
	}
	return typed("string", "") // 64 bits do not fit a JSON number
}

func (d *document) enum(e *protogen.Enum) {
	var values []string
	about := []string{words(e.Comments.Leading)}
	for _, v := range e.Values {
		values = append(values, string(v.Desc.Name()))
		if c := words(v.Comments.Leading); c != "" {
			about = append(about, string(v.Desc.Name())+": "+c)
		}
	}
	d.schemas[string(e.Desc.Name())] = object(entry{"type", "string"}, entry{"description", strings.Join(about, "\n")}, entry{"enum", values})
}

// words is a comment without its line breaks.
func words(c protogen.Comments) string { return strings.Join(strings.Fields(string(c)), " ") }
