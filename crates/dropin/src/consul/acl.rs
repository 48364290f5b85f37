//! `acl token`, `policy` and `role`, `login` and `logout`: what the endpoints answer, printed as Consul prints it.

use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::acl_text::{policy_text, role_text, token_text};
use super::http::{escape, unexpected};
use super::plain_calls::read_file;
use super::{Command, Done, Failure, Row, text_of};
use crate::go_flags::{Flag, truth, value};

macro_rules! row {
    ($name:literal, $flags:expr, $run:path, $about:literal) => {
        Row {
            name: $name,
            flags: $flags,
            run: |command| Box::pin($run(command)),
            about: $about,
        }
    };
}

/// The rows of these commands.
#[rustfmt::skip]
pub(super) static COMMANDS: &[Row] = &[
    row!("acl policy create", POLICY, policy_create, "Create an ACL policy"),
    row!("acl policy delete", NAMED, policy_delete, "Delete an ACL policy"),
    row!("acl policy list", NAMED, policy_list, "Lists ACL policies"),
    row!("acl policy read", NAMED, policy_read, "Read an ACL policy"),
    row!("acl policy update", POLICY, policy_update, "Update an ACL policy"),
    row!("acl role create", ROLE, role_create, "Create an ACL role"),
    row!("acl role delete", NAMED, role_delete, "Delete an ACL role"),
    row!("acl role list", NAMED, role_list, "Lists ACL roles"),
    row!("acl role read", NAMED, role_read, "Read an ACL role"),
    row!("acl role update", ROLE, role_update, "Update an ACL role"),
    row!("acl token clone", TOKEN, token_clone, "Clone an ACL token"),
    row!("acl token create", TOKEN, token_create, "Create an ACL token"),
    row!("acl token delete", TOKEN, token_delete, "Delete an ACL token"),
    row!("acl token list", TOKEN, token_list, "List ACL tokens"),
    row!("acl token read", TOKEN, token_read, "Read an ACL token"),
    row!("acl token update", TOKEN, token_update, "Update an ACL token"),
    row!("login", LOGIN, login, "Login to Consul using an auth method"),
    row!("logout", &[], logout, "Destroy a Consul token created with login"),
];

const TOKEN: &[Flag] = &[
    value("accessor"),
    value("secret"),
    value("accessor-id"),
    value("id"),
    truth("self"),
    truth("expanded"),
    value("description"),
    truth("local"),
    value("policy-id"),
    value("policy-name"),
    value("role-id"),
    value("role-name"),
    value("service-identity"),
    value("node-identity"),
    value("expires-ttl"),
    truth("merge-policies"),
    truth("merge-roles"),
    truth("meta"),
    value("format"),
];
const POLICY: &[Flag] = &[
    value("id"),
    value("name"),
    value("new-name"),
    value("description"),
    value("rules"),
    value("valid-datacenter"),
    truth("meta"),
    value("format"),
];
const ROLE: &[Flag] = &[
    value("id"),
    value("name"),
    value("description"),
    value("policy-id"),
    value("policy-name"),
    value("service-identity"),
    value("node-identity"),
    truth("meta"),
    value("format"),
];
const NAMED: &[Flag] = &[value("id"), value("name"), truth("meta"), value("format")];
const LOGIN: &[Flag] = &[
    value("method"),
    value("bearer-token-file"),
    value("token-sink-file"),
    value("meta"),
];

/// Prints one thing, or several, as text or JSON.
pub(super) fn print(
    command: &Command<'_>,
    found: &Value,
    text: fn(&Value, bool) -> String,
) -> Done {
    if command.typed.get("format") == Some("json") {
        let json = serde_json::to_string_pretty(found);
        say!("{}", json.map_err(|error| Failure::new(error.to_string()))?);
        return Ok(0);
    }
    let meta = command.typed.is("meta");
    match found.as_array() {
        Some(rows) => {
            for row in rows {
                say!("{}", text(row, meta));
            }
        }
        None => say!("{}", text(found, meta).trim_end()),
    }
    Ok(0)
}

pub(super) fn failed(what: &str) -> impl Fn(Failure) -> Failure + use<'_> {
    move |why| Failure::new(format!("Failed to {what}: {why}"))
}

