#!/usr/bin/env bash
# Makes the Python peer's own environment in .deps/peers: every package pinned, every file checked by hash.
set -euo pipefail
cd "$(dirname "$0")/../.."

wanted=$(sha256sum loadtest/peers/requirements.txt | cut -d' ' -f1)
stamp=.deps/peers/requirements.sha256
[[ -f $stamp && $(<"$stamp") == "$wanted" ]] && exit 0

rm -rf .deps/peers
mkdir -p .deps
python3 -m venv .deps/peers
.deps/peers/bin/pip install --quiet --disable-pip-version-check --require-hashes -r loadtest/peers/requirements.txt
echo "$wanted" >"$stamp"
