//! Temperature over time: its kind, its values, and its curve.

use egui::{Slider, SliderClamping, Ui};

use super::curve::{self, Scale};
use super::parts::{combo, heading, remark, unless};
use crate::flow::Temperature;
use crate::model::Objective;
use crate::studio::base::theme::palette;
use crate::studio::base::widgets::{Curve, Dash, Row};
use crate::studio::session::Session;
use crate::studio::session::kinds::TemperatureKind;

const WARM: &str =
    "Flattens the belief over codes: 0 takes the likeliest code, 1 is as trained, more is bolder.";
const DOUBT: &str = "Mean entropy of the belief about a token that the temperature is chosen for, in nats: 0 is \
     certain.";

/// Shows the group.
pub fn show(ui: &mut Ui, session: &mut Session, objective: Objective) {
    heading(ui, "Temperature");
    let reason = (!objective.has_posterior())
        .then_some("This model has no belief over codes that a temperature could change.");
    unless(ui, reason, |ui| controls(ui, session));
}

fn controls(ui: &mut Ui, session: &mut Session) {
    let draft = &mut session.draft;
    Row::new("Schedule", "How temperature changes over time.").show(ui, |ui| {
        let kinds = TemperatureKind::ALL.map(|kind| (kind, kind.name().to_owned()));
        combo(ui, "temperature", &mut draft.temperature, kinds)
    });
    match draft.temperature {
        TemperatureKind::Constant => {
            Row::new("Value", WARM).slider(ui, slider(&mut draft.from));
        }
        TemperatureKind::Linear | TemperatureKind::Cosine => {
            Row::new("At t = 0", WARM).slider(ui, slider(&mut draft.from));
            Row::new("At t = 1", WARM).slider(ui, slider(&mut draft.to));
        }
        TemperatureKind::Entropy => {
            let most = most_entropy(session);
            let target = &mut session.draft.target;
            for (name, value) in [("At t = 0", &mut target.0), ("At t = 1", &mut target.1)] {
                let slider = Slider::new(value, 0.0..=most)
                    .logarithmic(true)
                    .smallest_positive(0.05)
                    .fixed_decimals(2)
                    .clamping(SliderClamping::Edits);
                Row::new(name, DOUBT)
                    .slider(ui, slider)
                    .accessible_name(format!("Entropy {}", name.to_lowercase()));
            }
        }
        TemperatureKind::Drawn => {}
    }
    course(ui, session);
}

/// Entropy of a belief that holds all codes alike, in nats.
fn most_entropy(session: &Session) -> f32 {
    let codes = session.model.as_ref().map_or(1024, |model| model.card.tokenizer.codes);
    (codes.max(2) as f32).ln()
}

/// A slider that is fine near zero, where temperature matters most.
fn slider(value: &mut f32) -> Slider<'_> {
    Slider::new(value, 0.0..=2.0)
        .logarithmic(true)
        .smallest_positive(0.05)
        .fixed_decimals(2)
        .clamping(SliderClamping::Never)
}

/// The curve, with the time being looked at; the drawn one can be taken hold of.
fn course(ui: &mut Ui, session: &mut Session) {
    let cursor = session.run.as_ref().map(|run| run.time(session.position));
    let colours = palette(ui.visuals());
    let temperature = session.draft.temperature();
    let sampled: Vec<(f32, f32)> = match &temperature {
        Temperature::Points(points) => curve::through(points),
        other => (0..=48).map(|i| i as f32 / 48.0).map(|t| (t, other.at(t))).collect(),
    };
    let highest = sampled.iter().map(|(_, value)| *value).fold(0.0, f32::max);
    let line = |points, top, colour, dash| Curve { points, top, colour, dash };
    if session.draft.temperature != TemperatureKind::Entropy {
        let scale = Scale { top: curve::nice_top(highest, 2.0), unit: "", decimals: 1 };
        let own = line(sampled, scale.top, colours.accent, Dash::Solid);
        if session.draft.temperature == TemperatureKind::Drawn {
            return curve::edit(ui, &mut session.draft.points, own, &scale, cursor);
        }
        return curve::show(ui, vec![own], &scale, None, cursor, "Temperature over time");
    }
    let scale = Scale { top: curve::nice_top(highest, 1.0), unit: "nats", decimals: 1 };
    let mut curves = vec![line(sampled, scale.top, colours.accent, Dash::Solid)];
    let met: Vec<(f32, f32)> = match &session.run {
        Some(run) if matches!(run.settings.temperature, Temperature::Entropy { .. }) => {
            run.frames.iter().map(|frame| (frame.t, frame.temperature)).collect()
        }
        _ => Vec::new(),
    };
    let right = (!met.is_empty()).then(|| {
        let highest = met.iter().map(|(_, value)| *value).fold(0.0, f32::max);
        Scale { top: curve::nice_top(highest, 2.0), unit: "", decimals: 1 }
    });
    if let Some(right) = &right {
        curves.insert(0, line(met, right.top, colours.second, Dash::Dashed));
    }
    curve::show(ui, curves, &scale, right.as_ref(), cursor, "Entropy target over time");
    remark(
        ui,
        match right {
            Some(_) => {
                "Line: the target in nats. Dashes: temperatures that met it in the current run."
            }
            None => "In nats. A run shows the temperatures that meet the target.",
        },
    );
}
