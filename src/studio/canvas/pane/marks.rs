//! Marks on the pictures: what is pinned, what is banned, what is regenerated, where a code is used.

use egui::{Color32, Mesh, Painter, Pos2, Rect, Shape, Stroke, StrokeKind, Ui, Vec2, pos2, vec2};

use crate::studio::base::theme::palette;
use crate::studio::canvas::camera::Placement;
use crate::studio::canvas::inpaint::Region;
use crate::studio::session::edits::Edits;
use crate::studio::session::run::Run;
use crate::studio::session::token::Token;

/// Tokens smaller than this on the screen carry no marks, in points.
const SMALLEST: f32 = 4.0;

const DARK: Color32 = Color32::from_black_alpha(200);

/// An outline that shows on any ground: a bright line beside a dark one.
pub(super) fn outline(ui: &Ui, rect: Rect, colour: Color32, width: f32) {
    let dark = Stroke::new(width + 2.0, DARK);
    let line = rect.expand(width / 2.0);
    ui.painter().rect_stroke(line, 1.0, dark, StrokeKind::Middle);
    ui.painter().rect_stroke(line, 1.0, Stroke::new(width, colour), StrokeKind::Middle);
}

/// A corner of every pinned token filled, orange where `run` held it too and white where it is for the
/// next one; a small cross on every token with bans. Of all tokens, those that are `wanted`.
pub(super) fn edits(
    ui: &Ui,
    edits: &Edits,
    run: &Run,
    placement: &Placement,
    wanted: impl Fn(Token) -> bool,
) {
    let painter = ui.painter();
    let clip = painter.clip_rect();
    let shown = |token: Token| {
        let cell = (token.image < placement.shape.batch && wanted(token))
            .then(|| placement.cell(token))?;
        (cell.width() >= SMALLEST && clip.intersects(cell)).then_some(cell)
    };
    let mut mesh = Mesh::default();
    for pin in edits.pins() {
        let Some(cell) = shown(Token::of(pin)) else { continue };
        let side = (cell.width() * 0.45).clamp(3.0, 9.0);
        let colour = match run.holds(Token::of(pin), pin.code) {
            true => palette(ui.visuals()).mark,
            false => Color32::WHITE,
        };
        corner(&mut mesh, cell.min, side + 1.5, DARK);
        corner(&mut mesh, cell.min, side, colour);
    }
    painter.add(Shape::mesh(mesh));
    let mut last = None;
    for ban in edits.bans() {
        let token = Token::of(ban);
        if last.replace(token) == Some(token) {
            continue;
        }
        if let Some(cell) = shown(token) {
            cross(painter, cell);
        }
    }
}

fn corner(mesh: &mut Mesh, at: Pos2, side: f32, colour: Color32) {
    let first = mesh.vertices.len() as u32;
    for offset in [Vec2::ZERO, vec2(side, 0.0), vec2(0.0, side)] {
        mesh.colored_vertex(at + offset, colour);
    }
    mesh.add_triangle(first, first + 1, first + 2);
}

fn cross(painter: &Painter, cell: Rect) {
    let side = (cell.width() * 0.3).clamp(2.5, 7.0);
    let at = Rect::from_min_max(cell.max - Vec2::splat(side + 1.5), cell.max - Vec2::splat(1.5));
    let lines = [[at.min, at.max], [at.left_bottom(), at.right_top()]];
    for (width, colour) in [(3.5, DARK), (1.5, Color32::WHITE)] {
        for line in lines {
            painter.line_segment(line, Stroke::new(width, colour));
        }
    }
}

/// Tokens of `codes`, `[batch, height, width]`, that are `code`, outlined; says how many there are.
pub(super) fn uses(ui: &Ui, codes: &[u32], code: u32, placement: &Placement) {
    let clip = ui.clip_rect();
    let shape = placement.shape;
    for (at, _) in codes.iter().enumerate().filter(|(_, used)| **used == code) {
        let (image, token) = (at / shape.tokens(), at % shape.tokens());
        let (row, column) = (token / shape.width, token % shape.width);
        let cell = placement.cell(Token { image, row, column });
        if clip.intersects(cell) {
            let line = cell.shrink(0.5);
            ui.painter().rect_stroke(line, 0.0, Stroke::new(3.0, DARK), StrokeKind::Inside);
            let bright = Stroke::new(1.5, Color32::WHITE);
            ui.painter().rect_stroke(line, 0.0, bright, StrokeKind::Inside);
        }
    }
}

/// The region on one picture: its edge and, while nothing was made of it, a hatch over it.
pub(super) fn region(ui: &Ui, region: &Region, image: usize, hatched: bool, placement: &Placement) {
    let shape = placement.shape;
    let mut hatch = Vec::new();
    let mut edges = Vec::new();
    for row in 0..shape.height {
        for column in (0..shape.width).filter(|column| region.contains(row, *column)) {
            let cell = placement.cell(Token { image, row, column });
            if hatched {
                hatch.push([cell.left_bottom(), cell.right_top()]);
            }
            // Beyond the grid nothing is inside: subtraction wraps to a row that is not there.
            let sides = [
                (row.wrapping_sub(1), column, cell.left_top(), cell.right_top()),
                (row + 1, column, cell.left_bottom(), cell.right_bottom()),
                (row, column.wrapping_sub(1), cell.left_top(), cell.left_bottom()),
                (row, column + 1, cell.right_top(), cell.right_bottom()),
            ];
            let open =
                sides.into_iter().filter(|(row, column, ..)| !region.contains(*row, *column));
            edges.extend(open.map(|(.., from, to)| [from, to]));
        }
    }
    // Bright beside dark, so that it reads on any picture.
    let pairs = [
        (&hatch, 3.0, Color32::from_black_alpha(110)),
        (&hatch, 1.0, Color32::from_white_alpha(220)),
        (&edges, 4.0, DARK),
        (&edges, 2.0, Color32::WHITE),
    ];
    for (lines, width, colour) in pairs {
        for line in lines {
            ui.painter().line_segment(*line, Stroke::new(width, colour));
        }
    }
}

/// The rectangle of tokens from `first` to `last`, each `(row, column)`.
pub(super) fn span(
    placement: &Placement,
    image: usize,
    first: (usize, usize),
    last: (usize, usize),
) -> Rect {
    let cell = |(row, column)| placement.cell(Token { image, row, column });
    let (first, last) = (cell(first), cell(last));
    Rect::from_min_max(pos2(first.left(), first.top()), pos2(last.right(), last.bottom()))
}
