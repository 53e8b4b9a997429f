//! Inception-v3 as the Frechet inception distance has it: the network of 2015 with its 1,008 classes, whose weights
//! [`pytorch-fid`] 0.3.0 reads from `pt_inception-2015-12-05`, up to the mean over places. It differs from the network of
//! torchvision in three pools, so that only these weights give a FID.
//!
//! [`pytorch-fid`]: https://github.com/mseitzer/pytorch-fid

use std::path::Path;

use burn::tensor::module::{avg_pool2d, conv2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor};
use image::RgbImage;

use super::JudgeError;
use super::weights::{Layer, Source, Weights, in_batches, scaled};
use crate::kernels::{self, Kind};
use crate::room::Room;

/// Side to which all pictures are scaled.
pub const SIDE: u32 = 299;
/// Number of features.
pub const FEATURES: usize = 2048;
/// Classes of the network of 2015; torchvision's has 1,000.
const CLASSES: usize = 1008;
/// Its name where its weights are missing.
const NAME: &str = "the Inception-v3 of the FID";
/// Pictures computed at once: their largest layer takes 6 MB each.
const BATCH: usize = 8;

/// A convolution: its name, outputs, kernel, step and padding.
type Spec = (&'static str, usize, [usize; 2], usize, [usize; 2]);

/// The layers before the first block; after the third and the fifth a pool halves.
const STEM: [Spec; 5] = [
    ("Conv2d_1a_3x3", 32, [3, 3], 2, [0, 0]),
    ("Conv2d_2a_3x3", 32, [3, 3], 1, [0, 0]),
    ("Conv2d_2b_3x3", 64, [3, 3], 1, [1, 1]),
    ("Conv2d_3b_1x1", 80, [1, 1], 1, [0, 0]),
    ("Conv2d_4a_3x3", 192, [3, 3], 1, [0, 0]),
];

/// What comes before the convolutions of a branch.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pool {
    /// The mean of what lies in a square of 3x3.
    Mean,
    /// The largest in it.
    Largest,
    /// The largest in it, in steps of 2.
    Halving,
}

/// A branch of a block, as it is described: a pool, a chain of convolutions, and convolutions of the end of the chain
/// that lie beside each other.
struct BranchSpec {
    pool: Option<Pool>,
    chain: Vec<Spec>,
    fork: Vec<Spec>,
}

/// The same size: padded by half of the kernel.
const fn same(name: &'static str, outputs: usize, kernel: [usize; 2]) -> Spec {
    (name, outputs, kernel, 1, [kernel[0] / 2, kernel[1] / 2])
}

const fn pixel(name: &'static str, outputs: usize) -> Spec {
    same(name, outputs, [1, 1])
}

const fn halving(name: &'static str, outputs: usize) -> Spec {
    (name, outputs, [3, 3], 2, [0, 0])
}

fn chain(chain: &[Spec]) -> BranchSpec {
    BranchSpec { pool: None, chain: chain.to_vec(), fork: Vec::new() }
}

fn forked(chain: &[Spec], fork: [Spec; 2]) -> BranchSpec {
    BranchSpec { pool: None, chain: chain.to_vec(), fork: fork.to_vec() }
}

fn pooled(pool: Pool, outputs: usize) -> BranchSpec {
    BranchSpec { pool: Some(pool), chain: vec![pixel("branch_pool", outputs)], fork: Vec::new() }
}

fn bare(pool: Pool) -> BranchSpec {
    BranchSpec { pool: Some(pool), chain: Vec::new(), fork: Vec::new() }
}

/// Blocks of 35x35 places.
fn wide(outputs: usize) -> Vec<BranchSpec> {
    vec![
        chain(&[pixel("branch1x1", 64)]),
        chain(&[pixel("branch5x5_1", 48), same("branch5x5_2", 64, [5, 5])]),
        chain(&[
            pixel("branch3x3dbl_1", 64),
            same("branch3x3dbl_2", 96, [3, 3]),
            same("branch3x3dbl_3", 96, [3, 3]),
        ]),
        pooled(Pool::Mean, outputs),
    ]
}

/// Blocks of 17x17 places.
fn middle(inner: usize) -> Vec<BranchSpec> {
    vec![
        chain(&[pixel("branch1x1", 192)]),
        chain(&[
            pixel("branch7x7_1", inner),
            same("branch7x7_2", inner, [1, 7]),
            same("branch7x7_3", 192, [7, 1]),
        ]),
        chain(&[
            pixel("branch7x7dbl_1", inner),
            same("branch7x7dbl_2", inner, [7, 1]),
            same("branch7x7dbl_3", inner, [1, 7]),
            same("branch7x7dbl_4", inner, [7, 1]),
            same("branch7x7dbl_5", 192, [1, 7]),
        ]),
        pooled(Pool::Mean, 192),
    ]
}

