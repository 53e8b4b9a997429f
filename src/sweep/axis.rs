//! A parameter and the values that it takes along one side of a sweep.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::flow::settings::{self, Numbers, SETTINGS, Setting};
use crate::flow::{Grid, SampleSettings};
use crate::say;

/// What a sweep can vary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameter {
    /// A setting of its own.
    Setting(&'static Setting),
    /// The class of every picture.
    Class,
    /// The shift of a shifted grid.
    Shift,
    /// Pictures of a batch.
    Count,
    /// Absolute and relative tolerance of the solver `dopri5`.
    Tolerance,
}

impl Parameter {
    /// Every parameter, in the order in which they are offered.
    pub fn all() -> impl Iterator<Item = Self> {
        let alone = SETTINGS.into_iter().filter(|setting| !setting.example.is_empty());
        alone.map(Self::Setting).chain([Self::Class, Self::Shift, Self::Count, Self::Tolerance])
    }

    /// Its name, as the command line spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Setting(setting) => setting.key,
            Self::Class => "class",
            Self::Shift => "shift",
            Self::Count => "count",
            Self::Tolerance => "tolerance",
        }
    }

    /// Values to begin with.
    pub fn example(self) -> &'static str {
        match self {
            Self::Setting(setting) => setting.example,
            Self::Class => "cat, dog",
            Self::Shift => "0.5, 1, 2, 4",
            Self::Count => "1, 2, 4",
            Self::Tolerance => "0.1, 0.01, 0.001",
        }
    }

    /// What its values may be, in words.
    pub fn range(self) -> &'static str {
        match self {
            Self::Setting(setting) => setting.range,
            Self::Class => "a class name, or the start of several",
            Self::Shift => "a number above 0",
            Self::Count => "a whole number from 1 to 16",
            Self::Tolerance => settings::ATOL.range,
        }
    }

    /// What its values set: two parameters that set the same do not go together.
    pub fn target(self) -> &'static str {
        match self {
            Self::Shift => settings::GRID.key,
            other => other.name(),
        }
    }

    /// Whether it sets a setting, alone or with others.
    pub fn sets(self, setting: &Setting) -> bool {
        match self {
            Self::Setting(own) => own == setting,
            Self::Shift => *setting == settings::GRID,
            Self::Tolerance => [&settings::ATOL, &settings::RTOL].contains(&setting),
            Self::Class | Self::Count => false,
        }
    }

    fn is_whole(self) -> bool {
        match self {
            Self::Setting(setting) => setting.numbers == Numbers::Whole,
            other => other == Self::Count,
        }
    }

    /// Its value at a text, where it is one and in range.
    fn at_text(self, text: &str) -> Option<Value> {
        let number = || text.parse::<f32>().ok().filter(|number| number.is_finite());
        match self {
            Self::Setting(setting) => {
                let mut settings = SampleSettings::default();
                setting.set(&mut settings, text).ok()?;
                // As it is told, so that one value is not taken for two.
                Some(Value::Setting { setting, text: setting.get(&settings) })
            }
            Self::Class => None,
            Self::Shift => number().filter(|shift| *shift > 0.0).map(Value::Shift),
            Self::Count => {
                let count = text.parse().ok()?;
                (1..=Axis::MOST_PICTURES).contains(&count).then_some(Value::Count(count))
            }
            Self::Tolerance => {
                settings::ATOL.set(&mut SampleSettings::default(), text).ok()?;
                number().map(Value::Tolerance)
            }
        }
    }

    /// Its value at a number, where it has numbers and this one is in range.
    fn at_number(self, number: f64) -> Option<Value> {
        /// Beyond it not every whole number is one of double precision.
        const MOST_WHOLE: f64 = 9e15;
        let numbers = match self {
            Self::Setting(setting) => setting.numbers,
            Self::Class => Numbers::None,
            Self::Count => Numbers::Whole,
            Self::Shift | Self::Tolerance => Numbers::Real,
        };
        match numbers {
            Numbers::None => None,
            Numbers::Whole => {
                let whole = number.fract() == 0.0 && (0.0..=MOST_WHOLE).contains(&number);
                whole.then(|| self.at_text(&(number as u64).to_string()))?
            }
            Numbers::Real => self.at_text(&(number as f32).to_string()),
        }
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Parameter {
    type Err = AxisError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::all().find(|parameter| parameter.name() == text.trim());
        known.ok_or_else(|| AxisError::Parameter(text.trim().to_owned()))
    }
}

