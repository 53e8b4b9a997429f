//! The command line that makes the same pictures as the controls.

use crate::flow::{SampleSettings, command};
use crate::studio::engine::{ModelInfo, ModelSource};

/// Why a run has no command.
pub const NO_COMMAND: &str = "A run that goes on from another one has no command of its own: save a picture of it, and make \
     it again with `purrscope sample --restore PICTURE.png --out DIR`.";

/// The command as it is typed into a shell; nothing for a run that goes on from another one.
pub fn command(settings: &SampleSettings, model: &ModelInfo) -> Option<String> {
    let model_file = match &model.source {
        ModelSource::File(path) => Some(path.display().to_string()),
        ModelSource::Embedded => None,
    };
    let options = command::options(settings, &model.card)?;
    let words = ["purrscope", "sample"].map(str::to_owned).into_iter().chain(model_file);
    let precision = model.precision.noted().map(|it| ["--precision".to_owned(), it.to_string()]);
    let words = words.chain(options).chain(precision.into_iter().flatten());
    let words = words.chain(["--out", "out"].map(str::to_owned));
    Some(words.map(|word| quoted(&word)).collect::<Vec<_>>().join(" "))
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
    use crate::model::Precision;
    use crate::studio::session::draft::Draft;
    use crate::studio::testing::fake::card;

    #[test]
    fn it_reads_as_people_write_it() {
        let worker = crate::studio::testing::fake::FakeWorker::default();
        let mut worker = worker;
        let load = |worker: &mut crate::studio::testing::fake::FakeWorker, source| {
            crate::studio::engine::Worker::load(worker, &source).unwrap()
        };
        let settings = Draft::default().settings(&card());
        let text = command(&settings, &load(&mut worker, ModelSource::Embedded)).unwrap();
        assert!(
            text.starts_with("purrscope sample --class cat-orange-in-a-meadow --count 4 --seed 42"),
            "{text}"
        );
        let file = ModelSource::File("my models/it's.safetensors".into());
        let text = command(&settings, &load(&mut worker, file)).unwrap();
        assert!(text.contains(r"sample 'my models/it'\''s.safetensors' --class"), "{text}");
        assert!(!text.contains("precision"), "{text}");
        let half = Precision::F16;
        let model = ModelInfo { precision: half, ..load(&mut worker, ModelSource::Embedded) };
        let text = command(&settings, &model).unwrap();
        assert!(text.contains("--precision f16 --out"), "{text}");
    }
}
