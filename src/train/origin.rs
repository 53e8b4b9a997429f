//! What a flow begins with: chance, on the codes of a finished tokenizer, or a trained model.

use std::path::Path;

use burn::tensor::Device;
use serde_json::json;

use super::TrainError;
use super::checkpoint::{FROM, Identity, TOKENIZER};
use super::config::{BackboneSizes, FlowTask};
use super::tokenizer::open_tokenizer;
use crate::io::digest;
use crate::io::tensors::TensorFile;
use crate::model::card::{DitConfig, ModelCard, TokenizerConfig};
use crate::model::layers::Initialiser;
use crate::model::{
    CLASS_TABLE, Dit, Tokenizer, backbone_name, check_dit, file_of, params, read_tokenizer,
    read_whole_card,
};
use crate::say::count;

/// What a run file says that a flow begins with.
#[derive(Debug, Clone, Copy)]
pub enum Origin<'a> {
    /// Chance, on the codes of a finished tokenizer.
    Chance {
        /// The `tokenizer.safetensors` of its run, or a model that has it.
        tokenizer: &'a Path,
        /// Sizes of the network.
        sizes: &'a BackboneSizes,
    },
    /// A trained model, which brings its tokenizer and its sizes: its file, or the folder of its run.
    Model(&'a Path),
}

impl FlowTask {
    /// What the flow begins with.
    ///
    /// # Errors
    /// An entry is missing, or too much is said; in words.
    pub fn origin(&self) -> Result<Origin<'_>, String> {
        match (&self.from, &self.tokenizer, &self.backbone) {
            (Some(model), None, None) => Ok(Origin::Model(model)),
            (None, Some(tokenizer), Some(sizes)) => Ok(Origin::Chance { tokenizer, sizes }),
            (Some(_), ..) => {
                Err("task.from names a trained model, which brings its tokenizer and \
                                  its sizes: leave task.tokenizer and [task.backbone] out"
                    .to_owned())
            }
            (None, None, _) => Err("task.tokenizer is missing: the tokenizer.safetensors of a \
                                    finished run (or task.from, a trained model to begin with)"
                .to_owned()),
            (None, Some(_), None) => Err("[task.backbone] is missing: patch_size, hidden_size, \
                                          depth and num_heads of the network"
                .to_owned()),
        }
    }
}

/// What a flow begins with, opened.
pub(crate) struct Start {
    /// Of the tokenizer, or of the model with its tokenizer.
    file: TensorFile,
    begun: Begun,
}

enum Begun {
    Chance { tokenizer: TokenizerConfig, steps: usize, sizes: BackboneSizes },
    Model(Box<ModelCard>),
}

impl Start {
    /// Opens it.
    ///
    /// # Errors
    /// It cannot be read, or is no tokenizer or model, or a model of another objective.
    pub fn open(task: &FlowTask) -> Result<Self, TrainError> {
        match task.origin().map_err(TrainError::Sizes)? {
            Origin::Chance { tokenizer, sizes } => {
                let (file, card) = open_tokenizer("task.tokenizer", tokenizer)?;
                let sizes = sizes.clone();
                let begun = Begun::Chance { tokenizer: card.tokenizer, steps: card.steps, sizes };
                Ok(Self { file, begun })
            }
            Origin::Model(path) => {
                let file = TensorFile::open(&file_of(path))?;
                let card = read_whole_card(&file)?;
                if card.objective != task.objective {
                    return Err(TrainError::Sizes(format!(
                        "{}: its objective is '{}', that of the run file '{}' (task.objective)",
                        path.display(),
                        card.objective,
                        task.objective
                    )));
                }
                Ok(Self { file, begun: Begun::Model(Box::new(card)) })
            }
        }
    }

    /// The run's identity, with what it begins with.
    pub fn identified(&self, identity: Identity) -> Identity {
        let name = match self.begun {
            Begun::Chance { .. } => TOKENIZER,
            Begun::Model(_) => FROM,
        };
        identity.with(name, json!(digest::whole(self.file.bytes())))
    }

