#!/usr/bin/env bash
# Makes the environments of the Kafka peers in .deps/: Python's packages and Java's jars pinned, every file checked by hash.
set -euo pipefail
cd "$(dirname "$0")/../../.."
here=loadtest/peers/kafka
mkdir -p .deps

for peer in confluent quix; do
  wanted=$(sha256sum "$here/$peer/requirements.txt" | cut -d' ' -f1)
  stamp=.deps/peers-$peer/requirements.sha256
  [[ -f $stamp && $(<"$stamp") == "$wanted" ]] && continue
  echo "setting up .deps/peers-$peer" >&2
  rm -rf ".deps/peers-$peer"
  python3 -m venv ".deps/peers-$peer"
  ".deps/peers-$peer/bin/pip" install --quiet --disable-pip-version-check --only-binary=:all: --require-hashes -r "$here/$peer/requirements.txt"
  echo "$wanted" >"$stamp"
done

"$here/streams/build.sh"
