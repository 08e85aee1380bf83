"""M3ViT as two ONNX graphs, backbone and head, the way ONNX Runtime likes them: its own attention and GELU operators,
weights as constants, batch normalisation folded. The mixture of experts routes for real: softmax, TopK, and for each
expert NonZero, Gather, two products, ScatterND(add). Int8 is static, by QuantizeLinear / DequantizeLinear pairs that
ONNX Runtime fuses into its integer operators: u8 activations with one range a tensor, s8 weights with one scale a
channel. Routers, norms, softmax and the residual stream stay f32 there, as in our int8.

Needs python3-onnx and python3-numpy of Debian 12."""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


class Graph:
    """Nodes and constants on their way to a model. `ranges`: of activations by name, for an int8 graph; with `watch`
    the graph hands out the smallest and largest value of each activation that int8 would quantise."""

    def __init__(self, name, ranges=None, watch=False):
        self.name, self.ranges, self.watch = name, ranges, watch
        self.nodes, self.constants, self.watched, self.count = [], [], [], 0

    def op(self, kind, *inputs, outputs=1, domain="", **attributes):
        self.count += 1
        names = [f"{kind}_{self.count}" + (f"_{i}" if i else "") for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, values, kind=np.float32):
        self.count += 1
        name = f"constant_{self.count}"
        self.constants.append(numpy_helper.from_array(np.array(values, kind, order="C"), name))
        return name

    def activation(self, x, name):
        """`x` where a product reads it: rounded to u8 in an int8 graph."""
        if self.watch:
            for kind in ("ReduceMin", "ReduceMax"):
                self.watched.append((name, self.op(kind, x, keepdims=0)))
        return x if self.ranges is None else self.dequantise(self.quantise(x, name), name)

    def scale_of(self, name):
        low, high = min(self.ranges[name][0], 0.0), max(self.ranges[name][1], 0.0)
        scale = max((high - low) / 255.0, 1e-12)
        return scale, int(round(-low / scale))

    def quantise(self, x, name):
        scale, zero = self.scale_of(name)
        return self.op("QuantizeLinear", x, self.constant(scale), self.constant(zero, np.uint8))

    def dequantise(self, x, name):
        scale, zero = self.scale_of(name)
        return self.op("DequantizeLinear", x, self.constant(scale), self.constant(zero, np.uint8))

    def weight(self, w, channel_axis):
        """A matrix or kernel; in an int8 graph with a scale for each channel, which is returned too."""
        if self.ranges is None:
            return self.constant(w), None
        others = tuple(i for i in range(w.ndim) if i != channel_axis)
        scale = np.maximum(np.abs(w).max(axis=others), 1e-12) / 127.0
        shape = [-1 if i == channel_axis else 1 for i in range(w.ndim)]
        q = np.clip(np.rint(w / scale.reshape(shape)), -127, 127)
        zero = self.constant(np.zeros(scale.shape), np.int8)
        return self.op("DequantizeLinear", self.constant(q, np.int8), self.constant(scale), zero,
                       axis=channel_axis), scale

    def linear(self, x, w, b, name, quantised=False):
        """`w` [n, k]. `quantised`: x has been through `activation` under that name already."""
        read = x if quantised else self.activation(x, name)
        product = self.op("MatMul", read, self.weight(w.T, 1)[0])
        return self.op("Add", product, self.constant(b))

    def convolution(self, x, w, b, name, **attributes):
        read = self.activation(x, name)
        kernel, scale = self.weight(w, 0)
        bias = self.constant(b)
        if scale is not None:
            step = (scale * self.scale_of(name)[0]).astype(np.float32)
            zero = self.constant(np.zeros(step.shape), np.int32)
            bias = self.op("DequantizeLinear", self.constant(np.rint(b / step), np.int32), self.constant(step), zero,
                           axis=0)
        return self.op("Conv", read, kernel, bias, **attributes)

    def layer_norm(self, x, w, name):
        return self.op("LayerNormalization", x, self.constant(w[name + ".weight"]), self.constant(w[name + ".bias"]),
                       axis=-1, epsilon=1e-6)

    def gelu(self, x):
        return self.op("Gelu", x, domain="com.microsoft")

    def save(self, path, inputs, outputs):
        """`inputs`, `outputs`: (name, shape) of f32."""
        nodes = self.nodes + [helper.make_node("Identity", [made], [name]) for name, made, _ in outputs]
        info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, _, shape in outputs]
        info += [helper.make_tensor_value_info(made, TensorProto.FLOAT, []) for _, made in self.watched]
        graph = helper.make_graph(
            nodes, self.name, [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs], info,
            self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET),
                                                        helper.make_opsetid("com.microsoft", 1)])
        model.ir_version = 8
        onnx.save(model, path)


