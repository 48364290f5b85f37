//! Who may hold a connection: a count in total and one per peer address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The open connections of one port.
#[derive(Debug)]
pub(crate) struct Admission {
    total: usize,
    per_peer: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    peers: HashMap<IpAddr, usize>,
}

/// The bound that a connection would have crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// All connections of the port are taken.
    Total,
    /// All connections of this peer address are taken.
    Peer,
}

impl Full {
    pub(crate) fn limit(self) -> &'static str {
        match self {
            Full::Total => "connections",
            Full::Peer => "connections_per_peer",
        }
    }
}

/// One connection's place; dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Ticket {
    admission: Arc<Admission>,
    peer: IpAddr,
}

impl Admission {
    pub(crate) fn new(total: usize, per_peer: usize) -> Arc<Admission> {
        Arc::new(Admission {
            total,
            per_peer,
            open: Mutex::default(),
        })
    }

    pub(crate) fn admit(self: &Arc<Self>, peer: IpAddr) -> Result<Ticket, Full> {
        let peer = peer.to_canonical();
        let mut open = self.lock();
        if open.total >= self.total {
            return Err(Full::Total);
        }
        let held = open.peers.entry(peer).or_default();
        if *held >= self.per_peer {
            return Err(Full::Peer);
        }
        *held += 1;
        open.total += 1;
        Ok(Ticket {
            admission: self.clone(),
            peer,
        })
    }

    /// Connections in total, and of the peer that holds most.
    pub(crate) fn held(&self) -> (usize, usize) {
        let open = self.lock();
        (open.total, open.peers.values().copied().max().unwrap_or(0))
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut open = self.admission.lock();
        open.total -= 1;
        if let Some(held) = open.peers.get_mut(&self.peer) {
            *held -= 1;
            if *held == 0 {
                open.peers.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_total_and_per_peer_and_come_back() {
        let admission = Admission::new(3, 2);
        let (a, b): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let first = admission.admit(a).unwrap();
        let _second = admission.admit(a).unwrap();
        assert_eq!(admission.admit(a).unwrap_err(), Full::Peer);
        let _third = admission.admit(b).unwrap();
        assert_eq!(admission.admit(b).unwrap_err(), Full::Total);
        assert_eq!(admission.held(), (3, 2));
        drop(first);
        assert_eq!(admission.held(), (2, 1));
        assert!(
            admission.admit("::ffff:10.0.0.1".parse().unwrap()).is_ok(),
            "the mapped form is the same peer"
        );
    }
}
