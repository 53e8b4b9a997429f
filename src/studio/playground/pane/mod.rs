//! A flow in the plane, where everything can be seen.

mod facts;
#[cfg(test)]
mod tests;
mod view;

use egui::{Align, Button, ComboBox, DragValue, Layout as Arrange, Slider, Ui, vec2};

use crate::flow::codebooks::Layout;
use crate::studio::base::text::count;
use crate::studio::base::theme::{self, GRID, palette};
use crate::studio::base::widgets::{Icon, icon_button};
use crate::studio::playground::{Plane, Playground, Prior};
use crate::studio::session::Session;
use crate::studio::session::draft::Draft;
use crate::studio::session::run::Run;

/// Width of the column of numbers, in points.
const FACTS: f32 = 62.0 * GRID;
/// A pane narrower than this has the numbers under the plane.
const NARROW: f32 = 150.0 * GRID;

/// Shows the pane.
pub fn show(ui: &mut Ui, playground: &mut Playground, session: &Session) {
    let Session { draft, run, position, .. } = session;
    playground.follow(ui.ctx(), draft);
    if playground.follow
        && let Some(run) = run
    {
        playground.t = run.time((*position).min(run.last()));
    }
    let seconds = ui.input(|input| input.stable_dt);
    if playground.pass(seconds) {
        ui.ctx().request_repaint();
    }
    codebook_row(ui, playground);
    drawn_row(ui, playground);
    let wide = ui.available_width() >= NARROW;
    let transport = ui.spacing().interact_size.y + 3.0 * GRID;
    let settings = 5.0 * GRID;
    let height = ui.available_height();
    let plane = match wide {
        true => vec2(
            ui.available_width() - FACTS - 3.0 * GRID,
            (height - transport - settings - 2.0 * GRID).max(20.0 * GRID),
        ),
        false => {
            vec2(ui.available_width(), (0.62 * height - transport - settings).max(20.0 * GRID))
        }
    };
    let left = |ui: &mut Ui, playground: &mut Playground| {
        ui.set_width(plane.x);
        view::show(ui, playground, plane);
        transport_row(ui, playground, run.as_ref());
        settings_row(ui, playground, draft);
    };
    if wide {
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = 3.0 * GRID;
            ui.vertical(|ui| left(ui, playground));
            ui.vertical(|ui| facts::show(ui, playground));
        });
    } else {
        left(ui, playground);
        facts::show(ui, playground);
    }
}

/// The codebook: its rule, its size, its prior, and how many particles flow to it.
fn codebook_row(ui: &mut Ui, playground: &mut Playground) {
    ui.horizontal_wrapped(|ui| {
        let before = (playground.layout, playground.count, playground.prior);
        ui.label("Codebook").on_hover_text("Where the codes lie in the plane. Drag a code to move it.");
        ComboBox::from_id_salt("codebook")
            .selected_text(playground.layout.name())
            .width(18.0 * GRID)
            .show_ui(ui, |ui| {
                for layout in Layout::ALL {
                    ui.selectable_value(&mut playground.layout, layout, layout.name());
                }
            })
            .response
            .accessible_name("Codebook");
        if playground.layout == Layout::Random
            && icon_button(ui, Icon::Dice, "Scatter the codes again", true).clicked()
        {
            playground.scatter += 1;
            playground.remake();
        }
        number(
            ui,
            "Codes",
            "How many codes the codebook has.",
            DragValue::new(&mut playground.count).range(1..=Plane::MOST).speed(0.1),
        );
        ComboBox::from_id_salt("prior")
            .selected_text(prior_name(playground.prior))
            .width(25.0 * GRID)
            .show_ui(ui, |ui| {
                for prior in [Prior::Uniform, Prior::Skewed] {
                    ui.selectable_value(&mut playground.prior, prior, prior_name(prior));
                }
            })
            .response
            .on_hover_text("How probable each code is before anything is seen: all alike, or as one over its rank.")
            .accessible_name("Prior");
        if before != (playground.layout, playground.count, playground.prior) {
            playground.remake();
        }
        number(
            ui,
            "Particles",
            "How many points of noise flow at once; the first ones stay when there are more.",
            DragValue::new(&mut playground.particles).range(1..=Playground::MOST_PARTICLES).speed(2.0),
        );
        let room = playground.plane.codes.len() < Plane::MOST;
        let hint = "Add a code in the middle. A double-click on the plane adds one there.";
        if ui.add_enabled(room, Button::new("Add code")).on_hover_text(hint).clicked() {
            playground.edit(|plane| plane.add(free_place(plane)));
        }
        let hint = "Put the codes back where their rule puts them.";
        if ui.add_enabled(playground.edited, Button::new("Reset")).on_hover_text(hint).accessible_name("Reset codebook").clicked() {
            playground.remake();
        }
    });
}

fn prior_name(prior: Prior) -> &'static str {
    match prior {
        Prior::Uniform => "uniform prior",
        Prior::Skewed => "skewed prior",
    }
}

/// A number with its name before it.
fn number(ui: &mut Ui, name: &str, hint: &str, value: DragValue<'_>) {
    let label = ui.label(name).on_hover_text(hint);
    let size = vec2(12.0 * GRID, ui.spacing().interact_size.y);
    ui.add_sized(size, value).labelled_by(label.id).on_hover_text(hint);
}

