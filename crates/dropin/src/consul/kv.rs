//! `kv`: keys and values.

use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::http::{escape, unexpected};
use super::{Command, Done, Failure, text_of};
use crate::go_flags::{Flag, truth, value};

pub(super) const GET: &[Flag] = &[
    truth("base64"),
    truth("detailed"),
    truth("keys"),
    truth("recurse"),
    value("separator"),
];
pub(super) const PUT: &[Flag] = &[
    truth("acquire"),
    truth("base64"),
    truth("cas"),
    value("flags"),
    value("modify-index"),
    truth("release"),
    value("session"),
];
pub(super) const DELETE: &[Flag] = &[truth("cas"), value("modify-index"), truth("recurse")];
pub(super) const EXPORT: &[Flag] = &[];
pub(super) const IMPORT: &[Flag] = &[value("prefix")];

/// Keys are asked for without the slash that people write in front.
fn key_of(word: &str) -> &str {
    word.strip_prefix('/').unwrap_or(word)
}

/// `kv get`.
pub(super) async fn get(command: &Command<'_>) -> Done {
    let typed = command.typed;
    let (keys, recurse) = (typed.is("keys"), typed.is("recurse"));
    let key = match typed.rest.as_slice() {
        [] if keys || recurse => "",
        [] => return Err(Failure::new("Error! Missing KEY argument")),
        [key] => key_of(key),
        more => {
            return Err(Failure::new(format!(
                "Too many arguments (expected 1, got {})",
                more.len()
            )));
        }
    };
    let client = command.client()?;
    let mut path = format!("/v1/kv/{}", escape(key));
    if keys {
        let separator = match recurse {
            true => "",
            false => typed.get("separator").unwrap_or("/"),
        };
        path.push_str(&format!("?keys=&separator={}", escape(separator)));
    } else if recurse {
        path.push_str("?recurse=");
    }
    let answer = client.ask(Method::GET, &path, Bytes::new()).await?;
    match answer.status {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND if keys || recurse => return Ok(0),
        StatusCode::NOT_FOUND => {
            return Err(Failure::new(format!("Error! No key exists at: {key}")));
        }
        status => {
            let why = unexpected(status, &answer.body);
            return Err(Failure::new(format!("Error querying Consul agent: {why}")));
        }
    }
    let listed = answer.json()?;
    let mut out = std::io::stdout().lock();
    let mut print = |bytes: &[u8]| {
        out.write_all(bytes)
            .and_then(|()| out.write_all(b"\n"))
            .map_err(|error| Failure::new(format!("cannot write: {error}")))
    };
    for pair in listed.as_array().into_iter().flatten() {
        if let Some(key) = pair.as_str() {
            print(key.as_bytes())?;
            continue;
        }
        let value = shown(pair, typed.is("base64"))?;
        if typed.is("detailed") {
            print(&detailed(pair, &value))?;
        } else if recurse {
            print(&[text_of(pair, "Key").as_bytes(), b":", &value].concat())?;
        } else {
            print(&value)?;
        }
    }
    Ok(0)
}

/// A value as it is printed.
fn shown(pair: &Value, encoded: bool) -> Result<Vec<u8>, Failure> {
    let text = pair["Value"].as_str().unwrap_or_default();
    match encoded {
        true => Ok(text.as_bytes().to_vec()),
        false => STANDARD
            .decode(text)
            .map_err(|error| Failure::new(format!("the answer cannot be read: {error}"))),
    }
}

fn detailed(pair: &Value, value: &[u8]) -> Vec<u8> {
    let number = |name: &str| pair[name].as_u64().unwrap_or(0).to_string();
    let session = match pair["Session"].as_str() {
        Some(session) if !session.is_empty() => session.to_owned(),
        _ => "-".to_owned(),
    };
    let mut text = Vec::new();
    for (name, shown) in [
        ("CreateIndex", number("CreateIndex")),
        ("Flags", number("Flags")),
        ("Key", text_of(pair, "Key")),
        ("LockIndex", number("LockIndex")),
        ("ModifyIndex", number("ModifyIndex")),
        ("Session", session),
    ] {
        text.extend(format!("{name:<16} {shown}\n").into_bytes());
    }
    text.extend(format!("{:<16} ", "Value").into_bytes());
    text.extend_from_slice(value);
    text
}

