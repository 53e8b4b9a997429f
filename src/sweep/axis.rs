//! A parameter and the values that it takes along one side of a sweep.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::flow::{Grid, SampleSettings, Solver, Temperature};

/// A setting that a sweep can vary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parameter {
    /// Temperature, of any kind.
    #[default]
    Temperature,
    /// Intervals of time.
    Steps,
    /// The solver.
    Solver,
    /// Guidance scale.
    Guidance,
    /// Stochasticity.
    Eta,
    /// Seed of the noise.
    Seed,
    /// The class of every picture.
    Class,
    /// Where the grid points of time lie.
    Grid,
    /// The shift of a shifted grid.
    Shift,
    /// Pictures of a batch.
    Count,
    /// Absolute and relative tolerance of the solver `dopri5`.
    Tolerance,
}

impl Parameter {
    /// Every parameter, in the order in which they are offered.
    pub const ALL: [Self; 11] = [
        Self::Temperature,
        Self::Steps,
        Self::Solver,
        Self::Guidance,
        Self::Eta,
        Self::Seed,
        Self::Class,
        Self::Grid,
        Self::Shift,
        Self::Count,
        Self::Tolerance,
    ];

    /// Its name, as the command line spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Temperature => "temperature",
            Self::Steps => "steps",
            Self::Solver => "solver",
            Self::Guidance => "guidance",
            Self::Eta => "eta",
            Self::Seed => "seed",
            Self::Class => "class",
            Self::Grid => "grid",
            Self::Shift => "shift",
            Self::Count => "count",
            Self::Tolerance => "tolerance",
        }
    }

    /// Values to begin with.
    pub fn example(self) -> &'static str {
        match self {
            Self::Temperature => "0.5, 0.7, 0.9, 1.1",
            Self::Steps => "4, 8, 16, 32",
            Self::Solver => "euler, midpoint, heun, exp2m",
            Self::Guidance => "0..4 x 5",
            Self::Eta => "0, 0.5, 1",
            Self::Seed => "1..4",
            Self::Class => "cat, robot",
            Self::Grid => "uniform, cosine, shifted:3",
            Self::Shift => "0.5, 1, 2, 4",
            Self::Count => "1, 2, 4",
            Self::Tolerance => "0.1, 0.01, 0.001",
        }
    }

    /// What its values may be, in words.
    pub fn range(self) -> &'static str {
        match self {
            Self::Temperature => {
                "0 or more, or a schedule such as linear:1.2:0.6 (between ';' where it has commas)"
            }
            Self::Steps => "a whole number from 1 to 10000",
            Self::Solver => "all, or of euler, midpoint, heun, rk4, dopri5, exp2m",
            Self::Guidance => "a number from -1000 to 1000",
            Self::Eta => "a number from 0 to 1, or to 1000 for the objective dfm",
            Self::Seed => "a whole number",
            Self::Class => "a class, or the beginning of several names",
            Self::Grid => "uniform, cosine or shifted:S",
            Self::Shift => "a number above 0",
            Self::Count => "a whole number from 1 to 16",
            Self::Tolerance => "a number from 0.00000001 to 1",
        }
    }

    fn is_whole(self) -> bool {
        matches!(self, Self::Steps | Self::Seed | Self::Count)
    }

    /// Its value at a number, where it has numbers and this one is in range.
    fn at_number(self, number: f64) -> Option<Value> {
        let real = number as f32;
        let whole = |range: std::ops::RangeInclusive<f64>| {
            (number.fract() == 0.0 && range.contains(&number)).then_some(number as u64)
        };
        let value = match self {
            Self::Temperature => Value::Temperature(Temperature::Constant(real)),
            Self::Steps => Value::Steps(whole(1.0..=SampleSettings::MAX_STEPS as f64)? as usize),
            Self::Guidance => Value::Guidance(real),
            Self::Eta => Value::Eta(real),
            Self::Seed => Value::Seed(whole(0.0..=9e15)?),
            Self::Shift => Value::Shift(real),
            Self::Count => Value::Count(whole(1.0..=Axis::MOST_PICTURES as f64)? as usize),
            Self::Tolerance => Value::Tolerance(real),
            Self::Solver | Self::Class | Self::Grid => return None,
        };
        let in_range = match self {
            Self::Temperature => real >= 0.0,
            Self::Eta => (0.0..=SampleSettings::MAX_REMASKING).contains(&real),
            Self::Guidance => real.abs() <= SampleSettings::MAX_GUIDANCE,
            Self::Shift => real > 0.0,
            Self::Tolerance => (1e-8..=1.0).contains(&real),
            _ => true,
        };
        (real.is_finite() && in_range).then_some(value)
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
        let known = Self::ALL.into_iter().find(|parameter| parameter.name() == text.trim());
        known.ok_or_else(|| AxisError::Parameter(text.trim().to_owned()))
    }
}

