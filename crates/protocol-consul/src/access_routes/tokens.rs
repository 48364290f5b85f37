//! Tokens: made, changed, copied, removed, listed.

use super::shapes::{self, HIDDEN};
use super::{allowed, fresh_id, object, open, watched, write};
use crate::error::Failure;
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::wire::{Fields, Params, print_millis};
use http::StatusCode;
use portolan_access::rows::{Kept, Token};
use portolan_access::store::{Changes, TOKENS};
use portolan_access::{AccessControl, Directory, builtin};
use portolan_listener::{Action, Resource};
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

/// What the list may be filtered by.
const FILTERS: [&str; 4] = ["policy", "role", "servicename", "authmethod"];
/// The shortest and the longest life of a token that ends.
const LIFE_MS: std::ops::RangeInclusive<u64> = 60_000..=86_400_000;

fn missing() -> Failure {
    Failure::new(StatusCode::FORBIDDEN, "token does not exist: ACL not found")
}

fn existing(directory: &Directory, accessor: &str, now: u64) -> Result<Kept<Token>, Failure> {
    let known = directory.token(accessor).ok_or_else(missing)?;
    match known.token.row.expired(now) {
        true => Err(missing()),
        false => Ok(known.token.clone()),
    }
}

/// Whether the caller sees secrets.
fn manages(request: &Request) -> bool {
    request.caller.may(Action::Write, Resource::Access)
}

/// PUT /v1/acl/token
pub(crate) async fn create(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    let access = allowed(&server, &request, Action::Write)?.clone();
    let body = object(&mut request, "Token").await?;
    let token = fresh(&server, &access.directory(), &body)?;
    put(&server, &request, &access, token, None).await
}

/// A token that was not there before.
fn fresh(server: &Server, directory: &Directory, body: &Value) -> Result<Token, Failure> {
    let fields = Fields::of(body, "token")?;
    let given = |key: &str, what: &str| -> Result<String, Failure> {
        let text = fields.text(key)?;
        if text.is_empty() {
            return Ok(fresh_id());
        }
        let invalid = |why: &str| Failure::server(format!("Invalid Token: {what} {why}"));
        if Uuid::parse_str(&text).is_err() {
            return Err(invalid("is not a valid UUID"));
        }
        if builtin::reserved(&text) {
            return Err(Failure::server(
                "UUIDs with the prefix \"00000000-0000-0000-0000-0000000000\" are reserved",
            ));
        }
        Ok(text.to_ascii_lowercase())
    };
    let accessor = given("accessorid", "AccessorID")?;
    if directory.token(&accessor).is_some() {
        return Err(Failure::server(
            "Invalid Token: AccessorID is already in use",
        ));
    }
    let created_ms = server.now_ms();
    let expires_ms = expiry(&fields, created_ms)?;
    if let Some(left) = expires_ms.checked_sub(created_ms)
        && !LIFE_MS.contains(&left)
    {
        let (what, limit) = match left < *LIFE_MS.start() {
            true => ("less", "1m0s"),
            false => ("more", "24h0m0s"),
        };
        return Err(Failure::server(format!(
            "ExpirationTime cannot be {what} than {limit} in the future (was {})",
            print_millis(left)
        )));
    } else if expires_ms != 0 && expires_ms <= created_ms {
        return Err(Failure::server(
            "ExpirationTime cannot be before CreateTime",
        ));
    }
    let mut token = Token {
        accessor,
        secret: given("secretid", "SecretID")?,
        local: fields.flag("local")?,
        created_ms,
        expires_ms,
        ..Token::default()
    };
    fill(&mut token, &fields, directory)?;
    Ok(token)
}

