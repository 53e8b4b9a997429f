//! Instants as texts that sort by time: the beginning of a file's name.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// An instant as `20261124-132640-123`: UTC to the millisecond.
pub fn stamp(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = since.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!(
        "{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}-{:03}",
        since.subsec_millis()
    )
}

/// The stamp that a name begins with.
pub fn of_name(name: &str) -> Option<&str> {
    let stamp = name.get(..19)?;
    let fits = stamp.bytes().enumerate().all(|(at, byte)| match at {
        8 | 15 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    fits.then_some(stamp)
}

/// A stamp as the window shows it: `2026-11-24 13:26:40 UTC`.
pub fn words(stamp: &str) -> String {
    let part = |from: usize, to: usize| stamp.get(from..to).unwrap_or("?");
    format!(
        "{}-{}-{} {}:{}:{} UTC",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(9, 11),
        part(11, 13),
        part(13, 15),
    )
}

/// Year, month and day of a number of days after the first of January 1970, by the Gregorian calendar:
/// years are counted from March, so that the leap day ends them.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants_have_their_dates() {
        for (seconds, expected) in [
            (0, "19700101-000000-000"),
            (951_782_399, "20000228-235959-000"),
            (951_782_400, "20000229-000000-000"),
            (951_868_800, "20000301-000000-000"),
            (1_795_526_800, "20261124-132640-000"),
            (4_107_542_400, "21000301-000000-000"),
        ] {
            assert_eq!(stamp(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn names_give_their_stamps_back() {
        let stamp = stamp(UNIX_EPOCH + Duration::from_millis(1_795_526_800_123));
        let name = format!("{stamp}-000-cat.png");
        assert_eq!(of_name(&name), Some(stamp.as_str()));
        assert_eq!(words(&stamp), "2026-11-24 13:26:40 UTC");
        assert_eq!(of_name("cat-orange-in-a-meadow-seed42-000.png"), None);
        assert_eq!(of_name("äääääääääääääääääää.png"), None);
    }
}
