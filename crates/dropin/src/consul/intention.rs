//! `intention`: who may call whom.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::columns::{GAP, columns};
use super::http::{Answer, escape, unexpected};
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
    row!("intention check", &[], check, "Check whether a connection between two services is allowed"),
    row!("intention create", CREATE, create, "Create intentions for service connections"),
    row!("intention delete", &[], delete, "Delete an intention"),
    row!("intention get", &[], get, "Show information about an intention"),
    row!("intention list", &[], list, "Lists all intentions"),
    row!("intention match", MATCH, matching, "Show intentions that match a source or destination"),
];

const CREATE: &[Flag] = &[
    truth("allow"),
    truth("deny"),
    truth("file"),
    truth("replace"),
    value("meta"),
];
const MATCH: &[Flag] = &[truth("source"), truth("destination")];

/// The exit code of a check that says no.
const DENIED: u8 = 2;

fn exact(source: &str, destination: &str) -> String {
    format!(
        "/v1/connect/intentions/exact?source={}&destination={}",
        escape(source),
        escape(destination)
    )
}

/// `api => db (allow)`.
fn line(intention: &Value) -> String {
    let permissions = intention["Permissions"].as_array().map_or(0, Vec::len);
    let detail = match permissions {
        0 => text_of(intention, "Action"),
        1 => "1 permission".to_owned(),
        count => format!("{count} permissions"),
    };
    format!(
        "{} => {} ({detail})",
        text_of(intention, "SourceName"),
        text_of(intention, "DestinationName")
    )
}

fn pair<'a>(command: &'a Command<'_>) -> Result<(&'a str, &'a str), Failure> {
    match command.typed.rest.as_slice() {
        [source, destination] => Ok((source, destination)),
        other => Err(Failure::new(format!(
            "Error: command requires exactly two arguments: src and dst, got {}",
            other.len()
        ))),
    }
}

/// `intention check SRC DST`.
async fn check(command: &Command<'_>) -> Done {
    let (source, destination) = pair(command)?;
    let path = format!(
        "/v1/connect/intentions/check?source={}&destination={}",
        escape(source),
        escape(destination)
    );
    let found = command.client()?.get(&path).await;
    let found =
        found.map_err(|why| Failure::new(format!("Error checking the connection: {why}")))?;
    match found["Allowed"] == true {
        true => {
            say!("Allowed");
            Ok(0)
        }
        false => {
            say!("Denied");
            Ok(DENIED)
        }
    }
}

/// What `create` is told to make.
fn wanted(command: &Command<'_>) -> Result<Vec<Value>, Failure> {
    let typed = command.typed;
    if typed.is("allow") && typed.is("deny") {
        return Err(Failure::new(
            "Only one of -allow or -deny may be specified.",
        ));
    }
    if typed.is("file") {
        let mut all = Vec::new();
        for path in &typed.rest {
            let one = serde_json::from_slice(&read_file(path)?);
            all.push(one.map_err(|error| Failure::new(format!("Error: {path}: {error}")))?);
        }
        return Ok(all);
    }
    let (source, destination) = pair(command)?;
    let mut meta = Map::new();
    for text in typed.all("meta") {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        meta.insert(key.to_owned(), value.into());
    }
    let action = if typed.is("deny") { "deny" } else { "allow" };
    let mut made = json!({"SourceName": source, "DestinationName": destination,
        "SourceType": "consul", "Action": action});
    if !meta.is_empty() {
        made["Meta"] = meta.into();
    }
    Ok(vec![made])
}

/// `intention create [-allow|-deny] SRC DST` and `intention create -file FILE...`.
async fn create(command: &Command<'_>) -> Done {
    let client = command.client()?;
    for intention in wanted(command)? {
        let names = ["SourceName", "DestinationName"].map(|key| text_of(&intention, key));
        let path = exact(&names[0], &names[1]);
        let failed = |why: &dyn std::fmt::Display| {
            Failure::new(format!(
                "Error creating intention {:?}: {why}",
                line(&intention)
            ))
        };
        let there = client.ask(Method::GET, &path, Bytes::new()).await?;
        if there.status == StatusCode::OK && !command.typed.is("replace") {
            return Err(failed(&format!(
                "duplicate intention found: {}",
                line(&there.json()?)
            )));
        }
        let put = client.put(&path, intention.to_string()).await;
        put.map_err(|why| failed(&why))?;
        say!("Created: {}", line(&intention));
    }
    Ok(0)
}