/// A value of a [`Parameter`].
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A value of a setting, as the command line spells it.
    Setting {
        /// The setting.
        setting: &'static Setting,
        /// Its value, within its bounds.
        text: String,
    },
    /// A class.
    Class {
        /// Its label.
        label: usize,
        /// Its name.
        name: String,
    },
    /// The shift of a shifted grid.
    Shift(f32),
    /// Pictures of a batch.
    Count(usize),
    /// Both tolerances.
    Tolerance(f32),
}

impl Value {
    /// Puts the value into the settings of a run. A smaller batch loses the pins and bans of the
    /// pictures that are no longer there.
    pub fn apply(&self, settings: &mut SampleSettings) {
        match self {
            Self::Setting { setting, text } => {
                // It was read once already, when the axis was.
                let read = setting.set(settings, text);
                debug_assert!(read.is_ok(), "{setting:?} {text}");
            }
            Self::Class { label, .. } => settings.labels.fill(*label),
            Self::Shift(shift) => settings.grid = Grid::Shifted(*shift),
            Self::Count(count) => {
                let labels = std::mem::take(&mut settings.labels);
                settings.labels = labels.into_iter().cycle().take(*count).collect();
                settings.pins.retain(|pin| pin.image < *count);
                settings.bans.retain(|ban| ban.image < *count);
            }
            Self::Tolerance(tolerance) => {
                (settings.atol, settings.rtol) = (*tolerance, *tolerance);
            }
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting { text, .. } => f.write_str(text),
            Self::Class { name, .. } => f.write_str(name),
            Self::Shift(number) | Self::Tolerance(number) => write!(f, "{number}"),
            Self::Count(number) => write!(f, "{number}"),
        }
    }
}

/// A list of values that cannot be used.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum AxisError {
    /// No setting has this name.
    #[error("unknown parameter '{0}' (known: {known})", known = names())]
    Parameter(String),
    /// Not of the form `PARAMETER=VALUES`.
    #[error("'{0}' is not PARAMETER=VALUES, such as steps=8,16,32")]
    Form(String),
    /// No values.
    #[error("{0} has no values: give some, such as {example}", example = .0.example())]
    Empty(Parameter),
    /// A value that the parameter cannot take.
    #[error("'{given}' is not a valid value of {parameter}: {range}", range = .parameter.range())]
    Value {
        /// The parameter.
        parameter: Parameter,
        /// What was given.
        given: String,
    },
    /// A class that the model does not have.
    #[error("no class name starts with '{given}' (there are {known})")]
    Class {
        /// What was given.
        given: String,
        /// Some of the classes that there are.
        known: String,
    },
    /// A range that says too little or too much.
    #[error("'{given}' is not a valid range: {advice}")]
    Range {
        /// What was given.
        given: String,
        /// What to write.
        advice: &'static str,
    },
    /// More values than fit on a sheet.
    #[error("{parameter} has {count} values: {most} are the most", most = Axis::MOST)]
    TooMany {
        /// The parameter.
        parameter: Parameter,
        /// How many were given, as far as they were counted.
        count: usize,
    },
}

/// A parameter and its values along one side of a sweep, none twice.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// What is varied.
    pub parameter: Parameter,
    /// What it is at each place.
    pub values: Vec<Value>,
}

impl Axis {
    /// Most values of an axis.
    pub const MOST: usize = 64;
    /// Most pictures of a batch.
    pub const MOST_PICTURES: usize = 16;

