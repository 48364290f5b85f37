//! Login: there are no auth methods, and so nobody logs in.

use super::{allowed, not_there, open};
use crate::error::Failure;
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use http::{Method, StatusCode};
use portolan_listener::Action;
use std::sync::Arc;

/// GET /v1/acl/auth-methods and /v1/acl/binding-rules
pub(crate) async fn list(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    allowed(&server, &request, Action::Read)?;
    Ok(Reply::json::<[u8; 0]>(&[])?.read(server.known_leader()))
}

/// GET, PUT and DELETE of one that is not there.
pub(crate) async fn named(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    match *request.method() {
        Method::GET => {
            allowed(&server, &request, Action::Read)?;
            Err(not_there())
        }
        Method::DELETE => {
            allowed(&server, &request, Action::Write)?;
            Ok(Reply::truth(true))
        }
        _ => unsupported(server, request).await,
    }
}

/// PUT of a new one.
pub(crate) async fn unsupported(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    allowed(&server, &request, Action::Write)?;
    Err(Failure::new(
        StatusCode::NOT_IMPLEMENTED,
        "auth methods and binding rules cannot be written: this server has no login, give tokens to those who need them",
    ))
}

/// POST /v1/acl/login
pub(crate) async fn login(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    open(&server, &request)?;
    request.listed()?;
    Err(Failure::new(StatusCode::FORBIDDEN, "ACL not found"))
}

/// POST /v1/acl/logout
pub(crate) async fn logout(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    open(&server, &request)?;
    request.listed()?;
    Err(Failure::new(
        StatusCode::FORBIDDEN,
        "Permission denied: token was not created via login",
    ))
}
