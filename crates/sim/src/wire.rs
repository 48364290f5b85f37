//! What one server takes from outside: randomness, the wall clock, and the network as it has it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portolan_environment::{Answer, Channel, Environment, Peer, Transport};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::network::Letter;
use crate::world::World;

/// The wall clock at the beginning.
pub(crate) const BEGINNING: u64 = 1_700_000_000_000;

/// Randomness and wall clock.
pub(crate) struct Outside {
    rng: Mutex<StdRng>,
    world: Arc<World>,
    /// By how much the wall clock was set.
    set_by: AtomicI64,
}

impl Outside {
    pub(crate) fn new(seed: u64, world: &Arc<World>) -> Outside {
        Outside {
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            world: world.clone(),
            set_by: AtomicI64::new(0),
        }
    }

    /// Sets the wall clock.
    pub(crate) fn set_wall(&self, by_ms: i64) {
        self.set_by.fetch_add(by_ms, Ordering::Relaxed);
    }
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outside")
    }
}

impl Environment for Outside {
    fn fill(&self, bytes: &mut [u8]) {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        rng.fill_bytes(bytes);
    }

    fn wall_ms(&self) -> u64 {
        let set_by = self.set_by.load(Ordering::Relaxed);
        (BEGINNING + self.world.now()).saturating_add_signed(set_by)
    }
}

/// The machine that has an address.
fn machine(address: &str) -> Option<u64> {
    address.strip_prefix("server-")?.parse().ok()
}

/// What answers at a server, by channel, once it has started.
pub(crate) type Served = Arc<Mutex<BTreeMap<Channel, Arc<dyn Peer>>>>;

/// The network as one server has it.
pub(crate) struct Wire {
    /// Where it stands in the network.
    pub(crate) me: u64,
    /// Under which id its cluster knows it.
    pub(crate) node: u64,
    pub(crate) world: Arc<World>,
    pub(crate) served: Served,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire of {}", self.me)
    }
}

impl Transport for Wire {
    fn call<'a>(
        &'a self,
        to: u64,
        address: &'a str,
        channel: Channel,
        request: Vec<u8>,
        limit: Duration,
    ) -> Answer<'a> {
        Box::pin(async move {
            let deadline = Instant::now() + limit;
            let (reply, answer) = oneshot::channel();
            let letter = Letter {
                node: self.node,
                wanted: to,
                channel,
                request,
            };
            let to = machine(address).unwrap_or(to);
            self.world.request(self.me, to, letter, reply);
            match tokio::time::timeout_at(deadline, answer).await {
                Ok(Ok(answer)) => answer.map_err(io::Error::from),
                Ok(Err(_)) => {
                    // Whoever was to answer is gone. Only a machine that goes on says so.
                    if !self.world.is_closed(to) {
                        tokio::time::sleep_until(deadline).await;
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    Err(io::ErrorKind::ConnectionReset.into())
                }
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            }
        })
    }

    fn serve(&self, channel: Channel, peer: Arc<dyn Peer>) {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        served.insert(channel, peer);
    }
}
