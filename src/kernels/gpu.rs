//! The operations over codes as WGSL compute shaders, on burn's wgpu backend.
//!
//! The sources lie in `shaders/`; what they are put
//! together from is part of the kernel's id, so that no compiled kernel serves for another variant.

use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{DType, Shape};
use burn_wgpu::{
    CubeBackend, CubeDim, CubeTensor, KernelSource, SourceKernel, SourceTemplate, into_contiguous,
};
use cubecl::CubeCount;
use cubecl::features::Plane;
use cubecl::ir::attributes::BufferIOAttr;
use cubecl::prelude::KernelId;
use cubecl::server::KernelArguments;

use super::codes::{CodeOps, Nearest, PackedBeliefs};
use super::expectation::PackedMask;
use super::present::{PresentOps, Sink, padded_width};

/// Most workgroups along one dimension of a dispatch, by WebGPU's limits.
const MOST_GROUPS: u32 = 65_535;
/// Lanes of a workgroup.
const LANES: u32 = 64;
/// Lanes of a workgroup where every lane has tokens of its own: few, so that there are many workgroups.
const LANES_ALONE: u32 = 8;
/// Tokens of a lane where it has them for itself.
const TOKENS_A_LANE: u32 = 4;

/// How a token's logits are shared out and its lanes add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Path {
    /// A workgroup a token, adding up by subgroup operations first.
    Subgroups,
    /// A workgroup a token, adding up through workgroup memory.
    Workgroup,
    /// Every lane has tokens of its own, and nothing is added up: for adapters in software, whose lanes
    /// are the vectors of a processor.
    Lane,
}

impl Path {
    /// Every path.
    pub const ALL: [Self; 3] = [Self::Subgroups, Self::Workgroup, Self::Lane];

    /// The path that an adapter takes.
    pub fn of(software: bool, subgroups: bool) -> Self {
        match (software, subgroups) {
            (true, _) => Self::Lane,
            (false, true) => Self::Subgroups,
            (false, false) => Self::Workgroup,
        }
    }

    /// Words for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Subgroups => "WGSL, subgroups",
            Self::Workgroup => "WGSL, workgroup memory",
            Self::Lane => "WGSL, tokens by lane",
        }
    }

    fn lanes(self) -> u32 {
        if self == Self::Lane { LANES_ALONE } else { LANES }
    }
}

/// The path that was asked for: 0 for none, else one more than its place in [`Path::ALL`].
static FORCED: AtomicU8 = AtomicU8::new(0);

/// Makes the kernels take one path from now on, or again the one that fits the adapter, so that all
/// can be tested and measured. For [`Path::Subgroups`] the adapter must have them.
pub fn take_path(path: Option<Path>) {
    let place = path.and_then(|path| Path::ALL.iter().position(|other| *other == path));
    FORCED.store(place.map_or(0, |place| place as u8 + 1), Ordering::Relaxed);
}

fn path(tensor: &CubeTensor) -> Path {
    if let Some(place) = FORCED.load(Ordering::Relaxed).checked_sub(1) {
        return Path::ALL[usize::from(place)];
    }
    // burn's runtime knows the physical device behind every adapter that is not software.
    let client = &tensor.client;
    let software = client.properties().identity.physical.is_none();
    Path::of(software, client.features().plane.contains(Plane::Ops))
}

/// A shader, with everything that its source depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shader {
    kind: Kind,
    path: Path,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Kind {
    /// `fours`: the logits of four codes are read at once, which takes a number of codes that is a
    /// multiple of four.
    Expectation {
        size: usize,
        top: usize,
        half: bool,
        guided: bool,
        masked: bool,
        fours: bool,
    },
    Loss,
    LossBackward,
    Nearest {
        size: usize,
        unit: bool,
    },
    Present(Sight),
}

/// What [`Kind::Present`] makes pixels of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Sight {
    Pictures,
    Ramp,
    Changes,
}

