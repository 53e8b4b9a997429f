#!/usr/bin/env python3
"""The numbers that the unit tests of src/judge stand against, and tests/golden/efficientnet_lite0.safetensors.

usage: evaluate_numbers.py [GOLDEN [GOLDEN_INCEPTION]]

Prints what scipy, scikit-learn and torchmetrics make of features that a hash gives, the same in Rust and here. With
a file name, also writes what EfficientNet-Lite0 of the PyPI package efficientnet-lite-pytorch 0.1.0 gives for
weights and pictures from the same hash; with a second one likewise for Inception-v3 as the PyPI package pytorch-fid 0.3.0
has it. Needs numpy, scipy, scikit-learn, torch, torchmetrics, torchvision and safetensors.
"""
import sys

import numpy
import scipy.linalg
import scipy.stats
import torch
from sklearn.metrics import pairwise_distances

MASK = 0xFFFFFFFF


def hashed(seed, count):
    """Numbers in [-1, 1): `hashed` of src/judge/matrix.rs."""
    x = (numpy.arange(count, dtype=numpy.uint64) * 2654435761 + seed * 40503 + 1) & MASK
    x ^= x >> numpy.uint64(15)
    x = (x * 2246822519) & MASK
    x ^= x >> numpy.uint64(13)
    x = (x * 3266489917) & MASK
    x ^= x >> numpy.uint64(16)
    return x.astype(numpy.float64) / 2147483648.0 - 1.0


def features(seed, rows, columns, shift):
    return hashed(seed, rows * columns).reshape(rows, columns) + shift


def frechet(a, b):
    ca, cb = numpy.cov(a.T), numpy.cov(b.T)
    root = scipy.linalg.sqrtm(ca @ cb).real
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + numpy.trace(ca + cb - 2 * root)


def frechet_nuclear(a, b):
    centred = [(x - x.mean(0)) / numpy.sqrt(len(x) - 1) for x in (a, b)]
    traces = sum((x**2).sum() for x in centred)
    shared = numpy.linalg.norm(centred[0] @ centred[1].T, "nuc")
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + traces - 2 * shared


def neighbourhoods(real, other):
    real_own, other_own = pairwise_distances(real), pairwise_distances(other)
    across = pairwise_distances(real, other)
    radius = lambda own, k: numpy.sort(own, 1)[:, k]  # the first is the picture itself
    inside = across <= radius(real_own, 5)[:, None]
    return (
        (across <= radius(real_own, 3)[:, None]).any(0).mean(),
        (across <= radius(other_own, 3)[None]).any(1).mean(),
        inside.sum(0).mean() / 5,
        inside.any(1).mean(),
    )


def vendi(x):
    x = x / numpy.linalg.norm(x, axis=1, keepdims=True)
    values = scipy.linalg.eigvalsh(x @ x.T / len(x))
    values = values[values > 0]
    return numpy.exp(-(values * numpy.log(values)).sum())


def fill(net, names, is_norm):
    """Gives a network the weights that a hash makes of the place of each name among the sorted ones."""
    state = net.state_dict()
    for seed, name in enumerate(sorted(names)):
        shape = state[name].shape
        # Activations of one size from layer to layer: a relu lies after most convolutions.
        fan_in = numpy.prod(shape[1:]) if len(shape) > 1 else 1
        values = hashed(seed, int(numpy.prod(shape)))
        if name.endswith("running_var"):
            values = 1 + 0.5 * values
        elif name.endswith("running_mean"):
            values = 0.2 * values
        elif is_norm(name) and name.endswith("weight"):
            values = 1 + 0.3 * values
        elif is_norm(name) or name == "_fc.bias":
            values = 0.3 * values
        else:
            values = values * (6 / fan_in) ** 0.5
        state[name] = torch.tensor(values.astype(numpy.float32), dtype=torch.float64).reshape(shape)
    net.load_state_dict(state)


def keep(found, path, **more):
    from safetensors.torch import save_file

    print(path, "mean", found.mean().item(), "deviation", found.std().item(), "zeros", (found == 0).float().mean().item())
    save_file({"features": found.float()} | {name: tensor.float().contiguous() for name, tensor in more.items()}, path)


def images(seed, count, side):
    values = hashed(seed, count * 3 * side * side).astype(numpy.float32)
    return torch.tensor(values, dtype=torch.float64).reshape(count, 3, side, side)


def golden(path):
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0").eval().double()
    names = [name for name, value in net.state_dict().items() if value.dtype.is_floating_point]
    fill(net, names, lambda name: "bn" in name)
    with torch.no_grad():
        found = net.extract_features(images(1000, 2, 224)).mean((2, 3))
    made = images(1002, 2, 32).requires_grad_()
    distance = perceptual(net, images(1001, 2, 32), made)
    distance.backward()
    keep(found, path, perceptual=distance.detach().reshape(1), perceptual_gradient=made.grad)


