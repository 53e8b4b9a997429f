//! The pictures of the gallery in rows, of which only those in view are laid out.

use egui::{
    Align2, Color32, EventFilter, FontId, Id, Key, Modifiers, Painter, Pos2, Rect, Response, Role,
    Sense, Shape, Stroke, StrokeKind, TextStyle, Ui, Vec2, WidgetInfo, pos2, vec2,
};

use super::thumbs::fitted;
use super::{GalleryPane, Size};
use crate::studio::action::{Actions, FilesAction};
use crate::studio::base::theme::{GRID, palette};
use crate::studio::base::widgets::scroll_area;
use crate::studio::gallery::{Gallery, Item};

const UNIT: Rect = Rect { min: Pos2::ZERO, max: pos2(1.0, 1.0) };
const GAP: f32 = 2.0 * GRID;
/// Room for outlines.
const RIM: f32 = GRID;
/// Height of the words under a thumbnail.
const CAPTION: f32 = 5.0 * GRID;

/// Where everything lies.
#[derive(Debug, Clone, Copy)]
struct Plan {
    cell: Vec2,
    columns: usize,
    rows: usize,
}

impl Plan {
    fn new(size: Size, width: f32, pictures: usize) -> Self {
        let side = size.side();
        let caption = if size == Size::Small { 0.0 } else { CAPTION };
        let cell = vec2(side + GAP, side + caption + GAP);
        let columns = (((width + GAP) / cell.x) as usize).max(1);
        Self { cell, columns, rows: pictures.div_ceil(columns) }
    }

    fn place(&self, origin: Pos2, at: usize) -> Rect {
        let (row, column) = (at / self.columns, at % self.columns);
        let corner = origin + vec2(column as f32, row as f32) * self.cell;
        Rect::from_min_size(corner, self.cell - Vec2::splat(GAP))
    }
}

impl GalleryPane {
    /// Shows what the filter lets through.
    pub(super) fn grid(&mut self, ui: &mut Ui, gallery: &mut Gallery, actions: &mut Actions) {
        let id = ui.scope_id().with("pictures");
        let all = ui.available_rect_before_wrap();
        let list = ui.interact(all, id, Sense::focusable_noninteractive());
        let chosen = self.chosen.len();
        list.widget_info(|| {
            let text = format!("Pictures: {} shown, {chosen} chosen", self.shown.len());
            WidgetInfo::labeled(Role::ListBox, true, text)
        });
        scroll_area().id_salt("gallery").show_viewport(ui, |ui, viewport| {
            let plan = Plan::new(self.size, ui.available_width(), self.shown.len());
            self.keys(ui, gallery, &list, plan.columns, actions);
            // Outlines reach a little beyond the pictures.
            let height = RIM + plan.rows as f32 * plan.cell.y - GAP;
            ui.set_min_size(vec2(ui.available_width(), height));
            let origin = ui.min_rect().min + vec2(0.0, RIM);
            if std::mem::take(&mut self.reveal)
                && let Some(place) = self.place(gallery)
            {
                ui.scroll_to_rect(plan.place(origin, place).expand(GAP), None);
            }
            let row = |y: f32| ((y - RIM) / plan.cell.y).max(0.0) as usize;
            let (first, last) = (row(viewport.min.y), row(viewport.max.y).min(plan.rows));
            let shown = first * plan.columns..((last + 1) * plan.columns).min(self.shown.len());
            for at in shown {
                let Some(item) = gallery.items().get(self.shown[at]).cloned() else { continue };
                self.thumbnail(ui, gallery, &item, at, plan.place(origin, at), &list);
            }
        });
    }

    fn thumbnail(
        &mut self,
        ui: &mut Ui,
        gallery: &mut Gallery,
        item: &Item,
        at: usize,
        cell: Rect,
        list: &Response,
    ) {
        // The list has the focus, and not each of what may be thousands.
        let response = ui.interact(cell, Id::unique(("gallery", &item.name)), Sense::CLICK);
        let chosen = self.chosen.iter().position(|name| *name == item.name);
        let favourite = gallery.is_favourite(&item.name);
        response.widget_info(|| {
            let mark = if favourite { ", favourite" } else { "" };
            let text = format!("{}{mark}, {}", item.title(), item.date());
            WidgetInfo::selected(Role::ListBoxOption, true, chosen.is_some(), text)
        });
        if response.clicked() {
            list.request_focus();
            let modifiers = ui.input(|input| input.modifiers);
            match () {
                () if modifiers.shift => self.extend_to(gallery, at),
                () if modifiers.command => self.toggle(item.name.clone()),
                () => self.choose_only(item.name.clone()),
            }
        }
        let square = Rect::from_min_size(cell.min, Vec2::splat(self.size.side()));
        let colours = palette(ui.visuals());
        let painter = ui.painter().clone();
        painter.rect_filled(square, 4.0, colours.backdrop);
        match self.thumbs.get(&item.name) {
            Some(texture) => {
                let place = fitted(ui, square, texture.size_vec2());
                painter.image(texture.id(), place, UNIT, Color32::WHITE);
            }
            None => gallery.want_thumbnail(&item.name),
        }
        let here = list.has_focus() && self.cursor.as_deref() == Some(&item.name);
        if let Some(order) = chosen {
            painter.rect_stroke(square, 4.0, Stroke::new(2.0, colours.accent), StrokeKind::Outside);
            badge(&painter, square.min + vec2(3.0, 3.0) * GRID, order + 1, ui);
        } else if response.hovered() || here {
            painter.rect_stroke(square, 4.0, Stroke::new(1.0, colours.strong), StrokeKind::Outside);
        }
        if here {
            let ring = square.expand(3.0);
            painter.rect_stroke(ring, 6.0, Stroke::new(1.0, colours.strong), StrokeKind::Outside);
        }
        if favourite {
            star(&painter, square.right_top() + vec2(-3.0, 3.0) * GRID, 1.75 * GRID, colours.mark);
        }
        if self.size != Size::Small {
            caption(ui, &painter, item, cell, square);
        }
        response.on_hover_text(format!("{}\n{}", item.title(), item.date()));
    }

