//! What runs measured, and the pictures that they made on the way.

use std::collections::BTreeSet;
use std::sync::Arc;

use egui::{ComboBox, Slider, Ui, vec2};

use super::looks::{look, short_name};
use super::samples;
use crate::studio::base::theme::{self, GRID};
use crate::studio::base::widgets::{Plot, PlotLine, empty_state};
use crate::studio::training::{Bin, RunView, Training, smooth};

/// Height of the large plot and of the small ones, in points.
const LARGE: f32 = 66.0 * GRID;
const SMALL: f32 = 30.0 * GRID;
/// Least width of a small plot, in points.
const WIDTH: f32 = 52.0 * GRID;
/// Figures that have a small plot above the samples.
const FIRST: [&str; 3] = ["gradient_norm", "learning_rate", "images_per_second"];
/// Most small plots under the samples.
const MOST: usize = 9;

/// Shows curves and pictures.
pub fn show(ui: &mut Ui, training: &mut Training) {
    if training.folders.is_empty() {
        let hint = "Choose a run file to train, or the folder of a run, even one that the command line is training now.";
        empty_state(ui, "No run is shown", hint);
        return;
    }
    let runs: Vec<(usize, Arc<RunView>)> = (0..training.folders.len())
        .filter_map(|at| Some((at, training.run(&training.folders[at])?)))
        .collect();
    let names: BTreeSet<&String> = runs.iter().flat_map(|(_, run)| run.figures.keys()).collect();
    head(ui, training, &names);
    let large = plot(ui, training, &runs, &training.curves.figure, training.curves.log);
    let size = vec2(ui.available_width(), LARGE);
    large
        .show(ui, size, &words(&training.curves.figure), "step")
        .on_hover_cursor(egui::CursorIcon::Crosshair);
    let (first, rest): (Vec<&str>, Vec<&str>) = names
        .iter()
        .map(|name| name.as_str())
        .filter(|name| *name != training.curves.figure)
        .partition(|name| FIRST.contains(name));
    small(ui, training, &runs, &first);
    samples::show(ui, training, &runs);
    ui.add_space(3.0 * GRID);
    small(ui, training, &runs, &rest[..rest.len().min(MOST)]);
}

/// A figure's name, in words.
fn words(figure: &str) -> String {
    let text = figure.replace('_', " ");
    match figure {
        "images_per_second" => "images a second".to_owned(),
        "holdout_psnr" => "held-out PSNR, dB".to_owned(),
        "holdout_log_z" => "held-out mean log Z".to_owned(),
        "kid_encoder" => "KID (encoder)".to_owned(),
        "kid_efficientnet_lite0" => "KID (EfficientNet-Lite0)".to_owned(),
        "kid_inception_v3" => "KID (Inception-v3)".to_owned(),
        "frechet_encoder" => "Frechet distance (encoder)".to_owned(),
        "frechet_efficientnet_lite0" => "Frechet distance (EfficientNet-Lite0)".to_owned(),
        "frechet_inception_v3" => "FID".to_owned(),
        _ => text.replace("holdout", "held-out"),
    }
}

/// What a figure is, in a sentence.
fn hint(figure: &str) -> &'static str {
    match figure {
        "loss" => "What training makes smaller; its parts have curves of their own.",
        "cross_entropy" => "How surprised the network is by the true codes, in nats.",
        "mean_log_z_squared" => {
            "What the z-loss keeps small: the square of the logits' partition function."
        }
        "squared_error" => "Squared distance of the network's prediction from its target.",
        "gradient_norm" => "Length of the whole gradient before it is clipped.",
        "learning_rate" => "How far a step moves the weights.",
        "images_per_second" => "Training pictures per second.",
        "holdout_psnr" => {
            "How near reconstructions come to held-out pictures, in decibels; higher is better."
        }
        "holdout_codes_used" => "Part of the codes that held-out pictures use.",
        "holdout_cross_entropy" => "Surprise by the true codes of held-out pictures, in nats.",
        "holdout_accuracy" => "Share of held-out tokens whose true code is the likeliest.",
        "holdout_log_z" => {
            "Mean logarithm of the sum that the softmax divides by; the z-loss keeps it near 0."
        }
        name if name.starts_with("frechet_") => {
            "How far samples lie from held-out pictures as two clouds of features; 0 is best. Only \
             distances of one network and of equally many pictures compare."
        }
        name if name.starts_with("kid_") => {
            "Kernel distance between samples and held-out pictures; about 0 where there is no difference."
        }
        name if name.starts_with("precision_") => {
            "Share of samples that look like held-out pictures."
        }
        name if name.starts_with("recall_") => {
            "Share of held-out pictures that samples come near to."
        }
        _ => "A figure that the run wrote down at every step, or every few.",
    }
}

