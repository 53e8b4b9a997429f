//! What a model's network makes of a batch: of all its images at once, or of as many as the device has
//! room for.

use std::ops::Range;

use burn::tensor::{Int, Tensor, TensorData};

use super::head::Features;
use super::{Guided, Model};
use crate::room;

impl Model {
    /// What the network gives for every token: logits, end or velocity, as the objective has it. For
    /// logits see [`Head::beliefs`](super::head::Head::beliefs), which never has all of them in memory.
    ///
    /// # Shapes
    /// - `x`: `[batch, code_size, height, width]`
    /// - `labels`: one an image
    /// - output: `[batch, height * width, out_channels]`
    pub fn output(&self, x: Tensor<4>, t: f32, labels: &[usize], guidance: f32) -> Guided {
        self.head.output(self.features(x, t, labels, guidance))
    }

    /// What the head makes the output of; arguments as for [`Model::output`].
    pub fn features(&self, x: Tensor<4>, t: f32, labels: &[usize], guidance: f32) -> Features {
        self.in_parts(labels.len(), |part| {
            let whole = part.len() == labels.len();
            let x = if whole { x.clone() } else { x.clone().narrow(0, part.start, part.len()) };
            self.features_at_once(x, t, &labels[part], guidance)
        })
    }

    /// Features of a batch, of as many images at once as there is room for.
    fn in_parts(&self, batch: usize, features: impl Fn(Range<usize>) -> Features) -> Features {
        let parts = room::parts(batch, self.images_at_once(batch));
        Features::joined(parts.map(features).collect())
    }

    /// As [`Model::features`], of all images in one pass.
    fn features_at_once(&self, x: Tensor<4>, t: f32, labels: &[usize], guidance: f32) -> Features {
        let no_label = vec![self.card.backbone.num_classes; labels.len()];
        let features = |x: Tensor<4>, labels: &[usize]| {
            let t = vec![t; labels.len()];
            let labels: Vec<i64> = labels.iter().map(|label| *label as i64).collect();
            let labels = Tensor::<1, Int>::from_data(labels.as_slice(), &self.device);
            self.backbone.features(x, &t, labels)
        };
        if guidance == 1.0 {
            return Features { conditional: features(x, labels), unconditional: None };
        }
        if guidance == 0.0 {
            return Features { conditional: features(x, &no_label), unconditional: None };
        }
        let both = Tensor::cat(vec![x.clone(), x], 0);
        let both = features(both, &[labels, &no_label].concat());
        let batch = labels.len();
        Features {
            conditional: both.clone().narrow(0, 0, batch),
            unconditional: Some((both.narrow(0, batch, batch), guidance)),
        }
    }

    /// Bytes that the logits of a step may take at a time now that it is known what there is room for.
    pub fn logits_at_once(&self) -> usize {
        self.room.share(self.logits_budget)
    }

    /// Images of a batch that go through the network at once now that it is known what there is room for.
    pub fn images_at_once(&self, batch: usize) -> usize {
        self.room.share(batch)
    }

    /// Does work on a batch, again with less of it at once as often as the device has no room for it.
    pub fn within_room<T>(&self, batch: usize, work: impl FnMut() -> T) -> T {
        self.room.within(&self.device, batch, work)
    }

    /// As [`Model::features`], of codes, some of them masked (equal to the number of codes), for the
    /// `dfm` objective. `codes`: `[batch, height, width]`.
    pub fn features_of_codes(
        &self,
        codes: &[u32],
        t: f32,
        labels: &[usize],
        guidance: f32,
    ) -> Features {
        let shape = self.latent_shape(labels.len());
        self.in_parts(shape.batch, |part| {
            let tokens = part.start * shape.tokens()..part.end * shape.tokens();
            let codes: Vec<i64> = codes[tokens].iter().map(|code| i64::from(*code)).collect();
            let codes = TensorData::new(codes, [part.len(), shape.height, shape.width]);
            let codes = Tensor::<3, Int>::from_data(codes, &self.device);
            match self.backbone.embed_codes(codes) {
                Some(x) => self.features_at_once(x, t, &labels[part], guidance),
                // Which networks embed codes is checked against the objective when a model is opened.
                None => unreachable!("a dfm network embeds codes"),
            }
        })
    }
}
