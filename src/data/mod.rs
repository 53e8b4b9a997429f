//! Training pictures and the order in which they are seen.

mod ahead;
mod augment;
mod background;
mod classes;
mod duplicates;
mod few;
mod folder;
mod labels;
mod left;
mod order;
mod pictures;
mod shard_writer;
mod shards;
mod walk;

pub use ahead::Ahead;
pub use augment::Augment;
pub use background::Background;
pub use classes::{Classes, is_table};
pub use duplicates::Duplicates;
pub use folder::{DataError, ImageFolder};
pub use labels::Labels;
pub use order::{Balance, EpochOrder};
pub use pictures::{
    MOST_PIXELS, PictureError, fit_square, is_picture, picture_size, read_picture, read_square,
};
pub use shard_writer::ShardWriter;
pub use shards::{MOST_CLASSES, ShardError, Shards, expand_braces, names_shards, shards_in};
pub use walk::Walk;
