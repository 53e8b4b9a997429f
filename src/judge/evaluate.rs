//! An evaluation from beginning to end.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use image::RgbImage;
use sha2::{Digest, Sha256};

use super::draws::{self, Purpose};
use super::memorisation::memorisation;
use super::neighbours::{DENSITY_K, nearest, neighbourhoods};
use super::real::Real;
use super::report::{Counts, Figures, NetworkNote, Origin, Report};
use super::set::Set;
use super::sheet::{self, Row};
use super::{JudgeError, Known, Matrix, Network, Pictures, Samples, frechet, kid, sliced, vendi};
use crate::io::digest;
use crate::model::card::Provenance;
use crate::model::{Model, params, tokenizer_name};
use crate::room;
use crate::say::{count, list};

/// Pictures whose features are computed at once.
const BATCH: usize = 32;
/// Fewest pictures of a class, in both sets, of which figures are given.
const FEWEST_OF_A_CLASS: usize = 10;

/// Which pictures are judged.
#[derive(Debug)]
pub enum Compared<'a> {
    /// Those that the model makes.
    Samples(Samples<'a>),
    /// Those made elsewhere.
    Pictures(Pictures<'a>),
}

/// What is to be done.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The model, whose tokenizer is judged besides.
    pub model: &'a Model,
    /// Real pictures, best ones that the model was not trained on.
    pub data: Pictures<'a>,
    /// Pictures that are judged.
    pub compared: Compared<'a>,
    /// Pictures that the model was trained on.
    pub training: Option<Pictures<'a>>,
    /// Networks that the pictures are compared by, at least one.
    pub networks: Vec<Network<'a>>,
    /// Seed of what is drawn at random for the figures.
    pub seed: u64,
    /// Whether a sheet is wanted.
    pub sheet: bool,
    /// Whether the tokenizer's reconstructions, halves of the data and single classes are compared as well.
    pub whole: bool,
    /// Features of real pictures that were computed before.
    pub known: &'a mut Known,
    /// Ends it, with an error.
    pub stop: Option<&'a AtomicBool>,
}

/// What an evaluation found.
#[derive(Debug)]
pub struct Outcome {
    /// The figures.
    pub report: Report,
    /// Judged pictures beside their nearest training and held-out pictures.
    pub sheet: Option<RgbImage>,
    pub(super) data: Set,
    pub(super) compared: Set,
    pub(super) reconstructions: Option<Set>,
    pub(super) training: Option<Set>,
}

/// Hears of what is done: a stage, how much of it, of how much.
pub type Tell<'t> = &'t mut dyn FnMut(&str, usize, usize);

/// Makes or reads all pictures, and compares them.
///
/// # Errors
/// A set that cannot be read or has fewer than two pictures, a run that cannot be made, features that are not finite.
pub fn evaluate(mut plan: Plan<'_>, tell: Tell<'_>) -> Result<Outcome, JudgeError> {
    let mut notes = plan.notes();
    let Real { data, reconstructions } = plan.real(tell)?;
    let data = data.labelled(plan.data.labels());
    let shown = draws::subset(plan.seed, Purpose::Sheet, 0, plan.compared_len(), sheet::SHOWN);
    let (compared, kept) = plan.compared_features(&shown, tell)?;
    let training = match &plan.training {
        Some(training) => {
            Some(plan.features_of(training, "features of the training pictures", tell)?)
        }
        None => None,
    };
    let kind = match &plan.compared {
        Compared::Samples(_) => "samples",
        Compared::Pictures(_) => "pictures",
    };
    let halves = draws::halves(plan.seed, data.numbers.len());
    let mut figures = Vec::new();
    let mut neighbours = Vec::new();
    for (at, network) in plan.networks.iter().enumerate() {
        let stage = format!("comparing by {}", network.name());
        let mut judge = Judge { network, seed: plan.seed, figures: &mut figures };
        let (real, others) = (&data.features[at], &compared.features[at]);
        tell(&stage, 0, 4);
        let nearest =
            judge.whole(kind, real, others, training.as_ref().map(|set| &set.features[at]));
        if at == 0 {
            neighbours = nearest.unwrap_or_default();
        }
        tell(&stage, 1, 4);
        notes.extend(few(network, [real.rows(), others.rows()]));
        if let Some(copies) = reconstructions.as_ref().filter(|_| plan.whole) {
            // Beside the other half: each picture's own copy is near it whatever the tokenizer loses.
            let half = real.select(&halves[0]);
            judge.whole("reconstructions", &half, &copies.features[at].select(&halves[1]), None);
            tell(&stage, 2, 4);
            judge.whole("halves", &half, &real.select(&halves[1]), None);
            tell(&stage, 3, 4);
            judge.classes(kind, plan.model, &data, &compared, at);
        }
        tell(&stage, 4, 4);
    }
    let sheet = match plan.sheet {
        true => Some(plan.sheet_of(kept, &data, &compared, &neighbours)?),
        false => None,
    };
    let counts = Counts {
        data: data.numbers.len(),
        compared: compared.numbers.len(),
        training: training.as_ref().map(|set| set.numbers.len()),
    };
    let report = plan.report(kind, counts, figures, notes);
    Ok(Outcome { report, sheet, data, compared, reconstructions, training })
}