impl Shader {
    /// Every shader in all of its variants, for codes of `sizes` numbers and `tops` likeliest codes.
    pub fn variants(sizes: &[usize], tops: &[usize]) -> Vec<Self> {
        let kinds = |path: Path| {
            let mut kinds = vec![Kind::Loss, Kind::LossBackward];
            kinds.extend([Sight::Pictures, Sight::Ramp, Sight::Changes].map(Kind::Present));
            // `fours` is for lanes alone.
            let flags = if path == Path::Lane { 16 } else { 8 };
            for &size in sizes {
                kinds.extend([false, true].map(|unit| Kind::Nearest { size, unit }));
                kinds.extend(tops.iter().flat_map(|&top| {
                    (0..flags).map(move |flags| {
                        let [half, guided, masked, fours] =
                            [1, 2, 4, 8].map(|flag| flags & flag != 0);
                        Kind::Expectation { size, top, half, guided, masked, fours }
                    })
                }));
            }
            kinds
        };
        let with = |path| kinds(path).into_iter().map(move |kind| Self { kind, path });
        Path::ALL.into_iter().flat_map(with).collect()
    }

    /// A name for people.
    pub fn name(&self) -> String {
        format!("{:?}, {}", self.kind, self.path.name())
    }

    /// Lanes of a workgroup.
    pub fn lanes(&self) -> u32 {
        match self.kind {
            Kind::Expectation { .. } | Kind::Nearest { .. } => self.path.lanes(),
            _ => LANES,
        }
    }

    /// Tokens or pixels of a workgroup.
    fn work_of_a_group(&self) -> u32 {
        match self.kind {
            Kind::Expectation { .. } if self.alone() => self.lanes() * TOKENS_A_LANE,
            _ if self.alone() => self.lanes(),
            _ => 1,
        }
    }

    /// Places among the buffers, the info left out, of those that the shader makes.
    fn made(&self) -> Range<usize> {
        match self.kind {
            Kind::Expectation { .. } | Kind::Nearest { .. } => 2..4,
            Kind::Loss => 2..3,
            Kind::LossBackward => 4..5,
            Kind::Present(Sight::Changes) => 2..3,
            Kind::Present(Sight::Pictures | Sight::Ramp) => 1..2,
        }
    }

    /// Whether every lane has work of its own, and no workgroup.
    fn alone(&self) -> bool {
        match self.kind {
            Kind::Expectation { .. } | Kind::Nearest { .. } => self.path == Path::Lane,
            Kind::Loss | Kind::LossBackward => false,
            Kind::Present(_) => true,
        }
    }

    /// The WGSL text.
    pub fn text(&self) -> String {
        let alone = self.alone();
        let mut flags = vec![("alone", alone), ("together", !alone)];
        let mut names = vec![("lanes", self.lanes().to_string())];
        let source = match &self.kind {
            Kind::Expectation { size, top, half, guided, masked, fours } => {
                flags.extend([
                    ("half", *half),
                    ("guided", *guided),
                    ("masked", *masked),
                    ("fours", *fours),
                    ("subgroups", self.path == Path::Subgroups),
                ]);
                let elem = if *half { "f16" } else { "f32" };
                let read = if *fours { format!("vec4<{elem}>") } else { elem.to_owned() };
                names.extend([("elem", elem.to_owned()), ("read", read)]);
                names.push(("mask", if *guided { "6" } else { "5" }.to_owned()));
                names.push(("last", (top - 1).to_string()));
                names.extend([("size", size.to_string()), ("top", top.to_string())]);
                if alone {
                    names.extend(unrolled_by_lane(*size, *top));
                    include_str!("../../shaders/categorical_expectation_by_lane.wgsl")
                } else {
                    names.extend(unrolled_expectation(*size, *top));
                    include_str!("../../shaders/categorical_expectation.wgsl")
                }
            }
            Kind::Loss => include_str!("../../shaders/code_loss.wgsl"),
            Kind::LossBackward => include_str!("../../shaders/code_loss_backward.wgsl"),
            Kind::Nearest { size, unit } => {
                flags.push(("unit", *unit));
                names.push(("size", size.to_string()));
                names.extend(unrolled_nearest(*size, alone));
                include_str!("../../shaders/nearest_code.wgsl")
            }
            Kind::Present(sight) => {
                flags.extend([
                    ("pictures", *sight == Sight::Pictures),
                    ("ramp", *sight == Sight::Ramp),
                    ("changes", *sight == Sight::Changes),
                ]);
                let inputs = if *sight == Sight::Changes { 2 } else { 1 };
                names.push(("output", inputs.to_string()));
                names.push(("last", (inputs + 1).to_string()));
                include_str!("../../shaders/present.wgsl")
            }
        };
        let text = fill(source, &flags, &names);
        if self.is_spoilt() { text.replace("log(shared_number[0])", "1.01") } else { text }
    }

