//! Paths to handlers: the index of the protocol.

use crate::ask::Ask;
use crate::error::Failure;
use crate::reply::{Reply, Style};
use crate::server::Server;
use crate::{absent, agent, catalog, connect, event, health, kv, query, session, status, txn, ui};
use http::{Method, StatusCode};
use portolan_listener::{Action, Caller, Methods, Request, Resource, Response, Route, Router};
use std::sync::Arc;

const GET: Methods = Methods::GET;
const PUT: Methods = Methods::PUT;
const POST: Methods = Methods::POST;
const DELETE: Methods = Methods::DELETE;
const ANY: Methods = Methods::GET
    .or(Methods::PUT)
    .or(Methods::POST)
    .or(Methods::DELETE);

/// A row: methods, path, name in metrics, handler.
macro_rules! row {
    ($methods:expr, $path:literal, $name:literal, $handler:path) => {
        Route::new($methods, $path, $name, |server, request, captured| {
            Box::pin(async move {
                let ask = Ask::new(request, captured);
                let (style, caller) = (Style::of(&ask), ask.caller.clone());
                let answer = match prepared(&server, &ask) {
                    Ok(()) => $handler(server, ask).await,
                    Err(failure) => Err(failure),
                };
                judged(answer, &caller).finish(style)
            })
        })
    };
}

