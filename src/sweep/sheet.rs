//! A sweep on one annotated picture.

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use super::lettering::{Lettering, Text};
use super::study::{Cell, Study};
use crate::io::sheet::Sheet;

const PAPER: Rgb<u8> = Rgb([255, 255, 255]);
const FIELD: Rgb<u8> = Rgb([240, 238, 234]);
const INK: Rgb<u8> = Rgb([28, 25, 21]);
const WEAK: Rgb<u8> = Rgb([108, 102, 94]);

/// Unit of every distance, in pixels.
const UNIT: u32 = 4;
const MARGIN: u32 = 6 * UNIT;
const GAP: u32 = 4 * UNIT;
/// A picture smaller than this is enlarged by a whole number.
const LEAST_PICTURE: u32 = 160;
/// Side of a cell without pictures on a sheet without any.
const NO_PICTURE: u32 = 160;
/// No sheet is larger than this, in pixels a side.
const LARGEST: u32 = 16_384;

/// Which pictures of a cell are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Show {
    /// The first of the batch.
    #[default]
    First,
    /// All of them, in a square.
    All,
}

/// The pictures of a batch as one, in as square a grid as there is, `gap` pixels apart.
pub fn montage(pictures: &[RgbImage], show: Show, ground: Rgb<u8>) -> Option<RgbImage> {
    let first = pictures.first()?;
    let pictures = match show {
        Show::First => &pictures[..1],
        Show::All => pictures,
    };
    let sheet =
        Sheet { gap: first.width() / 32, border: 0, ground, ..Sheet::square(pictures.len()) };
    Some(sheet.arrange(pictures))
}

/// A cell, ready to be put on the sheet.
struct Drawn {
    picture: Option<RgbImage>,
    /// What is written where the picture would be.
    reason: Option<Text>,
    lines: Vec<Text>,
}

/// Draws a study: its pictures, the numbers under them, the axes around them, and above them what is
/// the same everywhere.
pub fn draw(study: &Study, show: Show) -> RgbImage {
    let mut lettering = Lettering::default();
    let scale = scale(study);
    let side = study.picture_side().map_or(NO_PICTURE, |side| side * scale);
    let most_pictures = (0..study.cells.len())
        .filter_map(|cell| study.outcome(cell))
        .map(|outcome| outcome.pictures.len())
        .max();
    // As wide as the pictures of a cell are.
    let field = match (show, most_pictures) {
        (Show::All, Some(most)) => (most as f32).sqrt().ceil() as u32 * side,
        _ => side,
    };
    let cells: Vec<Drawn> =
        study.cells.iter().map(|cell| drawn(&mut lettering, cell, show, scale, field)).collect();
    let most = |of: fn(&Drawn) -> u32, least| cells.iter().map(of).max().unwrap_or(0).max(least);
    let picture = |drawn: &Drawn| drawn.picture.as_ref().map_or((0, 0), RgbImage::dimensions);
    let picture_width = cells.iter().map(|cell| picture(cell).0).max().unwrap_or(0).max(side);
    let picture_height = cells.iter().map(|cell| picture(cell).1).max().unwrap_or(0).max(side);
    let widest = most(|cell| cell.lines.iter().map(Text::width).max().unwrap_or(0), 0);
    let below = most(|cell| cell.lines.iter().map(Text::height).sum(), 0);
    let column_width = picture_width.max(widest);

    let mut label = |text: &str, size, mono| lettering.text(text, size, mono, f32::INFINITY);
    let title = label(&study.model, 24.0, false);
    let names: Vec<Text> =
        study.plan.axes().map(|axis| label(axis.parameter.name(), 17.0, false)).collect();
    let mut values = study
        .plan
        .axes()
        .map(|axis| axis.values.iter().map(|value| label(&value.to_string(), 16.0, true)).collect())
        .collect::<Vec<Vec<Text>>>()
        .into_iter();
    let across = values.next().unwrap_or_default();
    let down = values.next().unwrap_or_default();
    let column_width = across.iter().map(Text::width).max().unwrap_or(0).max(column_width) + GAP;
    let row_height = picture_height + UNIT + below + GAP;
    let side_width = match names.get(1) {
        None => 0,
        Some(name) => down.iter().chain([name]).map(Text::width).max().unwrap_or(0) + 2 * GAP,
    };
    let (columns, rows) = (study.plan.columns() as u32, study.plan.rows() as u32);
    let inner = (side_width + columns * column_width).max(title.width()).max(480);
    let phrases = lettering.text(&study.fixed().join("  ·  "), 15.0, false, inner as f32);

    let mut y = MARGIN;
    let mut put = |text: &Text, x: u32, y: u32, colour| {
        lettering.place(text, x as i32, y as i32, colour);
    };
    put(&title, MARGIN, y, INK);
    y += title.height() + UNIT;
    put(&phrases, MARGIN, y, WEAK);
    y += phrases.height() + 2 * GAP;
    let left = MARGIN + side_width;
    put(&names[0], left, y, INK);
    y += names[0].height() + UNIT;
    if let Some(name) = names.get(1) {
        put(name, MARGIN, y, INK);
    }
    for (column, value) in across.iter().enumerate() {
        put(value, left + column as u32 * column_width, y, WEAK);
    }
    y += across.iter().map(Text::height).max().unwrap_or(0) + 2 * UNIT;
    let top = y;
    let width = (2 * MARGIN + inner).min(LARGEST);
    let height = (top + rows * row_height - GAP + MARGIN).min(LARGEST);
    let mut sheet = RgbImage::from_pixel(width, height, PAPER);
    for (row, value) in down.iter().enumerate() {
        let middle = top + row as u32 * row_height + picture_height / 2;
        put(value, MARGIN, middle.saturating_sub(value.height() / 2), WEAK);
    }
    for (at, cell) in cells.iter().enumerate() {
        let (column, row) = (at as u32 % columns, at as u32 / columns);
        let (x, y) = (left + column * column_width, top + row * row_height);
        match &cell.picture {
            Some(picture) => imageops::replace(&mut sheet, picture, x.into(), y.into()),
            None => {
                let field = RgbImage::from_pixel(picture_width, picture_height, FIELD);
                imageops::replace(&mut sheet, &field, x.into(), y.into());
            }
        }
        if let Some(reason) = &cell.reason {
            put(reason, x + 2 * UNIT, y + 2 * UNIT, WEAK);
        }
        let mut line = y + picture_height + UNIT;
        for text in &cell.lines {
            put(text, x, line, INK);
            line += text.height();
        }
    }
    lettering.paint(&mut sheet);
    sheet
}