/// A value of a [`Parameter`].
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A temperature over time.
    Temperature(Temperature),
    /// Intervals of time.
    Steps(usize),
    /// A solver.
    Solver(Solver),
    /// A guidance scale.
    Guidance(f32),
    /// A stochasticity.
    Eta(f32),
    /// A seed.
    Seed(u64),
    /// A class.
    Class {
        /// Its label.
        label: usize,
        /// Its name.
        name: String,
    },
    /// A grid of times.
    Grid(Grid),
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
            Self::Temperature(temperature) => settings.temperature = temperature.clone(),
            Self::Steps(steps) => settings.steps = *steps,
            Self::Solver(solver) => settings.solver = *solver,
            Self::Guidance(scale) => settings.guidance = *scale,
            Self::Eta(eta) => settings.eta = *eta,
            Self::Seed(seed) => settings.seed = *seed,
            Self::Class { label, .. } => settings.labels.fill(*label),
            Self::Grid(grid) => settings.grid = *grid,
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
            Self::Temperature(temperature) => write!(f, "{temperature}"),
            Self::Steps(number) | Self::Count(number) => write!(f, "{number}"),
            Self::Solver(solver) => write!(f, "{solver}"),
            Self::Guidance(number)
            | Self::Eta(number)
            | Self::Shift(number)
            | Self::Tolerance(number) => write!(f, "{number}"),
            Self::Seed(seed) => write!(f, "{seed}"),
            Self::Class { name, .. } => f.write_str(name),
            Self::Grid(grid) => write!(f, "{grid}"),
        }
    }
}

/// A list of values that cannot be used.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum AxisError {
    /// No setting has this name.
    #[error(
        "unknown parameter '{0}' (known: temperature, steps, solver, guidance, eta, seed, class, \
         grid, shift, count, tolerance)"
    )]
    Parameter(String),
    /// Not of the form `PARAMETER=VALUES`.
    #[error("'{0}' is not PARAMETER=VALUES, such as steps=8,16,32")]
    Form(String),
    /// No values.
    #[error("{0} has no values: give some, such as {example}", example = .0.example())]
    Empty(Parameter),
    /// A value that the parameter cannot take.
    #[error("'{given}' is no {parameter}: {range}", range = .parameter.range())]
    Value {
        /// The parameter.
        parameter: Parameter,
        /// What was given.
        given: String,
    },
    /// A class that the model does not have.
    #[error("'{given}' is no class, and no class begins so (there are {known})")]
    Class {
        /// What was given.
        given: String,
        /// Some of the classes that there are.
        known: String,
    },
    /// A range that says too little or too much.
    #[error("'{given}' is no range: {advice}")]
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
        Parameter::Solver if item == "all" => {
            return Ok(Solver::ALL.into_iter().map(Value::Solver).collect());
        }
        Parameter::Solver => return Ok(vec![Value::Solver(item.parse().map_err(|_| wrong())?)]),
        Parameter::Grid => return Ok(vec![Value::Grid(item.parse().map_err(|_| wrong())?)]),
        Parameter::Class => {
            let unknown = || AxisError::Class { given: item.to_owned(), known: some(classes) };
            return read_classes(item, classes).ok_or_else(unknown);
        }
        _ => {}
    }
    if let Some((from, rest)) = item.split_once("..") {
        return read_range(parameter, item, from, rest);
    }
    if parameter == Parameter::Temperature {
        return Ok(vec![Value::Temperature(item.parse().map_err(|_| wrong())?)]);
    }
    if parameter == Parameter::Seed {
        return Ok(vec![Value::Seed(item.parse().map_err(|_| wrong())?)]);
    }
    let number = item.parse().map_err(|_| wrong())?;
    Ok(vec![parameter.at_number(number).ok_or_else(wrong)?])
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

