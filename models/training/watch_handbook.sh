#!/bin/sh
# What the detectors raise on the handbook's stream: nothing in stationary weeks, and what was injected. Features are
# computed by fraudd, unless REUSE=1 finds them.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH= cd -- "$here/../.." && pwd)
fraudd=${FRAUDD:-"$root/target/release/fraudd"}
python=${PYTHON_ENVIRONMENT:-"$root/.deps/python"}/bin/python
work=${WORK:-"$root/target/handbook"}
data=${FRAUDD_REFERENCE_DATA:-"$root/../shared/data"}/handbook

if [ ! -d "$data" ]; then
    echo "skipped: no reference data at $data; set FRAUDD_REFERENCE_DATA"
    exit 0
fi
mkdir -p "$work"
if [ "${REUSE:-0}" != 1 ] || [ ! -f "$work/handbook.parquet" ]; then
    "$fraudd" features --schema "$root/models/schemas/handbook.toml" --out "$work/handbook.parquet" \
        --history "$data/transactions_2018-04-01_2018-09-04.parquet" --set currency=EUR --label-delay 7d \
        --map transaction_id=TRANSACTION_ID --map occurred_at=TX_DATETIME:epoch_ms --map amount=TX_AMOUNT:major \
        --map customer_id=CUSTOMER_ID --map merchant.terminal_id=TERMINAL_ID --map label=TX_FRAUD
fi
"$python" "$here/watch_handbook.py" --fraudd "$fraudd" --work "$work" --features "$work/handbook.parquet" "$@"
