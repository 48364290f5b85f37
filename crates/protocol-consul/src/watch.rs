//! Blocking queries: an answer that waits until there is news about what was asked.
//!
//! Invariants
//! - A query is woken by a feed of what it is about, never by a timer that looks; a change elsewhere does not wake it.
//! - While it waits it holds no state: a thousand waiting queries pin no snapshot.
//! - An index that is equal to or beyond the present one waits. The time limit answers 200 with what is there now.

use crate::error::Failure;
use crate::read::Shown;
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::wire::ReadOptions;
use portolan_catalog::{
    Batch, Change, KeyRange, Keyspace, NodeName, Revision, ServiceKey, State, Table,
};
use portolan_registry::{Registry, Selector};
use std::sync::Arc;
use std::time::Duration;

/// Revisions that are looked through to tell news from a shared index that moved; beyond that it is taken for news.
const LOOKED_THROUGH: u64 = 10_000;
/// Of these, so many are read at once.
const AT_ONCE: usize = 256;

/// What a query is about, and so what wakes it.
#[derive(Debug, Clone)]
pub(crate) enum Topic {
    /// One service: its members, their checks and nodes.
    Service(ServiceKey),
    /// The list of services and their tags; a change of health is no news.
    Services,
    /// The list of nodes, stand-ins of instances included, and what is on them; a change of health is no news.
    Nodes,
    /// Everything that shows in health answers: nodes, instances and checks.
    Health,
    /// One node and its instances, without their health.
    Node(NodeName),
    /// One node, its instances and all their checks.
    NodeHealth(NodeName),
    /// All sessions.
    Sessions,
    /// Records of a range.
    Records(Keyspace, KeyRange),
    /// Which services gateways lead to: config entries and the list of services.
    GatewayServices,
    /// The instances of gateways: config entries and everything that shows in health answers.
    GatewayHealth,
}

/// All config entries.
fn entries_topic() -> Topic {
    Topic::Records(Keyspace::ConsulObjects, KeyRange::prefix(b"config/"))
}

impl Topic {
    fn selectors(&self) -> Vec<Selector> {
        let table = Selector::Table;
        match self {
            Self::Service(service) => vec![Selector::Service(service.clone())],
            Self::Services => vec![table(Table::Services), table(Table::Instances)],
            Self::Nodes => vec![table(Table::Nodes), table(Table::Instances)],
            Self::Health => vec![
                table(Table::Nodes),
                table(Table::Instances),
                table(Table::Checks),
            ],
            Self::Node(node) | Self::NodeHealth(node) => vec![Selector::Node(node.clone())],
            Self::Sessions => vec![table(Table::Sessions)],
            Self::Records(space, KeyRange::One(key)) => vec![Selector::Key(*space, key.clone())],
            Self::Records(space, range) => vec![Selector::Range(*space, range.clone())],
            Self::GatewayServices => Self::with_entries(&Self::Services),
            Self::GatewayHealth => Self::with_entries(&Self::Health),
        }
    }

    fn with_entries(other: &Self) -> Vec<Selector> {
        let mut selectors = other.selectors();
        selectors.extend(entries_topic().selectors());
        selectors
    }

    /// The index of answers about the topic: the revision of its last news, or that of the tables it shares.
    fn index(&self, state: &State) -> u64 {
        let marks = state.marks();
        match self {
            Self::Service(service) => state.service_index(service),
            Self::Services => marks.services.max(marks.instances),
            // Rows that left a node are known only to the marks of whole tables.
            Self::Nodes | Self::Node(_) => marks.nodes.max(marks.instances),
            Self::Health | Self::NodeHealth(_) => {
                marks.nodes.max(marks.instances).max(marks.checks)
            }
            Self::Sessions => marks.sessions,
            Self::Records(space, range) => state.records_index(*space, range),
            Self::GatewayServices | Self::GatewayHealth => {
                let entries = Revision(entries_topic().index(state));
                let rows = marks.services.max(marks.instances).max(marks.nodes);
                match self {
                    Self::GatewayHealth => rows.max(marks.checks).max(entries),
                    _ => rows.max(entries),
                }
            }
        }
        .0
    }

    /// Whether the index of the topic moves exactly with its news. Other topics share the index of whole tables.
    fn is_exact(&self) -> bool {
        match self {
            Self::Service(_) | Self::Records(..) | Self::Sessions | Self::Health => true,
            Self::Services
            | Self::Nodes
            | Self::Node(_)
            | Self::NodeHealth(_)
            | Self::GatewayServices
            | Self::GatewayHealth => false,
        }
    }

    /// Whether anything after `index` was news, as far as the history tells; true when it does not reach back.
    fn happened_since(&self, registry: &Registry, state: &State, index: u64) -> bool {
        let now = state.revision();
        if self.is_exact() || now.0.saturating_sub(index) > LOOKED_THROUGH {
            return true;
        }
        let (selectors, mut after) = (self.selectors(), Revision(index));
        while after < now {
            if after < registry.floor(None) {
                return true;
            }
            match registry.batches(&selectors, after, now, AT_ONCE) {
                Ok(piece) if piece.batches.iter().any(|batch| self.is_news(batch)) => return true,
                Ok(piece) => after = piece.through,
                Err(_) => return true,
            }
        }
        false
    }

