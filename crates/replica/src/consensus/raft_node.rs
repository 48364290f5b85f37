//! This node in the cluster: openraft, started and asked.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::async_runtime::{Instant, WatchReceiver};
use openraft::errors::Fatal as Stopped;
use openraft::{BasicNode, Config, ReadPolicy, SnapshotPolicy};

use super::machine::{Builder, Machine};
use super::network::Network;
use super::store::Store;
use super::types::{Raft, Types};
use crate::identity::Identity;

/// How long a start waits for its own election and recovery.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A handle to openraft. Clones share it.
#[derive(Clone)]
pub(crate) struct RaftNode {
    raft: Raft,
    announced: Arc<AtomicBool>,
}

/// What openraft says of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct RaftStatus {
    pub(crate) term: u64,
    pub(crate) leader: Option<u64>,
    pub(crate) last_index: u64,
    /// Why openraft stopped, if it did.
    pub(crate) stopped: Option<String>,
}

fn words<E: std::fmt::Display>(error: E) -> String {
    error.to_string()
}

fn other(error: Stopped<Types>) -> io::Error {
    io::Error::other(error.to_string())
}

impl RaftNode {
    /// Starts openraft. A cluster that is new begins with `members` (their Raft ids and addresses, this node among them). The only voter
    /// waits until it leads and its state is what it was; a member of a larger cluster has the others to tell it.
    ///
    /// # Errors
    /// openraft's words.
    pub(crate) async fn start(
        identity: &Identity,
        members: &BTreeMap<u64, String>,
        network: Network,
        store: Store,
        machine: Machine,
    ) -> Result<RaftNode, String> {
        let config = Config {
            cluster_name: format!("{:016x}", identity.cluster_id),
            heartbeat_interval: 100,
            election_timeout_min: 500,
            election_timeout_max: 1000,
            max_payload_entries: 1024,
            // Snapshots are taken by bytes, not by entries, and outside openraft.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: 0,
            enable_pre_vote: Some(true),
            // A leader that was restarted may have lost entries that it sent but had not synced, and would use their places again. Here
            // every append is synced before it is sent; an election makes it certain.
            enable_leader_restore: Some(false),
            ..Config::default()
        };
        let config = Arc::new(config.validate().map_err(words)?);
        let announced = machine.announced();
        let id = identity.node_id;
        let raft = Raft::new(id, config, network, store, machine)
            .await
            .map_err(words)?;
        let fresh = !raft.is_initialized().await.map_err(words)?;
        if fresh {
            let members: BTreeMap<u64, BasicNode> = members
                .iter()
                .map(|(id, address)| (*id, BasicNode::new(address)))
                .collect();
            raft.initialize(members).await.map_err(words)?;
        }
        let node = RaftNode { raft, announced };
        if node.voters().await? > 1 {
            return Ok(node);
        }
        let raft = &node.raft;
        if !fresh && raft.metrics().borrow_watched().current_leader != Some(id) {
            // The only voter need not wait for a timeout.
            raft.trigger().elect(false).await.map_err(words)?;
        }
        raft.wait(Some(START_TIMEOUT))
            .current_leader(id, "the only voter leads")
            .await
            .map_err(words)?;
        raft.wait_for_recovery(Some(START_TIMEOUT))
            .await
            .map_err(words)?;
        raft.ensure_linearizable(ReadPolicy::ReadIndex)
            .await
            .map_err(words)?;
        Ok(node)
    }

    /// How many members have a vote, as far as this one knows.
    async fn voters(&self) -> Result<usize, String> {
        self.raft
            .with_raft_state(|state| state.membership_state.effective().voter_ids().count())
            .await
            .map_err(words)
    }

    pub(crate) fn raft(&self) -> Raft {
        self.raft.clone()
    }

    pub(crate) fn status(&self) -> RaftStatus {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        RaftStatus {
            term: metrics.current_term,
            leader: metrics.current_leader,
            last_index: metrics.last_log_index.unwrap_or(0),
            stopped: metrics.running_state.as_ref().err().map(words),
        }
    }

    /// Whether this node takes itself for the leader, which another may be by now.
    pub(crate) fn leads(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.current_leader == Some(metrics.id)
    }

    /// Members of the cluster, this one included.
    pub(crate) fn members(&self) -> usize {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().nodes().count()
    }

    /// Whether there was a sign of the leader within `limit`: its messages, or on the leader itself the answers of a majority.
    pub(crate) async fn hears_leader(&self, own_id: u64, limit: Duration) -> bool {
        let (leader, acknowledged) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let acknowledged = metrics.last_quorum_acked.map(|at| at.into_inner());
            (metrics.current_leader, acknowledged)
        };
        let heard = match leader {
            None => None,
            Some(leader) if leader == own_id => acknowledged,
            Some(_) => {
                let state = self
                    .raft
                    .with_raft_state(|state| state.vote_last_modified());
                state.await.ok().flatten()
            }
        };
        heard.is_some_and(|at| at.elapsed() <= limit)
    }

    /// What a snapshot of the present state needs.
    pub(crate) async fn builder(&self) -> io::Result<Builder> {
        self.raft
            .with_state_machine(|machine: &mut Machine| {
                let builder = machine.builder();
                Box::pin(async move { builder })
            })
            .await
            .map_err(other)
    }

    /// Has openraft take note of the snapshot that was written last, and purge what is in it.
    pub(crate) async fn announce_snapshot(&self) -> io::Result<()> {
        self.announced.store(true, Ordering::Release);
        self.raft.trigger().snapshot().await.map_err(other)
    }

    pub(crate) async fn shutdown(&self) {
        if self.raft.shutdown().await.is_err() {
            tracing::warn!("raft did not end in order");
        }
    }
}
