//! The model's own encoder as a feature network, which needs no other file.

use image::RgbImage;

use crate::model::{Model, from_pictures};
use crate::readback::Together;
use crate::room;

/// Cells a side that latents are averaged over.
const CELLS: usize = 4;

/// Features of a picture: its latents averaged over 4x4 cells, and the mean and the standard deviation over the
/// picture of every channel of the encoder's last layer.
#[derive(Debug, Clone, Copy)]
pub struct Encoder<'a>(pub &'a Model);

impl Encoder<'_> {
    /// Number of features: `16 code_size + 2 latent_channels`.
    pub fn dimension(self) -> usize {
        let tokenizer = &self.0.card.tokenizer;
        CELLS * CELLS * tokenizer.code_size + 2 * tokenizer.latent_channels
    }

    /// `[pictures, d]`, row by row; the pictures have the size that the model is for.
    pub fn features(self, pictures: &[RgbImage]) -> Vec<f32> {
        let model = self.0;
        model.within_room(pictures.len(), || {
            let parts = room::parts(pictures.len(), model.images_at_once(pictures.len()));
            parts.flat_map(|part| self.of_part(&pictures[part])).collect()
        })
    }

    fn of_part(self, pictures: &[RgbImage]) -> Vec<f32> {
        let model = self.0;
        let activations = model.tokenizer.activations(from_pictures(pictures, model.device()));
        let [_, channels, height, width] = activations.dims();
        let latents = model.tokenizer.latents_of(activations.clone());
        let mut read = Together::default().with(latents).with(activations).read();
        let (latents, activations) = (read.floats(), read.floats());
        let (size, tokens) = (model.card.tokenizer.code_size, height * width);
        let latents = latents.chunks(size * tokens);
        let pictures = latents.zip(activations.chunks(channels * tokens));
        pictures
            .flat_map(|(latents, activations)| {
                let mut row = pooled(latents, height, width);
                let moments: Vec<(f64, f64)> = activations.chunks(tokens).map(moments).collect();
                row.extend(moments.iter().map(|(mean, _)| mean));
                row.extend(moments.iter().map(|(_, deviation)| deviation));
                row
            })
            .map(|value| value as f32)
            .collect()
    }
}

/// Mean and standard deviation.
fn moments(values: &[f32]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
    let variance = values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>();
    (mean, (variance / count).sqrt())
}

/// Every channel, `height` by `width`, averaged over 4x4 cells as PyTorch's `adaptive_avg_pool2d` does: cells of a
/// grid that is no multiple of 4 share rows and columns.
fn pooled(values: &[f32], height: usize, width: usize) -> Vec<f64> {
    let span = |cell: usize, side: usize| cell * side / CELLS..((cell + 1) * side).div_ceil(CELLS);
    let mut cells = Vec::new();
    for channel in values.chunks(height * width) {
        for (down, right) in (0..CELLS * CELLS).map(|cell| (cell / CELLS, cell % CELLS)) {
            let (rows, columns) = (span(down, height), span(right, width));
            let count = (rows.len() * columns.len()) as f64;
            let sum: f64 = rows
                .flat_map(|row| &channel[row * width + columns.start..row * width + columns.end])
                .map(|value| f64::from(*value))
                .sum();
            cells.push(sum / count);
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::super::matrix::tests::hashed;
    use super::*;

    /// `scripts/evaluate_numbers.py`: torch.nn.functional.adaptive_avg_pool2d.
    #[test]
    fn cells_are_those_of_pytorch() {
        let values: Vec<f32> = hashed(1, 60).into_iter().map(|value| value as f32).collect();
        let found = pooled(&values, 6, 5);
        assert_eq!(found.len(), POOLED.len());
        for (found, expected) in found.iter().zip(POOLED) {
            assert!((found - expected).abs() < 1e-7, "{found} is not {expected}");
        }
        assert_eq!(moments(&[1.0, 3.0]), (2.0, 1.0));
    }

    #[test]
    fn features_are_of_the_picture_alone() {
        let model = Model::embedded(&Device::flex()).unwrap();
        let picture = |shade: u8| {
            RgbImage::from_fn(64, 64, |x, y| image::Rgb([x as u8 * 3, y as u8 * 2, shade]))
        };
        let encoder = Encoder(&model);
        let both = encoder.features(&[picture(10), picture(200)]);
        assert_eq!(both.len(), 2 * encoder.dimension());
        let alone = encoder.features(&[picture(200)]);
        let off = both[encoder.dimension()..].iter().zip(&alone).map(|(a, b)| (a - b).abs());
        assert!(off.fold(0.0, f32::max) < 1e-4);
        assert!(both[..encoder.dimension()] != alone[..]);
    }

    const POOLED: [f64; 32] = [
        -0.0215670503675938,
        0.0921310425037518,
        0.283019443741068,
        0.315108657698147,
        -0.413330282084644,
        0.21379351161886,
        0.723053421708755,
        0.252146865008399,
        0.21152072888799,
        0.0929736896650866,
        0.0167719626333565,
        0.0811472425702959,
        0.188364291796461,
        -0.116045631468296,
        -0.441015435382724,
        -0.0208824520232156,
        -0.334448715206236,
        0.0949909600894898,
        -0.0586804552003741,
        0.0592684868024662,
        -0.0067024186719209,
        0.120674242964014,
        -0.224562376271933,
        0.000521055306307971,
        0.15644816972781,
        -0.0793831249466166,
        -0.278284943895414,
        -0.310541437705979,
        0.244236649945378,
        -0.197115346440114,
        -0.382237394573167,
        -0.240593859693035,
    ];
}
