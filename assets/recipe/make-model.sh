#!/usr/bin/env bash
# Redoes the embedded model, from the package to the file: about an hour and a half on two CPU cores.
# Run at the top of the repository; needs Python with Pillow. Stopped half-way, it goes on where it was.
set -euo pipefail
# The allocator keeps what is freed: a step asks for the same memory again (a fifth faster).
export MIMALLOC_PURGE_DELAY=-1
mkdir -p data runs
[ -e data/robohash-2.0-py3-none-any.whl ] || pip download robohash==2.0 --no-deps --dest data
[ -e data/robohash64/manifest.json ] || python3 assets/recipe/compose.py data/robohash-2.0-py3-none-any.whl data/robohash64
train() {
    local resume=()
    [ -e "runs/$1/checkpoint.safetensors" ] && resume=(--resume)
    cargo run --release --locked -- --train "assets/recipe/$1.toml" "${resume[@]}"
}
train tokenizer
train flow
cp runs/flow/model.safetensors assets/cats-and-robots.safetensors
