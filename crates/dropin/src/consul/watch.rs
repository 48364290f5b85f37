//! `watch`: a handler is run, or the news printed, each time something changes.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command as Process;

use super::http::{Client, escape, unexpected};
use super::{Command, Done, Failure};
use crate::go_flags::{Flag, Typed, truth, value};

pub(super) const FLAGS: &[Flag] = &[
    value("type"),
    value("key"),
    value("prefix"),
    value("service"),
    value("tag"),
    truth("passingonly"),
    value("state"),
    value("name"),
    value("filter"),
    truth("shell"),
];

/// After this many failures in a row the command gives up.
const TRIES: u32 = 5;
/// Waited after the first failure; after the next, as often as there were.
const PAUSE: Duration = Duration::from_secs(5);

/// The path that is asked for.
fn path_of(typed: &Typed) -> Result<String, Failure> {
    let needed = |flag: &str| {
        let given = typed.get(flag).filter(|given| !given.is_empty());
        given.ok_or_else(|| Failure::new(format!("Must specify a single {flag} to watch")))
    };
    let mut path = match needed("type").map_err(|_| Failure::new("Watch type must be specified"))? {
        "key" => format!("/v1/kv/{}?", escape(needed("key")?)),
        "keyprefix" => format!("/v1/kv/{}?recurse=&", escape(needed("prefix")?)),
        "services" => "/v1/catalog/services?".to_owned(),
        "nodes" => "/v1/catalog/nodes?".to_owned(),
        "service" => {
            let mut path = format!("/v1/health/service/{}?", escape(needed("service")?));
            for tag in typed.all("tag") {
                path.push_str(&format!("tag={}&", escape(tag)));
            }
            if typed.is("passingonly") {
                path.push_str("passing=1&");
            }
            path
        }
        "checks" => match (typed.get("service"), typed.get("state")) {
            (Some(_), Some(_)) => {
                return Err(Failure::new("Cannot specify service and state"));
            }
            (Some(service), None) => format!("/v1/health/checks/{}?", escape(service)),
            (None, state) => format!("/v1/health/state/{}?", escape(state.unwrap_or("any"))),
        },
        "event" => match typed.get("name") {
            Some(name) => format!("/v1/event/list?name={}&", escape(name)),
            None => "/v1/event/list?".to_owned(),
        },
        other => return Err(Failure::new(format!("Unsupported watch type: {other}"))),
    };
    if let Some(filter) = typed.get("filter") {
        path.push_str(&format!("filter={}&", escape(filter)));
    }
    Ok(path)
}

/// `watch -type=T [HANDLER...]`.
pub(super) async fn watch(command: &Command<'_>) -> Done {
    let typed = command.typed;
    let path = path_of(typed)?;
    let client = command.client()?;
    let (mut index, mut failures) = (0, 0);
    let mut before: Option<Value> = None;
    loop {
        match round(&client, typed, &path, index).await {
            Ok((seen, news)) => {
                failures = 0;
                // An index that goes back means that the server begins anew.
                let same = seen == index && before.is_some() || before.as_ref() == Some(&news);
                index = if seen < index { 0 } else { seen };
                if same {
                    continue;
                }
                before = Some(news.clone());
                if typed.rest.is_empty() {
                    let text = serde_json::to_string_pretty(&news)
                        .map_err(|error| Failure::new(error.to_string()))?;
                    say!("{text}");
                    return Ok(0);
                }
                handle(typed, &news, seen).await?;
            }
            Err(why) => {
                failures += 1;
                eprintln!("consul.watch: Watch errored: {why}");
                if typed.rest.is_empty() || failures >= TRIES {
                    return Ok(1);
                }
                tokio::time::sleep(PAUSE * failures).await;
            }
        }
    }
}

async fn round(
    client: &Client,
    typed: &Typed,
    path: &str,
    index: u64,
) -> Result<(u64, Value), Failure> {
    let path = format!("{path}index={index}");
    let answer = client.ask(Method::GET, &path, Bytes::new()).await?;
    let missing = answer.status == StatusCode::NOT_FOUND;
    if !missing && answer.status != StatusCode::OK {
        return Err(unexpected(answer.status, &answer.body));
    }
    let kind = typed.get("type").unwrap_or_default();
    let news = match (missing, kind) {
        (true, "keyprefix") => json!([]),
        (true, _) => Value::Null,
        // One key is one object.
        (false, "key") => answer.json()?[0].clone(),
        (false, _) => answer.json()?,
    };
    Ok((answer.index(), news))
}

/// Runs the handler with the news on its stdin, and waits for it.
async fn handle(typed: &Typed, news: &Value, index: u64) -> Result<(), Failure> {
    let words = &typed.rest;
    let failed = |error: std::io::Error| Failure::new(format!("Error executing handler: {error}"));
    let mut process = match (words.as_slice(), typed.get("shell") != Some("false")) {
        (words, true) => {
            let mut process = Process::new("/bin/sh");
            process.arg("-c").arg(words.join(" "));
            process
        }
        ([program, arguments @ ..], false) => {
            let mut process = Process::new(program);
            process.args(arguments);
            process
        }
        ([], false) => return Ok(()),
    };
    let variables = BTreeMap::from([("CONSUL_INDEX", index.to_string())]);
    let mut child = process
        .envs(variables)
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A handler that reads nothing is none the worse.
        let _read = stdin.write_all(format!("{news}\n").as_bytes()).await;
    }
    child.wait().await.map_err(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_is_a_path() {
        let of = |flags: &[(&str, &str)]| {
            let flags = flags
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
            path_of(&Typed {
                flags: flags.collect(),
                rest: Vec::new(),
            })
            .map_err(|failure| failure.0)
        };
        assert_eq!(
            of(&[("type", "key"), ("key", "a b")]).unwrap(),
            "/v1/kv/a%20b?"
        );
        assert_eq!(
            of(&[
                ("type", "service"),
                ("service", "web"),
                ("tag", "v1"),
                ("passingonly", "true")
            ])
            .unwrap(),
            "/v1/health/service/web?tag=v1&passing=1&"
        );
        assert_eq!(of(&[("type", "checks")]).unwrap(), "/v1/health/state/any?");
        assert_eq!(of(&[]).unwrap_err(), "Watch type must be specified");
        assert_eq!(
            of(&[("type", "key")]).unwrap_err(),
            "Must specify a single key to watch"
        );
        assert_eq!(
            of(&[("type", "x")]).unwrap_err(),
            "Unsupported watch type: x"
        );
    }
}
