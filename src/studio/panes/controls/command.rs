//! The command line that makes the same pictures as the controls.

use crate::flow::SampleSettings;
use crate::model::ModelCard;
use crate::studio::engine::{ModelInfo, ModelSource};

/// Why a run has no command.
pub const NO_COMMAND: &str = "A run that goes on from another one has no command of its own: save a picture of it, and make \
     it again with `purrscope sample --restore PICTURE.png --out DIR`.";

/// The command as it is typed into a shell; nothing for a run that goes on from another one.
pub fn command(settings: &SampleSettings, model: &ModelInfo) -> Option<String> {
    let mut words = words(settings, &model.card, &model.source)?;
    if let Some(precision) = model.precision.noted() {
        words.extend(["--precision".to_owned(), precision.to_string()]);
    }
    Some(words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "))
}

/// The words of the command.
fn words(settings: &SampleSettings, card: &ModelCard, source: &ModelSource) -> Option<Vec<String>> {
    if settings.branch.is_some() {
        return None;
    }
    let mut words = vec!["purrscope".to_owned(), "sample".to_owned()];
    if let ModelSource::File(path) = source {
        words.push(path.display().to_string());
    }
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
    option("out", "out".to_owned());
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

/// A word as a shell takes it for one word.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parse_sample;
    use crate::flow::{Branch, Grid, Solver};
    use crate::model::Precision;
    use crate::studio::draft::Draft;
    use crate::studio::fake::card;

    fn parsed(settings: &SampleSettings) -> SampleSettings {
        let words = words(settings, &card(), &ModelSource::Embedded).unwrap();
        parse_sample(&words, &card())
    }

    #[test]
    fn the_command_line_reads_back_every_setting() {
        let full = SampleSettings {
            labels: vec![3, 3, 7],
            seed: u64::MAX,
            solver: Solver::Dopri5,
            grid: Grid::Shifted(2.5),
            steps: 17,
            temperature: "points:0=1.2,0.5=0.9,1=0.7".parse().unwrap(),
            guidance: -1.25,
            eta: 0.3,
            atol: 1e-8,
            rtol: 0.05,
            pins: vec!["0,1,2=3".parse().unwrap(), "1,0,0=9".parse().unwrap()],
            bans: vec!["2,0,0=9".parse().unwrap()],
            banned_codes: vec![8, 1000],
            branch: None,
        };
        assert_eq!(parsed(&full), full);
        for temperature in ["0", "linear:1.2:0.6", "cosine:1:0.25", "entropy:3:0.5"] {
            let temperature = temperature.parse().unwrap();
            let settings = SampleSettings { temperature, labels: vec![4; 5], ..full.clone() };
            assert_eq!(parsed(&settings), settings);
        }
        for solver in Solver::ALL {
            let settings = SampleSettings { solver, grid: Grid::Cosine, ..full.clone() };
            assert_eq!(parsed(&settings), settings);
        }
    }

    #[test]
    fn what_the_controls_say_is_what_the_command_says() {
        let mut draft = Draft::default();
        assert_eq!(parsed(&draft.settings(&card())), draft.settings(&card()));
        draft.toggle_class("robot-blue");
        draft.eta = 0.7;
        assert_eq!(parsed(&draft.settings(&card())), draft.settings(&card()));
    }

    #[test]
    fn it_reads_as_people_write_it() {
        let worker = crate::studio::fake::FakeWorker::default();
        let mut worker = worker;
        let load = |worker: &mut crate::studio::fake::FakeWorker, source| {
            crate::studio::engine::Worker::load(worker, &source).unwrap()
        };
        let settings = Draft::default().settings(&card());
        let text = command(&settings, &load(&mut worker, ModelSource::Embedded)).unwrap();
        assert!(text.starts_with("purrscope sample --class cat-05 --count 4 --seed 42"), "{text}");
        let file = ModelSource::File("my models/it's.safetensors".into());
        let text = command(&settings, &load(&mut worker, file)).unwrap();
        assert!(text.contains(r"sample 'my models/it'\''s.safetensors' --class"), "{text}");
        assert!(!text.contains("precision"), "{text}");
        let half = Precision::F16;
        let model = ModelInfo { precision: half, ..load(&mut worker, ModelSource::Embedded) };
        let text = command(&settings, &model).unwrap();
        assert!(text.ends_with("--precision f16"), "{text}");
    }

    #[test]
    fn a_branch_has_no_command() {
        let parent = SampleSettings::default();
        let branch = Some(Box::new(Branch { step: 3, parent: parent.clone() }));
        let settings = SampleSettings { branch, ..parent };
        assert!(words(&settings, &card(), &ModelSource::Embedded).is_none());
    }
}
