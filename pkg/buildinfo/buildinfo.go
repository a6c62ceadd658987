// Package buildinfo says which Candor this is.
//
// In: what the linker and the go command left in the binary.   Out: Info.   Crash: nothing to lose.
package buildinfo

import (
	"runtime"
	"runtime/debug"
)

// version is set by the linker: -ldflags "-X candor/pkg/buildinfo.version=v1.2.3". Nothing else writes it.
var version string

// Info describes the running binary.
type Info struct {
	Version  string `json:"version"`            // the release, or "devel"
	Commit   string `json:"commit,omitempty"`   // what it was built from, if it was built in a checkout
	Time     string `json:"time,omitempty"`     // of that commit, RFC 3339
	Modified bool   `json:"modified,omitempty"` // with changes on top
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Read describes the running binary.
func Read() Info {
	b, ok := debug.ReadBuildInfo()
	if !ok {
		b = &debug.BuildInfo{}
	}
	return from(version, b)
}

func from(linked string, b *debug.BuildInfo) Info {
	i := Info{Version: linked, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if i.Version == "" {
		i.Version = "devel"
	}
	for _, s := range b.Settings {
		switch s.Key {
		case "vcs.revision":
			i.Commit = s.Value
		case "vcs.time":
			i.Time = s.Value
		case "vcs.modified":
			i.Modified = s.Value == "true"
		}
	}
	return i
}

// String writes the binary's description on one line.
func (i Info) String() string {
	s := "candor " + i.Version
	if i.Commit != "" {
		s += " (" + i.Commit[:min(12, len(i.Commit))]
		if i.Modified {
			s += " with changes"
		}
		s += ")"
	}
	return s + " " + i.Go + " " + i.Platform
}
