#!/usr/bin/env bash
# The runtime against ONNX Runtime (docs/benchmarks.md). Optional: needs python3-onnx and nodejs with npm, and the npm
# registry for onnxruntime-node, whose package carries the library itself. Nothing is installed outside a temporary
# folder. Usage: scripts/onnxruntime_bench.sh BUILD [options of bench/runtime/peers/onnxruntime/compare.py]
set -euo pipefail
build=$(realpath "$1")
shift
here=$(dirname "$(realpath "$0")")/../bench/runtime/peers/onnxruntime
/usr/bin/python3 -c 'import numpy, onnx' 2>/dev/null || { echo "needs Debian's python3-onnx" >&2; exit 2; }
command -v npm >/dev/null || { echo "needs nodejs and npm" >&2; exit 2; }
if [[ -n ${ONNXRUNTIME_MODULES:-} ]]; then  # a folder in which onnxruntime-node is installed already
  modules=$ONNXRUNTIME_MODULES
else
  modules=$(mktemp -d)
  trap 'rm -rf "$modules"' EXIT
  (cd "$modules" && npm install --ignore-scripts --no-audit --no-fund --loglevel=error onnxruntime-node >&2)
fi
/usr/bin/python3 "$here/compare.py" --m3vit "$build/bin/m3vit" --library "$build/src/runtime/libm3vit.so" \
  --modules "$modules" "$@"
