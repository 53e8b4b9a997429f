//! Every pane as it looks, against pictures in `tests/snapshots`.
//!
//! The pictures were drawn by llvmpipe (Mesa's software Vulkan) on Linux, where the same drawing comes
//! out alike; other drivers place text a fraction of a pixel off, so that there the test is passed over.
//! A pixel may differ by egui_kittest's measure up to [`THRESHOLD`], and [`FAILED`] pixels by more.
//! After a change that is meant: `UPDATE_SNAPSHOTS=1 cargo test --release --lib snapshots`, and look.

use std::time::{Duration, Instant};

use egui::vec2;
use egui_kittest::{Harness, SnapshotOptions, SnapshotResults};

use super::fake::{FakeWorker, PATIENCE};
use crate::studio::action::WindowAction;
use crate::studio::calibration::tests::report;
use crate::studio::engine::{Engine, ModelSource};
use crate::studio::pane::Pane;
use crate::studio::session::look::Overlay;
use crate::studio::session::token::Token;
use crate::studio::testing::window::{Window, finished, wait_until};
use crate::studio::window::app::StudioApp;
use crate::studio::window::saved::SavedFile;

/// Largest difference of a pixel's colour that is none, in egui_kittest's units.
const THRESHOLD: f32 = 1.0;
/// Pixels that may differ by more: edges of text, drawn by another version of the driver.
const FAILED: usize = 60;

fn drawn_window(folder: &std::path::Path) -> Window {
    let mut window = Harness::builder()
        .with_size(vec2(1280.0, 800.0))
        .with_step_dt(1.0 / 30.0)
        .with_max_steps(64)
        .wgpu()
        .build_eframe({
            let folder = folder.to_owned();
            move |creation| {
                let ctx = creation.egui_ctx.clone();
                let wake = move || ctx.request_repaint();
                let engine = Engine::spawn(|| Ok(FakeWorker::default()), wake).unwrap();
                let ctx = &creation.egui_ctx;
                let mut app =
                    StudioApp::new(ctx, SavedFile::begin(None), engine, ModelSource::Embedded);
                app.open_gallery(folder);
                app.shell.greeted = true;
                app
            }
        });
    wait_until(&mut window, finished);
    wait_until(&mut window, |app| app.shell.studio.gallery.items().len() == 4);
    window
}

/// Shows frames until all that they ask for has come, and then until nothing moves any more.
fn settle(window: &mut Window) {
    let deadline = Instant::now() + PATIENCE;
    let mut calm = 0;
    while calm < 12 {
        assert!(Instant::now() < deadline, "it does not come to rest");
        std::thread::sleep(Duration::from_millis(2));
        window.run_steps(3);
        calm = if window.state().shell.studio.is_quiet() { calm + 1 } else { 0 };
    }
}

#[test]
fn every_pane_looks_as_it_did() {
    let software = crate::device::adapters()
        .iter()
        .any(|adapter| adapter.is_software() && adapter.info.name.contains("llvmpipe"));
    if !software {
        println!("passed over: the pictures are llvmpipe's");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut window = drawn_window(folder.path());
    window.state_mut().shell.studio.session.look.overlay = Overlay::Entropy;
    window.state_mut().shell.studio.session.selected = Some(Token { image: 1, row: 6, column: 5 });
    window.state_mut().shell.studio.session.go_to(9);
    // Where a list stands is not to depend on which frame the model came in.
    window.state_mut().shell.studio.controls.reveal_class();
    // What the log says of times is of this run.
    window.state_mut().shell.studio.session.notices.log.clear();
    let mut results = SnapshotResults::new();
    let options = SnapshotOptions::new()
        .threshold(THRESHOLD)
        .max_failed_pixels(FAILED)
        .output_path("tests/snapshots");
    for pane in Pane::ALL {
        window.state_mut().shell.studio.actions.push(WindowAction::Reveal(pane));
        if pane == Pane::Codebook {
            window.step();
            settle(&mut window);
        }
        if pane == Pane::Calibration {
            let studio = &mut window.state_mut().shell.studio;
            let hash = studio.session.model.as_ref().unwrap().hash.clone();
            studio.calibration.take(report(&hash), false, &mut studio.session);
        }
        if pane == Pane::Playground {
            window.run_steps(2);
            wait_until(&mut window, |app| app.shell.studio.playground.flow().is_some());
        }
        settle(&mut window);
        let name = pane.title().to_lowercase();
        results.add(window.try_snapshot_options(name, &options));
    }
}
