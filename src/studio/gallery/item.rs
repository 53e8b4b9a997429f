//! What is known of a picture without looking at its pixels.

use serde_json::Value;

use super::stamp;
use crate::flow::Recorded;
use crate::flow::settings::{SETTINGS, Setting};
use crate::studio::session::restored::Restored;

/// A picture of the gallery.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Name of its file in the folder.
    pub name: String,
    /// When it was made, as a text that sorts by time.
    pub stamp: String,
    /// Width and height in pixels.
    pub size: [u32; 2],
    /// What it says of itself.
    pub made: Made,
    /// What the filter looks at, in small letters.
    words: String,
}

/// What a picture says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// Name of the model.
    pub model: Option<String>,
    /// Its number in the batch, where it is one of several.
    pub image: Option<usize>,
    /// The time it was taken at, where that is not the end.
    pub t: Option<f32>,
    /// Class, model, starting noise and settings.
    pub restored: Restored,
}

impl From<Recorded> for Made {
    fn from(mut record: Recorded) -> Self {
        let model = record.model.take();
        Self { model, image: record.image, t: record.t, restored: record.into() }
    }
}

impl Item {
    /// A picture that lies in a file of this name.
    pub fn new(name: String, stamp: String, size: [u32; 2], made: Made) -> Self {
        let settings = &made.restored.settings;
        let mut words = format!(
            "{} {} {}",
            made.restored.class.as_deref().unwrap_or_default(),
            made.model.as_deref().unwrap_or_default(),
            stamp::words(&stamp),
        );
        for setting in SETTINGS {
            // Name and value as one word find what no other number is mistaken for.
            let (key, value) = (setting.key, setting.get(settings));
            words += &format!(" {key}{value} {key} {value}");
        }
        Self { name, stamp, size, made, words: words.to_lowercase() }
    }

    /// Whether every word of `filter` is found in what is known of it; `filter` in small letters.
    pub fn fits(&self, filter: &str) -> bool {
        filter.split_whitespace().all(|word| self.words.contains(word))
    }

    /// Its class, or what else it can be called.
    pub fn class(&self) -> &str {
        self.made.restored.class.as_deref().unwrap_or("picture")
    }

    /// When it was made, in words.
    pub fn date(&self) -> String {
        stamp::words(&self.stamp)
    }

    /// It in a few words.
    pub fn title(&self) -> String {
        let which = match self.made.image {
            Some(image) => format!(", picture {}", image + 1),
            None => String::new(),
        };
        format!("{}, seed {}{which}", self.class(), self.made.restored.settings.seed)
    }

    /// What made it, as names and values, in the order in which they are shown.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let Made { model, image, t, restored } = &self.made;
        let settings = &restored.settings;
        let edits = |pins: usize, bans: usize| match (pins, bans) {
            (0, 0) => "none".to_owned(),
            (pins, bans) => format!("{pins} pinned, {bans} banned"),
        };
        let bans = settings.bans.len() + settings.banned_codes.len();
        let model = match (model, &restored.model_hash) {
            (Some(name), Some(hash)) => format!("{name} ({})", hash.get(..8).unwrap_or(hash)),
            (Some(name), None) => name.clone(),
            (None, Some(hash)) => hash.clone(),
            (None, None) => "unknown".to_owned(),
        };
        let picture = match (image, settings.labels.len()) {
            (Some(image), many) if many > 1 => format!("{} of {many}", image + 1),
            (Some(_), _) => "alone".to_owned(),
            (None, many) => format!("{many} on a sheet"),
        };
        let mut facts = vec![("Class", self.class().to_owned()), ("Picture", picture)];
        let told = SETTINGS.into_iter().filter(|setting| setting.is_told(settings));
        facts.extend(told.map(|setting| (setting.label, setting.get(settings))));
        facts.push(("Edits", edits(settings.pins.len(), bans)));
        if let Some(branch) = &settings.branch {
            let seed = branch.parent.seed;
            facts.push(("Branch", format!("after step {} of seed {seed}", branch.step)));
        }
        facts.push((
            "Time",
            t.map_or_else(|| "t = 1, the end".to_owned(), |t| format!("t = {t:.3}")),
        ));
        facts.push(("Model", model));
        facts.push(("Size", format!("{} x {} pixels", self.size[0], self.size[1])));
        facts.push(("Made", self.date()));
        facts
    }

    /// All that decided what it looks like, as names and values: its [facts](Item::facts) and, in full,
    /// every setting that they leave out or only count. For comparing pictures: a setting that is new
    /// one day is among them by itself.
    pub fn everything(&self) -> Vec<(String, String)> {
        const COUNTED: [&str; 3] = ["Edits", "Branch", "Made"];
        let mut all: Vec<(String, String)> = self
            .facts()
            .into_iter()
            .filter(|(name, _)| !COUNTED.contains(name))
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        if let Some(noise) = &self.made.restored.noise {
            all.push(("Noise".to_owned(), noise.clone()));
        }
        let settings = serde_json::to_value(&self.made.restored.settings);
        // Settings in range always have a form as JSON.
        add_settings(&mut all, "", &settings.unwrap_or_default());
        all
    }
}

