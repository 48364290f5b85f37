//! `lock`: a program that runs while a lock, or a place in a semaphore, is held.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::json;
use tokio::process::{Child, Command as Process};

use super::http::{Client, escape};
use super::{Command, Done, Failure, text_of};
use crate::go_flags::{Flag, truth, value};

pub(super) const FLAGS: &[Flag] = &[
    value("child-exit-code"),
    value("n"),
    value("name"),
    value("timeout"),
    value("monitor-retry"),
    truth("pass-stdin"),
    truth("try"),
    truth("verbose"),
    truth("shell"),
];

/// The mark that a lock of Consul's client libraries carries.
const LOCK_FLAG: u64 = 0x2ddc_cbc0_58a5_0c18;
const TTL: Duration = Duration::from_secs(15);
/// How long a child has after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(5);

/// `lock PREFIX PROGRAM...`.
pub(super) async fn lock(command: &Command<'_>) -> Done {
    let typed = command.typed;
    let [prefix, program @ ..] = typed.rest.as_slice() else {
        return Err(Failure::new(
            "Key prefix and child command must be specified",
        ));
    };
    if program.is_empty() {
        return Err(Failure::new(
            "Key prefix and child command must be specified",
        ));
    }
    let prefix = prefix.trim_start_matches('/');
    match typed.get("n").unwrap_or("1") {
        "1" => {}
        _ => return Err(Failure::new("only -n=1 is understood by this command")),
    }
    let key = match prefix.ends_with(".lock") {
        true => prefix.to_owned(),
        false => format!("{}/.lock", prefix.trim_end_matches('/')),
    };
    let client = command.client()?;
    let name = typed.get("name").map_or_else(
        || format!("Consul lock for '{}' at '{key}'", program.join(" ")),
        str::to_owned,
    );
    let session = create_session(&client, &name).await?;
    let held = hold(
        &client,
        &key,
        &session,
        typed.is("try"),
        program,
        typed.get("shell") != Some("false"),
    )
    .await;
    let path = format!(
        "/v1/kv/{}?release={session}&flags={LOCK_FLAG}",
        escape(&key)
    );
    // Destroying the session frees the lock in any case.
    let _released = client.put(&path, Bytes::new()).await;
    let _destroyed = client
        .put(&format!("/v1/session/destroy/{session}"), Bytes::new())
        .await;
    if held.is_ok() {
        // Nobody else's lock is there to be removed when this fails.
        let _removed = remove_unheld(&client, &key).await;
    }
    let code = held?;
    match code {
        0 => Ok(0),
        _ if typed.get("child-exit-code").is_some_and(|on| on != "false") => Ok(2),
        _ => Ok(0),
    }
}

async fn create_session(client: &Client, name: &str) -> Result<String, Failure> {
    let body = json!({"Name": name, "TTL": format!("{}s", TTL.as_secs())});
    let made = client.put("/v1/session/create", body.to_string()).await;
    let made = made.map_err(|why| {
        Failure::new(format!(
            "Lock setup failed: failed to create session: {why}"
        ))
    })?;
    Ok(text_of(&made.json()?, "ID"))
}

async fn remove_unheld(client: &Client, key: &str) -> Result<(), Failure> {
    let path = format!("/v1/kv/{}", escape(key));
    let answer = client.ask(Method::GET, &path, Bytes::new()).await?;
    if answer.status != StatusCode::OK {
        return Ok(());
    }
    let pair = &answer.json()?[0];
    if text_of(pair, "Session").is_empty()
        && let Some(index) = pair["ModifyIndex"].as_u64()
    {
        client
            .good(Method::DELETE, &format!("{path}?cas={index}"), Bytes::new())
            .await?;
    }
    Ok(())
}

/// Takes the lock, runs the program while it is held and gives back its exit code.
async fn hold(
    client: &Client,
    key: &str,
    session: &str,
    once: bool,
    program: &[String],
    shell: bool,
) -> Result<i32, Failure> {
    let renewing = async {
        loop {
            tokio::time::sleep(TTL / 2).await;
            let path = format!("/v1/session/renew/{session}");
            match client.ask(Method::PUT, &path, Bytes::new()).await {
                Ok(answer) if answer.status == StatusCode::NOT_FOUND => return,
                // The lock is lost only when the server says so.
                Ok(_) | Err(_) => {}
            }
        }
    };
    tokio::pin!(renewing);
    tokio::select! {
        taken = take(client, key, session, once) => taken?,
        () = &mut renewing => return Err(Failure::new("Lock acquisition failed: the session is gone")),
    }
    let mut child = start(program, shell)?;
    tokio::select! {
        ended = child.wait() => {
            let ended = ended.map_err(|error| Failure::new(format!("Error running handler: {error}")))?;
            Ok(ended.code().unwrap_or(1))
        }
        () = &mut renewing => lost(child).await,
        () = watch_holder(client, key, session) => lost(child).await,
    }
}

async fn lost(mut child: Child) -> Result<i32, Failure> {
    if let Some(id) = child.id() {
        let asked = Process::new("kill").arg(id.to_string()).status().await;
        if asked.is_ok() && tokio::time::timeout(PATIENCE, child.wait()).await.is_ok() {
            return Err(Failure::new("Lock lost, child ended"));
        }
    }
    // It may have ended meanwhile.
    let _killed = child.kill().await;
    Err(Failure::new("Lock lost, killing child"))
}

async fn take(client: &Client, key: &str, session: &str, once: bool) -> Result<(), Failure> {
    let path = format!("/v1/kv/{}", escape(key));
    let failed = |why| Failure::new(format!("Lock acquisition failed: {why}"));
    let mut index = 0;
    loop {
        let put = format!("{path}?acquire={session}&flags={LOCK_FLAG}");
        let answer = client.put(&put, Bytes::new()).await.map_err(failed)?;
        if answer.body.trim_ascii() == b"true" {
            return Ok(());
        }
        if once {
            return Err(Failure::new(
                "Shutdown triggered or timeout during lock acquisition",
            ));
        }
        // Until the holder lets go; a lock delay is waited for.
        let get = format!("{path}?index={index}&wait=15s");
        let seen = client
            .ask(Method::GET, &get, Bytes::new())
            .await
            .map_err(failed)?;
        index = seen.index();
        let held =
            seen.status == StatusCode::OK && !text_of(&seen.json()?[0], "Session").is_empty();
        if !held {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// Ends when somebody else, or nobody, holds the key.
async fn watch_holder(client: &Client, key: &str, session: &str) {
    let mut index = 0;
    loop {
        let path = format!("/v1/kv/{}?index={index}&wait=30s&consistent=", escape(key));
        match client.ask(Method::GET, &path, Bytes::new()).await {
            Ok(answer) if answer.status.is_server_error() => {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Ok(answer) => {
                index = answer.index();
                let holder = answer.json().map(|pairs| text_of(&pairs[0], "Session"));
                let gone = answer.status == StatusCode::NOT_FOUND;
                if gone || holder.is_ok_and(|holder| holder != session) {
                    return;
                }
            }
            Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}

fn start(program: &[String], shell: bool) -> Result<Child, Failure> {
    let mut process = match (program, shell) {
        (words, true) => {
            let mut process = Process::new("/bin/sh");
            process.arg("-c").arg(words.join(" "));
            process
        }
        ([first, rest @ ..], false) => {
            let mut process = Process::new(first);
            process.args(rest);
            process
        }
        ([], false) => return Err(Failure::new("Child command must be specified")),
    };
    process
        .env("CONSUL_LOCK_HELD", "true")
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Failure::new(format!("Error starting child: {error}")))
}
