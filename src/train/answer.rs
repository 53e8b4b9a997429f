//! What a flow's network answers for pictures at times on the way to them, and the loss of that.

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::Loss;
use super::held_out::Term;
use super::times::DrawnTimes;
use crate::flow::{
    FlowLoss, code_loss, endpoint_loss, masked_codes, path_point, weighted_code_loss,
    weighted_endpoint_loss,
};
use crate::kernels;
use crate::model::card::{ModelCard, Objective};
use crate::model::{Dit, params};
use crate::readback::Together;
use crate::rng::Stream;

/// Pictures of a part of a step, and what they are shown with.
pub(super) struct Asked {
    /// Those of the part, `[pictures * tokens]`, without gradients.
    pub codes: Tensor<1, Int>,
    /// What these are in the units of the flow, `[pictures, code_size, rows, columns]`, tracked or not; for an objective that
    /// sees codes themselves it has no meaning.
    pub x1: Option<Tensor<4>>,
    /// Those of the part.
    pub labels: Vec<usize>,
    /// What is drawn for all pictures besides their times, and their number.
    pub stream: Stream,
    pub whole: usize,
    pub times: DrawnTimes,
    /// Whether every picture's loss is wanted.
    pub each: bool,
    pub label_dropout: f64,
    /// Those of all that it is.
    pub part: Range<usize>,
}

impl Asked {
    /// All of some pictures, their labels kept.
    pub fn all(
        codes: Tensor<1, Int>,
        x1: Option<Tensor<4>>,
        labels: Vec<usize>,
        stream: Stream,
        times: DrawnTimes,
    ) -> Self {
        let (whole, part) = (labels.len(), 0..labels.len());
        Self { codes, x1, labels, stream, whole, times, each: false, label_dropout: 0.0, part }
    }

    /// What held-out pictures come to at their times.
    pub fn terms(self, net: &Dit, card: &ModelCard, device: &Device) -> Vec<Term> {
        let t = self.times.times[self.part.clone()].to_vec();
        let labels = self.labels.clone();
        let found = self.answer(net, card, device).terms(labels.len());
        let found = t.into_iter().zip(labels).zip(found);
        found.map(|((t, label), (loss, posterior))| Term { t, label, loss, posterior }).collect()
    }

    /// The loss of the network's answer.
    pub fn loss(self, net: &Dit, card: &ModelCard, lambda_z: f64, device: &Device) -> Loss {
        let weights = match &self.times.weights {
            Some(weights) => Some(weights[self.part.clone()].to_vec()),
            None => self.each.then(|| vec![1.0; self.part.len()]),
        };
        let weights = weights.map(|weights| Tensor::<1>::from_floats(weights.as_slice(), device));
        match (self.answer(net, card, device), weights) {
            (Answer::Codes { logits, codes }, Some(weights)) => {
                weighted_code_loss(logits, codes, lambda_z, weights).into()
            }
            (Answer::Codes { logits, codes }, None) => code_loss(logits, codes, lambda_z).into(),
            (Answer::Point { output, target }, Some(weights)) => {
                weighted_endpoint_loss(output, target, weights).into()
            }
            (Answer::Point { output, target }, None) => endpoint_loss(output, target).into(),
        }
    }

