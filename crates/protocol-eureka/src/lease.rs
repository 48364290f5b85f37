//! How long an instance lives without a renewal.

use portolan_catalog::Terms;

use crate::wire;

/// Renewals that a client may miss before its instance is removed, however short the duration it names.
const RENEWALS: u64 = 3;

/// The terms of a registration's lease: removed after the duration it names, but never before three of its own renewals are due.
///
/// The original counts the duration twice. Clients that renew every 30 s and name a duration of 30 s live by that.
pub(crate) fn terms(lease: &wire::LeaseInfo) -> Terms {
    let duration = u64::try_from(lease.duration_secs).unwrap_or(90);
    let interval = u64::try_from(lease.renewal_interval_secs).unwrap_or(0);
    let secs = duration.max(interval.saturating_mul(RENEWALS));
    Terms::heartbeat(secs.saturating_mul(1000))
}
