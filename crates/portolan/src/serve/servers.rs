//! Has every server of a cluster know where each gives its clients what, and the leader say which of them are there. A server alone writes
//! nothing: it knows its own ports.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use portolan_catalog::servers::{self, ServerRecord};
use portolan_catalog::{
    Cause, CheckKey, Command, Expect, KeyRange, Keyspace, NodeName, Op, Protocol, ServiceKey,
    State, Status, Why, Write,
};
use portolan_registry::{Member, Registry};

use super::bootstrap::Own;
use crate::config::PortId;

/// How often it is looked: for so long others show a server that has left.
const ROUND: Duration = Duration::from_millis(200);

/// Keeps this server's record true while there are others, for ever.
pub(crate) async fn keep(
    registry: Registry,
    own: Own,
    ports: Vec<(PortId, SocketAddr)>,
    cluster: Option<SocketAddr>,
) {
    loop {
        tokio::time::sleep(ROUND).await;
        let members = registry.members();
        let Some(this) = members.iter().find(|member| member.own) else {
            continue;
        };
        if members.len() < 2 || registry.last_contact().is_none() {
            continue;
        }
        if registry.leads() {
            settle_others(&registry, &members).await;
        }
        let reachable = |address: &SocketAddr| match address.ip().is_unspecified() {
            true => SocketAddr::new(own.address, address.port()).to_string(),
            false => address.to_string(),
        };
        let mut addresses: BTreeMap<String, String> = ports
            .iter()
            .map(|(id, address)| (id.to_string(), reachable(address)))
            .collect();
        addresses.extend(cluster.map(|_| ("cluster".to_owned(), this.address.clone())));
        let record = ServerRecord {
            node: this.node,
            name: own.name.clone(),
            addresses,
        };
        if registry
            .read(|state| servers::of(state, this.node))
            .as_ref()
            == Some(&record)
        {
            continue;
        }
        let write = Command::Write(record.write());
        if let Err(error) = registry.propose(Cause::own(Why::Start), write).await {
            tracing::debug!(%error, "this server's addresses are not known yet");
        }
    }
}

/// Has the catalog say of every server what the leader hears of it.
async fn settle_others(registry: &Registry, members: &[Member]) {
    let commands = registry.read(|state| {
        let mut commands = reports(state, members);
        let gone = gone(state, members);
        if !gone.is_empty() {
            commands.push(Command::Write(Write {
                then: gone,
                ..Write::default()
            }));
        }
        commands
    });
    for command in commands {
        if let Err(error) = registry.propose(Cause::own(Why::Start), command).await {
            tracing::debug!(%error, "what is known of the other servers has to wait");
        }
    }
}

/// The results of `serfHealth` that are other than the leader finds them.
fn reports(state: &State, members: &[Member]) -> Vec<Command> {
    let others = members.iter().filter(|member| !member.name.is_empty());
    others
        .filter_map(|member| {
            let (status, output) = match member.own || member.alive() {
                true => (Status::Passing, "Agent alive and reachable"),
                false => (Status::Critical, "Agent not live or unreachable"),
            };
            let check = CheckKey::new(&NodeName::new(&member.name), "serfHealth");
            let known = state.check(&check)?;
            (known.status != status).then(|| Command::Report {
                check,
                status,
                output: output.into(),
            })
        })
        .collect()
}

/// What removes the records and nodes of servers that are no longer members.
fn gone(state: &State, members: &[Member]) -> Vec<Op> {
    let mut ops = Vec::new();
    let all = KeyRange::prefix(servers::PREFIX.as_bytes());
    for (key, record) in state.range(Keyspace::Settings, &all) {
        let known = ServerRecord::parse(key, &record.bytes());
        let Some(known) = known.filter(|known| members.iter().all(|m| m.node != known.node)) else {
            continue;
        };
        ops.push(Op::Delete {
            space: Keyspace::Settings,
            range: KeyRange::One(key.clone()),
            expect: Expect::Any,
        });
        // A server that came back under another id has the name again.
        let node = NodeName::new(&known.name);
        let again = members.iter().any(|m| NodeName::new(&m.name) == node);
        let mut services = state.instances(&ServiceKey::plain("consul"));
        let is_server =
            services.any(|row| row.key.origin == Protocol::Portolan && row.node == node);
        if !again && is_server {
            ops.push(Op::Command(Box::new(Command::DropNode {
                name: node,
                expect: None,
            })));
        }
    }
    ops
}

#[cfg(test)]
mod tests {
    use portolan_registry::LocalOptions;

    use super::*;

    fn member(node: u64, name: &str, heard: Option<u64>) -> Member {
        Member {
            node,
            name: name.to_owned(),
            last_contact: heard.map(Duration::from_secs),
            ..Member::default()
        }
    }

    #[tokio::test]
    async fn servers_that_are_gone_leave_nothing_and_silent_ones_are_critical() {
        let registry = Registry::local(&LocalOptions::default());
        let own = registry.read(|state| state.nodes().next().map(|node| node.name.to_string()));
        let own = own.unwrap();
        let record = |node, name: &str| ServerRecord {
            node,
            name: name.to_owned(),
            addresses: BTreeMap::new(),
        };
        for record in [record(1, &own), record(2, "gone")] {
            let write = Command::Write(record.write());
            let settled = registry.propose(Cause::own(Why::Start), write).await;
            settled.unwrap().outcome.unwrap();
        }
        let members = [member(1, &own, Some(60)), member(3, "", None)];
        settle_others(&registry, &members).await;
        let check = CheckKey::new(&NodeName::new(&own), "serfHealth");
        let status = || registry.read(|state| state.check(&check).map(|check| check.status));
        assert_eq!(status(), Some(Status::Critical));
        registry.read(|state| {
            assert!(servers::of(state, 2).is_none());
            assert!(servers::of(state, 1).is_some());
        });
        settle_others(&registry, &[member(1, &own, Some(0))]).await;
        assert_eq!(status(), Some(Status::Passing));
        let before = registry.snapshot().revision();
        settle_others(&registry, &[member(1, &own, Some(0))]).await;
        assert_eq!(registry.snapshot().revision(), before, "nothing twice");
    }
}