/// How often a pixel is repeated, so that pictures are large enough and the sheet is not too large.
fn scale(study: &Study) -> u32 {
    let Some(side) = study.picture_side() else { return 1 };
    let wanted = LEAST_PICTURE.div_ceil(side.max(1)).max(1);
    let cells = study.plan.columns().max(study.plan.rows()) as u32;
    let room = (LARGEST / 2) / (side * cells).max(1);
    wanted.min(room.max(1))
}

fn drawn(lettering: &mut Lettering, cell: &Cell, show: Show, scale: u32, field: u32) -> Drawn {
    let mut note = |text: &str| {
        let width = field.saturating_sub(4 * UNIT) as f32;
        Drawn {
            picture: None,
            reason: Some(lettering.text(text, 13.0, false, width)),
            lines: Vec::new(),
        }
    };
    match cell {
        Cell::Waiting => note("not made"),
        Cell::Refused(reason) => note(reason),
        Cell::Done(outcome) => Drawn {
            picture: montage(&outcome.pictures, show, PAPER).map(|picture| {
                let (width, height) = picture.dimensions();
                imageops::resize(&picture, width * scale, height * scale, FilterType::Nearest)
            }),
            reason: None,
            lines: outcome
                .lines()
                .iter()
                .map(|line| lettering.text(line, 13.0, true, f32::INFINITY))
                .collect(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::study::Outcome;
    use super::super::study::tests::study;
    use super::*;
    use crate::flow::SampleSettings;

    fn filled() -> Study {
        let base = SampleSettings { labels: vec![4; 3], ..SampleSettings::default() };
        let mut study = study("steps=4,8,16", Some("solver=euler,heun"), base).unwrap();
        for (at, cell) in study.cells.iter_mut().enumerate().take(5) {
            let colour = Rgb([40 * at as u8, 90, 200]);
            *cell = Cell::Done(Outcome {
                pictures: vec![RgbImage::from_pixel(64, 64, colour); 3].into(),
                evaluations: 8 << at,
                time: Duration::from_millis(120),
                entropy: Some(0.125),
            });
        }
        study.cells[5] = Cell::Refused("eta must be 0 with heun".to_owned());
        study
    }

    #[test]
    fn every_cell_has_its_pictures_and_numbers() {
        let sheet = draw(&filled(), Show::First);
        for at in 0..5u8 {
            let colour = Rgb([40 * at, 90, 200]);
            let pixels = sheet.pixels().filter(|pixel| **pixel == colour).count();
            assert_eq!(pixels, 192 * 192, "cell {at}");
        }
        let field = sheet.pixels().filter(|pixel| **pixel == FIELD).count();
        assert!(
            (30_000..192 * 192).contains(&field),
            "the reason is written on its field: {field}"
        );
        let ink = sheet.pixels().filter(|pixel| **pixel == INK).count();
        assert!(ink > 300, "{ink} pixels of text");
        let all = draw(&filled(), Show::All);
        assert!(all.width() > sheet.width() && all.height() > sheet.height());
    }

    /// For a look: `PURRSCOPE_SHOTS=DIR cargo test --release --lib sheet -- --ignored`.
    #[test]
    #[ignore = "writes a picture to look at"]
    fn sheet_for_a_look() {
        let folder = std::path::PathBuf::from(std::env::var_os("PURRSCOPE_SHOTS").unwrap());
        draw(&filled(), Show::First).save(folder.join("sheet.png")).unwrap();
        draw(&filled(), Show::All).save(folder.join("sheet-all.png")).unwrap();
    }
}