    /// What the network answers, with noise and dropped labels drawn from the stream for all pictures, whatever the part.
    fn answer(self, net: &Dit, card: &ModelCard, device: &Device) -> Answer {
        let Self { codes, x1, labels, mut stream, whole, times, label_dropout, part, .. } = self;
        let batch = part.len();
        let (side, size) = (card.backbone.input_size, card.tokenizer.code_size);
        let of_part = |each: usize| part.start * each..part.end * each;
        let t = &times.times[part.clone()];
        let no_label = card.backbone.num_classes;
        let dropped: Vec<bool> = (0..whole).map(|_| stream.uniform() < label_dropout).collect();
        let labels: Vec<i64> = labels
            .into_iter()
            .zip(&dropped[part.clone()])
            .map(|(label, dropped)| if *dropped { no_label } else { label } as i64)
            .collect();
        let classes = Tensor::<1, Int>::from_data(labels.as_slice(), device);
        let autodiff = device.is_autodiff();
        let of_codes = |logits: Tensor<3>, codes: Tensor<1, Int>| {
            let (tokens, channels) = (codes.dims()[0], card.backbone.out_channels);
            Answer::Codes { logits: logits.reshape([tokens, channels]), codes }
        };
        let Some(x1) = x1.filter(|_| card.objective != Objective::Dfm) else {
            let masked = card.tokenizer.codes as i64;
            let chances: Vec<f64> = (0..whole * side * side).map(|_| stream.uniform()).collect();
            let codes = if autodiff { codes.autodiff() } else { codes };
            let state = masked_codes(codes.clone(), &chances[of_part(side * side)], t, masked);
            let x = net.embed_codes(state.reshape([batch, side, side]));
            let logits = x.map(|x| net.forward_in_patches(x, t, classes));
            // The configuration that was made for this objective embeds codes.
            let logits = logits.unwrap_or_else(|| unreachable!("a dfm network embeds codes"));
            return of_codes(logits, net.in_patches(codes));
        };
        let numbers = size * side * side;
        let noise = stream.normals(whole * numbers)[of_part(numbers)].to_vec();
        // Where nothing is to be learned about the pictures, only the network's part of the graph is kept.
        let tracked = x1.is_autodiff();
        let inner = if tracked { device.clone() } else { device.clone().without_autodiff() };
        let x0 = Tensor::<4>::from_data(TensorData::new(noise, [batch, size, side, side]), &inner);
        let x = path_point(x0.clone(), x1.clone(), Tensor::from_floats(t, &inner));
        let moved = |x: Tensor<4>| if autodiff && !tracked { x.autodiff() } else { x };
        let output = |x: Tensor<4>| net.forward(moved(x), t, classes.clone());
        match card.objective {
            Objective::Cfm => Answer::Point { output: output(x), target: moved(x1 - x0) },
            Objective::CfmEndpoint => Answer::Point { output: output(x), target: moved(x1) },
            Objective::Purrception | Objective::Dfm => {
                let logits = net.forward_in_patches(moved(x), t, classes);
                let codes = if autodiff { codes.autodiff() } else { codes };
                of_codes(logits, net.in_patches(codes))
            }
        }
    }
}

/// What a network answers, and what is true.
enum Answer {
    /// `[batch * tokens, codes]` and `[batch * tokens]`, picture after picture.
    Codes { logits: Tensor<2>, codes: Tensor<1, Int> },
    /// `[batch, tokens, channels]` and `[batch, channels, height, width]`.
    Point { output: Tensor<3>, target: Tensor<4> },
}

impl Answer {
    /// Of each of so many pictures: the first term of the loss and, of a posterior, the share of tokens whose true code
    /// is the likeliest and the mean of log Z.
    fn terms(self, pictures: usize) -> Vec<(f32, Option<[f32; 2]>)> {
        match self {
            Self::Codes { logits, codes } => {
                let tokens = codes.dims()[0] / pictures.max(1);
                let right = logits.clone().argmax(1).reshape([-1]).equal(codes.clone()).float();
                let terms = kernels::code_loss(logits, codes);
                let mean = |column: Tensor<1>| {
                    column.reshape([pictures, tokens]).mean_dim(1).reshape([pictures])
                };
                let column = |at: usize| terms.clone().narrow(1, at, 1).reshape([-1]);
                let together = Together::default().with(mean(column(0))).with(mean(right));
                let mut read = together.with(mean(column(1))).read();
                let (losses, right, log_z) = (read.floats(), read.floats(), read.floats());
                let posterior = right.into_iter().zip(log_z).map(|(right, z)| Some([right, z]));
                losses.into_iter().zip(posterior).collect()
            }
            Self::Point { output, target } => {
                let weights = Tensor::ones([pictures], &output.device());
                let (_, each) = weighted_endpoint_loss(output, target, weights);
                params::host(each).into_iter().map(|loss| (loss, None)).collect()
            }
        }
    }
}

impl From<(FlowLoss, Tensor<1>)> for Loss {
    fn from((loss, each): (FlowLoss, Tensor<1>)) -> Self {
        Self { each: Some(each.inner()), ..loss.into() }
    }
}

impl From<FlowLoss> for Loss {
    fn from(loss: FlowLoss) -> Self {
        let terms = match loss.mean_log_z_squared {
            Some(log_z) => {
                vec![("cross_entropy", loss.data_term), ("mean_log_z_squared", log_z)]
            }
            None => vec![("squared_error", loss.data_term)],
        };
        Self { total: loss.total, terms, codes: None, each: None }
    }
}
