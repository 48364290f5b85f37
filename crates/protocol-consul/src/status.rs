//! `/v1/status/*` and `/v1/operator/*`: the cluster itself.

use crate::error::Failure;
use crate::read::SERF_HEALTH;
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::server_info::CONSUL_VERSION;
use crate::wire::{Fields, Malformed, print_duration};
use http::StatusCode;
use portolan_catalog::{
    CheckKey, Command, Expect, Key, Keyspace, Node, Op, Put, Refusal, Revision, State, Status,
    Write,
};
use portolan_listener::{Action, Resource};
use serde_json::{Value, json};
use std::sync::Arc;

const SPACE: Keyspace = Keyspace::ConsulObjects;
const AUTOPILOT: &str = "autopilot/configuration";

/// GET /v1/status/leader
pub(crate) async fn leader(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.allow(Action::Read, Resource::Public)?;
    Reply::json(&if server.known_leader() {
        server.info.server_address()
    } else {
        String::new()
    })
}

/// GET /v1/status/peers
pub(crate) async fn peers(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.allow(Action::Read, Resource::Public)?;
    let state = server.snapshot();
    let peers: Vec<String> = servers(&server, &state)
        .map(|node| address(&server, node))
        .collect();
    Reply::json(&peers)
}

fn servers<'a>(server: &'a Server, state: &'a State) -> impl Iterator<Item = &'a Arc<Node>> {
    state
        .nodes()
        .filter(move |node| server.shown(state).is_server(&node.name))
}

fn address(server: &Server, node: &Node) -> String {
    if node.name == server.info.node() {
        server.info.server_address()
    } else {
        node.address.with_port(server.info.ports.server)
    }
}

/// The id operators know a server by.
fn server_id(server: &Server, node: &Node) -> String {
    if node.id.is_empty() {
        server.info.node_id.to_string()
    } else {
        node.id.to_string()
    }
}

/// GET /v1/operator/raft/configuration
pub(crate) async fn raft(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.allow(Action::Admin, Resource::Operator)?;
    let state = server.snapshot();
    let rows: Vec<Value> = servers(&server, &state)
        .map(|node| {
            json!({
                "ID": server_id(&server, node), "Node": node.spelling, "Address": address(&server, node),
                "Leader": server.known_leader() && node.name == server.info.node(), "ProtocolVersion": "3", "Voter": true,
                "LastIndex": state.revision().0,
            })
        })
        .collect();
    Reply::json(&json!({"Servers": rows, "Index": 1}))
}

/// DELETE /v1/operator/raft/peer
pub(crate) async fn raft_peer(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.allow(Action::Admin, Resource::Operator)?;
    let params = request.params();
    let (id, at) = (params.get("id"), params.get("address"));
    let (what, which) = match (params.has("id"), params.has("address")) {
        (true, false) => ("id", id),
        (false, true) => ("address", at),
        (true, true) => {
            return Err(Failure::bad("Must specify only one of ?id or ?address"));
        }
        (false, false) => {
            return Err(Failure::bad(
                "Must specify either ?id with the server's ID or ?address with IP:port of peer to remove",
            ));
        }
    };
    let state = server.snapshot();
    let known = servers(&server, &state)
        .any(|node| server_id(&server, node) == which || address(&server, node) == which);
    if known {
        return Err(Failure::server(
            "the last server of a cluster cannot be removed",
        ));
    }
    Err(Failure::server(format!(
        "{what} {which:?} was not found in the Raft configuration"
    )))
}

/// POST /v1/operator/raft/transfer-leader
pub(crate) async fn transfer_leader(
    _server: Arc<Server>,
    request: Request,
) -> Result<Reply, Failure> {
    request.allow(Action::Admin, Resource::Operator)?;
    Err(Failure::server(
        "cannot find peer: this server is the only one of its cluster",
    ))
}

