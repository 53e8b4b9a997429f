#!/usr/bin/env bash
# Makes the pictures in docs/: a row of samples, a generation as a GIF, and screenshots of the studio.
# Needs a release build, Xvfb, xdotool and ImageMagick (./x test installs them).
set -euo pipefail
cd "$(dirname "$0")/.."
program=${CARGO_TARGET_DIR:-target}/release/purrscope
work=$(mktemp -d)
export HOME=$work XDG_RUNTIME_DIR=$work # settings of other runs stay out of the pictures
mkdir -p docs

"$program" sample --labels 4,1,8,6,14,7,15,18,21,23,30,32 --seed 5 --steps 40 --cfg 2 --out "$work/row"
convert $(for i in $(seq -w 0 11); do echo "$work"/row/*-0$i.png; done) -filter point -resize 128x128 +append docs/samples.png
"$program" sample --class cat --count 4 --seed 3 --steps 24 --cfg 2 --out "$work/gif" --animate gif
cp "$work"/gif/*.gif docs/generation.gif

Xvfb -displayfd 3 -screen 0 1440x900x24 3>"$work/display" >/dev/null 2>&1 &
server=$!
trap 'kill $server 2>/dev/null || true; rm -rf "$work"' EXIT
for _ in $(seq 50); do [ -s "$work/display" ] && break; sleep 0.1; done
DISPLAY=:$(cat "$work/display")
export DISPLAY
"$program" >/dev/null 2>&1 &
app=$!
shot() { import -window root "docs/$1.png"; }
sleep 3.5; shot studio-running
for _ in $(seq 60); do sleep 1; xdotool search --name Purrscope windowfocus 2>/dev/null && break; done
sleep 6; shot studio-finished
xdotool mousemove 600 220 click 1; sleep 2
for _ in 1 2 3 4 5 6 7 8 9 10; do xdotool key Left; sleep 0.3; done
xdotool mousemove 650 95 click 1; sleep 1; xdotool mousemove 625 157 click 1; sleep 1 # overlay: entropy
xdotool mousemove 760 640; sleep 1; shot studio
kill $app
