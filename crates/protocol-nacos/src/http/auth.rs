//! Login, as of a server whose authentication is off: everybody is let in, and nobody becomes anybody.

use http::HeaderValue;
use http::header::AUTHORIZATION;
use portolan_listener::{Action, Resource, Response};
use serde_json::json;

use super::params::Asked;
use crate::error::{Problem, json as json_answer};

/// What stands for a token where none is looked at.
const TOKEN: &str = "AUTH_DISABLED";
/// Seconds that clients keep it.
const TTL: u64 = 18_000;

pub(crate) async fn login(asked: Asked) -> Result<Response, Problem> {
    asked.caller.allow(Action::Read, Resource::Public)?;
    let mut response = json_answer(&json!({
        "accessToken": TOKEN, "tokenTtl": TTL, "globalAdmin": true, "username": asked.text("username"),
    }));
    let bearer = HeaderValue::from_static("Bearer AUTH_DISABLED");
    response.headers_mut().insert(AUTHORIZATION, bearer);
    Ok(response)
}

/// Users, roles and permissions do not exist.
pub(crate) async fn users(asked: Asked) -> Result<Response, Problem> {
    asked.caller.allow(Action::Admin, Resource::Operator)?;
    Err(Problem::not_served(
        "access control (users, roles and permissions)",
    ))
}
