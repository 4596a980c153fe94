#!/usr/bin/env bash
# Builds what is measured, sets up the pictures' Python and runs the load test.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked --workspace --bins
loadtest/setup.sh
exec .deps/loadtest/bin/python loadtest/loadtest.py "$@"
