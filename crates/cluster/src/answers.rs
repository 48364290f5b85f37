//! Answers to commands that somebody else had decided, taken from what was applied here.
//!
//! Every node computes the same answer to the same entry, so the leader says only where in the log a batch is; its answers are those of the
//! local apply loop. Whoever has an answer therefore has its effect as well.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portolan_catalog::Settled;
use portolan_environment::watch;
use tokio::time::{Instant, timeout_at};

use crate::forward::Place;

/// Entries whose answers are kept for those who have not heard yet where theirs are.
const KEPT: usize = 4096;

/// The answers, shared by the apply loop and those who wait.
#[derive(Debug)]
pub struct Answers {
    kept: Mutex<VecDeque<(u64, Vec<Settled>)>>,
    asking: AtomicUsize,
    reached: watch::Sender<u64>,
}

impl Default for Answers {
    fn default() -> Answers {
        Answers {
            kept: Mutex::default(),
            asking: AtomicUsize::new(0),
            reached: watch::Sender::new(0),
        }
    }
}

/// While this is there, answers are kept.
#[derive(Debug)]
pub struct Keeping(Arc<Answers>);

impl Drop for Keeping {
    fn drop(&mut self) {
        if self.0.asking.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.kept().clear();
        }
    }
}

impl Answers {
    fn kept(&self) -> MutexGuard<'_, VecDeque<(u64, Vec<Settled>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers are kept from now on, until what this returns is dropped. Call it before anything is sent.
    #[must_use]
    pub fn keep(self: &Arc<Self>) -> Keeping {
        self.asking.fetch_add(1, Ordering::AcqRel);
        Keeping(self.clone())
    }

    /// Whether anybody wants answers.
    #[must_use]
    pub fn wanted(&self) -> bool {
        self.asking.load(Ordering::Acquire) > 0
    }

    /// The apply loop has published what this entry led to.
    pub fn applied(&self, index: u64, answers: Vec<Settled>) {
        if !self.wanted() {
            return;
        }
        let mut kept = self.kept();
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back((index, answers));
    }

    /// Everything up to `index` is applied and published; called after [`Answers::applied`].
    pub fn reach(&self, index: u64) {
        self.reached.send_if_modified(|reached| {
            let further = index > *reached;
            *reached = index.max(*reached);
            further
        });
    }

    /// Resolves when everything up to `index` is applied here; whether that was so in time.
    pub async fn reached(&self, index: u64, until: Instant) -> bool {
        let mut reached = self.reached.subscribe();
        let waiting = reached.wait_for(|reached| *reached >= index);
        matches!(timeout_at(until, waiting).await, Ok(Ok(_)))
    }
}

impl Keeping {
    /// The answers at a place, once they are applied here; none when that took too long, or a snapshot took their place.
    pub async fn take(&self, place: Place, count: usize, until: Instant) -> Option<Vec<Settled>> {
        if !self.0.reached(place.index, until).await {
            return None;
        }
        let kept = self.0.kept();
        let at = kept.partition_point(|(index, _)| *index < place.index);
        let (index, answers) = kept.get(at)?;
        if *index != place.index {
            return None;
        }
        let begin = usize::try_from(place.offset).ok()?;
        let end = begin.checked_add(count)?;
        answers.get(begin..end).map(<[Settled]>::to_vec)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use portolan_catalog::{Done, Revision};

    use super::*;

    fn settled(revision: u64) -> Settled {
        Settled {
            revision: Revision(revision),
            outcome: Ok(Done::Nothing),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_those_of_the_entry_applied_here() {
        let answers = Arc::new(Answers::default());
        answers.applied(1, vec![settled(1)]);
        answers.reach(1);
        let keeping = answers.keep();
        let until = Instant::now() + Duration::from_secs(5);
        let take = |index, offset, count| keeping.take(Place { index, offset }, count, until);
        answers.applied(2, vec![settled(2), settled(3), settled(4)]);
        answers.reach(2);
        assert_eq!(
            take(2, 1, 2).await,
            Some(vec![settled(3), settled(4)]),
            "it was applied before the place was known"
        );
        assert_eq!(take(2, 2, 2).await, None, "there are no such commands");
        assert_eq!(take(1, 0, 1).await, None, "nobody had asked then");
        let later = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            answers.applied(3, vec![settled(5)]);
            answers.reach(3);
        };
        assert_eq!(tokio::join!(take(3, 0, 1), later).0, Some(vec![settled(5)]));
        answers.reach(9);
        assert_eq!(take(7, 0, 1).await, None, "a snapshot took its place");
        assert_eq!(take(10, 0, 1).await, None, "it never came");
        drop(keeping);
        assert!(!answers.wanted());
    }
}
