#!/usr/bin/env bash
# Prints the table of other detectors' delays and checks our golden figures against scipy; river and scipy come into
# .deps/detectors, every package pinned and every file checked by hash. Our own rows: cargo bench --bench delays.
set -euo pipefail
cd "$(dirname "$0")/../.."

wanted=$(sha256sum tests/detectors/requirements.txt | cut -d' ' -f1)
python=${DETECTORS_PYTHON:-.deps/detectors/bin/python}
stamp=.deps/detectors/requirements.sha256
if [[ -z ${DETECTORS_PYTHON:-} && ! ( -f $stamp && $(<"$stamp") == "$wanted" ) ]]; then
    rm -rf .deps/detectors
    mkdir -p .deps
    python3 -m venv .deps/detectors
    .deps/detectors/bin/pip install --quiet --disable-pip-version-check --only-binary=:all: --require-hashes -r tests/detectors/requirements.txt
    echo "$wanted" >"$stamp"
fi
"$python" tests/detectors/test_parity.py
exec "$python" tests/detectors/compare.py "$@"
