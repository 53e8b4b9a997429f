//! The compute thread: it alone holds the model, takes [`Command`]s and answers with [`Event`]s.
//!
//! burn keys its streams by OS thread, so everything that touches a tensor stays on one. The
//! window never waits for it: it sends a command and reads what has come back, a frame at a time.
//! The newest request wins: whatever asks for a new run, or for none, takes effect before the
//! next step of the run in progress.
//!
//! Every [`Command::Run`] is answered, in this order, by at most one [`RunEvent::Started`], any
//! number of [`RunEvent::Step`]s, and exactly one of [`RunEvent::Finished`], [`RunEvent::Stopped`] and
//! [`RunEvent::Failed`].

// A new message is answered on purpose, not by an arm that takes the rest.
#![cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]

pub mod colormap;
mod inbox;
mod message;
pub mod model_worker;
pub mod opener;
pub mod pictures;
pub mod present;
#[cfg(test)]
mod tests;
mod thread;
mod worker;

pub use self::message::{
    Answer, Command, Drawing, Event, ModelInfo, ModelSource, NewestOnly, PictureKey,
    PictureQuestion, Question, RunEvent, RunId, Sketch, View,
};
pub use self::thread::Engine;
pub use self::worker::{Trajectory, Worker};