/// Blocks of 8x8 places.
fn narrow(pool: Pool) -> Vec<BranchSpec> {
    vec![
        chain(&[pixel("branch1x1", 320)]),
        forked(
            &[pixel("branch3x3_1", 384)],
            [same("branch3x3_2a", 384, [1, 3]), same("branch3x3_2b", 384, [3, 1])],
        ),
        forked(
            &[pixel("branch3x3dbl_1", 448), same("branch3x3dbl_2", 384, [3, 3])],
            [same("branch3x3dbl_3a", 384, [1, 3]), same("branch3x3dbl_3b", 384, [3, 1])],
        ),
        pooled(pool, 192),
    ]
}

/// All blocks in order.
fn blocks() -> Vec<(&'static str, Vec<BranchSpec>)> {
    vec![
        ("Mixed_5b", wide(32)),
        ("Mixed_5c", wide(64)),
        ("Mixed_5d", wide(64)),
        (
            "Mixed_6a",
            vec![
                chain(&[halving("branch3x3", 384)]),
                chain(&[
                    pixel("branch3x3dbl_1", 64),
                    same("branch3x3dbl_2", 96, [3, 3]),
                    halving("branch3x3dbl_3", 96),
                ]),
                bare(Pool::Halving),
            ],
        ),
        ("Mixed_6b", middle(128)),
        ("Mixed_6c", middle(160)),
        ("Mixed_6d", middle(160)),
        ("Mixed_6e", middle(192)),
        (
            "Mixed_7a",
            vec![
                chain(&[pixel("branch3x3_1", 192), halving("branch3x3_2", 320)]),
                chain(&[
                    pixel("branch7x7x3_1", 192),
                    same("branch7x7x3_2", 192, [1, 7]),
                    same("branch7x7x3_3", 192, [7, 1]),
                    halving("branch7x7x3_4", 192),
                ]),
                bare(Pool::Halving),
            ],
        ),
        ("Mixed_7b", narrow(Pool::Mean)),
        ("Mixed_7c", narrow(Pool::Largest)),
    ]
}

/// A convolution and what follows it.
#[derive(Debug)]
struct Convolution {
    layer: Layer,
    stride: usize,
    padding: [usize; 2],
}

impl Convolution {
    fn read(
        prefix: &str,
        (name, outputs, [height, width], stride, padding): Spec,
        inputs: usize,
        device: &Device,
        source: Source<'_>,
    ) -> Result<Self, JudgeError> {
        let name = format!("{prefix}{name}");
        let shape = [outputs, inputs, height, width];
        let layer =
            Layer::read(&format!("{name}.conv"), &format!("{name}.bn"), shape, device, source)?;
        Ok(Self { layer, stride, padding })
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let Layer { weight, bias } = &self.layer;
        let [.., height, width] = weight.dims();
        let own = match (height, width, self.stride, self.padding) {
            (1, 1, 1, _) => Some(Kind::Pixel),
            (3, 3, 1, [1, 1]) => Some(Kind::Same),
            _ => None,
        };
        let made = match own {
            Some(kind) => kernels::convolution(x, weight.clone(), bias.clone(), None, kind),
            None => {
                let options = ConvOptions::new([self.stride; 2], self.padding, [1; 2], 1);
                conv2d(x, weight.clone(), Some(bias.clone()), options)
            }
        };
        made.clamp_min(0.0)
    }
}

/// A branch of a block.
#[derive(Debug)]
struct Branch {
    pool: Option<Pool>,
    chain: Vec<Convolution>,
    fork: Vec<Convolution>,
}

impl Branch {
    fn forward(&self, x: Tensor<4>) -> Vec<Tensor<4>> {
        let x = match self.pool {
            Some(pool) => pool.forward(x),
            None => x,
        };
        let x = self.chain.iter().fold(x, |x, convolution| convolution.forward(x));
        match self.fork.is_empty() {
            true => vec![x],
            false => self.fork.iter().map(|beside| beside.forward(x.clone())).collect(),
        }
    }
}

impl Pool {
    fn forward(self, x: Tensor<4>) -> Tensor<4> {
        let (stride, padding) = match self {
            Self::Halving => ([2; 2], [(0, 0); 2]),
            Self::Mean | Self::Largest => ([1; 2], [(1, 1); 2]),
        };
        match self {
            Self::Mean => {
                let options = AvgPoolOptions::new([3; 2]);
                // What lies beyond the edge does not count, as in TensorFlow.
                avg_pool2d(
                    x,
                    AvgPoolOptions { stride, padding, count_include_pad: false, ..options },
                )
            }
            Self::Largest | Self::Halving => {
                let options = MaxPoolOptions::new([3; 2]);
                max_pool2d(x, MaxPoolOptions { stride, padding, ..options })
            }
        }
    }
}

/// The network, on a device.
#[derive(Debug)]
pub struct Inception {
    stem: Vec<Convolution>,
    blocks: Vec<Vec<Branch>>,
    room: Room,
    device: Device,
}

impl Inception {
    /// Whether a file has tensors of this family of networks.
    pub(super) fn is_in(weights: &Weights) -> bool {
        weights.shape("Mixed_7c.branch_pool.conv.weight").is_some()
    }

