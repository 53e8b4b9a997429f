//! How calibrated the model in use is: reports that `purrscope calibrate` wrote.

pub mod pane;
#[cfg(test)]
pub mod tests;

use std::sync::Arc;

use crate::calibrate::{Calibration, KeptReports};
use crate::studio::base::notices::About;
use crate::studio::session::{Found, Outcome, Session};

/// What the map shows of every place in the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Map {
    /// Confidence less accuracy.
    #[default]
    Gap,
    /// Surprise by the true code.
    CrossEntropy,
    /// Share of tokens whose likeliest code is the true one.
    Accuracy,
}

/// Reports, and what is shown of the one of the model in use.
#[derive(Debug, Default)]
pub struct Calibrations {
    /// Where reports are kept; nowhere, which is how it begins, where nothing is to be looked up.
    pub kept: Option<KeptReports>,
    /// The time that is shown, as its number.
    pub moment: usize,
    /// What the map shows.
    pub map: Map,
}

impl Calibrations {
    /// Looks for the report of the model in use.
    pub fn look_up(&self, session: &mut Session) {
        let (Some(kept), Some(model)) = (self.kept.clone(), &session.model) else { return };
        let hash = model.hash.clone();
        session.jobs.start("Looking for a calibration", move |_| match kept.of_model(&hash) {
            Some(report) => {
                Outcome::Found(Found::Calibration { report: Box::new(report), chosen: false })
            }
            None => Outcome::Quiet,
        });
    }

    /// Takes in a report, if it is of the model in use; says whether it was a person that chose it.
    pub fn take(&mut self, report: Calibration, chosen: bool, session: &mut Session) -> bool {
        let ours = session.model.as_ref().is_some_and(|model| model.hash == report.model_hash);
        if ours {
            if session.calibration.is_none() {
                self.moment = report.times.len() / 2;
            }
            self.moment = self.moment.min(report.times.len().saturating_sub(1));
            session.calibration = Some(Arc::new(report));
            session.notices.settled(About::Opening);
        } else if chosen {
            let text = format!(
                "The calibration is of another model, {}: open that model first.",
                report.model
            );
            session.notices.error_about(About::Opening, text);
        }
        ours && chosen
    }
}
