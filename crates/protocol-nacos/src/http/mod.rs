//! The HTTP port: three versions of one API. A handler answers all that have its call, in the form of the one that was asked.

pub(crate) mod auth;
pub(crate) mod catalog;
pub(crate) mod clients;
pub(crate) mod cluster;
pub(crate) mod config;
pub(crate) mod instance;
pub(crate) mod namespaces;
pub(crate) mod operator;
pub(crate) mod params;
pub(crate) mod past;
pub(crate) mod service;

use std::future::Future;
use std::sync::Arc;

use http::StatusCode;
use portolan_listener::{Action, Caller, Request, Resource, Response};
use serde::Serialize;

use crate::app::App;
use crate::error::{Problem, json, success, text};
use params::Asked;

/// How an answer is dressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// v1: text or bare JSON, errors are text.
    V1,
    /// v1 of configurations, whose errors are Java's.
    V1Config,
    /// v2: an envelope.
    V2,
    /// v3: an envelope, with other names in it.
    V3,
}

impl Form {
    /// Whether answers have an envelope.
    pub(crate) fn enveloped(self) -> bool {
        matches!(self, Form::V2 | Form::V3)
    }

    /// It was done.
    pub(crate) fn ok(self) -> Response {
        match self.enveloped() {
            true => success("ok"),
            false => text(StatusCode::OK, "ok"),
        }
    }

    /// What was asked for.
    pub(crate) fn data(self, data: &impl Serialize) -> Response {
        match self.enveloped() {
            true => success(data),
            false => json(data),
        }
    }

    fn failed(self, problem: &Problem) -> Response {
        match self {
            Form::V1 => problem.as_text(),
            Form::V1Config => match problem {
                Problem::Invalid(why) => text(StatusCode::BAD_REQUEST, format!("caused: {why};")),
                other => other.as_text(),
            },
            Form::V2 | Form::V3 => problem.as_envelope(),
        }
    }
}

/// Reads a request's parameters, has `handler` answer, and words what goes wrong.
pub(crate) async fn answered<F, Fut>(
    app: Arc<App>,
    request: Request,
    form: Form,
    handler: F,
) -> Response
where
    F: FnOnce(Asked) -> Fut,
    Fut: Future<Output = Result<Response, Problem>>,
{
    let caller = Caller::of(&request);
    let path = request.uri().path().to_owned();
    let result = match Asked::read(app, request, form).await {
        Ok(asked) => handler(asked).await,
        Err(problem) => Err(problem),
    };
    match result {
        Ok(response) => response,
        Err(mut problem) => {
            // What cannot be read was refused before there was anything to ask about.
            if !caller.decided()
                && let Err(denied) = caller.allow(Action::Read, Resource::Public)
            {
                problem = denied.into();
            }
            tracing::debug!(path, %problem, "answered with an error");
            form.failed(&problem)
        }
    }
}
