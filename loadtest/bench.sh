#!/usr/bin/env bash
# Builds what is measured, sets up the Python peer and runs the benchmark.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked --workspace --bins
loadtest/peers/setup.sh
exec loadtest/bench.py "$@"
