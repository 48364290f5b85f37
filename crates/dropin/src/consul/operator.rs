//! `operator raft` and `operator autopilot`.

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::columns::{GAP, columns};
use super::http::escape;
use super::{Command, Done, Failure, text_of};
use crate::go_flags::{Flag, value};

pub(super) const REMOVE_PEER: &[Flag] = &[value("address"), value("id")];
pub(super) const TRANSFER: &[Flag] = &[value("id")];
pub(super) const STATE: &[Flag] = &[value("format")];
pub(super) const AUTOPILOT: &[Flag] = &[
    value("cleanup-dead-servers"),
    value("last-contact-threshold"),
    value("max-trailing-logs"),
    value("min-quorum"),
    value("server-stabilization-time"),
    value("redundancy-zone-tag"),
    value("disable-upgrade-migration"),
    value("upgrade-version-tag"),
];

/// `operator raft list-peers`.
pub(super) async fn list_peers(command: &Command<'_>) -> Done {
    let reply = command
        .client()?
        .get("/v1/operator/raft/configuration")
        .await;
    let reply = reply.map_err(|why| Failure::new(format!("Error getting peers: {why}")))?;
    let servers: Vec<&Value> = reply["Servers"].as_array().into_iter().flatten().collect();
    let last = |server: &Value| server["LastIndex"].as_u64().unwrap_or(0);
    let leader = servers.iter().find(|server| server["Leader"] == true);
    let most = leader.map_or(0, |leader| last(leader));
    let heading = [
        "Node",
        "ID",
        "Address",
        "State",
        "Voter",
        "RaftProtocol",
        "Commit Index",
        "Trails Leader By",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for server in &servers {
        let leads = server["Leader"] == true;
        let trails = match (leads, most.saturating_sub(last(server))) {
            (true, _) => "-".to_owned(),
            (false, 1) => "1 commit".to_owned(),
            (false, behind) => format!("{behind} commits"),
        };
        rows.push(vec![
            text_of(server, "Node"),
            text_of(server, "ID"),
            text_of(server, "Address"),
            if leads { "leader" } else { "follower" }.to_owned(),
            server["Voter"].as_bool().unwrap_or(false).to_string(),
            text_of(server, "ProtocolVersion"),
            last(server).to_string(),
            trails,
        ]);
    }
    crate::write_out(&columns(&rows, GAP));
    Ok(0)
}

/// `operator raft remove-peer`.
pub(super) async fn remove_peer(command: &Command<'_>) -> Done {
    let typed = command.typed;
    let (parameter, what) = match (typed.get("address"), typed.get("id")) {
        (Some(address), None) => (
            format!("address={}", escape(address)),
            format!("address {address:?}"),
        ),
        (None, Some(id)) => (format!("id={}", escape(id)), format!("id {id:?}")),
        (None, None) => {
            return Err(Failure::new(
                "Error removing peer: an address or id is required for the peer to remove",
            ));
        }
        (Some(_), Some(_)) => {
            return Err(Failure::new(
                "Error removing peer: cannot give both an address and id",
            ));
        }
    };
    let path = format!("/v1/operator/raft/peer?{parameter}");
    let done = command
        .client()?
        .good(Method::DELETE, &path, Bytes::new())
        .await;
    done.map_err(|why| Failure::new(format!("Error removing peer: {why}")))?;
    say!("Removed peer with {what}");
    Ok(0)
}

/// `operator raft transfer-leader`.
pub(super) async fn transfer_leader(command: &Command<'_>) -> Done {
    let path = match command.typed.get("id") {
        Some(id) => format!("/v1/operator/raft/transfer-leader?id={}", escape(id)),
        None => "/v1/operator/raft/transfer-leader".to_owned(),
    };
    let done = command
        .client()?
        .good(Method::POST, &path, Bytes::new())
        .await;
    let done = done.map_err(|why| Failure::new(format!("Error transfering leadership: {why}")))?;
    match done.json()?["Success"] == true {
        true => {
            say!("Success");
            Ok(0)
        }
        false => Err(Failure::new("Error transfering leadership")),
    }
}

/// The settings that are shown, by their names in the answer.
const SHOWN: [&str; 8] = [
    "CleanupDeadServers",
    "LastContactThreshold",
    "MaxTrailingLogs",
    "MinQuorum",
    "ServerStabilizationTime",
    "RedundancyZoneTag",
    "DisableUpgradeMigration",
    "UpgradeVersionTag",
];

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `operator autopilot get-config`.
pub(super) async fn autopilot_get(command: &Command<'_>) -> Done {
    let path = "/v1/operator/autopilot/configuration";
    let config = command.client()?.get(path).await;
    let config = config
        .map_err(|why| Failure::new(format!("Error querying Autopilot configuration: {why}")))?;
    for name in SHOWN {
        match &config[name] {
            Value::String(text) if name.ends_with("Tag") => say!("{name} = {text:?}"),
            value => say!("{name} = {}", plain(value)),
        }
    }
    Ok(0)
}

/// `operator autopilot set-config`.
pub(super) async fn autopilot_set(command: &Command<'_>) -> Done {
    let client = command.client()?;
    let path = "/v1/operator/autopilot/configuration";
    let mut config = client.get(path).await?;
    for (flag, text) in &command.typed.flags {
        let Some(name) = AUTOPILOT
            .iter()
            .position(|known| known.name == flag)
            .and_then(|place| SHOWN.get(place))
        else {
            continue;
        };
        let value = match &config[*name] {
            Value::Bool(_) => text.parse::<bool>().map(Value::from).ok(),
            Value::Number(_) => text.parse::<u64>().map(Value::from).ok(),
            _ => Some(Value::from(text.as_str())),
        };
        config[*name] = value.ok_or_else(|| {
            Failure::new(format!(
                "invalid value {text:?} for flag -{flag}: parse error"
            ))
        })?;
    }
    let index = config["ModifyIndex"].as_u64().unwrap_or(0);
    let done = client
        .put(&format!("{path}?cas={index}"), config.to_string())
        .await;
    let done =
        done.map_err(|why| Failure::new(format!("Error setting Autopilot configuration: {why}")))?;
    match done.json()? == true {
        true => {
            say!("Configuration updated!");
            Ok(0)
        }
        false => Err(Failure::new(
            "Configuration could not be atomically updated, please try again",
        )),
    }
}

/// `operator autopilot state`.
pub(super) async fn autopilot_state(command: &Command<'_>) -> Done {
    let state = command.client()?.get("/v1/operator/autopilot/state").await;
    let state =
        state.map_err(|why| Failure::new(format!("Error getting Autopilot state: {why}")))?;
    if command.typed.get("format") == Some("json") {
        let text = serde_json::to_string_pretty(&state)
            .map_err(|error| Failure::new(error.to_string()))?;
        say!("{text}");
        return Ok(0);
    }
    say!("Healthy:                      {}", plain(&state["Healthy"]));
    say!(
        "Failure Tolerance:            {}",
        plain(&state["FailureTolerance"])
    );
    say!(
        "Optimistic Failure Tolerance: {}",
        plain(&state["OptimisticFailureTolerance"])
    );
    say!(
        "Leader:                       {}",
        text_of(&state, "Leader")
    );
    say!("Voters:");
    for voter in state["Voters"].as_array().into_iter().flatten() {
        say!("   {}", plain(voter));
    }
    say!("Servers:");
    for (id, server) in state["Servers"].as_object().into_iter().flatten() {
        say!("   {id}");
        say!("      Name:            {}", text_of(server, "Name"));
        say!("      Address:         {}", text_of(server, "Address"));
        say!("      Version:         {}", text_of(server, "Version"));
        say!("      Status:          {}", text_of(server, "Status"));
        say!("      Node Status:     {}", text_of(server, "NodeStatus"));
        say!("      Healthy:         {}", plain(&server["Healthy"]));
        say!("      Last Contact:    {}", plain(&server["LastContact"]));
        say!("      Last Term:       {}", plain(&server["LastTerm"]));
        say!("      Last Index:      {}", plain(&server["LastIndex"]));
    }
    Ok(0)
}
