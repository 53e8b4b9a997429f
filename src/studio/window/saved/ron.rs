//! Values as text of RON, by the reader and the writer that the window's library has.

use eframe::Storage;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// One text, under whatever name.
struct Slip(Option<String>);

impl Storage for Slip {
    fn get_string(&self, _key: &str) -> Option<String> {
        self.0.clone()
    }

    fn set_string(&mut self, _key: &str, value: String) {
        self.0 = Some(value);
    }

    fn remove_string(&mut self, _key: &str) {
        self.0 = None;
    }

    fn flush(&mut self) {}
}

/// The value that `text` says; nothing where it says none of this kind.
pub fn read<T: DeserializeOwned>(text: &str) -> Option<T> {
    eframe::get_value(&Slip(Some(text.to_owned())), "")
}

/// A value as text; nothing where it has none.
pub fn write<T: Serialize>(value: &T) -> Option<String> {
    let mut slip = Slip(None);
    eframe::set_value(&mut slip, "", value);
    slip.0
}
