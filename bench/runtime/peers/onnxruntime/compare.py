"""The runtime against ONNX Runtime on the same network with the same weights: equality first, then frames in turn.

Ours is called through libm3vit.so's C interface; ONNX Runtime through its Node package (session.mjs). Between turns both
sides rest, so that nobody's idle threads spin beside the other's work. scripts/onnxruntime_bench.sh prepares and
starts this."""
import argparse
import ctypes
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import onnx_network

REST_S = 0.1


class Ours:
    """One session of libm3vit.so."""

    class Options(ctypes.Structure):
        _fields_ = [("size", ctypes.c_size_t), ("isa", ctypes.c_char_p), ("memory_budget", ctypes.c_uint64)] + [
            (name, ctypes.c_int32) for name in
            ("threads", "schedule", "keep_routing", "keep_times", "share_prefix", "head_form", "io", "batch")]

    class Times(ctypes.Structure):
        _fields_ = [("size", ctypes.c_size_t)] + [
            (name, ctypes.c_double) for name in
            ("input", "embed", "attention", "dense_mlp", "router", "experts", "head", "total")]

    def __init__(self, library, path, task, threads, planes, floats):
        self.lib = ctypes.CDLL(library)
        self.lib.m3vit_last_error.restype = ctypes.c_char_p
        model, self.session = ctypes.c_void_p(), ctypes.c_void_p()
        self.check(self.lib.m3vit_model_open(path.encode(), ctypes.byref(model)))
        options = self.Options(size=ctypes.sizeof(self.Options), threads=threads, keep_times=1)
        self.check(self.lib.m3vit_session_create(model, ctypes.byref(options), ctypes.byref(self.session)))
        self.task, self.planes, self.out = task.encode(), planes, np.empty(floats, np.float32)

    def check(self, status):
        if status != 0:
            sys.exit("onnxruntime_bench: " + self.lib.m3vit_last_error().decode())

    def run(self):
        """(backbone, head) in ms."""
        as_floats = ctypes.POINTER(ctypes.c_float)
        self.check(self.lib.m3vit_session_run_planes(
            self.session, self.task, self.planes.ctypes.data_as(as_floats), ctypes.c_size_t(self.planes.size),
            self.out.ctypes.data_as(as_floats), ctypes.c_size_t(self.out.size)))
        times = self.Times(size=ctypes.sizeof(self.Times))
        self.check(self.lib.m3vit_session_times(self.session, ctypes.byref(times)))
        return 1e3 * (times.total - times.head), 1e3 * times.head


