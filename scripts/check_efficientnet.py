#!/usr/bin/env python3
"""Compares features of EfficientNet-Lite0 that `purrscope evaluate` exported with those of PyTorch.

usage: check_efficientnet.py WEIGHTS.pth FOLDER FEATURES.safetensors

FOLDER is the one that --data named, with pictures of the size that the model is for; its first 16 are compared, to
1e-4 of the largest feature. Needs torch, numpy, Pillow, safetensors and the PyPI package efficientnet-lite-pytorch 0.1.0.
"""
import pathlib
import sys

import numpy
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from safetensors import safe_open


def scaled(path):
    """[3, 224, 224], channel by channel in Pillow's mode F, which does not round to levels."""
    levels = numpy.asarray(Image.open(path).convert("RGB"), dtype=numpy.float32)
    planes = [Image.fromarray(levels[:, :, c], mode="F") for c in range(3)]
    return numpy.stack([numpy.asarray(p.resize((224, 224), Image.BILINEAR)) for p in planes])


def main():
    weights, folder, features = sys.argv[1:]
    net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval().double()
    files = sorted(pathlib.Path(folder).glob("*/*.png"))[:16]
    images = torch.tensor(numpy.stack([scaled(path) for path in files])).double()
    with torch.no_grad():
        expected = net.extract_features((images - 127) / 128).mean((2, 3)).numpy()
    found = safe_open(features, "numpy").get_tensor("efficientnet_lite0.data")[: len(files)]
    off = numpy.abs(found - expected).max() / numpy.abs(expected).max()
    print(f"{len(files)} pictures: off by {off:.1e} of the largest feature, allowed 1e-4")
    sys.exit(not off <= 1e-4)


if __name__ == "__main__":
    main()
