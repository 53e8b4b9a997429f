#!/usr/bin/env python3
"""Computes the figures of `purrscope evaluate` again, from the features that it exported.

usage: check_evaluate.py FEATURES.safetensors     (of evaluate --export-features)

Nothing of the program is used but features, and the rows and directions that it drew at random. Figures have to agree
to 1e-6, relative to the figure; distances that are differences of large numbers (Frechet, KID) to 1e-6 of the figure
or 1e-11 of what they are the difference of, whichever is larger. The Frechet distance is computed by the singular values
of both centred sets, and once more as torchmetrics does it, by eigenvalues of the product of the covariances, whose own
error is larger. Needs numpy, scipy and safetensors; torch and torchmetrics are used where they are there.
"""
import json
import sys

import numpy
import scipy.linalg
import scipy.stats
from safetensors import safe_open
from scipy.spatial.distance import cdist

ALLOWED = 1e-6
worst = {}
failed = 0


def compare(figure, row, found, expected, scale=0.0):
    """Notes how far a figure of the program lies from ours."""
    global failed
    if found is None and expected is None:
        return
    off = abs(found - expected)
    relative = off / max(abs(expected), 1e-5 * scale, 1e-300)
    worst[figure] = max(worst.get(figure, 0.0), relative)
    if not relative <= ALLOWED:
        failed += 1
        print(f"{row}: {figure} is {found!r}, expected {expected!r} ({relative:.1e})")


def frechet(a, b):
    """The distance, and the traces that it is a difference of."""
    centred = [(x - x.mean(0)) / numpy.sqrt(len(x) - 1) for x in (a, b)]
    # Bring both to the smaller side first, where that is the number of features.
    factors = [numpy.linalg.qr(x, "r") if x.shape[0] > x.shape[1] else x for x in centred]
    shared = scipy.linalg.svdvals(factors[0] @ factors[1].T).sum()
    traces = sum((x**2).sum() for x in centred)
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + traces - 2 * shared, traces


def frechet_by_eigenvalues(a, b):
    """torchmetrics.image.fid._compute_fid."""
    import torch
    from torchmetrics.image.fid import _compute_fid

    arguments = [torch.tensor(x) for x in (a.mean(0), numpy.cov(a.T), b.mean(0), numpy.cov(b.T))]
    return _compute_fid(*arguments).item()


def mmd(a, b):
    """The discrepancy, and the kernel's mean that it is a difference of."""
    k = lambda x, y: (x @ y.T / x.shape[1] + 1) ** 3
    aa, bb, ab = k(a, a), k(b, b), k(a, b)
    own = lambda m: (m.sum() - numpy.trace(m)) / (len(m) * (len(m) - 1))
    return own(aa) + own(bb) - 2 * ab.mean(), ab.mean()


def mmd_of_torchmetrics(a, b):
    import torch
    from torchmetrics.image.kid import poly_mmd

    return poly_mmd(torch.tensor(a), torch.tensor(b), degree=3, coef=1.0).item()


def neighbourhoods(real, other):
    real_own, other_own, across = cdist(real, real), cdist(other, other), cdist(real, other)
    radius = lambda own, k: numpy.sort(own, 1)[:, k]
    inside = across <= radius(real_own, 5)[:, None]
    return {
        "precision": (across <= radius(real_own, 3)[:, None]).any(0).mean(),
        "recall": (across <= radius(other_own, 3)[None]).any(1).mean(),
        "density": inside.sum(0).mean() / 5,
        "coverage": inside.any(1).mean(),
    }


def vendi(x):
    x = x / numpy.linalg.norm(x, axis=1, keepdims=True)
    values = scipy.linalg.eigvalsh(x @ x.T / len(x))
    values = values[values > 0]
    return numpy.exp(-(values * numpy.log(values)).sum())


