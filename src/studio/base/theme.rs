//! The look: a quiet surface, one warm accent, a 4-point grid, one type scale.

use std::collections::BTreeMap;

use egui::style::{HandleShape, Selection, Spacing, WidgetVisuals, Widgets};
use egui::{
    Color32, Context, CornerRadius, FontFamily, FontId, Margin, RichText, Shadow, Stroke, Style,
    TextStyle, Theme, Visuals, vec2,
};

/// The unit of the grid that every distance is a multiple of, in points.
pub const GRID: f32 = 4.0;

/// Space between the edge of a pane and what is in it, in points.
pub const PANE_MARGIN: f32 = 3.0 * GRID;

/// Colours with a meaning of their own, beyond what widgets have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Palette {
    /// The one warm colour: what to press, what is selected, where one is.
    pub accent: Color32,
    /// Text on a field of [`Palette::accent`].
    pub on_accent: Color32,
    /// Behind the pictures.
    pub backdrop: Color32,
    /// Outline of things on the backdrop.
    pub outline: Color32,
    /// Marks on pictures, which are the same in both themes.
    pub mark: Color32,
    /// Second curve, told from the accent also by its dashes.
    pub second: Color32,
    /// Titles.
    pub strong: Color32,
    /// Notes and units.
    pub weak: Color32,
    /// Trouble.
    pub error: Color32,
}

const MARK: Color32 = Color32::from_rgb(255, 178, 92);

const DARK: Palette = Palette {
    accent: Color32::from_rgb(244, 172, 98),
    on_accent: Color32::from_rgb(36, 22, 6),
    backdrop: Color32::from_rgb(17, 17, 19),
    outline: Color32::from_rgb(58, 57, 62),
    mark: MARK,
    second: Color32::from_rgb(120, 186, 205),
    strong: Color32::from_rgb(240, 237, 232),
    weak: Color32::from_rgb(155, 151, 146),
    error: Color32::from_rgb(240, 124, 108),
};

const LIGHT: Palette = Palette {
    accent: Color32::from_rgb(176, 88, 8),
    on_accent: Color32::from_rgb(255, 252, 247),
    backdrop: Color32::from_rgb(232, 229, 224),
    outline: Color32::from_rgb(202, 196, 187),
    mark: MARK,
    second: Color32::from_rgb(20, 108, 132),
    strong: Color32::from_rgb(28, 25, 21),
    weak: Color32::from_rgb(108, 102, 94),
    error: Color32::from_rgb(178, 44, 28),
};

/// The palette that goes with `visuals`.
pub fn palette(visuals: &Visuals) -> &'static Palette {
    if visuals.dark_mode { &DARK } else { &LIGHT }
}

/// Gives `ctx` the look, in both themes.
pub fn apply(ctx: &Context) {
    ctx.set_style_of(Theme::Dark, style(Visuals::dark(), &DARK, &Greys::DARK));
    ctx.set_style_of(Theme::Light, style(Visuals::light(), &LIGHT, &Greys::LIGHT));
}

/// The title of a group of controls.
pub fn section(ui: &egui::Ui, text: &str) -> RichText {
    RichText::new(text).text_style(TextStyle::Small).color(palette(ui.visuals()).weak)
}

/// A note, a unit, a hint.
pub fn weak(ui: &egui::Ui, text: impl Into<String>) -> RichText {
    RichText::new(text).color(palette(ui.visuals()).weak)
}

/// A number, in figures of equal width.
pub fn number(ui: &egui::Ui, text: impl Into<String>) -> RichText {
    RichText::new(text).monospace().color(palette(ui.visuals()).strong)
}

/// Greys of the widgets, from the surface to the text.
struct Greys {
    surface: Color32,
    field: Color32,
    raised: Color32,
    hovered: Color32,
    pressed: Color32,
    line: Color32,
    line_hovered: Color32,
    text: Color32,
    selected: Color32,
    on_selected: Color32,
    shadow: Color32,
}

impl Greys {
    const DARK: Self = Self {
        surface: Color32::from_rgb(26, 26, 29),
        field: Color32::from_rgb(19, 19, 21),
        raised: Color32::from_rgb(42, 42, 46),
        hovered: Color32::from_rgb(54, 53, 58),
        pressed: Color32::from_rgb(64, 62, 66),
        line: Color32::from_rgb(45, 45, 49),
        line_hovered: Color32::from_rgb(92, 89, 90),
        text: Color32::from_rgb(214, 211, 206),
        selected: Color32::from_rgb(104, 66, 28),
        on_selected: Color32::from_rgb(255, 232, 205),
        shadow: Color32::from_black_alpha(110),
    };
    const LIGHT: Self = Self {
        surface: Color32::from_rgb(250, 248, 245),
        field: Color32::from_rgb(255, 255, 255),
        raised: Color32::from_rgb(235, 231, 225),
        hovered: Color32::from_rgb(225, 220, 212),
        pressed: Color32::from_rgb(213, 206, 196),
        line: Color32::from_rgb(219, 213, 205),
        line_hovered: Color32::from_rgb(160, 152, 142),
        text: Color32::from_rgb(52, 48, 43),
        selected: Color32::from_rgb(248, 214, 174),
        on_selected: Color32::from_rgb(86, 42, 2),
        shadow: Color32::from_black_alpha(36),
    };
}

