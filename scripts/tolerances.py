#!/usr/bin/env python3
"""How far correct float32 arithmetic may lie from the golden numbers: what the tolerances of tests/suite rest on.

Every processor adds up a matrix product in another order, so the last bits of every activation and of every gradient that
flows back differ from one machine to the next. This script runs the golden networks in float32 with those last bits changed
at random (each result of a layer, and each gradient of one, times 1 + e with |e| <= 2^-23), and prints the largest error,
relative to the largest value of each tensor, over many such runs.

usage: scripts/tolerances.py [RUNS]     (needs torch, numpy and safetensors; 200 runs by default)
"""
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from networks import Dit

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden"
HEADS, SIDE, PATCH, CLASSES, LAMBDA_Z = 3, 8, 2, 5, 1e-5


def loss(objective, output, g, dtype):
    if objective in ("purrception", "dfm"):
        log_z = output.logsumexp(1)
        return F.cross_entropy(output, g["codes"]) + LAMBDA_Z * (log_z**2).mean()
    goal = g["z1"] - g["z0"] if objective == "cfm" else g["z1"]
    return F.mse_loss(output, goal.to(dtype))


def run(objective, g, generator, dtype=torch.float32):
    """Every stored quantity of the network, from the weights: name to tensor."""
    weights = {k[7:]: v.to(dtype) for k, v in g.items() if k.startswith("weight.")}
    net = Dit(weights, SIDE, PATCH, HEADS, generator=generator)
    state = g["zt_codes"] if objective == "dfm" else g["zt"].to(dtype)
    conditional = net(state, g["t"], g["labels"])
    found = {}
    with torch.no_grad():
        blank = net(state, g["t"], torch.full_like(g["labels"], CLASSES))
        for scale in (0.0, 1.0, 2.5):
            found[f"out.cfg{scale}"] = blank + scale * (conditional - blank)
    total = loss(objective, conditional, g, dtype)
    total.backward()
    found["loss"] = total.detach()
    gradients = {k: v.grad for k, v in net.w.items() if v.grad is not None}
    norm = torch.sqrt(sum((v.double() ** 2).sum() for v in gradients.values()))
    for name, gradient in gradients.items():
        found["grad." + name] = gradient * min(1.0, 1.0 / float(norm))
    if objective != "dfm":
        found.update(trajectories(objective, net, g, dtype))
    return found


def trajectories(objective, net, g, dtype):
    """The stored trajectories, whose solver divides by 1 - t + 1e-6 as the reference's does."""
    found = {}
    for method, steps, tau, scale in (("euler", 8, 1.0, 1.0), ("euler", 8, 0.5, 1.0), ("euler", 5, 1.3, 2.5),
                                      ("midpoint", 6, 1.0, 1.0), ("midpoint", 4, 0.8, 1.5)):
        def velocity(x, t):
            times = torch.full((x.shape[0],), t)
            out = net(x, times, g["labels"])
            if scale != 1.0:
                blank = net(x, times, torch.full_like(g["labels"], CLASSES))
                out = blank + scale * (out - blank)
            if objective == "cfm":
                return out
            if objective == "purrception":
                out = torch.einsum("bkhw,kd->bdhw", torch.softmax(out / tau, 1), g["codebook"].to(dtype))
            return (out - x) / (1 - t + 1e-6)

        with torch.no_grad():
            x = g["x0"].to(dtype)
            states = [x]
            for i in range(steps):
                t, h = i / steps, 1 / steps
                at = x + h / 2 * velocity(x, t) if method == "midpoint" else x
                x = x + h * velocity(at, t + h / 2 if method == "midpoint" else t)
                states.append(x)
        found[f"traj.{method}.steps{steps}.tau{tau}.cfg{scale}"] = torch.stack(states)
    return found


def error(found, expected):
    return float((found.double() - expected.double()).abs().max() / expected.double().abs().max().clamp_min(1e-12))


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    torch.set_num_threads(1)
    print(f"largest error of {runs} disturbed runs, and of one in float64\n")
    print("| objective | quantity | float64 | float32, undisturbed | disturbed |\n|---|---|---|---|---|")
    for objective in ("purrception", "cfm", "cfm-endpoint", "dfm"):
        g = load_file(GOLDEN / f"{objective}.safetensors")
        exact = run(objective, g, None, torch.float64)
        plain = run(objective, g, None)
        worst = {}
        for seed in range(runs):
            found = run(objective, g, torch.Generator().manual_seed(seed))
            for name, value in found.items():
                if name in g:
                    worst[name] = max(worst.get(name, 0.0), error(value, g[name]))
        for name, value in worst.items():
            print(f"| {objective} | {name} | {error(exact[name], g[name]):.1e} | {error(plain[name], g[name]):.1e} | {value:.1e} |", flush=True)


main()
