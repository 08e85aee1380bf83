#!/usr/bin/env bash
# Runs every bench program of a build's bin folder; extra arguments go to each (Google Benchmark's own flags).
set -euo pipefail
bin=$1
shift
shopt -s nullglob
for program in "$bin"/*_bench; do
  echo "== ${program##*/}" >&2
  "$program" "$@"
done
