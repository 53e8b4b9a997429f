//! The operations over codes as WGSL compute shaders, on burn's wgpu backend.
//!
//! Every kernel handles one token a workgroup. The sources lie in `shaders/`; what they are put
//! together from is part of the kernel's id, so that no compiled kernel serves for another variant.

use std::sync::atomic::{AtomicU8, Ordering};

use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{DType, Shape};
use burn_wgpu::{
    CubeBackend, CubeDim, CubeTensor, KernelSource, SourceKernel, SourceTemplate, into_contiguous,
};
use cubecl::CubeCount;
use cubecl::prelude::KernelId;
use cubecl::server::KernelArguments;

use super::codes::{CodeOps, Nearest, NearestMetadata, PackedBeliefs, PackedBeliefsMetadata};

/// Most workgroups along one dimension of a dispatch, by WebGPU's limits.
const MOST_GROUPS: u32 = 65_535;
/// Lanes of a workgroup.
const LANES: u32 = 64;

/// A shader, with everything that its source depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shader {
    kind: Kind,
    /// Whether sums over a workgroup begin with those over its subgroups.
    subgroups: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Kind {
    Expectation { size: usize, top: usize, half: bool, guided: bool, masked: bool },
    Loss,
    LossBackward,
    Nearest { size: usize },
}

impl Shader {
    /// Every shader in all of its variants, for codes of `sizes` numbers and `tops` likeliest codes.
    pub fn variants(sizes: &[usize], tops: &[usize]) -> Vec<Self> {
        let mut kinds = vec![Kind::Loss, Kind::LossBackward];
        for &size in sizes {
            kinds.push(Kind::Nearest { size });
            for &top in tops {
                for flags in 0..8 {
                    let [half, guided, masked] = [1, 2, 4].map(|flag| flags & flag != 0);
                    kinds.push(Kind::Expectation { size, top, half, guided, masked });
                }
            }
        }
        let with = |subgroups| kinds.iter().map(move |kind| Self { kind: kind.clone(), subgroups });
        with(false).chain(with(true)).collect()
    }

    /// A name for people.
    pub fn name(&self) -> String {
        let path = if self.subgroups { "subgroups" } else { "workgroup memory" };
        format!("{:?}, {path}", self.kind)
    }

    /// The WGSL text.
    pub fn text(&self) -> String {
        let lanes = LANES.to_string();
        match &self.kind {
            Kind::Expectation { size, top, half, guided, masked } => {
                let flags = [
                    ("half", *half),
                    ("guided", *guided),
                    ("masked", *masked),
                    ("subgroups", self.subgroups),
                ];
                let source = include_str!("../../shaders/categorical_expectation.wgsl");
                let elem = if *half { "f16" } else { "f32" };
                let fixed = [
                    ("elem", elem.to_owned()),
                    ("lanes", lanes),
                    ("size", size.to_string()),
                    ("top", top.to_string()),
                    ("last", (top - 1).to_string()),
                ];
                fill(source, &flags, &[&fixed[..], &unrolled(*size, *top, self.subgroups)].concat())
            }
            Kind::Loss => {
                fill(include_str!("../../shaders/code_loss.wgsl"), &[], &[("lanes", lanes)])
            }
            Kind::LossBackward => {
                let source = include_str!("../../shaders/code_loss_backward.wgsl");
                fill(source, &[], &[("lanes", lanes)])
            }
            Kind::Nearest { size } => {
                let source = include_str!("../../shaders/nearest_code.wgsl");
                fill(source, &[], &[("lanes", lanes), ("size", size.to_string())])
            }
        }
    }
}

