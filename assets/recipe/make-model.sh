#!/usr/bin/env bash
# Redoes the embedded model, from the pictures to the file: about seven hours on two CPU cores.
# Run at the top of the repository. Stopped half-way, it goes on where it was.
set -euo pipefail
[ -e data/dicebear/holdout.tsv ] || cargo run --release --locked --manifest-path examples/dicebear/Cargo.toml -- data/dicebear
train() {
    local resume=()
    [ -e "runs/$1/checkpoint.safetensors" ] && resume=(--resume)
    cargo run --release --locked -- --train "assets/recipe/$1.toml" "${resume[@]}"
}
train tokenizer
train flow
cp runs/flow/model.safetensors assets/cats-and-dogs.safetensors
