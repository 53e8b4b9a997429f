//! The options of every command that samples.

use anyhow::{Result, bail, ensure};
use clap::Args;

use crate::flow::{Grid, SampleSettings, Solver, Spot, Temperature};
use crate::model::ModelCard;

/// What a run is asked to do.
#[derive(Debug, Args)]
pub struct SettingsArgs {
    /// Class labels, one an image, such as 3,3,7
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["class", "count"])]
    labels: Option<Vec<usize>>,
    /// Class by name, or the beginning of several names, which then take turns
    #[arg(long)]
    class: Option<String>,
    /// Images of the class
    #[arg(long, requires = "class")]
    count: Option<usize>,
    /// Seed of the starting noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Solver: euler, midpoint, heun, rk4, dopri5 or exp2m
    #[arg(long, default_value_t = Solver::Euler)]
    solver: Solver,
    /// Grid of times: uniform, cosine or shifted:S
    #[arg(long, default_value_t = Grid::Uniform)]
    grid: Grid,
    /// Intervals of the grid
    #[arg(long, default_value_t = 24)]
    steps: usize,
    /// Temperature: a number (0 is the most likely code), linear:A:B, cosine:A:B, points:T=V,...,
    /// or entropy:A:B for whatever gives the posterior a mean entropy of A to B nats
    #[arg(long, default_value_t = Temperature::default(), allow_hyphen_values = true)]
    temperature: Temperature,
    /// Guidance scale: 1 conditional only, 0 unconditional only
    #[arg(long, default_value_t = 1.5, allow_hyphen_values = true)]
    cfg: f32,
    /// Stochasticity from 0 to 1, with the euler solver; for dfm the rate of masking again
    #[arg(long, default_value_t = 0.0, allow_hyphen_values = true)]
    eta: f32,
    /// Absolute tolerance of dopri5
    #[arg(long, default_value_t = 1e-4)]
    atol: f32,
    /// Relative tolerance of dopri5
    #[arg(long, default_value_t = 1e-4)]
    rtol: f32,
    /// Holds a token to a code through every step: IMAGE,ROW,COLUMN=CODE; may be repeated
    #[arg(long = "pin", value_name = "TOKEN=CODE")]
    pins: Vec<Spot>,
    /// Forbids a code to a token: IMAGE,ROW,COLUMN=CODE; may be repeated
    #[arg(long = "ban", value_name = "TOKEN=CODE")]
    bans: Vec<Spot>,
    /// Forbids a code to every token but pinned ones; may be repeated
    #[arg(long = "ban-code", value_name = "CODE")]
    banned_codes: Vec<u32>,
}

impl SettingsArgs {
    /// The settings, for a model.
    ///
    /// # Errors
    /// No class was named, or none that the model has.
    pub fn settings(&self, card: &ModelCard) -> Result<SampleSettings> {
        let Some(labels) = self.labels(card)? else {
            bail!(
                "name what to make: --class NAME --count N, or --labels 0,1,2 (classes: {})",
                card.class_names.join(", ")
            )
        };
        Ok(self.with_labels(labels))
    }

    /// A label an image, where the command line says what to make.
    ///
    /// # Errors
    /// The model has no such class.
    pub fn labels(&self, card: &ModelCard) -> Result<Option<Vec<usize>>> {
        Ok(match (&self.labels, &self.class) {
            (Some(labels), _) => Some(labels.clone()),
            (None, Some(class)) => {
                let fitting = card.labels(class)?;
                let count = self.count.unwrap_or(1);
                ensure!(
                    (1..=SampleSettings::MAX_PICTURES).contains(&count),
                    "count must be 1 to {}, not {count}",
                    SampleSettings::MAX_PICTURES
                );
                Some(fitting.into_iter().cycle().take(count).collect())
            }
            (None, None) => None,
        })
    }

    /// The settings of pictures with these labels.
    pub fn with_labels(&self, labels: Vec<usize>) -> SampleSettings {
        SampleSettings {
            labels,
            seed: self.seed,
            solver: self.solver,
            grid: self.grid,
            steps: self.steps,
            temperature: self.temperature.clone(),
            guidance: self.cfg,
            eta: self.eta,
            atol: self.atol,
            rtol: self.rtol,
            pins: self.pins.clone(),
            bans: self.bans.clone(),
            banned_codes: self.banned_codes.clone(),
            branch: None,
        }
    }
}
