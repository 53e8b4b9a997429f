//! What an export says of itself: the settings inside it, and its name.

use crate::flow::{Branch, RunRecord, SampleSettings};
use crate::io::names;
use crate::studio::session::Session;
use crate::studio::session::run::{Run, class_name, class_of};

/// The JSON that goes into a picture of `run`, taken at `position`.
///
/// # Errors
/// None that a setting in range can cause.
pub fn settings_json(
    run: &Run,
    position: usize,
    picture: Option<usize>,
) -> Result<String, serde_json::Error> {
    let t = (!run.is_end(position)).then(|| run.time(position));
    record_of(run, picture, &run.settings, t)
}

/// The JSON of a picture of the current step, or of all of them; of the `whole` run if that is meant.
/// Nothing without a run.
///
/// # Errors
/// None that a setting in range can cause.
pub fn settings_here(
    session: &Session,
    picture: Option<usize>,
    whole: bool,
) -> Option<Result<String, serde_json::Error>> {
    let run = session.run.as_ref()?;
    let (key, _) = session.known_pictures();
    let asked = session.asked_here().filter(|_| key.is_some_and(|key| key.ticket != 0));
    Some(match asked.filter(|_| !whole) {
        // Another belief about a step is that of a run which branches off there.
        Some((settings, record)) => {
            let step = session.position.min(run.frames.len().saturating_sub(1));
            let branch = Branch { step, parent: run.settings.clone() };
            let settings = SampleSettings { branch: Some(Box::new(branch)), ..settings.clone() };
            record_of(run, picture, &settings, Some(record.t))
        }
        None => {
            let open = !whole && !run.is_end(session.position);
            let t = open.then(|| run.time(session.position));
            record_of(run, picture, &run.settings, t)
        }
    })
}

fn record_of(
    run: &Run,
    picture: Option<usize>,
    settings: &SampleSettings,
    t: Option<f32>,
) -> Result<String, serde_json::Error> {
    RunRecord {
        class: Some(match picture {
            Some(image) => class_of(&run.model.card, &run.settings, image),
            None => class_name(&run.model.card, &run.settings),
        }),
        image: picture,
        t,
        precision: run.model.precision.noted(),
        ..RunRecord::new(&run.model.card.name, &run.model.hash, settings)
    }
    .to_json()
}

/// A name for a picture's file.
pub fn file_name(run: &Run, position: usize, picture: Option<usize>) -> String {
    let which = picture.map_or_else(|| "sheet".to_owned(), |index| format!("{index:03}"));
    let when = match run.is_end(position) {
        true => String::new(),
        false => format!("-step{}", position + 1),
    };
    format!("{}-{which}{when}.png", run_name(run, picture))
}

/// A name for what was made of a run, or of one of its pictures, without an end.
pub fn run_name(run: &Run, picture: Option<usize>) -> String {
    let class = match picture {
        Some(image) => class_of(&run.model.card, &run.settings, image),
        None => class_name(&run.model.card, &run.settings),
    };
    format!("{}-seed{}", names::file_name(&class), run.settings.seed)
}
