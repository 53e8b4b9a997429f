//! Tensors by name, wherever they lie, and the names that wrappers hide them under.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use super::ImportError;
use crate::io::foreign::{Foreign, recognise_file};
use crate::io::pickle::{Id, Pickle, TensorView};
use crate::io::tensors::{TensorFile, TensorSource};
use crate::io::torch::TorchFile;

/// Parts of names that wrappers put anywhere in them: `torch.compile`, data parallelism, sharding.
const WRAPPERS: [&str; 5] = [
    "_orig_mod",
    "module",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_forward_module",
];
/// Parts that stand before names where the network is one of several, or a field of a training module.
const FIELDS: [&str; 4] = ["model", "first_stage_model", "backbone", "tokenizer"];

/// A name without what wrappers added to it.
fn unwrapped(own: &str) -> String {
    let mut parts: Vec<&str> = own.split('.').filter(|part| !WRAPPERS.contains(part)).collect();
    let fields = parts.iter().take_while(|part| FIELDS.contains(part)).count();
    // A name is more than the fields before it.
    parts.drain(..fields.min(parts.len().saturating_sub(1)));
    parts.join(".")
}

/// A file that holds tensors, told by its content.
pub(super) enum Container {
    Torch(TorchFile),
    Safe(TensorFile),
}

impl Container {
    pub fn open(path: &Path) -> Result<Self, ImportError> {
        let ends = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("safetensors"));
        let found = recognise_file(path)
            .map_err(|source| ImportError::Io { path: path.to_owned(), source })?;
        let torch = matches!(
            found,
            Some(Foreign::TorchZip | Foreign::TorchLegacy | Foreign::Zip | Foreign::Pickle)
        );
        Ok(match found {
            Some(Foreign::Safetensors) => Self::Safe(TensorFile::open(path)?),
            _ if ends && !torch => Self::Safe(TensorFile::open(path)?),
            _ => Self::Torch(TorchFile::open(path)?),
        })
    }

    pub fn path(&self) -> &Path {
        match self {
            Self::Torch(file) => file.path(),
            Self::Safe(file) => file.path(),
        }
    }

    /// The pickle of a PyTorch file.
    pub fn pickle(&self) -> Option<&Pickle> {
        match self {
            Self::Torch(file) => Some(file.pickle()),
            Self::Safe(_) => None,
        }
    }
}

/// Whether a dictionary holds a tensor whose name ends with `anchor`.
pub(super) fn holds(pickle: &Pickle, dictionary: Id, anchor: &str) -> bool {
    let is_tensor = |id: Id| pickle.tensor(id).is_some();
    let entries = pickle.entries(dictionary);
    entries.iter().any(|(name, id)| is_tensor(*id) && unwrapped(name).ends_with(anchor))
}

/// A tensor of a file, where it lies.
#[derive(Clone, Copy)]
pub(super) enum Handle<'a> {
    Torch(&'a TorchFile, &'a TensorView),
    Safe(&'a TensorFile),
}

/// What a name stands for.
#[derive(Clone)]
struct Entry<'a> {
    /// The file's own name.
    own: String,
    shape: Vec<usize>,
    handle: Handle<'a>,
    /// Another of the file's names that means the same.
    rival: Option<String>,
}

/// Tensors by the names that this program gives them.
pub(super) struct Weighed<'a> {
    path: &'a Path,
    by_name: HashMap<String, Entry<'a>>,
    /// What else has a name: that name, and what it is.
    others: HashMap<String, (String, String)>,
}

impl<'a> Weighed<'a> {
    pub fn new(path: &'a Path) -> Self {
        Self { path, by_name: HashMap::new(), others: HashMap::new() }
    }

    /// The tensors of a dictionary of a PyTorch file; `part` names it. A name ends with `anchor`.
    pub fn of_dictionary(file: &'a TorchFile, part: &str, dictionary: Id, anchor: &str) -> Self {
        let mut all = Self::new(file.path());
        let pickle = file.pickle();
        let part = if part.is_empty() { String::new() } else { format!("{part}.") };
        for (name, id) in pickle.entries(dictionary) {
            let own = format!("{part}{name}");
            match pickle.tensor(id) {
                Some(view) => {
                    let handle = Handle::Torch(file, view);
                    all.insert(unwrapped(name), own, view.shape.clone(), handle);
                }
                None => drop(all.others.insert(unwrapped(name), (own, pickle.describe(id)))),
            }
        }
        all.without_prefix(anchor)
    }

