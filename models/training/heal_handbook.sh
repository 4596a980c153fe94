#!/bin/sh
# How much healing heals on the handbook's stream: the whole service on event time, by itself. With OFFLINE=1 first what
# retraining alone could reach there, and an oracle. Features are computed by fraudd, unless REUSE=1 finds them. Names of
# runs may follow: healed stationary stopped x100 x15 rekeyed.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
. "$here/handbook_data.sh"

features handbook
if [ "${OFFLINE:-0}" = 1 ]; then
    "$python" "$here/heal_handbook.py" --features "$work/handbook.parquet" --schema "$root/models/schemas/handbook.toml" \
        --out "$work/heal_handbook.json"
fi
"$python" "$here/heal_service.py" --fraudd "$fraudd" --work "$work" --features "$work/handbook.parquet" "$@"
