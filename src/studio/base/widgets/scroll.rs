//! The scrolling area of a pane.

use egui::{Margin, ScrollArea};

use crate::studio::base::theme::PANE_MARGIN;

/// A vertically scrolling area that fills a pane up to its right and lower edge.
pub fn scroll_area() -> ScrollArea {
    let edge = PANE_MARGIN as i8;
    ScrollArea::vertical().auto_shrink(false).content_margin(Margin {
        right: edge,
        bottom: edge,
        ..Margin::ZERO
    })
}
