//! What is known of a picture without looking at its pixels.

use serde::Deserialize;

use super::stamp;
use crate::studio::export::Restored;

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
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Made {
    /// Name of the model.
    pub model: Option<String>,
    /// Its number in the batch, where it is one of several.
    pub image: Option<usize>,
    /// The time it was taken at, where that is not the end.
    pub t: Option<f32>,
    /// Class, model and settings.
    #[serde(flatten)]
    pub restored: Restored,
}

impl Item {
    /// A picture that lies in a file of this name.
    pub fn new(name: String, stamp: String, size: [u32; 2], made: Made) -> Self {
        let settings = &made.restored.settings;
        let words = format!(
            "{} {} seed{} seed {} {} steps{} {} {}",
            made.restored.class.as_deref().unwrap_or_default(),
            settings.solver,
            settings.seed,
            settings.seed,
            settings.temperature,
            settings.steps,
            made.model.as_deref().unwrap_or_default(),
            stamp::words(&stamp),
        )
        .to_lowercase();
        Self { name, stamp, size, made, words }
    }

    /// Whether every word of `filter` is found in what is known of it; `filter` in small letters.
    pub fn fits(&self, filter: &str) -> bool {
        filter.split_whitespace().all(|word| self.words.contains(word))
    }

    /// Its class, or what else it can be called.
    pub fn class(&self) -> &str {
        self.made.restored.class.as_deref().unwrap_or("picture")
    }

    /// When it was made, for people.
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
        let mut facts = vec![
            ("Class", self.class().to_owned()),
            ("Seed", settings.seed.to_string()),
            ("Picture", picture),
            ("Solver", settings.solver.to_string()),
            ("Steps", settings.steps.to_string()),
            ("Grid", settings.grid.to_string()),
            ("Temperature", settings.temperature.to_string()),
            ("Guidance", settings.guidance.to_string()),
            ("Eta", settings.eta.to_string()),
            ("Edits", edits(settings.pins.len(), bans)),
        ];
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
}
