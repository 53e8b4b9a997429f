//! Training pictures and the order in which they are seen.

mod folder;
mod order;

pub use folder::{DataError, ImageFolder, fit_square, is_picture};
pub use order::EpochOrder;