    /// Whether a batch that matched is news. For lists that show no health, a change of health alone is not.
    fn is_news(&self, batch: &Batch) -> bool {
        match self {
            Self::Services | Self::Nodes | Self::Node(_) => {
                batch.changes.iter().any(|change| match change {
                    Change::Instance {
                        before: Some(before),
                        after: Some(after),
                    } => !Arc::ptr_eq(&before.facts, &after.facts),
                    Change::Instance { .. } => true,
                    // Among twins, health decides which rows are shown.
                    Change::Endpoint { before, after } => {
                        before.iter().chain(after).any(|row| row.members.len() > 1)
                    }
                    Change::Service { .. } => matches!(self, Self::Services),
                    Change::Node { .. } => matches!(self, Self::Nodes | Self::Node(_)),
                    _ => false,
                })
            }
            _ => true,
        }
    }
}

impl Server {
    /// Answers a read, and with `?index=` waits for news first.
    pub(crate) async fn watched(
        &self,
        request: &Request,
        topic: &Topic,
        body: impl Fn(Shown<'_>) -> Result<Reply, Failure>,
    ) -> Result<Reply, Failure> {
        let options = request.read_options()?;
        let mut state = self.state_for(options.consistency).await?;
        if options.index > 0 {
            let news = |state: &State| topic.index(state) > options.index;
            // The index may have moved for something else in the same tables.
            if !(news(&state) && topic.happened_since(&self.registry, &state, options.index)) {
                state = Box::pin(self.wait(request, &options, topic, state, news)).await;
            }
        }
        let shown = self.shown_to(request, &state);
        Ok(body(shown)?.fresh(self.freshness(&options, topic.index(&state))))
    }

    /// As [`Server::watched`], for an index that is not ordered: waits until it is another one.
    pub(crate) async fn watched_until_different(
        &self,
        request: &Request,
        topic: &Topic,
        index: impl Fn(Shown<'_>) -> u64,
        body: impl Fn(Shown<'_>) -> Result<Reply, Failure>,
    ) -> Result<Reply, Failure> {
        let options = request.read_options()?;
        let mut state = self.state_for(options.consistency).await?;
        if options.index > 0 {
            let news = |state: &State| index(self.shown_to(request, state)) != options.index;
            if !news(&state) {
                state = Box::pin(self.wait(request, &options, topic, state, news)).await;
            }
        }
        let shown = self.shown_to(request, &state);
        Ok(body(shown)?.fresh(self.freshness(&options, index(shown))))
    }

    /// Waits until the hash of an answer is another one, or the time is over.
    pub(crate) async fn until_hash_differs(
        &self,
        request: &Request,
        topic: &Topic,
        hash: &str,
        render: impl Fn(Shown<'_>) -> Result<(String, Reply), Failure>,
    ) -> Result<Reply, Failure> {
        let options = request.read_options()?;
        let mut state = self.snapshot();
        // What went away is news as well.
        let news = |state: &State| {
            render(self.shown_to(request, state)).map_or(true, |(now, _)| now != hash)
        };
        if !news(&state) {
            state = Box::pin(self.wait(request, &options, topic, state, news)).await;
        }
        Ok(render(self.shown_to(request, &state))?.1)
    }

    /// Waits for news after `state`, the time limit, or the server's end, and gives the state as it is then.
    /// Callers box it: most reads do not wait, and should not carry the memory that waiting takes.
    pub(crate) async fn wait(
        &self,
        request: &Request,
        options: &ReadOptions,
        topic: &Topic,
        state: Arc<State>,
        news: impl Fn(&State) -> bool,
    ) -> Arc<State> {
        let after = state.revision();
        drop(state);
        let Ok(mut feed) = self.registry.follow(topic.selectors(), after) else {
            return self.snapshot();
        };
        let limit = tokio::time::sleep(with_jitter(options.wait));
        let draining = request.caller.draining();
        tokio::pin!(limit, draining);
        loop {
            tokio::select! {
                batch = feed.next() => match batch {
                    Ok(batch) if !topic.is_news(&batch) => {}
                    Ok(_) => {
                        let state = self.snapshot();
                        if news(&state) {
                            return state;
                        }
                    }
                    // So far behind that the history is gone: something happened, and a spurious return is allowed.
                    Err(_) => return self.snapshot(),
                },
                () = &mut limit => return self.snapshot(),
                () = &mut draining => return self.snapshot(),
            }
        }
    }
}

/// The wait and up to a sixteenth more, so that those who began together do not return together.
fn with_jitter(wait: Duration) -> Duration {
    wait + wait.mul_f64(portolan_environment::random_fraction() / 16.0)
}