    /// Reads a list of values such as `0.5, 0.7, 0.9`, `0.5..1.5 x 5`, `8..64 x 4 log` or `1..9`, which
    /// may be mixed. Where a value has commas of its own, `;` parts the list. Classes are looked
    /// up among `classes`.
    ///
    /// # Errors
    /// The first thing that cannot be used, in words that say what can.
    pub fn parse(parameter: Parameter, text: &str, classes: &[String]) -> Result<Self, AxisError> {
        let separator = if text.contains(';') { ';' } else { ',' };
        let items = text.split(separator).map(str::trim).filter(|item| !item.is_empty());
        let mut values: Vec<Value> = Vec::new();
        for item in items {
            for value in read(parameter, item, classes)? {
                if !values.contains(&value) {
                    values.push(value);
                }
            }
            // Of a list without end no more is looked at.
            if values.len() > Self::MOST {
                break;
            }
        }
        match values.len() {
            0 => Err(AxisError::Empty(parameter)),
            count if count > Self::MOST => Err(AxisError::TooMany { parameter, count }),
            _ => Ok(Self { parameter, values }),
        }
    }

    /// Its values as [`Axis::parse`] reads them.
    pub fn text(&self) -> String {
        let values: Vec<String> = self.values.iter().map(Value::to_string).collect();
        let commas = values.iter().any(|value| value.contains(','));
        let only = if values.len() == 1 { ";" } else { "" };
        if commas { values.join("; ") + only } else { values.join(", ") }
    }
}

/// The values that an item of a list means.
fn read(parameter: Parameter, item: &str, classes: &[String]) -> Result<Vec<Value>, AxisError> {
    let wrong = || AxisError::Value { parameter, given: item.to_owned() };
    match parameter {
        Parameter::Setting(setting) if item == "all" && !setting.choices.is_empty() => {
            return setting
                .choices
                .iter()
                .map(|c| parameter.at_text(c).ok_or_else(wrong))
                .collect();
        }
        Parameter::Class => {
            let unknown = || AxisError::Class { given: item.to_owned(), known: say::list(classes) };
            return read_classes(item, classes).ok_or_else(unknown);
        }
        _ => {}
    }
    let numbers = !matches!(parameter, Parameter::Setting(Setting { numbers: Numbers::None, .. }));
    match item.split_once("..").filter(|_| numbers) {
        Some((from, rest)) => read_range(parameter, item, from, rest),
        None => Ok(vec![parameter.at_text(item).ok_or_else(wrong)?]),
    }
}

fn read_classes(item: &str, classes: &[String]) -> Option<Vec<Value>> {
    let class = |(label, name): (usize, &String)| Value::Class { label, name: name.clone() };
    if let Some(exact) = classes.iter().enumerate().find(|(_, name)| *name == item) {
        return Some(vec![class(exact)]);
    }
    let fitting: Vec<Value> =
        classes.iter().enumerate().filter(|(_, name)| name.starts_with(item)).map(class).collect();
    (!fitting.is_empty()).then_some(fitting)
}

/// The names of all parameters.
pub fn names() -> String {
    Parameter::all().map(Parameter::name).collect::<Vec<_>>().join(", ")
}

/// Reads `FROM..TO`, `FROM..TO x COUNT` or `FROM..TO x COUNT log`.
fn read_range(
    parameter: Parameter,
    item: &str,
    from: &str,
    rest: &str,
) -> Result<Vec<Value>, AxisError> {
    let range = |advice| AxisError::Range { given: item.to_owned(), advice };
    let (to, count) = match rest.split_once(['x', '×', '*']) {
        Some((to, count)) => (to, Some(count.trim())),
        None => (rest, None),
    };
    let end = |text: &str| -> Result<f64, AxisError> {
        let number = text.trim().parse().ok().filter(|number: &f64| number.is_finite());
        number.ok_or_else(|| range("write FROM..TO x COUNT, such as 0.5..1.5 x 5"))
    };
    let (from, to) = (end(from)?, end(to)?);
    let (count, geometric) = match count.map(|count| match count.strip_suffix("log") {
        Some(count) => (count.trim(), true),
        None => (count, false),
    }) {
        Some((count, geometric)) => {
            let number: usize =
                count.parse().map_err(|_| range("after x comes how many values there are"))?;
            (number, geometric)
        }
        None if parameter.is_whole() => {
            if from.fract() != 0.0 || to.fract() != 0.0 {
                return Err(AxisError::Value { parameter, given: item.to_owned() });
            }
            (((to - from).abs() as usize).saturating_add(1), false)
        }
        None => return Err(range("say how many values it has, such as 0.5..1.5 x 5")),
    };
    if count > Axis::MOST {
        return Err(AxisError::TooMany { parameter, count });
    }
    if count < 2 && from != to {
        return Err(range("a range has two values at least"));
    }
    if geometric && !(from > 0.0 && to > 0.0) {
        return Err(range("with log both ends are above 0"));
    }
    let values = (0..count).map(|i| {
        let along = i as f64 / (count.max(2) - 1) as f64;
        let number = match geometric {
            true => from * (to / from).powf(along),
            false => from + (to - from) * along,
        };
        let number = if parameter.is_whole() { number.round() } else { tidy(number) };
        let wrong = || AxisError::Value { parameter, given: item.to_owned() };
        parameter.at_number(number).ok_or_else(wrong)
    });
    values.collect()
}

