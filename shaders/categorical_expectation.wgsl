// softmax(logits / tau) E, in one pass over the logits: every lane keeps the largest tempered logit it
// has seen, the sums relative to it, and its likeliest codes. Probabilities are never stored. A token
// has a workgroup, whose lanes add up at the end.
//? half enable f16;

@group(0) @binding(0) var<storage, read_write> logits: array<{{ elem }}>;
// Transposed, [SIZE, codes], so that lanes beside one another read numbers beside one another.
@group(0) @binding(1) var<storage, read_write> codebook: array<f32>;
// For every token SIZE numbers of the mean, entropy, log Z and TOP probabilities.
@group(0) @binding(2) var<storage, read_write> beliefs: array<f32>;
@group(0) @binding(3) var<storage, read_write> best: array<i32>;
// Tokens, codes, tau, guidance scale.
@group(0) @binding(4) var<storage, read_write> info: array<u32>;
//? guided @group(0) @binding(5) var<storage, read_write> unguided: array<{{ elem }}>;
// For every token its pin and one (0: none) and the bits of its bans.
//? masked @group(0) @binding({{ mask }}) var<storage, read_write> masks: array<u32>;

const LANES = {{ lanes }}u;
const SIZE = {{ size }}u;
const TOP = {{ top }}u;
// From one code of a lane to its next.
const STEP = LANES;
// Stands for minus infinity, which WGSL cannot write.
const LOWEST = -3.0e38;

// What all codes of a token have in common.
struct Row {
    codes: u32,
    // Of the first logit.
    start: u32,
    tau: f32,
//? guided     scale: f32,
//? masked     pin: u32,
//? masked     bans: u32,
}

fn row_of(token: u32) -> Row {
    var row: Row;
    row.codes = info[1];
    row.start = token * row.codes;
    row.tau = bitcast<f32>(info[2]);
//? guided     row.scale = bitcast<f32>(info[3]);
//? masked     let at = token * ((row.codes + 31u) / 32u + 1u);
//? masked     row.pin = masks[at];
//? masked     row.bans = at + 1u;
    return row;
}

// The tempered logit of a code.
fn tempered(row: Row, code: u32) -> f32 {
    var logit = f32(logits[row.start + code]);
//? guided     let base = f32(unguided[row.start + code]);
//? guided     if min(logit, base) < LOWEST { return LOWEST; }
//? guided     logit = base + row.scale * (logit - base);
//? masked     let banned = (masks[row.bans + code / 32u] >> (code % 32u)) & 1u;
//? masked     if (row.pin == 0u && banned == 1u) || (row.pin != 0u && row.pin != code + 1u) { return LOWEST; }
    return max(logit / row.tau, LOWEST);
}

var<workgroup> shared_number: array<f32, LANES>;
var<workgroup> shared_code: array<u32, LANES>;

fn largest(lane: u32, value: f32) -> f32 {
//? subgroups     let part = subgroupMax(value);
//! subgroups     let part = value;
    shared_number[lane] = part;
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        if lane < step { shared_number[lane] = max(shared_number[lane], shared_number[lane + step]); }
        workgroupBarrier();
    }
    let found = shared_number[0];
    workgroupBarrier();
    return found;
}

// `rank` is the lane's within its subgroup, or 0 where subgroups are not used.
fn total(lane: u32, rank: u32, value: f32) -> f32 {
//? subgroups     let part = subgroupAdd(value);
//! subgroups     let part = value;
    shared_number[lane] = select(0.0, part, rank == 0u);
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        if lane < step { shared_number[lane] += shared_number[lane + step]; }
        workgroupBarrier();
    }
    let sum = shared_number[0];
    workgroupBarrier();
    return sum;
}

@compute @workgroup_size({{ lanes }}, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
//? subgroups     @builtin(subgroup_invocation_id) rank: u32,
) {
    // Groups beyond the last token do its work once more: no barrier may depend on what is in memory.
    let token = min(group.y * 65535u + group.x, info[0] - 1u);
    let row = row_of(token);
    let codes = row.codes;

    var most = LOWEST;
    var z = 0.0;
    var spread = 0.0;
{{ declare }}
    for (var first = lane; first < codes; first += 4u * STEP) {
        // Four codes at a time, so that sums are brought to a new scale at most once for them.
        let k = min(vec4<u32>(first) + STEP * vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(codes - 1u));
        var a: vec4<f32>;
        a.x = tempered(row, k.x);
        a.y = select(LOWEST, tempered(row, k.y), first + STEP < codes);
        a.z = select(LOWEST, tempered(row, k.z), first + 2u * STEP < codes);
        a.w = select(LOWEST, tempered(row, k.w), first + 3u * STEP < codes);
        let high = max(max(a.x, a.y), max(a.z, a.w));
        if high > most {
            let fall = max(most - high, -1e5);
            let scale = exp(fall);
            if z > 0.0 { spread = scale * (spread + z * fall); }
            z *= scale;
{{ rescale }}
            most = high;
        }
        let below = max(a - vec4<f32>(most), vec4<f32>(-1e5));
        let w = exp(below);
        z += w.x + w.y + w.z + w.w;
        spread += dot(w, below);
        // A weight that rounding to the sum would lose needs no code.
        if max(max(w.x, w.y), max(w.z, w.w)) > 1e-14 {
            var e: vec4<u32>;
{{ accumulate }}
        }
        if high > top_{{ last }} {
            for (var i = 0u; i < 4u; i++) {
                var x = a[i];
                var c = k[i];
                if x > top_{{ last }} {
                    var swap = 0.0;
                    var swap_code = 0u;
{{ insert }}
                }
            }
        }
    }

//! subgroups     let rank = 0u;
    let top = largest(lane, most);
    let scale = exp(max(most - top, -1e5));
    let sum = total(lane, rank, z * scale);
    let moved = select(0.0, scale * (spread + z * max(most - top, -1e5)), scale > 0.0);
    let moved_sum = total(lane, rank, moved);
    let out = token * (SIZE + 2u + TOP);
{{ gather }}
    if lane == 0u {
{{ store }}
        beliefs[out + SIZE] = max(log(sum) - moved_sum / sum, 0.0);
        beliefs[out + SIZE + 1u] = top + log(sum);
    }

    // The likeliest codes: in every round the best of the lanes' best, the lowest code where they tie.
    for (var place = 0u; place < TOP; place++) {
        shared_number[lane] = top_0;
        shared_code[lane] = code_0;
        workgroupBarrier();
        for (var step = LANES / 2u; step > 0u; step /= 2u) {
            if lane < step {
                let other = shared_number[lane + step];
                let other_code = shared_code[lane + step];
                let own = shared_number[lane];
                if other > own || (other == own && other_code < shared_code[lane]) {
                    shared_number[lane] = other;
                    shared_code[lane] = other_code;
                }
            }
            workgroupBarrier();
        }
        let winner = shared_code[0];
        if lane == 0u {
            beliefs[out + SIZE + 2u + place] = exp(max(shared_number[0] - top, -1e5)) / sum;
            best[token * TOP + place] = i32(winner);
        }
        workgroupBarrier();
        if code_0 == winner {
{{ advance }}
        }
    }
}
