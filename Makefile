# The targets that people and CI use; each says what it does. `make demo` and `make test` install what they lack.

GO ?= go

.PHONY: all build demo test check interop fuzz bench clean deps

all: build

build: ## the program, as ./grove
	$(GO) build -trimpath -o grove ./cmd/grove

deps: ## what building needs (a C compiler, libsolv), from the distribution, where it is missing
	@./hack/install-deps build

demo: ## the main job, end to end: a small distribution, a guest of it, layered, upgraded, rolled back
	@./hack/install-deps build
	@./hack/demo

test: ## all tests that need neither root nor network; with root and the peers also the others
	@./hack/install-deps test
	$(GO) vet ./...
	$(GO) test -timeout 60m ./...

check: test ## formatting and static checks beside the tests
	@test -z "$$(gofmt -l cmd internal interop)" || { gofmt -l cmd internal interop; exit 1; }

interop: ## only the comparisons with the real ostree, rpm and dnf (root)
	$(GO) test -count=1 ./interop/...

fuzz: ## every fuzz target for 20 seconds
	@./hack/fuzz 20s

bench: build ## figures against the peers, paired in one run (root)
	@./hack/bench

clean:
	rm -rf grove out
