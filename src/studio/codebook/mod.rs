//! The codes of the model: how often they are used, which are alike, and all of them in one texture.

pub mod pane;

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use egui::{Color32, ColorImage, Context, Rect, TextureHandle, TextureId, TextureOptions, pos2};
use image::RgbImage;
use image::imageops::{self, FilterType};

use crate::studio::action::{Actions, CodebookAction, WindowAction};
use crate::studio::base::images::colour_image;
use crate::studio::base::worker::{Broken, Stop, Task, Wake};
use crate::studio::engine::{ModelInfo, RunId};
use crate::studio::pane::Pane;
use crate::studio::session::Session;

/// How the codes are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// By their number.
    #[default]
    Number,
    /// By how many tokens of the current run are this code, the most used first.
    RunUsage,
    /// By how many tokens of the picture being looked at are this code.
    PictureUsage,
    /// Each beside those that are like it.
    Similarity,
}

impl Order {
    /// Every order, in which they are offered.
    pub const ALL: [Self; 4] = [Self::Number, Self::RunUsage, Self::PictureUsage, Self::Similarity];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Number => "by number",
            Self::RunUsage => "by use in this run",
            Self::PictureUsage => "by use in the picture",
            Self::Similarity => "by similarity",
        }
    }
}

/// What a sorted list depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct Sorting {
    /// The order.
    pub order: Order,
    /// What the counts were taken from: a run, a position, whether it has ended.
    pub taken: Option<(RunId, usize, bool)>,
    /// The picture being looked at.
    pub picture: usize,
    /// Codes of the model.
    pub codes: usize,
    /// Whether the order by similarity is known.
    pub settled: bool,
}

/// What the pane keeps.
#[derive(Default)]
pub struct Codebook {
    /// How the codes are sorted.
    pub order: Order,
    /// What is typed in the search.
    pub search: String,
    /// Whether the chosen code is to be scrolled into view.
    reveal: bool,
    sorted: Option<(Sorting, Arc<[u32]>)>,
    alike: Option<Alike>,
    atlas: Option<Atlas>,
}

impl Codebook {
    /// Does what was asked of it.
    pub fn perform(
        &mut self,
        action: CodebookAction,
        session: &mut Session,
        actions: &mut Actions,
    ) {
        let CodebookAction::Find(code) = action;
        session.highlight = Some(code);
        self.reveal = true;
        actions.push(WindowAction::Reveal(Pane::Codebook));
    }

    /// The codes as `sorting` has them; `counts` is how often each is used.
    pub fn sorted(&mut self, sorting: Sorting, counts: &[u32]) -> Arc<[u32]> {
        if let Some((known, codes)) = &self.sorted
            && *known == sorting
        {
            return Arc::clone(codes);
        }
        let mut codes: Vec<u32> = (0..sorting.codes as u32).collect();
        match sorting.order {
            Order::Number => {}
            Order::RunUsage | Order::PictureUsage => codes.sort_by_key(|code| {
                Reverse(counts.get(*code as usize).copied().unwrap_or_default())
            }),
            Order::Similarity => {
                if let Some(chain) = self.alike.as_ref().and_then(|alike| alike.chain.as_ref()) {
                    codes.clone_from(chain);
                }
            }
        }
        let codes: Arc<[u32]> = codes.into();
        self.sorted = Some((sorting, Arc::clone(&codes)));
        codes
    }

    /// Sees to the order by similarity, which a thread of its own works out; says how far it is, in
    /// `[0, 1]`, and 1 once it is known.
    ///
    /// # Errors
    /// The system has no thread to give, or the work broke off; it starts over when it is next asked
    /// for.
    pub fn follow_alike(&mut self, ctx: &Context, model: &ModelInfo) -> Result<f32, String> {
        let alike = match &mut self.alike {
            Some(alike) => alike,
            none => none.insert(Alike::begin(ctx, model)),
        };
        if alike.chain.is_none() {
            match alike.task.poll().transpose() {
                Ok(chain) => alike.chain = chain.flatten(),
                Err(broken) => {
                    self.alike = None;
                    return Err(match broken {
                        Broken::NoThread(_) => broken.to_string(),
                        Broken::Panicked(reason) => {
                            format!("Sorting failed ({reason}): choose the order again.")
                        }
                    });
                }
            }
        }
        Ok(match alike.chain {
            Some(_) => 1.0,
            None => alike.done.load(Ordering::Relaxed) as f32 / alike.codes.max(1) as f32 * 0.999,
        })
    }

