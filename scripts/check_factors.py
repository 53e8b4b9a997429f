#!/usr/bin/env python3
"""How often pictures of the embedded model are ones that the drawings could have been: all parts whole, of the class asked for.

usage: check_factors.py DATA AGAIN FOLDER...
    DATA    what examples/dicebear wrote
    AGAIN   what the tokenizer makes of DATA/holdout: `purrscope encode MODEL DATA/holdout --out C`, `purrscope decode MODEL C --out AGAIN`
    FOLDER  of evaluate --out or sample --out

The drawings are put together of parts (head, eyes, mouth, tail, ...) that their tables name. A small network learns on DATA/train to
tell every part of both animals, coat and place included; half of what it sees are two drawings laid over each other, with the shares of
both as the answer, so that it is unsure of what is between two parts. A picture is whole if the network is as sure of each of its
parts as it is of all but one in two hundred of the pictures in AGAIN, and of its class if animal, coat and place are the ones
asked for. The shares of the drawings and of AGAIN that are whole are printed beside; so is every part's accuracy on both.
Seed 0; about five minutes on two cores. Needs numpy, torch and Pillow. The network is kept as DATA/factors.pt.
"""
import collections
import json
import pathlib
import sys

import numpy
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

EPOCHS, BATCH, RATE = 10, 128, 2e-3
# Share of the pictures in AGAIN that it may be less sure of a part of.
UNSURE = 0.005
# What the class says, not the picture's own lot.
ASKED = ("animal", "coat", "scene")
PLACES = {"in a meadow": "meadow", "in the woods": "forest", "in the living room": "livingRoom", "in the bedroom": "bedroom"}


def of_class(name):
    """Animal, coat and place of a class, whether its words are parted by commas or hyphens."""
    animal, coat, place = name.replace(", ", "-").replace(" ", "-").split("-", 2)
    return {"animal": animal, "coat": f"{animal} {coat}", "scene": PLACES[place.replace("-", " ")]}


def pixels(paths):
    return numpy.stack([numpy.asarray(Image.open(path).convert("RGB")) for path in paths])


def table(data, part):
    """Files of a part, the factors of each, and their names; factors that a drawing lacks are `none`."""
    files, factors = [], []
    for line in (data / f"{part}.tsv").read_text().splitlines()[1:]:
        file, name, given = line.split("\t")
        asked = of_class(name)
        own = dict(pair.split("=") for pair in given.split(","))
        own = {key: f"{asked['animal']} {value}" for key, value in own.items() if key != "scene"}
        files.append(data / part / file)
        factors.append(asked | own)
    names = sorted({key for row in factors for key in row})
    return files, [{name: row.get(name, f"{row['animal']} none") for name in names} for row in factors], names


class Network(nn.Module):
    def __init__(self, values):
        super().__init__()
        widths = [3, 32, 64, 128, 192]
        layers = []
        for inputs, outputs in zip(widths, widths[1:]):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(192 * 4 * 4, 384), nn.ReLU(), nn.Dropout(0.2))
        self.heads = nn.ModuleList(nn.Linear(384, len(each)) for each in values)

    def forward(self, x):
        x = self.body(x)
        return [head(x) for head in self.heads]


