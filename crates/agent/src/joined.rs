//! The servers, reached over the cluster port.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use portolan_catalog::LeaseId;
use portolan_cluster::forward::{Forward, Leader, Place, Renewal};
use portolan_cluster::members::{self, About, Change, Request, Response};
use portolan_environment::watch;
use portolan_environment::{ANYBODY, Answer, Channel, Transport};
use portolan_registry::{Member, MemberChange};
use tokio::time::Instant;

use crate::servers::{FromLeader, Servers, Soon};

/// How long a server may take to say who it is.
const MEETING: Duration = Duration::from_secs(2);
/// How long a change of the members may take.
const CHANGING: Duration = Duration::from_secs(30);

/// Belongs to a cluster from now on, on the wire.
pub type Adopt = Box<dyn Fn(u64) + Send + Sync>;

struct Addresses {
    /// As configured; asked again and again, since names may mean other machines later.
    configured: Vec<String>,
    /// Members that were heard of.
    learned: Vec<String>,
    at: usize,
}

impl Addresses {
    fn all(&self) -> Vec<&String> {
        let mut seen = BTreeSet::new();
        let all = self.learned.iter().chain(&self.configured);
        all.filter(|address| seen.insert(address.as_str()))
            .collect()
    }

    fn now(&self) -> String {
        let all = self.all();
        match all.len() {
            0 => String::new(),
            some => all[self.at % some].clone(),
        }
    }
}

/// The servers of a cluster, found by the address of any of them.
pub struct Joined {
    transport: Arc<dyn Transport>,
    adopt: Adopt,
    forward: Forward,
    leader: watch::Sender<Option<Leader>>,
    addresses: Mutex<Addresses>,
}

impl fmt::Debug for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joined")
            .field("now", &self.addresses().now())
            .finish_non_exhaustive()
    }
}

impl Joined {
    /// Reaches servers over `transport`; `configured` are cluster addresses (`10.0.0.1:8300`), at least one.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, adopt: Adopt, configured: Vec<String>) -> Joined {
        let leader = watch::Sender::new(None);
        Joined {
            forward: Forward::new(transport.clone(), leader.subscribe()),
            transport,
            adopt,
            leader,
            addresses: Mutex::new(Addresses {
                configured,
                learned: Vec::new(),
                at: 0,
            }),
        }
    }

    fn addresses(&self) -> MutexGuard<'_, Addresses> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Servers for Joined {
    fn belong(&self, cluster: u64) {
        (self.adopt)(cluster);
    }

    fn meet(&self) -> Soon<'_, io::Result<u64>> {
        Box::pin(async move {
            let address = self.addresses().now();
            let request = Request::Meet(About::default());
            let transport = self.transport.as_ref();
            match members::ask(transport, ANYBODY, &address, &request, MEETING).await? {
                Response::Met { about, .. } if about.cluster != 0 => Ok(about.cluster),
                Response::Met { about, .. } => Err(io::Error::other(format!(
                    "server {} belongs to no cluster yet",
                    about.server.name
                ))),
                _ => Err(io::Error::other("the server answered another question")),
            }
        })
    }

    fn feed(&self, request: Vec<u8>, limit: Duration) -> Answer<'_> {
        Box::pin(async move {
            let address = self.addresses().now();
            let call = self
                .transport
                .call(ANYBODY, &address, Channel::Feed, request, limit);
            call.await
        })
    }

    fn turn(&self) {
        self.addresses().at += 1;
    }

    fn heard(&self, members: &[Member]) {
        let reachable = members.iter().filter(|member| !member.address.is_empty());
        let learned: Vec<String> = reachable.map(|member| member.address.clone()).collect();
        let mut addresses = self.addresses();
        if !learned.is_empty() && addresses.learned != learned {
            // Goes on with the one that is followed.
            let now = addresses.now();
            addresses.learned = learned;
            let all = addresses.all();
            let place = all.iter().position(|address| **address == now);
            addresses.at = place.unwrap_or(0);
        }
        drop(addresses);
        let leader = members.iter().find(|member| member.leader);
        let leader = leader.map(|member| Leader {
            node: member.node,
            address: member.address.clone(),
        });
        self.leader
            .send_if_modified(|before| match *before == leader {
                true => false,
                false => {
                    *before = leader;
                    true
                }
            });
    }

    fn propose(&self, entries: Bytes, until: Instant) -> FromLeader<'_, Place> {
        Box::pin(self.forward.propose(entries, until))
    }

    fn renew(&self, leases: Vec<LeaseId>, until: Instant) -> FromLeader<'_, Vec<Renewal>> {
        Box::pin(async move { self.forward.renew(&leases, until).await })
    }

    fn remaining(
        &self,
        leases: Vec<LeaseId>,
        until: Instant,
    ) -> FromLeader<'_, Vec<Option<(u64, u64)>>> {
        Box::pin(async move { self.forward.remaining(&leases, until).await })
    }

    fn barrier(&self, until: Instant) -> FromLeader<'_, u64> {
        Box::pin(self.forward.barrier(until))
    }

    fn change(&self, change: MemberChange) -> Soon<'_, Result<(), String>> {
        Box::pin(async move {
            let change = match change {
                MemberChange::Add(address) => Change::Add(address),
                MemberChange::Remove(server) => Change::Remove(server),
                MemberChange::Transfer(to) => Change::Transfer(to),
                MemberChange::Promote(server) => Change::Promote(server),
                MemberChange::Leave => return Err("an agent is no member".to_owned()),
            };
            let Some(leader) = self.leader.borrow().clone() else {
                return Err("no leader".to_owned());
            };
            let (transport, request) = (self.transport.as_ref(), Request::Change(change));
            let asked = members::ask(transport, leader.node, &leader.address, &request, CHANGING);
            match asked.await {
                Ok(Response::Done) => Ok(()),
                Ok(Response::Refused(why)) => Err(why),
                Ok(_) => Err("another server leads now; try again".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}