pub(super) async fn list(
    command: &Command<'_>,
    path: &str,
    what: &str,
    text: fn(&Value, bool) -> String,
) -> Done {
    let found = command.client()?.get(path).await.map_err(failed(what))?;
    print(command, &found, text)
}

pub(super) async fn write(
    command: &Command<'_>,
    path: &str,
    body: Value,
    what: &str,
    text: fn(&Value, bool) -> String,
) -> Done {
    let written = command.client()?.put(path, body.to_string()).await;
    print(command, &written.map_err(failed(what))?.json()?, text)
}

pub(super) async fn delete(command: &Command<'_>, path: &str, kind: &str, id: &str) -> Done {
    let client = command.client()?;
    let gone = client.good(Method::DELETE, path, bytes::Bytes::new());
    gone.await
        .map_err(|why| Failure::new(format!("Error deleting {kind} {id:?}: {why}")))?;
    let mut title = kind.to_owned();
    title[..1].make_ascii_uppercase();
    say!("{title} {id:?} deleted successfully");
    Ok(0)
}

/// The present form of what `-id` or `-name` means.
async fn named(command: &Command<'_>, kind: &str) -> Result<Value, Failure> {
    let typed = command.typed;
    let path = match (typed.get("id"), typed.get("name")) {
        (Some(id), _) => format!("/v1/acl/{kind}/{}", escape(id)),
        (None, Some(name)) => format!("/v1/acl/{kind}/name/{}", escape(name)),
        (None, None) => {
            return Err(Failure::new(
                "Must specify either the -id or -name parameters",
            ));
        }
    };
    let found = command.client()?.get(&path).await;
    found.map_err(|why| Failure::new(format!("Error reading {kind}: {why}")))
}

/// Puts what was typed under `name` into `body` as a text, if it was.
pub(super) fn texts(command: &Command<'_>, body: &mut Map<String, Value>, fields: &[(&str, &str)]) {
    for (flag, field) in fields {
        if let Some(text) = command.typed.get(flag) {
            body.insert((*field).to_owned(), text.into());
        }
    }
}

/// Policies, roles and identities that were typed; `merge` adds them to those that are there.
fn linked(
    command: &Command<'_>,
    body: &mut Map<String, Value>,
    merge: [bool; 2],
) -> Result<(), Failure> {
    let typed = command.typed;
    for (kind, field, merge) in [
        ("policy", "Policies", merge[0]),
        ("role", "Roles", merge[1]),
    ] {
        let (ids, names) = (format!("{kind}-id"), format!("{kind}-name"));
        let ids = typed.all(&ids).map(|id| json!({ "ID": id }));
        let new: Vec<Value> = ids
            .chain(typed.all(&names).map(|name| json!({ "Name": name })))
            .collect();
        if new.is_empty() {
            continue;
        }
        let there = body.get(field).and_then(Value::as_array).cloned();
        let mut all = there.filter(|_| merge).unwrap_or_default();
        all.extend(new);
        body.insert(field.to_owned(), all.into());
    }
    let services: Vec<Value> = typed
        .all("service-identity")
        .map(|text| match text.split_once(':') {
            Some((name, places)) => {
                json!({ "ServiceName": name, "Datacenters": places.split(',').collect::<Vec<_>>() })
            }
            None => json!({ "ServiceName": text }),
        })
        .collect();
    if !services.is_empty() {
        body.insert("ServiceIdentities".to_owned(), services.into());
    }
    let mut nodes = Vec::new();
    for text in typed.all("node-identity") {
        let Some((name, place)) = text.split_once(':') else {
            return Err(Failure::new(format!(
                "Malformed -node-identity argument: {text:?}: NODENAME:DATACENTER is expected"
            )));
        };
        nodes.push(json!({ "NodeName": name, "Datacenter": place }));
    }
    if !nodes.is_empty() {
        body.insert("NodeIdentities".to_owned(), nodes.into());
    }
    Ok(())
}

fn accessor<'a>(command: &'a Command<'_>) -> Result<&'a str, Failure> {
    let typed = command.typed;
    let id = typed.get("accessor-id").or_else(|| typed.get("id"));
    id.ok_or_else(|| Failure::new("Must specify the -accessor-id parameter"))
}

