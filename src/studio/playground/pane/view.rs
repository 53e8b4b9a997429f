//! The plane: field, paths, particles, means and codes.

use egui::{
    Align2, Color32, FontId, Id, Key, Mesh, Painter, PointerButton, Pos2, Rect, Response, Role,
    Sense, Shape, Stroke, Ui, Vec2, WidgetInfo, pos2, vec2,
};

use crate::studio::base::theme::{GRID, palette};
use crate::studio::base::widgets::{Mark, Marks, code_colour};
use crate::studio::playground::{Exact, Field, Flow, Plane, Playground, Point};

/// Half of the height of the plane that is in sight, in standard deviations of the noise.
const REACH: f32 = 2.7;
/// Distance of the arrows, in points.
const ARROWS: f32 = 7.0 * GRID;
/// Most paths that are drawn; more would be a blur.
const PATHS: usize = 400;
/// Most lines of a path.
const LINES: usize = 40;
/// Radius of a particle, in points.
const PARTICLE: f32 = 4.0;
/// How near a click has to be to a particle, in points.
const NEAR: f32 = 10.0;

/// Between the plane and the screen: the same scale both ways, y upwards.
#[derive(Debug, Clone, Copy)]
pub struct View {
    rect: Rect,
    scale: f32,
}

impl View {
    /// A view that shows all that codes can reach.
    pub fn new(rect: Rect) -> Self {
        Self { rect, scale: rect.width().min(rect.height()) / (2.0 * REACH) }
    }

    /// Where a place of the plane is on the screen.
    pub fn screen(&self, [x, y]: Point) -> Pos2 {
        self.rect.center() + vec2(x, -y) * self.scale
    }

    /// Where a point of the screen is on the plane.
    pub fn plane(&self, at: Pos2) -> Point {
        let from = (at - self.rect.center()) / self.scale;
        [from.x, -from.y]
    }

    /// Places of the arrows.
    fn lattice(&self) -> Vec<Point> {
        let count = |length: f32| (length / ARROWS).floor().max(1.0) as usize;
        let (columns, rows) = (count(self.rect.width()), count(self.rect.height()));
        let first =
            self.rect.center() - vec2((columns - 1) as f32, (rows - 1) as f32) * (ARROWS / 2.0);
        (0..rows * columns)
            .map(|i| self.plane(first + vec2((i % columns) as f32, (i / columns) as f32) * ARROWS))
            .collect()
    }
}

/// Radius of a code on the screen: its area goes with its probability.
fn code_radius(plane: &Plane, code: usize) -> f32 {
    let relative = plane.probability(code) * plane.codes.len() as f64;
    let middling = (34.0 / (plane.codes.len() as f32).sqrt()).clamp(6.0, 12.0);
    (middling * (relative as f32).sqrt()).clamp(4.0, 24.0)
}