    /// Reads the weights.
    ///
    /// # Errors
    /// The file cannot be read, or its tensors are not those of this network.
    pub fn open(path: &Path, device: &Device) -> Result<Self, JudgeError> {
        Self::from_weights(&Weights::open(path)?, device)
    }

    pub(super) fn from_weights(weights: &Weights, device: &Device) -> Result<Self, JudgeError> {
        // Told from torchvision's, of which no FID can be taken, by its classes.
        weights.read(NAME, "fc.weight", &[CLASSES, FEATURES])?;
        Self::build(device, &|name, shape| weights.read(NAME, name, shape))
    }

    fn build(device: &Device, source: Source<'_>) -> Result<Self, JudgeError> {
        let mut width = 3;
        let mut stem = Vec::new();
        for spec in STEM {
            stem.push(Convolution::read("", spec, width, device, source)?);
            width = spec.1;
        }
        let mut built = Vec::new();
        for (name, branches) in blocks() {
            let (prefix, mut block, mut after) = (format!("{name}."), Vec::new(), 0);
            for BranchSpec { pool, chain, fork } in branches {
                let mut inner = width;
                let read = |spec: Spec, inputs: usize| {
                    Convolution::read(&prefix, spec, inputs, device, source)
                };
                let mut convolutions = Vec::new();
                for spec in chain {
                    convolutions.push(read(spec, inner)?);
                    inner = spec.1;
                }
                after += match fork.is_empty() {
                    true => inner,
                    false => fork.iter().map(|spec| spec.1).sum(),
                };
                let fork =
                    fork.into_iter().map(|spec| read(spec, inner)).collect::<Result<_, _>>()?;
                block.push(Branch { pool, chain: convolutions, fork });
            }
            width = after;
            built.push(block);
        }
        Ok(Self { stem, blocks: built, room: Room::default(), device: device.clone() })
    }

    /// The mean of the last block over all places.
    ///
    /// # Shapes
    /// - `images`: `[batch, 3, 299, 299]`, from -1 to 1
    /// - output: `[batch, 2048]`
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let mut x = images;
        for (i, convolution) in self.stem.iter().enumerate() {
            x = convolution.forward(x);
            if i == 2 || i == 4 {
                x = Pool::Halving.forward(x);
            }
        }
        for block in &self.blocks {
            let parts = block.iter().flat_map(|branch| branch.forward(x.clone())).collect();
            x = Tensor::cat(parts, 1);
        }
        let [batch, channels, height, width] = x.dims();
        x.reshape([batch, channels, height * width]).mean_dim(2).reshape([batch, channels])
    }

    /// `[pictures, 2048]`, row by row, of pictures of any size, with levels from -1 to 1.
    pub fn features(&self, pictures: &[RgbImage]) -> Vec<f32> {
        in_batches(&self.room, &self.device, pictures, BATCH, |pictures| {
            self.forward(scaled(pictures, SIDE, |part| 2.0 * part - 1.0, &self.device))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use burn::tensor::TensorData;

    use super::*;
    use crate::io::tensors::TensorFile;
    use crate::judge::matrix::tests::hashed;
    use crate::readback;

    #[test]
    fn features_are_those_of_pytorch_fid() {
        let device = Device::flex();
        let shapes = RefCell::new(BTreeMap::new());
        Inception::build(&device, &|name, shape| {
            shapes.borrow_mut().insert(name.to_owned(), shape.to_vec());
            Ok(vec![1.0; shape.iter().product()])
        })
        .unwrap();
        let names: Vec<String> = shapes.into_inner().into_keys().collect();
        assert_eq!(names.len(), 94 * 5);
        // The weights that `scripts/evaluate_numbers.py` gives the package's network.
        let network = Inception::build(&device, &|name, shape| {
            let seed = names.binary_search_by(|known| known.as_str().cmp(name)).unwrap();
            let fan_in = shape[1..].iter().product::<usize>().max(1);
            let scaled = |value: f64| match name {
                name if name.ends_with("running_var") => 1.0 + 0.5 * value,
                name if name.ends_with("running_mean") => 0.2 * value,
                name if name.ends_with("bn.weight") => 1.0 + 0.3 * value,
                name if name.ends_with("bn.bias") => 0.3 * value,
                _ => value * (6.0 / fan_in as f64).sqrt(),
            };
            let values = hashed(seed as u64, shape.iter().product());
            Ok(values.into_iter().map(|value| scaled(value) as f32).collect())
        })
        .unwrap();
        let values: Vec<f32> =
            hashed(2000, 3 * 299 * 299).into_iter().map(|value| value as f32).collect();
        let images = Tensor::from_data(TensorData::new(values, [1, 3, 299, 299]), &device);
        let found = readback::floats(network.forward(images));
        let golden =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/inception_v3.safetensors");
        let expected = TensorFile::open(&golden).unwrap().floats("features").unwrap().1;
        let largest = expected.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() <= 1e-4 * largest, "{found} {expected}");
        }
    }
}
