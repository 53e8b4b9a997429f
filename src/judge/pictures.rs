//! Pictures to compare: a folder, or shards of latents that the model decodes.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::RgbImage;
use rayon::prelude::*;

use super::JudgeError;
use crate::data::{ImageFolder, Shards, names_shards, picture_size};
use crate::latents::Latents;
use crate::model::Model;

/// Pictures whose sizes are looked at.
const LOOKED_AT: usize = 200;

/// A set of pictures, read when they are needed.
#[derive(Debug)]
pub struct Pictures<'a> {
    path: PathBuf,
    origin: Origin<'a>,
    /// The model's label of every picture, where the classes are the model's.
    labels: Option<Vec<usize>>,
    /// What has to be said of the set.
    notes: Vec<String>,
}

#[derive(Debug)]
enum Origin<'a> {
    Folder(Arc<ImageFolder>),
    Shards(Arc<Shards>, &'a Model),
}

/// Pictures that were found already, their labels those of the model.
#[derive(Debug, Clone)]
pub enum Found {
    /// Those of a folder.
    Folder(Arc<ImageFolder>),
    /// Latents.
    Shards(Arc<Shards>),
}

impl<'a> Pictures<'a> {
    /// Finds the pictures of a folder, with a sub-folder a class or without any, or of shards. Classes are the
    /// model's by name; where it has none of them the set is compared as a whole, where it has some the others are
    /// left out.
    ///
    /// # Errors
    /// There are none, or the shards are of another shape than the model's latents.
    pub fn open(path: &Path, model: &'a Model) -> Result<Self, JudgeError> {
        if names_shards(path) {
            return Self::of_shards(Arc::new(Shards::open(path)?), path, model);
        }
        let size = model.card.image_size();
        let (folder, sorted) = ImageFolder::open_sorted_or_not(path, size)?;
        folder.tell();
        let mut notes = Vec::new();
        let names = &model.card.class_names;
        let known = folder.class_names().iter().filter(|name| names.contains(name)).count();
        let (folder, labels) = match (sorted, known) {
            (true, 1..) => {
                let (folder, unknown) = folder.relabelled(names);
                if !unknown.is_empty() {
                    let list = crate::say::list(&unknown);
                    let shown = path.display();
                    notes.push(format!("{shown}: left out what is no class of the model: {list}"));
                }
                let labels = folder.files().map(|(_, label)| label).collect();
                (folder, Some(labels))
            }
            (true, 0) if folder.class_names().len() > 1 => {
                let shown = path.display();
                notes.push(format!(
                    "{shown}: none of its classes is one of the model's: compared as a whole"
                ));
                (folder, None)
            }
            _ => (folder, None),
        };
        let other = others_in_size(path, &folder, size as u32);
        if other {
            notes.push(format!(
                "{}: not all of its pictures are {size}x{size}: their middle square is taken and scaled, as in \
                 training",
                path.display()
            ));
        }
        let origin = Origin::Folder(Arc::new(folder));
        Ok(Self { path: path.to_owned(), origin, labels, notes })
    }

    /// Pictures that were found already, at `path`.
    ///
    /// # Errors
    /// Shards are of another shape than the model's latents.
    pub fn of(found: Found, path: &Path, model: &'a Model) -> Result<Self, JudgeError> {
        match found {
            Found::Folder(folder) => Ok(Self {
                path: path.to_owned(),
                labels: Some(folder.files().map(|(_, label)| label).collect()),
                origin: Origin::Folder(folder),
                notes: Vec::new(),
            }),
            Found::Shards(shards) => Self::of_shards(shards, path, model),
        }
    }

    fn of_shards(shards: Arc<Shards>, path: &Path, model: &'a Model) -> Result<Self, JudgeError> {
        let other = |what, found: String, expected: String| {
            Err(JudgeError::OtherShards { path: path.to_owned(), what, found, expected })
        };
        let shape = model.latent_shape(1);
        let expected = [shape.channels, shape.height, shape.width];
        if shards.shape() != expected {
            let found = format!("are {:?}", shards.shape());
            return other("latents", found, format!("are {expected:?}"));
        }
        let (classes, known) = (shards.classes(), model.card.class_names.len());
        if classes > known {
            return other("classes", format!("are at least {classes}"), format!("are {known}"));
        }
        let labels = (0..shards.len()).map(|index| shards.class(index)).collect();
        let notes = vec![format!(
            "{}: latents, decoded by the model's tokenizer: figures do not count what that loses",
            path.display()
        )];
        let origin = Origin::Shards(shards, model);
        Ok(Self { path: path.to_owned(), origin, labels: Some(labels), notes })
    }

    /// Where they lie.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of pictures, unreadable ones included.
    pub fn len(&self) -> usize {
        match &self.origin {
            Origin::Folder(folder) => folder.len(),
            Origin::Shards(shards, _) => shards.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The model's label of every picture, where classes are known.
    pub fn labels(&self) -> Option<&[usize]> {
        self.labels.as_deref()
    }

    /// What has to be said of the set, a line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Some of the pictures with their numbers, at the model's size; unreadable ones are left out, with a warning.
    ///
    /// # Errors
    /// Latents that cannot be read.
    pub fn read(&self, numbers: Range<usize>) -> Result<Vec<(usize, RgbImage)>, JudgeError> {
        match &self.origin {
            Origin::Folder(folder) => Ok(numbers
                .into_par_iter()
                .filter_map(|number| Some((number, folder.try_read(number)?)))
                .collect()),
            Origin::Shards(shards, model) => {
                let mut values = Vec::new();
                for number in numbers.clone() {
                    values.extend(shards.latents(number)?);
                }
                let shape = model.latent_shape(numbers.len());
                let scale = model.card.latent_scale;
                // Shards hold rows of the codebook; decoding starts from the units of the flow.
                values.iter_mut().for_each(|value| *value *= scale);
                Ok(numbers.zip(model.decode(&Latents { shape, values })).collect())
            }
        }
    }

    /// What tells a set, as it is read, from all others.
    pub(super) fn digest(&self) -> [u8; 32] {
        match &self.origin {
            Origin::Folder(folder) => folder.digest(),
            Origin::Shards(shards, _) => shards.digest(),
        }
    }

    /// How many pictures are, byte for byte, files of another set as well; nothing where one of them is shards.
    pub fn shared_with(&self, other: &Self) -> Option<usize> {
        let (Origin::Folder(own), Origin::Folder(other)) = (&self.origin, &other.origin) else {
            return None;
        };
        let known: HashSet<[u8; 32]> = other.fingerprints().into_iter().collect();
        Some(own.fingerprints().iter().filter(|hash| known.contains(*hash)).count())
    }
}

/// Whether some of the pictures, of those that are looked at, have another size.
fn others_in_size(root: &Path, folder: &ImageFolder, size: u32) -> bool {
    let spread = folder.len().div_ceil(LOOKED_AT).max(1);
    let mut files = folder.files().step_by(spread);
    files.any(|(path, _)| picture_size(&root.join(path)).is_some_and(|found| found != (size, size)))
}