fn head(ui: &mut Ui, training: &mut Training, names: &BTreeSet<&String>) {
    /// A pane narrower than this has smoothing on a line of its own.
    const NARROW: f32 = 110.0 * GRID;
    let wide = ui.available_width() > NARROW;
    ui.horizontal(|ui| {
        figure(ui, training, names);
        ui.checkbox(&mut training.curves.log, "Log axis")
            .on_hover_text("Equal factors take equal room; values of 0 are left out.");
        if wide {
            ui.add_space(2.0 * GRID);
            smoothing(ui, training);
        }
    });
    if !wide {
        ui.horizontal(|ui| smoothing(ui, training));
    }
}

/// Chooses what is shown large.
fn figure(ui: &mut Ui, training: &mut Training, names: &BTreeSet<&String>) {
    ComboBox::from_id_salt("figure")
        .selected_text(words(&training.curves.figure))
        .width(40.0 * GRID)
        .show_ui(ui, |ui| {
            for name in names {
                let chosen = &mut training.curves.figure;
                ui.selectable_value(chosen, (*name).clone(), words(name)).on_hover_text(hint(name));
            }
        })
        .response
        .on_hover_text(hint(&training.curves.figure))
        .accessible_name("Figure");
}

fn smoothing(ui: &mut Ui, training: &mut Training) {
    let hint = "How strongly curves are smoothed; what lies faintly behind them is not.";
    let label = ui.label("Smoothing").on_hover_text(hint);
    ui.spacing_mut().slider_width = 28.0 * GRID;
    let slider = Slider::new(&mut training.curves.smoothing, 1.0..=200.0);
    ui.add(slider.logarithmic(true).show_value(false)).labelled_by(label.id).on_hover_text(hint);
}

/// A figure of all runs that have it.
fn plot(
    ui: &Ui,
    training: &Training,
    runs: &[(usize, Arc<RunView>)],
    name: &str,
    log: bool,
) -> Plot {
    let line = |(at, run): &(usize, Arc<RunView>)| {
        let figure = run.figures.get(name)?;
        let (colour, stroked) = look(ui, *at);
        // What is measured rarely is shown as it is.
        let smoothing = if figure.bins.len() < 20 { 1.0 } else { training.curves.smoothing };
        let around = |bin: &Bin| [bin.step, bin.low, bin.high];
        let band = if smoothing > 1.5 || figure.bins.iter().any(|bin| bin.low < bin.high) {
            raw_band(&figure.bins).unwrap_or_else(|| figure.bins.iter().map(around).collect())
        } else {
            Vec::new()
        };
        Some(PlotLine {
            name: short_name(&training.folders, *at),
            points: smooth(&figure.bins, smoothing),
            band,
            colour,
            stroked,
        })
    };
    Plot { lines: runs.iter().filter_map(line).collect(), log, ..Plot::default() }
}

/// The band of a curve whose bins hold one value each: between neighbours, so that it can be seen.
fn raw_band(bins: &[Bin]) -> Option<Vec<[f32; 3]>> {
    if bins.iter().any(|bin| bin.low < bin.high) {
        return None;
    }
    let band = bins.windows(2).map(|pair| {
        let (a, b) = (pair[0].mean, pair[1].mean);
        [(pair[0].step + pair[1].step) / 2.0, a.min(b), a.max(b)]
    });
    Some(band.collect())
}

/// Some of the other figures, small.
fn small(ui: &mut Ui, training: &Training, runs: &[(usize, Arc<RunView>)], list: &[&str]) {
    let gap = 3.0 * GRID;
    let columns = (((ui.available_width() + gap) / (WIDTH + gap)).floor() as usize).max(1);
    let width = (ui.available_width() - gap * (columns - 1) as f32) / columns as f32;
    for row in list.chunks(columns) {
        ui.add_space(GRID);
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = gap;
            for name in row {
                ui.vertical(|ui| {
                    ui.set_width(width);
                    ui.spacing_mut().item_spacing.y = 0.0;
                    ui.label(theme::section(ui, &words(name))).on_hover_text(hint(name));
                    plot(ui, training, runs, name, false).show(
                        ui,
                        vec2(width, SMALL),
                        &words(name),
                        "step",
                    );
                });
            }
        });
    }
}
