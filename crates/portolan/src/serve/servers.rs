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

/// How often it is looked.
const ROUND: Duration = Duration::from_millis(500);
/// How long a server that leaves waits until its node is gone.
const LEAVING: Duration = Duration::from_secs(2);

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
