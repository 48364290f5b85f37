//! State to answers: one object, or a list of them, in pages, as of the version that was asked for.

mod list;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use portolan_catalog::State;
use portolan_listener::{Action, Caller, Response};

use crate::accept::Accepted;
use crate::app::{App, allow, record};
use crate::describe::table::Form;
use crate::error::Failure;
use crate::kind::Kind;
use crate::media::{self, Media};
use crate::object;
use crate::params::{Params, Version};
use crate::{protobuf, respond};

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
    accepted: Accepted,
) -> Result<Response, Failure> {
    allow(caller, Action::Read, kind, namespace, name)?;
    let state = state_at(app, params.get_version()?).await?;
    let found =
        record(&state, kind, namespace, name).ok_or_else(|| Failure::not_found(kind, name))?;
    match accepted {
        Accepted::PLAIN => {
            let mut out = BytesMut::with_capacity(found.bytes().len() + 64);
            object::render(&mut out, &found.bytes(), found.modified, true);
            return Ok(respond::json(StatusCode::OK, out.freeze()));
        }
        Accepted {
            form: Form::Object,
            media: Media::Protobuf,
        } => {
            let body = protobuf::stored(
                &kind.api_version(),
                kind.kind,
                kind.schema,
                &found.bytes(),
                found.modified,
            );
            if let Ok(body) = body {
                return Ok(respond::typed(
                    StatusCode::OK,
                    media::PROTOBUF,
                    Bytes::from(body).into(),
                ));
            }
        }
        _ => {}
    }
    let now = app.registry.now();
    let body = accepted.form.one(kind, &object::decode(found), params, now);
    Ok(accepted.answer(StatusCode::OK, &body, kind))
}
