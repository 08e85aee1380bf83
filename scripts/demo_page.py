"""Writes the demo's page and contact sheet from what scripts/demo.sh left: demo_page.py DEMO_FOLDER.

DEMO/rooms (a `folder` data set), DEMO/truth/ID_TASK.png, and for each model M of `shipped`, `live` that is there:
DEMO/M/ID_TASK.png, DEMO/M/routing/TASK_ID.json, DEMO/M/eval.json, DEMO/M/run_TASK.json (of `m3vit run --json`).
"""
import html
import json
import sys
from pathlib import Path

sys.dont_write_bytecode = True
import png  # noqa: E402  (beside this file)

TASKS = ["semseg", "depth", "normals", "edge", "sal", "human_parts"]
NAMES = {"semseg": "Semantic segmentation", "depth": "Depth", "normals": "Surface normals", "edge": "Edges",
         "sal": "Saliency", "human_parts": "Human parts"}
# The metric that stands for a task (src/core/tasks.h), its unit, and which way is better.
PRIMARY = {"semseg": ("mIoU", "", "↑"), "depth": ("rmse", " m", "↓"), "normals": ("mean", "°", "↓"),
           "edge": ("odsF", "", "↑"), "sal": ("mIoU", "", "↑"), "human_parts": ("mIoU", "", "↑")}
MODELS = {"shipped": "shipped model", "live": "trained just now"}
PAGE_FRAMES, SHEET_FRAMES = 8, 4


def expert_color(expert, experts):
    """Evenly spaced hues, alternating in lightness so that neighbours differ."""
    h, light = 6 * expert / experts, 0.62 if expert % 2 else 0.48
    c = 0.75 * (1 - abs(2 * light - 1))
    x = c * (1 - abs(h % 2 - 1))
    r, g, b = [(c, x, 0), (x, c, 0), (0, c, x), (0, x, c), (x, 0, c), (c, 0, x)][int(h) % 6]
    return tuple(round(255 * (v + light - c / 2)) for v in (r, g, b))


