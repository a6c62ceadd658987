package e2e

import (
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"candor/pkg/topology"
)

// go test ./e2e -run TestTheTableOfStreams -update-docs rewrites the table.
var updateDocs = flag.Bool("update-docs", false, "rewrite what is generated in the documents")

var documents = []string{
	"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", filepath.Join("deployments", "README.md"),
}

func readDocument(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestTheTableOfStreamsIsCurrent(t *testing.T) {
	t.Parallel()
	const name, begin, end = "ARCHITECTURE.md", "<!-- topology -->\n", "<!-- /topology -->\n"
	text := readDocument(t, name)
	before, rest, ok := strings.Cut(text, begin)
	table, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no %q and %q", name, begin, end)
	}
	want := "\n" + topology.Markdown() + "\n"
	if table == want {
		return
	}
	if *updateDocs {
		if err := os.WriteFile(filepath.Join("..", "..", name), []byte(before+begin+want+end+after), 0o644); err != nil { //nolint:gosec // a document
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s is behind pkg/topology: run go test ./e2e -run TestTheTableOfStreams -update-docs in services", name)
}

var (
	quoted   = regexp.MustCompile("`([^`\n]+)`")
	linked   = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	ourPath  = regexp.MustCompile(`^(\.?[A-Za-z0-9_-]+/)*\.?[A-Za-z0-9_.-]+$`)
	testName = regexp.MustCompile(`^(Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9]*$`)
)

// Folders at the root, by which a path of ours is known from other words with a slash in them.
func rootFolders(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && e.Name() != "bin" {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestDocumentsNameFilesThatExist(t *testing.T) {
	t.Parallel()
	roots := rootFolders(t)
	for _, doc := range documents {
		text := readDocument(t, doc)
		seen := 0
		for _, m := range quoted.FindAllStringSubmatch(text, -1) {
			path := strings.TrimSuffix(m[1], "/")
			first, _, nested := strings.Cut(path, "/")
			if !ourPath.MatchString(path) || !nested || !slices.Contains(roots, first) {
				continue
			}
			seen++
			if _, err := os.Stat(filepath.Join("..", "..", path)); err != nil {
				t.Errorf("%s names %s: %v", doc, path, err)
			}
		}
		for _, m := range linked.FindAllStringSubmatch(text, -1) {
			seen++
			if _, err := os.Stat(filepath.Join("..", "..", filepath.Dir(doc), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", doc, m[1], err)
			}
		}
		if seen == 0 && doc != "CHANGELOG.md" {
			t.Errorf("%s names no file: this test looks in the wrong way", doc)
		}
	}
}

func TestDocumentsNameTestsThatExist(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	declaration := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	for _, module := range []string{"pkg", "services"} {
		err := filepath.WalkDir(filepath.Join("..", "..", module), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			data, err := os.ReadFile(path)
			for _, m := range declaration.FindAllSubmatch(data, -1) {
				known[string(m[1])] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, doc := range documents {
		for _, m := range quoted.FindAllStringSubmatch(readDocument(t, doc), -1) {
			if testName.MatchString(m[1]) && !known[m[1]] {
				t.Errorf("%s names %s, which is no test any more", doc, m[1])
			}
		}
	}
}
