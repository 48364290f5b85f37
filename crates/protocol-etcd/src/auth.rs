//! The Auth service of a server without authentication: there are no users, no roles, and nothing to enable.
//!
//! Reads of nothing find nothing, changes of what is not there say so, and what asks for too little is told what is missing; adding users or
//! roles is not served, since they would mean nothing.

use std::sync::Arc;

use bytes::Bytes;
use portolan_listener::{Action, Caller, Resource};

use crate::{
    app::{App, allow},
    error::{
        AUTH_NOT_ENABLED, Failure, PERMISSION_NOT_GIVEN, ROLE_EMPTY, ROLE_NOT_FOUND,
        ROOT_USER_MISSING, USER_EMPTY, USER_NOT_FOUND, unimplemented,
    },
    grpc,
    wire::etcdserverpb::*,
};

/// The revision of a store of users that was never changed.
const UNCHANGED: u64 = 1;

pub(crate) async fn status(
    app: Arc<App>,
    caller: Caller,
    _: AuthStatusRequest,
) -> Result<Bytes, Failure> {
    allow(&caller, Action::Read, Resource::Operator)?;
    Ok(grpc::frame(&AuthStatusResponse {
        header: Some(header(&app)),
        enabled: false,
        auth_revision: UNCHANGED,
    }))
}

/// Clients with a name and password call this first, and go on without when they are told that it is not needed.
pub(crate) async fn authenticate(
    _: Arc<App>,
    caller: Caller,
    _: AuthenticateRequest,
) -> Result<Bytes, Failure> {
    allow(&caller, Action::Read, Resource::Public)?;
    Err(AUTH_NOT_ENABLED)
}

pub(crate) async fn enable(
    _: Arc<App>,
    caller: Caller,
    _: AuthEnableRequest,
) -> Result<Bytes, Failure> {
    allow(&caller, Action::Admin, Resource::Operator)?;
    Err(ROOT_USER_MISSING)
}

pub(crate) async fn disable(
    app: Arc<App>,
    caller: Caller,
    _: AuthDisableRequest,
) -> Result<Bytes, Failure> {
    allow(&caller, Action::Admin, Resource::Operator)?;
    Ok(grpc::frame(&AuthDisableResponse {
        header: Some(header(&app)),
    }))
}

pub(crate) async fn user_list(
    app: Arc<App>,
    caller: Caller,
    _: AuthUserListRequest,
) -> Result<Bytes, Failure> {
    allow(&caller, Action::Admin, Resource::Operator)?;
    Ok(grpc::frame(&AuthUserListResponse {
        header: Some(header(&app)),
        users: Vec::new(),
    }))
}

pub(crate) async fn role_list(
    app: Arc<App>,
    caller: Caller,
    _: AuthRoleListRequest,
) -> Result<Bytes, Failure> {
    allow(&caller, Action::Admin, Resource::Operator)?;
    Ok(grpc::frame(&AuthRoleListResponse {
        header: Some(header(&app)),
        roles: Vec::new(),
    }))
}

pub(crate) async fn user_add(
    _: Arc<App>,
    caller: Caller,
    request: AuthUserAddRequest,
) -> Result<Bytes, Failure> {
    no(
        &caller,
        if request.name.is_empty() {
            USER_EMPTY
        } else {
            unimplemented("/etcdserverpb.Auth/UserAdd")
        },
    )
}

pub(crate) async fn role_add(
    _: Arc<App>,
    caller: Caller,
    request: AuthRoleAddRequest,
) -> Result<Bytes, Failure> {
    no(
        &caller,
        if request.name.is_empty() {
            ROLE_EMPTY
        } else {
            unimplemented("/etcdserverpb.Auth/RoleAdd")
        },
    )
}

pub(crate) async fn user_get(
    _: Arc<App>,
    caller: Caller,
    _: AuthUserGetRequest,
) -> Result<Bytes, Failure> {
    no_user(&caller)
}

pub(crate) async fn user_delete(
    _: Arc<App>,
    caller: Caller,
    _: AuthUserDeleteRequest,
) -> Result<Bytes, Failure> {
    no_user(&caller)
}

pub(crate) async fn user_change_password(
    _: Arc<App>,
    caller: Caller,
    _: AuthUserChangePasswordRequest,
) -> Result<Bytes, Failure> {
    no_user(&caller)
}

pub(crate) async fn user_grant_role(
    _: Arc<App>,
    caller: Caller,
    _: AuthUserGrantRoleRequest,
) -> Result<Bytes, Failure> {
    no_user(&caller)
}

pub(crate) async fn user_revoke_role(
    _: Arc<App>,
    caller: Caller,
    _: AuthUserRevokeRoleRequest,
) -> Result<Bytes, Failure> {
    no_user(&caller)
}

pub(crate) async fn role_get(
    _: Arc<App>,
    caller: Caller,
    _: AuthRoleGetRequest,
) -> Result<Bytes, Failure> {
    no_role(&caller)
}

pub(crate) async fn role_delete(
    _: Arc<App>,
    caller: Caller,
    _: AuthRoleDeleteRequest,
) -> Result<Bytes, Failure> {
    no_role(&caller)
}

pub(crate) async fn role_grant_permission(
    _: Arc<App>,
    caller: Caller,
    request: AuthRoleGrantPermissionRequest,
) -> Result<Bytes, Failure> {
    match request.perm {
        Some(_) => no_role(&caller),
        None => no(&caller, PERMISSION_NOT_GIVEN),
    }
}

pub(crate) async fn role_revoke_permission(
    _: Arc<App>,
    caller: Caller,
    _: AuthRoleRevokePermissionRequest,
) -> Result<Bytes, Failure> {
    no_role(&caller)
}

fn no_user(caller: &Caller) -> Result<Bytes, Failure> {
    no(caller, USER_NOT_FOUND)
}

fn no_role(caller: &Caller) -> Result<Bytes, Failure> {
    no(caller, ROLE_NOT_FOUND)
}

fn no(caller: &Caller, failure: Failure) -> Result<Bytes, Failure> {
    allow(caller, Action::Admin, Resource::Operator)?;
    Err(failure)
}

fn header(app: &App) -> ResponseHeader {
    app.header(app.registry.snapshot().revision())
}
