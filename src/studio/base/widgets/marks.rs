//! Many small marks and lines in one mesh: each is two triangles with a picture of its edge, so that
//! thousands of them are smooth and cheap.

use egui::{
    Color32, ColorImage, Context, Id, Mesh, Pos2, Rect, TextureHandle, TextureOptions, Vec2,
    Visuals, pos2, vec2,
};

/// A shape of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A disc.
    Disc,
    /// A square on its side.
    Square,
    /// A triangle that points up.
    Up,
    /// A square on its corner.
    Diamond,
    /// An upright cross.
    Plus,
    /// A triangle that points down.
    Down,
    /// A cross on its side.
    Cross,
    /// A thin circle.
    Circle,
}

impl Mark {
    /// The shapes that stand for codes.
    pub const OF_CODES: [Self; 7] =
        [Self::Disc, Self::Square, Self::Up, Self::Diamond, Self::Plus, Self::Down, Self::Cross];
    const ALL: [Self; 8] = [
        Self::Disc,
        Self::Square,
        Self::Up,
        Self::Diamond,
        Self::Plus,
        Self::Down,
        Self::Cross,
        Self::Circle,
    ];

    /// The shape of a code, which with its colour tells it from 48 others.
    pub fn of_code(code: usize) -> Self {
        Self::OF_CODES[(code + code / COLOURS) % Self::OF_CODES.len()]
    }

    /// Whether the shape covers a point; it reaches to about 1 from the middle.
    fn covers(self, x: f32, y: f32) -> bool {
        let arms = |x: f32, y: f32| {
            (x.abs() < 0.32 && y.abs() < 0.95) || (y.abs() < 0.32 && x.abs() < 0.95)
        };
        // A triangle with its middle at the middle of the cell, pointing to negative y.
        let triangle = |x: f32, y: f32| y < 0.62 && y > -0.98 + 1.7 * x.abs();
        match self {
            Self::Disc => x * x + y * y < 0.81,
            Self::Square => x.abs() < 0.77 && y.abs() < 0.77,
            Self::Up => triangle(x, y),
            Self::Down => triangle(x, -y),
            Self::Diamond => x.abs() + y.abs() < 1.0,
            Self::Plus => arms(x, y),
            Self::Cross => {
                let turn = std::f32::consts::FRAC_1_SQRT_2;
                arms(turn * (x + y), turn * (x - y))
            }
            Self::Circle => (0.72..1.0).contains(&(x * x + y * y)),
        }
    }
}

/// Colours that stand for codes.
pub const COLOURS: usize = 7;

/// After Okabe and Ito, told apart with any kind of colour vision; lighter or darker than theirs where
/// the ground asks for it.
const ON_DARK: [Color32; COLOURS] = [
    Color32::from_rgb(240, 168, 48),
    Color32::from_rgb(96, 186, 240),
    Color32::from_rgb(32, 184, 138),
    Color32::from_rgb(240, 228, 92),
    Color32::from_rgb(92, 136, 240),
    Color32::from_rgb(236, 112, 56),
    Color32::from_rgb(220, 144, 192),
];
const ON_LIGHT: [Color32; COLOURS] = [
    Color32::from_rgb(200, 130, 0),
    Color32::from_rgb(48, 146, 206),
    Color32::from_rgb(0, 130, 96),
    Color32::from_rgb(142, 130, 0),
    Color32::from_rgb(24, 82, 176),
    Color32::from_rgb(198, 76, 0),
    Color32::from_rgb(178, 88, 142),
];

/// The colour of a code.
pub fn code_colour(visuals: &Visuals, code: usize) -> Color32 {
    let colours = if visuals.dark_mode { &ON_DARK } else { &ON_LIGHT };
    colours[code % COLOURS]
}

/// Where the pictures of the marks lie in their texture.
#[derive(Clone)]
pub struct Marks(TextureHandle);

impl Marks {
    /// Side of a cell of small marks, and of large ones, in texels.
    const CELLS: [usize; 2] = [20, 56];
    /// Radius of a mark in its cell, of half its side: the rest is a margin.
    const FILL: f32 = 0.84;
    /// Marks of this radius or more, in points, are taken from the large ones.
    const LARGE: f32 = 8.0;
    /// Texels across a line: an edge, the line, an edge.
    const LINE: usize = 4;

    /// The marks of a window, drawn when they are first asked for.
    pub fn of(ctx: &Context) -> Self {
        let id = Id::unique("marks");
        if let Some(marks) = ctx.data(|data| data.get_temp::<Self>(id)) {
            return marks;
        }
        let texture = ctx.load_texture("marks", picture(), TextureOptions::LINEAR);
        let marks = Self(texture);
        ctx.data_mut(|data| data.insert_temp(id, marks.clone()));
        marks
    }

    /// An empty mesh to put marks and lines into.
    pub fn mesh(&self) -> Mesh {
        Mesh::with_texture(self.0.id())
    }

    /// Puts a mark of `radius` points into a mesh.
    pub fn mark(&self, mesh: &mut Mesh, mark: Mark, at: Pos2, radius: f32, colour: Color32) {
        let row = usize::from(radius >= Self::LARGE);
        let cell = Self::CELLS[row] as f32;
        let column = Mark::ALL.iter().position(|other| *other == mark).unwrap_or(0);
        let corner = vec2(column as f32 * cell, if row == 1 { Self::CELLS[0] as f32 } else { 0.0 });
        let size = size();
        let uv = Rect::from_min_size((corner / size).to_pos2(), Vec2::splat(cell) / size);
        mesh.add_rect_with_uv(
            Rect::from_center_size(at, Vec2::splat(2.0 * radius / Self::FILL)),
            uv,
            colour,
        );
    }

