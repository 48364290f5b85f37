//! The first token, questions about permissions, and replication, of which there is none.

use super::{fresh_id, open, shapes};
use crate::error::Failure;
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::wire::Fields;
use http::StatusCode;
use portolan_access::rows::{Grants, Token};
use portolan_access::rules::{Kind, Level, Whole};
use portolan_access::store::{self, Changes};
use portolan_access::{Question, builtin};
use portolan_catalog::{Command, Refusal};
use portolan_listener::{Action, Resource};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::Arc;
use uuid::Uuid;

/// Questions of one request at most.
const QUESTIONS: usize = 64;

/// PUT /v1/acl/bootstrap: once, by whoever comes first.
pub(crate) async fn bootstrap(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    let access = open(&server, &request)?.clone();
    request.allow(Action::Read, Resource::Public)?;
    let body = request.json().await?;
    let given = Fields::of(&body, "bootstrap")?.text("bootstrapsecret")?;
    let secret = match &*given {
        "" => fresh_id(),
        text if Uuid::parse_str(text).is_ok() => text.to_ascii_lowercase(),
        _ => return Err(Failure::bad("invalid bootstrap token: it is no UUID")),
    };
    if let Some(revision) = server.registry.read(store::bootstrapped) {
        return Err(over(revision.0));
    }
    if access.gives_first() {
        return Err(over(0));
    }
    let token = Token {
        accessor: fresh_id(),
        secret,
        description: "Bootstrap Token (Global Management)".to_owned(),
        grants: Grants {
            policies: vec![builtin::MANAGEMENT.to_owned()],
            ..Grants::default()
        },
        created_ms: server.now_ms(),
        ..Token::default()
    };
    let mut changes = Changes::default();
    changes.bootstrap(None);
    changes.token(&token, None);
    let write = changes
        .write()
        .map_err(|why| Failure::server(why.to_string()))?;
    let command = Command::Write(write);
    match server.propose(&request, command).await?.outcome {
        Ok(_) => {}
        Err(Refusal::Exists) => {
            let revision = server.registry.read(store::bootstrapped);
            return Err(over(revision.map_or(0, |revision| revision.0)));
        }
        Err(refusal) => return Err(refusal.into()),
    }
    let directory = access.directory();
    let known = directory.token(&token.accessor);
    let known = known.ok_or_else(|| Failure::server("the token was removed at once"))?;
    let mut shown = shapes::token(&known.token, &directory, true);
    shown["ID"] = json!(token.secret);
    Reply::json(&shown)
}

fn over(index: u64) -> Failure {
    Failure::new(
        StatusCode::FORBIDDEN,
        format!("Permission denied: ACL bootstrap no longer allowed (reset index: {index})"),
    )
}

/// GET /v1/acl/replication
pub(crate) async fn replication(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    open(&server, &request)?;
    request.listed()?;
    Reply::json(&json!({
        "Enabled": false, "Running": false, "SourceDatacenter": "", "ReplicationType": "", "ReplicatedIndex": 0,
        "ReplicatedRoleIndex": 0, "ReplicatedTokenIndex": 0, "LastSuccess": "0001-01-01T00:00:00Z",
        "LastError": "0001-01-01T00:00:00Z", "LastErrorMessage": "",
    }))
}

/// POST /v1/internal/acl/authorize: which of these the request's token may do.
pub(crate) async fn authorize(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    let access = open(&server, &request)?.clone();
    request.listed()?;
    let body = request.json_object().await?;
    let asked = body.as_array().map(Vec::as_slice).unwrap_or_default();
    if asked.len() > QUESTIONS {
        return Err(Failure::bad(format!(
            "Refusing to process more than {QUESTIONS} authorizations at once"
        )));
    }
    let mut rows = Vec::with_capacity(asked.len());
    for one in asked {
        let fields = Fields::of(one, "authorization")?;
        let (kind, segment, level) = (
            fields.text("resource")?,
            fields.text("segment")?,
            fields.text("access")?,
        );
        let question = question(&kind, &segment, &level).ok_or_else(|| {
            Failure::bad(format!("Invalid access level or resource: {kind}:{level}"))
        })?;
        let allow = access.allows(request.caller.principal(), &question);
        rows.push(json!({"Resource": kind, "Segment": segment, "Access": level, "Allow": allow}));
    }
    Reply::json(&Value::Array(rows))
}

fn question<'a>(kind: &str, segment: &'a str, level: &str) -> Option<Question<'a>> {
    let level = Level::parse(level).filter(|level| *level != Level::Deny)?;
    let name = Cow::Borrowed(segment.as_bytes());
    if kind == "intention" {
        return Some(Question::Intention(name, level));
    }
    let whole = Whole::ALL.iter().find(|whole| whole.as_str() == kind);
    if let Some(whole) = whole {
        return Some(Question::Whole(*whole, level));
    }
    let kind = Kind::ALL.iter().find(|one| one.as_str() == kind)?;
    Some(match level {
        Level::List => Question::Under(*kind, name, level),
        _ => Question::Named(*kind, name, level),
    })
}
