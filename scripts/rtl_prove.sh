#!/usr/bin/env bash
# rtl_prove.sh MODULE [PARAMETER=VALUE…]: proves every assertion of a module (those under `ifdef FORMAL at its foot) for
# all time by k-induction with yosys-smtbmc and z3. One line on success; the solver's log otherwise.
set -euo pipefail
cd "$(dirname "$0")/../rtl"
module=$1
shift
name="$module $*"
mapfile -t files < <(grep -v '^#' files.txt)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chparam=
for p in "$@"; do chparam+="chparam -set ${p%=*} ${p#*=} $module; "; done
run() {
  "$@" >>"$work/log" 2>&1 && return
  cat "$work/log" >&2
  echo "prove: $name: FAILED" >&2
  exit 1
}
run yosys -q -p "read_verilog -sv -formal ${files[*]}; ${chparam}prep -top $module; async2sync; dffunmap;
  write_smt2 -wires $work/model.smt2"
grep -q yosys-smt2-assert "$work/model.smt2" || { echo "prove: $name has no assertions" >&2; exit 1; }
# --unroll: without it z3 does not end on memories
run yosys-smtbmc -s z3 --unroll -t 12 "$work/model.smt2"
run yosys-smtbmc -s z3 --unroll -i -t 12 "$work/model.smt2"
echo "prove: $name: proven"
