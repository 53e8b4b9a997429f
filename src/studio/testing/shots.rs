//! Pictures of the window and of its tools to look at, not tests.

use std::time::Duration;

use egui::{Key, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;

use crate::studio::action::{CodebookAction, FilesAction, WindowAction};
use crate::studio::canvas::tool::{Paint, Tool};
use crate::studio::codebook::Order;
use crate::studio::engine::{Engine, ModelSource};
use crate::studio::pane::Pane;
use crate::studio::session::kinds::TemperatureKind;
use crate::studio::session::look::Overlay;
use crate::studio::session::token::Token;
use crate::studio::testing::fake::FakeWorker;
use crate::studio::testing::window::{Window, click, finished, wait_until};
use crate::studio::window::app::StudioApp;
use crate::studio::window::saved::SavedFile;

/// Pictures of the window for a look, not a test: `cargo test --release --lib screenshots -- --ignored`
/// writes them to the folder named by `PURRSCOPE_SHOTS`.
#[test]
#[ignore = "writes pictures to look at"]
fn screenshots() {
    let folder = std::path::PathBuf::from(std::env::var_os("PURRSCOPE_SHOTS").unwrap());
    for (name, size, light) in [
        ("dark", vec2(1440.0, 900.0), false),
        ("light", vec2(1440.0, 900.0), true),
        ("small", vec2(1280.0, 720.0), false),
        ("least", vec2(1000.0, 640.0), true),
        ("800x600", vec2(800.0, 600.0), false),
        ("640x420", vec2(640.0, 420.0), false),
        ("480x300", vec2(480.0, 300.0), false),
    ] {
        let worker = FakeWorker::default();
        let mut window =
            Harness::builder().with_size(size).with_step_dt(1.0 / 30.0).wgpu().build_eframe(
                move |creation| {
                    let ctx = creation.egui_ctx.clone();
                    let wake = move || ctx.request_repaint();
                    let engine = Engine::spawn(move || Ok(worker.clone()), wake).unwrap();
                    StudioApp::new(
                        &creation.egui_ctx,
                        SavedFile::begin(None),
                        engine,
                        ModelSource::Embedded,
                    )
                },
            );
        let shoot = |window: &mut Window, what: &str| {
            window.render().unwrap().save(folder.join(format!("{name}-{what}.png"))).unwrap();
        };
        shoot(&mut window, "start");
        if light {
            click(&mut window, "View");
            click(&mut window, "Light theme");
        }
        wait_until(&mut window, finished);
        shoot(&mut window, "done");
        let open = |window: &mut Window, menu: &str| {
            // Where there is no room for all of them, they are in one.
            if size.x < 700.0 {
                click(window, "Menu");
            }
            click(window, menu);
        };
        open(&mut window, "View");
        shoot(&mut window, "view");
        window.key_press(Key::Escape);
        window.run_steps(3);
        click(&mut window, "Picture 2");
        window.state_mut().shell.studio.session.look.overlay = Overlay::Entropy;
        window.state_mut().shell.studio.session.go_to(11);
        window.run_steps(4);
        std::thread::sleep(Duration::from_millis(50));
        window.run_steps(4);
        shoot(&mut window, "belief");
        window.state_mut().shell.studio.session.look.overlay = Overlay::Changes;
        window.state_mut().shell.studio.session.draft.temperature = TemperatureKind::Cosine;
        window
            .state_mut()
            .shell
            .studio
            .actions
            .push(FilesAction::Open("broken.safetensors".into()));
        wait_until(&mut window, |app| app.shell.studio.session.notices.banner.is_some());
        window.run_steps(6);
        shoot(&mut window, "trouble");
        click(&mut window, "Dismiss");
        open(&mut window, "Help");
        shoot(&mut window, "menu");
        click(&mut window, "Keys");
        shoot(&mut window, "help");
    }
}

#[test]
#[ignore = "writes pictures to look at"]
#[expect(clippy::too_many_lines, reason = "one sitting at the window, picture by picture")]
fn tool_screenshots() {
    let folder = std::path::PathBuf::from(std::env::var_os("PURRSCOPE_SHOTS").unwrap());
    for (name, size, light) in [
        ("dark", vec2(1440.0, 900.0), false),
        ("light", vec2(1440.0, 900.0), true),
        ("small", vec2(1280.0, 720.0), false),
        ("least", vec2(1000.0, 640.0), true),
    ] {
        let mut window =
            Harness::builder().with_size(size).with_step_dt(1.0 / 30.0).wgpu().build_eframe(
                move |creation| {
                    let ctx = creation.egui_ctx.clone();
                    let wake = move || ctx.request_repaint();
                    let engine = Engine::spawn(|| Ok(FakeWorker::default()), wake).unwrap();
                    StudioApp::new(
                        &creation.egui_ctx,
                        SavedFile::begin(None),
                        engine,
                        ModelSource::Embedded,
                    )
                },
            );
        wait_until(&mut window, finished);
        click(&mut window, "Got it");
        if light {
            window.ctx.set_theme(egui::Theme::Light);
        }
        let shoot = |window: &mut Window, what: &str| {
            for _ in 0..20 {
                window.run_steps(2);
                std::thread::sleep(Duration::from_millis(5));
            }
            window.render().unwrap().save(folder.join(format!("{name}-{what}.png"))).unwrap();
        };
        let studio = &mut window.state_mut().shell.studio;
        studio.session.go_to(11);
        studio.session.selected = Some(Token { image: 1, row: 4, column: 7 });
        shoot(&mut window, "posterior");
        let studio = &mut window.state_mut().shell.studio;
        let code =
            studio.session.shown().unwrap().record.posterior.as_ref().unwrap().top_of(1, 4, 7)[1].0;
        studio.session.draft.edits.pin(Token { image: 1, row: 4, column: 7 }, code);
        for column in 3..9 {
            studio.session.draft.edits.pin(Token { image: 0, row: 6, column }, 70);
            studio.session.draft.edits.ban(Token { image: 0, row: 9, column }, 71);
        }
        studio.session.draft.edits.ban(Token { image: 1, row: 4, column: 7 }, code + 7);
        studio.session.draft.edits.ban_everywhere(code + 14);
        studio.canvas.tool = Tool::Pin;
        studio.canvas.brush.paint = Paint::Code;
        studio.canvas.brush.code = 70;
        studio.canvas.brush.size = 3;
        let at = window.get_by_label("Picture 3").rect().center();
        window.hover_at(at);
        shoot(&mut window, "pins");
        let studio = &mut window.state_mut().shell.studio;
        studio.session.look.overlay = Overlay::Edits;
        studio.canvas.tool = Tool::Look;
        shoot(&mut window, "edits");
        let studio = &mut window.state_mut().shell.studio;
        studio.session.draft.edits.clear();
        studio.session.look.overlay = Overlay::Unsettled;
        studio.follow_draft(false);
        shoot(&mut window, "unsettled");
        let studio = &mut window.state_mut().shell.studio;
        studio.session.look.overlay = Overlay::None;
        studio.session.go_to(24);
        studio.canvas.tool = Tool::Region;
        studio.canvas.inpaint_shown(&mut studio.session, 1);
        studio.canvas.inpaint.original = false;
        for row in 4..11 {
            (3..13).for_each(|column| studio.canvas.inpaint.region.set(row, column, true));
        }
        shoot(&mut window, "region");
        click(&mut window, "Regenerate region");
        wait_until(&mut window, finished);
        shoot(&mut window, "regenerated");
        click(&mut window, "Original");
        shoot(&mut window, "original");
        let studio = &mut window.state_mut().shell.studio;
        studio.canvas.end_inpaint(&mut studio.session);
        let studio = &mut window.state_mut().shell.studio;
        studio.actions.push(WindowAction::Reveal(Pane::Codebook));
        shoot(&mut window, "codebook");
        let studio = &mut window.state_mut().shell.studio;
        studio.codebook.order = Order::RunUsage;
        studio.session.draft.edits.ban_everywhere(716);
        studio.session.draft.edits.ban_everywhere(3);
        studio.codebook.search = "716".to_owned();
        studio.actions.push(CodebookAction::Find(716));
        shoot(&mut window, "codebook-used");
        let cell = window.get_by_label("Code 716").rect().center();
        window.hover_at(cell);
        shoot(&mut window, "codebook-hover");
        window.state_mut().shell.studio.session.draft.edits.clear();
        window.state_mut().shell.studio.actions.push(WindowAction::Reveal(Pane::Canvas));
        shoot(&mut window, "lit");
    }
}
