//! The Auth service: switching authentication on and off, and tokens for names with passwords.
//!
//! Each change is worked out from one state and decided only if users and roles are still the same then (`change`).

mod change;
pub(crate) mod roles;
pub(crate) mod users;

use std::sync::Arc;

use bytes::Bytes;
use portolan_listener::{Action, Resource};

use self::change::{Changed, change};
use crate::{
    app::{App, allow},
    asker::Asker,
    auth::{
        rows::{self, Blob},
        rules::ROOT,
    },
    error::{
        AUTH_FAILED, AUTH_NOT_ENABLED, Failure, NO_PASSWORD_USER, ROOT_ROLE_MISSING,
        ROOT_USER_MISSING, TOO_MANY_REQUESTS,
    },
    grpc,
    wire::etcdserverpb::*,
};

/// Times that a password is looked at again because users changed meanwhile.
const ATTEMPTS: usize = 16;

/// Everybody may ask, as in etcd; only a token that is none is refused.
pub(crate) async fn status(
    app: Arc<App>,
    caller: Asker,
    _: AuthStatusRequest,
) -> Result<Bytes, Failure> {
    allow(&caller, Action::Read, Resource::Operator)?;
    let state = app.state(false).await?;
    app.auth.who(&state, &caller)?;
    let head = rows::head(&state);
    Ok(grpc::frame(&AuthStatusResponse {
        header: Some(app.header(state.revision())),
        enabled: head.enabled,
        auth_revision: head.revision,
    }))
}

/// Clients with a name and password call this first, and go on without when they are told that it is not needed.
pub(crate) async fn authenticate(
    app: Arc<App>,
    caller: Asker,
    request: AuthenticateRequest,
) -> Result<Bytes, Failure> {
    allow(&caller, Action::Read, Resource::Public)?;
    for _ in 0..ATTEMPTS {
        let state = app.state(false).await?;
        if !rows::head(&state).enabled {
            return Err(AUTH_NOT_ENABLED);
        }
        let user = rows::user(&state, &request.name);
        let without = user.as_ref().is_some_and(|user| user.no_password);
        let hash = user
            .filter(|user| !user.no_password)
            .map(|user| user.password);
        // Whoever does not exist takes as long as whoever does.
        let fits = app.auth.passwords.fits(&request.password, hash).await?;
        let now = app.registry.snapshot();
        if app.auth.head(&now) != app.auth.head(&state) {
            continue;
        }
        if without {
            return Err(NO_PASSWORD_USER);
        }
        if !fits {
            tracing::warn!(user = request.name, peer = %caller.peer(), "etcd: a name or a password was wrong");
            return Err(AUTH_FAILED);
        }
        return Ok(grpc::frame(&AuthenticateResponse {
            header: Some(app.header(now.revision())),
            token: app.auth.token(&now, &request.name).ok_or(AUTH_FAILED)?,
        }));
    }
    Err(TOO_MANY_REQUESTS)
}

/// Needs the user `root` to be there and to have the role `root`. Done twice it is done once.
pub(crate) async fn enable(
    app: Arc<App>,
    caller: Asker,
    _: AuthEnableRequest,
) -> Result<Bytes, Failure> {
    let revision = change(&app, &caller, |state, head| {
        if head.enabled {
            return Ok(Changed::Nothing);
        }
        let root = rows::user(state, ROOT).ok_or(ROOT_USER_MISSING)?;
        if !root.roles.iter().any(|role| role == ROOT) {
            return Err(ROOT_ROLE_MISSING);
        }
        head.enabled = true;
        let secret: [u8; 32] = portolan_environment::random_bytes();
        head.secret = Blob(Bytes::copy_from_slice(&secret));
        Ok(Changed::Switch)
    });
    Ok(grpc::frame(&AuthEnableResponse {
        header: Some(app.header(revision.await?)),
    }))
}

/// Takes all tokens back. Users and roles stay.
pub(crate) async fn disable(
    app: Arc<App>,
    caller: Asker,
    _: AuthDisableRequest,
) -> Result<Bytes, Failure> {
    let revision = change(&app, &caller, |_, head| {
        if !head.enabled {
            return Ok(Changed::Nothing);
        }
        head.enabled = false;
        Ok(Changed::Rows(rows::Changes::default()))
    });
    Ok(grpc::frame(&AuthDisableResponse {
        header: Some(app.header(revision.await?)),
    }))
}
