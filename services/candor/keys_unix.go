//go:build linux || darwin

package main

import (
	"golang.org/x/sys/unix"
)

// onKey calls do, once, when the key is pressed on the terminal; restore gives the terminal back as it was. Signals and line
// endings stay as they are, which raw mode would take away.
func (c *cli) onKey(key byte, do func()) (restore func()) {
	if c.keys == nil {
		return func() {}
	}
	fd := int(c.keys.Fd()) //nolint:gosec // a file descriptor fits an int
	before, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return func() {} // no key, then: Ctrl-C works in any case
	}
	single := *before
	single.Lflag &^= unix.ICANON | unix.ECHO
	single.Cc[unix.VMIN], single.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, setTermios, &single); err != nil {
		return func() {}
	}
	// The read cannot be interrupted: the goroutine ends with the process, or at the next key.
	go func() {
		b := make([]byte, 1)
		for {
			if n, err := c.keys.Read(b); err != nil || n == 0 {
				return
			}
			if b[0] == key {
				do()
				return
			}
		}
	}()
	return func() { _ = unix.IoctlSetTermios(fd, setTermios, before) } // a terminal that is gone needs nothing
}
