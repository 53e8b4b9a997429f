//! Choosing a picture and a region of it, and making that anew.

use image::RgbImage;

use super::Canvas;
use super::inpaint::{Before, Inpaint, Region, Subject};
use super::tool::Tool;
use crate::flow::Spot;
use crate::studio::engine::RunId;
use crate::studio::session::Session;
use crate::studio::session::draft::Draft;
use crate::studio::session::edits::Edits;
use crate::studio::session::run::class_of;
use crate::studio::session::token::Token;

impl Canvas {
    /// Whether the canvas shows the picture of which a part is regenerated, rather than the run.
    pub fn shows_original(&self, session: &Session) -> bool {
        self.tool == Tool::Region
            && self.inpaint.shows_original(session.run.as_ref().map(|run| run.id))
    }

    /// Encodes a picture from outside, to make a part of it anew; `name` is what people call it.
    pub fn inpaint_picture(&mut self, session: &mut Session, picture: RgbImage, name: String) {
        if !session.can_edit() {
            let text = "Regenerating part of a picture needs a model with codes: open one.";
            return session.notices.error(text);
        }
        let ticket = session.ask_encode(picture);
        self.inpaint.encoding = Some((ticket, name));
    }

    /// Takes a picture of the current run, at the current step, as the one to regenerate a part of.
    pub fn inpaint_shown(&mut self, session: &mut Session, image: usize) {
        let Some(run) = &session.run else { return };
        let (id, tokens) = (run.id, run.shape.tokens());
        let alike = session.model.as_ref().is_some_and(|model| {
            session
                .draft
                .labels(&model.card)
                .iter()
                .cycle()
                .take(run.settings.labels.len())
                .eq(&run.settings.labels)
        });
        // Who has changed the class since means the new one.
        let class = alike.then(|| class_of(&run.model.card, &run.settings, image));
        let Some(codes) = session.shown_codes() else { return };
        let Some(codes) = codes.get(image * tokens..(image + 1) * tokens) else { return };
        let codes = codes.to_vec();
        self.begin_inpaint(
            session,
            codes,
            format!("picture {}", image + 1),
            class,
            Some((id, image)),
        );
        self.inpaint.original = false;
    }

    /// Begins to make a part of a picture of `codes`, `[height, width]`, anew: shows it, with nothing
    /// chosen yet. `place` says which picture of which run it is, if it is one.
    pub fn begin_inpaint(
        &mut self,
        session: &mut Session,
        codes: Vec<u32>,
        name: String,
        class: Option<String>,
        place: Option<(RunId, usize)>,
    ) {
        let Some(model) = session.model.clone() else { return };
        let side = model.card.backbone.input_size;
        let known = model.card.tokenizer.codes;
        if codes.len() != side * side || codes.iter().any(|code| *code as usize >= known) {
            return session.notices.error(format!(
                "{name} has other codes than this model: {side} x {side} of {known} are needed.",
            ));
        }
        let decoding = Some(session.ask_decode(codes.clone(), 1));
        let classes = session.draft.classes.clone();
        let inpaint = &mut self.inpaint;
        inpaint.subject =
            Some(Subject { name, codes, class, place, classes, decoding, picture: None });
        inpaint.serial += 1;
        inpaint.region = Region::new(side, side);
        inpaint.original = true;
        inpaint.first_result = None;
        self.tool = Tool::Region;
    }

    /// Makes the region anew, with as many seeds as are asked for: every token outside is pinned to
    /// its code.
    pub fn regenerate_region(&mut self, session: &mut Session) {
        let inpaint = &self.inpaint;
        let Some(subject) = inpaint.subject.as_ref().filter(|_| inpaint.region.count() > 0) else {
            return;
        };
        let seeds = inpaint.seeds.clamp(1, Draft::MAX_COUNT);
        // What was decided about tokens of the region before holds for all pictures.
        let before = inpaint.before.as_ref().map_or(&session.draft, |before| &before.draft);
        let image = subject.place.map(|(_, image)| image);
        let edits = held_outside(&subject.codes, &inpaint.region, seeds, &before.edits, image);
        let class = subject.class.clone().filter(|_| session.draft.classes == subject.classes);
        if self.inpaint.before.is_none() {
            let before = Before { draft: session.draft.clone(), branch: session.branch.clone() };
            self.inpaint.before = Some(before);
        }
        if let Some(class) = class {
            session.draft.choose_class(&class);
            if let Some(subject) = &mut self.inpaint.subject {
                subject.classes = session.draft.classes.clone();
            }
        }
        session.branch = None;
        session.draft.count = seeds;
        session.draft.edits = edits;
        session.generate();
        let Some(active) = &session.active else { return };
        self.inpaint.original = false;
        self.inpaint.first_result.get_or_insert(active.id);
    }