pub(crate) static ROUTES: &[Route<Server>] = &[
    // Agent
    row!(GET, "/v1/agent/self", "agent_self", agent::info::me),
    row!(
        GET,
        "/v1/agent/version",
        "agent_version",
        agent::info::version
    ),
    row!(GET, "/v1/agent/host", "agent_host", agent::info::host),
    row!(
        GET,
        "/v1/agent/metrics",
        "agent_metrics",
        agent::info::metrics
    ),
    row!(
        GET,
        "/v1/agent/members",
        "agent_members",
        agent::info::members
    ),
    row!(
        GET,
        "/v1/agent/monitor",
        "agent_monitor",
        agent::info::monitor
    ),
    row!(
        GET,
        "/v1/agent/services",
        "agent_services",
        agent::listing::services
    ),
    row!(
        GET,
        "/v1/agent/service/{*id}",
        "agent_service",
        agent::listing::service
    ),
    row!(
        GET,
        "/v1/agent/checks",
        "agent_checks",
        agent::listing::checks
    ),
    row!(
        GET,
        "/v1/agent/health/service/id/{*id}",
        "agent_health_service_id",
        agent::listing::health_by_id
    ),
    row!(
        GET,
        "/v1/agent/health/service/name/{*name}",
        "agent_health_service_name",
        agent::listing::health_by_name
    ),
    row!(
        PUT,
        "/v1/agent/service/register",
        "agent_service_register",
        agent::services::register
    ),
    row!(
        PUT,
        "/v1/agent/service/deregister/{*id}",
        "agent_service_deregister",
        agent::services::deregister
    ),
    row!(
        PUT,
        "/v1/agent/service/maintenance/{*id}",
        "agent_service_maintenance",
        agent::maintenance::service
    ),
    row!(
        PUT,
        "/v1/agent/maintenance",
        "agent_maintenance",
        agent::maintenance::node
    ),
    row!(
        PUT,
        "/v1/agent/check/register",
        "agent_check_register",
        agent::checks::register
    ),
    row!(
        PUT,
        "/v1/agent/check/deregister/{*id}",
        "agent_check_deregister",
        agent::checks::deregister
    ),
    row!(
        PUT,
        "/v1/agent/check/pass/{*id}",
        "agent_check_pass",
        agent::checks::pass
    ),
    row!(
        PUT,
        "/v1/agent/check/warn/{*id}",
        "agent_check_warn",
        agent::checks::warn
    ),
    row!(
        PUT,
        "/v1/agent/check/fail/{*id}",
        "agent_check_fail",
        agent::checks::fail
    ),
    row!(
        PUT,
        "/v1/agent/check/update/{*id}",
        "agent_check_update",
        agent::checks::update_body
    ),
    row!(
        PUT,
        "/v1/agent/join/{*address}",
        "agent_join",
        agent::info::join
    ),
    row!(PUT, "/v1/agent/leave", "agent_leave", agent::info::leave),
    row!(
        PUT,
        "/v1/agent/force-leave/{*node}",
        "agent_force_leave",
        agent::info::force_leave
    ),
    row!(PUT, "/v1/agent/reload", "agent_reload", agent::info::reload),
    row!(
        PUT,
        "/v1/agent/token/{*kind}",
        "agent_token",
        agent::info::token
    ),
    row!(
        GET,
        "/v1/agent/connect/ca/roots",
        "agent_connect_ca_roots",
        connect::roots
    ),
    row!(
        GET,
        "/v1/agent/connect/ca/leaf/{*service}",
        "agent_connect_ca_leaf",
        connect::no_mesh
    ),
    row!(
        POST,
        "/v1/agent/connect/authorize",
        "agent_connect_authorize",
        connect::no_mesh
    ),
    // Catalog
    row!(
        PUT,
        "/v1/catalog/register",
        "catalog_register",
        catalog::register
    ),
    row!(
        PUT,
        "/v1/catalog/deregister",
        "catalog_deregister",
        catalog::deregister
    ),
    row!(
        GET,
        "/v1/catalog/datacenters",
        "catalog_datacenters",
        catalog::datacenters
    ),
    row!(GET, "/v1/catalog/nodes", "catalog_nodes", catalog::nodes),
    row!(
        GET,
        "/v1/catalog/services",
        "catalog_services",
        catalog::services
    ),
    row!(
        GET,
        "/v1/catalog/service/{*service}",
        "catalog_service",
        catalog::service
    ),
    row!(
        GET,
        "/v1/catalog/connect/{*service}",
        "catalog_connect",
        catalog::connect
    ),
    row!(
        GET,
        "/v1/catalog/node/{*node}",
        "catalog_node",
        catalog::node
    ),
    row!(
        GET,
        "/v1/catalog/node-services/{*node}",
        "catalog_node_services",
        catalog::node_services
    ),
    row!(
        GET,
        "/v1/catalog/gateway-services/{*gateway}",
        "catalog_gateway_services",
        catalog::gateway_services
    ),
    // Health
    row!(
        GET,
        "/v1/health/service/{*service}",
        "health_service",
        health::service
    ),
    row!(
        GET,
        "/v1/health/connect/{*service}",
        "health_connect",
        health::connect
    ),
    row!(
        GET,
        "/v1/health/ingress/{*service}",
        "health_ingress",
        health::ingress
    ),
    row!(
        GET,
        "/v1/health/checks/{*service}",
        "health_checks",
        health::checks
    ),
    row!(GET, "/v1/health/node/{*node}", "health_node", health::node),
    row!(
        GET,
        "/v1/health/state/{*state}",
        "health_state",
        health::state
    ),
    // Keys, sessions, transactions
    row!(GET, "/v1/kv/{*key}", "kv_get", kv::get),
    row!(PUT, "/v1/kv/{*key}", "kv_put", kv::put),
    row!(DELETE, "/v1/kv/{*key}", "kv_delete", kv::delete),
    row!(PUT, "/v1/session/create", "session_create", session::create),
    row!(
        PUT,
        "/v1/session/destroy/{*id}",
        "session_destroy",
        session::destroy
    ),
    row!(
        PUT,
        "/v1/session/renew/{*id}",
        "session_renew",
        session::renew
    ),
    row!(GET, "/v1/session/info/{*id}", "session_info", session::info),
    row!(
        GET,
        "/v1/session/node/{*node}",
        "session_node",
        session::node
    ),
    row!(GET, "/v1/session/list", "session_list", session::list),
    row!(PUT, "/v1/txn", "txn", txn::txn),
    // Events, prepared queries, coordinates
    row!(PUT, "/v1/event/fire/{*name}", "event_fire", event::fire),
    row!(GET, "/v1/event/list", "event_list", event::list),
    row!(GET, "/v1/query", "query_list", query::list),
    row!(POST, "/v1/query", "query_create", query::create),
    row!(GET, "/v1/query/{id}", "query_get", query::get),
    row!(PUT, "/v1/query/{id}", "query_update", query::update),
    row!(DELETE, "/v1/query/{id}", "query_delete", query::delete),
    row!(
        GET,
        "/v1/query/{id}/execute",
        "query_execute",
        query::execute
    ),
    row!(
        GET,
        "/v1/query/{id}/explain",
        "query_explain",
        query::explain
    ),
    row!(
        GET,
        "/v1/coordinate/datacenters",
        "coordinate_datacenters",
        absent::coordinate_datacenters
    ),
    row!(
        GET,
        "/v1/coordinate/nodes",
        "coordinate_nodes",
        absent::coordinate_nodes
    ),
    row!(
        GET,
        "/v1/coordinate/node/{*node}",
        "coordinate_node",
        absent::coordinate_node
    ),
    row!(
        PUT,
        "/v1/coordinate/update",
        "coordinate_update",
        absent::coordinate_update
    ),
    // The cluster
    row!(GET, "/v1/status/leader", "status_leader", status::leader),
    row!(GET, "/v1/status/peers", "status_peers", status::peers),
    row!(
        GET,
        "/v1/operator/raft/configuration",
        "operator_raft",
        status::raft
    ),
    row!(
        DELETE,
        "/v1/operator/raft/peer",
        "operator_raft_peer",
        status::raft_peer
    ),
    row!(
        POST,
        "/v1/operator/raft/transfer-leader",
        "operator_transfer_leader",
        status::transfer_leader
    ),
    row!(
        GET,
        "/v1/operator/autopilot/configuration",
        "operator_autopilot",
        status::autopilot
    ),
    row!(
        PUT,
        "/v1/operator/autopilot/configuration",
        "operator_autopilot_set",
        status::set_autopilot
    ),
    row!(
        GET,
        "/v1/operator/autopilot/health",
        "operator_autopilot_health",
        status::autopilot_health
    ),
    row!(
        GET,
        "/v1/operator/autopilot/state",
        "operator_autopilot_state",
        status::autopilot_state
    ),
    row!(GET, "/v1/operator/usage", "operator_usage", status::usage),
    row!(
        GET,
        "/v1/connect/ca/roots",
        "connect_ca_roots",
        connect::roots
    ),
    row!(GET, "/v1/internal/ui/services", "ui_services", ui::services),
    row!(GET, "/v1/internal/ui/nodes", "ui_nodes", ui::nodes),
    row!(GET, "/v1/internal/ui/node/{*node}", "ui_node", ui::node),
    row!(
        GET,
        "/v1/internal/ui/catalog-overview",
        "ui_catalog_overview",
        ui::overview
    ),
    // Features that are switched off
    row!(ANY, "/v1/acl/{*rest}", "acl", absent::acl),
    row!(ANY, "/v1/config", "config", absent::config),
    row!(ANY, "/v1/config/{*rest}", "config_entry", absent::config),
    row!(
        ANY,
        "/v1/connect/ca/configuration",
        "connect_ca_configuration",
        connect::no_mesh
    ),
    row!(
        ANY,
        "/v1/connect/intentions",
        "connect_intentions",
        connect::no_mesh
    ),
    row!(
        ANY,
        "/v1/connect/intentions/{*rest}",
        "connect_intention",
        connect::no_mesh
    ),
    row!(
        ANY,
        "/v1/discovery-chain/{*rest}",
        "discovery_chain",
        connect::no_mesh
    ),
    row!(
        ANY,
        "/v1/operator/keyring",
        "operator_keyring",
        absent::keyring
    ),
    row!(GET, "/v1/peerings", "peerings", absent::peerings),
    row!(ANY, "/v1/peering/{*rest}", "peering", absent::peering),
    row!(ANY, "/v1/snapshot", "snapshot", absent::snapshot),
];