/// The first few names of a list.
fn some(names: &[String]) -> String {
    const FEW: usize = 8;
    let more = if names.len() > FEW { ", ..." } else { "" };
    names[..names.len().min(FEW)].join(", ") + more
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
        ["cat-1", "cat-2", "robot"].map(str::to_owned).to_vec()
    }

    fn values(parameter: Parameter, text: &str) -> String {
        Axis::parse(parameter, text, &classes()).map_or_else(|e| e.to_string(), |axis| axis.text())
    }

    #[test]
    fn lists_and_ranges_are_read() {
        for (parameter, text, expected) in [
            (Parameter::Temperature, "0.5, 0.7,0.9,", "0.5, 0.7, 0.9"),
            (Parameter::Temperature, "0.5..1.5 x 5", "0.5, 0.75, 1, 1.25, 1.5"),
            (Parameter::Temperature, "0.1..0.7 x 3, 0", "0.1, 0.4, 0.7, 0"),
            (Parameter::Temperature, "linear:1:0.5, entropy:3:0", "linear:1:0.5, entropy:3:0"),
            (Parameter::Temperature, "points:0=1,1=0.5; 0.9", "points:0=1,1=0.5; 0.9"),
            (Parameter::Steps, "8..64 x 4 log", "8, 16, 32, 64"),
            (Parameter::Steps, "1..3 x 9", "1, 2, 3"),
            (Parameter::Seed, "3..1, 18446744073709551615", "3, 2, 1, 18446744073709551615"),
            (Parameter::Solver, "heun, all", "heun, euler, midpoint, rk4, dopri5, exp2m"),
            (Parameter::Class, "robot, cat", "robot, cat-1, cat-2"),
            (Parameter::Grid, "cosine, shifted:2.5", "cosine, shifted:2.5"),
            (Parameter::Guidance, "-1..1 x 3", "-1, 0, 1"),
        ] {
            assert_eq!(values(parameter, text), expected);
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (parameter, text, expected) in [
            (Parameter::Steps, "", "steps has no values"),
            (Parameter::Steps, "8, 2.5", "'2.5' is no steps"),
            (Parameter::Steps, "0", "'0' is no steps: a whole number from 1 to 10000"),
            (Parameter::Steps, "1..4 x many", "after x comes how many"),
            (Parameter::Temperature, "0..1", "say how many values it has"),
            (Parameter::Temperature, "0..1 x 4 log", "both ends are above 0"),
            (Parameter::Temperature, "warm", "'warm' is no temperature"),
            (Parameter::Temperature, "-1..1 x 3", "is no temperature"),
            (Parameter::Seed, "1..999", "seed has 999 values: 64 are the most"),
            (Parameter::Seed, "0..1000000000", "seed has 1000000001 values: 64 are the most"),
            (Parameter::Seed, "0..1e300", "values: 64 are the most"),
            (Parameter::Guidance, "1e30", "'1e30' is no guidance"),
            (Parameter::Eta, "1e9", "'1e9' is no eta"),
            (
                Parameter::Class,
                "dog",
                "'dog' is no class, and no class begins so (there are cat-1, cat-2",
            ),
            (Parameter::Solver, "magic", "'magic' is no solver"),
            (Parameter::Shift, "0", "'0' is no shift"),
            (Parameter::Guidance, "1..2 x 1", "two values at least"),
            (Parameter::Guidance, "a..b x 2", "write FROM..TO x COUNT"),
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
        let chosen = ["robot", "gone"].map(str::to_owned);
        assert_eq!(AxisText::of_classes(&chosen, &classes()).text, "robot, cat-1, cat-2");
    }

    #[test]
    fn every_example_can_be_read() {
        for parameter in Parameter::ALL {
            let axis = AxisText::example(parameter).read(&classes()).unwrap();
            assert!(axis.values.len() > 1, "{parameter}");
            assert_eq!(parameter.name().parse(), Ok(parameter));
        }
    }

    fn parameter() -> impl Strategy<Value = Parameter> {
        (0..Parameter::ALL.len()).prop_map(|at| Parameter::ALL[at])
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
            let axis = Axis::parse(Parameter::Guidance, &text, &[]).unwrap();
            let near = |value: &Value, end: f32| {
                matches!(value, Value::Guidance(v) if (v - end).abs() < 1e-4)
            };
            prop_assert_eq!(axis.values.len(), count);
            prop_assert!(near(&axis.values[0], from) && near(&axis.values[count - 1], to));
        }
    }
}