/// Shows the plane in a field of `size`.
pub fn show(ui: &mut Ui, playground: &mut Playground, size: Vec2) {
    let (rect, ground) = ui.allocate_exact_size(size, Sense::click());
    ground.widget_info(|| WidgetInfo::labeled(Role::Button, true, "Plane"));
    let view = View::new(rect.shrink(GRID));
    playground.want_field(view.lattice());
    let painter = ui.painter().with_clip_rect(rect);
    let colours = palette(ui.visuals());
    painter.rect_filled(rect, 4.0, colours.backdrop);
    rings(ui, &painter, view);

    let marks = Marks::of(ui.ctx());
    let (flow, field, exact) = (playground.flow(), playground.field(), playground.exact());
    if let Some(field) = field.as_ref().filter(|_| playground.drawn.field && playground.t < 1.0) {
        let mut mesh = marks.mesh();
        let longest = arrows(&mut mesh, &marks, view, field, colours.weak);
        painter.add(Shape::mesh(mesh));
        legend(ui, &painter, rect, longest);
    }
    if let Some(flow) = &flow {
        let mut mesh = marks.mesh();
        if playground.drawn.paths {
            paths(&mut mesh, &marks, view, flow, playground.t, ui.visuals());
        }
        if let Some(exact) = &exact {
            errors(&mut mesh, &marks, view, flow, exact, playground.t, colours.error);
        }
        if playground.drawn.means {
            means(&mut mesh, &marks, view, flow, playground.t, colours.strong);
        }
        particles(&mut mesh, &marks, view, flow, playground.t, ui.visuals());
        painter.add(Shape::mesh(mesh));
    } else {
        let text = match &playground.trouble {
            Some(_) => "",
            None => "The particles are on their way.",
        };
        let font = FontId::proportional(13.5);
        painter.text(rect.center(), Align2::CENTER_CENTER, text, font, colours.weak);
    }
    if let Some(text) = &playground.trouble {
        let at = rect.left_top() + vec2(2.0, 2.0) * GRID;
        let width = rect.width() - 4.0 * GRID;
        let galley = painter.layout(text.clone(), FontId::proportional(13.5), colours.error, width);
        painter.galley(at, galley, colours.error);
    }
    let labels = field
        .as_ref()
        .filter(|_| playground.chosen.is_some())
        .map_or(Vec::new(), |field| belief(&painter, &marks, view, field, ui.visuals()));
    let on_code = codes(ui, &painter, &marks, view, playground);
    if let Some(belief) = field.as_ref().and_then(|field| field.belief.as_ref())
        && playground.chosen.is_some()
    {
        // Over the codes, since mu comes to lie on one.
        let (ring, line) = (colours.backdrop, Stroke::new(2.0, colours.strong));
        painter.circle_stroke(view.screen(belief.x), PARTICLE + 4.0, line);
        painter.circle(view.screen(belief.mu), 4.5, ring, line);
    }
    for Note { at, align, text } in labels {
        note(ui, &painter, at, align, text);
    }
    if !on_code {
        ground_clicks(ui, ground, view, playground, flow.as_deref());
    }
}

/// Circles of one, two and three standard deviations of the noise, and the axes.
fn rings(ui: &Ui, painter: &Painter, view: View) {
    let colours = palette(ui.visuals());
    let line = Stroke::new(1.0, colours.outline.gamma_multiply(0.55));
    let middle = view.screen([0.0, 0.0]);
    painter.hline(view.rect.x_range().expand(GRID), middle.y, line);
    painter.vline(middle.x, view.rect.y_range().expand(GRID), line);
    for radius in 1..=3 {
        painter.circle_stroke(middle, radius as f32 * view.scale, line);
        let at = middle + vec2(radius as f32 * view.scale + 3.0, -2.0);
        let colour = colours.weak.gamma_multiply(0.7);
        painter.text(at, Align2::LEFT_BOTTOM, radius, FontId::monospace(10.0), colour);
    }
}

/// The velocity on a grid; gives that of the longest arrow.
fn arrows(mesh: &mut Mesh, marks: &Marks, view: View, field: &Field, colour: Color32) -> f32 {
    let rate = 1.0 / (1.0 - field.question.t);
    let velocity = |(x, mu): (&Point, &Point)| {
        let [dx, dy] = [mu[0] - x[0], mu[1] - x[1]];
        (*x, vec2(dx, -dy) * rate)
    };
    let velocities: Vec<_> = field.question.points.iter().zip(&field.mu).map(velocity).collect();
    let longest = velocities.iter().map(|(_, v)| v.length()).fold(0.0, f32::max);
    let scale = 0.95 * ARROWS / longest.max(f32::MIN_POSITIVE);
    for (x, v) in velocities {
        // The root keeps slow places readable.
        let part = (v.length() / longest.max(f32::MIN_POSITIVE)).sqrt();
        let along = v * scale / part.max(0.05);
        let from = view.screen(x) - along / 2.0;
        marks.arrow(mesh, from, along, 1.0, colour.gamma_multiply(0.16 + 0.36 * part));
    }
    longest
}

/// What the longest arrow stands for.
fn legend(ui: &Ui, painter: &Painter, rect: Rect, longest: f32) {
    let text = format!("longest arrow: {longest:.1} per unit of t");
    note(ui, painter, rect.right_bottom() - vec2(2.0, 2.0) * GRID, Align2::RIGHT_BOTTOM, text);
}

