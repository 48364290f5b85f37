//! Roles: made, changed, removed, listed.

use super::shapes;
use super::{allowed, fresh_id, is_name, not_there, object, watched, write};
use crate::error::Failure;
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::wire::Fields;
use portolan_access::rows::{Kept, Role};
use portolan_access::store::{Changes, ROLES};
use portolan_access::{AccessControl, Directory};
use portolan_listener::Action;
use serde_json::Value;
use std::sync::Arc;

/// The longest name of a role.
const NAME: usize = 256;

/// PUT /v1/acl/role
pub(crate) async fn create(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    let access = allowed(&server, &request, Action::Write)?.clone();
    let body = object(&mut request, "Role").await?;
    if !Fields::of(&body, "role")?.text("id")?.is_empty() {
        return Err(Failure::bad(
            "Cannot specify the ID when creating a new role",
        ));
    }
    let role = read_body(&body, fresh_id(), &access.directory())?;
    put(&server, &request, &access, role, None).await
}

fn read_body(body: &Value, id: String, directory: &Directory) -> Result<Role, Failure> {
    let fields = Fields::of(body, "role")?;
    let role = Role {
        id,
        name: fields.text("name")?,
        description: fields.text("description")?,
        grants: shapes::grants(&fields, directory)?,
    };
    if role.name.is_empty() {
        return Err(Failure::server("Invalid Role: no Name is set"));
    }
    if !is_name(&role.name, NAME) {
        return Err(Failure::server(
            "Invalid Role: invalid Name. Only alphanumeric characters, '-' and '_' are allowed",
        ));
    }
    Ok(role)
}

async fn put(
    server: &Server,
    request: &Request,
    access: &AccessControl,
    role: Role,
    old: Option<Kept<Role>>,
) -> Result<Reply, Failure> {
    let taken = || {
        format!(
            "Invalid Role: A Role with Name {:?} already exists",
            role.name
        )
    };
    let mut changes = Changes::default();
    changes.role(&role, old.as_ref());
    write(server, request, changes, taken).await?;
    let directory = access.directory();
    let kept = directory.role(&role.id).ok_or_else(not_there)?;
    Reply::json(&shapes::role(kept, &directory))
}

/// PUT /v1/acl/role/:id
pub(crate) async fn update(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    let access = allowed(&server, &request, Action::Write)?.clone();
    let id = request.named("id", "Missing role ID")?;
    let body = object(&mut request, "Role").await?;
    let given = Fields::of(&body, "role")?.text("id")?;
    if !given.is_empty() && given != id {
        return Err(Failure::bad("Role ID in URL and payload do not match"));
    }
    let directory = access.directory();
    let old = directory.role(&id).cloned();
    let old = old.ok_or_else(|| Failure::server(format!("cannot find role {id}")))?;
    let role = read_body(&body, id, &directory)?;
    put(&server, &request, &access, role, Some(old)).await
}

/// DELETE /v1/acl/role/:id
pub(crate) async fn delete(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let access = allowed(&server, &request, Action::Write)?;
    let id = request.named("id", "Missing role ID")?;
    let directory = access.directory();
    if let Some(kept) = directory.role(&id) {
        let mut changes = Changes::default();
        changes.drop_role(&kept.row);
        write(&server, &request, changes, String::new).await?;
    }
    Ok(Reply::truth(true))
}

/// GET /v1/acl/role/:id
pub(crate) async fn read(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let access = allowed(&server, &request, Action::Read)?;
    let id = request.named("id", "Missing role ID")?;
    watched(&server, &request, access, ROLES, |directory, _| {
        let kept = directory.role(&id).ok_or_else(not_there)?;
        Reply::json(&shapes::role(kept, directory))
    })
    .await
}

/// GET /v1/acl/role/name/:name
pub(crate) async fn read_named(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let access = allowed(&server, &request, Action::Read)?;
    let name = request.named("name", "Missing role Name")?;
    watched(&server, &request, access, ROLES, |directory, _| {
        let kept = directory.role_named(&name).ok_or_else(not_there)?;
        Reply::json(&shapes::role(kept, directory))
    })
    .await
}

/// GET /v1/acl/roles
pub(crate) async fn list(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let access = allowed(&server, &request, Action::Read)?;
    let policy = request.params().get("policy").to_owned();
    watched(&server, &request, access, ROLES, |directory, _| {
        let has =
            |kept: &Kept<Role>| policy.is_empty() || kept.row.grants.policies.contains(&policy);
        let mut kept: Vec<_> = directory.roles().filter(|kept| has(kept)).collect();
        kept.sort_by(|a, b| a.row.name.cmp(&b.row.name));
        let rows: Vec<Value> = kept
            .into_iter()
            .map(|kept| shapes::role(kept, directory))
            .collect();
        Reply::json(&rows)
    })
    .await
}
