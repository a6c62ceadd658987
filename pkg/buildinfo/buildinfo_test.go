package buildinfo

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestInfoString(t *testing.T) {
	t.Parallel()
	suffix := " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
	for _, tt := range []struct {
		name, linked, want string
		settings           []debug.BuildSetting
	}{
		{"nothing known", "", "candor devel", nil},
		{"release", "v1.2.3", "candor v1.2.3", nil},
		{
			"checkout", "", "candor devel (0123456789ab with changes)",
			[]debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: "true"}},
		},
		{"short revision", "v1", "candor v1 (ab)", []debug.BuildSetting{{Key: "vcs.revision", Value: "ab"}, {Key: "vcs.modified", Value: "false"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := from(tt.linked, &debug.BuildInfo{Settings: tt.settings}).String(); got != tt.want+suffix {
				t.Errorf("String() = %q, want %q", got, tt.want+suffix)
			}
		})
	}
}

func TestReadIsNeverEmpty(t *testing.T) {
	t.Parallel()
	if i := Read(); i.Version == "" || i.Go == "" {
		t.Errorf("Read() = %+v, want a version and a Go version", i)
	}
}
