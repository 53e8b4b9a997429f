#!/usr/bin/env python3
"""Compose the demo pictures from the layered artwork in the PyPI wheel robohash 2.0.

usage: compose.py WHEEL OUT [--size 64] [--per-class 1000] [--jobs 2]

Writes OUT/train/CLASS/*.png, OUT/val/CLASS/*.png and OUT/manifest.json. A class is a family of
artwork in one colour; a picture is one choice of every layer on a flat pastel ground. Two choices
that look the same count once, and no composition is in both splits. The same wheel and arguments
give the same files everywhere. Needs Pillow.
"""
import argparse
import collections
import colorsys
import hashlib
import io
import json
import multiprocessing
import pathlib
import random
import zipfile

from PIL import Image

ROOT = "robohash/sets/"
HOLDOUT = 10  # one composition in this many goes to val
PASTELS = [
    "#fde2e4", "#fff1e6", "#fef9c3", "#e2ece9", "#dff3e4", "#d7eefb",
    "#dfe7fd", "#e9e4fb", "#f6e2f3", "#f3ece0", "#eaf4d9", "#e8eaed",
]
HUES = [(0.02, "red"), (0.115, "orange"), (0.19, "yellow"), (0.45, "green"),
        (0.68, "blue"), (0.83, "purple"), (0.95, "pink"), (1.01, "red")]


class Artwork:
    """The parts of the wheel, each decoded and scaled once."""

    def __init__(self, wheel, size):
        self.zip, self.size, self.scaled = zipfile.ZipFile(wheel), size, {}
        self.sets = collections.defaultdict(lambda: collections.defaultdict(list))
        for name in sorted(self.zip.namelist()):
            if name.startswith(ROOT) and name.endswith(".png"):
                *family, layer, _ = name[len(ROOT):].split("/")
                self.sets["/".join(family)][layer].append(name)

    def layers(self, family):
        """Lists of parts from back to front: the order follows the '#' of the folder's name."""
        return [parts for _, parts in sorted(self.sets[family].items(), key=lambda kv: kv[0].split("#")[1])]

    def part(self, name):
        if name not in self.scaled:
            picture = Image.open(io.BytesIO(self.zip.read(name))).convert("RGBA")
            # Premultiplied while it is scaled: no dark fringe around the edges.
            small = picture.convert("RGBa").resize((self.size, self.size), Image.Resampling.LANCZOS)
            self.scaled[name] = small.convert("RGBA")
        return self.scaled[name]

    def colour(self, name):
        """A word for the median colour of the opaque pixels."""
        pixels = zip(*[iter(self.part(name).tobytes())] * 4)
        opaque = [p[:3] for p in pixels if p[3] > 200]
        median = [sorted(channel)[len(opaque) // 2] / 255 for channel in zip(*opaque)]
        hue, saturation, value = colorsys.rgb_to_hsv(*median)
        if saturation < 0.2:
            return "white" if value > 0.85 else "grey"
        return next(word for limit, word in HUES if hue < limit)

    def compose(self, parts, ground):
        picture = Image.new("RGBA", (self.size, self.size), ground)
        for part in parts:
            picture.alpha_composite(self.part(part))
        return picture.convert("RGB")


def classes(art):
    found = {}
    for i, body in enumerate(sorted(art.layers("set4")[0], key=lambda n: int(n.split("body")[-1][:-4]))):
        found[f"cat-{i:02d}"] = [[body], *art.layers("set4")[1:]]
    for family in sorted(f for f in art.sets if f.startswith("set1/")):
        found["robot-" + family.split("/")[1]] = art.layers(family)
    bases, *rest = art.layers("set3")
    by_colour = collections.defaultdict(list)
    for base in bases:
        by_colour[art.colour(base)].append(base)
    for colour, some in sorted(by_colour.items()):
        found["droid-" + colour] = [some, *rest]
    found["monster"] = art.layers("set2")
    return found


def write_class(job):
    wheel, out, size, count, name, layers = job
    art, chance = Artwork(wheel, size), random.Random(f"purrscope-1-{name}")
    seen, tally, misses = set(), collections.Counter(), 0
    while len(seen) < count and misses < 2000:
        parts = [chance.choice(layer) for layer in layers]
        ground = chance.choice(PASTELS)
        looks = hashlib.sha256(art.compose(parts, "white").tobytes()).hexdigest()
        if looks in seen:
            misses += 1
            continue
        misses = 0
        seen.add(looks)
        split = "val" if int(looks[:8], 16) % HOLDOUT == 0 else "train"
        folder = out / split / name
        folder.mkdir(parents=True, exist_ok=True)
        art.compose(parts, ground).save(folder / f"{looks[:16]}.png")
        tally[split] += 1
    return name, dict(tally)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("wheel")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--per-class", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    table = classes(Artwork(args.wheel, args.size))
    jobs = [(args.wheel, args.out, args.size, args.per_class, *item) for item in table.items()]
    with multiprocessing.Pool(args.jobs) as pool:
        counts = dict(pool.imap_unordered(write_class, jobs))
    digest = hashlib.sha256()
    for path in sorted(args.out.glob("*/*/*.png")):
        digest.update(path.read_bytes())
    manifest = {"source": "robohash 2.0 (PyPI)", "size": args.size, "counts": dict(sorted(counts.items())),
                "sha256": digest.hexdigest()}
    (args.out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    print(f"{len(counts)} classes, {sum(sum(c.values()) for c in counts.values())} pictures")


if __name__ == "__main__":
    main()
