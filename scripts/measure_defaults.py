#!/usr/bin/env python3
"""Measures how good pictures are by solver, steps, guidance and temperature, for docs/defaults.md.

usage: measure_defaults.py PURRSCOPE MODEL DATA FOLDER [COUNT [TABLE,...]]      (tables: solvers, grids, guidance, temperature)

Runs `purrscope evaluate` over held-out pictures for every row of the tables, with the model's own encoder and seed 0, keeps what
it found in FOLDER, goes on from there when it is started again, and prints the tables. Needs Python alone.
"""
import json
import pathlib
import subprocess
import sys
import time

# Steps that spend about 4, 8, 16 and 32 evaluations of the velocity: methods of second order take two a step, the classical one
# of fourth order four, each one alone in the last.
STEPS = {
    "euler": [4, 8, 16, 32],
    "exp2m": [4, 8, 16, 32],
    "midpoint": [2, 4, 8, 16],
    "heun": [2, 4, 8, 16],
    "rk4": [2, 3, 5, 9],
}
TOLERANCES = [0.3, 0.1, 0.03, 0.01]
GUIDANCES = [1, 1.25, 1.5, 2, 3]
TEMPERATURES = [0.7, 0.8, 0.9, 1.0]


def rows():
    """What is measured: the table, the name of the row, options."""
    for solver, steps in STEPS.items():
        for number in steps:
            yield "solvers", f"{solver}, {number} steps", ["--solver", solver, "--steps", str(number)]
    for tolerance in TOLERANCES:
        both = ["--atol", str(tolerance), "--rtol", str(tolerance)]
        yield "solvers", f"dopri5 to {tolerance}", ["--solver", "dopri5", *both]
    for grid in ["cosine", "shifted:2", "shifted:0.5"]:
        yield "grids", f"exp2m, 8 steps, {grid}", ["--solver", "exp2m", "--steps", "8", "--grid", grid]
    best = ["--solver", "exp2m", "--steps", "16"]
    for guidance in GUIDANCES:
        yield "guidance", f"guidance {guidance}", [*best, "--cfg", str(guidance)]
    yield "guidance", "guidance 2, from t = 0.2 to 0.8", [*best, "--cfg", "2", "--cfg-interval", "0.2:0.8"]
    for temperature in TEMPERATURES:
        yield "temperature", f"temperature {temperature}", [*best, "--temperature", str(temperature)]


def main():
    program, model, data, folder = sys.argv[1:5]
    count = sys.argv[5] if len(sys.argv) > 5 else "960"
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    table = None
    wanted = sys.argv[6].split(",") if len(sys.argv) > 6 else None
    for of, name, options in rows():
        if wanted and of not in wanted:
            continue
        if of != table:
            table = of
            print(f"\n| {of} | Frechet | at infinity | KID x 1000 | precision | recall | coverage | seconds |\n|---|---|---|---|---|---|---|---|")
        kept = folder / ("".join(c if c.isalnum() else "-" for c in name) + ".json")
        if not kept.exists():
            begun = time.time()
            part = kept.with_suffix(".part.json")
            command = [program, "evaluate", model, "--data", data, "--count", count, "--device", "cpu", "--json", part]
            subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            kept.write_text(json.dumps(json.loads(part.read_text()) | {"seconds": time.time() - begun}))
            part.unlink()
        found = json.loads(kept.read_text())
        row = next(row for row in found["figures"] if row["compared"] == "samples" and row["class"] is None)
        infinity, kid = row["frechet_infinity"], row["kid"]
        print(
            f"| {name} | {row['frechet']:.3f} | {infinity['value']:.3f} +- {infinity['error']:.3f} | {1000 * kid['value']:.2f} "
            f"({1000 * kid['low']:.2f} to {1000 * kid['high']:.2f}) | {row['precision']:.3f} | {row['recall']:.3f} | "
            f"{row['coverage']:.3f} | {found['seconds']:.0f} |",
            flush=True,
        )


main()
