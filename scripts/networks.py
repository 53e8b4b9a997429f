"""The networks in PyTorch, read from the papers and from docs/model-format.md: what this program's own are compared with.

A network is a dictionary of weights under the names of the model file (without `backbone.` or `tokenizer.`) and a few sizes.
`generator`, where given, changes the last bit of every result of a layer and of every gradient at random, as another
processor's order of adding up does.
"""
import math

import torch
import torch.nn.functional as F


class Disturb(torch.autograd.Function):
    """The identity, but for the last bit of every number and of every gradient."""

    @staticmethod
    def forward(ctx, x, generator):
        ctx.generator = generator
        return jolt(x, generator)

    @staticmethod
    def backward(ctx, gradient):
        return jolt(gradient, ctx.generator), None


def jolt(x, generator):
    return x * (1 + (torch.rand(x.shape, generator=generator) * 2 - 1) * 2.0**-23)


class Network:
    def __init__(self, weights, generator=None, gradients=True):
        self.w = {k: v.detach().clone().requires_grad_(gradients) for k, v in weights.items()}
        self.generator = generator

    def d(self, x):
        return x if self.generator is None else Disturb.apply(x, self.generator)

    def linear(self, x, name):
        return self.d(F.linear(x, self.w[name + ".weight"], self.w[name + ".bias"]))

    def conv(self, x, name, **options):
        return self.d(F.conv2d(x, self.w[name + ".weight"], self.w[name + ".bias"], **options))


class Dit(Network):
    """The backbone: `(x, t, labels)` to `[batch, channels, side, side]`; codes are taken where it embeds them."""

    def __init__(self, weights, side, patch, heads, **more):
        super().__init__(weights, **more)
        self.side, self.patch, self.heads = side, patch, heads
        self.hidden = weights["x_embedder.proj.bias"].shape[0]
        self.depth = sum(name.endswith(".attn.qkv.bias") for name in weights)

    def modulated(self, x, shift, scale):
        x = self.d(F.layer_norm(x, (self.hidden,), eps=1e-6))
        return self.d(x * (1 + scale[:, None]) + shift[:, None])

    def attend(self, q, k, v):
        p = self.d(torch.softmax(self.d(q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1]), -1))
        return self.d(p @ v)

    def block(self, x, condition, name):
        six = self.linear(condition, name + ".adaLN_modulation.1").chunk(6, 1)
        b, n, _ = x.shape
        head = self.hidden // self.heads
        qkv = self.linear(self.modulated(x, six[0], six[1]), name + ".attn.qkv")
        q, k, v = qkv.reshape(b, n, 3, self.heads, head).permute(2, 0, 3, 1, 4)
        mixed = self.attend(q, k, v).transpose(1, 2).reshape(b, n, self.hidden)
        x = self.d(x + six[2][:, None] * self.linear(mixed, name + ".attn.proj"))
        h = self.linear(self.modulated(x, six[3], six[4]), name + ".mlp.fc1")
        h = self.linear(self.d(F.gelu(h, approximate="tanh")), name + ".mlp.fc2")
        return self.d(x + six[5][:, None] * h)

    def __call__(self, x, t, labels):
        if x.dtype == torch.int64:
            x = self.w["x_pre_embedder.weight"][x].permute(0, 3, 1, 2)
        dtype, p, grid = x.dtype, self.patch, self.side // self.patch
        x = self.conv(x, "x_embedder.proj", stride=p).flatten(2).transpose(1, 2)
        x = x + positions(grid, self.hidden).to(dtype)
        angles = t.double()[:, None] * 10000.0 ** (-torch.arange(128, dtype=torch.float64) / 128)
        time = torch.cat([angles.cos(), angles.sin()], 1).to(dtype)
        time = self.linear(self.d(F.silu(self.linear(time, "t_embedder.mlp.0"))), "t_embedder.mlp.2")
        condition = self.d(F.silu(time + self.w["y_embedder.embedding_table.weight"][labels]))
        for i in range(self.depth):
            x = self.block(x, condition, f"blocks.{i}")
        shift, scale = self.linear(condition, "final_layer.adaLN_modulation.1").chunk(2, 1)
        x = self.linear(self.modulated(x, shift, scale), "final_layer.linear")
        b, c = x.shape[0], x.shape[2] // p**2
        x = x.reshape(b, grid, grid, p, p, c).permute(0, 5, 1, 3, 2, 4)
        return x.reshape(b, c, self.side, self.side)


