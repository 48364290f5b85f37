//! Doubt about what the servers will decide yet.
//!
//! A command whose outcome is unknown may be decided later than others that were handed in after it: it waited at a server that stood still,
//! or that handed it on when it no longer led. What is owned is put right again then, at once and not with the next comparison.

use std::time::Duration;

use tokio::time::Instant;

/// How long after it was handed in a command may still be decided: servers give up what they could not decide well before.
const DOUBT: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub(crate) struct Doubt {
    until: Option<Instant>,
    /// Batches of own commands that the leader is deciding: what it did to what is owned is noted after it is in the base.
    deciding: usize,
}

impl Doubt {
    /// `begun` where what was on its way before is not known.
    pub(crate) fn new(begun: bool) -> Doubt {
        let mut doubt = Doubt {
            until: None,
            deciding: 0,
        };
        if begun {
            doubt.begin();
        }
        doubt
    }

    /// The outcome of a command is unknown.
    pub(crate) fn begin(&mut self) {
        self.until = Some(Instant::now() + DOUBT);
    }

    /// Whether something may be decided late.
    pub(crate) fn goes_on(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }

    /// The leader is about to decide own commands.
    pub(crate) fn deciding(&mut self) {
        self.deciding += 1;
    }

    /// What it decided of them was noted.
    pub(crate) fn decided(&mut self) {
        self.deciding = self.deciding.saturating_sub(1);
    }

    /// Whether a difference between what is owned and what the servers have is one that something late made.
    pub(crate) fn explains_differences(&self) -> bool {
        self.deciding == 0 && self.goes_on()
    }
}
