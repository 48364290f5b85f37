//! The servers of the cluster: who they are, and how they come and go.

use std::sync::Arc;

use portolan_api as api;
use portolan_catalog::servers::{self, ServerRecord};
use portolan_catalog::{
    CheckKey, KeyRange, Keyspace, NodeName, Protocol, ServiceKey, State, Status,
};
use portolan_listener::{Action, Caller, Params, Request, Resource};
use portolan_registry::{Member, MemberChange};

use crate::App;
use crate::as_of::print;
use crate::error::{Answer, Failure};
use crate::query::Query;
use crate::reply::json;
use crate::write::body;

fn milliseconds(age: std::time::Duration) -> Option<u64> {
    u64::try_from(age.as_millis()).ok()
}

/// Since when the cluster takes a server for dead, by the check that its leader keeps for it.
fn dead_since(state: &State, name: &str) -> Option<String> {
    let check = state.check(&CheckKey::new(&NodeName::new(name), "serfHealth"))?;
    (check.status == Status::Critical).then(|| print(check.since))
}

/// `cut`: no server can be reached from here, so that nobody knows how they are.
fn render(state: &State, member: Member, cut: bool) -> api::Member {
    let record = servers::of(state, member.node);
    let alive = member.alive();
    let since = match alive {
        true => None,
        false => dead_since(state, &member.name),
    };
    let known = member.last_contact.is_some() || since.is_some();
    api::Member {
        id: format!("{:016x}", member.node),
        role: match (member.leader, member.voter) {
            (true, _) => "leader",
            (false, true) => "voter",
            (false, false) => "learner",
        }
        .to_owned(),
        alive,
        status: match (alive, known && !cut) {
            (true, _) => "alive",
            (false, true) => "dead",
            (false, false) => "unknown",
        }
        .to_owned(),
        dead_since: since,
        name: member.name,
        address: member.address,
        last_contact_ms: member.last_contact.and_then(milliseconds),
        last_index: member.last_index,
        term: member.term,
        version: member.version,
        level: member.level,
        addresses: record.map(|record| record.addresses).unwrap_or_default(),
    }
}

/// The servers that an agent knows from its copy alone: it has reached none since it began.
fn from_copy(state: &State) -> Vec<api::Member> {
    let all = KeyRange::prefix(servers::PREFIX.as_bytes());
    let records = state.range(Keyspace::Settings, &all);
    let mut known: Vec<api::Member> = records
        .filter_map(|(key, record)| ServerRecord::parse(key, &record.bytes()))
        .map(|record| api::Member {
            id: format!("{:016x}", record.node),
            name: record.name,
            address: record.addresses.get("cluster").cloned().unwrap_or_default(),
            addresses: record.addresses,
            ..api::Member::default()
        })
        .collect();
    // A server that is alone keeps no record of itself.
    for row in state.instances(&ServiceKey::plain("consul")) {
        let named = |member: &api::Member| NodeName::new(&member.name) == row.node;
        if row.key.origin == Protocol::Portolan && !known.iter().any(named) {
            known.push(api::Member {
                name: row.node.to_string(),
                ..api::Member::default()
            });
        }
    }
    for member in &mut known {
        member.dead_since = dead_since(state, &member.name);
        member.role = "unknown".to_owned();
        member.status = "unknown".to_owned();
    }
    known
}

/// `GET /v1/members`.
pub(crate) async fn list(app: Arc<App>, request: Request, _: Params) -> Answer {
    Caller::of(&request).allow(Action::Read, Resource::Operator)?;
    Query::of(&request, &[])?;
    let members = app.registry.members();
    let copy = app.registry.is_copy();
    let cut = copy && !members.iter().any(Member::alive);
    let members = app.registry.read(|state| match members.is_empty() && copy {
        true => from_copy(state),
        false => members
            .into_iter()
            .map(|member| render(state, member, cut))
            .collect(),
    });
    Ok(json(&api::Members {
        cluster: format!("{:016x}", app.registry.cluster_id()),
        copy_age_ms: match copy {
            true => app.registry.last_contact().and_then(milliseconds),
            false => None,
        },
        members,
    }))
}

/// `POST /v1/cluster`.
pub(crate) async fn change(app: Arc<App>, mut request: Request, _: Params) -> Answer {
    let caller = Caller::of(&request);
    caller.allow(Action::Admin, Resource::Operator)?;
    Query::of(&request, &[])?;
    let change = match body(&app, &mut request).await? {
        api::ClusterChange::Add(address) => MemberChange::Add(address),
        api::ClusterChange::Remove(named) => MemberChange::Remove(named),
        api::ClusterChange::Transfer(named) => MemberChange::Transfer(named),
        api::ClusterChange::Leave => MemberChange::Leave,
    };
    let changed = app.registry.change_members(change).await;
    changed.map_err(|why| Failure::conflict("not_changed", why))?;
    Ok(json(&serde_json::json!({})))
}