/// Adds what the facts do not say of settings, the names after `before`, and likewise of the runs that
/// they go on from.
fn add_settings(all: &mut Vec<(String, String)>, before: &str, settings: &Value) {
    for (key, value) in settings.as_object().into_iter().flatten() {
        let label = Setting::named(key).map(|setting| setting.label.to_lowercase());
        let name = match key.as_str() {
            "banned_codes" => "banned codes",
            "branch" => {
                let step = value.get("step").map_or_else(String::new, Value::to_string);
                all.push((capital(&format!("{before}branch after step")), step));
                let parent = value.get("parent").unwrap_or(&Value::Null);
                add_settings(all, &format!("{before}branch: "), parent);
                continue;
            }
            known => label.as_deref().unwrap_or(known),
        };
        let name = capital(&format!("{before}{name}"));
        let said = all.iter().any(|(known, _)| *known == name);
        if !said {
            all.push((name, in_words(value)));
        }
    }
}

/// A setting as the command line has it, where it has one.
fn in_words(value: &Value) -> String {
    let number =
        |value: &Value, key: &str| value.get(key).map_or_else(String::new, Value::to_string);
    match value {
        Value::String(text) => text.clone(),
        // Settings are of single precision: 0.2, and not what double precision makes of it.
        Value::Number(figure) if figure.is_f64() => {
            figure.as_f64().map_or_else(String::new, |figure| (figure as f32).to_string())
        }
        Value::Array(list) => list.iter().map(in_words).collect::<Vec<_>>().join(" "),
        Value::Object(spot) if spot.contains_key("code") => {
            let [image, row, column, code] =
                ["image", "row", "column", "code"].map(|key| number(value, key));
            format!("{image},{row},{column}={code}")
        }
        other => other.to_string(),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Branch, RunRecord, SampleSettings};

    fn item(settings: &SampleSettings) -> Item {
        let record = RunRecord { image: Some(0), ..RunRecord::new("m", "ab", settings) };
        let record = Recorded::from_json(&record.to_json().unwrap()).unwrap();
        Item::new("a.png".to_owned(), "20261124-132640-123".to_owned(), [8, 8], record.into())
    }

    #[test]
    fn a_picture_keeps_the_name_of_its_noise_for_when_it_is_restored() {
        let settings = SampleSettings { labels: vec![4], ..SampleSettings::default() };
        let noise = Some("n.safetensors".to_owned());
        let record = RunRecord { noise, ..RunRecord::new("m", "ab", &settings) };
        let record = Recorded::from_json(&record.to_json().unwrap()).unwrap();
        let item = Item::new("a.png".to_owned(), String::new(), [8, 8], record.into());
        assert_eq!(item.made.restored.noise.as_deref(), Some("n.safetensors"));
        assert!(item.everything().contains(&("Noise".to_owned(), "n.safetensors".to_owned())));
    }

    /// Every setting, whatever it is: each key of the JSON, changed alone, is seen.
    #[test]
    fn whatever_setting_differs_is_among_everything() {
        let plain = SampleSettings { labels: vec![4, 4], ..SampleSettings::default() };
        let changed: [(&str, SampleSettings); 15] = [
            ("labels", SampleSettings { labels: vec![4, 5], ..plain.clone() }),
            ("seed", SampleSettings { seed: 9, ..plain.clone() }),
            ("solver", SampleSettings { solver: "heun".parse().unwrap(), ..plain.clone() }),
            ("grid", SampleSettings { grid: "cosine".parse().unwrap(), ..plain.clone() }),
            ("steps", SampleSettings { steps: 9, ..plain.clone() }),
            (
                "temperature",
                SampleSettings { temperature: "0.5".parse().unwrap(), ..plain.clone() },
            ),
            ("guidance", SampleSettings { guidance: 3.0, ..plain.clone() }),
            ("eta", SampleSettings { eta: 0.5, ..plain.clone() }),
            ("atol", SampleSettings { atol: 0.1, ..plain.clone() }),
            ("rtol", SampleSettings { rtol: 0.1, ..plain.clone() }),
            ("pins", SampleSettings { pins: vec!["0,1,2=3".parse().unwrap()], ..plain.clone() }),
            ("bans", SampleSettings { bans: vec!["0,1,2=3".parse().unwrap()], ..plain.clone() }),
            ("banned_codes", SampleSettings { banned_codes: vec![7], ..plain.clone() }),
            (
                "guidance_interval",
                SampleSettings { guidance_interval: "0.25:1".parse().unwrap(), ..plain.clone() },
            ),
            (
                "branch",
                SampleSettings {
                    branch: Some(Box::new(Branch {
                        step: 3,
                        parent: SampleSettings { atol: 0.2, ..plain.clone() },
                    })),
                    ..plain.clone()
                },
            ),
        ];
        let full = SampleSettings {
            pins: changed[10].1.pins.clone(),
            bans: changed[11].1.bans.clone(),
            banned_codes: vec![7],
            guidance_interval: changed[13].1.guidance_interval,
            branch: changed[14].1.branch.clone(),
            ..plain.clone()
        };
        let json = serde_json::to_value(&full).unwrap();
        let keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert!(keys.iter().all(|key| changed.iter().any(|(known, _)| known == key)), "{keys:?}");
        let before = item(&plain).everything();
        for (key, settings) in &changed {
            let after = item(settings).everything();
            assert!(after != before, "{key}");
        }
        let moved = |column: &str| {
            let pins = vec![column.parse().unwrap()];
            item(&SampleSettings { pins, ..plain.clone() }).everything()
        };
        assert!(moved("0,1,2=3").contains(&("Pins".to_owned(), "0,1,2=3".to_owned())));
        assert!(moved("0,1,2=3") != moved("0,1,3=3"), "as many pins, but others");
        let branch = item(&changed[14].1).everything();
        assert!(branch.contains(&("Branch: absolute tolerance".to_owned(), "0.2".to_owned())));
        let names: Vec<&String> = branch.iter().map(|(name, _)| name).collect();
        let unique: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len(), "{names:?}");
    }
}
