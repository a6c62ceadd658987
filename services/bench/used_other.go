//go:build !unix

package bench

import "errors"

func used() (usage, error) {
	return usage{}, errors.New("CPU and memory of a process cannot be counted here: measure on Linux, macOS or another Unix")
}
