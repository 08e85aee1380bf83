#!/usr/bin/env python3
"""Single faults of the RTL (tests/rtl/mutants/list.txt), each of which some test must notice.

  rtl_mutants.py write DIR      a copy of rtl/ in which every fault is there and the simulation's m3_mutant() picks one
  rtl_mutants.py test PROGRAM   runs the tests built on that copy, fault by fault; all must pass without a fault
  rtl_mutants.py prove          applies each fault alone and runs its proof

Exit code 1 where a fault survives."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
RTL = os.path.join(ROOT, "rtl")
CHOICE = """
  import "DPI-C" function int m3_mutant();
  initial m3_pkg::mutant = m3_mutant();
endmodule
"""


@dataclass
class Mutant:
    name: str
    file: str
    old: str
    new: str
    test: str = ""
    proof: str = ""


def read_list():
    with open(os.path.join(ROOT, "tests/rtl/mutants/list.txt"), encoding="utf-8") as f:
        text = "".join(line for line in f if not line.startswith("#"))
    mutants = []
    for block in re.split(r"\n\s*\n", text.strip()):
        name, *fields = block.split("\n")
        keys = {"file": "file", "-": "old", "+": "new", "test": "test", "proof": "proof"}
        mutants.append(Mutant(name, **{keys[k]: v for k, v in (line.split(" ", 1) for line in fields)}))
    return mutants


def replaced(mutant, text, make):
    """`text` with the fault's expression `e` as make(e)."""
    before, old, after = mutant.old.split("@") if "@" in mutant.old else ("", mutant.old, "")
    if text.count(before + old + after) != 1:
        sys.exit(f"{mutant.name}: its text stands {text.count(before + old + after)} times in {mutant.file}")
    return text.replace(before + old + after, before + make(old) + after)


def change(directory, file, edit):
    path = os.path.join(directory, file)
    with open(path, encoding="utf-8") as f:
        text = f.read()
    with open(path, "w", encoding="utf-8") as f:
        f.write(edit(text))


def write(directory, mutants):
    """Every fault as `m3_pkg::mutant == its number ? fault : text`."""
    for file in os.listdir(RTL):
        if file.endswith(".sv"):
            shutil.copy(os.path.join(RTL, file), directory)
    for number, m in enumerate(mutants, 1):
        if m.test:
            change(directory, m.file, lambda text, m=m, number=number: replaced(
                m, text, lambda old: f"(m3_pkg::mutant == {number} ? ({m.new}) : ({old}))"))
    change(directory, "m3_pkg.sv", lambda text: re.sub(r"(?m)^package m3_pkg;", "package m3_pkg;\n  int mutant;", text))
    change(directory, "m3_top.sv", lambda text: re.sub(r"\nendmodule\s*$", CHOICE, text))


def outcome(number, program, cases):
    run = subprocess.run([program, f"--gtest_filter={cases}", "--gtest_fail_fast", "--gtest_brief=1"],
                         env={**os.environ, "M3VIT_MUTANT": str(number)}, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, check=False)
    if "0 tests from 0 test suites ran" in run.stdout:
        sys.exit(f"no test is called {cases}")
    return run


def test(program, mutants):
    cases = ":".join(dict.fromkeys(m.test for m in mutants if m.test))
    control = outcome(0, program, cases)
    if control.returncode != 0:
        print(control.stdout)
        return ["no fault at all, and yet a test fails"]
    survivors = []
    for number, m in enumerate(mutants, 1):
        if m.test:
            noticed = outcome(number, program, m.test).returncode != 0
            print(f"{'noticed ' if noticed else 'SURVIVED'}  {m.name}", flush=True)
            survivors += [] if noticed else [m.name]
    return survivors


def prove(mutants):
    survivors = []
    for m in mutants:
        if not m.proof:
            continue
        with tempfile.TemporaryDirectory() as copy:
            for file in os.listdir(RTL):
                if file.endswith(".sv"):
                    shutil.copy(os.path.join(RTL, file), copy)
            change(copy, m.file, lambda text, m=m: replaced(m, text, lambda old: f"({m.new})"))
            run = subprocess.run([os.path.join(ROOT, "scripts/rtl_prove.sh"), "--rtl", copy, *m.proof.split()],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if run.returncode not in (0, 1):
            sys.exit(f"{m.name}: {run.stderr[-2000:]}")
        print(f"{'refuted ' if run.returncode else 'SURVIVED'}  {m.name}", flush=True)
        survivors += [] if run.returncode else [m.name]
    return survivors


def main():
    mutants = read_list()
    command = sys.argv[1:]
    if len(command) == 2 and command[0] == "write":
        os.makedirs(command[1], exist_ok=True)
        write(command[1], mutants)
        return 0
    if len(command) == 2 and command[0] == "test":
        survivors = test(command[1], mutants)
    elif command == ["prove"]:
        survivors = prove(mutants)
    else:
        sys.exit(__doc__)
    for name in survivors:
        print(f"survived: {name}", file=sys.stderr)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
