//! Policies: made, changed, removed, listed.

use super::shapes;
use super::{allowed, fresh_id, is_name, not_there, object, watched, write};
use crate::error::Failure;
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::wire::Fields;
use portolan_access::rows::{Kept, Policy};
use portolan_access::rules::Rules;
use portolan_access::store::{Changes, POLICIES};
use portolan_access::{AccessControl, builtin};
use portolan_listener::Action;
use serde_json::Value;
use std::sync::Arc;

/// The longest name of a policy.
const NAME: usize = 128;

/// PUT /v1/acl/policy
pub(crate) async fn create(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    let access = allowed(&server, &request, Action::Write)?.clone();
    let body = object(&mut request, "Policy").await?;
    if !Fields::of(&body, "policy")?.text("id")?.is_empty() {
        return Err(Failure::bad(
            "Cannot specify the ID when creating a new policy",
        ));
    }
    let policy = read_body(&body, fresh_id())?;
    put(&server, &request, &access, policy, None).await
}

fn read_body(body: &Value, id: String) -> Result<Policy, Failure> {
    let fields = Fields::of(body, "policy")?;
    let policy = Policy {
        id,
        name: fields.text("name")?,
        description: fields.text("description")?,
        rules: fields.text("rules")?,
        datacenters: fields.texts("datacenters")?,
    };
    if policy.name.is_empty() {
        return Err(Failure::server("Invalid Policy: no Name is set"));
    }
    // What is built in keeps a name that nobody else may have.
    if !is_name(&policy.name, NAME) && !builtin::reserved(&policy.id) {
        return Err(Failure::server(
            "Invalid Policy: invalid Name. Only alphanumeric characters, '-' and '_' are allowed",
        ));
    }
    Rules::parse(&policy.rules).map_err(|why| Failure::server(why.to_string()))?;
    Ok(policy)
}

async fn put(
    server: &Server,
    request: &Request,
    access: &AccessControl,
    policy: Policy,
    old: Option<Kept<Policy>>,
) -> Result<Reply, Failure> {
    let taken = || {
        format!(
            "Invalid Policy: A Policy with Name {:?} already exists",
            policy.name
        )
    };
    let named = access.directory();
    let other = named.policy_named(&policy.name);
    if other.is_some_and(|other| other.row.id != policy.id) {
        return Err(Failure::server(taken()));
    }
    let mut changes = Changes::default();
    changes.policy(&policy, old.as_ref());
    write(server, request, changes, taken).await?;
    let directory = access.directory();
    let kept = directory.policy(&policy.id).ok_or_else(not_there)?;
    Reply::json(&shapes::policy(kept, true))
}

/// PUT /v1/acl/policy/:id
pub(crate) async fn update(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    let access = allowed(&server, &request, Action::Write)?.clone();
    let id = request.named("id", "Missing policy ID")?;
    let body = object(&mut request, "Policy").await?;
    let given = Fields::of(&body, "policy")?.text("id")?;
    if !given.is_empty() && given != id {
        return Err(Failure::bad("Policy ID in URL and payload do not match"));
    }
    let old = access.directory().policy(&id).cloned().ok_or_else(|| {
        Failure::server(format!(
            "Failed to lookup the policy id {id:?}: no such policy"
        ))
    })?;
    let policy = read_body(&body, id)?;
    if builtin::reserved(&policy.id) && old.row != policy {
        return Err(Failure::server(format!(
            "Changing the builtin {} policy is not permitted",
            old.row.name
        )));
    }
    if old.row == policy {
        return Reply::json(&shapes::policy(&old, true));
    }
    put(&server, &request, &access, policy, Some(old)).await
}

/// DELETE /v1/acl/policy/:id
pub(crate) async fn delete(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let access = allowed(&server, &request, Action::Write)?;
    let id = request.named("id", "Missing policy ID")?;
    let directory = access.directory();
    let Some(kept) = directory.policy(&id) else {
        return Ok(Reply::truth(true));
    };
    if builtin::reserved(&id) {
        return Err(Failure::server(format!(
            "Delete operation not permitted on the builtin {} policy",
            kept.row.name
        )));
    }
    let mut changes = Changes::default();
    changes.drop_policy(&kept.row);
    write(&server, &request, changes, String::new).await?;
    Ok(Reply::truth(true))
}

/// GET /v1/acl/policy/:id
pub(crate) async fn read(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let access = allowed(&server, &request, Action::Read)?;
    let id = request.named("id", "Missing policy ID")?;
    watched(&server, &request, access, POLICIES, |directory, _| {
        let kept = directory.policy(&id).ok_or_else(not_there)?;
        Reply::json(&shapes::policy(kept, true))
    })
    .await
}

/// GET /v1/acl/policy/name/:name
pub(crate) async fn read_named(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let access = allowed(&server, &request, Action::Read)?;
    let name = request.named("name", "Missing policy Name")?;
    watched(&server, &request, access, POLICIES, |directory, _| {
        let kept = directory.policy_named(&name).ok_or_else(not_there)?;
        Reply::json(&shapes::policy(kept, true))
    })
    .await
}

/// GET /v1/acl/policies
pub(crate) async fn list(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let access = allowed(&server, &request, Action::Read)?;
    watched(&server, &request, access, POLICIES, |directory, _| {
        let mut kept: Vec<_> = directory.policies().collect();
        kept.sort_by(|a, b| a.row.name.cmp(&b.row.name));
        let rows: Vec<Value> = kept
            .into_iter()
            .map(|kept| shapes::policy(kept, false))
            .collect();
        Reply::json(&rows)
    })
    .await
}
