// Package config reads settings: strict YAML, all mistakes at once, each with its line and column; and secrets that do not print.
//
// In: a file.   Out: a filled struct, or every mistake in the file.   Crash: nothing to lose.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxMistakes is where a report stops: a file with more is the wrong file.
const maxMistakes = 50

// Mistake is one thing wrong in a file.
type Mistake struct {
	File         string
	Line, Column int // 0 where it is about the file as a whole
	Err          error
}

// Error puts the place first, as compilers do.
func (m *Mistake) Error() string {
	if m.Line == 0 {
		return fmt.Sprintf("%s: %v", m.File, m.Err)
	}
	return fmt.Sprintf("%s:%d:%d: %v", m.File, m.Line, m.Column, m.Err)
}

// Unwrap returns what is wrong.
func (m *Mistake) Unwrap() error { return m.Err }

// Load fills into, a pointer to a struct that may hold defaults, from the YAML file at path.
func Load(path string, into any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	return Decode(path, b, into)
}

// Decode fills into, a pointer to a struct that may hold defaults, from YAML; name is its file's, which stands before the line in
// errors and from whose folder the files of secrets are found. What is not in the YAML keeps its value. The error joins every
// Mistake, and after one into is as it was.
func Decode(name string, data []byte, into any) error {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return newMistake(name, err, nil)
	}
	switch len(file.Docs) {
	case 0:
		return nil
	case 1:
	default:
		return &Mistake{File: name, Err: fmt.Errorf("%d documents: leave one, without --- between", len(file.Docs))}
	}
	body := file.Docs[0].Body
	if body == nil || body.Type() == ast.NullType || body.Type() == ast.CommentType {
		return nil
	}
	found := mistakes(name, body, reflect.TypeOf(into).Elem())
	if len(found) == 0 {
		return decode(name, body, into)
	}
	slices.SortStableFunc(found, func(a, b *Mistake) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	var errs []error
	for _, m := range found {
		errs = append(errs, m)
	}
	return errors.Join(errs...)
}

// EnvName returns the environment variable that is the twin of a flag or setting: CANDOR_PROVIDERS_TWILIO_BASE_URL of
// providers.twilio.base-url.
func EnvName(flag string) string {
	return "CANDOR_" + strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(flag))
}

func decode(name string, body ast.Node, into any) error {
	return yaml.NodeToValue(body, into, yaml.Strict(), yaml.CustomUnmarshaler(func(s *Secret, value []byte) error {
		var text string
		if yaml.Unmarshal(value, &text) != nil {
			text = "?" // a list or a mapping is no reference; the decoder's words would show what stands there
		}
		return s.follow(text, filepath.Dir(name))
	}))
}

// mistakes tries the file on throw-away values. The decoder stops at a mistake, so each one found is cut out of the tree and the rest
// is tried again; without a mistake the tree stays whole.
func mistakes(name string, body ast.Node, t reflect.Type) (found []*Mistake) {
	try := func() error { return decode(name, body, reflect.New(t).Interface()) }
	for range maxMistakes {
		err := try()
		if err == nil {
			return found
		}
		culprit := locate(items(body), err, try)
		found = append(found, newMistake(name, err, culprit))
		if culprit == nil {
			return found // in the root itself: there is nothing to cut
		}
		culprit.remove()
	}
	return append(found, &Mistake{File: name, Err: fmt.Errorf("more than %d mistakes, the others are not shown", maxMistakes)})
}

// locate returns the item that the decoder stumbled over.
func locate(all []item, err error, try func() error) *item {
	var at yaml.Error
	if errors.As(err, &at) {
		for _, it := range slices.Backward(all) { // an item comes before those inside it, and the innermost is meant
			if it.has(at.GetToken()) {
				return &it
			}
		}
		return nil
	}
	// An UnmarshalText refused, and the decoder does not say where. Take out one value after the other: with the last one that it
	// refuses in these words, the error goes away.
	for _, it := range all {
		if !it.leaf() {
			continue
		}
		defer it.remove()()
		if again := try(); again == nil || again.Error() != err.Error() {
			return &it
		}
	}
	return nil
}

func newMistake(name string, err error, culprit *item) *Mistake {
	m := &Mistake{File: name, Err: err}
	var at yaml.Error
	var tk *token.Token
	var kind *yaml.TypeError
	if errors.As(err, &at) {
		m.Err, tk = errors.New(at.GetMessage()), at.GetToken() // Error would show the lines around it, secrets included
		if errors.As(err, &kind) {
			m.Err = fmt.Errorf("want %s, not %s", kind.DstType.Kind(), kind.SrcType.Kind())
		}
	} else if culprit != nil {
		tk = culprit.value.GetToken()
	}
	if tk != nil && tk.Position != nil {
		m.Line, m.Column = tk.Position.Line, tk.Position.Column
	}
	return m
}

// item is one key with its value in a mapping, or one value in a sequence, that can be taken out.
type item struct {
	key, value ast.Node      // key is nil in a sequence
	remove     func() func() // takes the item out of the tree, and returns what puts it back
}

func (it item) has(tk *token.Token) bool {
	return it.key != nil && it.key.GetToken() == tk || it.value != nil && it.value.GetToken() == tk
}

func (it item) leaf() bool {
	_, scalar := it.value.(ast.ScalarNode)
	return scalar
}

// items lists what can be taken out of the tree, outer before inner.
func items(n ast.Node) (all []item) {
	switch n := n.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			all = append(all, item{key: v.Key, value: v.Value, remove: remover(&n.Values, v)})
			all = append(all, items(v.Value)...)
		}
	case *ast.SequenceNode:
		for _, v := range n.Values {
			all = append(all, item{value: v, remove: remover(&n.Values, v)})
			all = append(all, items(v)...)
		}
	case *ast.AnchorNode:
		return items(n.Value)
	case *ast.TagNode:
		return items(n.Value)
	}
	return all
}

func remover[T comparable](list *[]T, v T) func() func() {
	return func() func() {
		before := *list
		*list = slices.DeleteFunc(slices.Clone(before), func(w T) bool { return w == v })
		return func() { *list = before }
	}
}