    /// What the keys do while the list has the focus.
    fn keys(
        &mut self,
        ui: &Ui,
        gallery: &mut Gallery,
        list: &Response,
        columns: usize,
        actions: &mut Actions,
    ) {
        if !list.has_focus() {
            return;
        }
        let arrows = EventFilter {
            horizontal_arrows: true,
            vertical_arrows: true,
            ..EventFilter::default()
        };
        ui.memory_mut(|memory| memory.set_focus_lock_filter(list.id, arrows));
        let pressed = |modifiers, key| ui.input_mut(|input| input.consume_key(modifiers, key));
        let last = self.shown.len().saturating_sub(1);
        let (columns, page) = (columns as isize, 4 * columns as isize);
        for (key, by) in [
            (Key::ArrowLeft, -1),
            (Key::ArrowRight, 1),
            (Key::ArrowUp, -columns),
            (Key::ArrowDown, columns),
            (Key::PageUp, -page),
            (Key::PageDown, page),
            (Key::Home, -(last as isize)),
            (Key::End, last as isize),
        ] {
            let extends = pressed(Modifiers::SHIFT, key);
            if !extends && !pressed(Modifiers::NONE, key) {
                continue;
            }
            let to = match self.place(gallery) {
                Some(place) => place.saturating_add_signed(by).min(last),
                None => 0,
            };
            match self.name_at(gallery, to).map(str::to_owned) {
                Some(_) if extends => self.extend_to(gallery, to),
                Some(name) => self.choose_only(name),
                None => {}
            }
            self.reveal = true;
        }
        if pressed(Modifiers::COMMAND, Key::A) {
            let names = (0..self.shown.len()).filter_map(|at| self.name_at(gallery, at));
            self.chosen = names.map(str::to_owned).collect();
        }
        if pressed(Modifiers::NONE, Key::Space)
            && let Some(name) = self.cursor.clone()
        {
            self.toggle(name);
        }
        if pressed(Modifiers::NONE, Key::F) {
            self.toggle_favourites(gallery);
        }
        if pressed(Modifiers::NONE, Key::C) {
            self.begin_compare();
        }
        if pressed(Modifiers::NONE, Key::Delete) || pressed(Modifiers::NONE, Key::Backspace) {
            self.delete_chosen(gallery);
            self.reveal = true;
        }
        if pressed(Modifiers::NONE, Key::Enter)
            && let [name] = &self.chosen[..]
            && let Some(item) = gallery.item(name)
        {
            actions.push(FilesAction::Restore(Box::new(item.made.restored.clone())));
        }
    }
}

/// Class and seed under a thumbnail.
fn caption(ui: &Ui, painter: &Painter, item: &Item, cell: Rect, square: Rect) {
    let colours = palette(ui.visuals());
    let line = Rect::from_min_max(square.left_bottom(), cell.max);
    let painter = painter.with_clip_rect(line.intersect(painter.clip_rect()));
    let seed = item.made.restored.settings.seed.to_string();
    let number = FontId::monospace(11.0);
    let drawn = painter.text(line.right_bottom(), Align2::RIGHT_BOTTOM, seed, number, colours.weak);
    let left = line.with_max_x(drawn.left() - GRID);
    painter.with_clip_rect(left.intersect(painter.clip_rect())).text(
        line.left_bottom(),
        Align2::LEFT_BOTTOM,
        item.class(),
        TextStyle::Small.resolve(ui.style()),
        ui.visuals().text_color(),
    );
}

/// The place of a picture among the chosen ones.
fn badge(painter: &Painter, at: Pos2, number: usize, ui: &Ui) {
    let colours = palette(ui.visuals());
    painter.circle_filled(at, 2.0 * GRID, colours.accent);
    let text = if number > 99 { "+".to_owned() } else { number.to_string() };
    painter.text(at, Align2::CENTER_CENTER, text, FontId::monospace(10.5), colours.on_accent);
}

/// A star with a dark rim, which shows on any ground.
fn star(painter: &Painter, at: Pos2, radius: f32, colour: Color32) {
    let tip = |i: usize| {
        let angle = std::f32::consts::TAU * (i as f32 / 10.0 - 0.25);
        at + Vec2::angled(angle) * if i.is_multiple_of(2) { radius } else { radius * 0.45 }
    };
    let tips: Vec<Pos2> = (0..10).map(tip).collect();
    let rim = Stroke::new(3.0, Color32::from_black_alpha(200));
    painter.add(Shape::closed_line(tips.clone(), rim));
    // Five points and a middle: a star itself is not convex.
    for i in (0..10).step_by(2) {
        let wing = vec![tips[i], tips[(i + 1) % 10], at, tips[(i + 9) % 10]];
        painter.add(Shape::convex_polygon(wing, colour, Stroke::NONE));
    }
}
