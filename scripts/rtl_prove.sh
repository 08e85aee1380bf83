#!/usr/bin/env bash
# rtl_prove.sh [--bounded STEPS] [--rtl DIR] MODULE [PARAMETER=VALUE…]: proves every assertion of a module (those under
# `ifdef FORMAL at its foot) with yosys-smtbmc and z3: for all time by k-induction; or, bounded, for so many steps from
# reset, in which every `cover` of the module must come about (memories are registers then: small ones do better so).
# What the module contains is taken without its assertions: they have proofs of their own. One line on success; the
# solver's log and exit code 1 where an assertion fails, 2 where anything else does.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
rtl=$root/rtl
bounded=
steps=5  # enough for every induction here
while [[ ${1:-} == --* ]]; do
  case $1 in
    --bounded) bounded=$2 ;;
    --rtl) rtl=$2 ;;
    *) echo "unknown option $1" >&2; exit 2 ;;
  esac
  shift 2
done
module=$1
shift
name="$module $*"
cd "$rtl"
mapfile -t files < <(grep -v '^#' "$root/rtl/files.txt")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chparam=
for p in "$@"; do chparam+="chparam -set ${p%=*} ${p#*=} $module; "; done
run() {
  "$@" >>"$work/log" 2>&1 && return
  cat "$work/log" >&2
  echo "prove: $name: FAILED" >&2
  grep -q 'Assert failed\|Unreached cover' "$work/log" && exit 1
  exit 2
}
run yosys -q -p "read_verilog -sv -formal -defer ${files[*]}; ${chparam}hierarchy -check -top $module; proc;
  select -set top =A:top; chformal -assert -assume -cover -remove =* @top %d; prep -flatten -top $module;
  ${bounded:+memory_map; opt -fast;} async2sync; dffunmap; write_smt2 -wires $work/model.smt2"
grep -q yosys-smt2-assert "$work/model.smt2" || { echo "prove: $name has no assertions" >&2; exit 2; }
# --unroll: without it z3 does not end on memories
if [[ $bounded ]]; then
  run yosys-smtbmc -s z3 --noprogress --unroll -t "$bounded" "$work/model.smt2"
  if grep -q yosys-smt2-cover "$work/model.smt2"; then
    run yosys-smtbmc -s z3 --noprogress --unroll -c -t "$bounded" "$work/model.smt2"
  fi
  echo "prove: $name: holds for $bounded cycles"
else
  run yosys-smtbmc -s z3 --noprogress --unroll -t "$steps" "$work/model.smt2"
  run yosys-smtbmc -s z3 --noprogress --unroll -i -t "$steps" "$work/model.smt2"
  echo "prove: $name: proven"
fi
