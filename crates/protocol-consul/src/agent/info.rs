//! Who the agent is: self, version, host, members, metrics; and the calls that only a gossiping agent has.

use crate::disabled::acl_disabled;
use crate::error::Failure;
use crate::read::SERF_HEALTH;
use crate::reply::Reply;
use crate::request::Request;
use crate::selection::{Selection, fields};
use crate::server::Server;
use crate::server_info::CONSUL_VERSION;
use crate::wire::Fields;
use http::StatusCode;
use http::header::{ACCEPT, CONTENT_TYPE};
use portolan_catalog::{CheckKey, Health, Node, NodeName, Status};
use portolan_listener::{Action, Resource};
use portolan_registry::{Member, MemberChange};
use serde_json::{Value, json};
use std::sync::Arc;

/// GET /v1/agent/self
pub(crate) async fn me(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.allow(Action::Read, Resource::Agent)?;
    let info = &server.info;
    let state = server.snapshot();
    let node = state.node(&info.node());
    let meta: serde_json::Map<String, Value> = node
        .map(|node| {
            node.meta
                .iter()
                .map(|(key, value)| (key.to_owned(), json!(value)))
                .collect()
        })
        .unwrap_or_default();
    let revision = state.revision().0;
    let leader = server.known_leader();
    Reply::json(&json!({
        "Config": {
            "Datacenter": info.datacenter,
            "PrimaryDatacenter": info.datacenter,
            "NodeName": info.node_name,
            "NodeID": info.node_id,
            "Revision": info.build,
            "Server": server.registry.members().iter().any(|member| member.own),
            "Version": CONSUL_VERSION,
            "BuildDate": info.build_date,
        },
        "DebugConfig": {
            "ACLsEnabled": info.access.is_some(),
            "ACLDatacenter": info.datacenter,
            "Bootstrap": true,
            "CheckDeregisterIntervalMin": "1m0s",
            "CheckOutputMaxSize": portolan_catalog::limits::OUTPUT,
            "ClientAddrs": [info.advertise.to_string()],
            "ConnectEnabled": true,
            "DNSDomain": "consul.",
            "DNSPort": port(info.ports.dns),
            "Datacenter": info.datacenter,
            "EnableLocalScriptChecks": false,
            "EnableRemoteScriptChecks": false,
            "EnableUI": false,
            "GRPCPort": port(info.ports.grpc),
            "GRPCTLSPort": -1,
            "HTTPPort": port(info.ports.http),
            "HTTPSPort": -1,
            "EnableLocalScriptChecks": info.local_scripts,
            "EnableRemoteScriptChecks": false,
            "Logging": {"LogLevel": info.log_level},
            "NodeID": info.node_id,
            "NodeMeta": meta,
            "NodeName": info.node_name,
            "PrimaryDatacenter": info.datacenter,
            "Revision": info.build,
            "SerfAdvertiseAddrLAN": format!("tcp://{}", std::net::SocketAddr::new(info.advertise, info.ports.serf_lan)),
            "SerfPortLAN": info.ports.serf_lan,
            "ServerMode": true,
            "ServerPort": info.ports.server,
            "UIConfig": {"Enabled": false},
            "Version": CONSUL_VERSION,
        },
        "Coord": {"Vec": vec![0.0; 8], "Error": 1.5, "Adjustment": 0.0, "Height": 1e-5},
        "Member": node.map_or(Value::Null, |node| member(&server, node, &state)),
        "Stats": {
            "agent": {"check_monitors": "0", "check_ttls": "0", "checks": state.checks_on(&info.node()).count().to_string(),
                      "services": state.instances_on(&info.node()).count().to_string()},
            "build": {"prerelease": "", "revision": info.build, "version": CONSUL_VERSION, "version_metadata": ""},
            "consul": {"acl": if info.access.is_some() { "enabled" } else { "disabled" }, "bootstrap": "true", "known_datacenters": server.datacenter_names().len().to_string(),
                       "leader": leader.to_string(), "leader_addr": info.server_address(), "server": "true"},
            "raft": {"applied_index": revision.to_string(), "commit_index": revision.to_string(),
                     "last_log_index": revision.to_string(), "num_peers": "0",
                     "state": if leader { "Leader" } else { "Follower" }, "protocol_version": "3"},
            "serf_lan": {"members": state.nodes().filter(|node| server.is_member(&state, &node.name)).count().to_string(),
                         "failed": "0", "left": "0", "health_score": "0"},
        },
        "Meta": meta,
        "xDS": {"SupportedProxies": {"envoy": []}, "Port": port(info.ports.grpc),
                "Ports": {"Plaintext": port(info.ports.grpc), "TLS": -1}},
    }))
}

/// A port as configuration shows it: -1 for off.
fn port(port: u16) -> i32 {
    if port == 0 { -1 } else { i32::from(port) }
}

/// GET /v1/agent/version
pub(crate) async fn version(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.allow(Action::Read, Resource::Public)?;
    Reply::json(&json!({
        "SHA": server.info.build, "BuildDate": server.info.build_date, "HumanVersion": CONSUL_VERSION, "FIPS": "",
    }))
}

