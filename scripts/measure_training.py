#!/usr/bin/env python3
"""What ways to train are worth at a small fixed budget, for docs/training.md.

usage: measure_training.py PURRSCOPE TOKENIZER TRAIN HOLDOUT FOLDER WEIGHTS [TABLE,... [ROWS]]
                           (tables: flows, averages, tokenizers, joint, of which ROWS at most; WEIGHTS: those of EfficientNet-Lite0)

Flows of one size, seed and number of steps on the codes of a finished tokenizer (TOKENIZER: its file, or a model with it), Muon for as
many steps as it makes in the time of AdamW's; averages of the first of them; tokenizers of one size, seed and number of steps, each
judged by what it makes of held-out pictures; the first flow gone on with, alone and together with its tokenizer. How fast each is
comes from short runs in turns. Everything found is kept in FOLDER; started again, it goes on where it was. Needs Python alone.
"""
import itertools
import json
import pathlib
import shutil
import statistics
import subprocess
import sys

FLOW_STEPS, TOKENIZER_STEPS, JOINT_STEPS = 400, 300, 100
# Samples, and held-out pictures that the cross-entropy is taken of.
PICTURES = 240
# Rounds of short runs in turns, and their steps, by which speeds are compared.
ROUNDS, SHORT = 3, 16
# Of a run that is not short: averages of any length are made of what is kept with them.
CHECKPOINTS = 8
LENGTHS = [0.05, 0.1, 0.15, 0.2]
COMMON = """# Written by scripts/measure_training.py.
out = "{out}"
data = "{data}"
holdout = "{holdout}"
image_size = 64
duplicates = "keep"
seed = 1
steps = {steps}
checkpoint_every = {checkpoint}
sample_every = {steps}
"""
FLOW = """batch = 64
[optimiser]
learning_rate = 1e-3
betas = [0.9, 0.99]
weight_decay = 0.01
warmup_steps = 100
decay_share = 0.4
ema = 0.995
[task]
kind = "flow"
name = "measured"
tokenizer = "{tokenizer}"
[task.backbone]
patch_size = 2
hidden_size = {hidden}
depth = {depth}
num_heads = 4
[task.samples]
steps = 8
"""
TOKENIZER = """batch = 32
[optimiser]
learning_rate = 1.5e-3
weight_decay = 0.0
warmup_steps = 50
decay_share = 0.4
[task]
kind = "tokenizer"
revive_every = 40
[task.model]
channels = 16
multipliers = [1, 2, 4]
residual_blocks = 1
attention = false
groups = 8
latent_channels = 64
code_size = 8
codes = 1024
l2_normalised = true
"""
JOINT = """batch = 64
[optimiser]
learning_rate = 2e-4
betas = [0.9, 0.99]
weight_decay = 0.0
decay_share = 1.0
ema = 0.99
[task]
kind = "joint"
name = "measured"
model = "{model}"
"""
FLOWS = {
    "AdamW, even times": [],
    "Muon": ["optimiser.kind=muon"],
    "times logit-normal": ["task.times=logit-normal"],
    "times entropic": ["task.times=entropic"],
    "times logit-normal, weighed": ["task.times=logit-normal", "task.time_weights=uniform"],
    "times entropic, weighed": ["task.times=entropic", "task.time_weights=uniform"],
}
TOKENIZERS = {
    "straight-through": [],
    "rotation": ["task.gradient=rotation"],
    "straight-through, averaged": ["task.averaged=true", "optimiser.ema=0.99"],
    "perceptual term of 0.5": ["task.perceptual.weight=0.5"],
    "discriminator of 0.1 from step 100": ["task.discriminator.weight=0.1", "task.discriminator.start=100"],
}
JOINTS = {
    "the flow's gradient kept from the codes": [],
    "a tenth of it": ["task.flow_gradient=0.1"],
    "all of it": ["task.flow_gradient=1.0"],
}


