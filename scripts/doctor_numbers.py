#!/usr/bin/env python3
"""Writes assets/doctor/numbers.safetensors: the numbers that `purrscope doctor` expects of a device, computed in float64 by PyTorch.

Inputs are not stored: program and script make the same ones from a name and a shape. Run it again when a check changes, or
the embedded model (its path is found in assets/).

usage: scripts/doctor_numbers.py     (needs torch, numpy and safetensors)
"""
import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from networks import Dit, Tokenizer

ASSETS = Path(__file__).resolve().parent.parent / "assets"
STORED = {}


def hashes(name, count):
    """32 random bits for each index, from the FNV-1a hash of a name."""
    seed = 0x811C9DC5
    for byte in name.encode():
        seed = (seed ^ byte) * 0x01000193 % 2**32
    with np.errstate(over="ignore"):
        h = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B1) ^ np.uint32(seed)
        h ^= h >> np.uint32(16)
        h *= np.uint32(0x7FEB352D)
        h ^= h >> np.uint32(15)
        h *= np.uint32(0x846CA68B)
        return h ^ h >> np.uint32(16)


def numbers(name, *shape, scale=1.0):
    """Multiples of 2^-23 in [-1, 1), times `scale` in f32."""
    values = (hashes(name, math.prod(shape)) >> np.uint32(8)).astype(np.float32) / np.float32(2**23) - np.float32(1)
    return torch.from_numpy(values * np.float32(scale)).double().reshape(shape)


def indices(name, count, below):
    return torch.from_numpy((hashes(name, count) % np.uint32(below)).astype(np.int64))


def leaf(*arguments, **more):
    return numbers(*arguments, **more).requires_grad_()


def store(name, *parts):
    STORED[name] = torch.cat([part.detach().double().flatten() for part in parts]).float()


def weights(prefix, shapes):
    """Random weights: matrices and kernels scaled to keep the size of what goes through them, norms near 1, biases small."""
    made = {}
    for name, shape in shapes.items():
        if len(shape) == 1:
            centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            made[name] = (numbers(prefix + name, *shape, scale=0.25).float() + centre).double()
        else:
            made[name] = numbers(prefix + name, *shape, scale=np.float32(1.5) / np.sqrt(np.float32(math.prod(shape[1:]))))
    return made


def operations():
    store("product.odd", numbers("a", 67, 129) @ numbers("b", 129, 35))
    store("product.transposed", numbers("a", 129, 67).T @ numbers("b", 35, 129).T)
    store("product.batched", numbers("a", 3, 33, 65) @ numbers("b", 3, 65, 31))
    store("product.unit", numbers("a", 1, 129) @ numbers("b", 129, 1), numbers("a", 65, 1) @ numbers("b", 1, 33),
          numbers("a", 5, 1, 7) @ numbers("b", 5, 7, 1))
    x, w, b = leaf("x", 2, 5, 13, 11), leaf("w", 7, 5, 3, 3, scale=0.25), leaf("bias", 7)
    y = F.conv2d(x, w, b, padding=1)
    store("convolution.same", y)
    store("convolution.gradients", *torch.autograd.grad((y**2).mean(), (x, w, b)))
    store("convolution.halved", F.conv2d(F.pad(numbers("x", 2, 5, 12, 10), (0, 1, 0, 1)), w, b, stride=2))
    store("convolution.pointwise", F.conv2d(x, numbers("w", 7, 5, 1, 1), b))
    x = numbers("x", 1021)
    store("elementwise", (3 * x).exp(), (x + 1.5).log(), (x + 1).sqrt(), (5 * x).sigmoid(), (3 * x).tanh(), 1 / (x + 2))
    x = numbers("x", 3, 37, 131)
    store("reductions", x.sum(2), x.mean(1), x.amax(2), x.amin(1))
    store("reductions.indices", x.argmax(2))
    store("softmax", torch.softmax(20 * x, 2))
    table = leaf("x", 41, 7)
    rows = table[indices("i", 203, 41)]
    store("lookup", rows)
    store("lookup.gradients", *torch.autograd.grad((rows * numbers("w", 203, 7)).sum(), table))
    x = numbers("x", 2, 3, 5, 7)
    store("layout", x.permute(3, 0, 2, 1), x[:, 1:, 2:5, 3:], torch.cat([x, x.flip(1)], 1)[:, :4],
          F.interpolate(x, scale_factor=2.0, mode="nearest"))
    q, k, v = (leaf(name, 2, 3, 17, 9, scale=2.0) for name in "qkv")
    mixed = torch.softmax(q @ k.transpose(-1, -2) / 3.0, -1) @ v
    store("attention", mixed)
    store("attention.gradients", *torch.autograd.grad((mixed**2).mean(), (q, k, v)))
    store("product.half", numbers("a", 67, 129).half().double() @ numbers("b", 129, 35).half().double())


