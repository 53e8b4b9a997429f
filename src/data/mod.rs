//! Training pictures and the order in which they are seen.

mod folder;
mod order;

pub use folder::{DataError, ImageFolder};
pub use order::EpochOrder;
