//! Attention on burn's CPU backend, in blocks of queries and keys (Dao et al. 2022): queries, keys and
//! values are read where the product before left them, heads are computed in parallel.

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use rayon::prelude::*;

use super::extension::AttentionOps;
use crate::kernels::host::{Rows, exp, largest, sum_of, sum_of_both, tensor, unwritten};
use crate::kernels::linear::product::{Base, Block, Matrix, Panels};
use crate::kernels::vectors::vectors;

/// Queries taken at a time.
const QUERIES: usize = 64;
/// Keys taken at a time.
const KEYS: usize = 256;

/// Sizes of an attention.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    tokens: usize,
    heads: usize,
    /// Of a head.
    width: usize,
}

impl Sizes {
    fn new(qkv: &Rows, heads: usize) -> Option<Self> {
        let [batch, tokens, triple] = qkv.dims()[..] else { return None };
        let whole = heads > 0 && triple.is_multiple_of(3 * heads);
        whole.then(|| Self { batch, tokens, heads, width: triple / 3 / heads })
    }

    /// Numbers of all heads for a token.
    fn hidden(&self) -> usize {
        self.heads * self.width
    }

    /// What scores are multiplied by.
    fn scale(&self) -> f32 {
        (self.width as f32).sqrt().recip()
    }

    /// Queries (0), keys (1) or values (2) of a head of an image.
    fn part<'a>(&self, qkv: &'a [f32], which: usize, head: usize) -> Matrix<'a> {
        let from = which * self.hidden() + head * self.width;
        Matrix::strided(&qkv[from..], self.tokens, self.width, 3 * self.hidden())
    }

    /// A head of an image of something like the output.
    fn head<'a>(&self, out: &'a [f32], head: usize) -> Matrix<'a> {
        Matrix::strided(&out[head * self.width..], self.tokens, self.width, self.hidden())
    }

    /// Blocks of tokens: their first and their number.
    fn blocks(&self, most: usize) -> impl Iterator<Item = (usize, usize)> {
        let tokens = self.tokens;
        (0..tokens).step_by(most).map(move |first| (first, most.min(tokens - first)))
    }
}

/// The scores of some queries with some keys, `[queries, keys]`, not scaled.
fn scores(queries: Matrix<'_>, keys: &Panels, out: &mut [f32]) {
    let right = keys.laid_out();
    Block { left: queries, right, base: Base::Zero, out, sums: None }.run();
}

/// A head of an image: what it gives, `[tokens, width]`, and the log of the sum of exponentials of every
/// query's scores.
fn mix(sizes: Sizes, qkv: &[f32], head: usize) -> (Vec<f32>, Vec<f32>) {
    let Sizes { tokens, width, .. } = sizes;
    let [q, k, v] = [0, 1, 2].map(|which| sizes.part(qkv, which, head));
    let blocks: Vec<(usize, Panels, Panels)> = sizes
        .blocks(KEYS)
        .map(|(first, count)| {
            let keys = Panels::new(k.some_rows(first, count).transposed());
            (count, keys, Panels::new(v.some_rows(first, count)))
        })
        .collect();
    let mut out = unwritten(tokens * width);
    let mut log_sums = unwritten(tokens);
    let mut weights = unwritten(QUERIES.min(tokens) * KEYS.min(tokens));
    let rows = out.chunks_mut(QUERIES * width).zip(log_sums.chunks_mut(QUERIES));
    for (i, (out, log_sums)) in rows.enumerate() {
        let queries = q.some_rows(i * QUERIES, log_sums.len());
        // Of every query the largest score and the sum of exponentials relative to it.
        let mut most = [f32::NEG_INFINITY; QUERIES];
        let mut totals = [0.0; QUERIES];
        for (j, (count, keys, values)) in blocks.iter().enumerate() {
            let weights = &mut weights[..log_sums.len() * count];
            scores(queries, keys, weights);
            let rows = weights.chunks_exact_mut(*count).zip(out.chunks_exact_mut(width));
            let state = most.iter_mut().zip(&mut totals);
            vectors(
                #[inline(always)]
                || {
                    for ((weights, out), (most, total)) in rows.zip(state) {
                        let risen = most.max(largest(weights));
                        let scale = sizes.scale();
                        weights.iter_mut().for_each(|w| *w = exp((*w - risen) * scale));
                        let keep = if j == 0 { 0.0 } else { exp((*most - risen) * scale) };
                        if j > 0 && keep < 1.0 {
                            out.iter_mut().for_each(|out| *out *= keep);
                        }
                        *total = *total * keep + sum_of(weights, |weight| weight);
                        *most = risen;
                    }
                },
            );
            let left = Matrix::new(weights, log_sums.len(), *count);
            let base = if j == 0 { Base::Zero } else { Base::Present };
            Block { left, right: values.laid_out(), base, out, sums: None }.run();
        }
        let state = most.iter().zip(&totals).zip(log_sums);
        vectors(
            #[inline(always)]
            || {
                for (out, ((most, total), log_sum)) in out.chunks_exact_mut(width).zip(state) {
                    let rate = total.recip();
                    out.iter_mut().for_each(|out| *out *= rate);
                    *log_sum = most * sizes.scale() + total.ln();
                }
            },
        );
    }
    (out, log_sums)
}