/// A number to six figures, so that steps of a range read as people would write them.
fn tidy(number: f64) -> f64 {
    format!("{number:.5e}").parse().unwrap_or(number)
}

/// An axis as the command line has it, `PARAMETER=VALUES`, before the values are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AxisText {
    /// The parameter.
    pub parameter: Parameter,
    /// Its values, as they were written.
    pub text: String,
}

impl AxisText {
    /// An axis with values to begin with.
    pub fn example(parameter: Parameter) -> Self {
        Self { parameter, text: parameter.example().to_owned() }
    }

    /// A class axis of the first few of a model's classes, `chosen` first.
    pub fn of_classes(chosen: &[String], classes: &[String]) -> Self {
        const FEW: usize = 4;
        let rest = classes.iter().filter(|name| !chosen.contains(name));
        let known = chosen.iter().filter(|name| classes.contains(name));
        let names: Vec<&str> = known.chain(rest).take(FEW).map(String::as_str).collect();
        Self { parameter: Parameter::Class, text: names.join(", ") }
    }

    /// Reads the values.
    ///
    /// # Errors
    /// Those of [`Axis::parse`].
    pub fn read(&self, classes: &[String]) -> Result<Axis, AxisError> {
        Axis::parse(self.parameter, &self.text, classes)
    }
}

