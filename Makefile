# Two commands set everything up: `make run` and `make test`. What they need they fetch by package
# name, pinned and checked by hash, into .deps/. `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export ORT_DYLIB_PATH ?= $(CURDIR)/.deps/onnxruntime/libonnxruntime.so.1.28.0
export ORT_DISABLE_TELEMETRY := 1
ADDRESS ?= 127.0.0.1:8080
# What builds the image: podman or docker.
ENGINE ?= $(shell command -v podman || echo docker)
IMAGE ?= localhost/fraudd:latest

.PHONY: help run demo build runtime python test crash-test format lint unit doc deny operators image container-test cluster-test alerts-test k8s-test bench bench-rest bench-kafka bench-heal detectors-table oip-test kafka-test chaos-kafka kafka kafka-stop kafka-delete loadtest handbook heal-handbook watch-handbook converters model release clean

help: ## Lists the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

run: build ## Starts the service on 127.0.0.1:8080 with the shipped models.
	@exec target/release/fraudd serve --config config/run.toml --config config/detectors.toml --listen $(ADDRESS)

demo: build ## Plays faults, a bad release, broken data and an attack, and shows how they are healed.
	@exec target/release/fraudd demo

build: runtime ## Builds the release binary.
	cargo build --release --locked --bin fraudd

runtime: ## Fetches ONNX Runtime 1.28.0 into .deps/ (or takes ORT_DYLIB_PATH).
	@scripts/fetch-onnxruntime

python: ## Sets up the pinned Python of models/training in .deps/.
	@models/training/setup.sh

test: runtime format lint unit doc deny operators kafka-test ## Format, clippy, house, unit, property, API and doc tests, supply chain, container, manifests, alerts.
	@echo "make test: all green"

format:
	cargo fmt --check

lint:
	cargo clippy --locked --all-targets -- -D warnings

unit:
	cargo test --locked --workspace --lib --bins --tests
	python3 -m unittest discover --buffer -s loadtest
	python3 -m unittest discover --buffer -s tests/kafka
	python3 -m unittest discover -s tests/detectors
	@if [ -x .deps/python/bin/python ]; then .deps/python/bin/python -m unittest discover --buffer -s models/training; \
	  else echo "skipped: models/training, no Python in .deps/python (make python)"; fi

# The debug binary that `unit` builds: it has the crash points that a release build has not.
kafka-test: runtime ## Exactly once against real Kafka, the short form: crashes, members, doors, brokers, network, state; under 8 minutes.
	@cargo test --quiet --locked --workspace --lib --bins --tests --no-run
	@tests/kafka/run.py --binary target/debug/fraudd $(if $(SEED),--seed $(SEED)) $(foreach name,$(ONLY),--only $(name))

chaos-kafka: runtime ## The long form: 200 kills, 20 rolling restarts, three nodes; SEED=N repeats a run, ONLY=NAME one scenario.
	@cargo test --quiet --locked --workspace --lib --bins --tests --no-run
	@tests/kafka/run.py --long --binary target/debug/fraudd $(if $(SEED),--seed $(SEED)) $(foreach name,$(ONLY),--only $(name))

crash-test: ## kill -9 under load, 20 times: nothing answered is lost or doubled.
	FRAUDD_CRASH_ROUNDS=20 cargo test --locked --test store_crash

doc:
	cargo test --locked --doc
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

deny: ## Licences, bans and sources of every dependency.
	@scripts/cargo-deny check bans licenses sources

# The image of this test holds the debug binary that `unit` has built: same container, no second
# compilation (the same words to cargo, or its features would differ). `make container-test` takes the release build.
operators: k8s-test alerts-test
	@cargo test --quiet --locked --workspace --lib --bins --tests --no-run
	@FRAUDD_BINARY=target/debug/fraudd scripts/container-test --transactions 10000

k8s-test: ## The manifests of k8s/ against Kubernetes' schemas and our own rules; no cluster.
	@scripts/k8s-test

alerts-test: ## The alerts against made-up series, and every query of the board (promtool).
	@scripts/alerts-test

container-test: build ## Builds the image and runs it: read-only root, no capability, 256 MiB (podman).
	@scripts/container-test

cluster-test: ## Runs the image of container-test in the cluster that KUBECTL names (IMAGE_LOAD takes it there).
	@scripts/cluster-test

image: ## Builds the image as localhost/fraudd, compiling inside; needs an image registry or BUILD_IMAGE and RUNTIME_IMAGE.
	$(ENGINE) build --tag $(IMAGE) --build-arg REVISION=$$(git rev-parse --short HEAD 2>/dev/null || echo unknown) \
	  $(if $(BUILD_IMAGE),--build-arg BUILD_IMAGE=$(BUILD_IMAGE)) $(if $(RUNTIME_IMAGE),--build-arg RUNTIME_IMAGE=$(RUNTIME_IMAGE)) .

bench: runtime ## Benchmarks: rules, features and the REST path beside its peers.
	cargo bench --locked
	loadtest/bench.sh

bench-kafka: runtime ## Kafka: fraudd beside its peers and a bare copy loop, one broker, one run; ARGS='--quick'.
	loadtest/kafka/bench.sh $(ARGS)

bench-heal: runtime ## Healing under load: 220 model faults, a storm of 200 swaps, what watching costs; ARGS='--quick'.
	cargo build --release --locked --workspace --bins
	@loadtest/heal.py $(ARGS)

detectors-table: ## Delays of other detectors beside ours, river and scipy pinned by hash; parity with scipy.
	@tests/detectors/table.sh $(ARGS)

loadtest: runtime ## Load, overload, kill -9 and durability, with a report; IMAGE=NAME tests a container, ARGS='--quick'.
	@loadtest/loadtest.sh $(if $(filter file,$(origin IMAGE)),,--image $(IMAGE)) $(ARGS)

oip-test: runtime ## Calls the inference protocol with tritonclient and KServe's client, pinned by hash.
	cargo build --locked --bin fraudd
	tests/oip/conformance.sh target/debug/fraudd

kafka: ## Starts Apache Kafka 4.1.1 on loopback and prints its address; NODES=3 for three, PORT=9092 for the first node's port.
	@scripts/kafka start --plain --nodes $(or $(NODES),1) --ports $(or $(PORT),9092)

kafka-stop: ## Stops it and keeps its data.
	@scripts/kafka stop

kafka-delete: ## Stops it and removes its data.
	@scripts/kafka delete

model: build python ## Simulates, trains, packs and validates both shipped bundles.
	models/training/build.sh

handbook: build python ## Feature parity, metric parity and average precision on the reference data, through the running service.
	models/training/handbook.sh

watch-handbook: build python ## What the detectors raise on the reference data: nothing in stationary weeks, and what was injected.
	models/training/watch_handbook.sh

heal-handbook: build python ## How the service heals itself on the reference data, on event time: a cold start, stationary weeks, and what was injected.
	models/training/heal_handbook.sh

converters: build python ## The converter matrix: which exporters serve, and how many rows they move.
	models/training/converters.sh

clean: ## Removes builds and fetched packages.
	cargo clean
	rm -rf .deps
