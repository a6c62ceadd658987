//go:build race

package e2e

// detector says that the race detector watches, which makes this machine several times slower.
const detector = true