class Demo:
    def __init__(self, root):
        self.root = root
        self.models = [m for m in MODELS if (root / m / "eval.json").exists()]
        self.eval = {m: json.loads((root / m / "eval.json").read_text()) for m in self.models}
        self.tasks = [t for t in TASKS if t in self.eval[self.models[0]]["metrics"]]
        self.frames = (root / "rooms/splits/test.txt").read_text().split()
        model = self.eval[self.models[0]]["config"]["model"]
        self.height, self.width = model["image_size"]
        self.grid = (self.height // model["patch_size"], self.width // model["patch_size"])
        self.experts = model["moe"]["num_experts"] if model["moe"] else 0
        self.top_k = model["moe"]["top_k"] if model["moe"] else 0
        self.runs = {m: {t: json.loads((root / m / f"run_{t}.json").read_text()) for t in self.tasks}
                     for m in self.models}

    def routing(self, model, task, frame):
        """Of the last MoE block: per token (CLS first) its experts, best first; empty without experts."""
        blocks = json.loads((self.root / model / "routing" / f"{task}_{frame}.json").read_text())
        return blocks[-1]["experts"] if blocks else []


def routing_svg(demo, tokens):
    rows, columns = demo.grid
    cells = []
    for t, experts in enumerate(tokens[1:]):
        color = "#%02x%02x%02x" % expert_color(experts[0], demo.experts)
        cells.append(f'<rect x="{t % columns}" y="{t // columns}" width="1.02" height="1.02" fill="{color}">'
                     f'<title>experts {", ".join(map(str, experts))}</title></rect>')
    return (f'<svg viewBox="0 0 {columns} {rows}" preserveAspectRatio="none" role="img" '
            f'aria-label="expert of each token">{"".join(cells)}</svg>')


def load_svg(demo, shares):
    bars = []
    top = max(max(shares), 1e-9)
    for e, share in enumerate(shares):
        color = "#%02x%02x%02x" % expert_color(e, demo.experts)
        h = 40 * share / top
        bars.append(f'<rect x="{e * 10 + 1}" y="{40 - h:.2f}" width="8" height="{h:.2f}" fill="{color}">'
                    f'<title>expert {e}: {100 * share:.1f} %</title></rect>')
    return f'<svg class="bars" viewBox="0 0 {10 * demo.experts} 40" preserveAspectRatio="none">{"".join(bars)}</svg>'


def expert_shares(demo, model, task):
    counts = [0] * demo.experts
    for frame in demo.frames:
        for experts in demo.routing(model, task, frame):
            for e in experts:
                counts[e] += 1
    total = sum(counts)
    return [c / total for c in counts] if total else []


def table(head, rows):
    return f'<table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def cells(demo, task, name, unit=""):
    values = [demo.eval[m]["metrics"].get(task, {}).get(name) for m in demo.models]
    return "".join(f"<td>{'–' if v is None else f'{v:.3g}{unit}'}</td>" for v in values)


def metrics_tables(demo):
    models = "".join(f"<th>{MODELS[m]}</th>" for m in demo.models)
    rows = []
    for task in demo.tasks:
        name, unit, arrow = PRIMARY[task]
        rows.append(f'<tr class=first><th>{NAMES[task]}</th><td class="name">{name} {arrow}</td>'
                    f'{cells(demo, task, name, unit)}</tr>')
    every = []
    for task in demo.tasks:
        names = list(demo.eval[demo.models[0]]["metrics"][task])
        for i, name in enumerate(names):
            label = f'<th rowspan="{len(names)}">{NAMES[task]}</th>' if i == 0 else ""
            every.append(f'<tr{" class=first" if i == 0 else ""}>{label}<td class="name">{html.escape(name)}</td>'
                         f'{cells(demo, task, name)}</tr>')
    head = f"<th>task</th><th>metric</th>{models}"
    return (f'<div class=wrap>{table(head, rows)}<details><summary>every metric</summary>{table(head, every)}</details>'
            f'</div>')


def frame_card(demo, frame):
    def tile(path, alt):
        return f'<img src="{html.escape(str(path))}" alt="{html.escape(alt)}" loading="lazy">'

    columns = "".join(f"<div class=head>{NAMES[t]}</div>" for t in demo.tasks)
    grid = [f'<div class=side></div>{columns}']
    grid.append('<div class=side>ground truth</div>' +
                "".join(tile(Path("truth") / f"{frame}_{t}.png", f"{t}, ground truth") for t in demo.tasks))
    for m in demo.models:
        grid.append(f'<div class=side>{MODELS[m]}</div>' +
                    "".join(tile(Path(m) / f"{frame}_{t}.png", f"{t}, {MODELS[m]}") for t in demo.tasks))
    if demo.experts:
        m = demo.models[0]
        grid.append(f'<div class=side>experts<small>{MODELS[m]}</small></div>' +
                    "".join(routing_svg(demo, demo.routing(m, t, frame)) for t in demo.tasks))
    return (f'<section class=card><figure>{tile(Path("rooms/images") / f"{frame}.png", frame)}'
            f'<figcaption>{html.escape(frame)}</figcaption></figure><div class=grid>{"".join(grid)}</div></section>')


STYLE = """
:root { color-scheme: light dark; --bg: #f6f6f3; --fg: #1d1f21; --dim: #6a6f76; --card: #fff; --line: #deded8; }
@media (prefers-color-scheme: dark) {
  :root { --bg: #15171a; --fg: #e6e6e3; --dim: #9aa0a8; --card: #1e2125; --line: #33373d; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1360px; padding: 2.5rem 1.5rem; background: var(--bg); color: var(--fg);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.9rem; letter-spacing: -.02em; }
h2 { margin: 3rem 0 .6rem; font-size: 1.2rem; }
p { max-width: 75ch; margin: .5rem 0; } p.dim, small, figcaption { color: var(--dim); }
.card { display: grid; grid-template-columns: minmax(150px, 1.25fr) 6fr; gap: 1rem; margin: 0 0 1.2rem; padding: 1rem;
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
figure { margin: 0; } figcaption { font-size: .8rem; margin-top: .3rem; }
.grid { display: grid; grid-template-columns: 6.2rem repeat(var(--tasks), 1fr); gap: 6px; align-items: stretch; }
.head { font-size: .78rem; color: var(--dim); align-self: end; }
.side { font-size: .78rem; color: var(--dim); align-self: center; } .side small { display: block; }
img, .grid svg { display: block; width: 100%; border-radius: 5px; } img { image-rendering: pixelated; }
.grid svg { height: 100%; }
.wrap { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: .4rem 1rem; }
summary { cursor: pointer; color: var(--dim); font-size: .9rem; padding: .5rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; width: 100%; }
th { text-align: left; font-weight: 600; vertical-align: top; } th, td { padding: .22rem .8rem .22rem 0; }
td:not(.name), thead th:nth-child(n+3) { text-align: right; } tr.first > * { border-top: 1px solid var(--line); }
.loads { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 1rem; }
.loads > div { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: .7rem .9rem; }
.bars { width: 100%; height: 48px; margin-top: .4rem; }
code { font-size: .88em; background: color-mix(in srgb, var(--fg) 8%, transparent); padding: .1em .35em; border-radius: 4px; }
@media (max-width: 800px) { .card { grid-template-columns: 1fr; } figure { max-width: 220px; } .grid { min-width: 640px; }
  .card { overflow-x: auto; } }
"""


def page(demo):
    first = demo.models[0]
    timing = ", ".join(f"{t} {median([f['ms'] for f in demo.runs[first][t]['frames']]):.0f} ms" for t in demo.tasks)
    peak = max(r["peak_bytes"]["measured"] for r in demo.runs[first].values())
    threads = demo.runs[first][demo.tasks[0]]["threads"]
    isa = demo.runs[first][demo.tasks[0]]["isa"]
    experts = ""
    if demo.experts:
        loads = "".join(f"<div>{NAMES[t]}{load_svg(demo, expert_shares(demo, first, t))}</div>" for t in demo.tasks)
        experts = (f'<h2>Which experts each task uses</h2><p class=dim>Share of token choices per expert in the last MoE '
                   f'block over these pictures ({demo.experts} experts, each token takes {demo.top_k}). The colours '
                   f'are those of the routing maps.</p><div class=loads>{loads}</div>')
    cards = "".join(frame_card(demo, f) for f in demo.frames[:PAGE_FRAMES])
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>m3vit demo</title><style>{STYLE}</style></head><body style="--tasks: {len(demo.tasks)}">
<h1>One model, {len(demo.tasks)} tasks, one at a time</h1>
<p>Unseen generated rooms, predicted by the packed model (<code>.m3v</code>) task by task. Each token goes to the experts
that the task's own router picks; an expert nobody picks is never touched.</p>
<p class=dim>{demo.width}×{demo.height} pixels, {isa}, {threads} thread{"s" if threads != 1 else ""}. Per frame: {timing}.
Peak memory of the process {peak / 2**20:.0f} MiB.</p>
<h2>Metrics on {demo.eval[first]["frames"]} unseen frames</h2>{metrics_tables(demo)}
<h2>Predictions</h2>{cards}
{experts}
</body></html>
"""


def median(values):
    values = sorted(values)
    return values[len(values) // 2]


def contact_sheet(demo, path):
    """Per frame: the input on the left, then truth, each model's prediction and the routing of the first, a column a
    task."""
    tile_w, tile_h, gap, side, top = 160, round(160 * demo.height / demo.width), 6, 118, 26
    rows = ["truth"] + demo.models + (["experts"] if demo.experts else [])
    frames = demo.frames[:SHEET_FRAMES]
    block = len(rows) * (tile_h + gap) + 14
    canvas = png.Canvas(side + (1 + len(demo.tasks)) * (tile_w + gap) + gap, top + block * len(frames), (250, 250, 248))
    ink = (40, 42, 46)
    canvas.text("input", gap, 6, ink)
    for i, task in enumerate(demo.tasks):
        canvas.text(task, side + (1 + i) * (tile_w + gap) + gap, 6, ink)
    for k, frame in enumerate(frames):
        y0 = top + k * block
        canvas.paste(png.read(demo.root / "rooms/images" / f"{frame}.png"), gap, y0, tile_w, tile_h)
        for r, row in enumerate(rows):
            y = y0 + r * (tile_h + gap)
            canvas.text(row, tile_w + 3 * gap, y + tile_h // 2 - 7, ink)
            for i, task in enumerate(demo.tasks):
                x = side + (1 + i) * (tile_w + gap) + gap
                if row == "experts":
                    tile = routing_picture(demo, demo.routing(demo.models[0], task, frame))
                else:
                    tile = png.read(demo.root / row / f"{frame}_{task}.png")
                canvas.paste(tile, x, y, tile_w, tile_h)
    canvas.save(path)


def routing_picture(demo, tokens):
    rows, columns = demo.grid
    colors = [bytes(expert_color(experts[0], demo.experts)) for experts in tokens[1:]]
    return columns, rows, [b"".join(colors[r * columns:(r + 1) * columns]) for r in range(rows)]


def main():
    demo = Demo(Path(sys.argv[1]))
    (demo.root / "index.html").write_text(page(demo), encoding="utf-8")
    contact_sheet(demo, demo.root / "contact_sheet.png")


main()