fn style(base: Visuals, palette: &Palette, greys: &Greys) -> Style {
    Style {
        text_styles: text_styles(),
        drag_value_text_style: TextStyle::Monospace,
        spacing: spacing(),
        animation_time: 0.1,
        visuals: visuals(base, palette, greys),
        ..Style::default()
    }
}

fn text_styles() -> BTreeMap<TextStyle, FontId> {
    let proportional = |size| FontId::new(size, FontFamily::Proportional);
    [
        (TextStyle::Small, proportional(12.0)),
        (TextStyle::Body, proportional(13.5)),
        (TextStyle::Button, proportional(13.5)),
        (TextStyle::Heading, proportional(18.0)),
        (TextStyle::Monospace, FontId::new(12.0, FontFamily::Monospace)),
    ]
    .into()
}

fn spacing() -> Spacing {
    Spacing {
        item_spacing: vec2(2.0 * GRID, 2.0 * GRID),
        button_padding: vec2(2.5 * GRID, GRID),
        interact_size: vec2(12.0 * GRID, 6.0 * GRID),
        slider_rail_height: GRID,
        window_margin: Margin::same(16),
        menu_margin: Margin::same(4),
        icon_width: 4.0 * GRID,
        icon_width_inner: 2.0 * GRID,
        icon_spacing: 2.0 * GRID,
        tooltip_width: 320.0,
        combo_height: 320.0,
        ..Spacing::default()
    }
}

fn visuals(base: Visuals, palette: &Palette, greys: &Greys) -> Visuals {
    let corner_radius = CornerRadius::same(4);
    let widget = |fill, line: Color32, text| WidgetVisuals {
        bg_fill: fill,
        weak_bg_fill: fill,
        bg_stroke: Stroke::new(1.0, line),
        corner_radius,
        fg_stroke: Stroke::new(1.0, text),
        expansion: 0.0,
    };
    let shadow = Shadow { offset: [0, 4], blur: 16, spread: 0, color: greys.shadow };
    Visuals {
        widgets: Widgets {
            noninteractive: widget(greys.surface, greys.line, greys.text),
            inactive: widget(greys.raised, Color32::TRANSPARENT, greys.text),
            hovered: widget(greys.hovered, greys.line_hovered, palette.strong),
            active: widget(greys.pressed, palette.accent, palette.strong),
            open: widget(greys.hovered, greys.line_hovered, palette.strong),
        },
        selection: Selection {
            bg_fill: greys.selected,
            stroke: Stroke::new(1.0, greys.on_selected),
        },
        hyperlink_color: palette.accent,
        faint_bg_color: greys.raised,
        extreme_bg_color: greys.field,
        code_bg_color: greys.raised,
        weak_text_color: Some(palette.weak),
        warn_fg_color: palette.accent,
        error_fg_color: palette.error,
        window_corner_radius: CornerRadius::same(8),
        window_shadow: shadow,
        window_fill: greys.surface,
        window_stroke: Stroke::new(1.0, palette.outline),
        menu_corner_radius: CornerRadius::same(6),
        popup_shadow: shadow,
        panel_fill: greys.surface,
        slider_trailing_fill: true,
        handle_shape: HandleShape::Rect { aspect_ratio: 0.5 },
        ..base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// WCAG 2 contrast ratio.
    fn contrast(one: Color32, other: Color32) -> f32 {
        let luminance = |colour: Color32| {
            let linear = |channel: u8| {
                let value = f32::from(channel) / 255.0;
                if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * linear(colour.r()) + 0.7152 * linear(colour.g()) + 0.0722 * linear(colour.b())
        };
        let (a, b) = (luminance(one), luminance(other));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn text_can_be_read_in_both_themes() {
        for (palette, greys) in [(DARK, Greys::DARK), (LIGHT, Greys::LIGHT)] {
            for (text, behind) in [
                (greys.text, greys.surface),
                (greys.text, greys.raised),
                (palette.weak, greys.surface),
                (palette.weak, palette.backdrop),
                (palette.error, greys.surface),
                (palette.accent, greys.surface),
                (palette.second, greys.surface),
                (palette.on_accent, palette.accent),
                (greys.on_selected, greys.selected),
            ] {
                let ratio = contrast(text, behind);
                assert!(ratio >= 4.5, "{text:?} on {behind:?}: {ratio}");
            }
        }
    }
}
