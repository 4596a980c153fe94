#!/bin/sh
# Rebuilds both shipped bundles from nothing: simulate, compute features, train, pack, validate.
#
#   active   XGBoost, 100 trees of depth 3        standby   logistic regression
# Run through `make model`. FRAUDD names the binary, WORK a scratch directory (kept, for a look inside). With REUSE=1 the
# simulated stream and its features of an earlier run are taken as they are.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH= cd -- "$here/../.." && pwd)
fraudd=${FRAUDD:-"$root/target/release/fraudd"}
python=${PYTHON_ENVIRONMENT:-"$root/.deps/python"}/bin/python
work=${WORK:-"$root/target/model"}
schema=${SCHEMA:-"$root/models/schemas/card-fraud.toml"}
name=${NAME:-card-fraud}
version=${VERSION:-1.0.0}
days=${DAYS:-84}
# All days but those of label delay, validation and test: the first ones too, so that the model knows empty windows.
train_days=${TRAIN_DAYS:-$((days - 21))}

[ -x "$fraudd" ] || { echo "build: no binary at $fraudd; run cargo build --release or set FRAUDD" >&2; exit 1; }
"$here/setup.sh"
mkdir -p "$work"

if [ "${REUSE:-0}" != 1 ] || [ ! -f "$work/features.parquet" ]; then
    "$fraudd" simulate --seed 20260101 --days "$days" --out "$work/transactions.jsonl" --labels "$work/labels.jsonl"
    "$fraudd" features --schema "$schema" --history "$work/transactions.jsonl" --labels "$work/labels.jsonl" \
        --out "$work/features.parquet"
fi

bundle() { # family role version
    out="$root/models/$name/$3"
    "$python" "$here/train.py" --family "$1" --train-days "$train_days" --table "$work/features.parquet" --schema "$schema" \
        --history "$work/transactions.jsonl" --data "fraudd simulate --seed 20260101 --days $days" --out "$work/$1"
    rm -rf "$out"
    # shellcheck disable=SC2046 # the file holds two options and their values
    "$fraudd" model pack --model "$work/$1/model.onnx" --schema "$schema" --golden "$work/$1/golden.jsonl" \
        --training "$work/$1/profile.parquet" --facts "$work/$1/facts.json" --card "$work/$1/MODEL_CARD.md" \
        --name "$name" --version "$3" --role "$2" $(cat "$work/$1/thresholds.txt") --out "$out"
    "$fraudd" model validate "$out"
}

bundle logistic standby "$version-lr"
bundle xgboost active "$version"
