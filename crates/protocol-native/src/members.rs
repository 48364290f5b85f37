//! The servers of the cluster: who they are, and how they come and go.

use std::sync::Arc;

use portolan_api as api;
use portolan_catalog::servers;
use portolan_listener::{Action, Caller, Params, Request, Resource};
use portolan_registry::{Member, MemberChange};

use crate::App;
use crate::error::{Answer, Failure};
use crate::query::Query;
use crate::reply::json;
use crate::write::body;

fn render(app: &App, member: Member) -> api::Member {
    let record = app.registry.read(|state| servers::of(state, member.node));
    let alive = member.alive();
    let milliseconds = |age: std::time::Duration| u64::try_from(age.as_millis()).ok();
    api::Member {
        id: format!("{:016x}", member.node),
        role: match (member.leader, member.voter) {
            (true, _) => "leader",
            (false, true) => "voter",
            (false, false) => "learner",
        }
        .to_owned(),
        alive,
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

/// `GET /v1/members`.
pub(crate) async fn list(app: Arc<App>, request: Request, _: Params) -> Answer {
    Caller::of(&request).allow(Action::Read, Resource::Operator)?;
    Query::of(&request, &[])?;
    let members = app.registry.members();
    Ok(json(&api::Members {
        cluster: format!("{:016x}", app.registry.cluster_id()),
        members: members
            .into_iter()
            .map(|member| render(&app, member))
            .collect(),
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
