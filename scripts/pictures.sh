#!/usr/bin/env bash
# Makes the pictures in docs/: a row of samples, generations as GIFs, a sweep, and a screenshot of every pane.
# Needs a release build, Xvfb, xdotool and ImageMagick (./x test installs them). With a folder of held-out pictures, one folder
# a class, also a row of them with what the tokenizer makes of them.
# usage: scripts/pictures.sh [HOLDOUT]
set -euo pipefail
[ $# -eq 0 ] || set -- "$(realpath "$1")"
cd "$(dirname "$0")/.."
program=$(realpath "${CARGO_TARGET_DIR:-target}")/release/purrscope
work=$(mktemp -d)
export HOME=$work XDG_RUNTIME_DIR=$work PURRSCOPE_GALLERY=$work/gallery # nothing of other sessions is in the pictures
mkdir -p docs

"$program" sample --labels 12,33,3,42,8,28,17,39,22,44,5,26 --seed 5 --steps 40 --cfg 2 --out "$work/row"
convert $(for i in $(seq -w 0 11); do echo "$work"/row/*-0$i.png; done) -filter point -resize 128x128 +append docs/samples.png
# Four of every class, as they come: a column a class, a row a seed from 0 to 3.
for seed in 0 1 2 3; do
    "$program" sample --count 48 --seed $seed --out "$work/classes"
    for half in "$(seq -f %03g 0 23)" "$(seq -f %03g 24 47)"; do
        convert $(for i in $half; do echo "$work"/classes/*-seed$seed-$i.png; done) +append "$work/row-${half%%$'\n'*}-$seed.png"
    done
done
convert "$work"/row-*.png -append docs/classes.png
if [ $# -gt 0 ]; then
    mkdir "$work/held"
    n=10
    for folder in "$1"/*/; do
        [ $((n % 4)) -ne 2 ] || cp "$folder/00000.png" "$work/held/$n.png"
        n=$((n + 1))
    done
    "$program" encode assets/cats-and-dogs.safetensors "$work/held" --out "$work/held.safetensors"
    "$program" decode assets/cats-and-dogs.safetensors "$work/held.safetensors" --out "$work/back"
    convert \( "$work"/held/*.png +append \) \( "$work"/back/*.png +append \) -append -filter point -resize 200% docs/reconstructions.png
fi
"$program" sample --class cat --count 4 --seed 3 --steps 24 --cfg 2 --out "$work/gif" --animate gif
cp "$work"/gif/*.gif docs/generation.gif

Xvfb -displayfd 3 -screen 0 1440x900x24 3>"$work/display" >/dev/null 2>&1 &
server=$!
trap 'kill $server 2>/dev/null || true; rm -rf "$work"' EXIT
for _ in $(seq 50); do [ -s "$work/display" ] && break; sleep 0.1; done
DISPLAY=:$(cat "$work/display")
export DISPLAY
(cd "$work" && exec "$program" --device cpu >/dev/null 2>&1) &
app=$!
press() { for key in "$@"; do xdotool key "$key"; sleep 0.3; done; }
click() { xdotool mousemove "$1" "$2" click 1; sleep "${3:-0.7}"; }
shot() { import -window root -strip -define png:compression-level=9 "docs/$1.png"; }
wide() { click "$1" 62 1.5; }

for _ in $(seq 60); do sleep 1; xdotool search --name Purrscope windowfocus 2>/dev/null && break; done
sleep 6
click 1384 850        # the hint was read
click 628 234         # a token of the first picture
for _ in $(seq 11); do press Left; done
press 5               # entropy over the pictures
xdotool mousemove 760 640; sleep 1.5; shot studio

# A generation in the window, one picture a step.
press 4 End; click 70 340 0.2
press g
for frame in $(seq -w 0 17); do sleep 0.12; import -window root "$work/frame-$frame.png"; done
sleep 4; import -window root "$work/frame-18.png"
convert -delay 18 "$work"/frame-0*.png "$work"/frame-1[0-7].png -delay 200 "$work/frame-18.png" -resize 960x -colors 96 \
    -layers OptimizePlus -loop 0 docs/studio.gif

press s r             # the region tool: paint a part of the first picture
for y in 215 240 265; do
    xdotool mousemove 570 $y; sleep 0.1; xdotool mousedown 1; sleep 0.1
    for x in 580 590 600 610 620 630 640 650 660; do xdotool mousemove $x $y; sleep 0.03; done
    xdotool mouseup 1; sleep 0.2
done
sleep 0.5; shot pane-region
click 1014 128 8; xdotool mousemove 760 760; sleep 0.5; shot pane-question
click 1168 100        # back to the run
press v
wide 396; click 410 190; shot pane-gallery
xdotool keydown ctrl; click 550 190; xdotool keyup ctrl
wide 462; sleep 5; shot pane-codebook
wide 527; click 368 168 45; shot pane-sweep
wide 596; sleep 1; shot pane-calibration
wide 674; sleep 3; shot pane-playground
wide 339
click 1219 62; shot pane-model
mkdir -p "$work/flow"; cp assets/recipe/flow.jsonl "$work/flow/metrics.jsonl"
click 1278 62; click 1215 312; xdotool type "$work/flow"; sleep 0.5; click 1328 312 2; shot pane-training
click 1329 62; shot pane-log
click 1158 62
kill $app
