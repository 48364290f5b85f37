//! Roles: made, shown, given permissions, taken away.

use std::sync::Arc;

use bytes::Bytes;
use portolan_listener::{Action, Resource};

use super::change::{Changed, change};
use crate::{
    app::{App, allow},
    asker::Asker,
    auth::{
        rows::{self, Blob, Changes, NAME_BYTES, Role},
        rules::ROOT,
    },
    error::{
        Failure, INVALID_MANAGEMENT, PERMISSION_NOT_GIVEN, PERMISSION_NOT_GRANTED,
        REQUEST_TOO_LARGE, ROLE_EMPTY, ROLE_EXISTS, ROLE_NOT_FOUND,
    },
    grpc,
    wire::{
        authpb::{Permission, permission::Type},
        etcdserverpb::*,
    },
};

pub(crate) async fn add(
    app: Arc<App>,
    caller: Asker,
    request: AuthRoleAddRequest,
) -> Result<Bytes, Failure> {
    let revision = change(&app, &caller, |state, _| {
        if request.name.is_empty() {
            return Err(ROLE_EMPTY);
        }
        if request.name.len() > NAME_BYTES {
            return Err(REQUEST_TOO_LARGE);
        }
        if rows::role(state, &request.name).is_some() {
            return Err(ROLE_EXISTS);
        }
        Ok(put(&request.name, &Role::default()))
    });
    Ok(grpc::frame(&AuthRoleAddResponse {
        header: Some(app.header(revision.await?)),
    }))
}

/// Whoever is not root sees its own roles. That of root shows everything, whatever was granted to it.
pub(crate) async fn get(
    app: Arc<App>,
    caller: Asker,
    request: AuthRoleGetRequest,
) -> Result<Bytes, Failure> {
    allow(&caller, Action::Admin, Resource::Operator)?;
    let state = app.state(false).await?;
    let who = app.auth.who(&state, &caller)?;
    if !who.has_role(&request.role) {
        who.manages()?;
    }
    let role = rows::role(&state, &request.role).ok_or(ROLE_NOT_FOUND)?;
    let perm = match &*request.role {
        ROOT => vec![Permission {
            perm_type: Type::Readwrite as i32,
            key: Bytes::new(),
            range_end: Bytes::from_static(b"\0"),
        }],
        _ => role.permissions.into_iter().map(Into::into).collect(),
    };
    Ok(grpc::frame(&AuthRoleGetResponse {
        header: Some(app.header(state.revision())),
        perm,
    }))
}

pub(crate) async fn list(
    app: Arc<App>,
    caller: Asker,
    _: AuthRoleListRequest,
) -> Result<Bytes, Failure> {
    allow(&caller, Action::Admin, Resource::Operator)?;
    let state = app.state(false).await?;
    app.auth.who(&state, &caller)?.manages()?;
    Ok(grpc::frame(&AuthRoleListResponse {
        header: Some(app.header(state.revision())),
        roles: rows::roles(&state).into_keys().collect(),
    }))
}

/// Whoever has the role has it no more.
pub(crate) async fn delete(
    app: Arc<App>,
    caller: Asker,
    request: AuthRoleDeleteRequest,
) -> Result<Bytes, Failure> {
    let revision = change(&app, &caller, |state, head| {
        if head.enabled && request.role == ROOT {
            return Err(INVALID_MANAGEMENT);
        }
        rows::role(state, &request.role).ok_or(ROLE_NOT_FOUND)?;
        let mut changes = Changes::default();
        changes.drop_role(&request.role);
        for (name, mut user) in rows::users(state) {
            if let Ok(place) = user.roles.binary_search(&request.role) {
                user.roles.remove(place);
                changes.put_user(&name, &user);
            }
        }
        Ok(Changed::Rows(changes))
    });
    Ok(grpc::frame(&AuthRoleDeleteResponse {
        header: Some(app.header(revision.await?)),
    }))
}

/// A permission of the same keys becomes another one.
pub(crate) async fn grant_permission(
    app: Arc<App>,
    caller: Asker,
    request: AuthRoleGrantPermissionRequest,
) -> Result<Bytes, Failure> {
    let revision = change(&app, &caller, |state, _| {
        let given = request.perm.as_ref().ok_or(PERMISSION_NOT_GIVEN)?;
        if !is_range(&given.key, &given.range_end) {
            return Err(INVALID_MANAGEMENT);
        }
        let mut role = rows::role(state, &request.name).ok_or(ROLE_NOT_FOUND)?;
        let permissions = &mut role.permissions;
        // etcd looks at the first one that begins with the key, and at no other.
        let place = permissions.partition_point(|known| known.key.0 < given.key);
        match permissions.get_mut(place) {
            Some(known) if known.key.0 == given.key && known.end.0 == given.range_end => {
                known.kind = given.perm_type;
            }
            _ => {
                permissions.push(rows::Permission {
                    kind: given.perm_type,
                    key: Blob(Bytes::copy_from_slice(&given.key)),
                    end: Blob(Bytes::copy_from_slice(&given.range_end)),
                });
                permissions.sort_by(|one, other| one.key.0.cmp(&other.key.0));
            }
        }
        Ok(put(&request.name, &role))
    });
    Ok(grpc::frame(&AuthRoleGrantPermissionResponse {
        header: Some(app.header(revision.await?)),
    }))
}

pub(crate) async fn revoke_permission(
    app: Arc<App>,
    caller: Asker,
    request: AuthRoleRevokePermissionRequest,
) -> Result<Bytes, Failure> {
    let revision = change(&app, &caller, |state, _| {
        let mut role = rows::role(state, &request.role).ok_or(ROLE_NOT_FOUND)?;
        let before = role.permissions.len();
        role.permissions
            .retain(|known| known.key.0 != request.key || known.end.0 != request.range_end);
        match role.permissions.len() == before {
            true => Err(PERMISSION_NOT_GRANTED),
            false => Ok(put(&request.role, &role)),
        }
    });
    Ok(grpc::frame(&AuthRoleRevokePermissionResponse {
        header: Some(app.header(revision.await?)),
    }))
}

fn put(name: &str, role: &Role) -> Changed {
    let mut changes = Changes::default();
    changes.put_role(name, role);
    Changed::Rows(changes)
}

/// Whether a permission may be for such keys: one key, an interval that is not empty, or all from a key on.
fn is_range(key: &[u8], end: &[u8]) -> bool {
    !key.is_empty() && (end.is_empty() || key < end || end == b"\0")
}
