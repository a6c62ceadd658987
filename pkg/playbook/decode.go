package playbook

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"candor/pkg/audience"
	"candor/pkg/spell"
)

const (
	maxLines  = 10_000
	maxLine   = 8 << 10 // bytes
	maxNested = 32      // lists and maps on one line
	maxString = 500     // bytes of a plain setting

	// The YAML parser takes time that grows with the square of the number of tokens.
	indicators   = "\"'&*!,:[{#?|>%@`"
	maxIndicator = 20_000
)

// decoder fills a struct from YAML and notes every mistake. A field is required unless its tag says optional or it is a
// pointer; an embedded struct's fields stand among its parent's, all of them or those that its tag names.
type decoder struct {
	src      *source
	places   map[string]int // byte offset of what stands at a path such as waves.w0.audience
	keys     map[string]int // byte offset of the key of it
	mistakes []*MistakeError
	read     bool // it is YAML, and looking at the values makes sense
	strings  []placed
}

// placed is a text or a plain setting, and where it stands.
type placed struct {
	path string
	text Text
}

// decode reads data into the struct that into points to.
func decode(file string, data []byte, maxBytes int, into any) *decoder {
	text := strings.ReplaceAll(strings.TrimPrefix(string(data), "\ufeff"), "\r\n", "\n")
	d := &decoder{src: newSource(file, text), places: map[string]int{}, keys: map[string]int{}}
	if !d.readable(maxBytes) || !d.shallow() {
		return d
	}
	d.decode(into)
	return d
}

// decode reads the source, which is fit to be parsed.
func (d *decoder) decode(into any) {
	doc, ok := d.parse()
	if !ok {
		return
	}
	d.read = true
	d.value(doc, reflect.ValueOf(into).Elem(), "")
}

func (d *decoder) note(offset int, message, remedy string) {
	d.mistakes = append(d.mistakes, d.src.mistake(offset, message, remedy))
}

// at returns the place of a path, or of the nearest thing around it.
func (d *decoder) at(path string) int {
	for {
		if offset, ok := d.places[path]; ok || path == "" {
			return offset
		}
		path = path[:max(0, strings.LastIndexByte(path, '.'))]
	}
}

// keyAt returns the place of the key that a path ends with; an entry of a list has none, and stands for itself.
func (d *decoder) keyAt(path string) int {
	if offset, ok := d.keys[path]; ok {
		return offset
	}
	return d.at(path)
}

// readable refuses what is no text, or too much of it.
func (d *decoder) readable(maxBytes int) bool {
	text := d.src.data
	switch {
	case len(text) > maxBytes:
		d.note(0, fmt.Sprintf("%d bytes are too much", len(text)), fmt.Sprintf("shorten it to %d", maxBytes))
		return false
	case len(d.src.starts) > maxLines:
		d.note(d.src.starts[maxLines], fmt.Sprintf("more than %d lines", maxLines), "shorten it")
		return false
	}
	for i, r := range text {
		if r == utf8.RuneError && !utf8.FullRuneInString(text[i:]) || r == utf8.RuneError && !strings.HasPrefix(text[i:], "\ufffd") {
			d.note(i, "a byte that is no text", "save the file as UTF-8")
			return false
		}
		if invisible(r) {
			d.note(i, fmt.Sprintf("an invisible character, %U", r), "delete it")
			return false
		}
	}
	for n := range d.src.starts {
		if from, to := d.src.line(n + 1); to-from > maxLine {
			d.note(from, fmt.Sprintf("a line of more than %d bytes", maxLine), "break it")
			return false
		}
	}
	return true
}

// shallow refuses what would make the YAML parser slow or overflow its stack.
func (d *decoder) shallow() bool {
	text := d.src.data
	for i := range len(indicators) {
		if n := strings.Count(text, indicators[i:i+1]); n > maxIndicator {
			d.note(0, fmt.Sprintf("%d times %c is too much", n, indicators[i]), "shorten it")
			return false
		}
	}
	nested := 0
	for n := range d.src.starts {
		from, to := d.src.line(n + 1)
		line := d.src.data[from:to]
		lead := len(line) - len(strings.TrimLeft(line, " -?:"))
		for i := range len(line) {
			switch line[i] {
			case '[', '{':
				nested++
			case ']', '}':
				nested = max(0, nested-1)
			}
			if nested > maxNested || lead > 200 {
				d.note(from+min(i, len(line)), "nested too deeply", "close a bracket, or write it with fewer levels")
				return false
			}
		}
	}
	return true
}