/// GET /v1/agent/host
pub(crate) async fn host(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.allow(Action::Read, Resource::Operator)?;
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Reply::json(&json!({
        "Memory": {},
        "CPU": (0..cpus).map(|cpu| json!({"cpu": cpu})).collect::<Vec<_>>(),
        "Host": {"hostname": host_name(&server), "os": std::env::consts::OS, "kernelArch": std::env::consts::ARCH,
                 "hostId": server.info.node_id},
        "Disk": {},
        "CollectionTime": server.now_ms().saturating_mul(1_000_000),
        "Errors": null,
    }))
}

/// GET /v1/agent/members
pub(crate) async fn members(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.listed()?;
    let params = request.params();
    let selection = Selection::parse(&params, fields::MEMBER)?;
    let wan = !params.get("wan").is_empty();
    match params.get("segment") {
        "" | "_all" => {}
        _ if wan => return Err(Failure::bad("Cannot provide a segment with wan=true")),
        _ => {
            return Err(Failure::server(
                "Network segments are not supported in this version of Consul",
            ));
        }
    }
    let state = server.snapshot();
    let mut rows: Vec<Value> = state
        .nodes()
        .filter(|node| server.is_member(&state, &node.name))
        .filter(|node| server.shown_to(&request, &state).sees_node(&node.name))
        .map(|node| member(&server, node, &state))
        .collect();
    if wan {
        rows = wide(&server, &state);
        for other in server.info.datacenters.iter() {
            if let Ok(other) = server.elsewhere(other.name()) {
                rows.extend(wide(&other, &other.snapshot()));
            }
        }
    }
    Reply::json(&selection.filtered(rows)?)
}

/// The servers of a datacenter, as those of all datacenters know each other.
fn wide(server: &Server, state: &portolan_catalog::State) -> Vec<Value> {
    let nodes = state.nodes();
    let servers = nodes.filter(|node| server.shown(state).is_server(&node.name));
    servers
        .map(|node| {
            let mut row = member(server, node, state);
            row["Name"] = json!(format!("{}.{}", node.spelling, server.info.datacenter));
            row["Port"] = json!(server.info.ports.serf_lan + 1);
            row
        })
        .collect()
}

/// A member: a node whose agent is known to the cluster, which `serfHealth` says.
fn member(server: &Server, node: &Node, state: &portolan_catalog::State) -> Value {
    let info = &server.info;
    let alive = state
        .check(&CheckKey::new(&node.name, SERF_HEALTH))
        .is_none_or(|check| check.status == Status::Passing);
    let is_server = server.shown(state).is_server(&node.name);
    let members = server.registry.members();
    let peer = members.iter().find(|member| {
        let others = members.len() > 1 || server.registry.is_copy();
        others && NodeName::new(&member.name) == node.name
    });
    let alive = alive && peer.is_none_or(Member::alive);
    let mut tags = json!({
        "dc": info.datacenter, "id": node.id, "role": if is_server { "consul" } else { "node" },
        "vsn": "2", "vsn_min": "2", "vsn_max": "3", "build": format!("{CONSUL_VERSION}:{}", info.build),
        "segment": "", "acls": if info.access.is_some() { "1" } else { "0" },
    });
    if is_server {
        for (key, value) in [
            (
                "port",
                peer.and_then(|peer| peer.address.rsplit_once(':'))
                    .map_or_else(
                        || info.ports.server.to_string(),
                        |(_, port)| port.to_owned(),
                    ),
            ),
            ("raft_vsn", "3".to_owned()),
            ("expect", "1".to_owned()),
            ("bootstrap", "1".to_owned()),
            ("ft_fs", "1".to_owned()),
            ("ft_si", "1".to_owned()),
            ("wan_join_port", (info.ports.serf_lan + 1).to_string()),
        ] {
            tags[key] = json!(value);
        }
        if info.ports.grpc > 0 {
            tags["grpc_port"] = json!(info.ports.grpc.to_string());
        }
    }
    json!({
        "Name": node.spelling, "Addr": node.address.to_string(), "Port": info.ports.serf_lan, "Tags": tags,
        "Status": if alive { 1 } else { 4 },
        "ProtocolMin": 1, "ProtocolMax": 5, "ProtocolCur": 2, "DelegateMin": 2, "DelegateMax": 5, "DelegateCur": 4,
    })
}

