#!/usr/bin/env python3
"""The four objectives on the same data, tokenizer, network, batch and budget: how soon each makes good pictures.

usage: convergence.py PURRSCOPE TOKENIZER TRAIN HOLDOUT FOLDER [--steps N] [--every N] [--seeds N] [--count N]
                      [--sample-steps N] [--features WEIGHTS] [--device D] [--hidden N] [--depth N] [--z-loss]

Trains every objective with every seed, lets each choose guidance and temperature from the same small grid on samples of its own
(the last model of its first seed, other noise), and judges the models of all steps on held-out pictures with `purrscope
evaluate`; purrception's last models also at temperatures from 0.3 to 1.5. With --z-loss purrception is also trained without it,
with the first seed, to compare the losses. Everything found is kept in FOLDER; started again, it goes on where it was, and with more --steps it goes on from there. Writes
FOLDER/convergence.md and, for each feature network, FOLDER/convergence-NETWORK.svg. Needs Python alone.
"""
import argparse
import itertools
import json
import math
import pathlib
import shutil
import statistics
import subprocess
import sys

OBJECTIVES = ["purrception", "cfm-endpoint", "cfm", "dfm"]
# Of objectives that predict no codes the temperature means nothing.
TEMPERATURES = {"purrception": [0.7, 0.8, 0.9, 1.0], "dfm": [0.7, 0.8, 0.9, 1.0], "cfm-endpoint": [1.0], "cfm": [1.0]}
GUIDANCES = [1.0, 1.5, 2.0]
COLOURS = {"purrception": "#e07b00", "cfm-endpoint": "#2f6fb5", "cfm": "#5aa469", "dfm": "#8a5aa8"}
NO_Z_LOSS = "no-z-loss"
# Of the last models of purrception.
CURVE = [0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5]
# Steps that every method is timed by, one method after the other, so many times.
TIMED_STEPS, TIMED_ROUNDS = 25, 2
# Two-sided 95 % quantiles of Student's t, by degrees of freedom.
STUDENT = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}