fn paths(mesh: &mut Mesh, marks: &Marks, view: View, flow: &Flow, t: f32, visuals: &egui::Visuals) {
    let (last, part) = flow.interval(t);
    let every = flow.moments.len().div_ceil(LINES).max(1);
    let count = flow.end.len().min(PATHS);
    let strength = 0.9 - 0.45 * (count as f32 / PATHS as f32);
    for particle in 0..count {
        let colour = code_colour(visuals, flow.codes[particle] as usize);
        let grid =
            (0..=last).step_by(every).map(|point| (flow.time(point), flow.states(point)[particle]));
        let now = flow.place(particle, t).filter(|_| part > 0.0 || last % every != 0);
        let mut before: Option<(f32, Point)> = None;
        for (at, place) in grid.chain(now.map(|place| (t, place))) {
            if let Some((from, start)) = before {
                // Faint at the noise, stronger towards now.
                let fade =
                    |at: f32| colour.gamma_multiply(strength * (0.25 + 0.75 * at / t.max(1e-3)));
                let ends = [view.screen(start), view.screen(place)];
                marks.line(mesh, ends, 1.0, [fade(from), fade(at)]);
            }
            before = Some((at, place));
        }
    }
}

/// Lines from each particle to where the exact flow has it.
fn errors(
    mesh: &mut Mesh,
    marks: &Marks,
    view: View,
    flow: &Flow,
    exact: &Exact,
    t: f32,
    colour: Color32,
) {
    let (at, part) = flow.interval(t);
    let point = if part >= 0.5 { at + 1 } else { at };
    let Some(truth) = exact.states.get(point) else { return };
    for (ours, exact) in flow.states(point).iter().zip(truth) {
        let ends = [view.screen(*ours), view.screen(*exact)];
        marks.line(mesh, ends, 1.5, [colour, colour]);
        if ends[0].distance(ends[1]) > 2.0 {
            marks.mark(mesh, Mark::Circle, ends[1], 2.5, colour);
        }
    }
}

fn means(mesh: &mut Mesh, marks: &Marks, view: View, flow: &Flow, t: f32, colour: Color32) {
    let (at, _) = flow.interval(t);
    let mu = flow.moments.get(at).map_or(&[][..], |moment| &moment.mu);
    for mean in mu {
        marks.mark(mesh, Mark::Circle, view.screen(*mean), 3.0, colour.gamma_multiply(0.6));
    }
}

fn particles(
    mesh: &mut Mesh,
    marks: &Marks,
    view: View,
    flow: &Flow,
    t: f32,
    visuals: &egui::Visuals,
) {
    let radius = if flow.end.len() > 800 { 0.8 * PARTICLE } else { PARTICLE };
    for (particle, code) in flow.codes.iter().enumerate() {
        let Some(place) = flow.place(particle, t) else { continue };
        let (code, at) = (*code as usize, view.screen(place));
        marks.mark(mesh, Mark::of_code(code), at, radius, code_colour(visuals, code));
    }
}

/// A few words on the plane.
struct Note {
    at: Pos2,
    align: Align2,
    text: String,
}

/// Writes a few words that can be read whatever is behind them.
fn note(ui: &Ui, painter: &Painter, at: Pos2, align: Align2, text: String) {
    let colours = palette(ui.visuals());
    let galley = painter.layout_no_wrap(text, FontId::monospace(11.0), colours.strong);
    let place = align.anchor_size(at, galley.size());
    let ground = place.expand2(vec2(3.0, 1.0));
    painter.rect_filled(ground, 3.0, colours.backdrop.gamma_multiply(0.85));
    painter.galley(place.min, galley, colours.strong);
}

/// The chosen particle: what it believes, and where that leads it. Gives what is to be written over
/// everything else.
fn belief(
    painter: &Painter,
    marks: &Marks,
    view: View,
    field: &Field,
    visuals: &egui::Visuals,
) -> Vec<Note> {
    let Some(belief) = &field.belief else { return Vec::new() };
    let colours = palette(visuals);
    let (x, mu) = (view.screen(belief.x), view.screen(belief.mu));
    let mut mesh = marks.mesh();
    let mut notes = Vec::new();
    for (code, probability) in belief.top.iter().filter(|(_, probability)| *probability > 0.005) {
        let Some(place) = field.question.plane.codes.get(*code as usize) else { continue };
        let (at, colour) = (view.screen(*place), code_colour(visuals, *code as usize));
        let colour = colour.gamma_multiply(0.35 + 0.65 * probability.sqrt());
        marks.line(&mut mesh, [mu, at], 1.0 + 4.0 * probability, [colour; 2]);
        if *probability >= 0.03 {
            let out = (at - mu).normalized();
            let out = if out == Vec2::ZERO { vec2(0.0, -1.0) } else { out };
            let beyond = code_radius(&field.question.plane, *code as usize) + 8.0;
            notes.push(Note {
                at: at + out * beyond,
                align: Align2([side(out.x), side(out.y)]),
                text: format!("{:.0} %", 100.0 * probability),
            });
        }
    }
    marks.arrow(&mut mesh, x, mu - x, 2.0, colours.strong);
    painter.add(Shape::mesh(mesh));
    // On the side that the particle is not on, where there is room.
    let aside = if mu.y > x.y { 14.0 } else { -14.0 };
    notes.push(Note {
        at: mu + vec2(0.0, aside),
        align: Align2::CENTER_CENTER,
        text: "mu".to_owned(),
    });
    notes
}