/// What has to be said where a network has more features than there are pictures.
fn few(network: &Network<'_>, counts: [usize; 2]) -> Option<String> {
    let (fewest, dimension) = (counts[0].min(counts[1]), network.dimension());
    (fewest <= dimension).then(|| {
        format!(
            "{fewest} pictures are no more than the {dimension} features of {}: its Frechet distance is far too \
             large, and compares only with others of as many pictures; KID does not suffer from this",
            network.name()
        )
    })
}

impl<'a> Plan<'a> {
    fn compared_len(&self) -> usize {
        match &self.compared {
            Compared::Samples(samples) => samples.settings().labels.len(),
            Compared::Pictures(pictures) => pictures.len(),
        }
    }

    /// What is known to be amiss before anything is computed.
    fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.data.notes().to_vec();
        if let Compared::Pictures(pictures) = &self.compared {
            // The same folder may stand in both places.
            let new = pictures.notes().iter().filter(|note| !self.data.notes().contains(note));
            notes.extend(new.cloned());
        }
        let (data, path) = (&self.data, self.data.path().display());
        if let Some(labels) = data.labels() {
            let names = &self.model.card.class_names;
            let missing: Vec<String> = (0..names.len())
                .filter(|label| !labels.contains(label))
                .map(|label| names[label].clone())
                .collect();
            if !missing.is_empty() {
                let list = list(&missing);
                notes.push(format!("{path}: no pictures of {list}: nothing is said of them"));
            }
        }
        match &self.training {
            Some(training) => {
                notes.extend(training.notes().iter().cloned());
                let shared = data.shared_with(training).unwrap_or(0);
                if shared > 0 {
                    notes.push(format!(
                        "{path}: {shared} of its {} are training pictures: a model that learned them by heart \
                         would look perfect",
                        count(data.len(), "picture")
                    ));
                }
            }
            None => {
                let card = &self.model.card;
                if card.provenance.data == Provenance::of_pictures(data.len(), card.image_size()) {
                    notes.push(format!(
                        "{path}: as many pictures as the model was trained on: if they are the same, a model that \
                         learned them by heart would look perfect"
                    ));
                }
            }
        }
        notes
    }

    /// What the features of the data come from, in a word.
    fn origin(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.data.digest());
        let model = self.model;
        let sizes = (&model.card.tokenizer, model.card.image_size(), model.card.latent_scale);
        hash.update(format!("{sizes:?} {:?} {:?}", model.precision(), model.device()));
        for tensor in params::collect(&model.tokenizer, tokenizer_name) {
            hash.update(&tensor.name);
            tensor.values.iter().for_each(|value| hash.update(value.to_le_bytes()));
        }
        for network in &self.networks {
            hash.update(network.key());
            hash.update(network.digest());
        }
        digest::hex(&hash.finalize())
    }

    /// Features of the data and, where all is compared, of what the tokenizer makes of them: those that are known, or
    /// new ones.
    fn real(&mut self, tell: Tell<'_>) -> Result<Real, JudgeError> {
        let origin = self.origin();
        if let Some(real) = self.known.find(&origin, &self.networks, self.whole) {
            return Ok(real);
        }
        let (mut data, mut copies) = (Set::empty(&self.networks), Set::empty(&self.networks));
        for part in room::parts(self.data.len(), BATCH) {
            self.go_on()?;
            tell("features of the data", part.start, self.data.len());
            let read = self.data.read(part)?;
            data.add(&self.networks, &read, self.data.path())?;
            if self.whole {
                let (numbers, pictures): (Vec<_>, Vec<_>) = read.into_iter().unzip();
                let made = numbers.into_iter().zip(reconstruct(self.model, &pictures));
                copies.add(&self.networks, &made.collect::<Vec<_>>(), self.data.path())?;
            }
        }
        tell("features of the data", self.data.len(), self.data.len());
        let data = data.enough(self.data.path())?;
        let real = Real { data, reconstructions: self.whole.then_some(copies) };
        self.known.keep(origin, &self.networks, &real);
        Ok(real)
    }

    /// That nobody has asked for an end.
    fn go_on(&self) -> Result<(), JudgeError> {
        match self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            true => Err(JudgeError::Stopped),
            false => Ok(()),
        }
    }

    fn features_of(
        &self,
        pictures: &Pictures<'_>,
        stage: &str,
        tell: Tell<'_>,
    ) -> Result<Set, JudgeError> {
        let mut set = Set::empty(&self.networks);
        for part in room::parts(pictures.len(), BATCH) {
            self.go_on()?;
            tell(stage, part.start, pictures.len());
            set.add(&self.networks, &pictures.read(part)?, pictures.path())?;
        }
        tell(stage, pictures.len(), pictures.len());
        Ok(set.enough(pictures.path())?.labelled(pictures.labels()))
    }

    /// Features of the judged pictures, and those of the pictures that are `shown`.
    fn compared_features(
        &mut self,
        shown: &[usize],
        tell: Tell<'_>,
    ) -> Result<(Set, Vec<(usize, RgbImage)>), JudgeError> {
        let mut set = Set::empty(&self.networks);
        let mut kept = Vec::new();
        let (all, sheet) = (self.compared_len(), self.sheet);
        let mut keep = |read: &[(usize, RgbImage)]| {
            let wanted = read.iter().filter(|(number, _)| sheet && shown.contains(number));
            kept.extend(wanted.cloned());
        };
        let at_once = match &self.compared {
            Compared::Samples(samples) => samples.at_once(),
            Compared::Pictures(_) => BATCH,
        };
        let stage = match &self.compared {
            Compared::Samples(_) => "samples and their features",
            Compared::Pictures(_) => "features of the pictures",
        };
        for part in room::parts(all, at_once) {
            self.go_on()?;
            tell(stage, part.start, all);
            let read = self.compared_read(part)?;
            keep(&read);
            let path = self.compared_path();
            for read in read.chunks(BATCH) {
                set.add(&self.networks, read, &path)?;
            }
        }
        tell(stage, all, all);
        let set = set.enough(&self.compared_path())?;
        let labels = match &self.compared {
            Compared::Samples(samples) => Some(samples.settings().labels.as_slice()),
            Compared::Pictures(pictures) => pictures.labels(),
        };
        Ok((set.labelled(labels), kept))
    }

    fn compared_read(&mut self, part: Range<usize>) -> Result<Vec<(usize, RgbImage)>, JudgeError> {
        match &mut self.compared {
            Compared::Samples(samples) => Ok(part.clone().zip(samples.make(part)?).collect()),
            Compared::Pictures(pictures) => pictures.read(part),
        }
    }

    fn compared_path(&self) -> PathBuf {
        match &self.compared {
            Compared::Samples(_) => PathBuf::from("the samples"),
            Compared::Pictures(pictures) => pictures.path().to_owned(),
        }
    }

    /// The shown pictures, each beside the nearest one that it was trained on and the nearest of the data.
    fn sheet_of(
        &self,
        kept: Vec<(usize, RgbImage)>,
        data: &Set,
        compared: &Set,
        training: &[(usize, f64)],
    ) -> Result<RgbImage, JudgeError> {
        let mut rows = Vec::new();
        for (number, picture) in kept {
            let Some(at) = compared.numbers.iter().position(|known| *known == number) else {
                continue;
            };
            let mut row = vec![picture];
            if let (Some(from), Some((near, _))) = (&self.training, training.get(at)) {
                row.extend(only(from, *near)?);
            }
            let own = compared.features[0].select(&[at]);
            if let Some((near, _)) = nearest(&own, &data.features[0]).first() {
                row.extend(only(&self.data, data.numbers[*near])?);
            }
            rows.push(Row(row));
        }
        Ok(sheet::arrange(&rows))
    }

    fn report(
        &self,
        kind: &'static str,
        counts: Counts,
        figures: Vec<Figures>,
        notes: Vec<String>,
    ) -> Report {
        let compared = match &self.compared {
            Compared::Samples(samples) => Origin::Samples(Box::new(samples.settings().clone())),
            Compared::Pictures(pictures) => Origin::Pictures(pictures.path().display().to_string()),
        };
        Report {
            program: concat!("purrscope ", env!("CARGO_PKG_VERSION")),
            format: Report::FORMAT,
            model: self.model.card.name.clone(),
            model_hash: self.model.hash().to_owned(),
            data: self.data.path().display().to_string(),
            training: self.training.as_ref().map(|set| set.path().display().to_string()),
            kind,
            compared,
            counts,
            seed: self.seed,
            networks: self.networks.iter().map(NetworkNote::of).collect(),
            figures,
            notes,
        }
    }
}

