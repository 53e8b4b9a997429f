// The nearest code of one latent a workgroup, the lowest where distances tie, and its squared distance.

@group(0) @binding(0) var<storage, read_write> latents: array<f32>;
// Transposed, [SIZE, codes].
@group(0) @binding(1) var<storage, read_write> codebook: array<f32>;
@group(0) @binding(2) var<storage, read_write> nearest: array<i32>;
@group(0) @binding(3) var<storage, read_write> distances: array<f32>;
// Latents, codes.
@group(0) @binding(4) var<storage, read_write> info: array<u32>;

const LANES = {{ lanes }}u;
const SIZE = {{ size }}u;
const FARTHEST = 3.0e38;

var<workgroup> shared_number: array<f32, LANES>;
var<workgroup> shared_code: array<u32, LANES>;

@compute @workgroup_size({{ lanes }}, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let latent = group.y * 65535u + group.x;
    if latent >= info[0] { return; }
    var closest = FARTHEST;
    var code = 0u;
    for (var k = lane; k < info[1]; k += LANES) {
        var distance = 0.0;
        for (var i = 0u; i < SIZE; i++) {
            let off = latents[latent * SIZE + i] - codebook[i * info[1] + k];
            distance += off * off;
        }
        if distance < closest {
            closest = distance;
            code = k;
        }
    }
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
}