/// On which side of its anchor a label lies that is to lead away from it.
fn side(out: f32) -> egui::Align {
    match out {
        out if out > 0.4 => egui::Align::Min,
        out if out < -0.4 => egui::Align::Max,
        _ => egui::Align::Center,
    }
}

/// The codes: shown, dragged, weighed and taken away. Says whether the pointer is on one.
fn codes(
    ui: &mut Ui,
    painter: &Painter,
    marks: &Marks,
    view: View,
    playground: &mut Playground,
) -> bool {
    if !playground.drawn.codes {
        return false;
    }
    let colours = palette(ui.visuals());
    let mut mesh = marks.mesh();
    for (code, place) in playground.plane.codes.iter().enumerate() {
        let (at, radius) = (view.screen(*place), code_radius(&playground.plane, code));
        let mark = Mark::of_code(code);
        marks.mark(&mut mesh, mark, at, radius + 2.5, colours.backdrop);
        marks.mark(&mut mesh, mark, at, radius + 1.0, colours.strong);
        marks.mark(&mut mesh, mark, at, radius - 0.5, code_colour(ui.visuals(), code));
    }
    painter.add(Shape::mesh(mesh));
    let mut touched = false;
    for code in 0..playground.plane.codes.len() {
        // One may have been taken away by this very loop.
        let Some(&place) = playground.plane.codes.get(code) else { break };
        let (at, radius) = (view.screen(place), code_radius(&playground.plane, code));
        let grip = Rect::from_center_size(at, Vec2::splat(2.0 * radius.max(8.0) + 4.0));
        let id = code_id(ui, code);
        let response = ui.interact(grip, id, Sense::click_and_drag());
        let name = format!("Code {code}");
        response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &name));
        touched |= response.hovered() || response.dragged();
        if response.has_focus() || response.hovered() || response.dragged() {
            painter.circle_stroke(at, radius + 6.0, Stroke::new(1.5, colours.accent));
        }
        code_moves(ui, &response, view, playground, code);
        let response = response.on_hover_cursor(egui::CursorIcon::Grab);
        response.context_menu(|ui| code_menu(ui, playground, code));
        if !response.dragged() {
            response.on_hover_ui(|ui| code_hint(ui, playground, code));
        }
    }
    touched
}

fn code_id(ui: &Ui, code: usize) -> Id {
    ui.scope_id().with(("code", code))
}

/// Moves a code with the pointer or with the arrow keys, and takes it away with Delete.
fn code_moves(ui: &Ui, response: &Response, view: View, playground: &mut Playground, code: usize) {
    if response.dragged_by(PointerButton::Primary) && response.drag_delta() != Vec2::ZERO {
        let place = playground.plane.codes[code];
        let at = view.plane(view.screen(place) + response.drag_delta());
        playground.edit(|plane| plane.put(code, at));
    }
    if !response.has_focus() {
        return;
    }
    let filter = egui::EventFilter {
        horizontal_arrows: true,
        vertical_arrows: true,
        ..egui::EventFilter::default()
    };
    ui.memory_mut(|memory| memory.set_focus_lock_filter(response.id, filter));
    let pressed = |key| ui.input(|input| input.num_presses(key)) as f32;
    let along = [
        pressed(Key::ArrowRight) - pressed(Key::ArrowLeft),
        pressed(Key::ArrowUp) - pressed(Key::ArrowDown),
    ];
    if along != [0.0, 0.0] {
        let place = playground.plane.codes[code];
        let at = [place[0] + 0.1 * along[0], place[1] + 0.1 * along[1]];
        playground.edit(|plane| plane.put(code, at));
    }
    if pressed(Key::Delete) > 0.0 {
        playground.edit(|plane| plane.remove(code));
    }
}

