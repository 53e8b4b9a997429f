//! What is decided about tokens: codes by number, and lists of what is pinned and banned.

use egui::{Align, Button, CollapsingHeader, Label, Layout, ScrollArea, TextEdit, Ui, Vec2};

use super::swatch::swatch;
use crate::flow::Spot;
use crate::studio::base::text::count;
use crate::studio::base::theme::{self, GRID};
use crate::studio::posterior::Posterior;
use crate::studio::session::Session;
use crate::studio::session::token::Token;

/// Swatches offered for what is typed.
const OFFERED: usize = 6;

/// The codes that a typed number may mean: itself, then those whose number begins so.
fn meant(typed: &str, codes: usize) -> Vec<u32> {
    let typed = typed.trim().trim_start_matches('#');
    let Ok(number) = typed.parse::<u32>() else { return Vec::new() };
    let own = std::iter::once(number).filter(|code| (*code as usize) < codes);
    let others =
        (0..codes as u32).filter(|code| *code != number && code.to_string().starts_with(typed));
    own.chain(others).take(OFFERED).collect()
}

/// A field for the number of any code, and what can be done with it on `token`.
pub(super) fn by_number(
    ui: &mut Ui,
    posterior: &mut Posterior,
    session: &mut Session,
    token: Token,
) {
    let codes = session.model.as_ref().map_or(0, |model| model.card.tokenizer.codes);
    ui.horizontal(|ui| {
        let field = TextEdit::singleline(&mut posterior.typed)
            .hint_text("Code by number")
            .desired_width(36.0 * GRID);
        let field =
            ui.add(field).on_hover_text("The number of any code, to pin it or ban it here.");
        field.accessible_name("Code by number");
        let exact = meant(&posterior.typed, codes).first().copied();
        let (pinned, banned) = match exact {
            Some(code) => (
                session.draft.edits.pin_of(token) == Some(code),
                session.draft.edits.is_banned(token, code),
            ),
            None => (false, false),
        };
        let pin = Button::selectable(pinned, if pinned { "Pinned" } else { "Pin" });
        if ui
            .add_enabled(exact.is_some(), pin)
            .on_hover_text("Pin this token to the code.")
            .accessible_name("Pin the other code")
            .clicked()
            && let Some(code) = exact
        {
            toggle_pin(session, token, code);
        }
        let ban = Button::selectable(banned, if banned { "Banned" } else { "Ban" });
        if ui
            .add_enabled(exact.is_some(), ban)
            .on_hover_text("Ban the code from this token.")
            .accessible_name("Ban the other code")
            .clicked()
            && let Some(code) = exact
        {
            toggle_ban(session, token, code);
        }
    });
    if posterior.typed.trim().is_empty() {
        return;
    }
    let offered = meant(&posterior.typed, codes);
    if offered.is_empty() {
        let text = format!("There is no such code: 0 to {}", codes.saturating_sub(1));
        ui.add(Label::new(theme::weak(ui, text)).truncate());
        return;
    }
    session.want_swatches(offered.iter().copied());
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = GRID;
        for code in offered {
            let response = swatch(ui, session, code, Vec2::splat(8.0 * GRID), egui::Sense::click());
            let label = format!("Take code {code}");
            response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, &label));
            if response.on_hover_text(label).clicked() {
                posterior.typed = code.to_string();
                posterior.kept = Some(code);
            }
        }
    });
}

pub(super) fn toggle_pin(session: &mut Session, token: Token, code: u32) {
    let edits = &mut session.draft.edits;
    match edits.pin_of(token) == Some(code) {
        true => edits.unpin(token),
        false => edits.pin(token, code),
    }
}

/// Bans a code at a token; where it was banned in any way, takes that back.
pub(super) fn toggle_ban(session: &mut Session, token: Token, code: u32) {
    let edits = &mut session.draft.edits;
    if edits.is_banned(token, code) {
        edits.allow(token, code);
        edits.allow_everywhere(code);
    } else {
        edits.ban(token, code);
    }
}

pub(super) fn toggle_ban_everywhere(session: &mut Session, code: u32) {
    let edits = &mut session.draft.edits;
    match edits.is_banned_everywhere(code) {
        true => edits.allow_everywhere(code),
        false => edits.ban_everywhere(code),
    }
}

/// One edit of the list.
#[derive(Clone, Copy)]
enum Edit {
    Pin(Spot),
    Ban(Spot),
    BanEverywhere(u32),
}

