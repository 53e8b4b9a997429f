// As categorical_expectation.wgsl, for adapters in software, whose lanes are the vectors of a
// processor: a lane has tokens of its own, and nothing is added up between lanes. All lanes read the
// same part of the codebook, which a processor does once for them, and use it for all of their tokens.
// What stands between brackets is repeated for each.
//? half enable f16;

@group(0) @binding(0) var<storage, read_write> logits: array<{{ read }}>;
// [codes, PARTS], a part of a code being four numbers, or one where its size is no multiple of four.
@group(0) @binding(1) var<storage, read_write> codebook: array<{{ part }}>;
// For every token SIZE numbers of the mean, entropy, log Z and TOP probabilities.
@group(0) @binding(2) var<storage, read_write> beliefs: array<f32>;
@group(0) @binding(3) var<storage, read_write> best: array<i32>;
// Tokens, codes, tau, guidance scale.
@group(0) @binding(4) var<storage, read_write> info: array<u32>;
//? guided @group(0) @binding(5) var<storage, read_write> unguided: array<{{ read }}>;
// For every token its pin and one (0: none) and the bits of its bans.
//? masked @group(0) @binding({{ mask }}) var<storage, read_write> masks: array<u32>;

const LANES = {{ lanes }}u;
const TOKENS = {{ tokens }}u;
const SIZE = {{ size }}u;
const PARTS = {{ parts }}u;
const TOP = {{ top }}u;
// Stands for minus infinity, which WGSL cannot write.
const LOWEST = -3.0e38;

// The logits of codes `k`, the first of which is a multiple of four, of the token whose logits begin at
// `start`; `bans` is where its bans begin.
fn believed(start: u32, k: vec4<u32>, pin: u32, bans: u32) -> vec4<f32> {
    let at = k + start;
//? fours     var logit = vec4<f32>(logits[at.x / 4u]);
//! fours     var logit = vec4<f32>(f32(logits[at.x]), f32(logits[at.y]), f32(logits[at.z]), f32(logits[at.w]));
//{ guided
//? fours     let base = vec4<f32>(unguided[at.x / 4u]);
//! fours     let base = vec4<f32>(f32(unguided[at.x]), f32(unguided[at.y]), f32(unguided[at.z]), f32(unguided[at.w]));
    let none = min(logit, base) < vec4<f32>(LOWEST);
    logit = select(base + bitcast<f32>(info[3]) * (logit - base), vec4<f32>(LOWEST), none);
//}
//{ masked
    let word = vec4<u32>(masks[bans + k.x / 32u]);
    let banned = ((word >> (k % vec4<u32>(32u))) & vec4<u32>(1u)) == vec4<u32>(1u);
    let away = select(k + vec4<u32>(1u) != vec4<u32>(pin), banned, vec4<bool>(pin == 0u));
    logit = select(logit, vec4<f32>(LOWEST), away);
//}
    return logit;
}

@compute @workgroup_size({{ lanes }}, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let codes = info[1];
    let tau = bitcast<f32>(info[2]);
    let words = (codes + 31u) / 32u;
    let begin = (group.y * 65535u + group.x) * LANES * TOKENS + lane;
//[
    // Beyond the last token a lane does as for that one, so that all take the same way through the codes.
    let token_T = min(begin + (T) * LANES, info[0] - 1u);
    let start_T = token_T * codes;
    let bans_T = token_T * (words + 1u) + 1u;
//? masked     let pin_T = masks[bans_T - 1u];
//! masked     let pin_T = 0u;
    var most_T = LOWEST;
    var z_T = 0.0;
    var spread_T = 0.0;
{{ declare }}
//]
    for (var first = 0u; first < codes; first += 4u) {
        let k = min(vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(codes - 1u));
        let real = vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(codes);
//[
        var a_T = believed(start_T, k, pin_T, bans_T);
        a_T = select(vec4<f32>(LOWEST), max(a_T / tau, vec4<f32>(LOWEST)), real);
        let high_T = max(max(a_T.x, a_T.y), max(a_T.z, a_T.w));
        if high_T > most_T {
            let fall = max(most_T - high_T, -1e5);
            let scale = exp(fall);
            if z_T > 0.0 { spread_T = scale * (spread_T + z_T * fall); }
            z_T *= scale;
{{ rescale }}
            most_T = high_T;
        }
        let below_T = max(a_T - vec4<f32>(most_T), vec4<f32>(-1e5));
        let w_T = exp(below_T);
        z_T += w_T.x + w_T.y + w_T.z + w_T.w;
        spread_T += dot(w_T, below_T);
//]
        // Weights that rounding to the sum would lose need no codes.
        var heaviest = vec4<f32>(0.0);
//[
        heaviest = max(heaviest, w_T);
//]
        if max(max(heaviest.x, heaviest.y), max(heaviest.z, heaviest.w)) > 1e-14 {
{{ accumulate }}
        }
//[
        if high_T > top_T_{{ last }} {
            var next = a_T;
            var codes_next = k;
            for (var i = 0u; i < 4u; i++) {
                let x = next.x;
                let c = codes_next.x;
                if x > top_T_{{ last }} {
{{ insert }}
                }
                next = next.yzwx;
                codes_next = codes_next.yzwx;
            }
        }
//]
    }
//[
    if begin + (T) * LANES < info[0] {
        let out = token_T * (SIZE + 2u + TOP);
{{ keep }}
        beliefs[out + SIZE] = max(log(z_T) - spread_T / z_T, 0.0);
        beliefs[out + SIZE + 1u] = most_T + log(z_T);
    }
//]
}