    /// The tensors of a safetensors file.
    pub fn of_file(file: &'a TensorFile, anchor: &str) -> Self {
        let mut all = Self::new(file.path());
        for (own, _, shape) in file.entries() {
            all.insert(unwrapped(&own), own, shape, Handle::Safe(file));
        }
        all.without_prefix(anchor)
    }

    pub fn insert(&mut self, name: String, own: String, shape: Vec<usize>, handle: Handle<'a>) {
        self.put(name, Entry { own, shape, handle, rival: None });
    }

    fn put(&mut self, name: String, entry: Entry<'a>) {
        if let Some(there) = self.by_name.insert(name.clone(), entry) {
            self.by_name.entry(name).and_modify(|entry| entry.rival = Some(there.own));
        }
    }

    /// The same under other names.
    pub fn renamed(self, rename: impl Fn(&str) -> String) -> Self {
        let mut all = Self { path: self.path, by_name: HashMap::new(), others: self.others };
        for (name, entry) in self.by_name {
            all.put(rename(&name), entry);
        }
        all
    }

    /// The same without what stands before `anchor`, where that is one unknown prefix.
    fn without_prefix(self, anchor: &str) -> Self {
        if self.by_name.contains_key(anchor) {
            return self;
        }
        let dotted = format!(".{anchor}");
        let mut prefixes = self.by_name.keys().filter_map(|name| name.strip_suffix(&dotted));
        let (Some(prefix), None) = (prefixes.next(), prefixes.next()) else { return self };
        let prefix = format!("{prefix}.");
        self.renamed(|name| name.strip_prefix(&prefix).unwrap_or(name).to_owned())
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The file's own names.
    pub fn own_names(&self) -> impl Iterator<Item = &str> {
        self.by_name.values().map(|entry| entry.own.as_str())
    }

    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.by_name.get(name).map(|entry| entry.shape.as_slice())
    }

    /// The tensor of one of our names, which must have the given shape.
    pub fn source(
        &self,
        name: &str,
        expected: &[usize],
    ) -> Result<TensorSource<'a, ImportError>, ImportError> {
        let path = self.path.to_owned();
        let Some(Entry { own, shape, handle, rival }) = self.by_name.get(name).cloned() else {
            return Err(match self.others.get(name).cloned() {
                Some((name, found)) => ImportError::NotATensor { path, name, found },
                None => {
                    let (name, expected) = (name.to_owned(), expected.to_vec());
                    ImportError::Missing { path, name, expected }
                }
            });
        };
        if let Some(rival) = rival {
            return Err(ImportError::Twice {
                path,
                name: name.to_owned(),
                first: rival,
                second: own,
            });
        }
        if shape != expected {
            let expected = expected.to_vec();
            return Err(ImportError::Shape { path, name: own, expected, found: shape });
        }
        Ok(Box::new(move || match handle {
            Handle::Torch(file, view) => Ok(file.f32_bytes(&own, view)?),
            Handle::Safe(file) => {
                let (_, values) = file.floats(&own)?;
                Ok(Cow::Owned(values.into_iter().flat_map(f32::to_le_bytes).collect()))
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappers_leave_names_as_they_were() {
        let name = "blocks.0.attn.qkv.weight";
        for wrapped in [
            "blocks.0.attn.qkv.weight",
            "_orig_mod.blocks.0.attn.qkv.weight",
            "module.blocks.0.attn.qkv.weight",
            "module._orig_mod.blocks.0.attn.qkv.weight",
            "_orig_mod.module.model.blocks.0.attn.qkv.weight",
            "model.module.blocks.0._orig_mod.attn.qkv.weight",
            "backbone.blocks.0._checkpoint_wrapped_module.attn.qkv.weight",
            "first_stage_model.model.blocks.0.attn.qkv.weight",
        ] {
            assert_eq!(unwrapped(wrapped), name, "{wrapped}");
        }
        assert_eq!(unwrapped("model"), "model");
        assert_eq!(unwrapped("model.diffusion_model.x"), "diffusion_model.x");
    }
}