def memorisation(pictures, data, training):
    nearest = lambda x: numpy.concatenate([cdist(part, training).min(1) for part in numpy.array_split(x, len(x) // 200 + 1)])
    own, held_out = nearest(pictures), nearest(data)
    shares = [0.01, 0.05, 0.25, 0.5, 0.75]
    return {
        "quantiles": numpy.quantile(own, shares),
        "data_quantiles": numpy.quantile(held_out, shares),
        "near": (own < numpy.quantile(held_out, 0.05)).mean(),
        "nearer": scipy.stats.mannwhitneyu(held_out, own).statistic / (len(own) * len(held_out)),
        "copies": (own == 0).sum(),
    }


def main():
    file = safe_open(sys.argv[1], "numpy")
    names = set(file.keys())
    report = json.loads(file.metadata()["purrscope"])
    read = lambda name: file.get_tensor(name)
    features = lambda key, name: read(f"{key}.{name}").astype(numpy.float64)
    halves = [read(f"halves.{side}") for side in (0, 1)]
    slack = {}
    for row in report["figures"]:
        key, kind, name = row["network"], row["compared"], row["class"]
        data = features(key, "data")
        comparison = "compared" if kind in ("samples", "pictures") else kind
        real, other = data, data if kind == "halves" else features(key, comparison)
        if kind in ("halves", "reconstructions"):
            real, other = real[halves[0]], other[halves[1]]
        title = f"{key}, {kind}" + (f", {name}" if name else "")
        if name:
            # The class of a row is told by where its pictures are: labels are the model's, names are in order of them.
            label = label_of(report, file, row)
            real, other = real[read("labels.data") == label], other[read("labels.compared") == label]
        assert (len(real), len(other)) == (row["data_pictures"], row["pictures"]), title
        if row["frechet"] is not None:
            value, scale = frechet(real, other)
            compare("frechet", title, row["frechet"], value, scale)
            if not name:
                try:
                    off = abs(frechet_by_eigenvalues(real, other) - row["frechet"]) / scale
                    slack["frechet as torchmetrics does it, of the traces"] = max(off, slack.get("frechet as torchmetrics does it, of the traces", 0))
                except ImportError:
                    pass
        if row["frechet_infinity"]:
            points, ys = row["frechet_infinity"], []
            for at, size in enumerate(points["sizes"]):
                rows = [read(f"{key}.{comparison}.frechet.{at}.{side}") for side in (0, 1)]
                assert len(rows[0]) == len(rows[1]) == size == len(set(rows[0].tolist()))
                value, scale = frechet(real[rows[0]], other[rows[1]])
                compare("frechet at each size", title, points["distances"][at], value, scale)
                ys.append(value)
            line = scipy.stats.linregress([1 / size for size in points["sizes"]], ys)
            compare("frechet_infinity", title, points["value"], line.intercept, max(ys))
            compare("frechet_infinity error", title, points["error"], line.intercept_stderr, max(ys))
        if row["kid"]:
            value, scale = mmd(real, other)
            compare("kid", title, row["kid"]["value"], value, scale)
            if len(real) == len(other):
                try:
                    compare("kid of torchmetrics", title, row["kid"]["value"], mmd_of_torchmetrics(real, other), scale)
                except ImportError:
                    pass
            if not name:
                subsets = [read(f"{key}.{comparison}.kid.{side}") for side in (0, 1)]
                values = [mmd(real[a], other[b])[0] for a, b in zip(*subsets)]
                deviation = numpy.std(values, ddof=1)
                compare("kid subset_deviation", title, row["kid"]["subset_deviation"], deviation, scale)
                share = subsets[0].shape[1] / min(len(real), len(other))
                half = scipy.stats.norm.ppf(0.975) * deviation * numpy.sqrt(share / (1 - share))
                compare("kid low", title, row["kid"]["low"], value - half, scale)
                compare("kid high", title, row["kid"]["high"], value + half, scale)
        if row["sliced_wasserstein"] is not None:
            directions = features(key, "directions")
            directions /= numpy.linalg.norm(directions, axis=1, keepdims=True)
            distances = [scipy.stats.wasserstein_distance(real @ d, other @ d) for d in directions]
            compare("sliced_wasserstein", title, row["sliced_wasserstein"], numpy.mean(distances))
        if "precision" in row:
            for figure, value in neighbourhoods(real, other).items():
                compare(figure, title, row[figure], value)
        compare("vendi", title, row["vendi"], vendi(other))
        compare("data_vendi", title, row["data_vendi"], vendi(real))
        if row["memorisation"] and f"{key}.training" in names:
            for figure, value in memorisation(other, real, features(key, "training")).items():
                for found, expected in zip(numpy.atleast_1d(row["memorisation"][figure]), numpy.atleast_1d(value)):
                    compare(f"memorisation {figure}", title, found, expected)
    for figure, off in worst.items():
        print(f"{figure:<28} {off:.1e}")
    for figure, off in slack.items():
        print(f"{figure}: {off:.1e}")
    print(f"{len(report['figures'])} rows, allowed {ALLOWED:.0e}: " + (f"{failed} figures differ" if failed else "all agree"))
    sys.exit(failed > 0)


def label_of(report, file, row):
    """The model's label of a row's class: rows of classes are in the order of labels, those with enough pictures."""
    data, compared = file.get_tensor("labels.data"), file.get_tensor("labels.compared")
    enough = [l for l in sorted(set(data.tolist())) if min((data == l).sum(), (compared == l).sum()) >= 10]
    names = [r["class"] for r in report["figures"] if r["class"] and r["network"] == row["network"]]
    return enough[names.index(row["class"])]


if __name__ == "__main__":
    main()
