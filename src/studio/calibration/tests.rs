//! The pane by its words, and reports of this and of other models.

use egui::{Color32, TextStyle, vec2};
use egui_kittest::kittest::Queryable;

use super::*;
use crate::calibrate::{self, ClassFigures, Known, Question};
use crate::flow::codebooks::{normal_codes, zipf};
use crate::flow::{Oracle, Temperature};
use crate::studio::engine::{Event, ModelSource, Worker};
use crate::studio::pane::Pane;
use crate::studio::testing::fake::FakeWorker;
use crate::studio::testing::stage::{Stage, click, stage};
use crate::studio::window::studio::Studio;

const SIZE: egui::Vec2 = vec2(1000.0, 900.0);

/// A report on an exact posterior, as if it were of the model in use.
pub fn report(hash: &str) -> Calibration {
    let oracle = Oracle::new(normal_codes(12, 2, 3), 2, &zipf(12), 4).unwrap();
    let codes = (0..40 * 16).map(|i| [0, 1, 0, 2, 0, 5][i * 7 % 6]).collect();
    let known = Known { codes, labels: vec![0; 40] };
    let question = Question { times: 9, ..Question::default() };
    let stop = std::sync::atomic::AtomicBool::new(false);
    let found = calibrate::calibrate(&oracle, &known, &question, &stop, &mut ()).unwrap();
    Calibration {
        model: "cats".to_owned(),
        model_hash: hash.to_owned(),
        data: "pictures".to_owned(),
        class_names: vec!["cat".to_owned()],
        ..found
    }
}

/// A studio with a model, and the model's digest.
fn ready() -> (Studio, String) {
    let mut studio = Studio::default();
    let model = FakeWorker::default().load(&ModelSource::Embedded).unwrap();
    studio.take(Event::ModelReady(Arc::new(model)));
    let hash = studio.session.model.as_ref().unwrap().hash.clone();
    (studio, hash)
}

fn shown(with_report: bool) -> Stage {
    let (mut studio, hash) = ready();
    if with_report {
        let Studio { calibration, session, .. } = &mut studio;
        assert!(!calibration.take(report(&hash), false, session));
    }
    stage(Pane::Calibration, studio, SIZE, None)
}

/// The pane in this width over two classes, one of which has this name: where the name ends, how wide it is shown and
/// how wide the whole of it is, in points.
fn name_in(width: f32, name: &str) -> [f32; 3] {
    let (mut studio, hash) = ready();
    let mut found = report(&hash);
    found.class_names = vec![name.to_owned(), "dog".to_owned()];
    for moment in &mut found.times {
        let figures = moment.classes[0].figures;
        moment.classes.push(ClassFigures { class: 1, figures });
    }
    let Studio { calibration, session, .. } = &mut studio;
    calibration.take(found, false, session);
    let mut stage = stage(Pane::Calibration, studio, vec2(width, SIZE.y), None);
    stage.run_steps(4);
    let shown = stage.get_by_label(name).rect();
    let font = TextStyle::Body.resolve(&stage.ctx.global_style());
    let whole = stage
        .ctx
        .fonts_mut(|fonts| fonts.layout_no_wrap(name.to_owned(), font, Color32::WHITE).size().x);
    [shown.right(), shown.width(), whole]
}

#[test]
fn names_of_classes_are_cut_only_where_there_is_no_room() {
    for width in [400.0, 620.0, 700.0, 840.0, 880.0, 1000.0, 1400.0] {
        let [end, shown, whole] = name_in(width, "cat-orange-in-the-living-room");
        assert!(shown >= whole - 1.0, "{shown} of {whole} points in a pane of {width}");
        assert!(end <= width, "it ends at {end} in a pane of {width}");
        let [end, shown, whole] = name_in(width, &"cat-in-a-very-wide-hat-".repeat(20));
        assert!(shown < whole && shown > 180.0, "{shown} of {whole} points in a pane of {width}");
        assert!(end + 100.0 <= width, "it leaves no room in {width}: it ends at {end}");
    }
}

#[test]
fn a_model_without_a_report_says_how_to_make_one() {
    let stage = shown(false);
    stage.get_by_label("This model has not been calibrated yet");
    stage.get_by_label("Open report...");
}

#[test]
fn a_report_is_shown_and_its_schedule_taken() {
    let mut stage = shown(true);
    stage.get_by_label("40 pictures of pictures, guidance 1, temperature 1");
    for name in ["Cross-entropy", "90 % sets", "Best temperature", "Left out"] {
        assert!(stage.query_all_by_label(name).count() > 0, "{name}");
    }
    assert_eq!(stage.state().calibration.moment, 4);
    click(&mut stage, "Use the implied schedule");
    let studio = stage.state();
    let schedule = studio.session.calibration.as_ref().unwrap().schedule.clone().unwrap();
    assert!(matches!(schedule, Temperature::Points(_)));
    assert_eq!(studio.session.draft.temperature(), schedule);
}

#[test]
fn a_report_of_another_model_is_refused_in_words() {
    let mut stage = shown(true);
    let Studio { calibration, session, .. } = stage.state_mut();
    assert!(!calibration.take(report("other"), false, session));
    assert!(session.notices.banner.is_none());
    assert!(!calibration.take(report("other"), true, session));
    let banner = session.notices.banner.as_ref().unwrap();
    assert!(banner.text.contains("of another model, cats"), "{}", banner.text);
    let hash = session.model.as_ref().unwrap().hash.clone();
    assert!(calibration.take(report(&hash), true, session));
}
