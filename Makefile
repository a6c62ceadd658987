# Two commands are all that a newcomer needs: make run, make test. Both need Go alone.
SHELL   := /bin/bash
TOOLS   := bin/tools
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X candor/pkg/buildinfo.version=$(VERSION)
MODULES := proto pkg services
FUZZTIME ?= 10s

.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: build ## live through an incident in the sandbox, everything on this machine, an hour each second
	bin/candor demo --speed 3600

.PHONY: build
build: ## build bin/candor, one static binary
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/candor ./services/candor

.PHONY: test
test: ## run every test; needs Go alone
	CGO_ENABLED=0 go test work

.PHONY: race
race: ## run every test under the race detector; needs a C compiler
	CGO_ENABLED=1 go test -race -timeout 20m work

.PHONY: lint
lint: $(TOOLS)/.stamp ## formatting, vet, golangci-lint, buf
	@out="$$($(TOOLS)/gofumpt -l $(MODULES))"; [ -z "$$out" ] || { echo "not formatted by gofumpt:"; echo "$$out"; exit 1; }
	@for m in $(MODULES); do echo "lint $$m"; (cd $$m && GOWORK=off $(CURDIR)/$(TOOLS)/golangci-lint run --config $(CURDIR)/.golangci.yaml ./...) || exit 1; done
	$(TOOLS)/buf lint
	$(TOOLS)/buf breaking --against ".git#ref=$$(git log -2 --format=%H -- proto | tail -1)"

.PHONY: gen
gen: $(TOOLS)/.stamp ## regenerate protobuf and Connect code
	PATH="$(CURDIR)/$(TOOLS):$$PATH" buf generate

.PHONY: gen-check
gen-check: gen ## fail if generated code is stale
	@git diff --exit-code -- proto pkg/rpc services/api/openapi.yaml || { echo "generated code is stale: run make gen and commit"; exit 1; }

.PHONY: modules
modules: ## build each module by itself and check that it is tidy
	@for m in $(MODULES); do echo "module $$m"; (cd $$m && GOWORK=off go build ./... && GOWORK=off go mod tidy -diff) || exit 1; done

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (10s)
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; for m in pkg services; do (cd $$m; grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r f; do \
		for t in $$(grep -oE '^func Fuzz[A-Za-z0-9_]*' "$$f" | cut -c6-); do \
			echo "$$m/$$(dirname "$$f") $$t"; go test "./$$(dirname "$$f")" -run '^$$' -fuzz "^$$t$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x >"$$log" 2>&1 || { cat "$$log"; exit 1; }; \
		done; done) || exit 1; done

.PHONY: bench
bench: build ## measure speed, as ratios within one run
	bin/candor bench all

.PHONY: chaos
chaos: build ## kill the process at random moments and count who was told
	bin/candor bench chaos --customers 2000 --kills 4 --json
	bin/candor bench chaos --customers 2000 --kills 0 --suspends 1 --json
	bin/candor bench chaos --calls 2000 --dialers 6 --kills 3 --json

.PHONY: ci
ci: ## everything that must pass before a change lands
	$(MAKE) gen-check
	$(MAKE) lint
	$(MAKE) modules
	$(MAKE) build
	$(MAKE) test
	$(MAKE) race
	$(MAKE) chaos

$(TOOLS)/.stamp: tools/go.mod tools/go.sum $(wildcard tools/*/*.go)
	@mkdir -p $(TOOLS)
	GOWORK=off go -C tools build -o ../$(TOOLS)/ tool ./protoc-gen-openapi
	@touch $@
