//! What the studio is tested with: stand-ins for the model and the desktop, and the tests of the whole.

pub mod bench;
pub mod fake;
mod random;
mod shots;
mod snapshots;
pub mod stage;
pub mod window;