    /// Ends regenerating a part: what was made stays, and the controls are as they were before.
    pub fn end_inpaint(&mut self, session: &mut Session) {
        if let Some(Before { draft, branch }) = self.inpaint.before.take() {
            let Draft { classes, count, edits, sampling, .. } = draft;
            session.draft = Draft { classes, count, edits, ..session.draft.clone() };
            session.draft.sampling.seed = sampling.seed;
            session.branch = branch;
            session.take_as_sent();
        }
        let (seeds, serial) = (self.inpaint.seeds, self.inpaint.serial);
        self.inpaint = Inpaint { seeds, serial, ..Inpaint::default() };
        self.tool = Tool::Look;
    }

    /// Once a frame: takes in what was encoded and decoded for this.
    pub fn follow(&mut self, session: &mut Session) {
        if let Some((ticket, name)) = self.inpaint.encoding.take() {
            match session.take_encoded(ticket) {
                Some(codes) => self.begin_inpaint(session, codes, name, None, None),
                None => self.inpaint.encoding = Some((ticket, name)),
            }
        }
        let waiting = self.inpaint.subject.as_ref().and_then(|subject| subject.decoding);
        if let Some(pictures) = waiting.and_then(|ticket| session.take_decoded(ticket))
            && let Some(subject) = &mut self.inpaint.subject
        {
            (subject.decoding, subject.picture) = (None, Some(pictures));
        }
    }

    /// Asks once more for the picture of which a part is regenerated, where it never came.
    pub fn ask_again(&mut self, session: &mut Session) {
        let missing = |subject: &&Subject| subject.picture.is_none() && subject.decoding.is_none();
        let codes = self.inpaint.subject.as_ref().filter(missing).map(|s| s.codes.clone());
        let Some(codes) = codes else { return };
        let ticket = session.ask_decode(codes, 1);
        if let Some(subject) = &mut self.inpaint.subject {
            subject.decoding = Some(ticket);
        }
    }
}

