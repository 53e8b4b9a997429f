//! Training pictures and the order in which they are seen.

mod ahead;
mod augment;
mod background;
mod few;
mod folder;
mod labels;
mod left;
mod order;
mod pictures;
mod shards;
mod walk;

pub use ahead::Ahead;
pub use augment::Augment;
pub use background::Background;
pub use folder::{DataError, Duplicates, ImageFolder};
pub use labels::{Classes, Labels, is_table};
pub use order::{Balance, EpochOrder};
pub use pictures::{
    MOST_PIXELS, PictureError, fit_square, is_picture, picture_size, read_picture, read_square,
};
pub use shards::{
    MOST_CLASSES, ShardError, ShardWriter, Shards, expand_braces, names_shards, shards_in,
};
pub use walk::Walk;
