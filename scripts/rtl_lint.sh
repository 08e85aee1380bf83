#!/usr/bin/env bash
# rtl_lint.sh VERILATOR MODULE…: every module, each as the top, with all warnings; waivers stand in rtl/lint/waivers.vlt.
set -euo pipefail
cd "$(dirname "$0")/../rtl"
verilator=$1
shift
mapfile -t files < <(grep -v '^#' files.txt)
failed=0
for module in "$@"; do
  "$verilator" --lint-only -Wall lint/waivers.vlt "${files[@]}" --top-module "$module" || failed=1
done
exit $failed
