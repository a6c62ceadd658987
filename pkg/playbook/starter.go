package playbook

import (
	"embed"
	"io/fs"
)

//go:embed starter
var starter embed.FS

// Starter returns the files to start from: playbook.yaml, facts.yaml, roster.csv and update.md, in English and Spanish. The
// organisation, the breach and the people in them are invented.
func Starter() fs.FS {
	files, err := fs.Sub(starter, "starter")
	if err != nil {
		panic(err) // the folder is embedded
	}
	return files
}
