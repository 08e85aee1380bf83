#!/usr/bin/env python3
"""What Yosys counts for a module (m3_top) and everything in it, per module and in all, and the share of a ZCU104's
device (XCZU7EV) that this is. Counted after synthesis, not placed or routed. Each distinct module is synthesised once,
alone, with black boxes for what it contains; progress on stderr. Exit code 1 where a kind passes 85 % of the device.
M3VIT_YOSYS names another yosys."""
import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

RTL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "rtl")
YOSYS = os.environ.get("M3VIT_YOSYS", "yosys")
DEVICE = {"LUT": 230400, "FF": 460800, "DSP": 1728, "BRAM36": 312, "URAM": 96}
CEILING = 0.85
# LUT sites of a memory made of LUTs
LUT_RAM = {"RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8, "RAM64X8SW": 8, "RAM32X16DR8": 8, "RAM32X1D": 2,
           "RAM64X1D": 2, "RAM128X1D": 4, "RAM256X1D": 8, "RAM32X1S": 1, "RAM64X1S": 1, "RAM128X1S": 2,
           "RAM256X1S": 4, "RAM512X1S": 8, "SRL16E": 1, "SRLC32E": 1}


def yosys(script):
    subprocess.run([YOSYS, "-q", "-p", script], cwd=RTL, check=True, stderr=subprocess.DEVNULL)


def elaborate(top, parameters, work):
    """The elaborated modules, the top first: {name: RTLIL}, where name is m3_fifo__3 for the fourth kind of m3_fifo."""
    with open(os.path.join(RTL, "files.txt"), encoding="utf-8") as f:
        files = [line.strip() for line in f if line.strip() and not line.startswith("#")]
    sets = "".join(f"chparam -set {p.split('=')[0]} {p.split('=')[1]} {top}; " for p in parameters)
    yosys(f"read_verilog -sv {' '.join(files)}; {sets}hierarchy -check -top {top}; write_rtlil {work}/design.il")
    with open(f"{work}/design.il", encoding="utf-8") as f:
        text = f.read()
    text = re.sub(r"^ *attribute \\src .*\n", "", text, flags=re.M)
    names, kinds = {}, {}
    for found in re.finditer(r"^module (\S+)$", text, re.M):
        base = re.search(r"m3_\w+", re.sub(r"^\\?\$paramod(\$[0-9a-f]+)?", "", found[1]))[0]
        names[found[1]] = f"{base}__{kinds.get(base, 0)}"
        kinds[base] = kinds.get(base, 0) + 1
    text = re.sub(r"^(module|  cell) (\S+)", lambda m: f"{m[1]} \\{names[m[2]]}" if m[2] in names else m[0], text,
                  flags=re.M)
    blocks = re.findall(r"^module \\(m3_\w+)\n(.*?)^end$", text, re.M | re.S)
    modules = {name: renumbered(f"module \\{name}\n{body}end\n") for name, body in blocks}
    return dict(sorted(modules.items(), key=lambda m: short(m[0]) != top))


def renumbered(text):
    """The numbers of Yosys's own names begin anew in each module, so that its text does not depend on the others'."""
    numbers = {}
    return re.sub(r"(?<=\$)\d+", lambda m: str(numbers.setdefault(m[0], len(numbers))), text.replace(".sv:", ".sv$"))


def ports(text):
    return "".join(re.findall(r"^  wire .*(?:input|output) .*\n", text, re.M))


def short(module):
    return module.split("__")[0]


def synthesise(module, modules, work, cache):
    """Own resources of a module, instances in it, seconds. With a cache, unchanged modules cost nothing."""
    start = time.monotonic()
    children = sorted(set(re.findall(r"^  cell \\(m3_\w+)", modules[module], re.M)))
    text = "".join(modules[m] for m in [module, *children])
    key = modules[module] + "".join(ports(modules[m]) for m in children)
    known = cache and os.path.join(cache, hashlib.sha256(key.encode()).hexdigest())
    if not known or not os.path.exists(known):
        with open(f"{work}/{module}.il", "w", encoding="utf-8") as f:
            f.write(text)
        boxes = f"blackbox {' '.join(children)}; " if children else ""
        yosys(f"read_rtlil {work}/{module}.il; {boxes}synth_xilinx -family xcup -noiopad -noclkbuf -top {module}; "
              f"tee -q -o {work}/{module}.stat stat -tech xilinx {module}")
        if known:
            os.makedirs(cache, exist_ok=True)
            shutil.copy(f"{work}/{module}.stat", known + ".part")
            os.replace(known + ".part", known)
    with open(known or f"{work}/{module}.stat", encoding="utf-8") as f:
        own, inside = count(f.read())
    return own, inside, time.monotonic() - start