/// Every pin and every ban, and ways to take them back.
pub(super) fn list(ui: &mut Ui, session: &mut Session) {
    let edits = &session.draft.edits;
    let (pins, bans) = (edits.pins().len(), edits.bans().len() + edits.banned_codes().len());
    if edits.is_empty() {
        ui.label(theme::weak(ui, "No pins or bans."));
        return;
    }
    let everywhere = edits.banned_codes().iter().copied().map(Edit::BanEverywhere);
    let all: Vec<Edit> = everywhere
        .chain(edits.pins().iter().copied().map(Edit::Pin))
        .chain(edits.bans().iter().copied().map(Edit::Ban))
        .collect();
    clear_buttons(ui, session);
    let title = format!("All edits: {}, {}", count(pins, "pin"), count(bans, "ban"));
    CollapsingHeader::new(title).id_salt("all edits").show(ui, |ui| {
        let height = ui.spacing().interact_size.y;
        ScrollArea::vertical()
            .id_salt("list of edits")
            .max_height(44.0 * GRID)
            .auto_shrink([false, true])
            .show_rows(ui, height, all.len(), |ui, shown| {
                all.get(shown).unwrap_or_default().iter().for_each(|edit| row(ui, session, *edit));
            });
    });
}

fn clear_buttons(ui: &mut Ui, session: &mut Session) {
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = GRID;
        ui.label(theme::weak(ui, "Clear"));
        if let Some(token) = session.selected {
            let edits = &mut session.draft.edits;
            let any = edits.pin_of(token).is_some() || edits.has_bans(token);
            if ui
                .add_enabled(any, Button::new("token"))
                .on_hover_text("Remove the pin and the bans of the selected token.")
                .accessible_name("Clear edits of this token")
                .clicked()
            {
                edits.clear_token(token);
            }
            let mut spots = edits.pins().iter().chain(edits.bans());
            let any = spots.any(|spot| spot.image == token.image);
            if ui
                .add_enabled(any, Button::new("picture"))
                .on_hover_text("Remove every pin and ban in the picture that the token is in.")
                .accessible_name("Clear edits of this picture")
                .clicked()
            {
                edits.clear_picture(token.image);
            }
        }
        if ui
            .button("everything")
            .on_hover_text("Clear every pin and ban; undo restores them.")
            .accessible_name("Clear every edit")
            .clicked()
        {
            session.draft.edits.clear();
        }
    });
}

fn row(ui: &mut Ui, session: &mut Session, edit: Edit) {
    let (text, spot) = match edit {
        Edit::Pin(spot) => {
            (format!("({}, {}) is #{}", spot.row, spot.column, spot.code), Some(spot))
        }
        Edit::Ban(spot) => {
            (format!("({}, {}) not #{}", spot.row, spot.column, spot.code), Some(spot))
        }
        Edit::BanEverywhere(code) => (format!("nowhere #{code}"), None),
    };
    ui.horizontal(|ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let name = match spot {
                Some(spot) => format!("Remove {text} of picture {}", spot.image + 1),
                None => format!("Remove {text}"),
            };
            if ui.small_button("Remove").accessible_name(name).clicked() {
                let edits = &mut session.draft.edits;
                match edit {
                    Edit::Pin(spot) => edits.unpin(Token::of(&spot)),
                    Edit::Ban(spot) => edits.allow(Token::of(&spot), spot.code),
                    Edit::BanEverywhere(code) => edits.allow_everywhere(code),
                }
            }
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                if let Some(spot) = spot {
                    ui.label(theme::section(ui, &format!("picture {}", spot.image + 1)));
                }
                let label =
                    Label::new(theme::number(ui, text)).sense(egui::Sense::click()).truncate();
                if ui.add(label).on_hover_text("Click to look at the token.").clicked()
                    && let Some(spot) = spot
                {
                    session.selected = Some(Token::of(&spot));
                }
            });
        });
    });
}

/// Codes that are banned at one token, each to be taken back: they are in no list of likely codes.
pub(super) fn banned_here(ui: &mut Ui, session: &mut Session, token: Token) {
    let banned: Vec<u32> = session.draft.edits.bans_of(token).iter().map(|ban| ban.code).collect();
    if banned.is_empty() {
        return;
    }
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = GRID;
        ui.label(theme::weak(ui, "Banned here"));
        for code in banned {
            if ui
                .add(Button::selectable(true, format!("#{code}")).small())
                .on_hover_text("Click to allow the code again.")
                .accessible_name(format!("Allow code {code} again"))
                .clicked()
            {
                session.draft.edits.allow(token, code);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typed_number_means_itself_first() {
        assert_eq!(meant("12", 1024), [12, 120, 121, 122, 123, 124]);
        assert_eq!(meant(" #7 ", 64), [7]);
        assert_eq!(meant("99", 64), [0u32; 0]);
        assert!(meant("x", 64).is_empty() && meant("", 64).is_empty());
    }
}