def fused():
    x = leaf("x", 2, 5, 97, scale=4.0)
    y = F.gelu(x, approximate="tanh")
    store("gelu", y, *torch.autograd.grad((y**2).mean(), x))
    x, shift, scale = leaf("x", 3, 5, 97), leaf("shift", 3, 1, 97), leaf("scale", 3, 1, 97)
    y = F.layer_norm(x, (97,), eps=1e-6) * (1 + scale) + shift
    store("layer_norm", y, *torch.autograd.grad((y**3).mean(), (x, shift, scale)))
    x, weight, bias = leaf("x", 2, 6, 9, 7), leaf("w", 6), leaf("bias", 6)
    y = F.silu(F.group_norm(x, 3, weight, bias, eps=1e-6))
    store("group_norm", y, *torch.autograd.grad((y**2).mean(), (x, weight, bias)))


def believe(name, logits, codebook, tau):
    p = torch.softmax(logits / tau, 1)
    entropy = torch.special.entr(p).sum(1, keepdim=True)
    top = p.topk(8, 1)
    store(name, p @ codebook, entropy, torch.logsumexp(logits / tau, 1), top.values)
    store(name + ".codes", top.indices)


def codes():
    for name, tokens, count, size in (("odd", 33, 1027, 5), ("even", 70, 1024, 8)):
        logits = numbers("logits", tokens, count, scale=12.0)
        unguided, codebook = numbers("unguided", tokens, count, scale=12.0), numbers("codebook", count, size)
        believe(f"expectation.{name}", logits, codebook, 0.9)
        believe(f"expectation.{name}.guided", unguided + 1.5 * (logits - unguided), codebook, 0.9)
        believe(f"expectation.{name}.half", logits.half().double(), codebook, 0.9)
        masked = logits.clone()
        for token in range(tokens):
            if token % 3 == 0:
                masked[token] = -math.inf
                masked[token, token * 7 % count] = logits[token, token * 7 % count]
            else:
                masked[token, (torch.arange(count) + token) % 5 == 0] = -math.inf
        believe(f"expectation.{name}.masked", masked, codebook, 0.9)
        latents = numbers("latents", tokens, size)
        for unit in (False, True):
            rows = F.normalize(latents, dim=1) if unit else latents
            distances = ((rows[:, None] - codebook[None]) ** 2).sum(2)
            store(f"nearest.{name}{'.unit' if unit else ''}", distances.amin(1))
            store(f"nearest.{name}{'.unit' if unit else ''}.codes", distances.argmin(1))
    logits, wanted = leaf("logits", 20, 1024, scale=12.0), indices("i", 20, 1024)
    terms = torch.stack([F.cross_entropy(logits, wanted, reduction="none"), logits.logsumexp(1)], 1)
    store("code_loss", terms, *torch.autograd.grad((terms**2).mean(), logits))