/// The picture of a number, if it can still be read.
fn only(pictures: &Pictures<'_>, number: usize) -> Result<Option<RgbImage>, JudgeError> {
    Ok(pictures.read(number..number + 1)?.pop().map(|(_, picture)| picture))
}

/// What the tokenizer makes of pictures: encoded, and decoded again.
fn reconstruct(model: &Model, pictures: &[RgbImage]) -> Vec<RgbImage> {
    match pictures.len() {
        0 => Vec::new(),
        count => model.decode_codes(&model.encode(pictures), count),
    }
}

/// Compares sets by the features of one network.
struct Judge<'a> {
    network: &'a Network<'a>,
    seed: u64,
    figures: &'a mut Vec<Figures>,
}

impl Judge<'_> {
    /// All figures of two whole sets; gives the nearest training picture of every picture that is judged.
    fn whole(
        &mut self,
        compared: &str,
        real: &Matrix,
        other: &Matrix,
        training: Option<&Matrix>,
    ) -> Option<Vec<(usize, f64)>> {
        let mut figures = self.plain(compared, None, real, other);
        figures.frechet = frechet::distance(real, other);
        figures.frechet_infinity = frechet::extrapolate(real, other, self.seed);
        let found = training.and_then(|training| memorisation(other, real, training));
        let (memorisation, nearest) = found.unzip();
        figures.memorisation = memorisation;
        self.figures.push(figures);
        nearest
    }

    /// The figures of every class that has enough pictures; the Frechet distance only where covariances are of full
    /// rank.
    fn classes(&mut self, compared: &str, model: &Model, data: &Set, others: &Set, at: usize) {
        let (Some(real), Some(other)) = (&data.labels, &others.labels) else { return };
        for (label, name) in model.card.class_names.iter().enumerate() {
            let of = |labels: &[usize]| -> Vec<usize> {
                (0..labels.len()).filter(|row| labels[*row] == label).collect()
            };
            let (real, other) = (of(real), of(other));
            let fewest = real.len().min(other.len());
            if fewest < FEWEST_OF_A_CLASS {
                continue;
            }
            let real = data.features[at].select(&real);
            let other = others.features[at].select(&other);
            let mut figures = self.plain(compared, Some(name.clone()), &real, &other);
            if fewest > self.network.dimension() {
                figures.frechet = frechet::distance(&real, &other);
            }
            self.figures.push(figures);
        }
    }

    fn plain(
        &self,
        compared: &str,
        class: Option<String>,
        real: &Matrix,
        other: &Matrix,
    ) -> Figures {
        Figures {
            network: self.network.key(),
            compared: compared.to_owned(),
            class,
            data_pictures: real.rows(),
            pictures: other.rows(),
            frechet: None,
            frechet_infinity: None,
            kid: kid::distance(real, other, self.seed),
            sliced_wasserstein: sliced::distance(real, other, self.seed),
            neighbourhoods: neighbourhoods(real, other),
            vendi: vendi::score(other),
            data_vendi: vendi::score(real),
            memorisation: None,
        }
    }
}

const _: () = assert!(FEWEST_OF_A_CLASS > DENSITY_K);
