//! Features of real pictures, which many models are compared with: computed once, and kept.

use std::path::{Path, PathBuf};

use super::Network;
use super::set::Set;
use crate::io::tensors::{METADATA_KEY, TensorFile, TensorWriter};

/// Names of the sets in a file.
const DATA: &str = "data";
const RECONSTRUCTIONS: &str = "reconstructions";

/// Real pictures as features.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Real {
    /// The pictures.
    pub data: Set,
    /// What the tokenizer makes of them, where it was asked for.
    pub reconstructions: Option<Set>,
}

/// Features of real pictures that were computed before, and what they are of. They are taken again for the same
/// pictures, tokenizer, networks and device, and computed anew for others.
#[derive(Debug, Default)]
pub struct Known {
    file: Option<PathBuf>,
    held: Option<(String, Real)>,
}

impl Known {
    /// Those of a file, which is written where it is not there or of something else.
    pub fn of_file(path: &Path) -> Self {
        Self { file: Some(path.to_owned()), held: None }
    }

    /// What is known of this origin, with reconstructions if they are needed.
    pub(super) fn find(
        &mut self,
        origin: &str,
        networks: &[Network<'_>],
        reconstructions: bool,
    ) -> Option<Real> {
        if self.held.as_ref().is_none_or(|(held, _)| held != origin) {
            self.held = self.file.as_ref().and_then(|file| {
                let real = read(file, origin, networks)?;
                Some((origin.to_owned(), real))
            });
        }
        let (_, real) = self.held.as_ref()?;
        (!reconstructions || real.reconstructions.is_some()).then(|| real.clone())
    }

    /// Keeps what was computed, in the file as well. That it cannot be written there is said, and is no reason to end
    /// anything.
    pub(super) fn keep(&mut self, origin: String, networks: &[Network<'_>], real: &Real) {
        if let Some(path) = &self.file {
            let mut writer = TensorWriter::default();
            writer.metadata(METADATA_KEY, origin.clone());
            real.data.write(&mut writer, DATA, networks);
            if let Some(copies) = &real.reconstructions {
                copies.write(&mut writer, RECONSTRUCTIONS, networks);
            }
            if let Err(error) = writer.write(path) {
                tracing::warn!("features are not kept for the next time: {error}");
            }
        }
        self.held = Some((origin, real.clone()));
    }
}

fn read(path: &Path, origin: &str, networks: &[Network<'_>]) -> Option<Real> {
    let file = TensorFile::open(path).ok()?;
    if file.metadata(METADATA_KEY) != Some(origin) {
        return None;
    }
    let data = Set::read(&file, DATA, networks)?;
    Some(Real { data, reconstructions: Set::read(&file, RECONSTRUCTIONS, networks) })
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::judge::Matrix;
    use crate::model::Model;

    #[test]
    fn features_are_taken_again_only_for_what_they_are_of() {
        let model = Model::embedded(&Device::flex()).unwrap();
        let networks = [Network::encoder(&model)];
        let set = |seed: f64| {
            let values = (0..2 * networks[0].dimension()).map(|i| (seed * i as f64).round());
            let features = vec![Matrix::new(networks[0].dimension(), values.collect())];
            Set { features, labels: None, numbers: vec![3, 5] }
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("real.safetensors");
        let plain = Real { data: set(0.5), reconstructions: None };
        Known::of_file(&path).keep("one".to_owned(), &networks, &plain);
        let mut known = Known::of_file(&path);
        assert_eq!(known.find("one", &networks, false), Some(plain.clone()));
        assert_eq!(known.find("one", &networks, true), None, "without reconstructions");
        assert_eq!(known.find("other", &networks, false), None);
        let whole = Real { data: set(0.5), reconstructions: Some(set(2.0)) };
        known.keep("one".to_owned(), &networks, &whole);
        assert_eq!(Known::of_file(&path).find("one", &networks, true), Some(whole.clone()));
        // What is held counts without a file as well, and a damaged file as none.
        let mut held = Known::default();
        held.keep("one".to_owned(), &networks, &whole);
        assert_eq!(held.find("one", &networks, false), Some(whole));
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert_eq!(Known::of_file(&path).find("one", &networks, false), None);
    }
}
