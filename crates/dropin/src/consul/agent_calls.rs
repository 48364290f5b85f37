//! Commands that are a call or two of the agent they are typed at.

use std::collections::BTreeMap;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;

use super::http::{escape, unexpected};
use super::{Command, Done, Failure, text_of};
use crate::go_flags::{Flag, truth, value};

pub(super) const EVENT: &[Flag] = &[value("name"), value("node"), value("service"), value("tag")];
pub(super) const FORCE_LEAVE: &[Flag] = &[truth("prune"), truth("wan")];
pub(super) const JOIN: &[Flag] = &[truth("wan")];
pub(super) const MAINT: &[Flag] = &[
    truth("enable"),
    truth("disable"),
    value("reason"),
    value("service"),
];
pub(super) const MONITOR: &[Flag] = &[value("log-level"), truth("log-json")];

/// `join ADDRESS...`.
pub(super) async fn join(command: &Command<'_>) -> Done {
    let addresses = &command.typed.rest;
    if addresses.is_empty() {
        return Err(Failure::new(
            "At least one address to join must be specified.",
        ));
    }
    let client = command.client()?;
    let wan = if command.typed.is("wan") {
        "?wan=1"
    } else {
        ""
    };
    let mut joined = 0;
    for address in addresses {
        let path = format!("/v1/agent/join/{}{wan}", escape(address));
        match client.put(&path, Bytes::new()).await {
            Ok(_) => joined += 1,
            Err(why) => eprintln!("Error joining address '{address}': {why}"),
        }
    }
    if joined == 0 {
        return Err(Failure::new("Failed to join any nodes."));
    }
    say!("Successfully joined cluster by contacting {joined} nodes.");
    Ok(0)
}

/// `leave`.
pub(super) async fn leave(command: &Command<'_>) -> Done {
    if !command.typed.rest.is_empty() {
        return Err(Failure::new("This command takes no arguments"));
    }
    let left = command.client()?.put("/v1/agent/leave", Bytes::new()).await;
    left.map_err(|why| Failure::new(format!("Error leaving: {why}")))?;
    say!("Graceful leave complete");
    Ok(0)
}

/// `force-leave NODE`.
pub(super) async fn force_leave(command: &Command<'_>) -> Done {
    let node = command.one("NODE")?;
    let mut path = format!("/v1/agent/force-leave/{}?", escape(node));
    for flag in ["prune", "wan"] {
        if command.typed.is(flag) {
            path.push_str(&format!("{flag}=1&"));
        }
    }
    let path = path.trim_end_matches(['?', '&']);
    let left = command.client()?.put(path, Bytes::new()).await;
    left.map_err(|why| Failure::new(format!("Error force leaving: {why}")))?;
    Ok(0)
}

/// `reload`.
pub(super) async fn reload(command: &Command<'_>) -> Done {
    let reloaded = command
        .client()?
        .put("/v1/agent/reload", Bytes::new())
        .await;
    reloaded.map_err(|why| Failure::new(format!("Error reloading: {why}")))?;
    say!("Configuration reload triggered");
    Ok(0)
}

/// `info`.
pub(super) async fn info(command: &Command<'_>) -> Done {
    let me = command.client()?.get("/v1/agent/self").await;
    let me = me.map_err(|why| Failure::new(format!("Error querying agent: {why}")))?;
    let sections: BTreeMap<&String, &Value> =
        me["Stats"].as_object().into_iter().flatten().collect();
    for (name, section) in sections {
        say!("{name}:");
        let figures: BTreeMap<&String, &Value> =
            section.as_object().into_iter().flatten().collect();
        for (figure, value) in figures {
            match value.as_str() {
                Some(text) => say!("\t{figure} = {text}"),
                None => say!("\t{figure} = {value}"),
            }
        }
    }
    Ok(0)
}

