#!/usr/bin/env bash
# A report on a GPU from a machine that has neither network nor toolchain nor display.
#
#   scripts/gpu-report.sh pack OUT.tar.xz [PROGRAM]   here: program, networks and this script in one file
#   ./gpu-report.sh run FOLDER [OPTIONS]              there, unpacked: report.json, report.md and pictures
#
# Options of run:
#   --device D         gpu (default), gpu:N or cpu
#   --seconds N        seconds of each training, and a third more than of each benchmark (default 60; the whole ends
#                      within 8 minutes)
#   --slack N          seconds beyond these after which a part is ended (default 20)
#   --size SIZES       networks with random weights (default S/2,B/2,L/2,XL/2)
#   --python P         Python with PyTorch for the comparison (default python3)
#   --torch-device D   cuda (default), or cpu for a trial
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

MOST_BYTES=$((32 << 20))
# Of the eight minutes, what is left to write the report.
TOTAL_SECONDS=465

fail() {
    echo "error: $*" >&2
    exit 1
}

usage() {
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"
}

pack() {
    local out=${1:-} program=${2:-}
    [ -n "$out" ] || fail "name the file to write: scripts/gpu-report.sh pack OUT.tar.xz"
    if [ -z "$program" ]; then
        (cd "$here/.." && cargo build --release --locked)
        program=${CARGO_TARGET_DIR:-$here/../target}/release/purrscope
    fi
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    local bundle=$work/purrscope-gpu-report
    mkdir "$bundle"
    strip -o "$bundle/purrscope" "$program"
    cp "$here/gpu-report.sh" "$here/networks.py" "$here/torch_bench.py" "$bundle"
    cp "$here/../assets/recipe/tokenizer.toml" "$here/../assets/recipe/flow.toml" "$bundle"
    needs "$bundle/purrscope" >"$bundle/READ-ME.txt"
    tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf - purrscope-gpu-report \
        | xz --x86 --lzma2=preset=9e >"$work/bundle"
    local bytes; bytes=$(wc -c <"$work/bundle")
    [ "$bytes" -le "$MOST_BYTES" ] || fail "the bundle takes $bytes bytes, and $MOST_BYTES are allowed"
    cp "$work/bundle" "$out"
    echo "$out: $bytes bytes of $MOST_BYTES; the program takes $(wc -c <"$bundle/purrscope") unpacked"
}

# What the machine must have, as the program itself tells.
needs() {
    local glibc
    glibc=$(objdump -T "$1" | sed -n 's/.*(\{0,1\}GLIBC_\([0-9.]*\)).*/\1/p' | sort -V | tail -n 1)
    cat <<TEXT
Purrscope's report on a GPU: $(uname -sm), $("$1" --version)

    ./gpu-report.sh run FOLDER

takes up to eight minutes and writes report.json, report.md and pictures into FOLDER. It needs neither network
nor toolchain nor display, and leaves nothing outside of FOLDER. ./gpu-report.sh help lists the options.

The machine must have
- glibc ${glibc:-unknown} or newer, and these libraries, which every Linux has (Debian: libc6, libgcc-s1):
$(ldd "$1" | sed -n 's/^[[:space:]]*\([^ ]*\.so[^ ]*\) .*/      \1/p')
- libvulkan.so.1, opened at run time (Debian and Ubuntu: libvulkan1; Fedora: vulkan-loader; Arch: vulkan-icd-loader)
- a Vulkan driver: NVIDIA's own (libnvidia-gl-* with the file nvidia_icd.json), or Mesa's for AMD and Intel (Debian,
  Ubuntu and Fedora: mesa-vulkan-drivers). In a container of NVIDIA's, NVIDIA_DRIVER_CAPABILITIES must hold 'graphics'.
- bash, coreutils, sed and awk. Python with PyTorch and CUDA is used for a comparison where it is there.
TEXT
}

# --- On the machine with the GPU.

# Text as a JSON string.
json_string() {
    LC_ALL=C tr -d '\000-\010\013-\037' | sed 's/\\/\\\\/g; s/"/\\"/g; s/\t/\\t/g' \
        | awk 'BEGIN { ORS = ""; print "\"" } { print (NR > 1 ? "\\n" : "") $0 } END { print "\"" }'
}

seconds_left() {
    echo $((TOTAL_SECONDS - (SECONDS - begun)))
}

# part NAME LIMIT COMMAND...: runs the command for LIMIT seconds at most, and takes note of what became of it.
part() {
    local name=$1 limit=$2 left; left=$(seconds_left)
    shift 2
    if [ "$left" -lt 3 ]; then
        note "$name" skipped 0 "the eight minutes were over"
        return 1
    fi
    [ "$limit" -le "$left" ] || limit=$left
    echo "$name: at most $limit s" >&2
    local from=$SECONDS status=0
    timeout -k 10 "$limit" "$@" >"$out/parts/$name.txt" 2>"$out/parts/$name.err" || status=$?
    case $status in
    0) note "$name" passed $((SECONDS - from)) "" ;;
    124 | 137) note "$name" "timed out" $((SECONDS - from)) "$(last_lines "$name")" ;;
    *) note "$name" failed $((SECONDS - from)) "$(last_lines "$name")" ;;
    esac
    return "$status"
}

