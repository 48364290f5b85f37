//! Login methods: made, changed, removed, listed.

use super::{allowed, is_name, not_there, object, watched, write};
use crate::error::Failure;
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::wire::{Fields, print_millis};
use portolan_access::login::{AuthMethod, BindingRule};
use portolan_access::rows::Kept;
use portolan_access::store::{self, Changes, METHODS, RULES};
use portolan_catalog::State;
use portolan_listener::Action;
use serde_json::{Value, json};
use std::sync::Arc;

/// The longest name.
const NAME: usize = 128;
/// How long tokens may live that a method gives.
const LIFE_MS: std::ops::RangeInclusive<u64> = 60_000..=86_400_000;

/// The method of that name.
pub(super) fn find(state: &State, name: &str) -> Option<Kept<AuthMethod>> {
    let mut all = store::rows::<AuthMethod>(state, METHODS).into_iter();
    all.find(|kept| kept.row.name == name)
}

fn shown(kept: &Kept<AuthMethod>, config: bool) -> Value {
    let row = &kept.row;
    let mut shown = json!({
        "Name": row.name,
        "Type": row.r#type,
        "CreateIndex": kept.created.max(1),
        "ModifyIndex": kept.modified.max(1),
    });
    for (key, text) in [
        ("DisplayName", &row.display_name),
        ("Description", &row.description),
        ("TokenLocality", &row.token_locality),
    ] {
        if !text.is_empty() {
            shown[key] = text.as_str().into();
        }
    }
    if row.max_token_ttl_ms != 0 {
        shown["MaxTokenTTL"] = print_millis(row.max_token_ttl_ms).into();
    }
    if config {
        shown["Config"] = row.config.clone().into();
    }
    shown
}

fn read_body(body: &Value, name: &str) -> Result<AuthMethod, Failure> {
    let fields = Fields::of(body, "auth method")?;
    let given = fields.text("name")?;
    if !name.is_empty() && !given.is_empty() && name != given {
        return Err(Failure::bad(
            "Auth Method name in URL and payload do not match",
        ));
    }
    let ttl = fields.duration("maxtokenttl")?.unwrap_or(0);
    let method = AuthMethod {
        name: if name.is_empty() {
            given
        } else {
            name.to_owned()
        },
        r#type: fields.text("type")?,
        display_name: fields.text("displayname")?,
        description: fields.text("description")?,
        max_token_ttl_ms: u64::try_from(ttl).unwrap_or(0) / 1_000_000,
        token_locality: fields.text("tokenlocality")?,
        config: fields.map("config")?.cloned().unwrap_or_default(),
    };
    judge(&method, ttl)?;
    Ok(method)
}

fn judge(method: &AuthMethod, ttl: i64) -> Result<(), Failure> {
    let invalid = |why: String| Err(Failure::server(format!("Invalid Auth Method: {why}")));
    if method.name.is_empty() {
        return invalid("no Name is set".to_owned());
    }
    if !is_name(&method.name, NAME) {
        return invalid(
            "invalid Name. Only alphanumeric characters, '-' and '_' are allowed".to_owned(),
        );
    }
    if method.r#type.is_empty() {
        return invalid("no Type is set".to_owned());
    }
    if method.r#type != "jwt" {
        return Err(Failure::server(format!(
            "no auth method registered with type: {:?}: this server has \"jwt\" alone",
            method.r#type
        )));
    }
    if ttl != 0 && !LIFE_MS.contains(&method.max_token_ttl_ms) {
        return invalid(format!(
            "MaxTokenTTL {} cannot be less than 1m0s or more than 24h0m0s",
            print_millis(method.max_token_ttl_ms)
        ));
    }
    if !matches!(&*method.token_locality, "" | "local" | "global") {
        return invalid(format!(
            "TokenLocality {:?} should be one of 'local' or 'global'",
            method.token_locality
        ));
    }
    method
        .check()
        .map_err(|why| Failure::server(format!("Invalid Auth Method: {why}")))
}

/// PUT /v1/acl/auth-method: also one that is there already.
pub(crate) async fn create(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    allowed(&server, &request, Action::Write)?;
    let body = object(&mut request, "AuthMethod").await?;
    let method = read_body(&body, "")?;
    put(&server, &request, method).await
}

/// PUT /v1/acl/auth-method/:name
pub(crate) async fn update(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    allowed(&server, &request, Action::Write)?;
    let name = request.named("name", "Missing auth method Name")?;
    let body = object(&mut request, "AuthMethod").await?;
    let method = read_body(&body, &name)?;
    put(&server, &request, method).await
}

async fn put(server: &Server, request: &Request, method: AuthMethod) -> Result<Reply, Failure> {
    let latest = server.state_with(|_| false).await?;
    let old = find(&latest, &method.name);
    drop(latest);
    if old
        .as_ref()
        .is_some_and(|old| old.row.r#type != method.r#type)
    {
        return Err(Failure::server(
            "Changing an auth method's type is not permitted",
        ));
    }
    if let Some(old) = old.as_ref().filter(|old| old.row == method) {
        return Reply::json(&shown(old, true));
    }
    let mut changes = Changes::default();
    changes.method(&method, old.as_ref());
    let taken = || {
        format!(
            "Invalid Auth Method: one with Name {:?} was made in the meantime",
            method.name
        )
    };
    write(server, request, changes, taken).await?;
    let kept = find(&server.snapshot(), &method.name).ok_or_else(not_there)?;
    Reply::json(&shown(&kept, true))
}

/// DELETE /v1/acl/auth-method/:name: what it gave goes with it.
pub(crate) async fn delete(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let access = allowed(&server, &request, Action::Write)?;
    let name = request.named("name", "Missing auth method Name")?;
    let latest = server.state_with(|_| false).await?;
    if let Some(kept) = find(&latest, &name) {
        let mut changes = Changes::default();
        changes.drop_method(&kept.row);
        let rules = store::rows::<BindingRule>(&latest, RULES);
        for rule in rules.iter().filter(|rule| rule.row.auth_method == name) {
            changes.drop_rule(&rule.row);
        }
        for known in access.directory_of(&latest).tokens() {
            if known.token.row.auth_method == name {
                changes.drop_token(&known.token.row);
            }
        }
        write(&server, &request, changes, String::new).await?;
    }
    Ok(Reply::truth(true))
}

/// GET /v1/acl/auth-method/:name
pub(crate) async fn read(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let access = allowed(&server, &request, Action::Read)?;
    let name = request.named("name", "Missing auth method Name")?;
    watched(&server, &request, access, METHODS, |_, state| {
        let kept = find(state, &name).ok_or_else(not_there)?;
        Reply::json(&shown(&kept, true))
    })
    .await
}

/// GET /v1/acl/auth-methods
pub(crate) async fn list(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let access = allowed(&server, &request, Action::Read)?;
    watched(&server, &request, access, METHODS, |_, state| {
        let all = store::rows::<AuthMethod>(state, METHODS);
        let rows: Vec<Value> = all.iter().map(|kept| shown(kept, false)).collect();
        Reply::json(&rows)
    })
    .await
}