/// What the gradient of a head of an image is made from: the image's part of each.
#[derive(Clone, Copy)]
struct Given<'a> {
    qkv: &'a [f32],
    out: &'a [f32],
    grad: &'a [f32],
    /// Of the head.
    log_sums: &'a [f32],
}

/// Gradients of queries, keys and values of a head of an image, each `[tokens, width]`.
fn unmix(sizes: Sizes, given: Given<'_>, head: usize) -> [Vec<f32>; 3] {
    let Sizes { tokens, width, .. } = sizes;
    let [q, k, v] = [0, 1, 2].map(|which| sizes.part(given.qkv, which, head));
    let grad = sizes.head(given.grad, head);
    let mut found = [0, 1, 2].map(|_| vec![0.0; tokens * width]);
    let [of_queries, of_keys, of_values] = &mut found;
    // For every query the mean of the gradients of its weights.
    let means: Vec<f32> = (0..tokens)
        .map(|token| {
            let at = token * sizes.hidden() + head * width;
            let (out, grad) = (&given.out[at..at + width], &given.grad[at..at + width]);
            sum_of_both(out, grad, |out, grad| out * grad)
        })
        .collect();
    let mut weights = unwritten(QUERIES.min(tokens) * KEYS.min(tokens));
    let mut slopes = unwritten(weights.len());
    for (first_key, keys) in sizes.blocks(KEYS) {
        let [k, v] = [k, v].map(|part| part.some_rows(first_key, keys));
        let (turned_keys, turned_values) =
            (Panels::new(k.transposed()), Panels::new(v.transposed()));
        let straight_keys = Panels::new(k);
        for (first, queries) in sizes.blocks(QUERIES) {
            let [q, grad] = [q, grad].map(|part| part.some_rows(first, queries));
            let weights = &mut weights[..queries * keys];
            let slopes = &mut slopes[..queries * keys];
            scores(q, &turned_keys, weights);
            scores(grad, &turned_values, slopes);
            let lines = weights.chunks_exact_mut(keys).zip(slopes.chunks_exact_mut(keys));
            let of_query = given.log_sums[first..].iter().zip(&means[first..]);
            let scale = sizes.scale();
            vectors(
                #[inline(always)]
                || {
                    for ((weights, slopes), (log_sum, mean)) in lines.zip(of_query) {
                        for (weight, slope) in weights.iter_mut().zip(slopes) {
                            *weight = exp(*weight * scale - log_sum);
                            *slope = *weight * (*slope - mean) * scale;
                        }
                    }
                },
            );
            let weights = Matrix::new(weights, queries, keys);
            let slopes = Matrix::new(slopes, queries, keys);
            let add = |left, right: &Panels, out: &mut [f32]| {
                let right = right.laid_out();
                Block { left, right, base: Base::Present, out, sums: None }.run();
            };
            let at = first_key * width..(first_key + keys) * width;
            add(weights.transposed(), &Panels::new(grad), &mut of_values[at.clone()]);
            add(slopes.transposed(), &Panels::new(q), &mut of_keys[at]);
            add(slopes, &straight_keys, &mut of_queries[first * width..(first + queries) * width]);
        }
    }
    found
}