class Node:
    def __init__(self, modules):
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "session.mjs")
        self.process = subprocess.Popen(["node", script, modules], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        reply = json.loads(line) if line else {"error": "it ended"}
        if "error" in reply:
            sys.exit("onnxruntime_bench: ONNX Runtime: " + reply["error"])
        return reply


class Theirs:
    """Both graphs of one kind in ONNX Runtime."""

    def __init__(self, node, name, folder, threads, config, weights, planes, ranges=None, watch=False):
        self.node, self.name, self.folder, self.ranges = node, name, folder, {}
        tokens, raw = os.path.join(folder, "tokens.f32"), os.path.join(folder, "raw.f32")
        image = os.path.join(folder, "picture.f32")
        planes.tofile(image)
        m = config["model"]
        dims = [m["image_size"][0] // m["patch_size"] * (m["image_size"][1] // m["patch_size"]) + 1, m["embed_dim"]]
        for part, build, source, what, shape in (("backbone", onnx_network.backbone, image, "picture", [3, *m["image_size"]]),
                                                 ("head", onnx_network.head, tokens, "tokens", dims)):
            path = os.path.join(folder, f"{name}_{part}.onnx")
            watched = build(config, weights, path, ranges, watch)
            self.rss = node.ask(load=f"{name}_{part}", path=path, threads=threads)["rss"]
            node.ask(run=f"{name}_{part}", input=what, **{"from": source}, shape=shape, to=folder)
            for activation, output in watched:
                value = float(np.fromfile(os.path.join(folder, output + ".f32"), np.float32)[0])
                low, high = self.ranges.get(activation, (0.0, 0.0))
                self.ranges[activation] = (min(low, value), max(high, value))
        self.out = np.fromfile(raw, np.float32)

    def run(self):
        return tuple(self.node.ask(run=f"{self.name}_{part}")["ms"] for part in ("backbone", "head"))


def save_safetensors(path, weights, config):
    header, offset = {"__metadata__": {"format": "pt", "config": json.dumps(config), "producer": "onnxruntime_bench"}}, 0
    for name, w in weights.items():
        header[name] = {"dtype": "F32", "shape": list(w.shape), "data_offsets": [offset, offset + w.nbytes]}
        offset += w.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for w in weights.values():
            f.write(w.tobytes())


def difference(a, b):
    return float(np.abs(a - b).max() / np.abs(b).max())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--m3vit", required=True, help="the program")
    parser.add_argument("--library", required=True, help="libm3vit.so")
    parser.add_argument("--modules", required=True, help="folder in which `npm install onnxruntime-node` ran")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=11)
    parser.add_argument("--ours", default="f32,bf16,int8", help="which of ours to time")
    parser.add_argument("--theirs", default="f32,int8", help="which of theirs to time")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        recipe = os.path.join(folder, "recipe.yaml")
        with open(recipe, "w") as f:
            f.write(f"model: {{preset: {options.preset}, image_size: [{options.height}, {options.width}]}}\n"
                    "tasks: [{name: semseg, outputs: 21}]\n")
        said = subprocess.run([options.m3vit, "inspect", "--config", recipe, "--json"], check=True, capture_output=True)
        config = json.loads(said.stdout)["config"]
        weights = onnx_network.random_weights(config, 1)
        checkpoint = os.path.join(folder, "model.safetensors")
        save_safetensors(checkpoint, weights, config)
        planes = np.random.default_rng(2).uniform(-2, 2, (3, options.height, options.width)).astype(np.float32)
        floats = 21 * options.height * options.width

        sides = {}
        for dtype in ("f32", "bf16", "int8"):
            path = os.path.join(folder, dtype + ".m3v")
            subprocess.run([options.m3vit, "export", checkpoint, "-o", path, "--dtype", dtype, "-q"], check=True,
                           stdout=subprocess.DEVNULL)
            sides["ours " + dtype] = Ours(options.library, path, "semseg", options.threads, planes, floats)
            sides["ours " + dtype].run()
        node = Node(options.modules)
        args = (folder, options.threads, config, weights, planes)
        ranges = Theirs(node, "watch", *args, watch=True).ranges
        for name, given in (("f32", None), ("int8", ranges)):
            node = Node(options.modules)
            sides["ONNX Runtime " + name] = Theirs(node, name, *args, ranges=given)

        want = sides["ours f32"].out
        for name, side in sides.items():
            off, most = difference(side.out, want), 1e-3 if name.endswith("f32") else 0.5
            print(f"{name}: differs from our f32 by {off:.1e} of the largest value", file=sys.stderr)
            if not off <= most:
                sys.exit(f"onnxruntime_bench: {name} computes something else")

        ours, theirs = options.ours.split(","), options.theirs.split(",")
        timed = {"ours " + name for name in ours} | {"ONNX Runtime " + name for name in theirs}
        sides = {name: side for name, side in sides.items() if name in timed}
        ms = {name: [] for name in sides}
        print("timing", file=sys.stderr)
        for turn in range(options.pairs):
            for name in list(sides) if turn % 2 == 0 else reversed(sides):
                time.sleep(REST_S)
                ms[name].append(sides[name].run())
        print(f"{options.preset} at {options.width}x{options.height}, semseg of 21 classes, {options.threads} threads, "
              f"medians of {options.pairs} rounds")
        for name in sides:
            backbone, head = (statistics.median(t[i] for t in ms[name]) for i in (0, 1))
            print(f"{name:<18} {backbone:8.1f} + {head:7.1f} ms (backbone + head)")
        for their in theirs:
            for our in ours:
                pairs = list(zip(ms["ONNX Runtime " + their], ms["ours " + our]))
                whole = statistics.median(sum(a) / sum(b) for a, b in pairs)
                parts = [statistics.median(a[i] / b[i] for a, b in pairs) for i in (0, 1)]
                print(f"ONNX Runtime {their:<4} ÷ ours {our:<4} {whole:6.2f} "
                      f"(backbone {parts[0]:.2f}, head {parts[1]:.2f})")


if __name__ == "__main__":
    main()