/// Edits that hold every token outside of `region` to its code in `codes`, `[height, width]`, in each of
/// `seeds` pictures. Inside, what `before` says of picture `of` holds for all; codes that it bans
/// everywhere stay banned.
fn held_outside(
    codes: &[u32],
    region: &Region,
    seeds: usize,
    before: &Edits,
    of: Option<usize>,
) -> Edits {
    let mut edits = Edits::default();
    before.banned_codes().iter().for_each(|code| edits.ban_everywhere(*code));
    let inside = |token: Token| region.contains(token.row, token.column);
    for image in 0..seeds {
        for (at, code) in codes.iter().enumerate() {
            let token = Token { image, row: at / region.width, column: at % region.width };
            if !inside(token) {
                edits.pin(token, *code);
            }
        }
        let kept = |spot: &&Spot| Some(spot.image) == of && inside(Token::of(spot));
        for pin in before.pins().iter().filter(kept) {
            edits.pin(Token { image, ..Token::of(pin) }, pin.code);
        }
        for ban in before.bans().iter().filter(kept) {
            edits.ban(Token { image, ..Token::of(ban) }, ban.code);
        }
    }
    edits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceChoice;
    use crate::flow::{LatentShape, SampleSettings};
    use crate::studio::engine::model_worker::ModelWorker;
    use crate::studio::engine::opener::Opener;
    use crate::studio::engine::{Command, Event, ModelSource, Question, RunEvent, Worker};
    use crate::studio::window::studio::Studio;

    #[test]
    fn everything_outside_is_held_and_earlier_edits_inside_stay() {
        let mut region = Region::new(2, 2);
        region.set(0, 1, true);
        let at = |image, row, column| Token { image, row, column };
        let mut before = Edits::default();
        before.pin(at(1, 0, 1), 8);
        before.pin(at(1, 1, 1), 9);
        before.ban(at(0, 0, 1), 3);
        before.ban_everywhere(5);
        let edits = held_outside(&[10, 11, 12, 13], &region, 2, &before, Some(1));
        for image in 0..2 {
            let pins = [(0, 0), (0, 1), (1, 0), (1, 1)];
            let pins = pins.map(|(row, column)| edits.pin_of(at(image, row, column)));
            assert_eq!(pins, [Some(10), Some(8), Some(12), Some(13)]);
        }
        assert!(edits.bans().is_empty(), "another picture's bans are its own");
        assert_eq!(edits.banned_codes(), [5]);
        let free = held_outside(&[10, 11, 12, 13], &region, 1, &before, None);
        assert_eq!(free.pins().len(), 3);
    }

    #[test]
    fn codes_of_another_model_are_refused_in_words() {
        let mut studio = Studio::default();
        let mut worker = crate::studio::testing::fake::FakeWorker::default();
        studio.session.model = Some(worker.load(&ModelSource::Embedded).unwrap().into());
        for codes in [vec![0; 255], vec![1024; 256]] {
            studio.canvas.begin_inpaint(
                &mut studio.session,
                codes,
                "cat.png".to_owned(),
                None,
                None,
            );
            assert!(studio.canvas.inpaint.subject().is_none());
            let banner = studio.session.notices.banner.take().unwrap();
            assert!(banner.text.contains("cat.png") && banner.text.contains("16 x 16 of 1024"));
        }
        studio.canvas.begin_inpaint(
            &mut studio.session,
            vec![1023; 256],
            "cat.png".to_owned(),
            None,
            None,
        );
        assert!(studio.canvas.inpaint.subject().is_some());
    }

    #[test]
    fn a_picture_that_could_not_be_encoded_is_not_waited_for() {
        let mut studio = Studio::default();
        let mut worker = crate::studio::testing::fake::FakeWorker::default();
        studio.session.model = Some(worker.load(&ModelSource::Embedded).unwrap().into());
        studio.canvas.inpaint_picture(
            &mut studio.session,
            RgbImage::new(8, 8),
            "cat.png".to_owned(),
        );
        assert_eq!(studio.canvas.inpaint.encoding(), Some("cat.png"));
        let text = "out of memory".to_owned();
        studio.take(Event::AskFailed(text));
        assert_eq!(studio.canvas.inpaint.encoding(), None);
    }

    #[test]
    fn a_picture_that_never_came_is_asked_for_again_after_the_recovery() {
        let mut studio = Studio::default();
        let mut worker = crate::studio::testing::fake::FakeWorker::default();
        studio.session.model = Some(worker.load(&ModelSource::Embedded).unwrap().into());
        studio.canvas.begin_inpaint(
            &mut studio.session,
            vec![1; 256],
            "cat.png".to_owned(),
            None,
            None,
        );
        let asked = |studio: &mut Studio| {
            let commands = studio.take_commands();
            commands.iter().filter(|c| matches!(c, Command::Ask(Question::Decode { .. }))).count()
        };
        assert_eq!(asked(&mut studio), 1);
        studio.take(Event::AskFailed("out of memory".to_owned()));
        assert_eq!(asked(&mut studio), 0, "that may be what went wrong");
        studio.take(Event::Run(9, RunEvent::Started));
        assert_eq!(asked(&mut studio), 1);
    }

    /// The model inside the program: what is held, is held at every step and at the end.
    #[test]
    fn the_embedded_model_keeps_every_token_outside_of_the_region() {
        let mut worker = ModelWorker::new(&mut Opener::new(DeviceChoice::Cpu, None), None).unwrap();
        let info = worker.load(&ModelSource::Embedded).unwrap();
        let (side, size) = (info.card.backbone.input_size, info.card.tokenizer.code_size);
        let ramp = |x: u32, y: u32| image::Rgb([(x * 4) as u8, (y * 4) as u8, 120]);
        let codes = worker.encode(&RgbImage::from_fn(96, 64, ramp)).unwrap();
        let mut region = Region::new(side, side);
        (4..9).for_each(|row| (5..12).for_each(|column| region.set(row, column, true)));
        let seeds = 2;
        let mut before = Edits::default();
        // A ban of a code that is held outside does not loosen it.
        before.ban_everywhere(codes[0]);
        let edits = held_outside(&codes, &region, seeds, &before, None);
        let mut settings =
            SampleSettings { labels: vec![4; seeds], steps: 3, ..SampleSettings::default() };
        let shape = LatentShape { batch: seeds, channels: size, height: side, width: side };
        edits.apply(&mut settings, shape, info.card.tokenizer.codes);
        assert_eq!(settings.pins.len(), seeds * (side * side - 35));
        let mut run = worker.begin(&settings, None).unwrap();
        let outside = |at: usize| !region.contains(at % (side * side) / side, at % side);
        let holds = |found: &[u32]| {
            found
                .iter()
                .enumerate()
                .filter(|(at, _)| outside(*at))
                .all(|(at, code)| *code == codes[at % (side * side)])
        };
        while let Some(record) = run.advance() {
            assert!(holds(&record.likeliest), "step {}", record.step);
            let posterior = record.posterior.as_ref().unwrap();
            for at in (0..record.likeliest.len()).filter(|at| outside(*at)) {
                let (image, token) = (at / (side * side), at % (side * side));
                let (row, column) = (token / side, token % side);
                assert_eq!(posterior.top_of(image, row, column)[0].1, 1.0);
                assert_eq!(posterior.entropy[at], 0.0);
                for channel in 0..size {
                    let number = (image * size + channel) * side * side + token;
                    let aim = info.codebook[codes[token] as usize * size + channel];
                    assert_eq!(record.prediction.values[number], aim);
                }
            }
        }
        let end = run.codes();
        assert!(holds(&end));
        let (one, other) = end.split_at(side * side);
        assert_ne!(one, other, "two seeds fill the region in two ways");
        assert!((0..side * side).any(|at| !outside(at) && one[at] != codes[at]));
    }
}