    /// The texture with the swatches of all codes, of which those are filled that have come.
    pub fn atlas(&mut self, ctx: &Context, codes: usize) -> &mut Atlas {
        match &mut self.atlas {
            Some(atlas) => atlas,
            none => none.insert(Atlas::new(ctx, codes)),
        }
    }
}

/// The order by similarity, and the thread that works it out.
struct Alike {
    chain: Option<Vec<u32>>,
    /// Nothing comes of it where it is ended early.
    task: Task<Option<Vec<u32>>>,
    done: Arc<AtomicUsize>,
    codes: usize,
}

impl Alike {
    fn begin(ctx: &Context, model: &ModelInfo) -> Self {
        let done = Arc::new(AtomicUsize::new(0));
        let codes = model.card.tokenizer.codes;
        let (table, size) = (Arc::clone(&model.codebook), model.card.tokenizer.code_size);
        let counter = Arc::clone(&done);
        let task = Task::start("purrscope-similarity", Wake::from(ctx), move |stop: &Stop| {
            chain(&table, size, |done| {
                counter.store(done, Ordering::Relaxed);
                !stop.is_asked()
            })
        });
        Self { chain: None, task, done, codes }
    }
}

/// How often each of `known` codes is in `codes`.
pub fn usage(codes: &[u32], known: usize) -> Vec<u32> {
    let mut counts = vec![0; known];
    for code in codes {
        if let Some(count) = counts.get_mut(*code as usize) {
            *count += 1;
        }
    }
    counts
}

/// How many codes, all used equally often, would be as varied as these counts; 0 where nothing was
/// counted.
pub fn perplexity(counts: &[u32]) -> f32 {
    let total: f64 = counts.iter().map(|count| f64::from(*count)).sum();
    if total == 0.0 {
        return 0.0;
    }
    let used = counts.iter().filter(|count| **count > 0);
    let entropy: f64 =
        used.map(|count| f64::from(*count) / total).map(|part| -part * part.ln()).sum();
    entropy.exp() as f32
}

