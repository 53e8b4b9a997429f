//! Pictures of the tools for a look, not a test: as `screenshots` in the tests of the window.

use egui::vec2;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;

use crate::studio::canvas::{Overlay, Paint, Tool};
use crate::studio::codebook::Order;
use crate::studio::engine::{Engine, ModelSource};
use crate::studio::session::token::Token;
use crate::studio::testing::fake::FakeWorker;
use crate::studio::testing::window::{Window, click, finished, wait_until};
use crate::studio::window::app::StudioApp;
use crate::studio::window::panes::Pane;
use crate::studio::window::saved::Session;

#[test]
#[ignore = "writes pictures for people to look at"]
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
                        Session::begin(None),
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
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            window.render().unwrap().save(folder.join(format!("{name}-{what}.png"))).unwrap();
        };
        let state = &mut window.state_mut().state;
        state.go_to(11);
        state.selected = Some(Token { image: 1, row: 4, column: 7 });
        shoot(&mut window, "posterior");
        let state = &mut window.state_mut().state;
        let code = state.shown().unwrap().record.posterior.as_ref().unwrap().top_of(1, 4, 7)[1].0;
        state.draft.edits.pin(Token { image: 1, row: 4, column: 7 }, code);
        for column in 3..9 {
            state.draft.edits.pin(Token { image: 0, row: 6, column }, 70);
            state.draft.edits.ban(Token { image: 0, row: 9, column }, 71);
        }
        state.draft.edits.ban(Token { image: 1, row: 4, column: 7 }, code + 7);
        state.draft.edits.ban_everywhere(code + 14);
        state.canvas.tool = Tool::Pin;
        state.canvas.brush.paint = Paint::Code;
        state.canvas.brush.code = 70;
        state.canvas.brush.size = 3;
        let at = window.get_by_label("Picture 3").rect().center();
        window.hover_at(at);
        shoot(&mut window, "pins");
        let state = &mut window.state_mut().state;
        state.canvas.overlay = Overlay::Edits;
        state.canvas.tool = Tool::Look;
        shoot(&mut window, "edits");
        let state = &mut window.state_mut().state;
        state.draft.edits.clear();
        state.canvas.overlay = Overlay::Unsettled;
        state.follow_draft(false);
        shoot(&mut window, "unsettled");
        let state = &mut window.state_mut().state;
        state.canvas.overlay = Overlay::None;
        state.go_to(24);
        state.canvas.tool = Tool::Region;
        state.inpaint_shown(1);
        state.inpaint.original = false;
        for row in 4..11 {
            (3..13).for_each(|column| state.inpaint.region.set(row, column, true));
        }
        shoot(&mut window, "region");
        click(&mut window, "Regenerate region");
        wait_until(&mut window, finished);
        shoot(&mut window, "regenerated");
        click(&mut window, "Original");
        shoot(&mut window, "original");
        window.state_mut().state.end_inpaint();
        let state = &mut window.state_mut().state;
        state.wanted_pane = Some(Pane::Codebook);
        shoot(&mut window, "codebook");
        let state = &mut window.state_mut().state;
        state.codebook.order = Order::RunUsage;
        state.codebook.light(Some(716));
        state.draft.edits.ban_everywhere(716);
        state.draft.edits.ban_everywhere(3);
        state.codebook.search = "716".to_owned();
        state.codebook.reveal = true;
        shoot(&mut window, "codebook-used");
        let cell = window.get_by_label("Code 716").rect().center();
        window.hover_at(cell);
        shoot(&mut window, "codebook-hover");
        window.state_mut().state.draft.edits.clear();
        window.state_mut().state.wanted_pane = Some(Pane::Canvas);
        shoot(&mut window, "lit");
    }
}