/// A place near the middle that no code lies on.
fn free_place(plane: &Plane) -> [f32; 2] {
    let ring = (0..64).map(|i| {
        let (angle, radius) = (i as f32 * 2.4, 0.09 * (i as f32).sqrt() * 2.0);
        [radius * angle.cos(), radius * angle.sin()]
    });
    let free = |at: &[f32; 2]| {
        plane.codes.iter().all(|code| (code[0] - at[0]).hypot(code[1] - at[1]) > 0.3)
    };
    ring.into_iter().find(free).unwrap_or([0.0, 0.0])
}

/// What is drawn.
fn drawn_row(ui: &mut Ui, playground: &mut Playground) {
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0 * GRID;
        let drawn = &mut playground.drawn;
        for (shown, name, hint) in [
            (
                &mut drawn.field,
                "Field",
                "Arrows: the velocity (mu - x) / (1 - t) that a particle would have there, now.",
            ),
            (&mut drawn.paths, "Paths", "The ways that particles took until now."),
            (
                &mut drawn.means,
                "Means",
                "Circles: the posterior mean mu of each particle, where it expects to end.",
            ),
            (&mut drawn.codes, "Codes", "The codes; their area is how probable they are."),
        ] {
            ui.checkbox(shown, name).on_hover_text(hint);
        }
        ui.checkbox(&mut playground.compare, "Exact flow").on_hover_text(
            "Compute the flow of the same noise on a very fine grid too, and measure how far the \
             solver's particles are from it.",
        );
    });
}

/// Time: played, stepped, scrubbed.
fn transport_row(ui: &mut Ui, playground: &mut Playground, run: Option<&Run>) {
    ui.add_space(GRID);
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = GRID;
        let (t, there) = (playground.t, playground.flow().is_some());
        if icon_button(ui, Icon::First, "To the noise", t > 0.0).clicked() {
            (playground.t, playground.playing, playground.follow) = (0.0, false, false);
        }
        if icon_button(ui, Icon::Previous, "Back to the grid point before", there && t > 0.0)
            .clicked()
        {
            playground.step(false);
        }
        let (icon, name) = match playground.playing {
            true => (Icon::Pause, "Pause the flow"),
            false => (Icon::Play, "Play the flow"),
        };
        if icon_button(ui, icon, name, there).clicked() {
            playground.toggle_play();
        }
        if icon_button(ui, Icon::Next, "On to the next grid point", there && t < 1.0).clicked() {
            playground.step(true);
        }
        if icon_button(ui, Icon::Last, "To the codes", t < 1.0).clicked() {
            (playground.t, playground.playing, playground.follow) = (1.0, false, false);
        }
        ui.add_space(2.0 * GRID);
        ui.with_layout(Arrange::right_to_left(Align::Center), |ui| {
            let hint = "Show the time at which the timeline of the pictures is.";
            ui.add_enabled(run.is_some(), egui::Checkbox::new(&mut playground.follow, "Timeline"))
                .on_hover_text(hint)
                .on_disabled_hover_text("There is no run on the timeline yet.")
                .accessible_name("Follow the timeline");
            ui.add_space(2.0 * GRID);
            ui.label(theme::number(ui, format!("t {:.3}", playground.t)))
                .on_hover_text("Time on the way from noise, 0, to codes, 1.");
            ui.add_space(2.0 * GRID);
            scrubber(ui, playground);
        });
    });
}

fn scrubber(ui: &mut Ui, playground: &mut Playground) {
    ui.spacing_mut().slider_width = (ui.available_width()).max(20.0 * GRID);
    let before = playground.t;
    let slider = Slider::new(&mut playground.t, 0.0..=1.0).show_value(false);
    let response = ui.add(slider).accessible_name("Time of the flow");
    if playground.t != before {
        (playground.playing, playground.follow) = (false, false);
    }
    // A tick a grid point, under the rail.
    if let Some(flow) = playground.flow() {
        let rect = response.rect;
        let margin = rect.height() / 4.0;
        let colour = palette(ui.visuals()).weak.gamma_multiply(0.7);
        let room = rect.width() / (flow.moments.len() + 1) as f32;
        for point in 0..=flow.moments.len() {
            let x = egui::lerp(rect.left() + margin..=rect.right() - margin, flow.time(point));
            if room > 2.0 {
                let ends = rect.bottom() - 2.0..=rect.bottom() + 1.0;
                ui.painter().vline(x, ends, egui::Stroke::new(1.0, colour));
            }
        }
    }
}

/// The settings that decide, and where they are set.
fn settings_row(ui: &mut Ui, playground: &Playground, draft: &Draft) {
    let settings = playground.question(draft).settings;
    let eta = if settings.eta > 0.0 { format!(", eta {}", settings.eta) } else { String::new() };
    let text = format!(
        "{}, {}, {} grid, temperature {}{eta}, seed {}",
        settings.solver,
        count(settings.steps, "step"),
        settings.grid,
        settings.temperature,
        settings.seed,
    );
    ui.add(egui::Label::new(theme::section(ui, &text)).truncate())
        .on_hover_text("The settings on the controls decide here as they do for pictures.");
}
