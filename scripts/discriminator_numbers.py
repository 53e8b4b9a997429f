#!/usr/bin/env python3
"""The numbers that the test of src/train/discriminator.rs stands against: pix2pix's discriminator with group norms, in float64,
with weights and pictures that sines give, the same in Rust and here. Needs torch."""
import torch
from torch import nn

torch.set_default_dtype(torch.float64)


def sines(shape, seed, scale, shift=0.0):
    count = torch.Size(shape).numel()
    return (shift + scale * torch.sin(0.7 * torch.arange(count) + seed)).float().double().reshape(shape)


class Norm(nn.GroupNorm):
    def __init__(self, channels):
        super().__init__(max(groups for groups in range(1, 33) if channels % groups == 0), channels, eps=1e-6)


net = nn.Sequential(
    nn.Conv2d(3, 4, 4, 2, 1), nn.LeakyReLU(0.2),
    nn.Conv2d(4, 8, 4, 2, 1, bias=False), Norm(8), nn.LeakyReLU(0.2),
    nn.Conv2d(8, 16, 4, 2, 1, bias=False), Norm(16), nn.LeakyReLU(0.2),
    nn.Conv2d(16, 32, 4, 1, 1, bias=False), Norm(32), nn.LeakyReLU(0.2),
    nn.Conv2d(32, 1, 4, 1, 1),
)
for seed, (name, parameter) in enumerate(net.named_parameters()):
    norm = isinstance(net[int(name.split(".")[0])], Norm) and name.endswith("weight")
    parameter.data = sines(parameter.shape, seed, 0.3, 1.0 if norm else 0.0)
images, made = sines([2, 3, 32, 32], 100, 1.0), sines([2, 3, 32, 32], 101, 0.8).requires_grad_()
verdict = net(images)
own = (torch.relu(1 - verdict).mean() + torch.relu(1 + net(made.detach())).mean()) / 2
own.backward()
norm = torch.sqrt(sum(parameter.grad.square().sum() for parameter in net.parameters()))
generator = -net(made).mean()
generator.backward()
print("VERDICT", [round(value, 12) for value in verdict.flatten().tolist()])
print("OWN", own.item())
print("OWN_GRADIENT", norm.item())
print("GENERATOR", generator.item())
print("GENERATOR_GRADIENT", made.grad.square().sum().sqrt().item(), made.grad.flatten()[:4].tolist())