    /// Whether a test wants this shader to compute something else than it should.
    fn is_spoilt(&self) -> bool {
        #[cfg(test)]
        let spoilt = SPOILT.load(Ordering::Relaxed) && self.kind == Kind::Loss;
        #[cfg(not(test))]
        let spoilt = false;
        spoilt
    }
}

#[cfg(test)]
static SPOILT: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Makes the loss kernel compute something wrong from now on, or no longer.
#[cfg(test)]
pub(crate) fn spoil_loss(spoilt: bool) {
    SPOILT.store(spoilt, Ordering::Relaxed);
}

/// Keeps the lines whose flag is set (`//? flag`) or not set (`//! flag`), and those between `//{ flag`
/// and `//}` whose flag is set; fills in names; repeats what stands between `//[` and `//]` for every
/// token of a lane, with its number for `_T` and `(T)`.
fn fill(source: &str, flags: &[(&str, bool)], names: &[(&str, String)]) -> String {
    let set = |name: &str| flags.iter().any(|(flag, set)| *flag == name && *set);
    let mut text = String::new();
    let mut kept = true;
    for line in source.lines() {
        if let Some(flag) = line.strip_prefix("//{ ") {
            kept = set(flag);
            continue;
        }
        if line == "//}" {
            kept = true;
            continue;
        }
        let marked = |mark: &str| line.strip_prefix(mark).and_then(|rest| rest.split_once(' '));
        match (marked("//? "), marked("//! ")) {
            _ if !kept => continue,
            (Some((flag, line)), _) if set(flag) => text += line,
            (_, Some((flag, line))) if !set(flag) => text += line,
            (None, None) => text += line,
            _ => continue,
        }
        text.push('\n');
    }
    for (name, value) in names {
        text = text.replace(&format!("{{{{ {name} }}}}"), value);
    }
    let mut whole = String::new();
    for part in text.split("//[\n") {
        let (repeated, rest) = part.split_once("//]\n").unwrap_or(("", part));
        for token in 0..TOKENS_A_LANE {
            let number = |text: &str| {
                text.replace("_T", &format!("_{token}")).replace("(T)", &format!("{token}u"))
            };
            whole += &number(repeated);
        }
        whole += rest;
    }
    whole
}

fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect::<Vec<_>>().join("\n")
}

/// Numbers of a code that are read at once where a lane has tokens of its own.
fn numbers_at_once(size: usize) -> usize {
    if size.is_multiple_of(4) { 4 } else { 1 }
}

fn part_type(at_once: usize) -> String {
    if at_once == 4 { "vec4<f32>" } else { "f32" }.to_owned()
}

/// The parts of the expectation that are repeated for every number of a code and every rank: written
/// out, so that they live in registers on every compiler.
fn unrolled_expectation(size: usize, top: usize) -> Vec<(&'static str, String)> {
    let declare = lines(size, |j| format!("    var mean_{j} = 0.0;"))
        + "\n"
        + &lines(top, |r| format!("    var top_{r} = -3.4e38; var code_{r} = 0xffffffffu;"));
    let accumulate = lines(size, |j| {
        format!(
            "            e = k + {j}u * codes; mean_{j} += dot(w, vec4<f32>(codebook[e.x], \
             codebook[e.y], codebook[e.z], codebook[e.w]));"
        )
    });
    let insert = lines(top, |r| {
        format!(
            "                    if x > top_{r} || (x == top_{r} && c < code_{r}) {{ swap = top_{r}; \
             top_{r} = x; x = swap; swap_code = code_{r}; code_{r} = c; c = swap_code; }}"
        )
    });
    // All sums before the first store, so that the lanes of a subgroup come to each of them together.
    let gather =
        lines(size, |j| format!("    let whole_{j} = total(lane, rank, mean_{j} * scale);"));
    let store = lines(size, |j| format!("        beliefs[out + {j}u] = whole_{j} / sum;"));
    let advance = lines(top, |r| match r + 1 < top {
        true => format!("            top_{r} = top_{n}; code_{r} = code_{n};", n = r + 1),
        false => format!("            top_{r} = -3.4e38; code_{r} = 0xffffffffu;"),
    });
    vec![
        ("declare", declare),
        ("rescale", lines(size, |j| format!("            mean_{j} *= scale;"))),
        ("accumulate", accumulate),
        ("insert", insert),
        ("gather", gather),
        ("store", store),
        ("advance", advance),
    ]
}