// parse returns the one document of the file.
func (d *decoder) parse() (doc ast.Node, ok bool) {
	defer func() {
		if recover() != nil { // a bug of the parser must not take the process with it
			d.note(0, "this is no YAML that can be read", "compare it with a starter file")
			doc, ok = nil, false
		}
	}()
	file, err := parser.ParseBytes([]byte(d.src.data), 0, parser.AllowDuplicateMapKey())
	var syntax *yaml.SyntaxError
	switch {
	case errors.As(err, &syntax):
		at, remedy := d.offset(syntax.Token), "look at the indentation, colons and quotes here and just above"
		if from, to := d.src.line(d.src.lineOf(at)); strings.Contains(d.src.data[from:to], "{{") {
			remedy = "put a value with {{ in it in quotes"
		}
		if stray, ok := d.stray(); ok && stray < at { // the parser stumbles over it much later
			d.note(stray, "this is no YAML: a line at the left edge that is no key", "indent it like the lines above, or put a colon after the key")
			return nil, false
		}
		d.note(at, "this is no YAML: "+syntax.Message, remedy)
		return nil, false
	case err != nil:
		d.note(0, "this is no YAML that can be read", "compare it with a starter file")
		return nil, false
	}
	var docs []ast.Node
	for _, doc := range file.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.NullType {
			docs = append(docs, doc.Body)
		}
	}
	switch len(docs) {
	case 0:
		d.note(0, "nothing in it", "start from a starter file: candor init writes one")
		return nil, false
	case 1:
		return docs[0], true
	default:
		d.note(d.offset(docs[1].GetToken()), "a second document", "delete the line ---, or put it into a file of its own")
		return nil, false
	}
}

var topKey = regexp.MustCompile(`^([\s#\]}]|$|---|[^:]+:(\s|$))`)

// stray returns the first line at the left edge that is neither a key nor a comment: as a rule one that slipped out of a text.
func (d *decoder) stray() (offset int, ok bool) {
	for n := range d.src.starts {
		from, to := d.src.line(n + 1)
		if !topKey.MatchString(d.src.data[from:to]) {
			return from, true
		}
	}
	return 0, false
}

func (d *decoder) offset(t *token.Token) int { return d.src.offset(t.Position.Line, t.Position.Column) }

// start returns the place of a node; a map's own token is the colon of its first key.
func (d *decoder) start(n ast.Node) int {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return d.offset(n.Values[0].Key.GetToken())
		}
	case *ast.MappingValueNode:
		return d.offset(n.Key.GetToken())
	case *ast.LiteralNode:
		return d.offset(n.Start)
	}
	return d.offset(n.GetToken())
}

// value reads a node into v.
func (d *decoder) value(n ast.Node, v reflect.Value, path string) {
	at := d.start(n)
	d.places[path] = at
	switch n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode, *ast.DirectiveNode:
		d.note(at, "anchors, aliases and tags have no meaning here", "write the value itself, in quotes if it starts with &, * or !")
		return
	case *ast.NullNode:
		if _, ok := v.Addr().Interface().(*audience.Audience); ok {
			return // nothing is everyone
		}
		d.note(at, fmt.Sprintf("%s is empty", last(path)), "fill it in")
		return
	}
	if d.scalar(n, v, at, path) {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), path)
	case reflect.Struct:
		d.structure(n, v, path)
	case reflect.Map:
		entries, _ := d.entries(n, path, "a map")
		v.Set(reflect.MakeMap(v.Type()))
		for _, e := range entries {
			elem := reflect.New(v.Type().Elem()).Elem()
			d.keys[path+"."+e.key] = e.at
			d.value(e.node, elem, path+"."+e.key)
			v.SetMapIndex(reflect.ValueOf(e.key), elem)
		}
	case reflect.Slice:
		list, ok := n.(*ast.SequenceNode)
		if !ok {
			d.note(at, fmt.Sprintf("%s is no list", last(path)), "write one entry a line, each after a hyphen and a blank")
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(list.Values), len(list.Values)))
		for i, e := range list.Values {
			d.value(e, v.Index(i), path+"."+strconv.Itoa(i))
		}
	default:
		panic("playbook: no way to decode a " + v.Type().String())
	}
}