def positions(grid, hidden):
    quarter = hidden // 4
    frequencies = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    row, column = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    parts = [place.flatten()[:, None] * frequencies for place in (column, row)]
    return torch.cat([f(part) for part in parts for f in (torch.sin, torch.cos)], 1)


class Tokenizer(Network):
    """The VQ autoencoder under LlamaGen's names; `groups` of its normalisations, and whether codes have length 1."""

    def __init__(self, weights, groups, l2_normalised, **more):
        super().__init__(weights, **more)
        self.groups, self.l2_normalised = groups, l2_normalised

    def has(self, prefix):
        return any(name.startswith(prefix + ".") for name in self.w)

    def norm(self, x, name):
        return self.d(F.group_norm(x, self.groups, self.w[name + ".weight"], self.w[name + ".bias"], eps=1e-6))

    def residual(self, x, name):
        inner = self.conv(F.silu(self.norm(x, name + ".norm1")), name + ".conv1", padding=1)
        inner = self.conv(F.silu(self.norm(inner, name + ".norm2")), name + ".conv2", padding=1)
        return (self.conv(x, name + ".nin_shortcut") if self.has(name + ".nin_shortcut") else x) + inner

    def attention(self, x, name):
        b, c, h, w = x.shape
        normal = self.norm(x, name + ".norm")
        q, k, v = (self.conv(normal, f"{name}.{part}").reshape(b, c, h * w) for part in "qkv")
        weights = torch.softmax(q.transpose(1, 2) @ k * c**-0.5, 2)
        return x + self.conv(self.d(v @ weights.transpose(1, 2)).reshape(b, c, h, w), name + ".proj_out")

    def levels(self, x, part):
        i = 0
        while self.has(f"{part}.conv_blocks.{i}"):
            level, j = f"{part}.conv_blocks.{i}", 0
            while self.has(f"{level}.res.{j}"):
                x = self.residual(x, f"{level}.res.{j}")
                if self.has(f"{level}.attn.{j}"):
                    x = self.attention(x, f"{level}.attn.{j}")
                j += 1
            if self.has(level + ".downsample"):
                x = self.conv(F.pad(x, (0, 1, 0, 1)), level + ".downsample.conv", stride=2)
            if self.has(level + ".upsample"):
                x = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"), level + ".upsample.conv", padding=1)
            i += 1
        return x

    def middle(self, x, part):
        if not self.has(part + ".mid"):
            return x
        x = self.attention(self.residual(x, part + ".mid.0"), part + ".mid.1")
        return self.residual(x, part + ".mid.2")

    def encode(self, images):
        x = self.levels(self.conv(images, "encoder.conv_in", padding=1), "encoder")
        x = F.silu(self.norm(self.middle(x, "encoder"), "encoder.norm_out"))
        x = self.conv(self.conv(x, "encoder.conv_out", padding=1), "quant_conv")
        return F.normalize(x, dim=1) if self.l2_normalised else x

    def codebook(self):
        table = self.w["quantize.embedding.weight"]
        return F.normalize(table, dim=1) if self.l2_normalised else table

    def codes(self, latents):
        rows = latents.permute(0, 2, 3, 1).flatten(0, 2)
        shape = latents.shape
        return torch.cdist(rows, self.codebook()).argmin(1).reshape(shape[0], *shape[2:])

    def decode(self, latents):
        x = self.conv(self.conv(latents, "post_quant_conv"), "decoder.conv_in", padding=1)
        x = self.levels(self.middle(x, "decoder"), "decoder")
        return self.conv(F.silu(self.norm(x, "decoder.norm_out")), "decoder.conv_out", padding=1)