/// When a token ends, 0 for never.
fn expiry(fields: &Fields<'_>, now: u64) -> Result<u64, Failure> {
    let ttl = fields.duration("expirationttl")?.unwrap_or(0);
    let time = fields.text("expirationtime")?;
    if ttl < 0 {
        return Err(Failure::server("Token Expiration TTL should be > 0"));
    }
    match (ttl, &*time) {
        (0, "") => Ok(0),
        (0, time) => shapes::read_time(time)
            .ok_or_else(|| Failure::bad(format!("Token decoding failed: parsing time {time:?}"))),
        (ttl, "") => Ok(now.saturating_add(ttl.unsigned_abs() / 1_000_000)),
        _ => Err(Failure::server(
            "Token Expiration TTL and Expiration Time cannot both be set",
        )),
    }
}

/// What may be changed of a token.
fn fill(token: &mut Token, fields: &Fields<'_>, directory: &Directory) -> Result<(), Failure> {
    token.description = fields.text("description")?;
    token.grants = shapes::grants(fields, directory)?;
    token.roles = shapes::links(fields, "roles", "role", |id, name| {
        let kept = match id.is_empty() {
            true => directory.role_named(name),
            false => directory.role(id),
        };
        kept.map(|kept| kept.row.id.clone())
    })?;
    Ok(())
}

async fn put(
    server: &Server,
    request: &Request,
    access: &AccessControl,
    token: Token,
    old: Option<Kept<Token>>,
) -> Result<Reply, Failure> {
    let mut changes = Changes::default();
    changes.token(&token, old.as_ref());
    let taken = || "Invalid Token: SecretID is already in use".to_owned();
    write(server, request, changes, taken).await?;
    let directory = access.directory();
    let kept = existing(&directory, &token.accessor, server.now_ms())?;
    Reply::json(&shapes::token(&kept, &directory, true))
}

/// PUT /v1/acl/token/:accessor
pub(crate) async fn update(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    let access = allowed(&server, &request, Action::Write)?.clone();
    let id = request.named("id", "Missing token AccessorID")?;
    let body = object(&mut request, "Token").await?;
    let fields = Fields::of(&body, "token")?;
    let given = fields.text("accessorid")?;
    if !given.is_empty() && given != id {
        return Err(Failure::bad(
            "Token Accessor ID in URL and payload do not match",
        ));
    }
    let directory = access.directory();
    let old = existing(&directory, &id, server.now_ms())?;
    let secret = fields.text("secretid")?;
    if !matches!(&*secret, "" | HIDDEN) && secret != old.row.secret {
        return Err(Failure::server(
            "Changing a token's SecretID is not permitted",
        ));
    }
    if fields.get("local").is_some() && fields.flag("local")? != old.row.local {
        return Err(Failure::server(format!("cannot toggle local mode of {id}")));
    }
    let ends = expiry(&fields, server.now_ms())?;
    if ends != 0 && ends != old.row.expires_ms {
        return Err(Failure::server(format!(
            "Cannot change expiration time of {id}"
        )));
    }
    let mut token = old.row.clone();
    fill(&mut token, &fields, &directory)?;
    put(&server, &request, &access, token, Some(old)).await
}

/// PUT /v1/acl/token/:accessor/clone
pub(crate) async fn duplicate(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    let access = allowed(&server, &request, Action::Write)?.clone();
    let id = request.named("id", "Missing token AccessorID")?;
    let body = request.json().await?;
    let description = Fields::of(&body, "token")?.text("description")?;
    let now = server.now_ms();
    let source = existing(&access.directory(), &id, now)?.row;
    if id == builtin::ANONYMOUS {
        return Err(Failure::server(
            "Cloning the anonymous token is not permitted",
        ));
    }
    let token = Token {
        accessor: fresh_id(),
        secret: fresh_id(),
        description: match description.is_empty() {
            true => source.description.clone(),
            false => description,
        },
        created_ms: now,
        ..source
    };
    if !token.auth_method.is_empty() {
        return Err(Failure::server(
            "Cannot clone a token created from an auth method",
        ));
    }
    put(&server, &request, &access, token, None).await
}