/// The same where a lane has tokens of its own; `_T` stands for one of them.
fn unrolled_by_lane(size: usize, top: usize) -> Vec<(&'static str, String)> {
    let at_once = numbers_at_once(size);
    let (parts, part) = (size / at_once, part_type(at_once));
    let declare = lines(parts, |h| format!("    var mean_T_{h} = {part}(0.0);"))
        + "\n"
        + &lines(top, |r| format!("    var top_T_{r} = -3.4e38; var code_T_{r} = 0xffffffffu;"));
    let accumulate = lines(4 * parts, |i| {
        let (code, h) = (["x", "y", "z", "w"][i / parts], i % parts);
        let tokens = (0..TOKENS_A_LANE).map(|t| format!(" mean_{t}_{h} += w_{t}.{code} * e_{i};"));
        format!(
            "            let e_{i} = codebook[k.{code} * PARTS + {h}u];{}",
            tokens.collect::<String>()
        )
    });
    // From the last rank up, so that every rank is changed at most once and waits for no other.
    let insert = lines(top, |i| match top - 1 - i {
        0 => "                    if x > top_T_0 { top_T_0 = x; code_T_0 = c; }".to_owned(),
        r => format!(
            "                    let up_{r} = x > top_T_{n}; let in_{r} = x > top_T_{r};\n                    \
             top_T_{r} = select(select(top_T_{r}, x, in_{r}), top_T_{n}, up_{r});\n                    \
             code_T_{r} = select(select(code_T_{r}, c, in_{r}), code_T_{n}, up_{r});",
            n = r - 1
        ),
    });
    let mean = lines(size, |j| {
        let number = if at_once == 4 { ["x", "y", "z", "w"][j % 4] } else { "" };
        let dot = if at_once == 4 { "." } else { "" };
        format!("        beliefs[out + {j}u] = mean_T_{}{dot}{number} / z_T;", j / at_once)
    });
    let ranks = lines(top, |r| {
        format!(
            "        beliefs[out + SIZE + {}u] = exp(max(top_T_{r} - most_T, -1e5)) / z_T; \
             best[token_T * TOP + {r}u] = i32(code_T_{r});",
            r + 2
        )
    });
    vec![
        ("tokens", TOKENS_A_LANE.to_string()),
        ("parts", parts.to_string()),
        ("part", part),
        ("declare", declare),
        ("rescale", lines(parts, |h| format!("            mean_T_{h} *= scale;"))),
        ("accumulate", accumulate),
        ("insert", insert),
        ("keep", mean + "\n" + &ranks),
    ]
}

/// The same for the numbers of a latent.
fn unrolled_nearest(size: usize, alone: bool) -> Vec<(&'static str, String)> {
    let at_once = if alone { numbers_at_once(size) } else { 1 };
    let (parts, part) = (size / at_once, part_type(at_once));
    let load = |h: usize| {
        let number = |i: usize| format!("latents[latent * SIZE + {}u]", h * at_once + i);
        let numbers = (0..at_once).map(number).collect::<Vec<_>>().join(", ");
        format!("    var x_{h} = {part}({numbers});")
    };
    let square = |what: &str| match at_once {
        4 => format!("dot({what}, {what})"),
        _ => format!("{what} * {what}"),
    };
    let compare = |h: usize| {
        let place = if alone { format!("k * PARTS + {h}u") } else { format!("k + {h}u * codes") };
        let off = format!("off_{h}");
        let squared = square(&off);
        format!("        let {off} = x_{h} - codebook[{place}]; distance += {squared};")
    };
    vec![
        ("parts", parts.to_string()),
        ("part", part.clone()),
        ("load", lines(parts, load)),
        ("measure", lines(parts, |h| format!("    length += {};", square(&format!("x_{h}"))))),
        ("shorten", lines(parts, |h| format!("    x_{h} *= rate;"))),
        ("compare", lines(parts, compare)),
    ]
}

