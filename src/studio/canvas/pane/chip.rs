//! Says when what is shown is not what was run.

use egui::{
    Align, CornerRadius, Frame, Label, Layout, Margin, Rect, RichText, Stroke, Ui, UiBuilder, vec2,
};

use crate::flow::SampleSettings;
use crate::studio::base::text::count;
use crate::studio::base::theme::{GRID, palette};
use crate::studio::session::Session;

/// What of `wanted` differs from the settings of a run, in words; nothing where that is nothing that
/// a belief depends on.
fn difference(ran: &SampleSettings, wanted: &SampleSettings) -> Option<String> {
    let mut parts = Vec::new();
    if wanted.temperature != ran.temperature {
        parts.push(format!("temperature {}", wanted.temperature));
    }
    if wanted.guidance != ran.guidance {
        parts.push(format!("guidance {}", wanted.guidance));
    }
    let many = |number: usize, what: &str| match number {
        0 => format!("no {what}s"),
        _ => count(number, what),
    };
    if wanted.pins != ran.pins {
        parts.push(many(wanted.pins.len(), "pin"));
    }
    if wanted.bans != ran.bans || wanted.banned_codes != ran.banned_codes {
        parts.push(many(wanted.bans.len() + wanted.banned_codes.len(), "ban"));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// What the chip says, where there is anything to say.
pub(super) fn text(session: &Session) -> Option<String> {
    if !session.shown()?.what_if {
        return None;
    }
    let ran = &session.run.as_ref()?.settings;
    let what = difference(ran, &*session.settings()?)?;
    Some(format!("What if: {what} \u{2013} press Generate to run it"))
}

/// Shows the chip in the upper left corner of `view`.
pub(super) fn show(ui: &mut Ui, view: Rect, text: &str) {
    let colours = palette(ui.visuals());
    let (fill, stroke) = (ui.visuals().panel_fill, Stroke::new(1.0, colours.accent));
    let room = view.shrink(2.0 * GRID);
    let layout = Layout::left_to_right(Align::Min);
    ui.scope_builder(UiBuilder::new().max_rect(room).layout(layout), |ui| {
        Frame::new()
            .fill(fill)
            .stroke(stroke)
            .corner_radius(CornerRadius::same(4))
            .inner_margin(Margin::symmetric(8, 4))
            .show(ui, |ui| {
                ui.set_max_width((room.width() - 4.0 * GRID).max(20.0 * GRID));
                ui.spacing_mut().item_spacing = vec2(GRID, 0.0);
                let text = RichText::new(text).color(colours.accent);
                ui.add(Label::new(text).selectable(false).truncate()).on_hover_text(
                    "The belief and the picture on show are what the model says of the same state \
                     under the settings on the controls; the run was made with others.",
                );
            });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_named() {
        let ran = SampleSettings::default();
        let cooler = SampleSettings {
            temperature: "0.4".parse().unwrap(),
            pins: vec!["0,1,2=3".parse().unwrap()],
            ..ran.clone()
        };
        assert_eq!(difference(&ran, &ran), None);
        assert_eq!(difference(&ran, &cooler).as_deref(), Some("temperature 0.4, 1 pin"));
        let freed = SampleSettings { pins: Vec::new(), banned_codes: vec![1, 2], ..cooler.clone() };
        assert_eq!(difference(&cooler, &freed).as_deref(), Some("no pins, 2 bans"));
    }
}
