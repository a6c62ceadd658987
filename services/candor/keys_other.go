//go:build !linux && !darwin

package main

// onKey knows no single keys here: Ctrl-C works in any case.
func (*cli) onKey(byte, func()) (restore func()) { return func() {} }