/// Puts rows of `width` into every `stride`th place of `out`.
fn place(rows: &[f32], out: &mut [f32], width: usize, stride: usize) {
    for (row, out) in rows.chunks_exact(width).zip(out.chunks_mut(stride)) {
        out[..width].copy_from_slice(row);
    }
}

/// All heads of all images: output and log sums.
fn attend(qkv: &Rows, sizes: Sizes) -> (Vec<f32>, Vec<f32>) {
    let Sizes { batch, tokens, heads, width } = sizes;
    let hidden = sizes.hidden();
    let mut out = unwritten(batch * tokens * hidden);
    let mut log_sums = unwritten(batch * heads * tokens);
    out.par_chunks_mut(tokens * hidden)
        .zip(log_sums.par_chunks_mut(heads * tokens))
        .zip(qkv.values().par_chunks(3 * tokens * hidden))
        .for_each(|((out, log_sums), qkv)| {
            let mixed: Vec<_> =
                (0..heads).into_par_iter().map(|head| mix(sizes, qkv, head)).collect();
            let of_heads = mixed.iter().zip(log_sums.chunks_exact_mut(tokens)).enumerate();
            for (head, ((mixed, sums), log_sums)) in of_heads {
                place(mixed, &mut out[head * width..], width, hidden);
                log_sums.copy_from_slice(sums);
            }
        });
    (out, log_sums)
}

impl AttentionOps for Flex {
    fn attention_of_heads(qkv: FloatTensor<Self>, heads: usize) -> FloatTensor<Self> {
        Self::attention_and_log_sums(qkv, heads).0
    }

    fn attention_and_log_sums(
        qkv: FloatTensor<Self>,
        heads: usize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let qkv = Rows::new(qkv);
        let Some(sizes) = Sizes::new(&qkv, heads) else {
            return (qkv.like(Vec::new()), qkv.like(Vec::new()));
        };
        let (out, log_sums) = attend(&qkv, sizes);
        let Sizes { batch, tokens, heads, .. } = sizes;
        (
            tensor(out, vec![batch, tokens, sizes.hidden()]),
            tensor(log_sums, vec![batch, heads, tokens]),
        )
    }

    fn attention_gradient(
        qkv: FloatTensor<Self>,
        out: FloatTensor<Self>,
        log_sums: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let [qkv, out, log_sums, grad] = [qkv, out, log_sums, grad].map(Rows::new);
        let Some(sizes) = Sizes::new(&qkv, log_sums.dims()[1]) else {
            return qkv.like(Vec::new());
        };
        let Sizes { tokens, heads, width, .. } = sizes;
        let (hidden, image) = (sizes.hidden(), tokens * sizes.hidden());
        let mut found = unwritten(qkv.values().len());
        let given = qkv.values().par_chunks(3 * image).zip(out.values().par_chunks(image));
        let given = given.zip(grad.values().par_chunks(image));
        let given = given.zip(log_sums.values().par_chunks(heads * tokens));
        let of_images = found.par_chunks_mut(3 * image).zip(given);
        of_images.for_each(|(found, (((qkv, out), grad), log_sums))| {
            let of_head = |head: usize| {
                let log_sums = &log_sums[head * tokens..][..tokens];
                unmix(sizes, Given { qkv, out, grad, log_sums }, head)
            };
            let unmixed: Vec<_> = (0..heads).into_par_iter().map(of_head).collect();
            for (head, parts) in unmixed.iter().enumerate() {
                for (which, part) in parts.iter().enumerate() {
                    let at = which * hidden + head * width;
                    place(part, &mut found[at..], width, 3 * hidden);
                }
            }
        });
        qkv.like(found)
    }
}
