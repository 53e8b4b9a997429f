//! The options of every command that samples.

use anyhow::{Result, bail, ensure};
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::flow::settings::SETTINGS;
use crate::flow::{SampleSettings, Spot};
use crate::model::ModelCard;
use crate::say::list;

/// What a run is asked to do.
#[derive(Debug, Args)]
pub struct SettingsArgs {
    /// Class labels, one an image, such as 3,3,7
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["class", "count"])]
    labels: Option<Vec<usize>>,
    /// Class by name, or the beginning of several names, which then take turns; words are known however they are
    /// parted (cat-orange, "Cat orange")
    #[arg(long)]
    class: Option<String>,
    /// Images of the class, or of all classes in turn
    #[arg(long)]
    count: Option<usize>,
    #[command(flatten)]
    table: TableArgs,
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
                "name what to make: --class NAME, --count N or both, or --labels 0,1,2 (classes: {})",
                list(&card.class_names)
            )
        };
        Ok(self.with_labels(labels))
    }

    /// A label an image, where the command line says what to make.
    ///
    /// # Errors
    /// The model has no such class.
    pub fn labels(&self, card: &ModelCard) -> Result<Option<Vec<usize>>> {
        if let Some(labels) = &self.labels {
            return Ok(Some(labels.clone()));
        }
        let fitting = match &self.class {
            Some(class) => card.labels(class)?,
            None => (0..card.class_names.len()).collect(),
        };
        Ok(match (&self.class, self.count) {
            (None, None) => None,
            (_, count) => {
                let count = count.unwrap_or(1);
                ensure!(
                    (1..=SampleSettings::MAX_PICTURES).contains(&count),
                    "count must be 1 to {}, not {count}",
                    SampleSettings::MAX_PICTURES
                );
                Some(fitting.into_iter().cycle().take(count).collect())
            }
        })
    }

    /// The settings of pictures with these labels.
    pub fn with_labels(&self, labels: Vec<usize>) -> SampleSettings {
        SampleSettings {
            pins: self.pins.clone(),
            bans: self.bans.clone(),
            banned_codes: self.banned_codes.clone(),
            ..self.table.settings(labels)
        }
    }
}

/// An option for every setting of the table.
#[derive(Debug)]
pub struct TableArgs(SampleSettings);

impl TableArgs {
    /// The settings of pictures with these labels.
    pub fn settings(&self, labels: Vec<usize>) -> SampleSettings {
        SampleSettings { labels, ..self.0.clone() }
    }
}

impl Args for TableArgs {
    fn augment_args(command: Command) -> Command {
        SETTINGS.into_iter().fold(command, |command, setting| {
            let read = move |text: &str| {
                setting.set(&mut SampleSettings::default(), text).map(|()| text.to_owned())
            };
            // As it is called in run files and pictures, where that is another word.
            let alias = (setting.key != setting.option).then_some(setting.key);
            command.arg(
                Arg::new(setting.option)
                    .aliases(alias)
                    .long(setting.option)
                    .value_name(setting.value_name)
                    .help(setting.help)
                    .default_value(setting.get(&SampleSettings::default()))
                    .allow_hyphen_values(true)
                    .value_parser(read),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for TableArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self(SampleSettings::default());
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in SETTINGS {
            if let Some(text) = matches.get_one::<String>(setting.option) {
                let refused = |error| clap::Error::raw(ErrorKind::ValueValidation, error);
                setting.set(&mut self.0, text).map_err(refused)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse_sample;
    use crate::flow::{Branch, Grid, SampleSettings, Solver, command};
    use crate::model::card::example as card;
    use crate::studio::session::draft::Draft;

    /// What the command line makes of the options that stand for settings.
    fn parsed(settings: &SampleSettings) -> SampleSettings {
        let options = command::options(settings, &card()).unwrap();
        let words = ["purrscope", "sample", "--out", "out"].map(str::to_owned).into_iter();
        parse_sample(&words.chain(options).collect::<Vec<_>>(), &card())
    }

    #[test]
    fn settings_have_the_names_of_run_files_too() {
        let words = ["purrscope", "sample", "--out", "out", "--class", "cat", "--guidance", "1.25"];
        assert_eq!(parse_sample(&words.map(str::to_owned), &card()).guidance, 1.25);
    }

    #[test]
    fn a_number_without_a_class_takes_all_in_turn() {
        let words = ["purrscope", "sample", "--out", "out", "--count", "50"];
        let expected: Vec<usize> = (0..48).chain([0, 1]).collect();
        assert_eq!(parse_sample(&words.map(str::to_owned), &card()).labels, expected);
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
            guidance_interval: "0.125:0.75".parse().unwrap(),
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
        draft.toggle_class("dog-golden-in-a-meadow");
        draft.sampling.eta = 0.7;
        assert_eq!(parsed(&draft.settings(&card())), draft.settings(&card()));
    }

    #[test]
    fn a_branch_has_no_command() {
        let parent = SampleSettings::default();
        let branch = Some(Box::new(Branch { step: 3, parent: parent.clone() }));
        assert!(command::options(&SampleSettings { branch, ..parent }, &card()).is_none());
    }
}
