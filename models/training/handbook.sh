#!/bin/sh
# The fraud-detection handbook's figures, on features computed by fraudd: two published rows first, then the four test weeks.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
. "$here/handbook_data.sh"

"$python" "$here/handbook.py" check
for schema in handbook handbook-rich; do
    features "$schema"
done
for run in "handbook 7" "handbook 28" "handbook-rich 28"; do
    "$python" "$here/through_service.py" --fraudd "$fraudd" --work "$work" --schema "${run% *}" --train-days "${run#* }"
done