def tensors(config):
    """Names and shapes of a checkpoint of one task (docs/formats.md)."""
    m, moe, head = config["model"], config["model"]["moe"], config["model"]["head"]
    d, p, task = m["embed_dim"], m["patch_size"], config["tasks"][0]
    tokens = m["image_size"][0] // p * (m["image_size"][1] // p) + 1
    shapes = {"backbone.patch_embed.proj.weight": (d, 3, p, p), "backbone.patch_embed.proj.bias": (d,),
              "backbone.cls_token": (1, 1, d), "backbone.pos_embed": (1, tokens, d)}
    for i in range(m["depth"]):
        b = f"backbone.blocks.{i}."
        for norm in ("norm1", "norm2"):
            shapes[b + norm + ".weight"] = shapes[b + norm + ".bias"] = (d,)
        shapes |= {b + "attn.qkv.weight": (3 * d, d), b + "attn.qkv.bias": (3 * d,),
                   b + "attn.proj.weight": (d, d), b + "attn.proj.bias": (d,)}
        if is_moe(config, i):
            e, h = moe["num_experts"], moe["expert_hidden"] or d
            shapes |= {b + "mlp.experts.htoh4.weight": (e, h, d), b + "mlp.experts.htoh4.bias": (e, h),
                       b + "mlp.experts.h4toh.weight": (e, d, h), b + "mlp.experts.h4toh.bias": (e, d),
                       b + "mlp.gate.0.w_gate": (d, e)}
        else:
            h = int(m["mlp_ratio"] * d)
            shapes |= {b + "mlp.fc1.weight": (h, d), b + "mlp.fc1.bias": (h,),
                       b + "mlp.fc2.weight": (d, h), b + "mlp.fc2.bias": (d,)}
    n, c = f"decoders.{task['name']}.", head["channels"]
    shapes |= {n + "norm.weight": (d,), n + "norm.bias": (d,)}
    for s in range(head["stages"]):
        shapes |= {f"{n}conv_{s}.weight": (c, d if s == 0 else c, 3, 3), f"{n}conv_{s}.bias": (c,)}
        shapes |= {f"{n}syncbn_fc_{s}.{part}": (c,) for part in ("weight", "bias", "running_mean", "running_var")}
    shapes |= {f"{n}conv_{head['stages']}.weight": (task["outputs"], c, 1, 1),
               f"{n}conv_{head['stages']}.bias": (task["outputs"],)}
    return shapes


def is_moe(config, block):
    moe = config["model"]["moe"]
    return moe is not None and block % moe["every"] == moe["every"] - 1


def random_weights(config, seed):
    """As `m3vit bench --preset` fills a network: activations keep their size from layer to layer."""
    rng, weights = np.random.default_rng(seed), {}
    for name, shape in tensors(config).items():
        low, high = -0.02, 0.02
        if name.endswith("running_var") or (("norm" in name or "syncbn" in name) and name.endswith("weight")):
            low, high = 0.8, 1.2
        elif len(shape) >= 2 and not name.endswith(("bias", "pos_embed", "cls_token")):
            gate = name.endswith("w_gate")
            fan_in = shape[0] if gate else shape[-1] if len(shape) == 3 else np.prod(shape[1:])
            high = np.sqrt(3.0 / fan_in) * (2.0 if gate else 1.0)
            low = -high
        weights[name] = rng.uniform(low, high, shape).astype(np.float32)
    return weights


def moe_layer(g, config, w, b, x, z):
    moe, d = config["model"]["moe"], config["model"]["embed_dim"]
    logits = g.op("MatMul", z, g.constant(w[b + "gate.0.w_gate"]))
    p = g.op("Softmax", logits, axis=-1)
    best, chosen = g.op("TopK", p, g.constant([moe["top_k"]], np.int64), outputs=2, axis=-1)
    tokens = g.tokens
    gates = g.op("ScatterElements", g.constant(np.zeros((tokens, moe["num_experts"]))), chosen, best, axis=1)
    by_expert = g.op("Transpose", gates, perm=[1, 0])
    read = g.activation(z, b + "fc1") if g.ranges is None else g.quantise(z, b + "fc1")
    for e in range(moe["num_experts"]):
        column = g.op("Gather", by_expert, g.constant(e, np.int64), axis=0)
        index = g.op("Squeeze", g.op("NonZero", column), g.constant([0], np.int64))
        rows = g.op("Gather", read, index, axis=0)
        if g.ranges is not None:
            rows = g.dequantise(rows, b + "fc1")
        hidden = g.gelu(g.linear(rows, w[b + "experts.htoh4.weight"][e], w[b + "experts.htoh4.bias"][e], b + "fc1", True))
        if g.watch:  # an empty queue has no extremes
            hidden_all = g.op("Concat", hidden, g.constant(np.zeros((1, moe["expert_hidden"] or d))), axis=0)
            g.activation(hidden_all, b + "fc2")
        read2 = hidden if g.ranges is None else g.activation(hidden, b + "fc2")
        out = g.linear(read2, w[b + "experts.h4toh.weight"][e], w[b + "experts.h4toh.bias"][e], b + "fc2", True)
        share = g.op("Unsqueeze", g.op("Gather", column, index, axis=0), g.constant([1], np.int64))
        place = g.op("Unsqueeze", index, g.constant([1], np.int64))
        x = g.op("ScatterND", x, place, g.op("Mul", out, share), reduction="add")
    return x


