//! What a person decides about single tokens: codes that they are held to, and codes they must not
//! become.

use serde::{Deserialize, Serialize};

use crate::flow::{LatentShape, SampleSettings, Spot};
use crate::studio::session::token::Token;

/// Pins and bans, each list in the order of its spots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Edits {
    /// One a token at most.
    pins: Vec<Spot>,
    bans: Vec<Spot>,
    /// Codes that no token may become, rising.
    banned_codes: Vec<u32>,
}

fn spot(token: Token, code: u32) -> Spot {
    Spot { image: token.image, row: token.row, column: token.column, code }
}

fn place(spot: &Spot) -> (usize, usize, usize) {
    (spot.image, spot.row, spot.column)
}

impl Edits {
    /// The edits in the settings of a run.
    pub fn of(settings: &SampleSettings) -> Self {
        let mut edits = Self {
            // The last one of a token counts.
            pins: settings.pins.iter().rev().copied().collect(),
            bans: settings.bans.clone(),
            banned_codes: settings.banned_codes.clone(),
        };
        edits.tidy();
        edits
    }

    /// Puts the lists in the order in which they are searched, each spot once, and cuts them where they
    /// are too long to be of use.
    pub fn tidy(&mut self) {
        let sorted = self.pins.is_sorted_by(|a, b| place(a) < place(b));
        if !sorted {
            self.pins.sort_by_key(place);
            self.pins.dedup_by_key(|pin| place(pin));
        }
        if !self.bans.is_sorted_by(|a, b| a < b) {
            self.bans.sort_unstable();
            self.bans.dedup();
        }
        if !self.banned_codes.is_sorted_by(|a, b| a < b) {
            self.banned_codes.sort_unstable();
            self.banned_codes.dedup();
        }
        self.pins.truncate(SampleSettings::MAX_SPOTS);
        self.bans.truncate(SampleSettings::MAX_SPOTS);
        self.banned_codes.truncate(SampleSettings::MAX_BANNED_CODES);
    }

    /// Whether nothing is pinned or banned.
    pub fn is_empty(&self) -> bool {
        self.pins.is_empty() && self.bans.is_empty() && self.banned_codes.is_empty()
    }

    /// What is pinned, in the order of the tokens.
    pub fn pins(&self) -> &[Spot] {
        &self.pins
    }

    /// What is banned at single tokens.
    pub fn bans(&self) -> &[Spot] {
        &self.bans
    }

    /// Codes that are banned everywhere.
    pub fn banned_codes(&self) -> &[u32] {
        &self.banned_codes
    }

    fn find(&self, token: Token) -> Result<usize, usize> {
        let place_of = (token.image, token.row, token.column);
        self.pins.binary_search_by_key(&place_of, place)
    }

    /// The code that a token is held to.
    pub fn pin_of(&self, token: Token) -> Option<u32> {
        self.find(token).ok().map(|at| self.pins[at].code)
    }

    /// Holds a token to a code, whatever it was held to before.
    pub fn pin(&mut self, token: Token, code: u32) {
        match self.find(token) {
            Ok(at) => self.pins[at].code = code,
            Err(at) => self.pins.insert(at, spot(token, code)),
        }
    }

    /// Lets a token go.
    pub fn unpin(&mut self, token: Token) {
        if let Ok(at) = self.find(token) {
            self.pins.remove(at);
        }
    }

    /// Whether a token must not become a code, by a ban of its own or one for all tokens.
    pub fn is_banned(&self, token: Token, code: u32) -> bool {
        self.bans.binary_search(&spot(token, code)).is_ok() || self.is_banned_everywhere(code)
    }

    /// Whether a token has a ban of its own.
    pub fn has_bans(&self, token: Token) -> bool {
        !self.bans_of(token).is_empty()
    }

    /// The bans of one token.
    pub fn bans_of(&self, token: Token) -> &[Spot] {
        let wanted = (token.image, token.row, token.column);
        let from = self.bans.partition_point(|ban| place(ban) < wanted);
        let to = self.bans.partition_point(|ban| place(ban) <= wanted);
        &self.bans[from..to]
    }

    /// Lets go of one token, bans for all of them aside.
    pub fn clear_token(&mut self, token: Token) {
        self.unpin(token);
        self.bans.retain(|ban| Token::of(ban) != token);
    }

    /// Forbids a code to a token.
    pub fn ban(&mut self, token: Token, code: u32) {
        if let Err(at) = self.bans.binary_search(&spot(token, code)) {
            self.bans.insert(at, spot(token, code));
        }
    }

    /// Takes back [`Edits::ban`].
    pub fn allow(&mut self, token: Token, code: u32) {
        if let Ok(at) = self.bans.binary_search(&spot(token, code)) {
            self.bans.remove(at);
        }
    }

    /// Whether no token may become a code.
    pub fn is_banned_everywhere(&self, code: u32) -> bool {
        self.banned_codes.binary_search(&code).is_ok()
    }

    /// Forbids a code to every token.
    pub fn ban_everywhere(&mut self, code: u32) {
        if let Err(at) = self.banned_codes.binary_search(&code) {
            self.banned_codes.insert(at, code);
        }
    }