class Measure:
    def __init__(self, program, tokenizer, train, holdout, folder, weights):
        self.program, self.weights = program, pathlib.Path(weights).resolve()
        self.tokenizer, self.train_data, self.holdout = (pathlib.Path(path).resolve() for path in [tokenizer, train, holdout])
        self.folder = pathlib.Path(folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)

    def run(self, *words):
        print("+", *words, file=sys.stderr, flush=True)
        subprocess.run([self.program, *map(str, words)], check=True, stdout=subprocess.DEVNULL)

    def place(self, name):
        return self.folder / "".join(c if c.isalnum() else "-" for c in name)

    def train(self, name, text, steps, sets, data=None):
        """A finished run, its folder."""
        place = self.place(name)
        metrics = place / "metrics.jsonl"
        if not metrics.exists() or len(metrics.read_text().splitlines()) < steps:
            place.mkdir(exist_ok=True)
            # Codes that another run has made, which this one takes if they are of its pictures and tokenizer.
            for name in ["latents.safetensors", "holdout.safetensors"]:
                made = next(self.folder.glob(f"*/{name}"), None)
                if made and not (place / name).exists():
                    shutil.copy(made, place / name)
            common = COMMON.format(out=place, data=data or self.train_data, holdout=self.holdout, steps=steps, checkpoint=max(SHORT, steps // CHECKPOINTS))
            (place / "run.toml").write_text(common + text)
            resume = ["--resume"] if (place / "checkpoint.safetensors").exists() else []
            self.run("--train", place / "run.toml", *resume, "--device", "cpu", *[word for each in sets for word in ("--set", each)])
        return place

    def lines(self, place):
        return [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]

    def speeds(self, kind, kinds):
        """Pictures a second of each: medians of short runs in turns, of their later halves."""
        kept = self.folder / f"speeds-{kind}.json"
        if not kept.exists():
            found = {name: [] for name in kinds}
            for turn in range(ROUNDS):
                for name, (text, sets) in kinds.items():
                    # A discriminator is there from the first step on.
                    sets = [each for each in sets if "start=" not in each] + ["task.discriminator.start=0"] * ("discriminator" in name)
                    place = self.train(f"short {name} {turn}", text, SHORT, sets)
                    later = self.lines(place)[SHORT // 2 :]
                    found[name] += [line["images_per_second"] for line in later]
            kept.write_text(json.dumps({name: statistics.median(all) for name, all in found.items()}))
        return json.loads(kept.read_text())

    def judge(self, model, kept, count, whole=False):
        """Rows of `evaluate`, by what is compared and network."""
        if not kept.exists():
            known = [] if whole else ["--brief", "--known-features", self.folder / "real.safetensors"]
            self.run("evaluate", model, "--data", self.holdout, "--count", count, "--steps", 16, "--features", "encoder",
                     "--features", self.weights, *known, "--device", "cpu", "--json", kept)
        rows = json.loads(kept.read_text())["figures"]
        return {(row["compared"], row["network"]): row for row in rows if row["class"] is None}

    def surprise(self, model, kept):
        """Cross-entropy of held-out pictures, a mean over the times that `calibrate` looks at."""
        if not kept.exists():
            self.run("calibrate", model, "--data", self.holdout, "--count", PICTURES // 2, "--times", 8, "--device", "cpu", "--json", kept)
        return statistics.mean(time["cross_entropy"]["value"] for time in json.loads(kept.read_text())["times"])

    def of_flow(self, place, model=None):
        model = model or place / "model.safetensors"
        rows = self.judge(model, model.with_suffix(".judged.json"), PICTURES)
        row = rows["samples", "efficientnet_lite0"]
        return [f"{self.surprise(model, model.with_suffix('.surprise.json')):.3f}", f"{row['frechet']:.1f}", f"{row['precision']:.3f}", f"{row['recall']:.3f}"]

    def flow(self, name, sets, steps=FLOW_STEPS):
        text = FLOW.format(tokenizer=self.tokenizer, hidden=128, depth=6)
        # The first is the one that averages are made of.
        return self.train(name, text, steps, sets or ["optimiser.lengths=[0.05, 0.1]"])

    def flows(self):
        yield ["flow", "steps", "cross-entropy", "Frechet (EfficientNet)", "precision", "recall"]
        text = FLOW.format(tokenizer=self.tokenizer, hidden=128, depth=6)
        speeds = self.speeds("flows", {name: (text, FLOWS[name]) for name in ["AdamW, even times", "Muon"]})
        for name, sets in FLOWS.items():
            steps = round(FLOW_STEPS * speeds[name] / speeds["AdamW, even times"]) if name in speeds else FLOW_STEPS
            yield [name, str(steps), *self.of_flow(self.flow(name, sets, steps))]

    def averages(self):
        yield ["average", "cross-entropy", "Frechet (EfficientNet)", "precision", "recall"]
        place = self.flow("AdamW, even times", [])
        yield ["moving average, ema 0.995", *self.of_flow(place)]
        for length in LENGTHS:
            model = place / f"average-{length}.safetensors"
            if not model.exists():
                self.run("average", place, "--length", length, "--out", model)
            yield [f"power of the time, length {length}", *self.of_flow(place, model)]

    def tokenizers(self):
        yield ["tokenizer", "held-out PSNR, dB", "codes used", "Frechet of reconstructions (EfficientNet)", "pictures a second"]
        network = f"task.perceptual.network={self.weights}"
        kinds = {name: (TOKENIZER, sets + [network] * ("perceptual" in name)) for name, sets in TOKENIZERS.items()}
        speeds = self.speeds("tokenizers", kinds)
        for name, (text, sets) in kinds.items():
            place = self.train(f"tokenizer {name}", text, TOKENIZER_STEPS, sets)
            last = self.lines(place)[-1]
            # A model is what `evaluate` takes: one whose flow has learned nothing has the same tokenizer.
            text = FLOW.format(tokenizer=place / "tokenizer.safetensors", hidden=16, depth=1)
            blank = self.train(f"blank {name}", text, 1, [], self.holdout)
            rows = self.judge(blank / "model.safetensors", place / "judged.json", 2, whole=True)
            yield [name, f"{last['holdout_psnr']:.2f}", f"{100 * last['holdout_codes_used']:.1f} %",
                   f"{rows['reconstructions', 'efficientnet_lite0']['frechet']:.1f}", f"{speeds[name]:.0f}"]

    def joint(self):
        yield ["gone on with", "cross-entropy", "Frechet (EfficientNet)", "precision", "recall", "held-out PSNR, dB"]
        begun = self.flow("AdamW, even times", [])
        yield ["nothing: where all begin", *self.of_flow(begun), ""]
        text = JOINT.format(model=begun / "model.safetensors")
        for name, sets in {"the flow alone": ["task.tokenizer_weight=0.0"], **JOINTS}.items():
            place = self.train(f"joint {name}", text, JOINT_STEPS, sets)
            yield [name, *self.of_flow(place), f"{self.lines(place)[-1]['holdout_psnr']:.2f}"]


def main():
    measure = Measure(*sys.argv[1:7])
    wanted = sys.argv[7].split(",") if len(sys.argv) > 7 else ["flows", "averages", "tokenizers", "joint"]
    rows = int(sys.argv[8]) if len(sys.argv) > 8 else None
    for table in wanted:
        # The first line is the heading.
        for at, cells in enumerate(itertools.islice(getattr(measure, table)(), rows and rows + 1)):
            print("| " + " | ".join(cells) + " |", flush=True)
            if at == 0:
                print("|---" * len(cells) + "|", flush=True)
        print()


main()
