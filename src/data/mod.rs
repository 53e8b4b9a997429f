//! Training pictures and the order in which they are seen.

mod ahead;
mod folder;
mod order;
mod pictures;
mod shards;
mod walk;

pub use ahead::Ahead;
pub(crate) use folder::list;
pub use folder::{DataError, ImageFolder};
pub use order::EpochOrder;
pub use pictures::{
    BACKGROUND, MOST_PIXELS, PictureError, fit_square, is_picture, read_picture, read_square,
};
pub use shards::{
    MOST_CLASSES, ShardError, ShardWriter, Shards, expand_braces, names_shards, shards_in,
};
pub use walk::Walk;