/// The row of a code in a table of codes of `size` numbers.
fn row(table: &[f32], size: usize, code: usize) -> &[f32] {
    table.get(code * size..(code + 1) * size).unwrap_or_default()
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// Length of a code, in the units of the flow.
pub fn norm(table: &[f32], size: usize, code: u32) -> f32 {
    row(table, size, code as usize).iter().map(|value| value * value).sum::<f32>().sqrt()
}

/// The `count` codes nearest to `code`, with their distances, the nearest first.
pub fn nearest(table: &[f32], size: usize, code: u32, count: usize) -> Vec<(u32, f32)> {
    let own = row(table, size, code as usize);
    let others = table.chunks_exact(size.max(1)).enumerate();
    let mut all: Vec<_> = others
        .filter(|(other, _)| *other != code as usize)
        .map(|(other, values)| (other as u32, distance(own, values)))
        .collect();
    let count = count.min(all.len());
    if count > 0 && count < all.len() {
        all.select_nth_unstable_by(count - 1, |a, b| a.1.total_cmp(&b.1));
    }
    all.truncate(count);
    all.sort_by(|a, b| a.1.total_cmp(&b.1));
    all.into_iter().map(|(code, squared)| (code, squared.sqrt())).collect()
}

/// The direction in which the codes differ most: power iteration on their covariance.
fn principal_axis(table: &[f32], size: usize) -> Vec<f64> {
    const ROUNDS: usize = 32;
    let count = (table.len() / size.max(1)).max(1) as f64;
    let mut mean = vec![0.0; size];
    for code in table.chunks_exact(size.max(1)) {
        mean.iter_mut().zip(code).for_each(|(mean, value)| *mean += f64::from(*value) / count);
    }
    // Not along an axis, so that no direction is left out from the start.
    let mut axis: Vec<f64> = (0..size).map(|at| 1.0 + at as f64 / 7.0).collect();
    for _ in 0..ROUNDS {
        let mut next = vec![0.0; size];
        for code in table.chunks_exact(size.max(1)) {
            let centred = code.iter().zip(&mean).map(|(value, mean)| f64::from(*value) - mean);
            let along: f64 = centred.clone().zip(&axis).map(|(value, axis)| value * axis).sum();
            next.iter_mut().zip(centred).for_each(|(next, value)| *next += along * value);
        }
        let length = next.iter().map(|value| value * value).sum::<f64>().sqrt();
        if length < 1e-12 {
            break;
        }
        axis = next.into_iter().map(|value| value / length).collect();
    }
    axis
}

/// The codes of a table in an order in which each follows the one that it is nearest to of those left,
/// from one end of the principal axis on. `goes_on` is told how many are placed, and may end it.
fn chain(table: &[f32], size: usize, goes_on: impl Fn(usize) -> bool) -> Option<Vec<u32>> {
    let count = table.len() / size.max(1);
    let axis = principal_axis(table, size);
    let along = |code: &usize| -> f64 {
        row(table, size, *code).iter().zip(&axis).map(|(v, axis)| f64::from(*v) * axis).sum()
    };
    let mut left: Vec<usize> = (0..count).collect();
    let mut order = Vec::with_capacity(count);
    let Some(mut at) = (0..count).min_by(|a, b| along(a).total_cmp(&along(b))) else {
        return Some(order);
    };
    loop {
        order.push(left.swap_remove(at) as u32);
        if !goes_on(order.len()) {
            return None;
        }
        let last = row(table, size, *order.last()? as usize);
        let near = |code: &usize| distance(last, row(table, size, *code));
        let next = left.iter().enumerate().map(|(at, code)| (near(code), *code, at));
        match next.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))) {
            Some((.., next)) => at = next,
            None => return Some(order),
        }
    }
}

/// Swatches of all codes side by side in one texture.
pub struct Atlas {
    texture: TextureHandle,
    columns: usize,
    rows: usize,
    /// Pixels of a side of a swatch.
    tile: usize,
    filled: Vec<bool>,
}

impl Atlas {
    /// Largest side that every wgpu device takes as a texture.
    const LARGEST: usize = 2048;
    const TILE: usize = 32;

    fn new(ctx: &Context, codes: usize) -> Self {
        let columns = (codes.max(1) as f64).sqrt().ceil() as usize;
        let rows = codes.div_ceil(columns).max(1);
        let tile = (Self::LARGEST / columns).clamp(1, Self::TILE);
        let image = ColorImage::filled([columns * tile, rows * tile], Color32::TRANSPARENT);
        let texture = ctx.load_texture("codebook", image, TextureOptions::LINEAR);
        Self { texture, columns, rows, tile, filled: vec![false; codes] }
    }

    /// The texture.
    pub fn texture(&self) -> TextureId {
        self.texture.id()
    }

    /// Whether a code's swatch is there.
    pub fn has(&self, code: u32) -> bool {
        self.filled.get(code as usize) == Some(&true)
    }

    fn place(&self, code: u32) -> [usize; 2] {
        [code as usize % self.columns, code as usize / self.columns]
    }

    /// Puts a code's swatch where it belongs.
    pub fn fill(&mut self, code: u32, swatch: &RgbImage) {
        let [column, row] = self.place(code);
        let Some(filled) = self.filled.get_mut(code as usize) else { return };
        *filled = true;
        let side = self.tile as u32;
        let image = match swatch.dimensions() == (side, side) {
            true => colour_image(swatch),
            false => {
                let scaled = imageops::resize(swatch, side, side, FilterType::Triangle);
                colour_image(&scaled)
            }
        };
        let at = [column * self.tile, row * self.tile];
        self.texture.set_partial(at, image, TextureOptions::LINEAR);
    }

