//! Users: made, shown, given roles, taken away.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use portolan_listener::{Action, Resource};

use super::change::{Changed, change};
use crate::{
    app::{App, allow},
    asker::Asker,
    auth::{
        rows::{self, Blob, Changes, NAME_BYTES, User},
        rules::ROOT,
    },
    error::{
        Failure, INVALID_MANAGEMENT, NO_PASSWORD_USER, REQUEST_TOO_LARGE, ROLE_NOT_FOUND,
        ROLE_NOT_GRANTED, USER_EMPTY, USER_EXISTS, USER_NOT_FOUND,
    },
    grpc,
    wire::etcdserverpb::*,
};

pub(crate) async fn add(
    app: Arc<App>,
    caller: Asker,
    request: AuthUserAddRequest,
) -> Result<Bytes, Failure> {
    may_manage(&app, &caller).await?;
    let no_password = request.options.is_some_and(|options| options.no_password);
    let user = User {
        password: match no_password {
            true => String::new(),
            false => app.auth.passwords.hash(&request.password).await?,
        },
        no_password,
        stamp: stamp(),
        ..User::default()
    };
    let revision = change(&app, &caller, |state, _| {
        if request.name.is_empty() {
            return Err(USER_EMPTY);
        }
        if request.name.len() > NAME_BYTES {
            return Err(REQUEST_TOO_LARGE);
        }
        if rows::user(state, &request.name).is_some() {
            return Err(USER_EXISTS);
        }
        Ok(put(&request.name, &user))
    });
    Ok(grpc::frame(&AuthUserAddResponse {
        header: Some(app.header(revision.await?)),
    }))
}

/// Whoever is not root sees itself alone.
pub(crate) async fn get(
    app: Arc<App>,
    caller: Asker,
    request: AuthUserGetRequest,
) -> Result<Bytes, Failure> {
    allow(&caller, Action::Admin, Resource::Operator)?;
    let state = app.state(false).await?;
    let who = app.auth.who(&state, &caller)?;
    if who.name() != request.name {
        who.manages()?;
    }
    let user = rows::user(&state, &request.name).ok_or(USER_NOT_FOUND)?;
    Ok(grpc::frame(&AuthUserGetResponse {
        header: Some(app.header(state.revision())),
        roles: user.roles,
    }))
}

pub(crate) async fn list(
    app: Arc<App>,
    caller: Asker,
    _: AuthUserListRequest,
) -> Result<Bytes, Failure> {
    allow(&caller, Action::Admin, Resource::Operator)?;
    let state = app.state(false).await?;
    app.auth.who(&state, &caller)?.manages()?;
    Ok(grpc::frame(&AuthUserListResponse {
        header: Some(app.header(state.revision())),
        users: rows::users(&state).into_keys().collect(),
    }))
}

pub(crate) async fn delete(
    app: Arc<App>,
    caller: Asker,
    request: AuthUserDeleteRequest,
) -> Result<Bytes, Failure> {
    let revision = change(&app, &caller, |state, head| {
        if head.enabled && request.name == ROOT {
            return Err(INVALID_MANAGEMENT);
        }
        rows::user(state, &request.name).ok_or(USER_NOT_FOUND)?;
        let mut changes = Changes::default();
        changes.drop_user(&request.name);
        Ok(Changed::Rows(changes))
    });
    Ok(grpc::frame(&AuthUserDeleteResponse {
        header: Some(app.header(revision.await?)),
    }))
}

/// Tokens for the old password are worth nothing any more.
pub(crate) async fn change_password(
    app: Arc<App>,
    caller: Asker,
    request: AuthUserChangePasswordRequest,
) -> Result<Bytes, Failure> {
    may_manage(&app, &caller).await?;
    let password = match &*request.password {
        // Without a password a hash is taken as it is, and nothing at all is one that fits no password.
        "" => {
            let bytes = STANDARD.decode(&request.hashed_password);
            bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok())
        }
        password => Some(app.auth.passwords.hash(password).await?),
    };
    let stamp = stamp();
    let revision = change(&app, &caller, |state, _| {
        let mut user = rows::user(state, &request.name).ok_or(USER_NOT_FOUND)?;
        if !user.no_password {
            user.password = password.clone().ok_or(NO_PASSWORD_USER)?;
        }
        user.stamp = stamp.clone();
        Ok(put(&request.name, &user))
    });
    Ok(grpc::frame(&AuthUserChangePasswordResponse {
        header: Some(app.header(revision.await?)),
    }))
}

/// The role `root` need not have been made.
pub(crate) async fn grant_role(
    app: Arc<App>,
    caller: Asker,
    request: AuthUserGrantRoleRequest,
) -> Result<Bytes, Failure> {
    let revision = change(&app, &caller, |state, _| {
        let mut user = rows::user(state, &request.user).ok_or(USER_NOT_FOUND)?;
        if request.role != ROOT && rows::role(state, &request.role).is_none() {
            return Err(ROLE_NOT_FOUND);
        }
        match user.roles.binary_search(&request.role) {
            Ok(_) => Ok(Changed::Nothing),
            Err(place) => {
                user.roles.insert(place, request.role.clone());
                Ok(put(&request.user, &user))
            }
        }
    });
    Ok(grpc::frame(&AuthUserGrantRoleResponse {
        header: Some(app.header(revision.await?)),
    }))
}

pub(crate) async fn revoke_role(
    app: Arc<App>,
    caller: Asker,
    request: AuthUserRevokeRoleRequest,
) -> Result<Bytes, Failure> {
    let revision = change(&app, &caller, |state, head| {
        if head.enabled && request.name == ROOT && request.role == ROOT {
            return Err(INVALID_MANAGEMENT);
        }
        let mut user = rows::user(state, &request.name).ok_or(USER_NOT_FOUND)?;
        let place = user.roles.binary_search(&request.role);
        user.roles.remove(place.map_err(|_| ROLE_NOT_GRANTED)?);
        Ok(put(&request.name, &user))
    });
    Ok(grpc::frame(&AuthUserRevokeRoleResponse {
        header: Some(app.header(revision.await?)),
    }))
}

/// Asked before a password is hashed, which is work that not everybody may have done.
async fn may_manage(app: &App, caller: &Asker) -> Result<(), Failure> {
    allow(caller, Action::Admin, Resource::Operator)?;
    let state = app.state(false).await?;
    app.auth.who(&state, caller)?.manages()
}

fn put(name: &str, user: &User) -> Changed {
    let mut changes = Changes::default();
    changes.put_user(name, user);
    Changed::Rows(changes)
}

fn stamp() -> Blob {
    let bytes: [u8; 16] = portolan_environment::random_bytes();
    Blob(Bytes::copy_from_slice(&bytes))
}