/// Keeps the lines whose flag is set (`//? flag`) or not set (`//! flag`), and fills in names.
fn fill(source: &str, flags: &[(&str, bool)], names: &[(&str, String)]) -> String {
    let mut text = String::new();
    for line in source.lines() {
        let marked = |mark: &str| line.strip_prefix(mark).and_then(|rest| rest.split_once(' '));
        let set = |name: &str| flags.iter().any(|(flag, set)| *flag == name && *set);
        match (marked("//? "), marked("//! ")) {
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
    text
}

/// The parts of the expectation that are repeated for every number of a code and every rank: written
/// out, so that they live in registers on every compiler.
fn unrolled(size: usize, top: usize, subgroups: bool) -> Vec<(&'static str, String)> {
    let lines = |count: usize, line: &dyn Fn(usize) -> String| {
        (0..count).map(line).collect::<Vec<_>>().join("\n")
    };
    let declare = lines(size, &|j| format!("    var mean_{j} = 0.0;"))
        + "\n"
        + &lines(top, &|r| format!("    var top_{r} = -3.4e38; var code_{r} = 0xffffffffu;"));
    let accumulate = lines(size, &|j| {
        format!(
            "            e = {j}u * codes + k; mean_{j} += dot(w, vec4<f32>(codebook[e.x], \
             codebook[e.y], codebook[e.z], codebook[e.w]));"
        )
    });
    let insert = lines(top, &|r| {
        format!(
            "                    if x > top_{r} {{ swap = top_{r}; top_{r} = x; x = swap; \
             swap_code = code_{r}; code_{r} = c; c = swap_code; }}"
        )
    });
    let width = if subgroups { "lane, rank_in_subgroup" } else { "lane" };
    let store = lines(size, &|j| {
        format!(
            "    let whole_{j} = total({width}, mean_{j} * scale);\n    \
             if lane == 0u {{ beliefs[out + {j}u] = whole_{j} / sum; }}"
        )
    });
    let advance = lines(top, &|r| match r + 1 < top {
        true => format!("            top_{r} = top_{n}; code_{r} = code_{n};", n = r + 1),
        false => format!("            top_{r} = -3.4e38; code_{r} = 0xffffffffu;"),
    });
    vec![
        ("declare", declare),
        ("rescale", lines(size, &|j| format!("            mean_{j} *= scale;"))),
        ("accumulate", accumulate),
        ("insert", insert),
        ("store", store),
        ("advance", advance),
    ]
}

impl KernelSource for Shader {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(self.text())
    }

    fn id(&self) -> KernelId {
        KernelId::new::<Self>().info(self.clone())
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}

/// Runs a shader with one workgroup a token; the last buffer is `info`.
fn launch(kind: Kind, tokens: usize, buffers: &[&CubeTensor], info: &[u32]) {
    let client = &buffers[0].client;
    let subgroups = has_subgroups(buffers[0]);
    let bytes: Vec<u8> = info.iter().flat_map(|word| word.to_le_bytes()).collect();
    let info = client.create_from_slice(&bytes);
    // The logits for no label, which are not always there, come after the info.
    let (fixed, more) = match &kind {
        Kind::Expectation { .. } => buffers.split_at(4),
        _ => buffers.split_at(buffers.len()),
    };
    let mut bindings: Vec<_> = fixed.iter().map(|tensor| tensor.handle.clone().binding()).collect();
    bindings.push(info.binding());
    bindings.extend(more.iter().map(|tensor| tensor.handle.clone().binding()));
    let (x, y) = (tokens as u32, (tokens as u32).div_ceil(MOST_GROUPS));
    client.launch(
        Box::new(SourceKernel::new(Shader { kind, subgroups }, CubeDim::new_1d(LANES))),
        CubeCount::Static(x.min(MOST_GROUPS), y, 1),
        KernelArguments::new().with_buffers(bindings),
    );
}

/// How the lanes of a workgroup add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Path {
    /// By subgroup operations where a real GPU has them.
    #[default]
    Chosen,
    /// By subgroup operations; the adapter must have them.
    Subgroups,
    /// Through workgroup memory.
    Workgroup,
}

/// The path in use, as a number of [`Path`].
static PATH: AtomicU8 = AtomicU8::new(Path::Chosen as u8);

/// Makes the kernels take one path from now on, so that both can be tested and measured.
pub fn take_path(path: Path) {
    PATH.store(path as u8, Ordering::Relaxed);
}

fn has_subgroups(tensor: &CubeTensor) -> bool {
    use cubecl::features::Plane;
    match PATH.load(Ordering::Relaxed) {
        path if path == Path::Subgroups as u8 => true,
        path if path == Path::Workgroup as u8 => false,
        // burn's runtime does not count them on a software adapter, where they gain nothing.
        _ => tensor.client.features().plane.contains(Plane::Ops),
    }
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

impl CodeOps for CubeBackend {
    fn packed_expectation(
        conditional: FloatTensor<Self>,
        unconditional: FloatTensor<Self>,
        codebook: FloatTensor<Self>,
        tau: f32,
        scale: Option<f32>,
        top: usize,
        mask: Vec<u32>,
    ) -> PackedBeliefs<Self> {
        let (conditional, codebook) = (into_contiguous(conditional), into_contiguous(codebook));
        let unconditional = scale.map(|_| into_contiguous(unconditional));
        let ([tokens, codes], [size, _]) = (dims(&conditional), dims(&codebook));
        let beliefs = empty(&conditional, [tokens, size + 2 + top], DType::F32);
        let best = empty(&conditional, [tokens, top], DType::I32);
        let kind = Kind::Expectation {
            size,
            top,
            half: conditional.dtype == DType::F16,
            guided: unconditional.is_some(),
            masked: !mask.is_empty(),
        };
        let mut info =
            vec![tokens as u32, codes as u32, tau.to_bits(), scale.unwrap_or(1.0).to_bits()];
        info.extend(mask);
        let mut buffers = vec![&conditional, &codebook, &beliefs, &best];
        buffers.extend(&unconditional);
        launch(kind, tokens, &buffers, &info);
        PackedBeliefs { beliefs, best }
    }

    fn code_terms(logits: FloatTensor<Self>, codes: IntTensor<Self>) -> FloatTensor<Self> {
        let (logits, codes) = (into_contiguous(logits), into_contiguous(codes));
        let [tokens, channels] = dims(&logits);
        let terms = empty(&logits, [tokens, 2], DType::F32);
        let info = [tokens as u32, channels as u32];
        launch(Kind::Loss, tokens, &[&logits, &codes, &terms], &info);
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
        launch(Kind::LossBackward, tokens, &[&logits, &codes, &terms, &grad, &made], &info);
        made
    }

    fn nearest(latents: FloatTensor<Self>, codebook: FloatTensor<Self>) -> Nearest<Self> {
        let (latents, codebook) = (into_contiguous(latents), into_contiguous(codebook));
        let ([tokens, size], [_, codes]) = (dims(&latents), dims(&codebook));
        let found = empty(&latents, [tokens, 1], DType::I32);
        let distances = empty(&latents, [tokens, 1], DType::F32);
        let info = [tokens as u32, codes as u32];
        launch(Kind::Nearest { size }, tokens, &[&latents, &codebook, &found, &distances], &info);
        Nearest { codes: found, distances }
    }
}

/// What [`CodeOps::packed_expectation`] gives, for burn's fusion.
pub fn beliefs_metadata(
    logits: &TensorSpec,
    codebook: &TensorSpec,
    top: usize,
) -> PackedBeliefsMetadata {
    let (tokens, size) = (logits.shape[0], codebook.shape[0]);
    PackedBeliefsMetadata {
        beliefs: TensorSpec::new(Shape::from([tokens, size + 2 + top]), DType::F32),
        best: TensorSpec::new(Shape::from([tokens, top]), DType::I32),
    }
}

/// What [`CodeOps::nearest`] gives, for burn's fusion.
pub fn nearest_metadata(latents: &TensorSpec) -> NearestMetadata {
    let shape = || Shape::from([latents.shape[0], 1]);
    NearestMetadata {
        codes: TensorSpec::new(shape(), DType::I32),
        distances: TensorSpec::new(shape(), DType::F32),
    }
}
