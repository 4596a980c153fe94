# Two commands set everything up: `make run` and `make test`. What they need they fetch by package
# name, pinned and checked by hash, into .deps/. `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export ORT_DYLIB_PATH ?= $(CURDIR)/.deps/onnxruntime/libonnxruntime.so.1.28.0
export ORT_DISABLE_TELEMETRY := 1
ADDRESS ?= 127.0.0.1:8080

.PHONY: help run build runtime python test crash-test format lint house unit doc deny bench bench-rest oip-test handbook converters model release clean

help: ## Lists the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

run: build ## Starts the service on 127.0.0.1:8080 with the shipped models.
	@exec target/release/fraudd serve --config config/run.toml --listen $(ADDRESS)

build: runtime ## Builds the release binary.
	cargo build --release --locked --bin fraudd

runtime: ## Fetches ONNX Runtime 1.28.0 into .deps/ (or takes ORT_DYLIB_PATH).
	@scripts/fetch-onnxruntime

python: ## Sets up the pinned Python of models/training in .deps/.
	@models/training/setup.sh

test: runtime format lint unit doc deny ## Format, clippy, house, unit, property, API and doc tests, supply chain.
	@echo "make test: all green"

format:
	cargo fmt --check

lint:
	cargo clippy --locked --all-targets -- -D warnings

unit:
	cargo test --locked --workspace --lib --bins --tests

crash-test: ## kill -9 under load, 20 times: nothing answered is lost or doubled.
	FRAUDD_CRASH_ROUNDS=20 cargo test --locked --test store_crash

doc:
	cargo test --locked --doc
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

deny: ## Licences, bans and sources of every dependency.
	@scripts/cargo-deny check bans licenses sources

bench: runtime ## Benchmarks: rules, features and the REST path beside its peers.
	cargo bench --locked
	loadtest/bench.sh

oip-test: runtime ## Calls the inference protocol with tritonclient and KServe's client, pinned by hash.
	cargo build --locked --bin fraudd
	tests/oip/conformance.sh target/debug/fraudd

model: build python ## Simulates, trains, packs and validates both shipped bundles.
	models/training/build.sh

handbook: build python ## Feature parity, metric parity and average precision on the reference data, through the running service.
	models/training/handbook.sh

converters: build python ## The converter matrix: which exporters serve, and how many rows they move.
	models/training/converters.sh

clean: ## Removes builds and fetched packages.
	cargo clean
	rm -rf .deps