def backbone(config, w, path, ranges=None, watch=False):
    """picture [3, H, W], normalised → tokens [T, D]. Returns the names of watched values: [(activation, output)]."""
    g, m = Graph("backbone", ranges, watch), config["model"]
    (height, width), d, p = m["image_size"], m["embed_dim"], m["patch_size"]
    patches = height // p * (width // p)
    g.tokens = patches + 1
    image = g.op("Unsqueeze", "picture", g.constant([0], np.int64))
    # f32 in every graph: our int8 keeps more than 8 bits here too.
    map_ = g.op("Conv", image, g.constant(w["backbone.patch_embed.proj.weight"]),
                g.constant(w["backbone.patch_embed.proj.bias"]), kernel_shape=[p, p], strides=[p, p])
    rows = g.op("Transpose", g.op("Reshape", map_, g.constant([d, patches], np.int64)), perm=[1, 0])
    x = g.op("Concat", g.constant(w["backbone.cls_token"][0]), rows, axis=0)
    x = g.op("Add", x, g.constant(w["backbone.pos_embed"][0]))
    for i in range(m["depth"]):
        b = f"backbone.blocks.{i}."
        qkv = g.linear(g.layer_norm(x, w, b + "norm1"), w[b + "attn.qkv.weight"], w[b + "attn.qkv.bias"], b + "qkv")
        batch = g.op("Unsqueeze", qkv, g.constant([0], np.int64))
        q, k, v = g.op("Split", batch, g.constant([d, d, d], np.int64), outputs=3, axis=-1)
        y = g.op("MultiHeadAttention", q, k, v, domain="com.microsoft", num_heads=m["num_heads"])
        y = g.op("Squeeze", y, g.constant([0], np.int64))
        x = g.op("Add", x, g.linear(y, w[b + "attn.proj.weight"], w[b + "attn.proj.bias"], b + "proj"))
        z = g.layer_norm(x, w, b + "norm2")
        if is_moe(config, i):
            x = moe_layer(g, config, w, b + "mlp.", x, z)
            continue
        hidden = g.gelu(g.linear(z, w[b + "mlp.fc1.weight"], w[b + "mlp.fc1.bias"], b + "fc1"))
        x = g.op("Add", x, g.linear(hidden, w[b + "mlp.fc2.weight"], w[b + "mlp.fc2.bias"], b + "fc2"))
    g.save(path, [("picture", [3, height, width])], [("tokens", x, [g.tokens, d])])
    return g.watched


def head(config, w, path, ranges=None, watch=False):
    """tokens [T, D] → raw output [C, H, W]."""
    g, m = Graph("head", ranges, watch), config["model"]
    (height, width), d, p = m["image_size"], m["embed_dim"], m["patch_size"]
    task, n = config["tasks"][0], f"decoders.{config['tasks'][0]['name']}."
    y, x = height // p, width // p
    tokens = g.op("Slice", "tokens", g.constant([1], np.int64), g.constant([y * x + 1], np.int64),
                  g.constant([0], np.int64))
    rows = g.op("Transpose", g.layer_norm(tokens, w, n + "norm"), perm=[1, 0])
    f = g.op("Reshape", rows, g.constant([1, d, y, x], np.int64))

    def resize(f, y, x):
        sizes = g.constant([1, channels, y, x], np.int64)
        return g.op("Resize", f, "", "", sizes, mode="linear", coordinate_transformation_mode="half_pixel")

    channels = m["head"]["channels"]
    for s in range(m["head"]["stages"]):
        conv, bn = f"{n}conv_{s}", f"{n}syncbn_fc_{s}."
        gain = w[bn + "weight"] / np.sqrt(w[bn + "running_var"] + 1e-5)
        bias = (w[conv + ".bias"] - w[bn + "running_mean"]) * gain + w[bn + "bias"]
        f = g.op("Relu", g.convolution(f, w[conv + ".weight"] * gain[:, None, None, None], bias, conv,
                                       kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
        if s + 1 < m["head"]["stages"]:
            y, x = 2 * y, 2 * x
            # Interpolation leaves the range as it was: rounding here lets it run on bytes.
            f = resize(g.activation(f, conv + ".out") if ranges is not None else f, y, x)
        if watch:
            g.activation(f, conv + ".out")
    last = f"{n}conv_{m['head']['stages']}"
    f = g.convolution(f, w[last + ".weight"], w[last + ".bias"], last, kernel_shape=[1, 1])
    channels = task["outputs"]
    f = resize(f, 2 * y, 2 * x)
    if (2 * y, 2 * x) != (height, width):
        f = resize(f, height, width)
    f = g.op("Squeeze", f, g.constant([0], np.int64))
    g.save(path, [("tokens", [height // p * (width // p) + 1, d])], [("raw", f, [channels, height, width])])
    return g.watched
