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
    CheckKey, Command, Expect, Key, Keyspace, NodeName, Op, Put, Refusal, Revision, State, Status,
    Write,
};
use portolan_listener::{Action, Resource};
use portolan_registry::{Member, MemberChange};
use serde_json::{Value, json};
use std::sync::Arc;

const SPACE: Keyspace = Keyspace::ConsulObjects;
const AUTOPILOT: &str = "autopilot/configuration";

/// A server of the cluster, as operators know it.
struct Peer {
    id: String,
    name: String,
    address: String,
    member: Member,
}

/// The servers of the cluster. One that is alone shows the port that Consul's servers are known by.
fn peers_of(server: &Server, state: &State) -> Vec<Peer> {
    let members = server.registry.members();
    // Whoever has a copy of what others have is none of them.
    let alone = members.len() == 1 && !server.registry.is_copy();
    let peer = |member: Member| {
        let own = alone || member.own;
        let name = match own {
            true => server.info.node(),
            false => NodeName::new(&member.name),
        };
        let node = state.node(&name);
        let id = node.map(|node| node.id.to_string());
        Peer {
            id: match id.filter(|id| !id.is_empty()) {
                Some(id) => id,
                None if own => server.info.node_id.to_string(),
                None => format!("{:016x}", member.node),
            },
            name: match node {
                Some(node) => node.spelling.to_string(),
                None => member.name.clone(),
            },
            address: match alone || member.address.is_empty() {
                true => server.info.server_address(),
                false => member.address.clone(),
            },
            member,
        }
    };
    members.into_iter().map(peer).collect()
}

/// GET /v1/status/leader
pub(crate) async fn leader(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.allow(Action::Read, Resource::Public)?;
    let peers = peers_of(&server, &server.snapshot());
    let leader = peers
        .iter()
        .find(|peer| peer.member.leader && server.known_leader());
    Reply::json(&leader.map_or("", |peer| &peer.address))
}

/// GET /v1/status/peers
pub(crate) async fn peers(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.allow(Action::Read, Resource::Public)?;
    let peers = peers_of(&server, &server.snapshot());
    let voters: Vec<&str> = peers
        .iter()
        .filter(|peer| peer.member.voter)
        .map(|peer| &*peer.address)
        .collect();
    Reply::json(&voters)
}

