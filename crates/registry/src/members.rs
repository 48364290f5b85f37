//! The members of the cluster, as protocols show and change them.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::registry::Registry;

/// A server of the cluster, as this one knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its Raft id.
    pub node: u64,
    /// Its name; may be empty for a moment after it was taken in.
    pub name: String,
    /// Its cluster address; empty for a server that nobody can reach.
    pub address: String,
    /// Whether it has a vote.
    pub voter: bool,
    /// Whether it leads.
    pub leader: bool,
    /// Whether it is this server.
    pub own: bool,
    /// How long ago it was last heard of, at the most; none when it never was.
    pub last_contact: Option<Duration>,
    /// The last entry in its log, as far as is known.
    pub last_index: u64,
    /// Its term.
    pub term: u64,
    /// Its version; empty before it was heard of.
    pub version: String,
    /// The feature level it knows.
    pub level: u8,
    /// How long a question to it took.
    pub round_trip: Option<Duration>,
}

impl Member {
    /// A member that was not heard of for longer than this is taken for dead.
    pub const ALIVE: Duration = Duration::from_secs(3);

    /// Whether it was heard of lately.
    #[must_use]
    pub fn alive(&self) -> bool {
        self.last_contact.is_some_and(|age| age <= Member::ALIVE)
    }
}

/// What an operator wants of the cluster. Servers are named by their name, cluster address, or id in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// A server that belongs to no cluster is asked to join, by its cluster address.
    Add(String),
    /// A server loses its vote and its place.
    Remove(String),
    /// Another server leads; the one that has come furthest when none is named.
    Transfer(Option<String>),
    /// A server that has no vote gets one, if it has caught up.
    Promote(String),
    /// This server leaves, and its process stops.
    Leave,
}

/// What became of a change; the error says why not, in words.
pub type Changed<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// What stands behind a registry and knows its members.
pub trait Cluster: Debug + Send + Sync {
    /// The cluster's id.
    fn id(&self) -> u64;

    /// The members, by id, this server among them.
    fn members(&self) -> Vec<Member>;

    /// Changes them, at whichever server leads.
    fn change(&self, change: MemberChange) -> Changed<'_>;
}

impl Registry {
    fn cluster(&self) -> Option<std::sync::Arc<dyn Cluster>> {
        self.shared().cluster.get()?.upgrade()
    }

    /// The cluster's id; 0 for a registry of tests.
    pub fn cluster_id(&self) -> u64 {
        self.cluster().map_or(0, |cluster| cluster.id())
    }

    /// The members of the cluster, by id, this server among them. One without a cluster behind it is alone.
    pub fn members(&self) -> Vec<Member> {
        match self.cluster() {
            Some(cluster) => cluster.members(),
            None => vec![Member {
                node: 1,
                voter: true,
                leader: self.leads(),
                own: true,
                last_contact: Some(Duration::ZERO),
                last_index: self.snapshot().revision().0,
                term: 1,
                ..Member::default()
            }],
        }
    }

    /// Changes the members, at whichever server leads.
    ///
    /// # Errors
    /// Why it was not done, in words.
    pub async fn change_members(&self, change: MemberChange) -> Result<(), String> {
        match self.cluster() {
            Some(cluster) => cluster.change(change).await,
            None => Err("this server belongs to no cluster".to_owned()),
        }
    }
}
