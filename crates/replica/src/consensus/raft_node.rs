//! This node in the cluster: openraft, started and asked.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::async_runtime::{Instant, WatchReceiver};
use openraft::errors::Fatal as Stopped;
use openraft::{BasicNode, ChangeMembers, Config, ReadPolicy, SnapshotPolicy};
use portolan_cluster::forward::Leader;
use portolan_environment::watch;

use super::machine::{Builder, Machine};
use super::network::Network;
use super::store::Store;
use super::types::{Raft, Types, node_parts, node_text};
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

/// A member of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemberNode {
    pub(crate) node: u64,
    pub(crate) address: String,
    pub(crate) name: String,
    pub(crate) voter: bool,
}

impl RaftNode {
    /// Starts openraft. A cluster that is new begins with `members` (their Raft ids, addresses and names, this node among them); without
    /// any, this server waits to be told. The only voter waits until it leads and its state is what it was; a member of a larger cluster
    /// has the others to tell it.
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
        if fresh && !members.is_empty() {
            let members: BTreeMap<u64, BasicNode> = members
                .iter()
                .map(|(id, address)| (*id, BasicNode::new(address)))
                .collect();
            raft.initialize(members).await.map_err(words)?;
        }
        let node = RaftNode { raft, announced };
        if !node.votes_alone(id).await? {
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

    /// Whether this server is the only one with a vote, as far as it knows.
    async fn votes_alone(&self, id: u64) -> Result<bool, String> {
        self.raft
            .with_raft_state(move |state| {
                let mut voters = state.membership_state.effective().voter_ids();
                voters.next() == Some(id) && voters.next().is_none()
            })
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
        self.membership().len()
    }

    /// The members as this one knows them.
    pub(crate) fn membership(&self) -> Vec<MemberNode> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let nodes = membership.nodes();
        nodes
            .map(|(id, node)| {
                let (address, name) = node_parts(&node.addr);
                MemberNode {
                    node: *id,
                    address: address.to_owned(),
                    name: name.to_owned(),
                    voter: voters.contains(id),
                }
            })
            .collect()
    }

    /// On the leader: how far each other member has come, and how long ago it answered.
    pub(crate) fn progress(&self) -> BTreeMap<u64, (u64, Option<Duration>)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let heard = metrics.heartbeat.as_ref();
        let replication = metrics.replication.iter().flatten();
        replication
            .map(|(id, matching)| {
                let at = heard.and_then(|heard| *heard.get(id)?);
                let age = at.map(|at| at.into_inner().elapsed());
                (*id, (matching.as_ref().map_or(0, |at| at.index), age))
            })
            .collect()
    }

    /// The leader as this one knows it, sent on every change; ends with openraft.
    pub(crate) async fn tell_leader(self, tell: watch::Sender<Option<Leader>>) {
        let mut metrics = self.raft.server_metrics();
        loop {
            let leader = {
                let now = metrics.borrow_watched();
                now.current_leader.map(|node| {
                    let membership = now.membership_config.membership();
                    let addr = membership.get_node(&node).map(|node| node.addr.clone());
                    let addr = addr.unwrap_or_default();
                    Leader {
                        node,
                        address: node_parts(&addr).0.to_owned(),
                    }
                })
            };
            tell.send_if_modified(|told| {
                let differs = *told != leader;
                *told = leader;
                differs
            });
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// The index that everything acknowledged before this call is at or below; only a leader that hears a majority knows it.
    pub(crate) async fn read_index(&self) -> Result<u64, String> {
        let read = self.raft.get_read_log_id(ReadPolicy::ReadIndex).await;
        read.map(|(read, _)| read.index()).map_err(words)
    }

    /// Takes a server in, without a vote; or notes its new address.
    pub(crate) async fn admit(&self, node: u64, address: &str, name: &str) -> Result<(), String> {
        let text = node_text(address, name);
        let nodes = BTreeMap::from([(node, BasicNode::new(text))]);
        let known = self.membership().iter().any(|member| member.node == node);
        let change = match known {
            true => ChangeMembers::SetNodes(nodes),
            false => ChangeMembers::AddNodes(nodes),
        };
        self.change(change).await
    }

    /// Gives servers that are taken in a vote.
    pub(crate) async fn promote(&self, nodes: BTreeSet<u64>) -> Result<(), String> {
        self.change(ChangeMembers::AddVoterIds(nodes)).await
    }

    /// Removes a server, with its vote if it has one.
    pub(crate) async fn remove(&self, node: u64) -> Result<(), String> {
        let members = self.membership();
        let voter = members
            .iter()
            .any(|member| member.node == node && member.voter);
        let nodes = BTreeSet::from([node]);
        self.change(match voter {
            true => ChangeMembers::RemoveVoters(nodes),
            false => ChangeMembers::RemoveNodes(nodes),
        })
        .await
    }

    async fn change(&self, change: ChangeMembers<u64, BasicNode>) -> Result<(), String> {
        let changed = self.raft.change_membership(change, false).await;
        changed.map(drop).map_err(words)
    }

    /// Hands leadership over; returns before that is done.
    pub(crate) async fn transfer(&self, to: u64) -> Result<(), String> {
        let transfer = self.raft.trigger().transfer_leader(to).await;
        transfer.map_err(words)
    }

    /// Stands for election at once.
    pub(crate) async fn elect(&self) -> Result<(), String> {
        self.raft.trigger().elect(false).await.map_err(words)
    }

    /// How long ago there was a sign of the leader: its messages, or on the leader itself the answers of a majority.
    pub(crate) async fn leader_age(&self, own_id: u64) -> Option<Duration> {
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
        heard.map(|at| at.elapsed())
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
