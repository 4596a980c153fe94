#!/usr/bin/env bash
# Makes the Python environment of the load test's pictures in .deps/loadtest: every package pinned, every file checked by hash.
set -euo pipefail
cd "$(dirname "$0")/.."

wanted=$(sha256sum loadtest/requirements.txt | cut -d' ' -f1)
stamp=.deps/loadtest/requirements.sha256
[[ -f $stamp && $(<"$stamp") == "$wanted" ]] && exit 0

rm -rf .deps/loadtest
mkdir -p .deps
python3 -m venv .deps/loadtest
.deps/loadtest/bin/pip install --quiet --disable-pip-version-check --only-binary=:all: --require-hashes -r loadtest/requirements.txt
echo "$wanted" >"$stamp"
