# Every command of the project. `make` lists them; each one installs first what it lacks.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL: # both builds leave their wasm at the same place in target/

WORKER_BUILD := 0.8.7
# The wasm-bindgen command must be the version of the crate, to the digit.
WASM_BINDGEN := $(shell grep -A1 '^name = "wasm-bindgen"$$' Cargo.lock | sed -n 's/version = "\(.*\)"/\1/p')
PORT  ?= 8787
STATE ?= .state

TOOLS := .tools/wasm-bindgen-$(WASM_BINDGEN) .tools/worker-build-$(WORKER_BUILD) node_modules/.package-lock.json
SOURCES = $(shell find Cargo.toml Cargo.lock build.rs rust-toolchain.toml src connectors)
SYSTEM_PATH := $(PATH)
# Before the system's: the Node.js of package.json, wrangler, wasm-opt, worker-build.
export PATH := $(CURDIR)/node_modules/.bin:$(CURDIR)/.tools/bin:$(PATH)
export WRANGLER_SEND_METRICS := false

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | column -t -s $$'\t'
setup: $(TOOLS) ## install the pinned tools into .tools/ and node_modules/ (nothing else on this machine is touched)
build: build/index.js ## the release Worker, in build/
build-test: build-test/index.js ## the Worker with its fault injection, in build-test/: for tests, never deployed
test: lint test-host size dry-run test-worker ## everything that must hold before a change is merged
lint: setup ## formatting, clippy on this machine's target and on wasm32, warnings as errors
	cargo fmt --check
	cargo clippy --all-targets --all-features -- -D warnings
	cargo clippy --lib --all-features --target wasm32-unknown-unknown -- -D warnings
test-host: setup ## cargo test: everything that needs no workerd
	cargo test
test-worker: build-test ## node --test: the built Worker in workerd
	node --test --test-timeout=300000 "tests/worker/**/*.test.mjs"
size: build ## raw and gzip size of the release Worker; fails above 1.5 MB gzip
	node scripts/size.mjs build
dry-run: build ## wrangler deploy, up to but not including the upload
	wrangler deploy --dry-run --outdir out
deploy: setup ## publish to your Cloudflare account (`wrangler login` first)
	wrangler deploy
serve: build ## the release Worker alone in workerd: make serve PORT=8787 STATE=.state
	exec node scripts/serve.mjs --port=$(PORT) --state=$(STATE)
dev: build ## develop: see scripts/dev.mjs
	exec node scripts/dev.mjs
demo: build ## the whole story on this machine, without any account: see scripts/demo.mjs
	exec node scripts/demo.mjs
bench: build ## throughput and latency: see scripts/bench.mjs
	exec node scripts/bench.mjs
catalog: setup ## the connectors and tools compiled in
	cargo run -q --example catalog
clean: ## remove what was built; the installed tools stay
	rm -rf build build-test out target
.PHONY: help setup build build-test test lint test-host test-worker size dry-run deploy serve dev demo bench catalog clean

build/index.js: $(TOOLS) $(SOURCES)
	scripts/build.sh build
build-test/index.js: $(TOOLS) $(SOURCES)
	scripts/build.sh build-test --features fault-injection

.tools/wasm-bindgen-%: | .tools/rust
	scripts/install-tool.sh wasm-bindgen-cli $* --bin wasm-bindgen
	rm -f .tools/wasm-bindgen-*; touch $@
.tools/worker-build-%: | .tools/rust
	scripts/install-tool.sh worker-build $*
	rm -f .tools/worker-build-*; touch $@
.tools/rust: rust-toolchain.toml
	@command -v rustup >/dev/null || { echo "Rust is missing: install rustup from https://rustup.rs, then try again." >&2; exit 1; }
	@{ rustup component list --installed | grep -q ^rust-src && rustup target list --installed | grep -q ^wasm32; } 2>/dev/null \
	  || rustup toolchain install   # what rust-toolchain.toml lists; takes rustup 1.28 or newer (rustup self update)
	@mkdir -p .tools && touch $@
node_modules/.package-lock.json: package.json package-lock.json
	@command -v npm >/dev/null || { echo "npm is missing: install Node.js 20 or newer from https://nodejs.org (or your package manager), then try again." >&2; exit 1; }
	PATH="$(SYSTEM_PATH)" npm ci --no-fund --no-audit
	touch $@
