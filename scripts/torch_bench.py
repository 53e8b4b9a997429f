#!/usr/bin/env python3
"""What `purrscope bench` measures, in PyTorch on the same machine: rows of the same keys under like names.

The networks are those of networks.py, which lies beside this file: plain modules without compilation or fused
attention. `--count` prints the operations of the networks as PyTorch counts them, which src/bench/flops.rs is
tested against.
"""
import argparse
import functools
import json
import sys
import time

import torch

import networks

SIZES = {"S": (384, 12, 6), "B": (768, 12, 12), "L": (1024, 24, 16), "XL": (1152, 28, 16)}
SIDE, CODES, CODE_SIZE, CLASSES, BATCH, STEPS = 32, 16384, 8, 1000, 4, 24
ITERATIONS = 7
PRODUCTS = [(1024, 1024, 1024), (1024, 1152, 4608), (256, 384, 65536), (256, 192, 576)]


def backbone_shapes(size):
    hidden, depth, _ = SIZES[size.split("/")[0]]
    patch = int(size.split("/")[1])

    def linear(name, inputs, outputs):
        return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}

    shapes = {
        "x_embedder.proj.weight": (hidden, CODE_SIZE, patch, patch),
        "x_embedder.proj.bias": (hidden,),
        "y_embedder.embedding_table.weight": (CLASSES + 1, hidden),
        **linear("t_embedder.mlp.0", 256, hidden),
        **linear("t_embedder.mlp.2", hidden, hidden),
        **linear("final_layer.adaLN_modulation.1", hidden, 2 * hidden),
        **linear("final_layer.linear", hidden, patch**2 * CODES),
    }
    for i in range(depth):
        shapes |= linear(f"blocks.{i}.attn.qkv", hidden, 3 * hidden)
        shapes |= linear(f"blocks.{i}.attn.proj", hidden, hidden)
        shapes |= linear(f"blocks.{i}.mlp.fc1", hidden, 4 * hidden)
        shapes |= linear(f"blocks.{i}.mlp.fc2", 4 * hidden, hidden)
        shapes |= linear(f"blocks.{i}.adaLN_modulation.1", hidden, 6 * hidden)
    return shapes


def decoder_shapes(channels=128, multipliers=(1, 2, 2, 4), blocks=3, latent=256, code=CODE_SIZE):
    """The decoder of LlamaGen's tokenizer for a down-sampling of 8."""
    shapes = {}

    def conv(name, inputs, outputs, kernel):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs, kernel, kernel), (outputs,)

    def norm(name, width):
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (width,)

    def residual(name, inputs, outputs):
        norm(f"{name}.norm1", inputs)
        conv(f"{name}.conv1", inputs, outputs, 3)
        norm(f"{name}.norm2", outputs)
        conv(f"{name}.conv2", outputs, outputs, 3)
        if inputs != outputs:
            conv(f"{name}.nin_shortcut", inputs, outputs, 1)

    def attention(name, width):
        norm(f"{name}.norm", width)
        for part in ("q", "k", "v", "proj_out"):
            conv(f"{name}.{part}", width, width, 1)

    width = channels * multipliers[-1]
    conv("post_quant_conv", code, latent, 1)
    conv("decoder.conv_in", latent, width, 3)
    residual("decoder.mid.0", width, width)
    attention("decoder.mid.1", width)
    residual("decoder.mid.2", width, width)
    for i, level in enumerate(reversed(range(len(multipliers)))):
        out, name = channels * multipliers[level], f"decoder.conv_blocks.{i}"
        for j in range(blocks):
            residual(f"{name}.res.{j}", width if j == 0 else out, out)
            if level == len(multipliers) - 1:
                attention(f"{name}.attn.{j}", out)
        if level:
            conv(f"{name}.upsample.conv", out, out, 3)
        width = out
    norm("decoder.norm_out", width)
    conv("decoder.conv_out", width, 3, 3)
    return shapes


def random_weights(shapes, dtype=torch.float32):
    def one(name, shape):
        if len(shape) == 1:
            return torch.randn(shape, dtype=dtype) * 0.02 + (name.endswith("weight") and 1.0)
        return torch.randn(shape, dtype=dtype) * (torch.tensor(shape[1:]).prod().item() ** -0.5)

    return {name: one(name, shape) for name, shape in shapes.items()}


def backbone(size, dtype=torch.float32, **options):
    heads, patch = SIZES[size.split("/")[0]][2], int(size.split("/")[1])
    return networks.Dit(random_weights(backbone_shapes(size), dtype), SIDE, patch, heads, **options)


def count():
    """Operations of one evaluation of every size, and of decoding a picture of 256x256."""
    from torch.utils.flop_counter import FlopCounterMode

    def counted(run):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            run()
        return counter.get_total_flops()

    def zeros(shapes):
        return {name: torch.zeros(shape) for name, shape in shapes.items()}

    with torch.device("meta"):
        for size in ("S/2", "B/2", "L/2", "XL/2", "S/4"):
            heads, patch = SIZES[size.split("/")[0]][2], int(size.split("/")[1])
            net = networks.Dit(zeros(backbone_shapes(size)), SIDE, patch, heads)
            x, t = torch.zeros(1, CODE_SIZE, SIDE, SIDE), torch.zeros(1)
            print(size, counted(lambda: net(x, t, torch.zeros(1, dtype=torch.int64))))
        vq = networks.Tokenizer(zeros(decoder_shapes()), 32, True)
        print("decoder", counted(lambda: vq.decode(torch.zeros(1, CODE_SIZE, SIDE, SIDE))))


