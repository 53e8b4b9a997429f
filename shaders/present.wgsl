// What is to be seen, as RGBA words whose rows are padded to 256 bytes, so that they can be copied to a
// texture: pictures, numbers on a ramp of colours, or a mark where two grids of codes differ. One pixel
// a lane.

//? pictures // [batch, 3, height, width], about -1 to 1.
//? ramp // [batch, height, width]
//? pictures @group(0) @binding(0) var<storage, read_write> values: array<f32>;
//? ramp @group(0) @binding(0) var<storage, read_write> values: array<f32>;
//? changes @group(0) @binding(0) var<storage, read_write> before: array<i32>;
//? changes @group(0) @binding(1) var<storage, read_write> after: array<i32>;
// [batch, height, padded width]
@group(0) @binding({{ output }}) var<storage, read_write> pixels: array<u32>;
// Images, height, width, padded width; then the largest number, the number of colours
// and the colours of the ramp, or the mark.
@group(0) @binding({{ last }}) var<storage, read_write> info: array<u32>;

//{ pictures
fn level(value: f32) -> u32 {
    return u32(floor(clamp((value + 1.0) * 127.5, 0.0, 255.0) + 0.5));
}
//}

@compute @workgroup_size({{ lanes }}, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (group.y * 65535u + group.x) * {{ lanes }}u + lane;
    let height = info[1];
    let width = info[2];
    let row = at / info[3];
    let column = at % info[3];
    if row >= info[0] * height { return; }
    var pixel = 0u;
    if column < width {
//{ pictures
        let plane = height * width;
        let first = (row / height) * 3u * plane + (row % height) * width + column;
        let red = level(values[first]);
        let green = level(values[first + plane]);
        let blue = level(values[first + 2u * plane]);
        pixel = red | (green << 8u) | (blue << 16u) | 0xff000000u;
//}
//{ ramp
        let part = values[row * width + column] / bitcast<f32>(info[4]);
        pixel = info[6u + u32(floor(clamp(part, 0.0, 1.0) * f32(info[5] - 1u) + 0.5))];
//}
//{ changes
        let place = row * width + column;
        pixel = select(0u, info[4], before[place] != after[place]);
//}
    }
    pixels[at] = pixel;
}