/// `kv put`.
pub(super) async fn put(command: &Command<'_>) -> Done {
    let typed = command.typed;
    let (key, data) = match typed.rest.as_slice() {
        [] => return Err(Failure::new("Error! Missing KEY argument")),
        [key] => (key_of(key), Vec::new()),
        [key, data] => (key_of(key), read_data(data)?),
        more => {
            return Err(Failure::new(format!(
                "Error! Too many arguments (expected 1 or 2, got {})",
                more.len()
            )));
        }
    };
    if key.is_empty() {
        return Err(Failure::new("Error! Missing KEY argument"));
    }
    let data = match typed.is("base64") {
        true => STANDARD
            .decode(&data)
            .map_err(|error| Failure::new(format!("Error! Cannot base 64 decode data: {error}")))?,
        false => data,
    };
    let session = typed.get("session").unwrap_or_default();
    if session.is_empty() && (typed.is("acquire") || typed.is("release")) {
        return Err(Failure::new(
            "Error! Missing -session (required with -acquire and -release)",
        ));
    }
    let flags = number(typed.get("flags"), "flags")?;
    let index = number(typed.get("modify-index"), "modify-index")?;
    let mut path = format!("/v1/kv/{}?flags={flags}", escape(key));
    let (parameter, done, undone) = if typed.is("cas") {
        (
            format!("&cas={index}"),
            format!("Success! Data written to: {key}"),
            format!("Error! Did not write to {key}: CAS failed"),
        )
    } else if typed.is("acquire") {
        (
            format!("&acquire={}", escape(session)),
            format!("Success! Lock acquired on: {key}"),
            "Error! Did not acquire lock".to_owned(),
        )
    } else if typed.is("release") {
        (
            format!("&release={}", escape(session)),
            format!("Success! Lock released on: {key}"),
            "Error! Did not release lock".to_owned(),
        )
    } else {
        (
            String::new(),
            format!("Success! Data written to: {key}"),
            format!("Error! Did not write to {key}"),
        )
    };
    path.push_str(&parameter);
    let client = command.client()?;
    let answer = client
        .put(&path, data)
        .await
        .map_err(|why| Failure::new(format!("Error! Failed writing data: {why}")))?;
    if answer.body.trim_ascii() != b"true" {
        return Err(Failure::new(undone));
    }
    say!("{done}");
    Ok(0)
}

/// `@FILE`, `-` for stdin, or the data themselves.
fn read_data(word: &str) -> Result<Vec<u8>, Failure> {
    let failed =
        |error: std::io::Error| Failure::new(format!("Error! Failed to read file: {error}"));
    if let Some(path) = word.strip_prefix('@') {
        return std::fs::read(path).map_err(failed);
    }
    if word == "-" {
        let mut data = Vec::new();
        std::io::stdin().read_to_end(&mut data).map_err(failed)?;
        return Ok(data);
    }
    Ok(word.as_bytes().to_vec())
}

fn number(text: Option<&str>, flag: &str) -> Result<u64, Failure> {
    let text = text.unwrap_or("0");
    text.parse().map_err(|_| {
        Failure::new(format!(
            "invalid value {text:?} for flag -{flag}: parse error"
        ))
    })
}

/// `kv delete`.
pub(super) async fn delete(command: &Command<'_>) -> Done {
    let typed = command.typed;
    let recurse = typed.is("recurse");
    let key = match typed.rest.as_slice() {
        [] => "",
        [key] => key_of(key),
        more => {
            return Err(Failure::new(format!(
                "Too many arguments (expected 1, got {})",
                more.len()
            )));
        }
    };
    if key.is_empty() && !recurse {
        return Err(Failure::new("Error! Missing KEY argument"));
    }
    let index = number(typed.get("modify-index"), "modify-index")?;
    if typed.is("cas") && recurse {
        return Err(Failure::new("Cannot specify -cas with -recurse!"));
    }
    if typed.is("cas") && index == 0 {
        return Err(Failure::new("Must specify -modify-index > 0 with -cas!"));
    }
    if !typed.is("cas") && typed.get("modify-index").is_some() {
        return Err(Failure::new("Cannot specify -modify-index without -cas!"));
    }
    let mut path = format!("/v1/kv/{}", escape(key));
    if recurse {
        path.push_str("?recurse=");
    } else if typed.is("cas") {
        path.push_str(&format!("?cas={index}"));
    }
    let client = command.client()?;
    let answer = client.good(Method::DELETE, &path, Bytes::new()).await;
    let answer = answer.map_err(|why| {
        Failure::new(match recurse {
            true => format!("Error! Did not delete prefix {key}: {why}"),
            false => format!("Error! Did not delete key {key}: {why}"),
        })
    })?;
    if answer.body.trim_ascii() != b"true" {
        return Err(Failure::new(format!(
            "Error! Did not delete key {key}: CAS failed"
        )));
    }
    match recurse {
        true => say!("Success! Deleted keys with prefix: {key}"),
        false => say!("Success! Deleted key: {key}"),
    }
    Ok(0)
}

