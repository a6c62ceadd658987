package e2e

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestImportArrows holds proto <- pkg <- services/X <- services/app <- services/candor, and one owner for each of the
// dependencies that must not spread.
func TestImportArrows(t *testing.T) {
	t.Parallel()
	owners := map[string][]string{
		"github.com/nats-io/nats.go":          {"candor/pkg/bus"},
		"github.com/synadia-io/orbit.go":      {"candor/pkg/bus"},
		"github.com/nats-io/nats-server":      {"candor/pkg/natsd"},
		"github.com/twilio/twilio-go":         {"candor/services/sms/twilio"},
		"github.com/sendgrid/":                {"candor/services/email/sendgrid"},
		"github.com/tink-crypto/tink-go":      {"candor/pkg/vault"},
		"github.com/nyaruka/phonenumbers":     {"candor/pkg/roster", "candor/pkg/playbook"},
		"github.com/cbroglie/mustache":        {"candor/pkg/notice", "candor/pkg/playbook"},
		"github.com/spf13/cobra":              {"candor/services/candor"},
		"github.com/prometheus/client_golang": {"candor/pkg/httpd", "candor/services/api", "candor/services/app", "candor/services/frontdoor", "candor/services/calls"},
	}
	root := filepath.Join("..", "..")
	seen := 0
	for _, module := range []string{"proto", "pkg", "services"} {
		err := filepath.WalkDir(filepath.Join(root, module), func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") {
				return err
			}
			rel, err := filepath.Rel(root, file)
			if err != nil {
				return err
			}
			from := path.Join("candor", path.Dir(filepath.ToSlash(rel)))
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			test := strings.HasSuffix(file, "_test.go")
			for _, imp := range f.Imports {
				to, err := strconv.Unquote(imp.Path.Value)
				if err != nil {
					return err
				}
				seen++
				if why := refused(from, to, test); why != "" {
					t.Errorf("%s imports %s: %s", rel, to, why)
				}
				if test || strings.Contains(from, "/e2e") || strings.Contains(from, "/bench") {
					continue // tests and benchmarks speak to anybody
				}
				for dep, own := range owners {
					if strings.HasPrefix(to, dep) && !ownedBy(from, own) {
						t.Errorf("%s imports %s: only %s may", rel, to, strings.Join(own, " and "))
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen == 0 {
		t.Fatal("no imports seen: this test looks in the wrong place")
	}
}

func ownedBy(from string, owners []string) bool {
	for _, o := range owners {
		if from == o || strings.HasPrefix(from, o+"/") {
			return true
		}
	}
	return false
}

// refused says why a package must not import another one of ours; empty if it may.
func refused(from, to string, test bool) string {
	if !strings.HasPrefix(to, "candor/") {
		return ""
	}
	switch {
	case strings.HasPrefix(from, "candor/proto"):
		if !strings.HasPrefix(to, "candor/proto") {
			return "proto imports nothing of ours"
		}
	case strings.HasPrefix(from, "candor/pkg"):
		if strings.HasPrefix(to, "candor/services") {
			return "pkg knows no service"
		}
	case strings.HasPrefix(from, "candor/services"):
		a, b := service(from), service(to)
		if b == "" || a == b {
			return ""
		}
		switch a {
		case "candor", "e2e":
			return ""
		case "bench":
			if b == "sandbox" || b == "app" || b == "sms" || b == "email" || b == "ledger" || b == "api" || b == "planner" || b == "frontdoor" || b == "calls" || b == "dialer" {
				return ""
			}
		case "app":
			if b != "candor" && b != "e2e" && b != "bench" {
				return ""
			}
		default:
			if test && b == "sandbox" {
				return "" // the sandbox is the provider in every test
			}
		}
		return "two services meet on a subject, never by import"
	}
	return ""
}

// service returns the service that a package belongs to, empty for a package outside services.
func service(pkg string) string {
	rest, ok := strings.CutPrefix(pkg, "candor/services/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}
