//! Ages as kubectl shows them, which the server works out.

use portolan_catalog::Timestamp;

use crate::object::millis;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const YEAR: u64 = 365 * DAY;

/// How long ago the time `text` was.
pub(crate) fn since(text: &str, now: Timestamp) -> String {
    match millis(text) {
        None => "<unknown>".into(),
        Some(at) => human(now.0.saturating_sub(at) / 1000),
    }
}

/// Seconds in one or two units.
pub(crate) fn human(seconds: u64) -> String {
    let two = |unit: u64, name: &str, small: u64, small_name: &str| {
        let rest = seconds % unit / small;
        match rest {
            0 => format!("{}{name}", seconds / unit),
            rest => format!("{}{name}{rest}{small_name}", seconds / unit),
        }
    };
    match seconds {
        s if s < 2 * MINUTE => format!("{s}s"),
        s if s < 10 * MINUTE => two(MINUTE, "m", 1, "s"),
        s if s < 3 * HOUR => format!("{}m", s / MINUTE),
        s if s < 8 * HOUR => two(HOUR, "h", MINUTE, "m"),
        s if s < 2 * DAY => format!("{}h", s / HOUR),
        s if s < 8 * DAY => two(DAY, "d", HOUR, "h"),
        s if s < 2 * YEAR => format!("{}d", s / DAY),
        s if s < 8 * YEAR => two(YEAR, "y", DAY, "d"),
        s => format!("{}y", s / YEAR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_written_as_kubectl_writes_them() {
        let rows = [
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (34 * MINUTE, "34m"),
            (5 * HOUR + 12 * MINUTE, "5h12m"),
            (20 * HOUR, "20h"),
            (3 * DAY + 4 * HOUR, "3d4h"),
            (42 * DAY, "42d"),
            (3 * YEAR + 12 * DAY, "3y12d"),
            (9 * YEAR, "9y"),
        ];
        for (seconds, expected) in rows {
            assert_eq!(human(seconds), expected);
        }
        assert_eq!(since("", Timestamp(0)), "<unknown>");
    }
}
