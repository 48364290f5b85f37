//! How old revisions are, by the steady clock of this leader: a wall clock that jumps makes no history older.

use std::collections::VecDeque;
use std::time::Duration;

use portolan_catalog::Revision;
use tokio::time::Instant;

/// Samples over the time that is kept; the history may be kept longer by one of so many parts.
const SAMPLES: u32 = 60;

/// Which revision was current when. A restart begins anew, so what is there then is kept for its whole time again.
#[derive(Debug, Default)]
pub(super) struct Ages {
    samples: VecDeque<(Instant, Revision)>,
}

impl Ages {
    /// Notes the current revision; gives back the one that was current `age` ago, if that was seen.
    pub(super) fn at(
        &mut self,
        age: Duration,
        now: Instant,
        current: Revision,
    ) -> Option<Revision> {
        let since = |at: Instant| now.saturating_duration_since(at);
        if self
            .samples
            .back()
            .is_none_or(|(at, _)| since(*at) >= age / SAMPLES)
        {
            self.samples.push_back((now, current));
        }
        while self.samples.get(1).is_some_and(|(at, _)| since(*at) >= age) {
            self.samples.pop_front();
        }
        let (at, revision) = self.samples.front()?;
        (since(*at) >= age).then_some(*revision)
    }
}
