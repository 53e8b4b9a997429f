//! A grid of coloured cells, such as a value of every token.

use egui::{Color32, Pos2, Rect, Response, Sense, Ui, Vec2, vec2};

/// A grid of cells that was painted.
pub struct Cells {
    rect: Rect,
    cell: Vec2,
    grid: [usize; 2],
    /// Of all of it.
    pub response: Response,
}

impl Cells {
    /// Paints `[rows, columns]` cells, row by row, in a square.
    pub fn show(
        ui: &mut Ui,
        side: f32,
        grid: [usize; 2],
        sense: Sense,
        colour: impl Fn(usize) -> Color32,
    ) -> Self {
        let (rect, response) = ui.allocate_exact_size(Vec2::splat(side), sense);
        let [rows, columns] = grid;
        let cell = vec2(side / columns.max(1) as f32, side / rows.max(1) as f32);
        let cells = Self { rect, cell, grid, response };
        for at in 0..rows * columns {
            // Cells meet without a seam.
            let field = Rect::from_min_size(cells.field(at).min, cell + Vec2::splat(0.5));
            ui.painter().rect_filled(field.intersect(rect), 0.0, colour(at));
        }
        cells
    }

    /// Where a cell lies.
    pub fn field(&self, at: usize) -> Rect {
        let columns = self.grid[1].max(1);
        let corner = vec2((at % columns) as f32, (at / columns) as f32) * self.cell;
        Rect::from_min_size(self.rect.min + corner, self.cell)
    }

    /// The cell at a place on the screen.
    pub fn at(&self, place: Pos2) -> Option<usize> {
        let [rows, columns] = self.grid;
        let place = (place - self.rect.min) / self.cell;
        let (row, column) = (place.y as usize, place.x as usize);
        (row < rows && column < columns).then_some(row * columns + column)
    }
}
