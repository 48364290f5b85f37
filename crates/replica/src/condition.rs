//! Something that holds for a while and is said twice: when it begins and when it is over.

use std::time::Duration;

use tokio::time::Instant;

/// Remembers since when it holds.
#[derive(Debug, Default)]
pub(crate) struct Condition {
    since: Option<Instant>,
    last: Option<Instant>,
}

/// What is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Begun,
    /// After it held for so long.
    Over(Duration),
}

impl Condition {
    /// Notes whether it holds now. It is over when it has not held for `calm`.
    pub(crate) fn note(&mut self, holds: bool, now: Instant, calm: Duration) -> Option<Change> {
        if holds {
            self.last = Some(now);
            return match self.since.replace(self.since.unwrap_or(now)) {
                None => Some(Change::Begun),
                Some(_) => None,
            };
        }
        let (since, last) = self.since.zip(self.last)?;
        if now.saturating_duration_since(last) < calm {
            return None;
        }
        *self = Condition::default();
        Some(Change::Over(last.saturating_duration_since(since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_said_once_at_each_end() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut condition = Condition::default();
        let mut note = |holds, at| condition.note(holds, start + at * second, 3 * second);
        assert_eq!(note(false, 0), None);
        assert_eq!(note(true, 1), Some(Change::Begun));
        assert_eq!(note(true, 2), None);
        assert_eq!(note(false, 4), None);
        assert_eq!(note(true, 5), None);
        assert_eq!(note(false, 8), Some(Change::Over(4 * second)));
        assert_eq!(note(false, 9), None);
        assert_eq!(note(true, 10), Some(Change::Begun));
    }
}
