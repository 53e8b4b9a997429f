//! Where the pictures of a batch lie on the screen, and how one moves among them.

use egui::{Pos2, Rect, Response, Ui, Vec2, vec2};

use crate::flow::LatentShape;
use crate::studio::session::token::Token;

const MAX_ZOOM: f32 = 64.0;
const MIN_ZOOM: f32 = 0.1;

/// Where one looks: a scale and a place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Camera {
    /// Points on the screen a pixel of a picture.
    pub(super) zoom: f32,
    /// The place in the middle of the view, in pixels from the middle of the sheet.
    pub(super) centre: Vec2,
}

impl Camera {
    /// Wheel and pinch zoom about the pointer; `drag`, in points, moves. Nothing where it stays.
    pub(super) fn steered(
        self,
        ui: &Ui,
        responses: &[Response],
        drag: Vec2,
        view: Rect,
    ) -> Option<Self> {
        let mut moved = self;
        moved.centre -= drag / self.zoom;
        if let Some(pointer) = responses.iter().find_map(Response::hover_pos) {
            let (scroll, pinch) =
                ui.input(|input| (input.smooth_scroll_delta().y, input.zoom_delta()));
            moved.zoom = (self.zoom * pinch * (scroll * 0.004).exp()).clamp(MIN_ZOOM, MAX_ZOOM);
            let offset = pointer - view.center();
            moved.centre += offset / self.zoom - offset / moved.zoom;
        }
        (moved != self).then_some(moved)
    }
}

/// Pictures laid out in rows, measured in their own pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sheet {
    count: usize,
    columns: usize,
    size: Vec2,
    gap: f32,
}

impl Sheet {
    /// The arrangement that shows `count` pictures largest in `view`.
    pub(super) fn new(count: usize, size: Vec2, view: Vec2) -> Self {
        let gap = (size.x / 12.0).max(1.0);
        let sheets = (1..=count.max(1)).map(|columns| Self { count, columns, size, gap });
        let fit = |sheet: &Self| sheet.fit(view);
        sheets
            .reduce(|best, sheet| if fit(&sheet) > fit(&best) * 1.001 { sheet } else { best })
            .unwrap_or(Self { count, columns: 1, size, gap })
    }

    fn rows(&self) -> usize {
        self.count.div_ceil(self.columns)
    }

    fn extent(&self) -> Vec2 {
        let along = |number: usize, size: f32| number as f32 * (size + self.gap) - self.gap;
        vec2(along(self.columns, self.size.x), along(self.rows(), self.size.y))
    }

    /// Points a pixel at which the sheet just fits in `view`.
    pub(super) fn fit(&self, view: Vec2) -> f32 {
        (view / self.extent()).min_elem().max(0.01)
    }

    /// Place of a picture, in pixels from the middle of the sheet.
    fn place(&self, index: usize) -> Rect {
        let (row, column) = (index / self.columns, index % self.columns);
        let step = self.size + Vec2::splat(self.gap);
        let corner = vec2(column as f32, row as f32) * step - self.extent() / 2.0;
        Rect::from_min_size(corner.to_pos2(), self.size)
    }
}

/// A sheet of pictures as a camera sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Placement {
    /// Where the canvas is on the screen.
    pub(super) view: Rect,
    pub(super) sheet: Sheet,
    pub(super) camera: Camera,
    /// The grid of tokens on every picture.
    pub(super) shape: LatentShape,
}

impl Placement {
    /// Where a picture is on the screen.
    pub(super) fn picture(&self, index: usize) -> Rect {
        let rect = self.sheet.place(index);
        let place =
            |at: Pos2| self.view.center() + (at.to_vec2() - self.camera.centre) * self.camera.zoom;
        Rect::from_min_max(place(rect.min), place(rect.max))
    }

    /// The picture under the pointer, and where on it, in tokens from its upper left corner.
    pub(super) fn under(&self, pointer: Pos2) -> Option<(usize, Vec2)> {
        (0..self.shape.batch).find_map(|index| {
            let rect = self.picture(index);
            rect.contains(pointer).then(|| (index, self.on(index, pointer)))
        })
    }

    /// Where the pointer is on a picture or beside it, in tokens from its upper left corner.
    pub(super) fn on(&self, index: usize, pointer: Pos2) -> Vec2 {
        let rect = self.picture(index);
        let grid = vec2(self.shape.width as f32, self.shape.height as f32);
        (pointer - rect.min) / rect.size() * grid
    }

    /// The token under the pointer.
    pub(super) fn token(&self, pointer: Pos2) -> Option<Token> {
        let (image, at) = self.under(pointer)?;
        let index = |at: f32, count: usize| (at as usize).min(count.saturating_sub(1));
        Some(Token {
            image,
            row: index(at.y, self.shape.height),
            column: index(at.x, self.shape.width),
        })
    }

    /// Where a token is on the screen.
    pub(super) fn cell(&self, token: Token) -> Rect {
        let rect = self.picture(token.image);
        let size = rect.size() / vec2(self.shape.width as f32, self.shape.height as f32);
        let corner = rect.min + vec2(token.column as f32, token.row as f32) * size;
        Rect::from_min_size(corner, size)
    }
}

#[cfg(test)]
mod tests {
    use egui::pos2;

    use super::*;

    #[test]
    fn four_pictures_stand_two_by_two_in_a_square_and_in_a_row_on_a_strip() {
        let sheet = |width, height| Sheet::new(4, Vec2::splat(64.0), vec2(width, height)).columns;
        assert_eq!(sheet(600.0, 600.0), 2);
        assert_eq!(sheet(1200.0, 300.0), 4);
        assert_eq!(sheet(300.0, 1200.0), 1);
    }

    #[test]
    fn pictures_lie_within_the_sheet_and_apart() {
        let sheet = Sheet::new(7, Vec2::splat(64.0), vec2(900.0, 500.0));
        let all = Rect::from_center_size(Pos2::ZERO, sheet.extent()).expand(0.01);
        for index in 0..7 {
            assert!(all.contains_rect(sheet.place(index)));
            for other in 0..index {
                assert!(!sheet.place(index).intersects(sheet.place(other)));
            }
        }
    }

    #[test]
    fn the_token_under_the_pointer_is_found_to_the_edges() {
        let shape = LatentShape { batch: 1, channels: 1, height: 4, width: 8 };
        let view = Rect::from_min_size(pos2(10.0, 10.0), vec2(80.0, 40.0));
        let sheet = Sheet::new(1, vec2(80.0, 40.0), view.size());
        let camera = Camera { zoom: 1.0, centre: Vec2::ZERO };
        let placement = Placement { view, sheet, camera, shape };
        let token = |x, y| placement.token(pos2(x, y)).map(|token| (token.row, token.column));
        assert_eq!(token(10.0, 10.0), Some((0, 0)));
        assert_eq!(token(90.0, 50.0), Some((3, 7)));
        assert_eq!(token(35.0, 29.0), Some((1, 2)));
        assert_eq!(token(9.0, 29.0), None);
        let cell = placement.cell(Token { image: 0, row: 1, column: 2 });
        assert_eq!((cell.min, cell.max), (pos2(30.0, 20.0), pos2(40.0, 30.0)));
    }
}
