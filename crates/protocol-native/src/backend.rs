//! What stands behind the registry, as far as this protocol shows it.

use portolan_registry::SnapshotFiles;

/// How consensus and disk are at one moment. The default is that of a server alone, in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// This server decides.
    pub leads: bool,
    /// Counts elections.
    pub term: u64,
    /// Index of the last entry of the log.
    pub last_index: u64,
    /// Index of the last entry applied.
    pub applied_index: u64,
    /// Writes are refused because the disk is full.
    pub disk_full: bool,
    /// A disk error ended the log; the process is about to stop.
    pub failed: bool,
}

impl Default for Standing {
    fn default() -> Standing {
        Standing {
            leads: true,
            term: 1,
            last_index: 0,
            applied_index: 0,
            disk_full: false,
            failed: false,
        }
    }
}

/// Whoever wires the server implements this. No call may wait for the registry.
pub trait Backend: SnapshotFiles {
    /// How it stands; called for every readiness probe.
    fn standing(&self) -> Standing;
}