def kinds_of(cell, number):
    """Resources of cells of a kind of the library."""
    if cell in LUT_RAM:
        return {"LUT": LUT_RAM[cell] * number}
    if re.fullmatch(r"FD[CPRS]E(_1)?|LD[CP]E", cell):
        return {"FF": number}
    if cell.startswith("DSP48"):
        return {"DSP": number}
    if cell.startswith("RAMB36"):
        return {"BRAM36": number}
    if cell.startswith("RAMB18"):
        return {"BRAM36": 0.5 * number}
    if cell.startswith("URAM288"):
        return {"URAM": number}
    return {}


def count(text):
    """Resources and instances of one module, from the text of Yosys's `stat`."""
    own, inside = dict.fromkeys(DEVICE, 0), {}
    for line in text.splitlines():
        if m := re.fullmatch(r"\s+Estimated number of LCs:\s+(\d+)", line):
            own["LUT"] += int(m[1])
        elif m := re.fullmatch(r"\s{5,}(\S+)\s+(\d+)", line):
            if "m3_" in m[1]:
                inside[m[1]] = int(m[2])
            for kind, n in kinds_of(m[1], int(m[2])).items():
                own[kind] += n
    return own, inside


def report(top, rows, total):
    def number(n):
        return f"{n:>10.1f}" if n % 1 else f"{int(n):>10}"
    print(f"{'module, without what it contains':<34}{'instances':>10}" + "".join(f"{k:>10}" for k in DEVICE))
    for name in sorted(rows, key=lambda n: -rows[n]["LUT"]):
        print(f"{name:<34}{rows[name]['instances']:>10}" + "".join(number(rows[name][k]) for k in DEVICE))
    print(f"{'total of ' + top:<44}" + "".join(number(total[k]) for k in DEVICE))
    print(f"{'ZCU104 (XCZU7EV) has':<44}" + "".join(f"{DEVICE[k]:>10}" for k in DEVICE))
    print(f"{'share':<44}" + "".join(f"{100 * total[k] / DEVICE[k]:>9.1f}%" for k in DEVICE))


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("module", nargs="?", default="m3_top")
    options.add_argument("parameters", nargs="*", metavar="PARAMETER=VALUE")
    options.add_argument("--json", metavar="FILE")
    options.add_argument("--jobs", type=int, default=1, metavar="N", help="syntheses at a time")
    options.add_argument("--cache", metavar="DIR", help="keeps what was counted, by the text of a module")
    arguments = options.parse_args()
    top, parameters = arguments.module, arguments.parameters
    if "=" in top:
        top, parameters = "m3_top", [top, *parameters]

    own, inside = {}, {}
    with tempfile.TemporaryDirectory() as work, concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        modules = elaborate(top, parameters, work)
        jobs = {pool.submit(synthesise, m, modules, work, arguments.cache): m for m in modules}
        for done, job in enumerate(concurrent.futures.as_completed(jobs), 1):
            module = jobs[job]
            own[module], inside[module], seconds = job.result()
            print(f"{done}/{len(modules)} {short(module)}: {own[module]['LUT']} LUT, {seconds:.0f} s", file=sys.stderr,
                  flush=True)

    times = {}

    def walk(module, n):
        times[module] = times.get(module, 0) + n
        for child, m in inside[module].items():
            walk(child, n * m)

    walk(next(iter(modules)), 1)
    rows, total = {}, dict.fromkeys(DEVICE, 0)
    for module, n in times.items():  # modules that differ in parameters only are one row
        row = rows.setdefault(short(module), {"instances": 0, **dict.fromkeys(DEVICE, 0)})
        row["instances"] += n
        for kind, k in own[module].items():
            row[kind] += k * n
            total[kind] += k * n
    report(top, rows, total)
    over = [k for k in DEVICE if total[k] > CEILING * DEVICE[k]]
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as f:
            json.dump({"top": top, "parameters": parameters, "modules": rows, "total": total, "device": DEVICE,
                       "share": {k: total[k] / DEVICE[k] for k in DEVICE}, "over": over}, f, indent=1)
            f.write("\n")
    if over:
        print(f"over {CEILING:.0%} of the device: {', '.join(over)}", file=sys.stderr)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
