#!/usr/bin/env python3
"""rtl_resources.py [MODULE] [PARAMETER=VALUE ...]: what Yosys counts for a module (m3_top) and everything in it, per
module and in all, and the share of a ZCU104's device (XCZU7EV) that this is. Counted after synthesis, not placed or
routed. Exit code 1 where a kind passes 85 % of the device. M3VIT_YOSYS names another yosys."""
import os
import re
import subprocess
import sys
import tempfile

RTL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "rtl")
DEVICE = {"LUT": 230400, "FF": 460800, "DSP": 1728, "BRAM36": 312, "URAM": 96}
CEILING = 0.85
# LUT sites of a memory made of LUTs
LUT_RAM = {"RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8, "RAM64X8SW": 8, "RAM32X16DR8": 8, "RAM32X1D": 2,
           "RAM64X1D": 2, "RAM128X1D": 4, "RAM256X1D": 8, "RAM32X1S": 1, "RAM64X1S": 1, "RAM128X1S": 2,
           "RAM256X1S": 4, "RAM512X1S": 8, "SRL16E": 1, "SRLC32E": 1}


def synthesise(module, parameters):
    """The text of Yosys's `stat`, module by module."""
    with open(os.path.join(RTL, "files.txt"), encoding="utf-8") as f:
        files = [line.strip() for line in f if line.strip() and not line.startswith("#")]
    sets = "".join(f"chparam -set {p.split('=')[0]} {p.split('=')[1]} {module}; " for p in parameters)
    with tempfile.NamedTemporaryFile("r", suffix=".stat") as stat:
        script = (f"read_verilog -sv {' '.join(files)}; {sets}hierarchy -check -top {module}; "
                  f"synth_xilinx -family xcup -noiopad -noclkbuf -top {module}; tee -q -o {stat.name} stat -tech xilinx")
        subprocess.run([os.environ.get("M3VIT_YOSYS", "yosys"), "-q", "-p", script], cwd=RTL, check=True,
                       stderr=subprocess.DEVNULL)
        return stat.read()


def kinds_of(cell, count):
    """Resources of `count` cells of a kind of the library."""
    if cell in LUT_RAM:
        return {"LUT": LUT_RAM[cell] * count}
    if re.fullmatch(r"FD[CPRS]E(_1)?|LD[CP]E", cell):
        return {"FF": count}
    if cell.startswith("DSP48"):
        return {"DSP": count}
    if cell.startswith("RAMB36"):
        return {"BRAM36": count}
    if cell.startswith("RAMB18"):
        return {"BRAM36": 0.5 * count}
    if cell.startswith("URAM288"):
        return {"URAM": count}
    return {}


def parse(text):
    """Own resources and instances of every module."""
    own, instances, module = {}, {}, None
    for line in text.splitlines():
        if m := re.fullmatch(r"=== (.*) ===", line.strip()):
            module = None if m[1] == "design hierarchy" else m[1]
            if module:
                own[module], instances[module] = dict.fromkeys(DEVICE, 0), {}
        elif module and (m := re.fullmatch(r"\s+Estimated number of LCs:\s+(\d+)", line)):
            own[module]["LUT"] += int(m[1])
        elif module and (m := re.fullmatch(r"\s{5,}(\S+)\s+(\d+)", line)):
            instances[module][m[1]] = int(m[2])
    for module, cells in instances.items():
        for cell in [c for c in cells if c not in own]:
            for kind, n in kinds_of(cell, cells.pop(cell)).items():
                own[module][kind] += n
    return own, instances


def short(module):
    """m3_lane of $paramod$…\\m3_lane."""
    return re.sub(r".*\\(m3_\w+).*", r"\1", module)


def main():
    arguments = sys.argv[1:]
    top = arguments.pop(0) if arguments and "=" not in arguments[0] else "m3_top"
    own, instances = parse(synthesise(top, arguments))
    top_name = next(m for m in own if short(m) == top)
    counts = {}

    def walk(module, times):
        counts[module] = counts.get(module, 0) + times
        for child, n in instances[module].items():
            walk(child, times * n)

    walk(top_name, 1)
    rows, total = {}, dict.fromkeys(DEVICE, 0)
    for module, times in counts.items():  # modules that differ in parameters only are one row
        row = rows.setdefault(short(module), [0, dict.fromkeys(DEVICE, 0)])
        row[0] += times
        for kind, n in own[module].items():
            row[1][kind] += n * times
            total[kind] += n * times
    number = lambda n: f"{n:>10.1f}" if n % 1 else f"{int(n):>10}"
    print(f"{'module, without what it contains':<34}{'instances':>10}" + "".join(f"{k:>10}" for k in DEVICE))
    for name in sorted(rows, key=lambda n: -rows[n][1]["LUT"]):
        print(f"{name:<34}{rows[name][0]:>10}" + "".join(number(rows[name][1][k]) for k in DEVICE))
    print(f"{'total of ' + top:<44}" + "".join(number(total[k]) for k in DEVICE))
    print(f"{'ZCU104 (XCZU7EV) has':<44}" + "".join(f"{DEVICE[k]:>10}" for k in DEVICE))
    print(f"{'share':<44}" + "".join(f"{100 * total[k] / DEVICE[k]:>9.1f}%" for k in DEVICE))
    over = [k for k in DEVICE if total[k] > CEILING * DEVICE[k]]
    if over:
        print(f"over {CEILING:.0%} of the device: {', '.join(over)}", file=sys.stderr)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