    /// Puts a line into a mesh, with a colour at each end.
    pub fn line(&self, mesh: &mut Mesh, ends: [Pos2; 2], width: f32, colours: [Color32; 2]) {
        let along = ends[1] - ends[0];
        if along == Vec2::ZERO || !along.is_finite() {
            return;
        }
        // A third of the picture fades at each edge.
        let aside = along.normalized().rot90() * (0.75 * width);
        let size = size();
        let (x, top) = (size.x - 2.0, 0.5);
        let low = pos2(x / size.x, top / size.y);
        let high = pos2(x / size.x, (Self::LINE as f32 - 0.5) / size.y);
        let first = mesh.vertices.len() as u32;
        for (end, colour) in ends.into_iter().zip(colours) {
            for (pos, uv) in [(end - aside, low), (end + aside, high)] {
                mesh.vertices.push(egui::epaint::Vertex { pos, uv, color: colour });
            }
        }
        mesh.add_triangle(first, first + 1, first + 2);
        mesh.add_triangle(first + 1, first + 2, first + 3);
    }

    /// Puts an arrow into a mesh.
    pub fn arrow(&self, mesh: &mut Mesh, from: Pos2, along: Vec2, width: f32, colour: Color32) {
        let length = along.length();
        if length < 1.0 || !length.is_finite() {
            return;
        }
        let (tip, way) = (from + along, along / length);
        let head = (length * 0.4).min(3.0 + 1.5 * width);
        self.line(mesh, [from, tip], width, [colour.gamma_multiply(0.35), colour]);
        for aside in [way.rot90(), -way.rot90()] {
            let back = tip - way * head + aside * head * 0.6;
            self.line(mesh, [back, tip], width, [colour, colour]);
        }
    }
}

/// Extent of the texture, in texels.
fn size() -> Vec2 {
    let [small, large] = Marks::CELLS;
    vec2((large * Mark::ALL.len() + 4) as f32, (small + large) as f32)
}

fn picture() -> ColorImage {
    let extent = size();
    let (width, height) = (extent.x as usize, extent.y as usize);
    let mut pixels = vec![Color32::TRANSPARENT; width * height];
    let mut top = 0;
    for cell in Marks::CELLS {
        for (column, mark) in Mark::ALL.into_iter().enumerate() {
            for (row, x) in (0..cell).flat_map(|row| (0..cell).map(move |x| (row, x))) {
                let covered = coverage(mark, x, row, cell);
                pixels[(top + row) * width + column * cell + x] =
                    Color32::from_white_alpha(covered);
            }
        }
        top += cell;
    }
    // Lines: opaque within, transparent at the edges.
    for row in 0..Marks::LINE {
        let inside = row > 0 && row + 1 < Marks::LINE;
        for x in width - 4..width {
            pixels[row * width + x] = Color32::from_white_alpha(if inside { 255 } else { 0 });
        }
    }
    ColorImage::new([width, height], pixels)
}

/// How much of a texel a mark covers, of 255.
fn coverage(mark: Mark, x: usize, y: usize, cell: usize) -> u8 {
    const SAMPLES: usize = 6;
    let half = cell as f32 / 2.0;
    let place = |texel: usize, sample: usize| {
        (texel as f32 + (sample as f32 + 0.5) / SAMPLES as f32 - half) / (half * Marks::FILL)
    };
    let covered = (0..SAMPLES * SAMPLES)
        .filter(|sample| mark.covers(place(x, sample % SAMPLES), place(y, sample / SAMPLES)))
        .count();
    (covered * 255 / (SAMPLES * SAMPLES)) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_and_shape_together_name_many_codes() {
        let visuals = Visuals::dark();
        let looks: Vec<_> = (0..COLOURS * Mark::OF_CODES.len())
            .map(|code| (code_colour(&visuals, code), Mark::of_code(code)))
            .collect();
        for (code, look) in looks.iter().enumerate() {
            assert!(!looks[..code].contains(look), "code {code} looks like another");
        }
        // The first seven differ in shape as well as in colour.
        for code in 0..COLOURS {
            assert_eq!(Mark::of_code(code), Mark::OF_CODES[code]);
        }
    }

    #[test]
    fn marks_stay_within_their_cells() {
        for cell in Marks::CELLS {
            for mark in Mark::ALL {
                let edge = (0..cell).flat_map(|i| [(i, 0), (0, i), (i, cell - 1), (cell - 1, i)]);
                assert!(edge.into_iter().all(|(x, y)| coverage(mark, x, y, cell) == 0), "{mark:?}");
                let covered =
                    (0..cell * cell).any(|i| coverage(mark, i % cell, i / cell, cell) == 255);
                assert!(covered || mark == Mark::Circle, "{mark:?} covers nothing");
            }
        }
    }

    #[test]
    fn a_thousand_marks_are_one_mesh() {
        let ctx = Context::default();
        let marks = Marks::of(&ctx);
        let mut mesh = marks.mesh();
        for i in 0..1000 {
            marks.mark(&mut mesh, Mark::of_code(i), pos2(i as f32, 0.0), 4.0, Color32::WHITE);
        }
        marks.line(&mut mesh, [Pos2::ZERO, pos2(5.0, 5.0)], 1.0, [Color32::WHITE; 2]);
        marks.line(&mut mesh, [Pos2::ZERO, Pos2::ZERO], 1.0, [Color32::WHITE; 2]);
        assert!(mesh.is_valid());
        assert_eq!(mesh.indices.len(), 6 * 1001);
    }
}
