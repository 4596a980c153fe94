#!/bin/sh
# The fraud-detection handbook's figures, on features computed by fraudd: two published rows first, then the four test weeks.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH= cd -- "$here/../.." && pwd)
fraudd=${FRAUDD:-"$root/target/release/fraudd"}
python=$root/.deps/python/bin/python
work=${WORK:-"$root/target/handbook"}
data=${FRAUDD_REFERENCE_DATA:-"$root/../shared/data"}/handbook

if [ ! -d "$data" ]; then
    echo "skipped: no reference data at $data; set FRAUDD_REFERENCE_DATA"
    exit 0
fi
mkdir -p "$work"
"$python" "$here/handbook.py" check
for schema in handbook handbook-rich; do
    "$fraudd" features --schema "$root/models/schemas/$schema.toml" --out "$work/$schema.parquet" \
        --history "$data/transactions_2018-04-01_2018-09-04.parquet" --set currency=EUR --label-delay 7d \
        --map transaction_id=TRANSACTION_ID --map occurred_at=TX_DATETIME:epoch_ms --map amount=TX_AMOUNT:major \
        --map customer_id=CUSTOMER_ID --map merchant.terminal_id=TERMINAL_ID --map label=TX_FRAUD
done
for run in "handbook 7" "handbook 28" "handbook-rich 28"; do
    "$python" "$here/through_service.py" --fraudd "$fraudd" --work "$work" --schema "${run% *}" --train-days "${run#* }"
done
