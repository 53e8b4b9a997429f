//! What the features share: looks, widgets, notices and work in the background.

pub mod dialogs;
pub mod images;
pub mod jobs;
pub mod notices;
pub mod text;
pub mod theme;
pub mod widgets;
pub mod worker;
