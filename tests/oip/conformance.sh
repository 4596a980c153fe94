#!/bin/sh
# Starts fraudd on a free port over a copy of the shipped bundles and calls it with the protocol's own clients.
#   tests/oip/conformance.sh BINARY        the Python environment is made in .deps/oip when it is not there
set -eu
binary=$1
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH= cd -- "$here/../.." && pwd)
python="$root/.deps/oip"

if ! cmp -s "$here/requirements.txt" "$python/requirements.txt"; then
    found=${PYTHON:-$(command -v python3.11 || command -v python3 || true)}
    [ -n "$found" ] || { echo "oip: python 3.11 is needed; install it or set PYTHON" >&2; exit 1; }
    "$found" -m venv "$python"
    "$python/bin/pip" install --quiet --disable-pip-version-check --only-binary=:all: --require-hashes --no-deps \
        --requirement "$here/requirements.txt" ||
        { echo "oip: pip could not install the pins; check the network or pip's index, and python 3.11" >&2; exit 1; }
    cp "$here/requirements.txt" "$python/requirements.txt"
fi

work=$(mktemp -d)
trap 'kill "$service" 2>/dev/null || true; rm -rf "$work"' EXIT
mkdir -p "$work/models"
cp -r "$root/models/card-fraud" "$work/models/card-fraud"
# One bundle more, so that there is something to load: the same model under another version.
cp -r "$root/models/card-fraud/1.0.0" "$work/models/card-fraud/1.0.1"
sed -i 's/^version = "1.0.0"$/version = "1.0.1"/' "$work/models/card-fraud/1.0.1/manifest.toml"

cd "$root"
FRAUDD__TELEMETRY__LOG__FORMAT=json FRAUDD__INFERENCE__PROTOCOL_ENABLED=true FRAUDD__MODELS__DIRECTORY="$work/models" \
    "$binary" serve --listen 127.0.0.1:0 >"$work/log" 2>&1 &
service=$!
address=
while [ -z "$address" ]; do
    kill -0 "$service" 2>/dev/null || { cat "$work/log" >&2; echo "oip: the service did not start" >&2; exit 1; }
    sleep 0.2
    address=$(sed -n 's/.*"message":"listening","address":"\([^"]*\)".*/\1/p' "$work/log")
done
while ! "$python/bin/python" -c "import urllib.request; urllib.request.urlopen('http://$address/readyz')" 2>/dev/null; do
    kill -0 "$service" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
    sleep 0.2
done
"$python/bin/python" "$here/conformance.py" "$address"
