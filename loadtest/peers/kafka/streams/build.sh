#!/usr/bin/env bash
# Resolves the jars of the Kafka Streams peer into .deps/peers-streams, each checked by sha256, and compiles it with javac.
set -euo pipefail
cd "$(dirname "$0")"
home=$(cd ../../../.. && pwd)/.deps/peers-streams
mkdir -p "$home"

wanted=$(sha256sum jars.sha256 | cut -d' ' -f1)
if [[ ! -f $home/jars.stamp || $(<"$home/jars.stamp") != "$wanted" ]]; then
  for tool in javac mvn; do
    command -v "$tool" >/dev/null || { echo "streams peer: no $tool here (Debian: apt-get install openjdk-17-jdk-headless maven)" >&2; exit 1; }
  done
  echo "fetching the jars of the Kafka Streams peer (once, 140 MB)" >&2
  rm -rf "$home/libs" "$home/new"
  mvn -q -B -f pom.xml org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies "-DoutputDirectory=$home/new" >&2
  (cd "$home/new" && sha256sum --check --quiet --strict -) <jars.sha256 >&2
  [[ $(ls "$home/new" | wc -l) == $(wc -l <jars.sha256) ]] || { echo "streams peer: jars that are not pinned" >&2; exit 1; }
  mv "$home/new" "$home/libs"
  echo "$wanted" >"$home/jars.stamp"
fi

sources=$(cat src/peer/*.java | sha256sum | cut -d' ' -f1)
if [[ ! -f $home/classes.stamp || $(<"$home/classes.stamp") != "$sources" ]]; then
  rm -rf "$home/classes"
  javac --release 17 -Xlint:all,-processing,-classfile -Werror -cp "$home/libs/*" -d "$home/classes" src/peer/*.java
  echo "$sources" >"$home/classes.stamp"
fi
