#!/bin/sh
# The command that the service runs to retrain itself (retraining.command): recorded decisions -> set -> successor.
#
# Told by the service through the environment:
#   FRAUDD_BINARY FRAUDD_STORE FRAUDD_SCHEMA FRAUDD_MODELS FRAUDD_MODEL_NAME FRAUDD_REQUEST FRAUDD_WORK
# Yours to set: FRAUDD_SIGNING_KEY (a file of `fraudd model keygen`), FRAUDD_RETRAIN_SECONDS, FRAUDD_RETRAIN_ALSO (older rows,
# a table of `fraudd features`), PYTHON_ENVIRONMENT (default .deps/python of the source tree).
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH= cd -- "$here/../.." && pwd)
python=${PYTHON_ENVIRONMENT:-"$root/.deps/python"}/bin/python
[ -x "$python" ] || { echo "retrain: no Python at $python: run models/training/setup.sh or set PYTHON_ENVIRONMENT" >&2; exit 1; }

"$FRAUDD_BINARY" training-set --store "$FRAUDD_STORE" --schema "$FRAUDD_SCHEMA" --request "$FRAUDD_REQUEST" \
    --out "$FRAUDD_WORK/set.parquet" >&2 || {
    [ -f "$FRAUDD_WORK/set.parquet" ] || exit 1
    echo '{"outcome": "too_little", "reason": "no mature row"}'
    exit 4
}
exec "$python" "$here/retrain.py" --set "$FRAUDD_WORK/set.parquet" --schema "$FRAUDD_SCHEMA" --request "$FRAUDD_REQUEST" \
    --models "$FRAUDD_MODELS" --name "$FRAUDD_MODEL_NAME" --fraudd "$FRAUDD_BINARY" --work "$FRAUDD_WORK" \
    --seconds "${FRAUDD_RETRAIN_SECONDS:-120}" ${FRAUDD_SIGNING_KEY:+--key "$FRAUDD_SIGNING_KEY"} \
    ${FRAUDD_RETRAIN_ALSO:+--also "$FRAUDD_RETRAIN_ALSO"}
