#!/bin/sh
# Writes docs/converters.md: which exporters serve, and how many rows they move.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH= cd -- "$here/../.." && pwd)
exec "$root/.deps/python/bin/python" "$here/converters.py" \
    --fraudd "${FRAUDD:-$root/target/release/fraudd}" --out "$root/docs/converters.md"