class Bench:
    def __init__(self, device, seconds, ends):
        self.device, self.seconds, self.ends, self.rows = device, seconds, ends, []

    def settle(self):
        if self.device == "cuda":
            torch.cuda.synchronize()

    def row(self, part, name, make, run, **rates):
        """`rates` are amounts of an iteration, under the keys of their rates."""
        row = {"part": part, "name": name}
        if time.monotonic() > self.ends:
            self.add(row | {"outcome": "skipped", "reason": "the time is over"})
            return
        if self.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        try:
            times, warm_up = [], None
            while warm_up is None or (warm_up <= self.seconds and sum(times) <= self.seconds and len(times) < ITERATIONS):
                inputs = make()
                self.settle()
                begun = time.perf_counter()
                result = run(*inputs).float().reshape(-1)[:64].cpu().sum().item()
                self.settle()
                spent = time.perf_counter() - begun
                if result != result:
                    raise RuntimeError("a result is not a number")
                if warm_up is None:
                    warm_up = spent
                else:
                    times.append(spent)
        except RuntimeError as error:
            self.add(row | {"outcome": "failed", "reason": str(error).splitlines()[0]})
            return
        only, times = not times, sorted(times or [warm_up])
        median = times[len(times) // 2]
        row |= {"outcome": "measured", "warm_up_only": only, "median_ms": median * 1e3, "min_ms": times[0] * 1e3}
        row |= {"max_ms": times[-1] * 1e3, "iterations": 0 if only else len(times)}
        row |= {key: amount / median for key, amount in rates.items()}
        if self.device == "cuda":
            row["peak_gpu_memory_bytes"] = torch.cuda.max_memory_reserved()
        self.add(row)

    def add(self, row):
        self.rows.append(row)
        said = row.get("reason") or f"{row['median_ms']:10.2f} ms"
        print(f"{row['name']:<58} {said}", flush=True)


def precisions(device):
    return [("f32", torch.float32)] + ([("f16", torch.float16)] if device == "cuda" else [])


def kernels(bench):
    for name, dtype in precisions(bench.device):
        size = torch.finfo(dtype).bits // 8
        logits = lambda: (torch.randn(1024, CODES, dtype=dtype),)
        bench.row("kernels", f"copy, {name} logits", logits, lambda x: x + 1, bytes_per_second=2.0 * size * 1024 * CODES)
        make = lambda: (*logits(), torch.randn(CODES, CODE_SIZE, dtype=dtype))
        bench.row("kernels", f"softmax(l / tau) E, {name} logits", make, lambda l, e: torch.softmax(l / 0.9, 1) @ e)
        for m, k, n in PRODUCTS:
            make = lambda: (torch.randn(m, k, dtype=dtype), torch.randn(k, n, dtype=dtype))
            bench.row("kernels", f"{name} product [{m}, {k}] x [{k}, {n}]", make, torch.matmul, gflops=2e-9 * m * k * n)


def sampling(bench, sizes):
    with torch.no_grad():
        for name, dtype in precisions(bench.device):
            for size in sizes:
                net = backbone(size, dtype, gradients=False)
                codebook = torch.randn(CODES, CODE_SIZE, dtype=dtype)

                def step(x):
                    t, labels = torch.full(x.shape[:1], 0.5), torch.arange(len(x))
                    logits = net(x, t, labels).flatten(2).transpose(1, 2)
                    return torch.softmax(logits / 0.9, -1) @ codebook

                make = lambda batch: (torch.randn(batch, CODE_SIZE, SIDE, SIDE, dtype=dtype),)
                bench.row("sampling", f"{size}, one evaluation of 1 picture, {name}", lambda: make(1), step)
                title = f"{size}, guided step of {BATCH} pictures, {name}"
                bench.row("sampling", title, lambda: make(2 * BATCH), step, pictures_per_second=BATCH / STEPS)
                del net


def training(bench, sizes):
    for size in sizes:
        net = backbone(size)
        optimiser = torch.optim.AdamW(net.w.values(), lr=1e-4)

        def step(x, codes):
            logits = net(x, torch.rand(BATCH), torch.arange(BATCH)).flatten(2).transpose(1, 2).flatten(0, 1)
            log_z = torch.logsumexp(logits, 1)
            loss = (log_z - logits.gather(1, codes[:, None])[:, 0]).mean() + 1e-5 * log_z.square().mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.w.values(), 1.0)
            optimiser.step()
            return loss.detach()

        make = lambda: (torch.randn(BATCH, CODE_SIZE, SIDE, SIDE), torch.randint(CODES, (BATCH * SIDE * SIDE,)))
        bench.row("training", f"{size}, step of {BATCH} pictures, f32", make, step, pictures_per_second=BATCH)
        del net, optimiser


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", nargs="?", help="JSON file to write")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds to measure each row for")
    parser.add_argument("--total", type=float, default=60.0, help="seconds after which no row begins")
    parser.add_argument("--size", default="S/2,B/2,L/2,XL/2")
    parser.add_argument("--count", action="store_true", help="count operations instead")
    args = parser.parse_args()
    if args.count:
        return count()
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch finds no CUDA device")
    torch.set_default_device(args.device)
    networks.positions = functools.cache(networks.positions)
    sizes = args.size.split(",")
    bench = Bench(args.device, args.seconds, time.monotonic() + args.total)
    kernels(bench)
    sampling(bench, sizes)
    training(bench, sizes)
    device = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    report = {"program": f"torch {torch.__version__}", "device": device, "row_seconds": args.seconds, "rows": bench.rows}
    if args.out:
        with open(args.out, "w") as file:
            json.dump(report, file, indent=2)


if __name__ == "__main__":
    main()