# train NAME RUN.toml: trains until the time is over, which saves the run and is no failure.
train() {
    local name=$1 left status=0; left=$(seconds_left)
    if [ "$left" -lt $((seconds + slack)) ]; then
        note "$name" skipped 0 "too little of the eight minutes was left"
        return 1
    fi
    echo "$name: $seconds s" >&2
    local from=$SECONDS
    timeout -s INT -k "$slack" "$seconds" "$program" --train "$2" --device "$device" \
        >"$out/parts/$name.txt" 2>"$out/parts/$name.err" || status=$?
    if [ "$status" -eq 124 ] && [ -s "$out/parts/$name/metrics.jsonl" ]; then
        note "$name" passed $((SECONDS - from)) ""
        return 0
    fi
    note "$name" failed $((SECONDS - from)) "$(last_lines "$name")"
    return 1
}

last_lines() {
    cat "$out/parts/$1.txt" "$out/parts/$1.err" | tail -n 8
}

# note NAME OUTCOME SECONDS REASON: a line of both reports.
note() {
    echo "$1: $2 after $3 s${4:+: }$(tail -n 1 <<<"$4")" >&2
    parts+=("{\"name\": \"$1\", \"outcome\": \"$2\", \"seconds\": $3, \"last_lines\": $(json_string <<<"$4")}")
    table+="| $1 | $2 | $3 | $(tail -n 1 <<<"$4" | tr '|' '/') |"$'\n'
}

# A run file of the recipe for the pictures made here.
run_file() {
    sed -e "s|^out = .*|out = \"$out/parts/$1-training\"|" -e "s|^data = .*|data = \"$out/parts/pictures\"|" \
        -e '/^holdout = /d' -e 's/^steps = [0-9]*$/steps = 1000000/;' -e 's/^checkpoint_every = .*/checkpoint_every = 1000000/' \
        -e 's/^sample_every = .*/sample_every = 1000000/' \
        -e "s|^tokenizer = .*|tokenizer = \"$out/parts/tokenizer-training/tokenizer.safetensors\"|" \
        "$here/$1.toml" >"$out/parts/$1-training.toml"
    # Steps of the sheets stand below [task.samples] and have a bound of their own.
    sed -i '/^\[task.samples\]/,$s/^steps = .*/steps = 4/' "$out/parts/$1-training.toml"
}

# The first and the last line of a run's metrics.
metrics_of() {
    local file=$out/parts/$1-training/metrics.jsonl
    if [ -s "$file" ]; then
        echo "{\"steps\": $(wc -l <"$file"), \"first\": $(head -n 1 "$file"), \"last\": $(tail -n 1 "$file")}"
    else
        echo null
    fi
}

document() {
    if [ -s "$out/parts/$1.json" ]; then cat "$out/parts/$1.json"; else echo null; fi
}

write_json() {
    local IFS=,
    cat <<JSON
{
"made": "$(date -u +%Y-%m-%dT%H:%M:%SZ)",
"system": $(uname -srvm | json_string),
"device": "$device",
"seconds_of_a_part": $seconds,
"total_seconds": $((SECONDS - begun)),
"parts": [${parts[*]}],
"devices": $(document devices),
"doctor": $(document doctor),
"kernels": $(document kernels),
"sampling": $(document sampling),
"sampling_f16": $(document sampling-f16),
"training": $(document training),
"tokenizer_training": $(metrics_of tokenizer),
"flow_training": $(metrics_of flow),
"torch": $(document torch)
}
JSON
}

