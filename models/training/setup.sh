#!/bin/sh
# Makes the Python environment for training and export in .deps/python, from exact pins. Running it twice does nothing.
# No dependencies beyond the pins: XGBoost asks for a GPU library of 300 MB that is never used here.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
target=${1:-"$here/../../.deps/python"}
requirements="$here/requirements.txt"

if [ -f "$target/requirements.txt" ] && cmp -s "$requirements" "$target/requirements.txt"; then
    echo "python environment is in $target"
    exit 0
fi
python=${PYTHON:-$(command -v python3.11 || command -v python3 || true)}
[ -n "$python" ] || { echo "setup: python 3.11 or later is needed; install it or set PYTHON" >&2; exit 1; }
"$python" -m venv "$target"
"$target/bin/pip" install --quiet --disable-pip-version-check --only-binary=:all: --no-deps --requirement "$requirements" ||
    { echo "setup: pip could not install the pins; check the network or pip's index" >&2; exit 1; }
cp "$requirements" "$target/requirements.txt"
echo "python environment is in $target"
