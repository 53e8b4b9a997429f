//! Training pictures and the order in which they are seen.

mod folder;
mod order;
mod shards;

pub use folder::{DataError, ImageFolder, fit_square, is_picture};
pub use order::EpochOrder;
pub use shards::{ShardError, ShardWriter, Shards, expand_braces, names_shards};