fn code_menu(ui: &mut Ui, playground: &mut Playground, code: usize) {
    for (name, factor) in [("Twice as probable", 2.0), ("Half as probable", 0.5)] {
        if ui.button(name).clicked() {
            playground.edit(|plane| plane.weigh(code, factor));
            ui.close();
        }
    }
    ui.separator();
    let several = playground.plane.codes.len() > 1;
    if ui.add_enabled(several, egui::Button::new("Remove code")).clicked() {
        playground.edit(|plane| plane.remove(code));
        ui.close();
    }
}

fn code_hint(ui: &mut Ui, playground: &Playground, code: usize) {
    let Some([x, y]) = playground.plane.codes.get(code) else { return };
    let mut text = format!(
        "Code {code} at ({x:.2}, {y:.2}), probable by {:.1} %.",
        100.0 * playground.plane.probability(code)
    );
    if let Some(found) =
        playground.flow().and_then(|flow| flow.frequencies.found.get(code).copied())
    {
        text += &format!(" {:.1} % of the particles end here.", 100.0 * found);
    }
    ui.label(text);
    ui.label("Drag it or move it with the arrow keys; the other button has more.");
}

/// Clicks beside the codes: a particle is chosen, and a double-click adds a code.
fn ground_clicks(
    ui: &Ui,
    ground: Response,
    view: View,
    playground: &mut Playground,
    flow: Option<&Flow>,
) {
    let near = |at: Pos2| {
        let flow = flow?;
        (0..flow.end.len())
            .filter_map(|particle| {
                let place = flow.place(particle, playground.t)?;
                Some((particle, view.screen(place).distance(at)))
            })
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .filter(|(_, distance)| *distance < NEAR)
            .map(|(particle, _)| particle)
    };
    if let Some(at) = ground.interact_pointer_pos() {
        if ground.double_clicked() {
            let place = view.plane(at);
            playground.edit(|plane| plane.add(place));
        } else if ground.clicked() {
            playground.chosen =
                near(at).or(playground.chosen.filter(|_| ui.input(|i| i.modifiers.any())));
        }
        return;
    }
    let Some(at) = ground.hover_pos() else { return };
    let (chosen, [x, y]) = (near(at), view.plane(at));
    if let (Some(particle), Some(flow)) = (chosen, flow) {
        let place = flow.place(particle, playground.t).map_or(pos2(0.0, 0.0), |at| view.screen(at));
        let stroke = Stroke::new(1.5, palette(ui.visuals()).accent);
        ui.painter().circle_stroke(place, PARTICLE + 3.0, stroke);
        let code = flow.codes[particle];
        let text = format!(
            "Particle {} at ({x:.2}, {y:.2}); it ends on code {code}.\nClick to see what it believes.",
            particle + 1
        );
        ground.on_hover_text_at_pointer(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_screen_and_the_plane_lead_to_each_other() {
        let view = View::new(Rect::from_min_size(pos2(10.0, 20.0), vec2(400.0, 300.0)));
        let at = [1.25, -2.0];
        let back = view.plane(view.screen(at));
        assert!((back[0] - at[0]).abs() < 1e-5 && (back[1] - at[1]).abs() < 1e-5);
        assert!(view.screen([0.0, 1.0]).y < view.screen([0.0, 0.0]).y, "y is upwards");
        let inside = |at| view.rect.contains(view.screen(at));
        assert!(inside([Plane::REACH; 2]) && inside([-Plane::REACH; 2]));
        assert!(view.lattice().iter().all(|at| inside(*at)));
    }

    #[test]
    fn a_code_twice_as_probable_has_twice_the_area() {
        let mut plane = Plane::new(crate::flow::codebooks::Layout::Ring, 8, Default::default(), 0);
        plane.weights[0] = 2.0;
        let ratio = code_radius(&plane, 0) / code_radius(&plane, 1);
        assert!((ratio * ratio - 2.0).abs() < 1e-4, "{ratio}");
    }
}
