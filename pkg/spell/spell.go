// Package spell finds the word that somebody probably meant.
//
// In: a word and those that exist.   Out: the nearest of them.   Crash: nothing to lose, these are pure functions.
package spell

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// longest is the longest word worth comparing; what is longer is no slip of the finger.
const longest = 64

// Nearest returns the known word that is closest to word, and "" if none is close enough to be meant.
func Nearest(word string, known []string) string {
	if len(word) > longest {
		return ""
	}
	lower := strings.ToLower(word)
	best, least := "", max(1, utf8.RuneCountInString(word)/3)+1
	for _, k := range known {
		if d := distance(lower, strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

// Remedy tells somebody who wrote word what to write instead: the nearest known word, else all of them.
func Remedy(word string, known []string) string {
	if near := Nearest(word, known); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	return "write one of: " + strings.Join(known, ", ")
}

// distance counts the letters to insert, delete, replace or swap with their neighbour.
func distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	before, above, row := make([]int, len(t)+1), make([]int, len(t)+1), make([]int, len(t)+1)
	for j := range above {
		above[j] = j
	}
	for i := range s {
		row[0] = i + 1
		for j := range t {
			replace := above[j]
			if s[i] != t[j] {
				replace++
			}
			row[j+1] = min(replace, above[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && s[i] == t[j-1] && s[i-1] == t[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(t)]
}
