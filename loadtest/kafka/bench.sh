#!/usr/bin/env bash
# Builds what is measured, sets up broker and peers, and runs the Kafka benchmark.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --release --locked --workspace --bins
scripts/kafka fetch >/dev/null
loadtest/peers/kafka/setup.sh
exec loadtest/kafka/bench.py "$@"