/// The path of what `SRC DST` or an id means.
fn place(command: &Command<'_>) -> Result<String, Failure> {
    match command.typed.rest.as_slice() {
        [id] => Ok(format!("/v1/connect/intentions/{}", escape(id))),
        [source, destination] => Ok(exact(source, destination)),
        other => Err(Failure::new(format!(
            "Error: command requires exactly 1 or 2 arguments, got {}",
            other.len()
        ))),
    }
}

async fn found(command: &Command<'_>) -> Result<Answer, Failure> {
    let answer = command
        .client()?
        .ask(Method::GET, &place(command)?, Bytes::new())
        .await?;
    match answer.status {
        StatusCode::OK => Ok(answer),
        StatusCode::NOT_FOUND => Err(Failure::new("Error: Intention not found")),
        status => Err(unexpected(status, &answer.body)),
    }
}

/// `intention delete SRC DST`.
async fn delete(command: &Command<'_>) -> Done {
    found(command).await?;
    let gone = command
        .client()?
        .good(Method::DELETE, &place(command)?, Bytes::new())
        .await;
    gone.map_err(|why| Failure::new(format!("Error deleting the intention: {why}")))?;
    say!("Intention deleted.");
    Ok(0)
}

/// `intention get SRC DST`.
async fn get(command: &Command<'_>) -> Done {
    let intention = found(command).await?.json()?;
    let mut rows: Vec<(&str, String)> = Vec::new();
    for (title, key) in [
        ("Source:", "SourceName"),
        ("Destination:", "DestinationName"),
        ("Action:", "Action"),
        ("ID:", "ID"),
        ("Description:", "Description"),
    ] {
        let text = text_of(&intention, key);
        if !text.is_empty() {
            rows.push((title, text));
        }
    }
    for (key, value) in intention["Meta"].as_object().into_iter().flatten() {
        say!("Meta[{key}]:    {}", value.as_str().unwrap_or_default());
    }
    rows.push(("Created At:", text_of(&intention, "CreatedAt")));
    for (title, text) in rows {
        say!("{title:<14}{text}");
    }
    Ok(0)
}

/// `intention list`.
async fn list(command: &Command<'_>) -> Done {
    let all = command.client()?.get("/v1/connect/intentions").await;
    let all =
        all.map_err(|why| Failure::new(format!("Failed to retrieve the intentions list: {why}")))?;
    let Some(all) = all.as_array().filter(|all| !all.is_empty()) else {
        eprintln!("There are no intentions.");
        return Ok(0);
    };
    let mut rows = vec![
        ["ID", "Source", "Action", "Destination", "Precedence"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for one in all {
        let mut cells = ["ID", "SourceName", "Action", "DestinationName"]
            .map(|key| text_of(one, key))
            .to_vec();
        cells.push(one["Precedence"].to_string());
        rows.push(cells);
    }
    say!("{}", columns(&rows, GAP).trim_end());
    Ok(0)
}

/// `intention match [-source|-destination] NAME`.
async fn matching(command: &Command<'_>) -> Done {
    let typed = command.typed;
    if typed.is("source") && typed.is("destination") {
        return Err(Failure::new(
            "Error: only one of -source and -destination may be specified",
        ));
    }
    let name = command.one("NAME")?;
    let by = if typed.is("source") {
        "source"
    } else {
        "destination"
    };
    let path = format!("/v1/connect/intentions/match?by={by}&name={}", escape(name));
    let found = command.client()?.get(&path).await;
    let found =
        found.map_err(|why| Failure::new(format!("Error matching the connection: {why}")))?;
    for one in found[name].as_array().into_iter().flatten() {
        say!("{}", line(one));
    }
    Ok(0)
}
