// The nearest code of a latent, the lowest where distances tie, and its squared distance. A latent has
// a workgroup, or one lane: see categorical_expectation.wgsl and its twin by lane.

@group(0) @binding(0) var<storage, read_write> latents: array<f32>;
// For workgroups transposed, [SIZE, codes], so that lanes beside one another read numbers beside one
// another; else [codes, PARTS], a part of a code being four numbers, or one.
@group(0) @binding(1) var<storage, read_write> codebook: array<{{ part }}>;
@group(0) @binding(2) var<storage, read_write> nearest: array<i32>;
@group(0) @binding(3) var<storage, read_write> distances: array<f32>;
// Latents, codes.
@group(0) @binding(4) var<storage, read_write> info: array<u32>;

const LANES = {{ lanes }}u;
const SIZE = {{ size }}u;
const PARTS = {{ parts }}u;
const FARTHEST = 3.0e38;

//? together var<workgroup> shared_number: array<f32, LANES>;
//? together var<workgroup> shared_code: array<u32, LANES>;

@compute @workgroup_size({{ lanes }}, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    // Beyond the last latent its work is done once more: no barrier may depend on what is in memory.
//? together     let wanted = group.y * 65535u + group.x;
//? alone     let wanted = (group.y * 65535u + group.x) * LANES + lane;
    let latent = min(wanted, info[0] - 1u);
    let codes = info[1];
{{ load }}
//{ unit
    var length = 0.0;
{{ measure }}
    let rate = 1.0 / max(sqrt(length), 1e-12);
{{ shorten }}
//}
    var closest = FARTHEST;
    var code = 0u;
//? together     for (var k = lane; k < codes; k += LANES) {
//? alone     for (var k = 0u; k < codes; k++) {
        var distance = 0.0;
{{ compare }}
        if distance < closest {
            closest = distance;
            code = k;
        }
    }
//{ alone
    if wanted < info[0] {
        nearest[latent] = i32(code);
        distances[latent] = closest;
    }
//}
//{ together
    shared_number[lane] = closest;
    shared_code[lane] = code;
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        if lane < step {
            let other = shared_number[lane + step];
            let other_code = shared_code[lane + step];
            let own = shared_number[lane];
            if other < own || (other == own && other_code < shared_code[lane]) {
                shared_number[lane] = other;
                shared_code[lane] = other_code;
            }
        }
        workgroupBarrier();
    }
    if lane == 0u {
        nearest[latent] = i32(shared_code[0]);
        distances[latent] = shared_number[0];
    }
//}
}
