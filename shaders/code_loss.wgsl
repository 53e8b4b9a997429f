// For one token a workgroup: -log softmax(logits)[code] and log Z, in one pass over its logits.

@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> codes: array<i32>;
// Two numbers a token.
@group(0) @binding(2) var<storage, read_write> terms: array<f32>;
// Tokens, channels.
@group(0) @binding(3) var<storage, read_write> info: array<u32>;

const LANES = {{ lanes }}u;
const LOWEST = -3.0e38;

var<workgroup> shared_number: array<f32, LANES>;

@compute @workgroup_size({{ lanes }}, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    // Groups beyond the last token do its work once more: no barrier may depend on what is in memory.
    let token = min(group.y * 65535u + group.x, info[0] - 1u);
    let channels = info[1];
    let row = token * channels;
    var most = LOWEST;
    var z = 0.0;
    for (var k = lane; k < channels; k += LANES) {
        let logit = max(logits[row + k], LOWEST);
        if logit > most {
            z *= exp(max(most - logit, -1e5));
            most = logit;
        }
        z += exp(max(logit - most, -1e5));
    }
    shared_number[lane] = most;
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        if lane < step { shared_number[lane] = max(shared_number[lane], shared_number[lane + step]); }
        workgroupBarrier();
    }
    let top = shared_number[0];
    workgroupBarrier();
    shared_number[lane] = z * exp(max(most - top, -1e5));
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        if lane < step { shared_number[lane] += shared_number[lane + step]; }
        workgroupBarrier();
    }
    if lane == 0u {
        let log_z = top + log(shared_number[0]);
        terms[2u * token] = log_z - logits[row + u32(codes[token])];
        terms[2u * token + 1u] = log_z;
    }
}