/// GET /v1/operator/raft/configuration
pub(crate) async fn raft(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.allow(Action::Read, Resource::Operator)?;
    let rows: Vec<Value> = peers_of(&server, &server.snapshot())
        .into_iter()
        .map(|peer| {
            json!({
                "ID": peer.id, "Node": peer.name, "Address": peer.address,
                "Leader": server.known_leader() && peer.member.leader, "ProtocolVersion": "3",
                "Voter": peer.member.voter, "LastIndex": peer.member.last_index,
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
    let peers = peers_of(&server, &server.snapshot());
    let alone = peers.len() == 1;
    let Some(peer) = peers
        .into_iter()
        .find(|peer| peer.id == which || peer.address == which)
    else {
        return Err(Failure::server(format!(
            "{what} {which:?} was not found in the Raft configuration"
        )));
    };
    if alone {
        return Err(Failure::server(
            "the last server of a cluster cannot be removed",
        ));
    }
    remove(&server, &peer).await
}

async fn remove(server: &Server, peer: &Peer) -> Result<Reply, Failure> {
    let named = format!("{:016x}", peer.member.node);
    let removed = server
        .registry
        .change_members(MemberChange::Remove(named))
        .await;
    removed.map_err(Failure::server)?;
    Ok(Reply::empty())
}

/// PUT /v1/agent/force-leave/:node, for a server: it is removed if it is dead.
pub(crate) async fn force_leave_server(
    server: &Server,
    name: &NodeName,
) -> Option<Result<Reply, Failure>> {
    let peers = peers_of(server, &server.snapshot());
    let peer = peers
        .into_iter()
        .find(|peer| NodeName::new(&peer.name) == *name)?;
    // As with gossip, one that is alive says so and stays.
    if peer.member.alive() {
        return Some(Ok(Reply::empty()));
    }
    Some(remove(server, &peer).await)
}

/// POST /v1/operator/raft/transfer-leader
pub(crate) async fn transfer_leader(
    server: Arc<Server>,
    request: Request,
) -> Result<Reply, Failure> {
    request.allow(Action::Admin, Resource::Operator)?;
    let peers = peers_of(&server, &server.snapshot());
    if peers.iter().filter(|peer| peer.member.voter).count() < 2 {
        return Err(Failure::server(
            "cannot find peer: this server is the only one of its cluster",
        ));
    }
    let id = request.params().get("id").to_owned();
    let to = match id.is_empty() {
        true => None,
        false => match peers.into_iter().find(|peer| peer.id == id) {
            Some(peer) => Some(format!("{:016x}", peer.member.node)),
            None => {
                return Err(Failure::bad(format!(
                    "id {id:?} was not found in the Raft configuration"
                )));
            }
        },
    };
    let moved = server
        .registry
        .change_members(MemberChange::Transfer(to))
        .await;
    moved.map_err(Failure::server)?;
    Reply::json(&json!({"Success": true}))
}

/// GET /v1/operator/autopilot/configuration
pub(crate) async fn autopilot(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.allow(Action::Read, Resource::Operator)?;
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

/// How well the servers are: healthy while there is a leader that hears them and their own check passes.
fn server_health(server: &Server, state: &State) -> (Vec<Value>, bool) {
    let mut all = server.known_leader();
    let rows = peers_of(server, state)
        .into_iter()
        .map(|peer| {
            let check = state.check(&CheckKey::new(&NodeName::new(&peer.name), SERF_HEALTH));
            let passing = check.is_none_or(|check| check.status == Status::Passing);
            let alive = peer.member.alive() && passing;
            let healthy = alive && server.known_leader();
            all &= healthy;
            let since = check.map_or(state.last_at().0, |check| check.since.0);
            let heard = peer.member.last_contact.unwrap_or_default();
            let heard = i64::try_from(heard.as_nanos()).unwrap_or(i64::MAX);
            json!({
                "ID": peer.id, "Name": peer.name, "Address": peer.address,
                "SerfStatus": if alive { "alive" } else { "failed" }, "Version": CONSUL_VERSION,
                "Leader": server.known_leader() && peer.member.leader, "LastContact": print_duration(heard),
                "LastTerm": peer.member.term, "LastIndex": peer.member.last_index, "Healthy": healthy,
                "Voter": peer.member.voter,
                "StableSince": jiff::Timestamp::from_second(i64::try_from(since / 1000).unwrap_or(0))
                    .map(|at| at.to_string()).unwrap_or_default(),
            })
        })
        .collect();
    (rows, all)
}

/// How many servers may fail before nothing can be decided.
fn tolerance(rows: &[Value]) -> usize {
    let voters = rows.iter().filter(|row| row["Voter"] == true);
    let healthy = voters.clone().filter(|row| row["Healthy"] == true).count();
    healthy.saturating_sub(voters.count() / 2 + 1)
}

/// GET /v1/operator/autopilot/health
pub(crate) async fn autopilot_health(
    server: Arc<Server>,
    request: Request,
) -> Result<Reply, Failure> {
    request.allow(Action::Read, Resource::Operator)?;
    let state = server.snapshot();
    let (rows, healthy) = server_health(&server, &state);
    let tolerance = tolerance(&rows);
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
    request.allow(Action::Read, Resource::Operator)?;
    let state = server.snapshot();
    let (rows, healthy) = server_health(&server, &state);
    let tolerance = tolerance(&rows);
    let leader = rows
        .iter()
        .find(|row| row["Leader"] == true)
        .map_or(json!(""), |row| row["ID"].clone());
    let voters = rows.iter().filter(|row| row["Voter"] == true);
    let voters: Vec<Value> = voters.map(|row| row["ID"].clone()).collect();
    let by_id: serde_json::Map<String, Value> = rows
        .into_iter()
        .map(|mut row| {
            row["Status"] = json!(match (row["Leader"] == true, row["Voter"] == true) {
                (true, _) => "leader",
                (false, true) => "voter",
                (false, false) => "non-voter",
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
    request.allow(Action::Read, Resource::Operator)?;
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
