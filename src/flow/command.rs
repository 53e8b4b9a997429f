//! The options of the command line that say the same as settings.

use super::settings::SampleSettings;
use crate::model::ModelCard;

/// The words that `purrscope sample` takes for the settings; none for a run that goes on from another one.
pub fn options(settings: &SampleSettings, card: &ModelCard) -> Option<Vec<String>> {
    if settings.branch.is_some() {
        return None;
    }
    let mut words = Vec::new();
    let mut option = |name: &str, value: String| words.extend([format!("--{name}"), value]);
    match one_class(settings, card) {
        Some(name) => {
            option("class", name.to_owned());
            option("count", settings.labels.len().to_string());
        }
        None => {
            let labels: Vec<String> = settings.labels.iter().map(usize::to_string).collect();
            option("labels", labels.join(","));
        }
    }
    option("seed", settings.seed.to_string());
    option("solver", settings.solver.to_string());
    option("grid", settings.grid.to_string());
    option("steps", settings.steps.to_string());
    option("temperature", settings.temperature.to_string());
    option("cfg", settings.guidance.to_string());
    option("eta", settings.eta.to_string());
    option("atol", settings.atol.to_string());
    option("rtol", settings.rtol.to_string());
    settings.pins.iter().for_each(|pin| option("pin", pin.to_string()));
    settings.bans.iter().for_each(|ban| option("ban", ban.to_string()));
    settings.banned_codes.iter().for_each(|code| option("ban-code", code.to_string()));
    Some(words)
}

/// The class of all pictures, where one name stands for it and for nothing else.
fn one_class<'a>(settings: &SampleSettings, card: &'a ModelCard) -> Option<&'a str> {
    let (first, rest) = settings.labels.split_first()?;
    let name = card.class_names.get(*first)?;
    let alone = rest.iter().all(|label| label == first);
    let meant = card.labels(name).is_ok_and(|labels| labels == [*first]);
    (alone && meant && !name.starts_with('-')).then_some(name)
}
