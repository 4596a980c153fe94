#!/bin/sh
# What the detectors raise on the handbook's stream: nothing in stationary weeks, and what was injected. Features are
# computed by fraudd, unless REUSE=1 finds them.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
. "$here/handbook_data.sh"

features handbook
"$python" "$here/watch_handbook.py" --fraudd "$fraudd" --work "$work" --features "$work/handbook.parquet" "$@"