/// What is checked for every request before its handler: the datacenter and the namespaces that are not there.
fn prepared(server: &Server, ask: &Ask) -> Result<(), Failure> {
    let params = ask.params();
    let header = |name: &str| {
        ask.headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    server.datacenter(params.get("dc"))?;
    for (name, value, feature) in [
        ("ns", params.get("ns").to_owned(), "Namespaces are"),
        ("ns", header("x-consul-namespace"), "Namespaces are"),
        (
            "partition",
            params.get("partition").to_owned(),
            "Partitions are",
        ),
        ("partition", header("x-consul-partition"), "Partitions are"),
    ] {
        if !value.is_empty() && value != "default" {
            return Err(Failure::bad(format!(
                "Invalid query parameter: {name:?} - {feature} a Consul Enterprise feature"
            )));
        }
    }
    if !params.get("peer").is_empty() {
        return Err(Failure::server(format!(
            "peering not found: {}",
            params.get("peer")
        )));
    }
    Ok(())
}

/// The answer of a handler. One that refused a request before it could know what it is about told no secret: that a
/// request is malformed may be known to everyone, and that is what is asked for here.
fn judged(answer: Result<Reply, Failure>, caller: &Caller) -> Reply {
    answer.unwrap_or_else(|failure| {
        let public = if caller.decided() {
            Ok(())
        } else {
            caller.allow(Action::Read, Resource::Public)
        };
        public.map_or_else(Failure::from, |()| failure).into()
    })
}

/// Answers one request: by its row, else with Consul's words for paths and methods that are not there.
pub(crate) async fn respond(
    server: Arc<Server>,
    router: Arc<Router<Server>>,
    request: Request,
) -> Response {
    let (request, methods) = match router.dispatch(server, request).await {
        Ok(response) => return response,
        Err(back) => back,
    };
    // That a path is not there is no secret.
    let caller = Caller::of(&request);
    if let Err(denied) = caller.allow(Action::Read, Resource::Public) {
        return Reply::from(Failure::from(denied)).finish(Style::default());
    }
    let path = request.uri().path();
    let reply = if methods != Methods::default() {
        if request.method() == Method::OPTIONS {
            Reply::options(methods)
        } else {
            Reply::method_not_allowed(request.method(), methods)
        }
    } else if path == "/" {
        Reply::text(
            StatusCode::OK,
            "Consul Agent: this is Portolan, which speaks Consul's HTTP API",
        )
    } else if path.contains("/v1/") {
        Reply::text(
            StatusCode::NOT_FOUND,
            "Invalid URL path: not a recognized HTTP API endpoint",
        )
    } else {
        Reply::text(
            StatusCode::NOT_FOUND,
            "Invalid URL path: if attempting to use the HTTP API, ensure the path starts with '/v1/'",
        )
    };
    reply.finish(Style::default())
}
