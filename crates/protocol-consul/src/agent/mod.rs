//! `/v1/agent/*`: the server that was addressed, as the agent of its own node.
//!
//! The agent lists the rows that were registered through it. Calls by id look there first and then on every other node,
//! because a load balancer may send the deregistration to another server than the registration.

pub(crate) mod checks;
pub(crate) mod info;
pub(crate) mod listing;
pub(crate) mod maintenance;
pub(crate) mod services;

use crate::read::Shown;
use crate::server::Server;
use portolan_catalog::{Check, CheckKey, Instance, InstanceKey, NodeName, Protocol, Via};
use std::sync::Arc;

/// Whether a row is one an agent lists: born in Consul, through an agent.
fn is_agents(instance: &Instance) -> bool {
    instance.key.origin == Protocol::Consul && instance.via == Via::Agent
}

/// The row with a service id: on this server's node, else the only one among all other nodes.
pub(crate) fn find_service<'a>(
    server: &Server,
    shown: Shown<'a>,
    id: &str,
) -> Option<&'a Arc<Instance>> {
    let on = |node: &NodeName| {
        shown
            .state
            .instance(&InstanceKey::consul(node, id))
            .filter(|row| is_agents(row))
    };
    let own = server.info.node();
    if let Some(row) = on(&own) {
        return Some(row);
    }
    only(
        shown
            .state
            .nodes()
            .filter(|node| node.name != own)
            .filter_map(|node| on(&node.name)),
    )
}

/// The check with an id, found likewise. Only checks that came through an agent are an agent's.
pub(crate) fn find_check<'a>(
    server: &Server,
    shown: Shown<'a>,
    id: &str,
) -> Option<&'a Arc<Check>> {
    let on = |node: &NodeName| {
        shown
            .state
            .check(&CheckKey::new(node, id))
            .filter(|check| check.owner.as_ref() == Some(node))
    };
    let own = server.info.node();
    if let Some(check) = on(&own) {
        return Some(check);
    }
    only(
        shown
            .state
            .nodes()
            .filter(|node| node.name != own)
            .filter_map(|node| on(&node.name)),
    )
}

/// The only one, if there is exactly one.
fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next()?;
    items.next().is_none().then_some(first)
}
