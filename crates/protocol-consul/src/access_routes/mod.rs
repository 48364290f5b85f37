//! `/v1/acl/*`: tokens, policies, roles, templates, login methods and what they give, as Consul shows them.

pub(crate) mod binding_rules;
pub(crate) mod login;
pub(crate) mod methods;
pub(crate) mod policies;
pub(crate) mod roles;
mod shapes;
pub(crate) mod system;
pub(crate) mod templates;
pub(crate) mod tokens;

use crate::disabled::acl_disabled;
use crate::error::Failure;
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::watch::Topic;
use http::StatusCode;
use portolan_access::store::{self, Changes};
use portolan_access::{AccessControl, Directory};
use portolan_catalog::{Command, KeyRange, Refusal, State};
use portolan_listener::{Action, Resource};
use serde_json::Value;
use uuid::Uuid;

/// Access control, asked for with an action on it.
///
/// # Errors
/// 401 when it is off, 403 when it is not for this caller.
fn allowed<'a>(
    server: &'a Server,
    request: &Request,
    action: Action,
) -> Result<&'a AccessControl, Failure> {
    let access = open(server, request)?;
    request.allow(action, Resource::Access)?;
    Ok(access)
}

/// Access control, for what everybody may ask.
fn open<'a>(server: &'a Server, request: &Request) -> Result<&'a AccessControl, Failure> {
    let access = server.info.access.as_ref();
    access.ok_or_else(|| {
        // That it is off is no secret.
        match request.allow(Action::Read, Resource::Public) {
            Ok(()) => acl_disabled(),
            Err(denied) => denied,
        }
    })
}

/// Answers a read of rows below `prefix`, and with `?index=` waits for news about them first.
async fn watched(
    server: &Server,
    request: &Request,
    access: &AccessControl,
    prefix: &str,
    body: impl Fn(&Directory, &State) -> Result<Reply, Failure>,
) -> Result<Reply, Failure> {
    let topic = Topic::Records(store::SPACE, KeyRange::prefix(prefix.as_bytes()));
    server
        .watched(request, &topic, |shown| {
            body(&access.directory_of(shown.state), shown.state)
        })
        .await
}

/// Makes changes. A name or secret that is another's is refused with `taken`.
async fn write(
    server: &Server,
    request: &Request,
    changes: Changes,
    taken: impl FnOnce() -> String,
) -> Result<(), Failure> {
    let write = changes
        .write()
        .map_err(|why| Failure::server(why.to_string()))?;
    let command = Command::Write(write);
    match server.propose(request, command).await?.outcome {
        Ok(_) => Ok(()),
        Err(Refusal::Exists) => Err(Failure::server(taken())),
        Err(Refusal::Changed(_) | Refusal::NoKey) => Err(Failure::server(
            "it was changed by somebody else in the meantime; read it again",
        )),
        Err(refusal) => Err(refusal.into()),
    }
}

fn fresh_id() -> String {
    Uuid::from_bytes(portolan_environment::uuid()).to_string()
}

/// What is not there, for reads of policies and roles.
fn not_there() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "ACL not found")
}

/// The body, which must be an object.
async fn object(request: &mut Request, what: &str) -> Result<Value, Failure> {
    let body = request.json_body().await?;
    match body.map_err(|why| Failure::bad(format!("{what} decoding failed: {why}")))? {
        Value::Null => Err(Failure::bad(format!("{what} decoding failed: EOF"))),
        body => Ok(body),
    }
}

/// Whether a policy or role may be called so.
fn is_name(name: &str, longest: usize) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !name.is_empty() && name.len() <= longest && name.bytes().all(plain)
}
