//! What an agent asks of the servers, whichever way it reaches them.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use portolan_catalog::LeaseId;
use portolan_cluster::forward::{Place, Renewal};
use portolan_environment::Answer;
use portolan_registry::{Member, MemberChange, Unavailable};
use tokio::time::Instant;

/// Something on its way.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An answer of the leader on its way.
pub type FromLeader<'a, T> = Soon<'a, Result<T, Unavailable>>;

/// The way to the servers.
pub trait Servers: fmt::Debug + Send + Sync {
    /// Belongs to this cluster from now on; servers of another one are not talked to.
    fn belong(&self, cluster: u64);

    /// Finds a server and learns which cluster it belongs to.
    fn meet(&self) -> Soon<'_, io::Result<u64>>;

    /// Sends a request of the feed to the server that is followed now. Fails within `limit`.
    fn feed(&self, request: Vec<u8>, limit: Duration) -> Answer<'_>;

    /// Follows another server from the next request on: this one does not answer, or has fallen behind.
    fn turn(&self);

    /// Takes note of the members that a server has told of, among them whoever leads.
    fn heard(&self, members: &[Member]);

    /// Has the leader decide a batch of commands: where it is in the log.
    fn propose(&self, entries: Bytes, until: Instant) -> FromLeader<'_, Place>;

    /// Has the leader renew leases.
    fn renew(&self, leases: Vec<LeaseId>, until: Instant) -> FromLeader<'_, Vec<Renewal>>;

    /// How long leases have left and since when, in milliseconds, by the leader's clock.
    fn remaining(
        &self,
        leases: Vec<LeaseId>,
        until: Instant,
    ) -> FromLeader<'_, Vec<Option<(u64, u64)>>>;

    /// An index of the log that everything acknowledged before this call is at or below.
    fn barrier(&self, until: Instant) -> FromLeader<'_, u64>;

    /// Has the leader change the members; the error says in words why not.
    fn change(&self, change: MemberChange) -> Soon<'_, Result<(), String>>;
}
