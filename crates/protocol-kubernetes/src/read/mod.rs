//! State to answers: one object, or a list of them, in pages, as of the version that was asked for.

mod list;

use std::sync::Arc;

use bytes::BytesMut;
use http::StatusCode;
use portolan_catalog::State;
use portolan_listener::{Action, Caller, Response};

use crate::app::{App, allow, record};
use crate::describe::table::{self, Form};
use crate::error::Failure;
use crate::kind::Kind;
use crate::object;
use crate::params::{Params, Version};
use crate::respond;

pub(crate) use list::list;

/// The state of a version.
pub(crate) async fn state_at(app: &App, version: Version) -> Result<Arc<State>, Failure> {
    match version {
        Version::Any => Ok(app.registry.snapshot()),
        Version::Latest => Ok(app.registry.linearized().await?),
        Version::NotOlder(number) | Version::Exact(number) => {
            let here = app.registry.snapshot();
            if here.revision().0 >= number {
                return Ok(here);
            }
            let state = app.registry.linearized().await?;
            match state.revision().0 >= number {
                true => Ok(state),
                false => Err(Failure::too_large(number, state.revision().0)),
            }
        }
    }
}

/// One object.
pub(crate) async fn get(
    app: &App,
    caller: &Caller,
    kind: &'static Kind,
    namespace: &str,
    name: &str,
    params: &Params,
    form: Form,
) -> Result<Response, Failure> {
    allow(caller, Action::Read, kind, namespace, name)?;
    let state = state_at(app, params.get_version()?).await?;
    let found =
        record(&state, kind, namespace, name).ok_or_else(|| Failure::not_found(kind, name))?;
    if form == Form::Object {
        let mut out = BytesMut::with_capacity(found.bytes().len() + 64);
        object::render(&mut out, &found.bytes(), found.modified, true);
        return Ok(respond::json(StatusCode::OK, out.freeze()));
    }
    let body = form.one(kind, &object::decode(found), params, app.registry.now());
    Ok(respond::json(StatusCode::OK, table::text(&body)))
}