/// `kv export`.
pub(super) async fn export(command: &Command<'_>) -> Done {
    let prefix = match command.typed.rest.as_slice() {
        [] => "",
        [prefix] => key_of(prefix),
        more => {
            return Err(Failure::new(format!(
                "Too many arguments (expected 1, got {})",
                more.len()
            )));
        }
    };
    let path = format!("/v1/kv/{}?recurse=", escape(prefix));
    let answer = command
        .client()?
        .ask(Method::GET, &path, Bytes::new())
        .await?;
    let listed = match answer.status {
        StatusCode::OK => answer.json()?,
        StatusCode::NOT_FOUND => json!([]),
        status => return Err(unexpected(status, &answer.body)),
    };
    // Written by hand, since Go indents with tabs and keeps this order.
    let rows: Vec<String> = listed
        .as_array()
        .into_iter()
        .flatten()
        .map(|pair| {
            format!(
                "\t{{\n\t\t\"key\": {},\n\t\t\"flags\": {},\n\t\t\"value\": {}\n\t}}",
                pair["Key"],
                pair["Flags"],
                json!(pair["Value"].as_str().unwrap_or_default()),
            )
        })
        .collect();
    match rows.is_empty() {
        true => say!("[]"),
        false => say!("[\n{}\n]", rows.join(",\n")),
    }
    Ok(0)
}

/// `kv import`.
pub(super) async fn import(command: &Command<'_>) -> Done {
    let data = match command.typed.rest.as_slice() {
        [] => return Err(Failure::new("Error! Missing DATA argument")),
        [data] => read_data(data)?,
        more => {
            return Err(Failure::new(format!(
                "Error! Too many arguments (expected 1, got {})",
                more.len()
            )));
        }
    };
    let entries: Vec<Value> = serde_json::from_slice(&data)
        .map_err(|error| Failure::new(format!("Error! Cannot unmarshal data: {error}")))?;
    let prefix = command.typed.get("prefix").unwrap_or_default();
    let prefix = prefix.trim_end_matches('/');
    let client = command.client()?;
    for entry in &entries {
        let key = text_of(entry, "key");
        let key = match prefix.is_empty() {
            true => key.trim_start_matches('/').to_owned(),
            false => format!("{prefix}/{}", key.trim_start_matches('/')),
        };
        let value = STANDARD.decode(text_of(entry, "value")).map_err(|error| {
            Failure::new(format!(
                "Error base 64 decoding value for key {key}: {error}"
            ))
        })?;
        let flags = entry["flags"].as_u64().unwrap_or(0);
        let path = format!("/v1/kv/{}?flags={flags}", escape(&key));
        client.put(&path, value).await.map_err(|why| {
            Failure::new(format!("Error! Failed writing data for key {key}: {why}"))
        })?;
        say!("Imported: {key}");
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_come_from_the_line_or_a_file() {
        let directory = std::env::temp_dir().join(format!("portolan-kv-{}", std::process::id()));
        std::fs::write(&directory, b"in a file").unwrap();
        let word = format!("@{}", directory.display());
        assert_eq!(read_data(&word).unwrap(), b"in a file");
        std::fs::remove_file(&directory).unwrap();
        assert_eq!(read_data("-x").unwrap(), b"-x");
        assert!(
            read_data(&word)
                .unwrap_err()
                .0
                .starts_with("Error! Failed to read file")
        );
    }

    #[test]
    fn a_pair_in_detail() {
        let pair =
            json!({"Key": "a/b", "Flags": 0, "LockIndex": 0, "CreateIndex": 5, "ModifyIndex": 7});
        let text = String::from_utf8(detailed(&pair, b"5")).unwrap();
        assert_eq!(
            text,
            "CreateIndex      5\nFlags            0\nKey              a/b\nLockIndex        0\nModifyIndex      7\nSession          -\nValue            5"
        );
    }
}
