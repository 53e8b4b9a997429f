// softmax(logits / tau) E of one token a workgroup, in one pass over its logits: every lane keeps the
// largest tempered logit it has seen, the sums relative to it, and its likeliest codes; the lanes then
// add up. Probabilities are never stored.
//? half enable f16;

@group(0) @binding(0) var<storage, read_write> logits: array<{{ elem }}>;
// Transposed, [SIZE, codes], so that lanes beside one another read numbers beside one another.
@group(0) @binding(1) var<storage, read_write> codebook: array<f32>;
// For every token SIZE numbers of the mean, entropy, log Z and TOP probabilities.
@group(0) @binding(2) var<storage, read_write> beliefs: array<f32>;
@group(0) @binding(3) var<storage, read_write> best: array<i32>;
// Tokens, codes, tau, guidance scale; then for every token its pin and one (0: none) and the bits of its bans.
@group(0) @binding(4) var<storage, read_write> info: array<u32>;
//? guided @group(0) @binding(5) var<storage, read_write> unguided: array<{{ elem }}>;

const LANES = {{ lanes }}u;
const SIZE = {{ size }}u;
const TOP = {{ top }}u;
// Stands for minus infinity, which WGSL cannot write.
const LOWEST = -3.0e38;

var<workgroup> shared_number: array<f32, LANES>;
var<workgroup> shared_code: array<u32, LANES>;

// The tempered logit of a code of a token.
fn tempered(token: u32, code: u32) -> f32 {
    let codes = info[1];
    let at = token * codes + code;
    var logit = f32(logits[at]);
//? guided     let base = f32(unguided[at]);
//? guided     if logit > LOWEST { logit = base + bitcast<f32>(info[3]) * (logit - base); }
//? masked     let words = (codes + 31u) / 32u;
//? masked     let row = 4u + token * (words + 1u);
//? masked     let pin = info[row];
//? masked     let banned = (info[row + 1u + code / 32u] >> (code % 32u)) & 1u;
//? masked     if (pin == 0u && banned == 1u) || (pin != 0u && pin != code + 1u) { return LOWEST; }
    return max(logit / bitcast<f32>(info[2]), LOWEST);
}

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

//? subgroups fn total(lane: u32, rank_in_subgroup: u32, value: f32) -> f32 {
//! subgroups fn total(lane: u32, value: f32) -> f32 {
//? subgroups     let part = subgroupAdd(value);
//? subgroups     shared_number[lane] = select(0.0, part, rank_in_subgroup == 0u);
//! subgroups     shared_number[lane] = value;
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
//? subgroups     @builtin(subgroup_invocation_id) rank_in_subgroup: u32,
) {
    let token = group.y * 65535u + group.x;
    let codes = info[1];
    if token >= info[0] { return; }

    var most = LOWEST;
    var z = 0.0;
    var spread = 0.0;
{{ declare }}
    for (var first = lane; first < codes; first += 4u * LANES) {
        // Four codes at a time, so that sums are brought to a new scale at most once for them.
        var a: vec4<f32>;
        var k: vec4<u32>;
        k = min(vec4<u32>(first) + vec4<u32>(0u, LANES, 2u * LANES, 3u * LANES), vec4<u32>(codes - 1u));
        a.x = tempered(token, k.x);
        a.y = select(LOWEST, tempered(token, k.y), first + LANES < codes);
        a.z = select(LOWEST, tempered(token, k.z), first + 2u * LANES < codes);
        a.w = select(LOWEST, tempered(token, k.w), first + 3u * LANES < codes);
        let high = max(max(a.x, a.y), max(a.z, a.w));
        if high > most {
            let scale = exp(most - high);
            if z > 0.0 { spread = scale * (spread + z * max(most - high, -1e5)); }
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

    let top = largest(lane, most);
    let scale = exp(max(most - top, -1e5));
//? subgroups     let sum = total(lane, rank_in_subgroup, z * scale);
//! subgroups     let sum = total(lane, z * scale);
    let moved = select(0.0, scale * (spread + z * max(most - top, -1e5)), scale > 0.0);
//? subgroups     let moved_sum = total(lane, rank_in_subgroup, moved);
//! subgroups     let moved_sum = total(lane, moved);
    let out = token * (SIZE + 2u + TOP);
{{ store }}
    if lane == 0u {
        beliefs[out + SIZE] = max(log(sum) - moved_sum / sum, 0.0);
        beliefs[out + SIZE + 1u] = top + log(sum);
    }

    // The likeliest codes: in every round the best of the lanes' best, the lowest code where they tie.
    for (var rank = 0u; rank < TOP; rank++) {
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
            beliefs[out + SIZE + 2u + rank] = exp(max(shared_number[0] - top, -1e5)) / sum;
            best[token * TOP + rank] = i32(winner);
        }
        workgroupBarrier();
        if code_0 == winner {
{{ advance }}
        }
    }
}