impl KernelSource for Shader {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(self.text())
    }

    fn id(&self) -> KernelId {
        KernelId::new::<Self>().info((self.clone(), self.is_spoilt()))
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}

/// Runs a shader over so many tokens or pixels. `info` is bound after the first `before` buffers.
fn launch(kind: Kind, work: usize, buffers: &[&CubeTensor], before: usize, info: &[u32]) {
    let client = &buffers[0].client;
    let shader = Shader { kind, path: path(buffers[0]) };
    let bytes: Vec<u8> = info.iter().flat_map(|word| word.to_le_bytes()).collect();
    let info = client.create_from_slice(&bytes).binding();
    let made = shader.made();
    let mut arguments = KernelArguments::new();
    for (place, tensor) in buffers.iter().enumerate() {
        if place == before {
            arguments = arguments.with_buffer_io(info.clone(), BufferIOAttr::ReadOnly);
        }
        // Where a launch fails, what it was only to read stays good.
        let role = match made.contains(&place) {
            true => BufferIOAttr::WriteOnly,
            false => BufferIOAttr::ReadOnly,
        };
        arguments = arguments.with_buffer_io(tensor.handle.clone().binding(), role);
    }
    if before == buffers.len() {
        arguments = arguments.with_buffer_io(info, BufferIOAttr::ReadOnly);
    }
    let groups = (work as u32).div_ceil(shader.work_of_a_group());
    if groups == 0 {
        return;
    }
    let lanes = CubeDim::new_1d(shader.lanes());
    client.launch(
        Box::new(SourceKernel::new(shader, lanes)),
        CubeCount::Static(groups.min(MOST_GROUPS), groups.div_ceil(MOST_GROUPS), 1),
        arguments,
    );
}

fn empty(like: &CubeTensor, shape: [usize; 2], dtype: DType) -> CubeTensor {
    let shape = Shape::from(shape);
    let handle = like.client.empty(shape.num_elements() * dtype.size());
    CubeTensor::new_contiguous(like.client.clone(), like.device.clone(), shape, handle, dtype)
}

fn dims(tensor: &CubeTensor) -> [usize; 2] {
    let shape = tensor.meta.shape();
    [shape[0], shape[1]]
}

/// The codebook as the path of `like` reads it.
fn laid_out(codebook: CubeTensor, like: &CubeTensor) -> CubeTensor {
    match path(like) {
        Path::Lane => into_contiguous(codebook),
        _ => into_contiguous(CubeBackend::float_transpose(codebook)),
    }
}

impl CodeOps for CubeBackend {
    fn packed_expectation(
        conditional: FloatTensor<Self>,
        unconditional: FloatTensor<Self>,
        codebook: FloatTensor<Self>,
        tau: f32,
        scale: Option<f32>,
        top: usize,
        mask: Option<PackedMask>,
    ) -> PackedBeliefs<Self> {
        let conditional = into_contiguous(conditional);
        let unconditional = scale.map(|_| into_contiguous(unconditional));
        let ([tokens, codes], [_, size]) = (dims(&conditional), dims(&codebook));
        let codebook = laid_out(codebook, &conditional);
        let beliefs = empty(&conditional, [tokens, size + 2 + top], DType::F32);
        let best = empty(&conditional, [tokens, top], DType::I32);
        let kind = Kind::Expectation {
            size,
            top,
            half: conditional.dtype == DType::F16,
            guided: unconditional.is_some(),
            masked: mask.is_some(),
            fours: path(&conditional) == Path::Lane && codes.is_multiple_of(4),
        };
        let info = [tokens as u32, codes as u32, tau.to_bits(), scale.unwrap_or(1.0).to_bits()];
        let mask = mask.map(|mask| {
            mask.on_device_of(&conditional, |words| {
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                let (client, device) = (conditional.client.clone(), conditional.device.clone());
                let handle = client.create_from_slice(&bytes);
                let shape = Shape::from([words.len()]);
                CubeTensor::new_contiguous(client, device, shape, handle, DType::U32)
            })
        });
        let mut buffers = vec![&conditional, &codebook, &beliefs, &best];
        // The logits for no label and the mask, which are not always there, come after the info.
        buffers.extend(&unconditional);
        buffers.extend(&mask);
        launch(kind, tokens, &buffers, 4, &info);
        PackedBeliefs { beliefs, best }
    }

