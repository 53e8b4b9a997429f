//! The options of the command line that say the same as settings.

use super::settings::{SETTINGS, SampleSettings};
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
    for setting in SETTINGS.into_iter().filter(|setting| setting.is_told(settings)) {
        option(setting.option, setting.get(settings));
    }
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
