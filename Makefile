# What there is to do in this repository; `make` lists it.
#
# The targets install what they need and is missing (.ci/setup says what that is).

.DEFAULT_GOAL := help
.PHONY: help run test check quick-lint lint bench fuzz api-check

# Seconds for each fuzz target, examples for each operation of the API, and arguments for the benchmark (`make bench BENCH_ARGS=--help`).
FUZZ_SECONDS ?= 30
API_EXAMPLES ?= 50
BENCH_ARGS ?=

# mold takes a second to link where the system's linker takes several. Set here and not in a cargo
# configuration, so that a plain `cargo build` works without it. Expanded when a recipe runs:
# by then mold may have been installed.
MOLD = $(if $(shell command -v mold 2>/dev/null),-C link-arg=-fuse-ld=mold)
ifeq ($(shell uname -m),x86_64)
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS ?= $(MOLD)
else ifeq ($(shell uname -m),aarch64)
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS ?= $(MOLD)
endif

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile

run: setup-run ## Start the gateway and a demo upstream on this machine, until Ctrl-C
	cargo build --package gateway --bin portunus --example demo-upstream --package relay --bin portunus-agent
	@exec conf/dev-run

test: setup-test ## Run all tests
	cargo nextest run --workspace

check: setup-run ## Type-check everything, the fastest answer
	cargo check --workspace --all-targets

# Without installing cargo-deny, for .ci/run.
quick-lint: setup-run
	@.ci/lint

lint: setup-lint ## Check format, lints, file lengths, licences and dependencies
	@.ci/lint

bench: setup-bench ## Measure beside nginx, HAProxy and Caddy (15 minutes, an idle machine)
	cargo build --release --package gateway --bin portunus
	cargo run --release --package benches --bin bench-front-door -- $(BENCH_ARGS)

fuzz: setup-fuzz ## Fuzz the parsers, FUZZ_SECONDS (30) for each
	@.ci/fuzz $(FUZZ_SECONDS)

api-check: setup-api-check ## Ask the API everything its description allows, API_EXAMPLES (50) for each operation
	cargo build --package gateway --bin portunus
	@.ci/api-check $(API_EXAMPLES)

setup-%:
	@.ci/setup $*