pub(super) fn object(found: Value) -> Map<String, Value> {
    match found {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// `acl token create`.
async fn token_create(command: &Command<'_>) -> Done {
    let mut body = Map::new();
    let fields = [
        ("accessor", "AccessorID"),
        ("secret", "SecretID"),
        ("description", "Description"),
        ("expires-ttl", "ExpirationTTL"),
    ];
    texts(command, &mut body, &fields);
    body.insert("Local".to_owned(), command.typed.is("local").into());
    linked(command, &mut body, [false, false])?;
    write(
        command,
        "/v1/acl/token",
        body.into(),
        "create new token",
        token_text,
    )
    .await
}

/// `acl token update`.
async fn token_update(command: &Command<'_>) -> Done {
    let path = format!("/v1/acl/token/{}", escape(accessor(command)?));
    let found = command.client()?.get(&path).await;
    let mut body = object(found.map_err(failed("read the token"))?);
    texts(command, &mut body, &[("description", "Description")]);
    let merge = ["merge-policies", "merge-roles"].map(|flag| command.typed.is(flag));
    linked(command, &mut body, merge)?;
    write(command, &path, body.into(), "update token", token_text).await
}

/// `acl token clone`.
async fn token_clone(command: &Command<'_>) -> Done {
    let path = format!("/v1/acl/token/{}/clone", escape(accessor(command)?));
    let mut body = Map::new();
    texts(command, &mut body, &[("description", "Description")]);
    write(command, &path, body.into(), "clone token", token_text).await
}

/// `acl token read`.
async fn token_read(command: &Command<'_>) -> Done {
    let path = match command.typed.is("self") {
        true => "/v1/acl/token/self".to_owned(),
        false => {
            let expanded = if command.typed.is("expanded") {
                "?expanded=true"
            } else {
                ""
            };
            format!("/v1/acl/token/{}{expanded}", escape(accessor(command)?))
        }
    };
    list(command, &path, "read the token", token_text).await
}

/// `acl token delete`.
async fn token_delete(command: &Command<'_>) -> Done {
    let id = accessor(command)?;
    delete(
        command,
        &format!("/v1/acl/token/{}", escape(id)),
        "token",
        id,
    )
    .await
}

/// `acl token list`.
async fn token_list(command: &Command<'_>) -> Done {
    list(
        command,
        "/v1/acl/tokens",
        "retrieve the token list",
        token_text,
    )
    .await
}

/// What `policy create` and `update` were given.
fn policy(command: &Command<'_>, body: &mut Map<String, Value>) -> Result<(), Failure> {
    texts(command, body, &[("description", "Description")]);
    if let Some(rules) = command.typed.get("rules") {
        let text = match rules.strip_prefix('@') {
            Some(path) => String::from_utf8(read_file(path)?),
            None if rules == "-" => String::from_utf8(read_file("-")?),
            None => Ok(rules.to_owned()),
        };
        let text = text.map_err(|_| Failure::new("Error loading rules: they are not UTF-8"))?;
        body.insert("Rules".to_owned(), text.into());
    }
    let places: Vec<&str> = command.typed.all("valid-datacenter").collect();
    if !places.is_empty() {
        body.insert("Datacenters".to_owned(), json!(places));
    }
    Ok(())
}

/// `acl policy create`.
async fn policy_create(command: &Command<'_>) -> Done {
    let Some(name) = command.typed.get("name") else {
        return Err(Failure::new("Missing require '-name' flag"));
    };
    let mut body = object(json!({ "Name": name }));
    policy(command, &mut body)?;
    write(
        command,
        "/v1/acl/policy",
        body.into(),
        "create new policy",
        policy_text,
    )
    .await
}

/// `acl policy update`.
async fn policy_update(command: &Command<'_>) -> Done {
    let mut body = object(named(command, "policy").await?);
    texts(command, &mut body, &[("new-name", "Name")]);
    if command.typed.get("id").is_some() {
        texts(command, &mut body, &[("name", "Name")]);
    }
    policy(command, &mut body)?;
    let path = format!("/v1/acl/policy/{}", escape(&text_of(&json!(body), "ID")));
    write(command, &path, body.into(), "update policy", policy_text).await
}

/// `acl policy read`.
async fn policy_read(command: &Command<'_>) -> Done {
    let found = named(command, "policy").await?;
    print(command, &found, policy_text)
}

/// `acl policy delete`.
async fn policy_delete(command: &Command<'_>) -> Done {
    let id = text_of(&named(command, "policy").await?, "ID");
    delete(
        command,
        &format!("/v1/acl/policy/{}", escape(&id)),
        "policy",
        &id,
    )
    .await
}

/// `acl policy list`.
async fn policy_list(command: &Command<'_>) -> Done {
    list(
        command,
        "/v1/acl/policies",
        "retrieve the policy list",
        policy_text,
    )
    .await
}

/// `acl role create`.
async fn role_create(command: &Command<'_>) -> Done {
    let Some(name) = command.typed.get("name") else {
        return Err(Failure::new("Missing require '-name' flag"));
    };
    let mut body = object(json!({ "Name": name }));
    texts(command, &mut body, &[("description", "Description")]);
    linked(command, &mut body, [false, false])?;
    write(
        command,
        "/v1/acl/role",
        body.into(),
        "create new role",
        role_text,
    )
    .await
}

/// `acl role update`.
async fn role_update(command: &Command<'_>) -> Done {
    let mut body = object(named(command, "role").await?);
    if command.typed.get("id").is_some() {
        texts(command, &mut body, &[("name", "Name")]);
    }
    texts(command, &mut body, &[("description", "Description")]);
    linked(command, &mut body, [true, true])?;
    let path = format!("/v1/acl/role/{}", escape(&text_of(&json!(body), "ID")));
    write(command, &path, body.into(), "update role", role_text).await
}

/// `acl role read`.
async fn role_read(command: &Command<'_>) -> Done {
    let found = named(command, "role").await?;
    print(command, &found, role_text)
}

/// `acl role delete`.
async fn role_delete(command: &Command<'_>) -> Done {
    let id = text_of(&named(command, "role").await?, "ID");
    delete(
        command,
        &format!("/v1/acl/role/{}", escape(&id)),
        "role",
        &id,
    )
    .await
}

/// `acl role list`.
async fn role_list(command: &Command<'_>) -> Done {
    list(
        command,
        "/v1/acl/roles",
        "retrieve the role list",
        role_text,
    )
    .await
}

/// `login -method M -bearer-token-file F -token-sink-file F`: the secret goes into a file that its owner alone may read.
async fn login(command: &Command<'_>) -> Done {
    let needed = |flag: &'static str| {
        let given = command.typed.get(flag).filter(|given| !given.is_empty());
        given.ok_or_else(|| Failure::new(format!("Missing required '-{flag}' flag")))
    };
    let (method, sink) = (needed("method")?, needed("token-sink-file")?);
    let bearer = read_file(needed("bearer-token-file")?)?;
    let bearer = String::from_utf8_lossy(&bearer).trim().to_owned();
    if bearer.is_empty() {
        return Err(Failure::new("No bearer token found in the file"));
    }
    let pairs = command
        .typed
        .all("meta")
        .filter_map(|pair| pair.split_once('='));
    let meta: Map<String, Value> = pairs
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect();
    let body = json!({ "AuthMethod": method, "BearerToken": bearer, "Meta": meta });
    let answer = command
        .client()?
        .ask(Method::POST, "/v1/acl/login", body.to_string())
        .await?;
    if answer.status != StatusCode::OK {
        let why = unexpected(answer.status, &answer.body);
        return Err(Failure::new(format!("Error logging in: {why}")));
    }
    let secret = text_of(&answer.json()?, "SecretID");
    super::snapshots::write_whole(std::path::Path::new(sink), secret.as_bytes())
        .map_err(|error| Failure::new(format!("Error writing token to file {sink:?}: {error}")))?;
    Ok(0)
}

/// `logout`, with the token that is given up.
async fn logout(command: &Command<'_>) -> Done {
    let done = command
        .client()?
        .good(Method::POST, "/v1/acl/logout", bytes::Bytes::new())
        .await;
    done.map_err(|why| Failure::new(format!("Error destroying token: {why}")))?;
    Ok(0)
}
