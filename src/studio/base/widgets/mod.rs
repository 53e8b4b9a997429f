//! Small widgets that the panes share.

mod cells;
mod chart;
mod icon;
mod jobs;
mod marks;
mod plot;
mod row;
mod scroll;

pub use cells::Cells;
pub use chart::{Chart, Curve, Dash};
pub use icon::{Icon, icon_button};
pub use jobs::{cancel_button, job_strip};
pub use marks::{Mark, Marks, code_colour};
pub use plot::{Plot, PlotLine, Stroked, short};
pub use row::{Row, choice, empty_state, legend_between, legend_ramp, number_slider, time_slider};
pub use scroll::scroll_area;
