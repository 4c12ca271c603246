# Two commands do everything: `make demo` and `make test`. Both fetch what they need and may be run again.
# Needed on the machine: cargo (1.89 or newer), python3 with pip, a JDK (17 or newer), mvn; for the tests also node with npm.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: help demo check prepare test test-full test-8 test-on test-browser bench bench-instructions lint lint-deploy models photos node-start node-stop wipe clean cargo

FACEDEX := target/release/facedex
# Which Elasticsearch the tests start: empty means 9.5.3 where a JDK 21+ is found, else 8.19.21.
ES_VERSION ?=
export FACEDEX_ES_VERSION := $(or $(ES_VERSION),$(FACEDEX_ES_VERSION))
# Tests wait a good part of their time: for nodes that start, for limits of time.
export RUST_TEST_THREADS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 4 ? 4 : n)))

help: ## Show the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo: cargo ## Set everything up, load real photos into Elasticsearch and find them again
	@dev/demo

check: lint ## While you work: format, lints, unit tests, and of the integration suites those that prove what you changed
	cargo test --locked --workspace --lib --bins
	@suites=$$(dev/suites) || exit; for suite in $$suites; do \
	  cargo test --quiet --locked --test it -- --list "$$suite" | grep -q ': test$$' || \
	    { echo "no test is called $$suite: mend the table in dev/suites" >&2; exit 1; }; \
	done; \
	[ -z "$$suites" ] || { set -x; cargo test --locked --workspace --test it -- $$suites; }

test: cargo ## Set everything up; check the format and the lints; run all tests against a real node
	@$(MAKE) --no-print-directory -j2 prepare lint
	cargo test --locked --workspace

# What the tests need beside what is compiled: it is fetched while that goes on.
prepare:
	@dev/node prepare
	@dev/photos
	@dev/moto prepare >/dev/null
	@dev/clients prepare >/dev/null

test-full: export FACEDEX_TEST_FULL := 1
test-full: ## The same with all of the long suites, on all tested versions of Elasticsearch: 9.5.3, 9.2.0, 8.19.21
	dev/clients typed >/dev/null
	dev/public-items
	cargo package --locked --allow-dirty --package facedex-base --package facedex-face --package facedex-elastic
	$(MAKE) test ES_VERSION=9.5.3
	$(MAKE) test-on ES_VERSION=9.2.0
	$(MAKE) test-8

test-8: ## The integration tests against Elasticsearch 8.19.21
	$(MAKE) test-on ES_VERSION=8.19.21

test-on: cargo
	@dev/node prepare
	dev/clients prepare $(ES_VERSION) >/dev/null
	cargo test --locked --workspace --test it

test-browser: cargo ## The page in a real headless Chromium, against a real node; screenshots in target/screenshots
	@dev/browser prepare >/dev/null
	@dev/node prepare
	@dev/photos >/dev/null
	cargo test --locked --no-run --workspace --test it
	@$${CARGO_TARGET_DIR:-target}/debug/facedex models fetch
	@dev/browser test

bench: models photos ## How long each stage takes (the peers: `facedex-bench`, docs/benchmarks.md)
	cargo bench --locked --bench stages

bench-instructions: cargo photos ## Instructions of our own part, compared with the last run's; needs valgrind
	@command -v valgrind >/dev/null || { echo "valgrind is missing: apt-get install valgrind" >&2; exit 2; }
	@command -v gungraun-runner >/dev/null || { echo "gungraun-runner is missing: cargo install gungraun-runner --version 0.20.0" >&2; exit 2; }
	cargo bench --locked --bench instructions

lint: cargo ## Format and lints alone
	cargo fmt --all --check
	@dev/walls
	cargo clippy --locked --workspace --all-targets -- -D warnings

lint-deploy: ## Compose file, Dockerfile and Kubernetes manifests against their schemas; no Docker is needed
	@dev/deploy-check

models: $(FACEDEX) ## Fetch ONNX Runtime and the models
	@$(FACEDEX) models fetch

photos: ## Fetch the photos of the demo and the tests
	@dev/photos

node-start: ## Start a development node on a free port from 9200 on
	@dev/node start

node-stop: ## Stop it
	@dev/node stop

wipe: ## Stop it and remove its data
	@dev/node wipe

$(FACEDEX): cargo
	cargo build --locked --release

clean: wipe ## Remove what was built here; the cache in ~/.cache/facedex stays
	cargo clean

cargo:
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust with rustup (or apt-get install rustup)" >&2; exit 2; }
