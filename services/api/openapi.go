package api

import (
	_ "embed" // the document
	"net/http"
)

// openAPI describes the call queue for dialers; make gen writes it. It says nothing of anybody, so it is the one page that needs
// no token.
//
//go:embed openapi.yaml
var openAPI []byte

func serveOpenAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(openAPI) // to whoever is still there
}
