# Sourced by the scripts on the fraud-detection handbook's stream: where things are, and its features as fraudd computes them.
# Without the reference data it says so and ends the script.
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

# Computes the features of a schema, unless REUSE=1 finds them.
features() {
    if [ "${REUSE:-0}" = 1 ] && [ -f "$work/$1.parquet" ]; then
        return
    fi
    "$fraudd" features --schema "$root/models/schemas/$1.toml" --out "$work/$1.parquet" \
        --history "$data/transactions_2018-04-01_2018-09-04.parquet" --set currency=EUR --label-delay 7d \
        --map transaction_id=TRANSACTION_ID --map occurred_at=TX_DATETIME:epoch_ms --map amount=TX_AMOUNT:major \
        --map customer_id=CUSTOMER_ID --map merchant.terminal_id=TERMINAL_ID --map label=TX_FRAUD
}
