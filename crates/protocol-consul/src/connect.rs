//! `/v1/connect/ca/*`: the root certificate. Certificates of services are not issued.

use crate::ca;
use crate::error::Failure;
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::watch::Topic;
use portolan_catalog::{Command, Expect, Key, KeyRange, Keyspace, Op, Put, Refusal, Write};
use portolan_listener::{Action, Resource};
use serde_json::Value;
use std::sync::Arc;

const SPACE: Keyspace = Keyspace::ConsulObjects;

/// GET /v1/connect/ca/roots and /v1/agent/connect/ca/roots
pub(crate) async fn roots(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.allow(Action::Read, Resource::Public)?;
    if server
        .snapshot()
        .record(SPACE, ca::KEY.as_bytes())
        .is_none()
    {
        make(&server, &request).await?;
    }
    let range = KeyRange::One(Key::from(ca::KEY));
    server
        .watched(&request, &Topic::Records(SPACE, range), |shown| {
            let record = shown.state.record(SPACE, ca::KEY.as_bytes());
            let record = record.ok_or_else(|| {
                Failure::server("Connect must be enabled in order to use this endpoint")
            })?;
            let root: Value = serde_json::from_slice(&record.bytes()).map_err(|error| {
                Failure::server(format!("the stored root cannot be read: {error}"))
            })?;
            let answer = ca::render(&root, record.created.0, record.modified.0);
            if request.params().flag("pem")? {
                let pem = answer["Roots"][0]["RootCert"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                let kind = http::HeaderValue::from_static("application/pem-certificate-chain");
                return Ok(
                    Reply::text(http::StatusCode::OK, pem).header(http::header::CONTENT_TYPE, kind)
                );
            }
            Reply::json(&answer)
        })
        .await
}

/// Makes the root. Two servers or two requests may try at once; the first one counts.
async fn make(server: &Server, request: &Request) -> Result<(), Failure> {
    let root = ca::make(server.now_ms())
        .map_err(|error| Failure::server(format!("making the root certificate: {error}")))?;
    let mut put = Put::new(SPACE, Key::from(ca::KEY), root.to_string().into());
    put.expect = Expect::Absent;
    match server
        .propose(request, Command::Write(Write::one(Op::Put(Box::new(put)))))
        .await?
        .outcome
    {
        Ok(_) | Err(Refusal::Exists) => Ok(()),
        Err(refusal) => Err(refusal.into()),
    }
}

/// Leaf certificates, authorisation, CA configuration, intentions: the mesh that is not here.
pub(crate) async fn no_mesh(_server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    // There is nothing behind it that could be seen or changed.
    request.listed()?;
    Err(Failure::server(
        "Connect must be enabled in order to use this endpoint",
    ))
}
