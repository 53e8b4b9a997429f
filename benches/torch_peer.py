"""PyTorch's side of `purrscope bench cpu --torch PYTHON`: does the same work in turns with the program.

A line of JSON on standard input is answered by one on standard output. An object describes a network and the work on
it, and is answered by `{"ready": true}`; a number asks for one iteration of it, with inputs of that seed, and is
answered by the seconds that it took. The networks are those of networks.py, with random weights and PyTorch's own
attention.
"""
import functools
import json
import math
import sys
import time

import torch
import torch.nn.functional as F

import networks


def weights(shapes):
    def one(name, shape):
        if len(shape) == 1:
            return torch.randn(shape) * 0.02 + float(name.endswith("norm.weight") or ".norm" in name and name.endswith("weight"))
        return torch.randn(shape) / math.sqrt(math.prod(shape[1:]))

    return {name: one(name, shape) for name, shape in shapes.items()}


class Dit(networks.Dit):
    def attend(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v)


def dit(task, gradients):
    return Dit(weights(task["shapes"]), task["side"], task["patch"], task["heads"], gradients=gradients)


def tokenizer(task, gradients):
    return networks.Tokenizer(weights(task["shapes"]), task["groups"], task["l2_normalised"], gradients=gradients)


def latents(task, batch):
    return torch.randn(batch, task["code_size"], task["side"], task["side"])


def step(task):
    """An evaluation, guided or not, and the mean of the codebook under the posterior."""
    net, batch = dit(task, False), task["batch"]
    codebook = torch.randn(task["codes"], task["code_size"])
    labels = torch.arange(batch) % task["classes"]

    @torch.no_grad()
    def run(x):
        t = torch.full((batch,), 0.5)
        if task["guided"]:
            both = net(torch.cat([x, x]), t.repeat(2), torch.cat([labels, torch.full_like(labels, task["classes"])]))
            conditional, unconditional = both.chunk(2)
            logits = unconditional + 1.5 * (conditional - unconditional)
        else:
            logits = net(x, t, labels)
        return torch.softmax(logits.flatten(2).transpose(1, 2) / 0.9, -1) @ codebook

    return lambda: (latents(task, batch),), run


def decode(task):
    net = tokenizer(task, False)
    return lambda: (latents(task, task["batch"]),), torch.no_grad()(net.decode)


class Trained:
    """AdamW, gradients clipped, and a moving average of the weights."""

    def __init__(self, net):
        self.weights = list(net.w.values())
        self.averages = [weight.detach().clone() for weight in self.weights]
        self.optimiser = torch.optim.AdamW(self.weights, lr=1e-4, fused=True)

    def step(self, loss):
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        used = [weight for weight in self.weights if weight.grad is not None]
        torch.nn.utils.clip_grad_norm_(used, 1.0)
        self.optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.averages, self.weights, 0.001)
        return loss.detach()


def train_flow(task):
    net, batch, side = dit(task, True), task["batch"], task["side"]
    codebook = torch.randn(task["codes"], task["code_size"])
    trained = Trained(net)

    def make():
        codes = torch.randint(task["codes"], (batch, side, side))
        return latents(task, batch), codes, torch.rand(batch), torch.randint(task["classes"], (batch,))

    def run(noise, codes, t, labels):
        x = t[:, None, None, None] * codebook[codes].permute(0, 3, 1, 2) + (1 - t[:, None, None, None]) * noise
        logits = net(x, t, labels).flatten(2).transpose(1, 2).flatten(0, 1)
        log_z = torch.logsumexp(logits, 1)
        loss = (log_z - logits.gather(1, codes.reshape(-1, 1))[:, 0]).mean() + 1e-5 * log_z.square().mean()
        return trained.step(loss)

    return make, run


def train_tokenizer(task):
    net, batch, size, loss = tokenizer(task, True), task["batch"], task["size"], task["loss"]
    trained = Trained(net)

    def run(images):
        encoded = net.encode(images)
        with torch.no_grad():
            codes = net.codes(encoded)
        chosen = net.codebook()[codes].permute(0, 3, 1, 2)
        difference = net.decode(encoded + (chosen - encoded).detach()) - images
        edges = (difference.diff(dim=3).abs().mean() + difference.diff(dim=2).abs().mean()) / 2
        total = loss["l1"] * difference.abs().mean() + loss["l2"] * difference.square().mean() + loss["edges"] * edges
        total = total + loss["codebook"] * (chosen - encoded.detach()).square().mean()
        return trained.step(total + loss["commitment"] * (encoded - chosen.detach()).square().mean())

    return lambda: (torch.rand(batch, 3, size, size) * 2 - 1,), run


KINDS = {"step": step, "decode": decode, "train_flow": train_flow, "train_tokenizer": train_tokenizer}


def main():
    torch.set_num_threads(int(sys.argv[1]))
    networks.positions = functools.cache(networks.positions)
    make = run = None
    for line in sys.stdin:
        asked = json.loads(line)
        if isinstance(asked, dict):
            torch.manual_seed(1)
            make, run = KINDS[asked["kind"]](asked)
            answer = {"ready": True, "program": f"PyTorch {torch.__version__}", "vectors": torch.backends.cpu.get_cpu_capability()}
        else:
            torch.manual_seed(asked)
            inputs = make()
            begun = time.perf_counter()
            result = run(*inputs)
            answer = time.perf_counter() - begun
            if not torch.isfinite(result).all():
                sys.exit("a result is not a number")
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