/// DELETE /v1/acl/token/:accessor
pub(crate) async fn delete(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let access = allowed(&server, &request, Action::Write)?;
    let id = request.named("id", "Missing token AccessorID")?;
    if id == builtin::ANONYMOUS {
        return Err(Failure::server(
            "Delete operation not permitted on the anonymous token",
        ));
    }
    if request.caller.principal().name() == Some(&*id) {
        return Err(Failure::server(
            "Deletion of the request's authorization token is not permitted",
        ));
    }
    let directory = access.directory();
    let known = directory.token(&id).ok_or_else(missing)?;
    let mut changes = Changes::default();
    changes.drop_token(&known.token.row);
    write(&server, &request, changes, String::new).await?;
    Ok(Reply::truth(true))
}

/// GET /v1/acl/token/:accessor
pub(crate) async fn read(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let access = allowed(&server, &request, Action::Read)?;
    let id = request.named("id", "Missing token AccessorID")?;
    let (secret, now) = (manages(&request), server.now_ms());
    let expanded = request.params().flag("expanded")?;
    watched(&server, &request, access, TOKENS, |directory, _| {
        let kept = existing(directory, &id, now)?;
        let mut shown = shapes::token(&kept, directory, secret);
        if expanded {
            expand(&mut shown, &kept.row, directory, access);
        }
        Reply::json(&shown)
    })
    .await
}

/// Adds everything that a token's links stand for.
fn expand(shown: &mut Value, token: &Token, directory: &Directory, access: &AccessControl) {
    let roles: Vec<_> = token
        .roles
        .iter()
        .filter_map(|id| directory.role(id))
        .collect();
    let ids = token.grants.policies.iter();
    let ids = ids.chain(roles.iter().flat_map(|kept| &kept.row.grants.policies));
    let policies: Vec<Value> = ids
        .filter_map(|id| directory.policy(id))
        .map(|kept| shapes::policy(kept, true))
        .collect();
    let settings = access.settings();
    shown["ExpandedPolicies"] = policies.into();
    shown["ExpandedRoles"] = roles
        .iter()
        .map(|kept| shapes::role(kept, directory))
        .collect();
    shown["AgentACLDefaultPolicy"] = json!(if settings.default_allow {
        "allow"
    } else {
        "deny"
    });
    shown["AgentACLDownPolicy"] = json!("extend-cache");
    shown["ResolvedByAgent"] = json!(&*settings.node);
}

/// GET /v1/acl/token/self
pub(crate) async fn own(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let access = open(&server, &request)?;
    request.listed()?;
    let known = access.known(request.caller.principal());
    let accessor = known.ok_or_else(missing)?.accessor.clone();
    let now = server.now_ms();
    watched(&server, &request, access, TOKENS, |directory, _| {
        let kept = existing(directory, &accessor, now)?;
        Reply::json(&shapes::token(&kept, directory, true))
    })
    .await
}

/// GET /v1/acl/tokens
pub(crate) async fn list(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let access = allowed(&server, &request, Action::Read)?;
    let (secret, now) = (manages(&request), server.now_ms());
    let params = request.params();
    let given = |key: &&str| !params.get(key).is_empty();
    if FILTERS.iter().filter(|key| given(key)).count() > 1 {
        return Err(Failure::server(
            "can only filter by one of: policy, role, service name, auth method",
        ));
    }
    watched(&server, &request, access, TOKENS, |directory, _| {
        let rows: Vec<Value> = directory
            .tokens()
            .map(|known| &known.token)
            .filter(|kept| !kept.row.expired(now) && wanted(&kept.row, &params))
            .map(|kept| shapes::token(kept, directory, secret))
            .collect();
        Reply::json(&rows)
    })
    .await
}

/// Whether the list's parameters ask for a token.
fn wanted(token: &Token, params: &Params<'_>) -> bool {
    let has = |key: &str, holds: &dyn Fn(&str) -> bool| match params.get(key) {
        "" => true,
        value => holds(value),
    };
    let services = &token.grants.service_identities;
    has("policy", &|id| {
        token.grants.policies.iter().any(|one| one == id)
    }) && has("role", &|id| token.roles.iter().any(|one| one == id))
        && has("servicename", &|name| {
            services.iter().any(|one| one.service_name == name)
        })
        && has("authmethod", &|name| token.auth_method == name)
}