    fn code_terms(logits: FloatTensor<Self>, codes: IntTensor<Self>) -> FloatTensor<Self> {
        let (logits, codes) = (into_contiguous(logits), into_contiguous(codes));
        let [tokens, channels] = dims(&logits);
        let terms = empty(&logits, [tokens, 2], DType::F32);
        let info = [tokens as u32, channels as u32];
        launch(Kind::Loss, tokens, &[&logits, &codes, &terms], 3, &info);
        terms
    }

    fn code_terms_backward(
        logits: FloatTensor<Self>,
        codes: IntTensor<Self>,
        terms: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let [logits, codes, terms, grad] = [logits, codes, terms, grad].map(into_contiguous);
        let [tokens, channels] = dims(&logits);
        let made = empty(&logits, [tokens, channels], DType::F32);
        let info = [tokens as u32, channels as u32];
        launch(Kind::LossBackward, tokens, &[&logits, &codes, &terms, &grad, &made], 5, &info);
        made
    }

    fn nearest(
        latents: FloatTensor<Self>,
        codebook: FloatTensor<Self>,
        unit: bool,
    ) -> Nearest<Self> {
        let latents = into_contiguous(latents);
        let ([tokens, size], [codes, _]) = (dims(&latents), dims(&codebook));
        let codebook = laid_out(codebook, &latents);
        let found = empty(&latents, [tokens, 1], DType::I32);
        let distances = empty(&latents, [tokens, 1], DType::F32);
        let info = [tokens as u32, codes as u32];
        let kind = Kind::Nearest { size, unit };
        launch(kind, tokens, &[&latents, &codebook, &found, &distances], 4, &info);
        Nearest { codes: found, distances }
    }
}

impl PresentOps for CubeBackend {
    fn pixels_of_pictures(images: FloatTensor<Self>, sink: Sink) -> IntTensor<Self> {
        let images = into_contiguous(images);
        let [batch, _, height, width] = extent(&images);
        show(Sight::Pictures, &[&images], [batch, height, width], &[], &sink)
    }

    fn pixels_of_ramp(
        values: FloatTensor<Self>,
        most: f32,
        ramp: Vec<u32>,
        sink: Sink,
    ) -> IntTensor<Self> {
        let values = into_contiguous(values);
        let rest = [&[most.to_bits(), ramp.len() as u32], &ramp[..]].concat();
        show(Sight::Ramp, &[&values], extent(&values), &rest, &sink)
    }

    fn pixels_of_changes(
        before: IntTensor<Self>,
        after: IntTensor<Self>,
        mark: u32,
        sink: Sink,
    ) -> IntTensor<Self> {
        let (before, after) = (into_contiguous(before), into_contiguous(after));
        show(Sight::Changes, &[&before, &after], extent(&before), &[mark], &sink)
    }
}

fn extent<const D: usize>(tensor: &CubeTensor) -> [usize; D] {
    let shape = tensor.meta.shape();
    std::array::from_fn(|i| shape[i])
}

/// Makes pixels, and leaves a handle of them in the sink.
fn show(
    sight: Sight,
    inputs: &[&CubeTensor],
    [batch, height, width]: [usize; 3],
    rest: &[u32],
    sink: &Sink,
) -> CubeTensor {
    let padded = padded_width(width);
    let shape = Shape::from([batch, height, padded]);
    let handle = inputs[0].client.empty(shape.num_elements() * 4);
    let (client, device) = (inputs[0].client.clone(), inputs[0].device.clone());
    let made = CubeTensor::new_contiguous(client, device, shape, handle, DType::I32);
    let head = [batch, height, width, padded].map(|number| number as u32);
    let buffers = [inputs, &[&made]].concat();
    let info = [&head[..], rest].concat();
    launch(Kind::Present(sight), batch * height * padded, &buffers, buffers.len(), &info);
    sink.put(&made);
    made
}
