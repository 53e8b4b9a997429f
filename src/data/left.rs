//! What was left out of a folder of pictures, told in one line.

use std::path::Path;

use super::few::Few;
use crate::say::{self, list};

/// Names of folders that most likely hold parts of a data set and not classes.
const PARTS: [&str; 8] =
    ["train", "training", "test", "testing", "val", "valid", "validation", "holdout"];

/// What was left out of a folder of pictures, and why.
#[derive(Debug, Clone, Default)]
pub(super) struct Left {
    /// Sub-folders without pictures.
    pub empty: Few,
    /// Links to folders that count already.
    pub again: Few,
    /// Pictures in no sub-folder.
    pub loose: Few,
    /// Files that are no pictures.
    pub others: usize,
    /// Pictures that cannot be read, and classes that have no others.
    pub unread: Few,
    pub hopeless: Few,
    /// Pictures that are copies of others in their class.
    pub copies: Few,
    /// Pictures to which the table gives no class, and lines of it that name no picture.
    pub unlabelled: Few,
    pub unmet: Few,
    /// Held-out pictures that are trained on.
    pub trained: Few,
    /// Pictures, not left out, that other classes have as well.
    pub across: Few,
}

impl Left {
    /// Says in the log what there is, and what was left out, in a line each.
    pub fn tell(&self, root: &Path, classes: &[String], pictures: usize) {
        let root = root.display();
        tracing::info!(
            "{root}: {} in {} ({}); {} other files passed over",
            say::count(pictures, "picture"),
            say::count(classes.len(), "class"),
            list(classes),
            self.others,
        );
        let left = self.words();
        if !left.is_empty() {
            tracing::warn!("{root}: left out {left}");
        }
        if self.across.count() > 0 {
            tracing::warn!(
                "{root}: {} in more than one class ({})",
                say::count(self.across.count(), "picture"),
                self.across.names()
            );
        }
        if classes.iter().all(|name| PARTS.contains(&name.to_lowercase().as_str())) {
            tracing::warn!(
                "{root}: are {} classes? If they are parts of a data set, name one of them instead",
                list(classes)
            );
        }
    }

    /// What was left out, or nothing.
    fn words(&self) -> String {
        let kinds = [
            (&self.empty, "sub-folder", "without pictures"),
            (&self.again, "link", "to a folder that counts already"),
            (&self.loose, "picture", "in no class folder"),
            (&self.unread, "picture", "that cannot be read"),
            (&self.hopeless, "class", "without a picture that can be read"),
            (&self.copies, "copy", "of pictures in the same class"),
            (&self.unlabelled, "picture", "without a class in the table"),
            (&self.unmet, "line", "of the table without a picture"),
            (&self.trained, "picture", "of those trained on"),
        ];
        let there = kinds.into_iter().filter(|(few, ..)| few.count() > 0);
        let parts: Vec<String> = there
            .map(|(few, what, why)| {
                format!("{} {why} ({})", say::count(few.count(), what), few.names())
            })
            .collect();
        parts.join("; ")
    }
}