impl FromStr for AxisText {
    type Err = AxisError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, values) = text.split_once('=').ok_or(AxisError::Form(text.to_owned()))?;
        Ok(Self { parameter: name.parse()?, text: values.trim().to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn classes() -> Vec<String> {
        ["cat-1", "cat-2", "dog"].map(str::to_owned).to_vec()
    }

    fn values(parameter: &str, text: &str) -> String {
        Axis::parse(parameter.parse().unwrap(), text, &classes())
            .map_or_else(|e| e.to_string(), |axis| axis.text())
    }

    #[test]
    fn lists_and_ranges_are_read() {
        for (parameter, text, expected) in [
            ("temperature", "0.5, 0.7,0.9,", "0.5, 0.7, 0.9"),
            ("temperature", "0.5..1.5 x 5", "0.5, 0.75, 1, 1.25, 1.5"),
            ("temperature", "0.1..0.7 x 3, 0", "0.1, 0.4, 0.7, 0"),
            ("temperature", "linear:1:0.5, entropy:3:0", "linear:1:0.5, entropy:3:0"),
            ("temperature", "points:0=1,1=0.5; 0.9", "points:0=1,1=0.5; 0.9"),
            ("steps", "8..64 x 4 log", "8, 16, 32, 64"),
            ("steps", "1..3 x 9", "1, 2, 3"),
            ("seed", "3..1, 18446744073709551615", "3, 2, 1, 18446744073709551615"),
            ("solver", "heun, all", "heun, euler, midpoint, rk4, dopri5, exp2m"),
            ("class", "dog, cat", "dog, cat-1, cat-2"),
            ("grid", "cosine, shifted:2.5", "cosine, shifted:2.5"),
            ("guidance", "-1..1 x 3", "-1, 0, 1"),
        ] {
            assert_eq!(values(parameter, text), expected);
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (parameter, text, expected) in [
            ("steps", "", "steps has no values"),
            ("steps", "8, 2.5", "'2.5' is not a valid value of steps"),
            ("steps", "0", "'0' is not a valid value of steps: a whole number from 1 to 10000"),
            ("steps", "1..4 x many", "after x comes how many"),
            ("temperature", "0..1", "say how many values it has"),
            ("temperature", "0..1 x 4 log", "both ends are above 0"),
            ("temperature", "warm", "'warm' is not a valid value of temperature"),
            ("temperature", "-1..1 x 3", "is not a valid value of temperature"),
            ("seed", "1..999", "seed has 999 values: 64 are the most"),
            ("seed", "0..1000000000", "seed has 1000000001 values: 64 are the most"),
            ("seed", "0..1e300", "values: 64 are the most"),
            ("guidance", "1e30", "'1e30' is not a valid value of guidance"),
            ("eta", "1e9", "'1e9' is not a valid value of eta"),
            ("class", "goat", "no class name starts with 'goat' (there are cat-1, cat-2"),
            ("solver", "magic", "'magic' is not a valid value of solver"),
            ("shift", "0", "'0' is not a valid value of shift"),
            ("guidance", "1..2 x 1", "two values at least"),
            ("guidance", "a..b x 2", "write FROM..TO x COUNT"),
        ] {
            let said = values(parameter, text);
            assert!(said.contains(expected), "{text}: {said}");
        }
        let unknown = "hue=1".parse::<AxisText>().unwrap_err().to_string();
        assert!(unknown.contains("'hue'") && unknown.contains("temperature"), "{unknown}");
        assert!("steps".parse::<AxisText>().is_err());
    }

    #[test]
    fn an_axis_of_classes_begins_with_those_chosen() {
        let chosen = ["dog", "gone"].map(str::to_owned);
        assert_eq!(AxisText::of_classes(&chosen, &classes()).text, "dog, cat-1, cat-2");
    }

    #[test]
    fn every_example_can_be_read() {
        for parameter in Parameter::all() {
            let axis = AxisText::example(parameter).read(&classes()).unwrap();
            assert!(axis.values.len() > 1, "{parameter}");
            assert_eq!(parameter.name().parse(), Ok(parameter));
        }
    }

    fn parameter() -> impl Strategy<Value = Parameter> {
        prop::sample::select(Parameter::all().collect::<Vec<_>>())
    }

    proptest! {
        /// Whatever is typed gives an axis that can be used, or an error; never a panic.
        #[test]
        fn any_text_gives_an_axis_or_an_error(
            parameter in parameter(),
            text in "([0-9a-z.,;:=x* -]|log|\\.\\.|cat|e9){0,24}",
        ) {
            if let Ok(axis) = Axis::parse(parameter, &text, &classes()) {
                prop_assert!((1..=Axis::MOST).contains(&axis.values.len()));
                // And its own text means the same.
                let again = Axis::parse(parameter, &axis.text(), &classes());
                prop_assert_eq!(again.as_ref(), Ok(&axis), "{}", axis.text());
                for value in &axis.values {
                    let mut settings = SampleSettings::default();
                    value.apply(&mut settings);
                    prop_assert!(!settings.labels.is_empty() && settings.steps > 0);
                }
            }
        }

        #[test]
        fn a_range_has_its_ends_and_as_many_values_as_it_says(
            from in -5.0f32..5.0, to in -5.0f32..5.0, count in 2usize..40,
        ) {
            prop_assume!((from - to).abs() > 0.01);
            let text = format!("{from}..{to} x {count}");
            let axis = Axis::parse("guidance".parse().unwrap(), &text, &[]).unwrap();
            let near = |value: &Value, end: f32| {
                (value.to_string().parse::<f32>().unwrap() - end).abs() < 1e-4
            };
            prop_assert_eq!(axis.values.len(), count);
            prop_assert!(near(&axis.values[0], from) && near(&axis.values[count - 1], to));
        }
    }
}