/// GET /v1/agent/metrics
pub(crate) async fn metrics(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.allow(Action::Read, Resource::Metrics)?;
    let wants_text = request.params().get("format") == "prometheus"
        || request
            .headers()
            .get(ACCEPT)
            .is_some_and(|value| value.as_bytes().starts_with(b"application/openmetrics"));
    if wants_text {
        let text = request.caller.context().metrics().encode();
        let kind = http::HeaderValue::from_static(
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        );
        return Ok(Reply::text(StatusCode::OK, text).header(CONTENT_TYPE, kind));
    }
    let state = server.snapshot();
    let host = host_name(&server);
    let gauge = |name: &str, value: usize| json!({"Name": format!("consul.{host}.{name}"), "Value": value, "Labels": {}});
    let critical = state
        .all_instances()
        .filter(|row| row.health >= Health::Critical)
        .count();
    Reply::json(&json!({
        "Timestamp": jiff::Timestamp::from_millisecond(i64::try_from(server.now_ms()).unwrap_or(0))
            .map(|at| at.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()).unwrap_or_default(),
        "Gauges": [
            gauge("runtime.alloc_bytes", resident_bytes()),
            gauge("catalog.revision", usize::try_from(state.revision().0).unwrap_or(usize::MAX)),
            gauge("catalog.instances", state.instance_count()),
            gauge("catalog.instances.critical", critical),
            gauge("catalog.nodes", state.nodes().count()),
            gauge("catalog.sessions", state.sessions().count()),
        ],
        "Points": [],
        "Counters": [],
        "Samples": [],
    }))
}

/// The name of the machine, that of the node where the system does not tell.
#[allow(
    clippy::disallowed_methods,
    reason = "what the machine says of itself, for display"
)]
fn host_name(server: &Server) -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| server.info.node_name.to_string())
}

/// Memory of this process, 0 where the system does not tell.
#[allow(
    clippy::disallowed_methods,
    reason = "what the machine says of itself, for display"
)]
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<usize>().ok())
        .unwrap_or(0);
    pages * 4096
}

/// PUT /v1/agent/join/:address
pub(crate) async fn join(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let address = request.named("address", "Missing address to join")?;
    request.allow(Action::Admin, Resource::Agent)?;
    let known = server.registry.members();
    let is = |member: &Member| {
        let host = member.address.rsplit_once(':').map(|(host, _)| host);
        member.name == address || member.address == address || host == Some(&*address)
    };
    // Who asks to join whom makes no difference: one that is a member has joined.
    if known.len() > 1 && known.iter().any(is) {
        return Ok(Reply::empty());
    }
    Err(Failure::server(format!(
        "1 error occurred: Failed to join {address}: a server joins by --join when it starts with an empty directory, or by `portolan cluster add`"
    )))
}

/// PUT /v1/agent/leave: a clean leave, after which the process stops.
pub(crate) async fn leave(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.allow(Action::Admin, Resource::Agent)?;
    let left = server.registry.change_members(MemberChange::Leave).await;
    left.map_err(Failure::server)?;
    Ok(Reply::empty())
}

/// PUT /v1/agent/force-leave/:node
pub(crate) async fn force_leave(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let node = request.named("node", "Missing node name")?;
    request.allow(Action::Write, Resource::Operator)?;
    let state = server.snapshot();
    let name = portolan_catalog::NodeName::new(&node);
    if !server.is_member(&state, &name) {
        return Err(Failure::server(format!(
            "agent: No node found with name '{node}'"
        )));
    }
    if let Some(done) = crate::status::force_leave_server(&server, &name).await {
        return done;
    }
    Err(Failure::server(format!(
        "node {node:?} is a member of this cluster; a member is removed by the operator, not by gossip"
    )))
}

/// PUT /v1/agent/reload: reads the definition files again.
pub(crate) async fn reload(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.allow(Action::Admin, Resource::Agent)?;
    match server.info.reload.run().await {
        Ok(()) => Ok(Reply::empty()),
        Err(why) => Err(Failure::server(why)),
    }
}

/// PUT /v1/agent/token/:kind: a token of the server itself, until its next start. Whoever shows no token has the default one; the
/// others have no use here, where servers and agents prove who they are by certificates.
pub(crate) async fn token(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    let Some(access) = &server.info.access else {
        request.allow(Action::Admin, Resource::Agent)?;
        return Err(acl_disabled());
    };
    let kind = request.path("kind")?;
    request.allow(Action::Admin, Resource::Agent)?;
    let body = request.json().await?;
    let fields = Fields::of(&body, "token")?;
    let secret = fields.text("token")?;
    match &*kind {
        "default" | "acl_token" => access.set_default_token(&secret),
        "agent"
        | "acl_agent_token"
        | "agent_recovery"
        | "agent_master"
        | "acl_agent_master_token"
        | "replication"
        | "acl_replication_token"
        | "config_file_service_registration"
        | "dns" => {}
        other => {
            return Err(Failure::missing(format!("Token \"{other}\" is unknown")));
        }
    }
    Ok(Reply::empty())
}

/// GET /v1/agent/monitor
pub(crate) async fn monitor(_server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.allow(Action::Read, Resource::Agent)?;
    let params = request.params();
    let level = params.get("loglevel");
    if !matches!(
        level.to_ascii_lowercase().as_str(),
        "" | "trace" | "debug" | "info" | "warn" | "err" | "error"
    ) {
        return Err(Failure::bad(format!("Unknown log level: {level}")));
    }
    Err(Failure::server(
        "streaming of the log is not available over the API; read the server's log",
    ))
}
