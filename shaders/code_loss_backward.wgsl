// The gradient of code_loss, one number a lane: with g and h the gradients of a token's two terms,
// (g + h) softmax(logits) - g onehot(code).

@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> codes: array<i32>;
@group(0) @binding(2) var<storage, read_write> terms: array<f32>;
@group(0) @binding(3) var<storage, read_write> given: array<f32>;
@group(0) @binding(4) var<storage, read_write> gradient: array<f32>;
// Tokens, channels.
@group(0) @binding(5) var<storage, read_write> info: array<u32>;

const LANES = {{ lanes }}u;

@compute @workgroup_size({{ lanes }}, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let token = group.y * 65535u + group.x;
    if token >= info[0] { return; }
    let channels = info[1];
    let row = token * channels;
    let log_z = terms[2u * token + 1u];
    let g = given[2u * token];
    let both = g + given[2u * token + 1u];
    let code = u32(codes[token]);
    for (var k = lane; k < channels; k += LANES) {
        let probability = exp(max(logits[row + k] - log_z, -1e5));
        gradient[row + k] = both * probability - select(0.0, g, k == code);
    }
}