def planes(pictures):
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def learn(network, pictures, labels):
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.01)
    steps = EPOCHS * (len(pictures) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    for epoch in range(EPOCHS):
        order, total = torch.randperm(len(pictures)), 0.0
        for batch in order[: len(order) // BATCH * BATCH].split(BATCH):
            other = batch[torch.randperm(BATCH)]
            share = torch.rand(BATCH, 1) * (torch.rand(BATCH, 1) < 0.5)
            x = planes(pictures[batch.numpy()]) * (1 - share[..., None, None]) + planes(pictures[other.numpy()]) * share[..., None, None]
            x = x + torch.randn_like(x) * 0.05 * torch.rand(BATCH, 1, 1, 1)
            loss = 0.0
            for head, truth in zip(network(x), labels.T):
                aim = functional.one_hot(truth[batch], head.shape[1]) * (1 - share) + functional.one_hot(truth[other], head.shape[1]) * share
                loss = loss - (aim * functional.log_softmax(head, 1)).sum(1).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1} of {EPOCHS}: {total / (steps // EPOCHS):.3f} nats of all parts", file=sys.stderr, flush=True)


def told(network, pictures):
    """The likeliest value of every part and its probability, `[pictures, parts]` each."""
    network.eval()
    with torch.no_grad():
        batches = [[head.softmax(1).max(1) for head in network(planes(part))] for part in numpy.array_split(pictures, max(1, len(pictures) // 256))]
    best = [torch.stack([found.indices for found in heads], 1) for heads in batches]
    sure = [torch.stack([found.values for found in heads], 1) for heads in batches]
    return torch.cat(best), torch.cat(sure)


def samples(folder):
    """Pictures that the program made, and the classes that they were asked to be of, from the settings within them."""
    paths = sorted(folder.glob("*.png"))
    classes = [of_class(json.loads(Image.open(path).text["purrscope"])["class"]) for path in paths]
    return pixels(paths), classes


def main():
    torch.manual_seed(0)
    data, again, *folders = map(pathlib.Path, sys.argv[1:])
    files, factors, names = table(data, "train")
    values = [sorted({row[name] for row in factors}) for name in names]
    numbers = [{value: at for at, value in enumerate(each)} for each in values]

    def labels(rows):
        return torch.tensor([[numbers[at][row[name]] for at, name in enumerate(names)] for row in rows])

    network, kept = Network(values), data / "factors.pt"
    if kept.exists():
        network.load_state_dict(torch.load(kept, weights_only=True))
    else:
        learn(network, pixels(files), labels(factors))
        torch.save(network.state_dict(), kept)

    files, factors, _ = table(data, "holdout")
    # The program takes files in the order of their names.
    order = sorted(range(len(files)), key=lambda at: str(files[at]))
    real, truth = pixels([files[at] for at in order]), labels([factors[at] for at in order])
    copies = pixels(sorted(again.glob("*.png")))
    assert len(copies) == len(real), f"{again} has {len(copies)} pictures, and {data}/holdout {len(real)}"
    (best, sure), (seen, likely) = told(network, real), told(network, copies)
    thresholds = likely.kthvalue(max(1, round(UNSURE * len(likely))), dim=0).values
    print("| part | values | told right of drawings | after the tokenizer | how sure it must be |\n|---|---|---|---|---|")
    for at, name in enumerate(names):
        right = [100 * (found[:, at] == truth[:, at]).float().mean() for found in (best, seen)]
        print(f"| {name} | {len(values[at])} | {right[0]:.1f} % | {right[1]:.1f} % | {thresholds[at]:.3f} |")

    def percent(these):
        return f"{100 * these.float().mean():.1f} %"

    print("\n| pictures | whole | of their class | both | both, cats | both, dogs | parts that most often lack |\n|---|---|---|---|---|---|---|")
    for what, sureness in [("drawings, held out", sure), ("the same after the tokenizer", likely)]:
        print(f"| {what} ({len(sureness)}) | {percent((sureness >= thresholds).all(1))} | | | | | |")
    for folder in folders:
        made, asked = samples(folder)
        best, sure = told(network, made)
        whole = (sure >= thresholds).all(1)
        fits = [all(values[names.index(part)][row[names.index(part)]] == wish[part] for part in ASKED) for row, wish in zip(best, asked)]
        both = whole & torch.tensor(fits)
        cats = torch.tensor([wish["animal"] == "cat" for wish in asked])
        lacking = collections.Counter(name for row in sure < thresholds for name, lacks in zip(names, row) if lacks)
        lacking = ", ".join(f"{name} {100 * count / len(made):.0f} %" for name, count in lacking.most_common(4))
        cells = [percent(these) for these in (whole, torch.tensor(fits), both, both[cats], both[~cats])]
        print(f"| {folder} ({len(made)}) | {' | '.join(cells)} | {lacking} |")


if __name__ == "__main__":
    main()