/// `event -name NAME [PAYLOAD]`.
pub(super) async fn event(command: &Command<'_>) -> Done {
    let typed = command.typed;
    let Some(name) = typed.get("name").filter(|name| !name.is_empty()) else {
        return Err(Failure::new("Event name must be specified"));
    };
    let payload = match typed.rest.as_slice() {
        [] => String::new(),
        [payload] => payload.clone(),
        _ => return Err(Failure::new("Too many command line arguments.")),
    };
    if typed.get("tag").is_some() && typed.get("service").is_none() {
        return Err(Failure::new(
            "Cannot provide tag filter without service filter.",
        ));
    }
    let mut path = format!("/v1/event/fire/{}?", escape(name));
    for flag in ["node", "service", "tag"] {
        if let Some(filter) = typed.get(flag) {
            path.push_str(&format!("{flag}={}&", escape(filter)));
        }
    }
    let path = path.trim_end_matches(['?', '&']);
    let fired = command.client()?.put(path, payload).await;
    let fired = fired.map_err(|why| Failure::new(format!("Error firing event: {why}")))?;
    say!("Event ID: {}", text_of(&fired.json()?, "ID"));
    Ok(0)
}

/// `maint`.
pub(super) async fn maint(command: &Command<'_>) -> Done {
    let typed = command.typed;
    let client = command.client()?;
    let (enable, disable) = (typed.is("enable"), typed.is("disable"));
    if enable && disable {
        return Err(Failure::new(
            "Only one of -enable or -disable may be provided",
        ));
    }
    let reason = typed.get("reason").unwrap_or_default();
    if !enable && !reason.is_empty() {
        return Err(Failure::new("Reason may only be provided with -enable"));
    }
    let service = typed.get("service").filter(|id| !id.is_empty());
    if !enable && !disable {
        if service.is_some() {
            return Err(Failure::new(
                "-enable or -disable is required with -service",
            ));
        }
        let checks = client.get("/v1/agent/checks").await?;
        for check in checks.as_object().into_iter().flat_map(|map| map.values()) {
            let id = text_of(check, "CheckID");
            let notes = text_of(check, "Notes");
            if id == "_node_maintenance" {
                say!(
                    "Node:\n  Name:   {}\n  Reason: {notes}\n",
                    text_of(check, "Node")
                );
            } else if id.starts_with("_service_maintenance:") {
                say!(
                    "Service:\n  ID:     {}\n  Reason: {notes}\n",
                    text_of(check, "ServiceID")
                );
            }
        }
        return Ok(0);
    }
    let mut path = match service {
        Some(id) => format!("/v1/agent/service/maintenance/{}", escape(id)),
        None => "/v1/agent/maintenance".to_owned(),
    };
    path.push_str(&format!("?enable={enable}"));
    if !reason.is_empty() {
        path.push_str(&format!("&reason={}", escape(reason)));
    }
    let doing = if enable { "enabling" } else { "disabling" };
    let done = client.put(&path, Bytes::new()).await;
    let kind = if service.is_some() { "service" } else { "node" };
    done.map_err(|why| Failure::new(format!("Error {doing} {kind} maintenance: {why}")))?;
    let state = if enable { "enabled" } else { "disabled" };
    match service {
        Some(id) => say!("Service maintenance is now {state} for {id:?}"),
        None => say!("Node maintenance is now {state}"),
    }
    Ok(0)
}

/// `monitor`: whatever the agent has to say, until it ends.
pub(super) async fn monitor(command: &Command<'_>) -> Done {
    let level = command.typed.get("log-level").unwrap_or("INFO");
    let path = format!(
        "/v1/agent/monitor?loglevel={}&logjson={}",
        escape(level),
        command.typed.is("log-json")
    );
    let failed = |why: Failure| Failure::new(format!("Error starting monitor: {why}"));
    let said = command
        .client()?
        .open(Method::GET, &path, Bytes::new())
        .await;
    let (head, mut body) = said.map_err(failed)?.into_parts();
    let good = head.status == StatusCode::OK;
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::new(format!("the log ended: {error}")))?;
        let Ok(bytes) = frame.into_data() else {
            continue;
        };
        if !good {
            whole.extend_from_slice(&bytes);
            continue;
        }
        let mut out = std::io::stdout().lock();
        out.write_all(&bytes)
            .and_then(|()| out.flush())
            .map_err(|error| Failure::new(format!("cannot write: {error}")))?;
    }
    if !good {
        return Err(failed(unexpected(head.status, &whole)));
    }
    Ok(0)
}

/// `keygen`: 32 random bytes.
pub(super) async fn keygen(_: &Command<'_>) -> Done {
    say!(
        "{}",
        STANDARD.encode(portolan_environment::random_bytes::<32>())
    );
    Ok(0)
}