RUN = """# Written by scripts/convergence.py.
out = "{out}"
data = "{data}"
holdout = "{holdout}"
image_size = {size}
duplicates = "keep"
seed = {seed}
batch = {batch}
steps = {steps}
checkpoint_every = {every}
keep_models_every = {every}
sample_every = {every}

[optimiser]
learning_rate = 1e-3
betas = [0.9, 0.99]
weight_decay = 0.01
warmup_steps = 100
decay_share = 0.0
ema = 0.995

[task]
kind = "flow"
name = "{name}"
objective = "{objective}"
tokenizer = "{tokenizer}"
precision = "f32"
{more}
[task.backbone]
patch_size = 2
hidden_size = {hidden}
depth = {depth}
num_heads = {heads}

[task.samples]
steps = 8
"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    for name in ["program", "tokenizer", "train", "holdout", "folder"]:
        parser.add_argument(name)
    for name, default in [("steps", 800), ("every", 200), ("seeds", 3), ("count", 480), ("sample-steps", 16)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, default in [("hidden", 128), ("depth", 6), ("heads", 4), ("batch", 64), ("size", 64)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--features", help="weights of EfficientNet-Lite0, besides the model's own encoder")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--z-loss", action="store_true", help="purrception also without the z-loss")
    return parser.parse_args()


def run(command):
    print("+", " ".join(str(word) for word in command), file=sys.stderr, flush=True)
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)


def metrics(folder):
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class Bench:
    def __init__(self, given):
        self.given = given
        self.folder = pathlib.Path(given.folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)

    def place(self, method, seed):
        return self.folder / f"{method}-{seed}"

    def train(self, method, seed):
        if len(metrics(self.place(method, seed))) < self.given.steps:
            self.steps(method, seed, self.place(method, seed), self.given.steps)

    def steps(self, method, seed, place, steps):
        """Trains in a folder up to so many steps."""
        given = self.given
        place.mkdir(exist_ok=True)
        # Codes of the pictures are the same for all.
        for cache in ["latents.safetensors", "holdout.safetensors"]:
            others = [other / cache for other in self.folder.iterdir() if (other / cache).exists()]
            if others and not (place / cache).exists():
                shutil.copy(others[0], place / cache)
        objective = "purrception" if method == NO_Z_LOSS else method
        text = RUN.format(
            out=place, data=pathlib.Path(given.train).resolve(), holdout=pathlib.Path(given.holdout).resolve(), size=given.size,
            seed=seed, batch=given.batch, steps=steps, every=given.every, name=f"{method} {seed}", objective=objective,
            tokenizer=pathlib.Path(given.tokenizer).resolve(), more="lambda_z = 0.0\n" if method == NO_Z_LOSS else "",
            hidden=given.hidden, depth=given.depth, heads=given.heads,
        )
        (place / "run.toml").write_text(text)
        resume = ["--resume"] if (place / "checkpoint.safetensors").exists() else []
        run([given.program, "--train", place / "run.toml", *resume, "--device", given.device])

    def judge(self, kept, model, settings, count, seed):
        """What `evaluate` finds of a model, once."""
        if not kept.exists():
            kept.parent.mkdir(exist_ok=True)
            given = self.given
            features = ["--features", "encoder"] + (["--features", given.features] if given.features else [])
            options = ["--cfg", settings["guidance"], "--temperature", settings["temperature"], "--steps", given.sample_steps]
            run([given.program, "evaluate", model, "--data", given.holdout, "--count", count, "--seed", seed, *options, *features,
                 "--device", given.device, "--brief", "--known-features", self.folder / "real.safetensors", "--json", kept])
        report = json.loads(kept.read_text())
        return {row["network"]: row for row in report["figures"] if row["compared"] == "samples" and row["class"] is None}

    def choose(self, method):
        """Guidance and temperature with the least Frechet distance by the last network, on half as many samples of other noise."""
        model = self.place(method, 0) / f"model-{self.given.steps:07}.safetensors"
        found = []
        for guidance, temperature in itertools.product(GUIDANCES, TEMPERATURES[method]):
            settings = {"guidance": guidance, "temperature": temperature}
            kept = self.folder / "choice" / f"{method}-{guidance}-{temperature}.json"
            rows = list(self.judge(kept, model, settings, self.given.count // 2, 1000).values())
            found.append((rows[-1]["frechet"], settings))
        return min(found, key=lambda pair: pair[0])[1], found

    def curve(self, method, settings):
        """Figures of every seed at every step kept."""
        steps = range(self.given.every, self.given.steps + 1, self.given.every)
        rows = {}
        for step in steps:
            for seed in range(self.given.seeds):
                model = self.place(method, seed) / f"model-{step:07}.safetensors"
                kept = self.folder / "found" / f"{method}-{seed}-{step:07}.json"
                rows.setdefault(step, []).append(self.judge(kept, model, settings, self.given.count, seed))
        return rows

    def temperatures(self, guidance):
        """Figures of purrception's last models at each temperature of the curve, on half as many samples."""
        rows = {}
        for temperature, seed in itertools.product(CURVE, range(self.given.seeds)):
            settings = {"guidance": guidance, "temperature": temperature}
            model = self.place("purrception", seed) / f"model-{self.given.steps:07}.safetensors"
            kept = self.folder / "temperature" / f"{temperature}-{seed}.json"
            rows.setdefault(temperature, []).append(self.judge(kept, model, settings, self.given.count // 2, seed))
        return rows

    def seconds(self):
        """Seconds of a step of every method: the methods take turns, and the quickest turn counts."""
        kept = self.folder / "seconds.json"
        if not kept.exists():
            found = {method: [] for method in OBJECTIVES}
            for _, method in itertools.product(range(TIMED_ROUNDS), OBJECTIVES):
                place = self.folder / "timed"
                self.steps(method, 0, place, TIMED_STEPS)
                speeds = [line["images_per_second"] for line in metrics(place)[5:]]
                found[method].append(self.given.batch / statistics.median(speeds))
                for file in place.iterdir():
                    if "latents" not in file.name and "holdout" not in file.name:
                        file.unlink() if file.is_file() else shutil.rmtree(file)
            kept.write_text(json.dumps(found))
        return {method: min(turns) for method, turns in json.loads(kept.read_text()).items()}

    def losses(self, method):
        """At every step kept, of the first seed: the mean of the last hundred steps of cross-entropy and of log Z squared."""
        rows = {}
        for step in range(self.given.every, self.given.steps + 1, self.given.every):
            lines = metrics(self.place(method, 0))[max(step - 100, 0):step]
            rows[step] = [statistics.mean(line[name] for line in lines) for name in ["cross_entropy", "mean_log_z_squared"]]
        return rows


def interval(values):
    """Mean, and half of its 95 % interval."""
    if len(values) < 2:
        return values[0], math.nan
    return statistics.mean(values), STUDENT[min(len(values) - 1, 9)] * statistics.stdev(values) / math.sqrt(len(values))


def panel(curves, network, x_of, words, top):
    """Frechet distance against steps or seconds, a band of 95 % around each mean."""
    width, height, left, right = 720, 330, 64, 150
    bottom = top + height - 44
    points = {
        method: [(x_of(method, step), *interval([row[network]["frechet"] for row in rows[step]])) for step in sorted(rows)]
        for method, rows in curves.items()
    }
    values = [value for line in points.values() for _, value, _ in line]
    low, high = math.log(min(values) * 0.85), math.log(max(values) * 1.15)
    first, last = (edge(x for line in points.values() for x, _, _ in line) for edge in (min, max))
    x = lambda value: left + (value - first) / max(last - first, 1e-9) * (width - left - right)
    y = lambda value: bottom - (math.log(max(value, 1e-9)) - low) / (high - low) * (bottom - top - 20)
    within = lambda value: min(max(y(value), top), bottom)
    parts = []
    for tick in [t * 10**e for e in range(-3, 4) for t in (1, 1.5, 2, 3, 5, 7)]:
        if low <= math.log(tick) <= high:
            parts.append(f'<path d="M{left} {y(tick):.1f}H{width - right}" stroke="#dddddd"/><text x="{left - 8}" y="{y(tick) + 4:.1f}" '
                         f'text-anchor="end" fill="#555555">{tick:g}</text>')
    apart = next(gap for gap in (t * 10**e for e in range(-3, 9) for t in (1, 2, 5)) if (last - first) / gap <= 7)
    for mark in [apart * i for i in range(math.ceil(first / apart), math.floor(last / apart) + 1)]:
        parts.append(f'<text x="{x(mark):.1f}" y="{bottom + 18}" text-anchor="middle" fill="#555555">{mark:g}</text>')
    parts.append(f'<text x="{(left + width - right) / 2}" y="{bottom + 36}" text-anchor="middle" fill="#555555">{words}</text>')
    for place, method in enumerate(sorted(points, key=lambda method: points[method][-1][1])):
        line, colour = points[method], COLOURS[method]
        if all(not math.isnan(half) for _, _, half in line):
            upper = [f"{x(s):.1f},{within(v + h):.1f}" for s, v, h in line]
            lower = [f"{x(s):.1f},{within(v - h):.1f}" for s, v, h in reversed(line)]
            parts.append(f'<polygon points="{" ".join(upper + lower)}" fill="{colour}" opacity="0.15"/>')
        path = " ".join(f"{x(s):.1f},{y(v):.1f}" for s, v, _ in line)
        at = top + 24 + 18 * place
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
                     f'<path d="M{width - 138} {at - 4}h18" stroke="{colour}" stroke-width="2"/>'
                     f'<text x="{width - 114}" y="{at}" fill="#222222">{method}</text>')
    return "\n".join(parts)


def svg(bench, curves, network, name, seconds):
    batch = bench.given.batch
    return "\n".join([
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 700" font-family="sans-serif" font-size="12">',
        '<rect width="720" height="700" fill="#ffffff"/>',
        f'<text x="64" y="18" fill="#222222">Frechet distance ({name}), mean of the seeds and its 95 % interval</text>',
        panel(curves, network, lambda method, step: step * batch / 1000, f"thousands of pictures seen (steps of {batch})", 24),
        panel(curves, network, lambda method, step: step * seconds[method], "seconds of training", 364),
        "</svg>",
    ]) + "\n"


def figure(values, digits=3):
    mean, half = interval(values)
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def table(bench, curves, choices, network, seconds):
    lines = [
        "| method | guidance, temperature | step | pictures seen | seconds of training | Frechet | KID x 1000 | precision | recall |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for method, rows in curves.items():
        settings = choices[method][0]
        for step, found in rows.items():
            distances = [figure([row[network]["frechet"] for row in found], 2)]
            distances.append(figure([1000 * row[network]["kid"]["value"] for row in found], 1))
            cells = distances + [figure([row[network][name] for row in found]) for name in ["precision", "recall"]]
            lines.append(
                f"| {method} | {settings['guidance']:g}, {settings['temperature']:g} | {step} | {step * bench.given.batch} | "
                f"{step * seconds[method]:.0f} | " + " | ".join(cells) + " |"
            )
    return "\n".join(lines)


def main():
    bench = Bench(arguments())
    for seed, method in itertools.product(range(bench.given.seeds), OBJECTIVES):
        bench.train(method, seed)
    choices = {method: bench.choose(method) for method in OBJECTIVES}
    curves = {method: bench.curve(method, choices[method][0]) for method in OBJECTIVES}
    temperatures = bench.temperatures(choices["purrception"][0]["guidance"])
    seconds = bench.seconds()
    networks = list(next(iter(curves["purrception"].values()))[0])
    names = {"encoder": "the tokenizer's encoder", "efficientnet_lite0": "EfficientNet-Lite0", "inception_v3": "Inception-v3"}
    text = []
    for network in networks:
        name = names.get(network, network)
        (bench.folder / f"convergence-{network}.svg").write_text(svg(bench, curves, network, name, seconds))
        text.append(f"## {name}\n\n{table(bench, curves, choices, network, seconds)}\n")
    text.append("## Temperature\n")
    text.append("| temperature | " + " | ".join(f"Frechet ({names.get(n, n)}) | precision | recall" for n in networks) + " |")
    text.append("|---|" + "---|---|---|" * len(networks))
    for temperature, found in temperatures.items():
        cells = [figure([row[n][of] for row in found]) for n in networks for of in ["frechet", "precision", "recall"]]
        text.append(f"| {temperature:g} | " + " | ".join(cells) + " |")
    if bench.given.z_loss:
        bench.train(NO_Z_LOSS, 0)
        text += ["\n## The z-loss\n", "| step | cross-entropy with it | without | root mean square of log Z with it | without |", "|---|---|---|---|---|"]
        with_it, without = bench.losses("purrception"), bench.losses(NO_Z_LOSS)
        for step, (loss, log_z) in with_it.items():
            text.append(f"| {step} | {loss:.3f} | {without[step][0]:.3f} | {math.sqrt(log_z):.2f} | {math.sqrt(without[step][1]):.2f} |")
    text += ["\n## The grid of each method\n", "| method | guidance | temperature | Frechet |", "|---|---|---|---|"]
    for method, (_, found) in choices.items():
        text += [f"| {method} | {s['guidance']:g} | {s['temperature']:g} | {value:.3f} |" for value, s in found]
    page = "\n".join(text) + "\n"
    (bench.folder / "convergence.md").write_text(page)
    print(page)


main()
