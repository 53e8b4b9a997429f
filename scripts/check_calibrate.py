#!/usr/bin/env python3
"""Recompute a report of `purrscope calibrate` from the logits that it was made of, with numpy alone.

usage: check_calibrate.py REPORT.json EXPORT.safetensors

  purrscope calibrate --data DIR --count 16 --times 6 --json report.json --export tokens.safetensors

Made at temperature 1. Prints the largest difference of every figure, relative to it where it is above 1; exit 1 if one
is beyond its tolerance. Numbers of a report have seven digits.
"""
import json
import struct
import sys

import numpy as np

BINS = 15


def tensors(path):
    """All tensors of a safetensors file."""
    with open(path, "rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(length))
        body = file.read()
    kinds = {"F32": np.float32, "I64": np.int64}
    return {
        name: np.frombuffer(body[slice(*entry["data_offsets"])], kinds[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__"
    }


def log_softmax(logits, temperature=1.0):
    scaled = logits / temperature
    scaled = scaled - scaled.max(axis=1, keepdims=True)
    return scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))


def best_temperature(logits, codes):
    """Where the cross-entropy is least, by golden-section search over the inverse temperature."""
    rows = np.arange(len(codes))
    loss = lambda inverse: -log_softmax(logits, 1.0 / inverse)[rows, codes].mean()
    low, high, ratio = 0.25, 3.0, (np.sqrt(5) - 1) / 2
    while high - low > 1e-6:
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    inverse = (low + high) / 2
    return 1 / inverse, loss(1.0) - loss(inverse)


def figures(logits, codes):
    log_p = log_softmax(logits)
    p, rows = np.exp(log_p), np.arange(len(codes))
    truth = log_p[rows, codes]
    confidence, right = p.max(axis=1), p.argmax(axis=1) == codes
    found = {
        "cross_entropy": -truth.mean(),
        "entropy": -(p * log_p).sum(axis=1).mean(),
        "accuracy": right.mean(),
        "confidence": confidence.mean(),
        "brier": ((p**2).sum(axis=1) - 2 * p[rows, codes] + 1).mean(),
        "log_z": (logits.max(axis=1) + np.log(np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1))).mean(),
    }
    order = np.lexsort((right, confidence.astype(np.float32)))
    found["calibration_error"] = sum(
        len(part) / len(codes) * abs(right[part].mean() - confidence[part].mean())
        for part in (order[i * len(codes) // BINS : (i + 1) * len(codes) // BINS] for i in range(BINS))
        if len(part)
    )
    ordered = np.sort(p, axis=1)[:, ::-1].cumsum(axis=1)
    rank = (logits > logits[rows, codes][:, None]).sum(axis=1)
    for mass in (0.5, 0.9, 0.99):
        size = (ordered < mass).sum(axis=1) + 1
        size = np.minimum(size, p.shape[1])
        found[f"codes of {mass}"] = size.mean()
        found[f"held by {mass}"] = ordered[rows, size - 1].mean()
        found[f"covered by {mass}"] = (rank < size).mean()
    found["temperature"], found["gain"] = best_temperature(logits, codes)
    return found


def reported(moment):
    found = {name: moment[name] for name in ("entropy", "accuracy", "confidence", "brier", "log_z")}
    # The mean over pictures is that over tokens: every picture has as many.
    found["cross_entropy"] = moment["cross_entropy"]["value"]
    found["calibration_error"] = moment["reliability"]["error"]
    for entry in moment["sets"]:
        found[f"codes of {entry['mass']}"] = entry["codes"]
        found[f"held by {entry['mass']}"] = entry["held"]
        found[f"covered by {entry['mass']}"] = entry["covered"]
    if moment["implied"]:
        found["temperature"] = moment["implied"]["temperature"]["value"]
        found["gain"] = moment["implied"]["gain"]
    return found


# A code that lies on the edge of a set, or of a bin, may fall on either side of it in single precision.
TOLERANCES = {"temperature": 1e-3, "gain": 1e-4, "calibration_error": 1e-4}


def main():
    report = json.load(open(sys.argv[1]))
    held = tensors(sys.argv[2])
    first, worst = 0, {}
    for moment in report["times"]:
        part = slice(first, first + moment["tokens"])
        first += moment["tokens"]
        ours = figures(held["logits"][part].astype(np.float64), held["codes"][part])
        for name, value in reported(moment).items():
            off = abs(value - ours[name]) / max(1.0, abs(ours[name]))
            worst[name] = max(worst.get(name, 0.0), off)
    assert first == len(held["codes"]), "the export is of another report"
    bad = 0
    for name, difference in worst.items():
        edge = 1e-3 if name.startswith(("codes", "held", "covered")) else 1e-6
        allowed = TOLERANCES.get(name, edge)
        bad += difference > allowed
        print(f"{name:20} {difference:.1e}  (allowed {allowed:.0e})")
    sys.exit(1 if bad else 0)


main()
