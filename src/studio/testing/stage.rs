//! A pane on its own, driven by the names that a screen reader reads: for tests of panes.

use std::time::{Duration, Instant};

use egui::{Theme, Vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;

use crate::studio::base::theme;
use crate::studio::pane::Pane;
use crate::studio::testing::fake::PATIENCE;
use crate::studio::window::panes;
use crate::studio::window::studio::Studio;

/// A pane that fills a window.
pub type Stage = Harness<'static, Studio>;

/// Shows `pane` in a window of `size`, drawn by wgpu where it is `seen`.
pub fn stage(pane: Pane, studio: Studio, size: Vec2, seen: Option<Theme>) -> Stage {
    let builder = Harness::builder()
        .with_size(size)
        .with_step_dt(1.0 / 30.0)
        .with_theme(seen.unwrap_or(Theme::Dark))
        .with_context_setup(theme::apply);
    let builder = if seen.is_some() { builder.wgpu() } else { builder };
    builder.build_ui_state(
        move |ui, studio| {
            let whole = ui.ctx().content_rect();
            let ui = &mut ui.new_child(egui::UiBuilder::new().max_rect(whole));
            ui.set_clip_rect(whole);
            panes::show(pane, ui, studio);
        },
        studio,
    )
}

/// Shows frames until `done` holds.
pub fn wait_until(stage: &mut Stage, done: impl Fn(&Studio) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done(stage.state()) {
        assert!(Instant::now() < deadline, "it never came");
        std::thread::sleep(Duration::from_millis(2));
        stage.step();
    }
    stage.run_steps(2);
}

/// Clicks what is named `label`.
pub fn click(stage: &mut Stage, label: &str) {
    stage.get_by_label(label).click();
    stage.run_steps(3);
}

/// Writes a picture of the window to the folder that `PURRSCOPE_SHOTS` names.
pub fn shoot(stage: &mut Stage, name: &str) {
    let folder = std::path::PathBuf::from(std::env::var_os("PURRSCOPE_SHOTS").unwrap());
    stage.render().unwrap().save(folder.join(format!("{name}.png"))).unwrap();
}
