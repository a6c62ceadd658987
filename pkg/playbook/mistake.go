package playbook

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// MistakeError is one mistake in a file that a person wrote, and how to mend it. Lines and columns count from 1.
type MistakeError struct {
	File    string
	Line    int
	Column  int
	Message string
	Remedy  string
}

// Error names the place, the mistake and its remedy.
func (e *MistakeError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s; %s", e.File, e.Line, e.Column, e.Message, e.Remedy)
}

// Mistakes returns the mistakes that err is made of, in the order of the file; nil if it is made of something else.
func Mistakes(err error) []*MistakeError {
	var all []*MistakeError
	var walk func(error)
	walk = func(err error) {
		switch e := err.(type) { //nolint:errorlint // the tree is walked here, one level at a time
		case *MistakeError:
			all = append(all, e)
		case interface{ Unwrap() []error }:
			for _, part := range e.Unwrap() {
				walk(part)
			}
		case interface{ Unwrap() error }:
			walk(e.Unwrap())
		}
	}
	walk(err)
	return all
}

// maxMistakes is how many are shown: who has more has taken the wrong file.
const maxMistakes = 50

// join makes one error of the mistakes, in the order of the file.
func join(mistakes []*MistakeError) error {
	slices.SortStableFunc(mistakes, func(a, b *MistakeError) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if len(mistakes) > maxMistakes {
		at := mistakes[maxMistakes]
		mistakes = append(mistakes[:maxMistakes:maxMistakes], &MistakeError{
			at.File, at.Line, at.Column,
			fmt.Sprintf("%d more mistakes from here on", len(mistakes)-maxMistakes), "mend those above first",
		})
	}
	errs := make([]error, len(mistakes))
	for i, m := range mistakes {
		errs[i] = m
	}
	return errors.Join(errs...)
}