def perceptual(net, pictures, made):
    """The mean over scales of the squared difference of unit vectors of channels, before each halving of the size."""
    def scales(x):
        x = net._swish(net._bn0(net._conv_stem((x * 127.5 + 0.5) / 128)))
        found = []
        for block in net._blocks:
            if max(block._depthwise_conv.stride) > 1:
                found.append(x)
            x = block(x)
        return found[:4]

    along = lambda x: x / (x.square().sum(1, keepdim=True) + 1e-10).sqrt()
    pairs = list(zip(scales(pictures), scales(made)))
    assert [a.shape[2] for a, _ in pairs] == [16, 8, 4, 2]
    return sum((along(a) - along(b)).square().sum(1).mean() for a, b in pairs) / len(pairs)


def golden_inception(path):
    import torchvision
    from pytorch_fid.inception import FIDInceptionA, FIDInceptionC, FIDInceptionE_1, FIDInceptionE_2

    net = torchvision.models.inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False)
    # As pytorch_fid's fid_inception_v3 changes it, which also downloads the weights.
    for name, width, pool in [("Mixed_5b", 192, 32), ("Mixed_5c", 256, 64), ("Mixed_5d", 288, 64)]:
        setattr(net, name, FIDInceptionA(width, pool_features=pool))
    for name, inner in [("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)]:
        setattr(net, name, FIDInceptionC(768, channels_7x7=inner))
    net.Mixed_7b, net.Mixed_7c = FIDInceptionE_1(1280), FIDInceptionE_2(2048)
    net = net.eval().double()
    names = [n for n, value in net.state_dict().items() if value.dtype.is_floating_point and not n.startswith("fc.")]
    fill(net, names, lambda name: ".bn." in name)
    x = images(2000, 1, 299)
    with torch.no_grad():
        for part in ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2",
                     "Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e",
                     "Mixed_7a", "Mixed_7b", "Mixed_7c"]:
            x = getattr(net, part)(x)
        keep(x.mean((2, 3)), path)


def main():
    def show(name, value):
        print(f"    const {name}: f64 = {value:.15};")

    show("FRECHET", frechet(features(1, 60, 7, 0.0), features(2, 50, 7, 0.1)))
    show("FRECHET_SINGULAR", frechet_nuclear(features(3, 9, 12, 0.0), features(4, 8, 12, 0.2)))
    line = scipy.stats.linregress([1, 2, 4, 5], [5, 7.5, 11, 12])
    show("INTERCEPT", line.intercept)
    show("INTERCEPT_ERROR", line.intercept_stderr)
    from torchmetrics.image.kid import poly_mmd

    kid = lambda a, b: poly_mmd(torch.tensor(a), torch.tensor(b), degree=3, coef=1.0).item()
    # poly_mmd takes sets of one size; the sum of its three terms for others is written out.
    def mmd(a, b):
        k = lambda x, y: (x @ y.T / x.shape[1] + 1) ** 3
        own = lambda x: (k(x, x).sum() - numpy.trace(k(x, x))) / (len(x) * (len(x) - 1))
        return own(a) + own(b) - 2 * k(a, b).mean()

    a, b = features(1, 60, 7, 0.0), features(2, 60, 7, 0.1)
    assert abs(kid(a, b) - mmd(a, b)) < 1e-12, "torchmetrics"
    show("KID", mmd(features(1, 60, 7, 0.0), features(2, 50, 7, 0.1)))
    show("KID_BLOCKS", mmd(features(1, 600, 3, 0.0), features(2, 300, 3, 0.1)))
    show("WASSERSTEIN", scipy.stats.wasserstein_distance(hashed(1, 30), 0.5 * hashed(2, 21) + 0.3))
    names = ["PRECISION", "RECALL", "DENSITY", "COVERAGE"]
    for name, value in zip(names, neighbourhoods(features(1, 60, 3, 0.0), features(2, 50, 3, 0.3))):
        show(name, value)
    show("VENDI_TALL", vendi(features(1, 30, 6, 0.2)))
    show("VENDI_WIDE", vendi(features(2, 8, 20, 0.2)))
    show("QUANTILE", numpy.quantile(hashed(1, 23), 0.3))
    ranks = scipy.stats.mannwhitneyu(hashed(2, 31), hashed(1, 23)).statistic
    show("NEARER", ranks / (23 * 31))
    pooled = torch.nn.functional.adaptive_avg_pool2d(torch.tensor(hashed(1, 2 * 6 * 5)).reshape(1, 2, 6, 5), 4)
    print("    const POOLED: [f64; 32] = [", ", ".join(f"{v:.15}" for v in pooled.flatten().tolist()), "];")
    if len(sys.argv) > 1:
        golden(sys.argv[1])
    if len(sys.argv) > 2:
        golden_inception(sys.argv[2])


if __name__ == "__main__":
    main()