type entry struct {
	key  string
	at   int
	node ast.Node
}

// entries returns what a map holds; a key that is no string, or comes twice, is a mistake.
func (d *decoder) entries(n ast.Node, path, what string) (entries []entry, ok bool) {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		d.note(d.start(n), fmt.Sprintf("%s where %s should stand", cmp.Or(last(path), "this")+" is a value", what), "write keys and values under it, each key with a colon")
		return nil, false
	}
	for _, mv := range values {
		at := d.offset(mv.Key.GetToken())
		key, isString := mv.Key.(*ast.StringNode)
		if !isString {
			d.note(at, said(mv.Key.String())+" is no plain key", "write a word, in quotes if need be")
			continue
		}
		if slices.ContainsFunc(entries, func(e entry) bool { return e.key == key.Value }) {
			d.note(at, said(key.Value)+" comes twice", "delete one of them")
			continue
		}
		entries = append(entries, entry{key.Value, at, mv.Value})
	}
	return entries, true
}

// field is one key of a struct.
type field struct {
	name     string
	optional bool
	index    []int
}

// fields lists the keys of a struct in the order of its fields.
func fields(t reflect.Type) []field {
	var all []field
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			only, limited := f.Tag.Lookup("yaml")
			for _, inner := range fields(f.Type) {
				if limited && !slices.Contains(strings.Split(only, ","), inner.name) {
					continue
				}
				inner.index = append([]int{i}, inner.index...)
				all = append(all, inner)
			}
			continue
		}
		if name, option, _ := strings.Cut(f.Tag.Get("yaml"), ","); name != "" {
			all = append(all, field{name, option == "optional" || f.Type.Kind() == reflect.Pointer, []int{i}})
		}
	}
	return all
}

func (d *decoder) structure(n ast.Node, v reflect.Value, path string) {
	entries, ok := d.entries(n, path, "a map")
	if !ok {
		return
	}
	known := fields(v.Type())
	names := make([]string, len(known))
	for i, f := range known {
		names[i] = f.name
	}
	for _, e := range entries {
		i := slices.Index(names, e.key)
		if i < 0 {
			d.note(e.at, "unknown key "+said(e.key), spell.Remedy(e.key, names))
			continue
		}
		inner := strings.TrimPrefix(path+"."+e.key, ".")
		d.keys[inner] = e.at
		d.value(e.node, v.FieldByIndex(known[i].index), inner)
	}
	for _, f := range known {
		if !f.optional && !slices.ContainsFunc(entries, func(e entry) bool { return e.key == f.name }) {
			d.note(d.keyAt(path), fmt.Sprintf("%s is missing in %s", f.name, cmp.Or(last(path), "the file")), "add it; the schema and the starter file show how")
		}
	}
}

// sayable matches what a mistake may repeat: a slip of the finger, and no address.
var sayable = regexp.MustCompile(`^[\pL_<.-][\pL\pN_<. -]{0,63}$`)

// said returns what somebody wrote, if it can be no address: mistakes are printed, and logged by whoever asked.
func said(word string) string {
	if !sayable.MatchString(word) || len(digits(word)) > 4 {
		return "what stands here"
	}
	return word
}

// last returns the last key of a path, for a person to read; an entry of a list goes by the list's name.
func last(path string) string {
	for {
		i := strings.LastIndexByte(path, '.')
		name := path[i+1:]
		if _, err := strconv.Atoi(name); err != nil || i < 0 {
			return name
		}
		path = path[:i]
	}
}