/// GET /v1/operator/autopilot/configuration
pub(crate) async fn autopilot(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.allow(Action::Admin, Resource::Operator)?;
    let state = server.snapshot();
    let record = state.record(SPACE, AUTOPILOT.as_bytes());
    let mut configuration = record
        .and_then(|record| serde_json::from_slice::<Value>(&record.bytes()).ok())
        .unwrap_or_else(|| autopilot_value(&Fields::default()).unwrap_or_default());
    configuration["CreateIndex"] = json!(record.map_or(0, |record| record.created.0));
    configuration["ModifyIndex"] = json!(record.map_or(0, |record| record.modified.0));
    Reply::json(&configuration)
}

/// PUT /v1/operator/autopilot/configuration
pub(crate) async fn set_autopilot(
    server: Arc<Server>,
    mut request: Request,
) -> Result<Reply, Failure> {
    request.allow(Action::Admin, Resource::Operator)?;
    let unread = |why: &str| Failure::bad(format!("Error parsing autopilot config: {why}"));
    let body = request.json_body().await?.map_err(|why| unread(&why))?;
    if body.is_null() {
        return Err(unread("EOF"));
    }
    let configuration = Fields::of(&body, "autopilot")
        .and_then(|fields| autopilot_value(&fields))
        .map_err(|Malformed(why)| unread(&why))?;
    let mut put = Put::new(
        SPACE,
        Key::from(AUTOPILOT),
        configuration.to_string().into(),
    );
    put.quiet = true;
    let cas = request.params().number("cas");
    if let Some(index) =
        cas.map_err(|why| Failure::bad(format!("Error parsing cas value: {why}")))?
    {
        put.expect = if index == 0 {
            Expect::Absent
        } else {
            Expect::Modified(Revision(index))
        };
    }
    match server
        .propose(&request, Command::Write(Write::one(Op::Put(Box::new(put)))))
        .await?
        .outcome
    {
        Ok(_) => Ok(Reply::truth(true)),
        Err(Refusal::Changed(_) | Refusal::Exists | Refusal::NoKey) => Ok(Reply::truth(false)),
        Err(refusal) => Err(refusal.into()),
    }
}

/// A configuration with every default filled in.
fn autopilot_value(fields: &Fields<'_>) -> Result<Value, Malformed> {
    let duration = |key: &str, default: i64| -> Result<Value, Malformed> {
        Ok(json!(print_duration(
            fields.duration(key)?.unwrap_or(default)
        )))
    };
    let cleanup = if fields.get("cleanupdeadservers").is_some() {
        fields.flag("cleanupdeadservers")?
    } else {
        true
    };
    Ok(json!({
        "CleanupDeadServers": cleanup,
        "LastContactThreshold": duration("lastcontactthreshold", 200_000_000)?,
        "MaxTrailingLogs": fields.maybe_integer("maxtrailinglogs")?.unwrap_or(250),
        "MinQuorum": fields.integer("minquorum")?,
        "ServerStabilizationTime": duration("serverstabilizationtime", 10_000_000_000)?,
        "RedundancyZoneTag": fields.text("redundancyzonetag")?,
        "DisableUpgradeMigration": fields.flag("disableupgrademigration")?,
        "UpgradeVersionTag": fields.text("upgradeversiontag")?,
    }))
}

/// How well the servers are: healthy while there is a leader and their own check passes.
fn server_health(server: &Server, state: &State) -> (Vec<Value>, bool) {
    let mut all = server.known_leader();
    let rows = servers(server, state)
        .map(|node| {
            let check = state.check(&CheckKey::new(&node.name, SERF_HEALTH));
            let alive = check.is_none_or(|check| check.status == Status::Passing);
            let healthy = alive && server.known_leader();
            all &= healthy;
            let since = check.map_or(state.last_at().0, |check| check.since.0);
            json!({
                "ID": server_id(server, node), "Name": node.spelling, "Address": address(server, node),
                "SerfStatus": if alive { "alive" } else { "failed" }, "Version": CONSUL_VERSION,
                "Leader": server.known_leader() && node.name == server.info.node(), "LastContact": "0s", "LastTerm": 1,
                "LastIndex": state.revision().0, "Healthy": healthy, "Voter": true,
                "StableSince": jiff::Timestamp::from_second(i64::try_from(since / 1000).unwrap_or(0))
                    .map(|at| at.to_string()).unwrap_or_default(),
            })
        })
        .collect();
    (rows, all)
}

