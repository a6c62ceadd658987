//go:build unix

package bench

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// used is what this process has taken so far.
func used() (usage, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return usage{}, fmt.Errorf("what this process used: %w", err)
	}
	peak := int64(u.Maxrss) //nolint:unconvert // narrower elsewhere
	if runtime.GOOS != "darwin" {
		peak *= 1024
	}
	now := peak // where nobody tells
	// Linux counts what the parent held at the start into Maxrss, but not into this.
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		for line := range strings.Lines(string(status)) {
			for prefix, into := range map[string]*int64{"VmHWM:": &peak, "VmRSS:": &now} {
				if kb, ok := strings.CutPrefix(line, prefix); ok {
					n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(kb), " kB"), 10, 64)
					if err != nil {
						return usage{}, fmt.Errorf("memory of this process: %w", err)
					}
					*into = n * 1024
				}
			}
		}
	}
	return usage{CPU: float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9, PeakBytes: peak, RSSBytes: now}, nil
}
