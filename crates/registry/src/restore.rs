//! Backups: what writes and reads their files stands behind the registry, and what was read takes the place of the present state.

use std::fmt::Debug;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portolan_catalog::{Cause, Command, Refusal, RestorePart, Revision, Settled, State};

use crate::registry::{Registry, Unavailable};

/// Whoever keeps states in files implements this.
pub trait SnapshotFiles: Debug + Send + Sync {
    /// Writes a state as a snapshot file; gives back its length. Called on a thread that may block.
    ///
    /// # Errors
    /// Those of the writer.
    fn write(&self, state: &State, to: &mut dyn Write) -> io::Result<u64>;

    /// Reads a snapshot file and checks all of it. Called on a thread that may block.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    fn read(&self, file: &[u8]) -> Result<SnapshotParts, String>;
}

/// A state as it is handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotParts {
    /// The revision it had.
    pub revision: Revision,
    /// Its records, see [`RestorePart::records`].
    pub parts: Vec<Bytes>,
}

/// Times it is begun anew when there was no answer, as after a change of leaders.
const ATTEMPTS: usize = 5;
/// Before it is.
const PAUSE: Duration = Duration::from_millis(500);

impl Registry {
    /// Puts a state in the place of the present one, on every server. Settles as the last part did; an earlier refusal is given back as it
    /// is. Until then the catalog is as it was.
    ///
    /// # Errors
    /// When nobody decided; with [`Unavailable::Unknown`] it may have happened.
    pub async fn restore(
        &self,
        cause: impl Into<Arc<Cause>>,
        state: SnapshotParts,
    ) -> Result<Settled, Unavailable> {
        let cause = cause.into();
        let before = self.linearized().await?.restored();
        let mut failed = Unavailable::NoLeader;
        for _ in 0..ATTEMPTS {
            match self.hand_over_parts(&cause, &state).await {
                Ok(settled) => return Ok(settled),
                Err(Unavailable::Stopping) => return Err(Unavailable::Stopping),
                Err(error) => failed = error,
            }
            tokio::time::sleep(PAUSE).await;
            // The last part may have been decided without an answer.
            let Ok(now) = self.linearized().await else {
                continue;
            };
            if now.restored() > before {
                return Ok(Settled {
                    revision: now.revision(),
                    outcome: Ok(portolan_catalog::Done::Nothing),
                });
            }
        }
        Err(failed)
    }

    async fn hand_over_parts(
        &self,
        cause: &Arc<Cause>,
        state: &SnapshotParts,
    ) -> Result<Settled, Unavailable> {
        let attempt = portolan_environment::random_u64();
        let last = state.parts.len().saturating_sub(1);
        let mut settled = Settled {
            revision: self.snapshot().revision(),
            outcome: Err(Refusal::BadValue("a snapshot without records".into())),
        };
        for (at, records) in state.parts.iter().enumerate() {
            let part = RestorePart {
                attempt,
                part: u32::try_from(at).unwrap_or(u32::MAX),
                last: at == last,
                records: records.clone(),
            };
            settled = self.propose(cause.clone(), Command::Restore(part)).await?;
            if settled.outcome.is_err() {
                break;
            }
        }
        Ok(settled)
    }
}