    /// Where a code's swatch is in the texture, in parts of it; half a pixel within its edge, so that
    /// its neighbours do not show.
    pub fn uv(&self, code: u32) -> Rect {
        let [column, row] = self.place(code);
        let along = |at: usize, of: usize| {
            let pixels = (of * self.tile) as f32;
            let first = (at * self.tile) as f32;
            ((first + 0.5) / pixels, (first + self.tile as f32 - 0.5) / pixels)
        };
        let ((left, right), (top, bottom)) = (along(column, self.columns), along(row, self.rows));
        Rect::from_min_max(pos2(left, top), pos2(right, bottom))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorting(order: Order, codes: usize) -> Sorting {
        Sorting { order, taken: None, picture: 0, codes, settled: false }
    }

    #[test]
    fn usage_is_counted_and_strangers_are_left_out() {
        assert_eq!(usage(&[1, 3, 1, 9, 1], 4), [0, 3, 0, 1]);
    }

    #[test]
    fn perplexity_counts_equally_used_codes() {
        assert_eq!(perplexity(&[]), 0.0);
        assert_eq!(perplexity(&[0, 7, 0]), 1.0);
        assert!((perplexity(&[5; 12]) - 12.0).abs() < 1e-4);
        let uneven = perplexity(&[97, 1, 1, 1]);
        assert!(1.0 < uneven && uneven < 2.0, "{uneven}");
    }

    #[test]
    fn the_most_used_come_first_and_equals_by_number() {
        let mut book = Codebook::default();
        let counts = [0, 2, 5, 2];
        let sorted = book.sorted(sorting(Order::RunUsage, 4), &counts);
        assert_eq!(sorted[..], [2, 1, 3, 0]);
        // What was sorted stays until what it depends on changes.
        assert_eq!(book.sorted(sorting(Order::RunUsage, 4), &[9, 0, 0, 0])[..], [2, 1, 3, 0]);
        assert_eq!(book.sorted(sorting(Order::Number, 4), &counts)[..], [0, 1, 2, 3]);
    }

    /// Codes on a bent line, with their numbers shuffled.
    fn bent_line(count: usize) -> (Vec<f32>, Vec<u32>) {
        let number = |place: usize| (place * 7 + 3) % count;
        let mut table = vec![0.0; 2 * count];
        let mut order = vec![0; count];
        for place in 0..count {
            let along = place as f32;
            table[2 * number(place)] = along;
            table[2 * number(place) + 1] = (along * 0.3).sin();
            order[place] = number(place) as u32;
        }
        (table, order)
    }

    #[test]
    fn the_chain_follows_a_line_from_one_end_to_the_other() {
        let (table, mut along) = bent_line(20);
        let order = chain(&table, 2, |_| true).unwrap();
        if order[0] != along[0] {
            along.reverse();
        }
        assert_eq!(order, along);
        assert_eq!(chain(&table, 2, |done| done < 5), None);
        assert_eq!(chain(&[], 2, |_| true), Some(vec![]));
    }

    #[test]
    fn the_chain_has_every_code_once_even_where_codes_are_equal() {
        let mut order = chain(&[0.5; 30], 3, |_| true).unwrap();
        order.sort_unstable();
        assert_eq!(order, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn the_nearest_codes_come_with_their_distance() {
        let table = [0.0, 0.0, 3.0, 4.0, 1.0, 0.0, 0.0, -2.0];
        assert_eq!(nearest(&table, 2, 0, 2), [(2, 1.0), (3, 2.0)]);
        assert_eq!(nearest(&table, 2, 0, 9).len(), 3);
        assert_eq!(norm(&table, 2, 1), 5.0);
    }

    #[test]
    fn swatches_lie_apart_in_the_atlas() {
        let ctx = Context::default();
        let mut atlas = Atlas::new(&ctx, 10);
        assert!(!atlas.has(3));
        atlas.fill(3, &RgbImage::new(16, 16));
        atlas.fill(99, &RgbImage::new(16, 16));
        assert!(atlas.has(3) && !atlas.has(4));
        for code in 0..10 {
            let uv = atlas.uv(code);
            assert!(uv.is_positive() && uv.max.x < 1.0 && uv.max.y < 1.0);
            assert!((0..code).all(|other| !atlas.uv(other).intersects(uv)));
        }
        // The largest codebook still fits a texture.
        let large = Atlas::new(&ctx, 16_384);
        assert!(large.columns * large.tile <= Atlas::LARGEST && large.tile == 16);
    }
}