def pixels():
    x = numbers("x", 2, 3, 9, 13, scale=1.25)
    level = lambda x: (((x + 1) * 127.5).clamp(0, 255) + 0.5).floor()
    store("pixels.pictures", torch.cat([level(x), torch.full((2, 1, 9, 13), 255.0).double()], 1).permute(0, 2, 3, 1))
    ramp = torch.tensor([[i, 255 - i, i // 2, 255] for i in range(256)])
    x = numbers("x", 2, 9, 13) * 3 + 2
    store("pixels.ramp", ramp[((x / 4).clamp(0, 1) * 255 + 0.5).floor().long()])
    before, after = indices("before", 2 * 9 * 13, 3), indices("after", 2 * 9 * 13, 3)
    store("pixels.changes", torch.where((before != after)[:, None], torch.tensor([10, 20, 30, 200]), torch.zeros(4).long()))


def transformer():
    hidden, out = 48, 37
    shapes = {"x_embedder.proj.weight": (hidden, 4, 2, 2), "x_embedder.proj.bias": (hidden,),
              "t_embedder.mlp.0.weight": (hidden, 256), "t_embedder.mlp.0.bias": (hidden,),
              "t_embedder.mlp.2.weight": (hidden, hidden), "t_embedder.mlp.2.bias": (hidden,),
              "y_embedder.embedding_table.weight": (6, hidden)}
    for name, outputs, inputs in (("blocks.0.attn.qkv", 3 * hidden, hidden), ("blocks.0.attn.proj", hidden, hidden),
                                  ("blocks.0.mlp.fc1", 4 * hidden, hidden), ("blocks.0.mlp.fc2", hidden, 4 * hidden),
                                  ("blocks.0.adaLN_modulation.1", 6 * hidden, hidden),
                                  ("final_layer.linear", 4 * out, hidden), ("final_layer.adaLN_modulation.1", 2 * hidden, hidden)):
        shapes |= {name + ".weight": (outputs, inputs), name + ".bias": (outputs,)}
    net = Dit(weights("dit.", shapes), 8, 2, 3)
    output = net(numbers("x", 3, 4, 8, 8, scale=2.0), torch.tensor([0.125, 0.5, 0.875]), torch.tensor([0, 3, 5]))
    rows = output.permute(0, 2, 3, 1).reshape(-1, out)
    store("transformer", rows)
    log_z = rows.logsumexp(1)
    loss = F.cross_entropy(rows, indices("i", rows.shape[0], out)) + 1e-2 * (log_z**2).mean()
    loss.backward()
    store("transformer.loss", loss)
    for name in ("blocks.0.attn.qkv", "blocks.0.mlp.fc1", "blocks.0.adaLN_modulation.1", "x_embedder.proj", "final_layer.linear"):
        store(f"transformer.gradient.{name}", net.w[name + ".weight"].grad)
    store("transformer.gradient.y_embedder.embedding_table", net.w["y_embedder.embedding_table.weight"].grad)


def tokenizer():
    shapes = {}
    conv = lambda name, inputs, outputs, kernel: shapes.update({name + ".weight": (outputs, inputs, kernel, kernel), name + ".bias": (outputs,)})
    norm = lambda name, width: shapes.update({name + ".weight": (width,), name + ".bias": (width,)})

    def residual(name, inputs, outputs):
        norm(name + ".norm1", inputs), conv(name + ".conv1", inputs, outputs, 3)
        norm(name + ".norm2", outputs), conv(name + ".conv2", outputs, outputs, 3)
        if inputs != outputs:
            conv(name + ".nin_shortcut", inputs, outputs, 1)

    def attention(name, width):
        norm(name + ".norm", width)
        for part in ("q", "k", "v", "proj_out"):
            conv(f"{name}.{part}", width, width, 1)

    def middle(part):
        residual(part + ".mid.0", 16, 16), attention(part + ".mid.1", 16), residual(part + ".mid.2", 16, 16)

    conv("encoder.conv_in", 3, 8, 3), residual("encoder.conv_blocks.0.res.0", 8, 8)
    conv("encoder.conv_blocks.0.downsample.conv", 8, 8, 3), residual("encoder.conv_blocks.1.res.0", 8, 16)
    attention("encoder.conv_blocks.1.attn.0", 16), middle("encoder")
    norm("encoder.norm_out", 16), conv("encoder.conv_out", 16, 4, 3), conv("quant_conv", 4, 4, 1)
    shapes["quantize.embedding.weight"] = (33, 4)
    conv("post_quant_conv", 4, 4, 1), conv("decoder.conv_in", 4, 16, 3), middle("decoder")
    for j in range(2):
        residual(f"decoder.conv_blocks.0.res.{j}", 16, 16), attention(f"decoder.conv_blocks.0.attn.{j}", 16)
        residual(f"decoder.conv_blocks.1.res.{j}", 16 if j == 0 else 8, 8)
    conv("decoder.conv_blocks.0.upsample.conv", 16, 16, 3)
    norm("decoder.norm_out", 8), conv("decoder.conv_out", 8, 3, 3)
    net = Tokenizer(weights("vq.", shapes), 4, True)
    latents = net.encode(numbers("x", 2, 3, 14, 10))
    store("tokenizer.encoded", latents)
    store("tokenizer.codes", net.codes(latents))
    decoded = net.decode(latents)
    store("tokenizer.decoded", decoded)
    (decoded**2).mean().backward()
    for name in ("decoder.conv_blocks.0.upsample.conv", "encoder.conv_blocks.0.downsample.conv", "encoder.conv_blocks.1.attn.0.q"):
        store(f"tokenizer.gradient.{name}", net.w[name + ".weight"].grad)


def embedded():
    """A guided step of the embedded model from given numbers, and what its mean is decoded to."""
    path = min(ASSETS.glob("*.safetensors"))
    file = {name: value.double() for name, value in load_file(path).items()}
    with safe_open(path, "pt") as opened:
        card = json.loads(opened.metadata()["purrscope"])
    part = lambda prefix: {name[len(prefix):]: value for name, value in file.items() if name.startswith(prefix)}
    shape, vq = card["backbone"], card["tokenizer"]
    side, classes, scale = shape["input_size"], shape["num_classes"], card.get("latent_scale") or 1.0
    net = Dit(part("backbone."), side, shape["patch_size"], shape["num_heads"], gradients=False)
    decoder = Tokenizer(part("tokenizer."), vq["groups"], vq["l2_normalised"], gradients=False)
    x, t = numbers("x", 1, vq["code_size"], side, side), torch.tensor([0.25])
    # In the model's own units: the codebook is scaled, and so is what the decoder is given back.
    codebook = decoder.codebook() * scale
    logits, blank = (net(x, t, torch.tensor([label])) for label in (5, classes))
    logits = (blank + 1.5 * (logits - blank)).flatten(2)[0].T
    p = torch.softmax(logits / 0.9, 1)
    mean = (p @ codebook).T.reshape(x.shape)
    store("embedded.mean", mean)
    store("embedded.entropy", torch.special.entr(p).sum(1))
    store("embedded.picture", (((decoder.decode(mean / scale) + 1) * 127.5).clamp(0, 255) + 0.5).floor().permute(0, 2, 3, 1))


for part in (operations, fused, codes, pixels, transformer, tokenizer, embedded):
    part()
save_file(STORED, ASSETS / "doctor" / "numbers.safetensors")
print(f"{len(STORED)} results, {sum(value.numel() for value in STORED.values())} numbers")