    /// The bytes of the file that has the tokenizer.
    pub fn bytes(&self) -> &[u8] {
        self.file.bytes()
    }

    /// Sizes of the tokenizer.
    pub fn vq(&self) -> &TokenizerConfig {
        match &self.begun {
            Begun::Chance { tokenizer, .. } => tokenizer,
            Begun::Model(card) => &card.tokenizer,
        }
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// The file lacks a part of it.
    pub fn tokenizer(&self, device: &Device) -> Result<Tokenizer, TrainError> {
        Ok(read_tokenizer(&self.file, self.vq(), device)?)
    }

    /// The model that the flow goes on from, if there is one.
    pub fn model(&self) -> Option<&ModelCard> {
        match &self.begun {
            Begun::Chance { .. } => None,
            Begun::Model(card) => Some(card),
        }
    }

    /// Steps that the tokenizer was trained for.
    pub fn tokenizer_steps(&self) -> usize {
        match &self.begun {
            Begun::Chance { steps, .. } => *steps,
            Begun::Model(card) => card.provenance.tokenizer_steps,
        }
    }

    /// Sizes of the network for pictures of `image_size` pixels and `classes` classes.
    ///
    /// # Errors
    /// The sizes do not fit each other, in words.
    pub fn backbone(
        &self,
        task: &FlowTask,
        image_size: usize,
        classes: usize,
    ) -> Result<DitConfig, String> {
        match &self.begun {
            Begun::Chance { tokenizer, sizes, .. } => {
                sizes.complete(task.objective, tokenizer, image_size, classes)
            }
            Begun::Model(card) => {
                let input_size = card.tokenizer.grid(image_size)?;
                let sizes = DitConfig { input_size, num_classes: classes, ..card.backbone.clone() };
                check_dit(&sizes)?;
                Ok(sizes)
            }
        }
    }

    /// The network of a run at its beginning. Of a model, classes that are not among its own begin by chance.
    ///
    /// # Errors
    /// The file lacks a part of it.
    pub fn net(&self, card: &ModelCard, seed: u64, autodiff: &Device) -> Result<Dit, TrainError> {
        let blank = Dit::new(&card.backbone, &mut Initialiser::new(seed, autodiff));
        let Begun::Model(model) = &self.begun else { return Ok(blank) };
        let rows = self.class_rows(model, card, &blank)?;
        Ok(params::load(blank, backbone_name, autodiff, |name, shape| match name {
            CLASS_TABLE => Ok(rows.clone()),
            _ => self.file.floats_of_shape(name, shape),
        })?)
    }

    /// The table of classes, with that of 'no label' at its end: the model's rows for the classes of its names.
    fn class_rows(
        &self,
        model: &ModelCard,
        card: &ModelCard,
        blank: &Dit,
    ) -> Result<Vec<f32>, TrainError> {
        let width = card.backbone.hidden_size;
        let theirs =
            self.file.floats_of_shape(CLASS_TABLE, &[model.backbone.num_classes + 1, width])?;
        let mut rows = params::host(blank.class_table());
        let known = |name: &String| model.class_names.iter().position(|their| their == name);
        let kept: Vec<_> = card.class_names.iter().map(known).collect();
        let none = [Some(model.backbone.num_classes)];
        for (row, from) in rows.chunks_mut(width).zip(kept.iter().chain(&none)) {
            if let Some(from) = from {
                row.copy_from_slice(&theirs[from * width..(from + 1) * width]);
            }
        }
        let new = kept.iter().filter(|from| from.is_none()).count();
        tracing::info!(
            "{}: the run begins with {}, after {}{}",
            self.file.path().display(),
            model.name,
            count(model.provenance.flow_steps, "step"),
            match new {
                0 => String::new(),
                new => format!(", which does not know {} of {}", new, count(kept.len(), "class")),
            }
        );
        Ok(rows)
    }
}