write_markdown() {
    local name used
    used=$(cat "$out"/parts/*.err | sed -n 's/^device: //p' | tail -n 1)
    cat <<MARKDOWN
# Purrscope on ${used:-$device}

$("$program" --version), $(uname -srm), $(date -u +%Y-%m-%d), $((SECONDS - begun)) s in all.

| part | outcome | seconds | last line of what went wrong |
|---|---|---|---|
$table
MARKDOWN
    for name in nvidia-smi devices doctor kernels sampling sampling-f16 training torch; do
        [ -s "$out/parts/$name.txt" ] || continue
        printf '\n## %s\n\n```\n%s\n```\n' "$name" "$(cat "$out/parts/$name.txt")"
    done
    for name in tokenizer flow; do
        [ -s "$out/parts/$name-training/metrics.jsonl" ] || continue
        printf '\n## %s training, first and last step\n\n```\n%s\n%s\n```\n' "$name" \
            "$(head -n 1 "$out/parts/$name-training/metrics.jsonl")" \
            "$(tail -n 1 "$out/parts/$name-training/metrics.jsonl")"
    done
    for name in "$out"/*.png; do
        [ -e "$name" ] || continue
        printf '\n![%s](%s)\n' "$(basename "$name" .png)" "$(basename "$name")"
    done
}

# bench NAME PART [OPTIONS]: a part of the benchmarks, under a name of its own.
bench() {
    local name=$1 what=$2
    shift 2
    part "$name" $((bench_seconds + slack)) "$program" bench "$what" --device "$device" --size "$sizes" \
        --seconds "$row_seconds" --json "$out/parts/$name.json" "$@" || true
}

# Pictures drawn by the embedded model, on the CPU so that no GPU is needed for them: two classes in folders.
make_pictures() {
    local class
    for class in cat dog; do
        part "pictures-$class" 60 "$program" sample --class "$class" --count 32 --steps 4 --cfg 1 --device cpu \
            --out "$out/parts/pictures/$class" || return
    done
}

compare_with_torch() {
    if ! command -v "$python" >/dev/null; then
        note torch skipped 0 "there is no $python"
    elif ! timeout 40 "$python" -c "import sys, torch; sys.exit('$torch_device' == 'cuda' and not torch.cuda.is_available())" \
        2>/dev/null; then
        note torch skipped 0 "$python has no torch with $torch_device"
    else
        part torch $((bench_seconds + slack)) "$python" -B "$here/torch_bench.py" "$out/parts/torch.json" --device "$torch_device" \
            --seconds "$row_seconds" --total "$bench_seconds" --size "$sizes" || true
    fi
}

run() {
    out= device=gpu seconds=60 slack=20 sizes=S/2,B/2,L/2,XL/2 python=python3 torch_device=cuda
    while [ $# -gt 0 ]; do
        case $1 in
        --device | --seconds | --slack | --size | --python | --torch-device)
            [ $# -gt 1 ] || fail "$1 needs a value"
            case $1 in
            --device) device=$2 ;;
            --seconds) seconds=$2 ;;
            --slack) slack=$2 ;;
            --size) sizes=$2 ;;
            --python) python=$2 ;;
            --torch-device) torch_device=$2 ;;
            esac
            shift 2 ;;
        -*) fail "unknown option '$1'" ;;
        *)
            [ -z "$out" ] || fail "one folder, not '$out' and '$1'"
            out=$1
            shift ;;
        esac
    done
    [ -n "$out" ] || fail "name a folder for the report: ./gpu-report.sh run FOLDER"
    [[ $seconds =~ ^[0-9]+$ && $seconds -ge 1 && $seconds -le 60 ]] || fail "--seconds takes a whole number from 1 to 60"
    [[ $slack =~ ^[0-9]+$ && $slack -ge 1 && $slack -le 60 ]] || fail "--slack takes a whole number from 1 to 60"
    program=$here/purrscope
    [ -x "$program" ] || fail "$program is not there: pack a bundle, and run the script that lies in it"
    if [ -e "$out" ] && [ -n "$(ls -A "$out")" ]; then
        fail "$out is there and not empty"
    fi
    mkdir -p "$out/parts"
    out=$(cd "$out" && pwd)
    # A part ends itself after 40 times the seconds of a row.
    bench_seconds=$(((seconds * 3 + 3) / 4))
    row_seconds=$(awk "BEGIN { print $bench_seconds / 40 }")
    begun=$SECONDS parts=() table=
    # Records, caches and settings stay within the folder.
    mkdir "$out/parts/own"
    export XDG_DATA_HOME=$out/parts/own XDG_CACHE_HOME=$out/parts/own XDG_RUNTIME_DIR=$out/parts/own

    command -v nvidia-smi >/dev/null && { part nvidia-smi 10 nvidia-smi || true; }
    "$program" devices --json >"$out/parts/devices.json" 2>/dev/null || true
    part devices 15 "$program" devices || true
    part doctor 90 "$program" doctor --device "$device" --json "$out/parts/doctor.json" || true
    bench kernels kernels
    bench sampling sampling
    # Not every adapter has half precision, and then this part says so.
    bench sampling-f16 sampling --precision f16
    if make_pictures; then
        run_file tokenizer
        run_file flow
        if train tokenizer-training "$out/parts/tokenizer-training.toml"; then
            train flow-training "$out/parts/flow-training.toml" || true
        else
            note flow-training skipped 0 "it needs the tokenizer of the training before it"
        fi
    else
        note tokenizer-training skipped 0 "there are no pictures"
        note flow-training skipped 0 "there are no pictures"
    fi
    part sheet 40 "$program" sweep --class cat --x temperature=0.7,0.9,1.1 --y steps=4,12 --seed 5 \
        --device "$device" --out "$out/sheet.png" || true
    bench training training
    compare_with_torch
    write_json >"$out/report.json"
    write_markdown >"$out/report.md"
    rm -rf "$out/parts/own" "$out/parts/pictures"
    rm -f "$out"/parts/*-training/*.safetensors
    echo "$out/report.md, after $((SECONDS - begun)) s" >&2
}

case ${1:-help} in
pack)
    shift
    pack "$@" ;;
run)
    shift
    run "$@" ;;
help | --help | -h) usage ;;
*) fail "unknown command '$1' (try $0 help)" ;;
esac
