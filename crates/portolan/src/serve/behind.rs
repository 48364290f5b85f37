//! What stands behind the registry: a server of the cluster, or an agent.

use std::io::{self, Write};
use std::sync::{Arc, Weak};

use portolan_agent::Agent;
use portolan_catalog::{Revision, State};
use portolan_cluster::Tcp;
use portolan_protocol_native::{Backend, Standing};
use portolan_registry::{SnapshotFiles, SnapshotParts};
use portolan_replica::snapshot::{self, Head, ReadError};
use portolan_replica::{Replica, Status};

/// One of the two.
#[derive(Clone, Debug)]
pub(crate) enum Behind {
    /// A server with a vote, or on its way to one.
    Server(Arc<Replica>),
    /// An agent, and its way to the servers.
    Agent(Arc<Agent>, Tcp),
}

/// Held by what must not keep it open.
#[derive(Clone, Debug)]
pub(crate) enum WeakBehind {
    Server(Weak<Replica>),
    Agent(Weak<Agent>),
}

impl Behind {
    /// For requests that outlive the server.
    pub(crate) fn downgrade(&self) -> WeakBehind {
        match self {
            Behind::Server(replica) => WeakBehind::Server(Arc::downgrade(replica)),
            Behind::Agent(agent, _) => WeakBehind::Agent(Arc::downgrade(agent)),
        }
    }

    /// This node's id in the cluster's log, or one that no server has.
    pub(crate) fn node_id(&self) -> u64 {
        match self {
            Behind::Server(replica) => replica.identity().node_id,
            Behind::Agent(agent, _) => agent.identity().node_id,
        }
    }

    /// The cluster's id.
    pub(crate) fn cluster_id(&self) -> u64 {
        match self {
            Behind::Server(replica) => replica.identity().cluster_id,
            Behind::Agent(agent, _) => agent.status().cluster_id,
        }
    }

    /// Resolves when it has left its cluster: the process is to stop.
    pub(crate) async fn left(&self) {
        match self {
            Behind::Server(replica) => replica.left().await,
            Behind::Agent(agent, _) => agent.left().await,
        }
    }

    /// Before a stop: others decide from now on.
    pub(crate) async fn hand_over(&self) {
        if let Behind::Server(replica) = self {
            replica.hand_over().await;
        }
    }

    /// Stops it in order.
    pub(crate) async fn shutdown(&self) {
        match self {
            Behind::Server(replica) => replica.shutdown().await,
            Behind::Agent(agent, tcp) => {
                agent.shutdown().await;
                tcp.close();
            }
        }
    }
}

impl WeakBehind {
    /// How it stands; none when it is gone.
    pub(crate) fn status(&self) -> Option<Status> {
        match self {
            WeakBehind::Server(replica) => Some(replica.upgrade()?.status()),
            WeakBehind::Agent(agent) => Some(status_of(agent.upgrade()?.as_ref())),
        }
    }

    /// What gives storage back; nothing where nothing is stored.
    pub(crate) fn compact_storage(
        &self,
    ) -> Option<impl Future<Output = Result<(), String>> + Send + use<>> {
        match self {
            WeakBehind::Server(replica) => Some(replica.upgrade()?.compact_storage()),
            WeakBehind::Agent(_) => None,
        }
    }

    fn cluster_id(&self) -> Option<u64> {
        match self {
            WeakBehind::Server(replica) => Some(replica.upgrade()?.identity().cluster_id),
            WeakBehind::Agent(agent) => Some(agent.upgrade()?.status().cluster_id),
        }
    }

    fn failed(&self) -> bool {
        match self {
            WeakBehind::Server(replica) => replica.upgrade().is_some_and(|r| r.failed()),
            WeakBehind::Agent(_) => false,
        }
    }
}

/// An agent's standing in the words of a server: it has no log, and knows of the leader what it was told.
fn status_of(agent: &Agent) -> Status {
    let status = agent.status();
    let members = agent.cluster().members();
    let leader = members.iter().find(|member| member.leader);
    Status {
        term: leader.map_or(0, |leader| leader.term),
        node_id: agent.identity().node_id,
        leader: leader
            .filter(|_| status.age.known_leader)
            .map(|leader| leader.node),
        cluster_id: status.cluster_id,
        last_index: status.index,
        applied_index: status.index,
        ..Status::default()
    }
}

impl Backend for WeakBehind {
    fn standing(&self) -> Standing {
        let Some(status) = self.status() else {
            return Standing::default();
        };
        Standing {
            leads: status.leader == Some(status.node_id),
            term: status.term,
            last_index: status.last_index,
            applied_index: status.applied_index,
            disk_full: status.disk_full,
            failed: self.failed(),
        }
    }
}

/// Bytes of a part of a state that is restored: small beside what the connections between servers carry at once.
const PART: usize = 1 << 20;

impl SnapshotFiles for WeakBehind {
    fn write(&self, state: &State, to: &mut dyn Write) -> io::Result<u64> {
        let head = Head {
            cluster_id: self.cluster_id().unwrap_or(0),
            revision: state.revision().0,
            at_ms: state.last_at().0,
            ..Head::default()
        };
        snapshot::write(state, &head, to)
    }

    fn read(&self, file: &[u8]) -> Result<SnapshotParts, String> {
        let read = snapshot::read_parts(file, file.len() as u64, PART);
        let (head, parts) = read.map_err(|error| match error {
            ReadError::Damaged(what) => what,
            ReadError::Io(error) => error.to_string(),
        })?;
        Ok(SnapshotParts {
            revision: Revision(head.revision),
            parts,
        })
    }
}
