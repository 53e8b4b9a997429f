#!/usr/bin/env python3
"""Measures how good pictures are by solver, steps, guidance and temperature, for docs/defaults.md.

usage: measure_defaults.py PURRSCOPE MODEL DATA FOLDER COUNT WEIGHTS [TABLE,...]
                           (tables: solvers, grids, guidance, temperature; WEIGHTS: those of EfficientNet-Lite0)

Runs `purrscope evaluate` over held-out pictures for every row of the tables, with seed 0, by EfficientNet-Lite0 and the model's own
encoder, keeps what it found in FOLDER and the pictures in FOLDER/pictures (which `check_factors.py` takes), goes on from there when
it is started again, and prints the tables. Needs Python alone.
"""
import json
import pathlib
import subprocess
import sys
import time

# Steps that spend about 4, 8, 16 and 32 evaluations of the velocity: methods of second order take two a step, the classical one
# of fourth order four, each one alone in the last.
STEPS = {
    "euler": [4, 8, 16, 24, 32],
    "exp2m": [4, 8, 16, 32],
    "midpoint": [2, 4, 8, 16],
    "heun": [2, 4, 8, 16],
    "rk4": [2, 3, 5, 9],
}
TOLERANCES = [0.3, 0.1, 0.03]
GUIDANCES = [1.25, 1.5, 2, 3]
TEMPERATURES = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1]


def rows(schedule):
    """What is measured: the table, the name of the row, options."""
    for solver, steps in STEPS.items():
        for number in steps:
            yield "solvers", f"{solver}, {number} steps", ["--solver", solver, "--steps", str(number)]
    for tolerance in TOLERANCES:
        # It takes a step at least between two times of the grid.
        both = ["--atol", str(tolerance), "--rtol", str(tolerance), "--steps", "2"]
        yield "solvers", f"dopri5 to {tolerance}", ["--solver", "dopri5", *both]
    for grid in ["cosine", "shifted:2", "shifted:0.5"]:
        yield "grids", f"exp2m, 8 steps, {grid}", ["--solver", "exp2m", "--steps", "8", "--grid", grid]
    best = ["--solver", "exp2m", "--steps", "16"]
    yield "guidance", "guidance 1", [*best, "--cfg", "1"]
    for guidance in GUIDANCES:
        yield "guidance", f"guidance {guidance}", [*best, "--cfg", str(guidance)]
    yield "guidance", "guidance 2, from t = 0.2 to 0.8", [*best, "--cfg", "2", "--cfg-interval", "0.2:0.8"]
    for temperature in TEMPERATURES:
        yield "temperature", f"temperature {temperature}", [*best, "--temperature", str(temperature)]
    if schedule:
        yield "temperature", "the calibrated schedule", [*best, "--temperature", schedule]


def main():
    program, model, data, folder, count, weights = sys.argv[1:7]
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    calibration = pathlib.Path(model).with_suffix(".calibration.json")
    schedule = json.loads(calibration.read_text())["schedule"] if calibration.exists() else None
    table = None
    wanted = sys.argv[7].split(",") if len(sys.argv) > 7 else None
    for of, name, options in rows(schedule):
        if wanted and of not in wanted:
            continue
        if of != table:
            table = of
            print(f"\n| {of} | Frechet (EfficientNet) | KID x 1000 | precision | recall | coverage | Frechet (encoder) | seconds |\n|---|---|---|---|---|---|---|---|")
        kept = folder / ("".join(c if c.isalnum() else "-" for c in name) + ".json")
        if not kept.exists():
            begun = time.time()
            part = kept.with_suffix(".part.json")
            command = [program, "evaluate", model, "--data", data, "--count", count, "--device", "cpu", "--json", part, "--brief"]
            command += ["--features", "encoder", "--features", weights, "--known-features", folder / "real.safetensors"]
            command += ["--out", folder / "pictures" / kept.stem]
            subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            kept.write_text(json.dumps(json.loads(part.read_text()) | {"seconds": time.time() - begun}))
            part.unlink()
        found = json.loads(kept.read_text())
        by = {row["network"]: row for row in found["figures"] if row["class"] is None}
        row, own = by["efficientnet_lite0"], by["encoder"]
        kid = row["kid"]
        print(
            f"| {name} | {row['frechet']:.1f} | {1000 * kid['value']:.1f} ({1000 * kid['low']:.1f} to {1000 * kid['high']:.1f}) | "
            f"{row['precision']:.3f} | {row['recall']:.3f} | {row['coverage']:.3f} | {own['frechet']:.3f} | {found['seconds']:.0f} |",
            flush=True,
        )


main()