/// GET /v1/operator/autopilot/health
pub(crate) async fn autopilot_health(
    server: Arc<Server>,
    request: Request,
) -> Result<Reply, Failure> {
    request.allow(Action::Admin, Resource::Operator)?;
    let state = server.snapshot();
    let (rows, healthy) = server_health(&server, &state);
    let tolerance = rows.len().saturating_sub(1) / 2;
    let reply =
        Reply::json(&json!({"Healthy": healthy, "FailureTolerance": tolerance, "Servers": rows}))?;
    Ok(if healthy {
        reply
    } else {
        reply.status(StatusCode::TOO_MANY_REQUESTS)
    })
}

/// GET /v1/operator/autopilot/state
pub(crate) async fn autopilot_state(
    server: Arc<Server>,
    request: Request,
) -> Result<Reply, Failure> {
    request.allow(Action::Admin, Resource::Operator)?;
    let state = server.snapshot();
    let (rows, healthy) = server_health(&server, &state);
    let tolerance = rows.len().saturating_sub(1) / 2;
    let leader = rows
        .iter()
        .find(|row| row["Leader"] == true)
        .map_or(json!(""), |row| row["ID"].clone());
    let voters: Vec<Value> = rows.iter().map(|row| row["ID"].clone()).collect();
    let by_id: serde_json::Map<String, Value> = rows
        .into_iter()
        .map(|mut row| {
            row["Status"] = json!(if row["Leader"] == true {
                "leader"
            } else {
                "voter"
            });
            row["NodeStatus"] = row["SerfStatus"].clone();
            row["NodeType"] = json!("voter");
            row["Meta"] = json!({});
            (row["ID"].as_str().unwrap_or_default().to_owned(), row)
        })
        .collect();
    Reply::json(&json!({
        "Healthy": healthy, "FailureTolerance": tolerance, "OptimisticFailureTolerance": tolerance,
        "Servers": by_id, "Leader": leader, "Voters": voters,
    }))
}

/// GET /v1/operator/usage
pub(crate) async fn usage(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.allow(Action::Admin, Resource::Operator)?;
    let state = server.snapshot();
    let shown = server.shown(&state);
    let mut names = std::collections::BTreeSet::new();
    let (mut instances, mut billable) = (0, 0);
    let mut connect = std::collections::BTreeMap::from(
        [
            "api-gateway",
            "connect-native",
            "connect-proxy",
            "ingress-gateway",
            "mesh-gateway",
            "terminating-gateway",
        ]
        .map(|kind| (kind.to_owned(), 0)),
    );
    for row in state
        .all_endpoints()
        .flat_map(|row| shown.rows_of_endpoint(row))
    {
        let service = shown.service(row, crate::read::Flavour::Agent);
        instances += 1;
        names.insert(service.service.to_ascii_lowercase());
        if service
            .connect
            .as_ref()
            .is_some_and(|connect| connect["Native"] == true)
        {
            *connect.entry("connect-native".to_owned()).or_insert(0) += 1;
        }
        match connect.get_mut(&*service.kind) {
            Some(count) => *count += 1,
            None if service.service != "consul" => billable += 1,
            None => {}
        }
    }
    Reply::json(&json!({"Usage": {&*server.info.datacenter: {
        "Services": names.len(), "ServiceInstances": instances, "ConnectServiceInstances": connect,
        "BillableServiceInstances": billable,
    }}}))
}