    /// Takes back [`Edits::ban_everywhere`].
    pub fn allow_everywhere(&mut self, code: u32) {
        if let Ok(at) = self.banned_codes.binary_search(&code) {
            self.banned_codes.remove(at);
        }
    }

    /// Lets go of every token of one picture, bans for all of them aside.
    pub fn clear_picture(&mut self, image: usize) {
        self.pins.retain(|pin| pin.image != image);
        self.bans.retain(|ban| ban.image != image);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Puts into `settings` what has a place in a batch of `shape` and a codebook of `codes` codes. A ban
    /// that would leave a token without a code is left out.
    pub fn apply(&self, settings: &mut SampleSettings, shape: LatentShape, codes: usize) {
        let fits = |spot: &&Spot| {
            spot.image < shape.batch
                && spot.row < shape.height
                && spot.column < shape.width
                && (spot.code as usize) < codes
        };
        settings.pins = self.pins.iter().filter(fits).copied().collect();
        let known = self.banned_codes.iter().copied().filter(|code| (*code as usize) < codes);
        settings.banned_codes = known.take(codes.saturating_sub(1)).collect();
        let room = codes.saturating_sub(1 + settings.banned_codes.len());
        let mut at = None;
        let mut taken = 0;
        settings.bans.clear();
        for ban in self.bans.iter().filter(fits) {
            if at.replace(place(ban)) != Some(place(ban)) {
                taken = 0;
            }
            if taken < room && settings.banned_codes.binary_search(&ban.code).is_err() {
                taken += 1;
                settings.bans.push(*ban);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Token = Token { image: 0, row: 1, column: 2 };

    #[test]
    fn a_token_has_one_pin_and_lets_go_of_it() {
        let mut edits = Edits::default();
        edits.pin(AT, 5);
        edits.pin(Token { image: 1, ..AT }, 6);
        edits.pin(AT, 7);
        assert_eq!(edits.pins().len(), 2);
        assert_eq!(edits.pin_of(AT), Some(7));
        edits.unpin(AT);
        assert_eq!(edits.pin_of(AT), None);
        assert!(!edits.is_empty());
    }

    #[test]
    fn bans_come_and_go() {
        let mut edits = Edits::default();
        edits.ban(AT, 3);
        edits.ban_everywhere(4);
        assert!(edits.is_banned(AT, 3) && edits.is_banned(AT, 4) && !edits.is_banned(AT, 5));
        edits.allow(AT, 3);
        edits.allow_everywhere(4);
        assert!(edits.is_empty());
    }

    #[test]
    fn the_edits_of_one_token_are_found_and_cleared() {
        let mut edits = Edits::default();
        let other = Token { column: 3, ..AT };
        for (token, code) in [(AT, 4), (AT, 2), (other, 1)] {
            edits.ban(token, code);
        }
        edits.pin(AT, 9);
        edits.pin(other, 9);
        assert_eq!(edits.bans_of(AT), [spot(AT, 2), spot(AT, 4)]);
        edits.clear_token(AT);
        assert!(!edits.has_bans(AT) && edits.has_bans(other));
        assert_eq!(edits.pins(), [spot(other, 9)]);
        edits.clear_picture(0);
        assert!(edits.is_empty());
    }

    #[test]
    fn only_what_fits_reaches_the_settings_and_every_token_keeps_a_code() {
        let shape = LatentShape { batch: 1, channels: 2, height: 4, width: 4 };
        let mut edits = Edits::default();
        edits.pin(AT, 1);
        edits.pin(Token { image: 1, ..AT }, 1);
        edits.pin(Token { row: 4, ..AT }, 1);
        edits.pin(Token { row: 3, ..AT }, 9);
        (0..3).for_each(|code| edits.ban(AT, code));
        edits.ban_everywhere(1);
        let mut settings = SampleSettings::default();
        edits.apply(&mut settings, shape, 3);
        assert_eq!(settings.pins, [spot(AT, 1)]);
        assert_eq!((settings.banned_codes, settings.bans), (vec![1], vec![spot(AT, 0)]));
    }

    #[test]
    fn settings_give_back_the_edits() {
        let mut edits = Edits::default();
        edits.pin(AT, 1);
        edits.ban(AT, 2);
        edits.ban_everywhere(0);
        let shape = LatentShape { batch: 1, channels: 2, height: 4, width: 4 };
        let mut settings = SampleSettings::default();
        edits.apply(&mut settings, shape, 8);
        assert_eq!(Edits::of(&settings), edits);
    }

    #[test]
    fn lists_in_any_order_come_out_in_theirs() {
        let other = Token { image: 1, ..AT };
        let settings = SampleSettings {
            pins: vec![spot(other, 3), spot(AT, 1), spot(AT, 2)],
            bans: vec![spot(other, 2), spot(AT, 7), spot(other, 2)],
            banned_codes: vec![9, 4, 9],
            ..SampleSettings::default()
        };
        let edits = Edits::of(&settings);
        assert_eq!((edits.pin_of(AT), edits.pin_of(other)), (Some(2), Some(3)));
        assert_eq!(edits.bans(), [spot(AT, 7), spot(other, 2)]);
        assert_eq!(edits.banned_codes(), [4, 9]);
    }
}
