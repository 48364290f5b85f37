//! Paths to handlers: the index of the protocol.

use crate::error::Failure;
use crate::reply::{ByDefault, Reply, Style};
use crate::request::Request;
use crate::server::Server;
use crate::sight::{self, Sight};
use crate::{
    access_routes, agent, catalog, chain, config, connect, datacenters, disabled, event, gateways,
    health, intentions, kv, query, session, snapshot, status, txn, ui,
};
use http::{HeaderName, Method, StatusCode};
use portolan_listener::{
    Action, Caller, Methods, Request as HttpRequest, Resource, Response, Route, Router,
};
use std::sync::Arc;

/// One row of the table, with what every request goes through before and after its handler.
macro_rules! row {
    ($methods:expr, $path:literal, $name:literal, $handler:path) => {
        Route::new($methods, $path, $name, |server, http, captured| {
            Box::pin(async move {
                let mut request = Request::new(http, captured);
                let arrived = request.caller.clone();
                if let Some(access) = &server.info.access {
                    sight::identify(&mut request, access);
                }
                // A policy may be in force without tokens.
                request.sight = Sight::of(&request.caller);
                let (style, caller) = (Style::of(&request), request.caller.clone());
                let sight = request.sight.clone();
                let access = server.info.access.clone();
                let answer = match prepared(server, &request) {
                    Ok(server) if disabled::of_a_peer(&request) => {
                        disabled::peer_services(server, request).await
                    }
                    Ok(server) => $handler(server, request).await,
                    Err(failure) => Err(failure),
                };
                let reply = judged(answer, &caller).seen_through(sight.as_deref());
                answered(&arrived, &caller);
                reply.finish(style).by_default(access.as_ref())
            })
        })
    };
}

/// The table of routes. A row: methods, path, name in metrics, handler.
macro_rules! routes {
    ($($method:ident $(| $more:ident)* $path:literal $name:literal $handler:path;)*) => {
        &[$(row!(Methods::$method$(.or(Methods::$more))*, $path, $name, $handler)),*]
    };
}

pub(crate) static ROUTES: &[Route<Server>] = routes! {
    // Agent
    GET "/v1/agent/self" "agent_self" agent::info::me;
    GET "/v1/agent/version" "agent_version" agent::info::version;
    GET "/v1/agent/host" "agent_host" agent::info::host;
    GET "/v1/agent/metrics" "agent_metrics" agent::info::metrics;
    GET "/v1/agent/members" "agent_members" agent::info::members;
    GET "/v1/agent/monitor" "agent_monitor" agent::info::monitor;
    GET "/v1/agent/services" "agent_services" agent::listing::services;
    GET "/v1/agent/service/{*id}" "agent_service" agent::listing::service;
    GET "/v1/agent/checks" "agent_checks" agent::listing::checks;
    GET "/v1/agent/health/service/id/{*id}" "agent_health_service_id" agent::listing::health_by_id;
    GET "/v1/agent/health/service/name/{*name}" "agent_health_service_name" agent::listing::health_by_name;
    PUT "/v1/agent/service/register" "agent_service_register" agent::services::register;
    PUT "/v1/agent/service/deregister/{*id}" "agent_service_deregister" agent::services::deregister;
    PUT "/v1/agent/service/maintenance/{*id}" "agent_service_maintenance" agent::maintenance::service;
    PUT "/v1/agent/maintenance" "agent_maintenance" agent::maintenance::node;
    PUT "/v1/agent/check/register" "agent_check_register" agent::checks::register;
    PUT "/v1/agent/check/deregister/{*id}" "agent_check_deregister" agent::checks::deregister;
    PUT "/v1/agent/check/pass/{*id}" "agent_check_pass" agent::checks::pass;
    PUT "/v1/agent/check/warn/{*id}" "agent_check_warn" agent::checks::warn;
    PUT "/v1/agent/check/fail/{*id}" "agent_check_fail" agent::checks::fail;
    PUT "/v1/agent/check/update/{*id}" "agent_check_update" agent::checks::update_body;
    PUT "/v1/agent/join/{*address}" "agent_join" agent::info::join;
    PUT "/v1/agent/leave" "agent_leave" agent::info::leave;
    PUT "/v1/agent/force-leave/{*node}" "agent_force_leave" agent::info::force_leave;
    PUT "/v1/agent/reload" "agent_reload" agent::info::reload;
    PUT "/v1/agent/token/{*kind}" "agent_token" agent::info::token;
    GET "/v1/agent/connect/ca/roots" "agent_connect_ca_roots" connect::roots;
    GET "/v1/agent/connect/ca/leaf/{*service}" "agent_connect_ca_leaf" connect::leaf;
    POST "/v1/agent/connect/authorize" "agent_connect_authorize" intentions::authorize;
    // Catalog
    PUT "/v1/catalog/register" "catalog_register" catalog::register;
    PUT "/v1/catalog/deregister" "catalog_deregister" catalog::deregister;
    GET "/v1/catalog/datacenters" "catalog_datacenters" datacenters::list;
    GET "/v1/catalog/nodes" "catalog_nodes" catalog::nodes;
    GET "/v1/catalog/services" "catalog_services" catalog::services;
    GET "/v1/catalog/service/{*service}" "catalog_service" catalog::service;
    GET "/v1/catalog/connect/{*service}" "catalog_connect" catalog::connect;
    GET "/v1/catalog/node/{*node}" "catalog_node" catalog::node;
    GET "/v1/catalog/node-services/{*node}" "catalog_node_services" catalog::node_services;
    GET "/v1/catalog/gateway-services/{*gateway}" "catalog_gateway_services" gateways::services;
    // Health
    GET "/v1/health/service/{*service}" "health_service" health::service;
    GET "/v1/health/connect/{*service}" "health_connect" health::connect;
    GET "/v1/health/ingress/{*service}" "health_ingress" gateways::ingress;
    GET "/v1/health/checks/{*service}" "health_checks" health::checks;
    GET "/v1/health/node/{*node}" "health_node" health::node;
    GET "/v1/health/state/{*state}" "health_state" health::state;
    // Keys, sessions, transactions
    GET "/v1/kv/{*key}" "kv_get" kv::get;
    PUT "/v1/kv/{*key}" "kv_put" kv::put;
    DELETE "/v1/kv/{*key}" "kv_delete" kv::delete;
    PUT "/v1/session/create" "session_create" session::create;
    PUT "/v1/session/destroy/{*id}" "session_destroy" session::destroy;
    PUT "/v1/session/renew/{*id}" "session_renew" session::renew;
    GET "/v1/session/info/{*id}" "session_info" session::info;
    GET "/v1/session/node/{*node}" "session_node" session::node;
    GET "/v1/session/list" "session_list" session::list;
    PUT "/v1/txn" "txn" txn::txn;
    // Events, prepared queries, coordinates
    PUT "/v1/event/fire/{*name}" "event_fire" event::fire;
    GET "/v1/event/list" "event_list" event::list;
    GET "/v1/query" "query_list" query::list;
    POST "/v1/query" "query_create" query::create;
    GET "/v1/query/{id}" "query_get" query::get;
    PUT "/v1/query/{id}" "query_update" query::update;
    DELETE "/v1/query/{id}" "query_delete" query::delete;
    GET "/v1/query/{id}/execute" "query_execute" query::execute;
    GET "/v1/query/{id}/explain" "query_explain" query::explain;
    GET "/v1/coordinate/datacenters" "coordinate_datacenters" disabled::coordinate_datacenters;
    GET "/v1/coordinate/nodes" "coordinate_nodes" disabled::coordinate_nodes;
    GET "/v1/coordinate/node/{*node}" "coordinate_node" disabled::coordinate_node;
    PUT "/v1/coordinate/update" "coordinate_update" disabled::coordinate_update;
    // The cluster
    GET "/v1/status/leader" "status_leader" status::leader;
    GET "/v1/status/peers" "status_peers" status::peers;
    GET "/v1/operator/raft/configuration" "operator_raft" status::raft;
    DELETE "/v1/operator/raft/peer" "operator_raft_peer" status::raft_peer;
    POST "/v1/operator/raft/transfer-leader" "operator_transfer_leader" status::transfer_leader;
    GET "/v1/operator/autopilot/configuration" "operator_autopilot" status::autopilot;
    PUT "/v1/operator/autopilot/configuration" "operator_autopilot_set" status::set_autopilot;
    GET "/v1/operator/autopilot/health" "operator_autopilot_health" status::autopilot_health;
    GET "/v1/operator/autopilot/state" "operator_autopilot_state" status::autopilot_state;
    GET "/v1/operator/usage" "operator_usage" status::usage;
    GET "/v1/snapshot" "snapshot" snapshot::save;
    PUT "/v1/snapshot" "snapshot_restore" snapshot::restore;
    GET "/v1/connect/ca/roots" "connect_ca_roots" connect::roots;
    GET "/v1/internal/ui/services" "ui_services" ui::services;
    GET "/v1/internal/ui/nodes" "ui_nodes" ui::nodes;
    GET "/v1/internal/ui/node/{*node}" "ui_node" ui::node;
    GET "/v1/internal/ui/catalog-overview" "ui_catalog_overview" ui::overview;
    // Features that are switched off
    PUT "/v1/acl/bootstrap" "acl_bootstrap" access_routes::system::bootstrap;
    GET "/v1/acl/replication" "acl_replication" access_routes::system::replication;
    POST "/v1/acl/login" "acl_login" access_routes::login::login;
    POST "/v1/acl/logout" "acl_logout" access_routes::login::logout;
    GET "/v1/acl/auth-methods" "acl_auth_methods" access_routes::methods::list;
    PUT "/v1/acl/auth-method" "acl_auth_method_create" access_routes::methods::create;
    GET "/v1/acl/auth-method/{*name}" "acl_auth_method" access_routes::methods::read;
    PUT "/v1/acl/auth-method/{*name}" "acl_auth_method_update" access_routes::methods::update;
    DELETE "/v1/acl/auth-method/{*name}" "acl_auth_method_delete" access_routes::methods::delete;
    GET "/v1/acl/binding-rules" "acl_binding_rules" access_routes::binding_rules::list;
    PUT "/v1/acl/binding-rule" "acl_binding_rule_create" access_routes::binding_rules::create;
    GET "/v1/acl/binding-rule/{*id}" "acl_binding_rule" access_routes::binding_rules::read;
    PUT "/v1/acl/binding-rule/{*id}" "acl_binding_rule_update" access_routes::binding_rules::update;
    DELETE "/v1/acl/binding-rule/{*id}" "acl_binding_rule_delete" access_routes::binding_rules::delete;
    GET "/v1/acl/tokens" "acl_tokens" access_routes::tokens::list;
    PUT "/v1/acl/token" "acl_token_create" access_routes::tokens::create;
    GET "/v1/acl/token/self" "acl_token_self" access_routes::tokens::own;
    GET "/v1/acl/token/{id}" "acl_token_read" access_routes::tokens::read;
    PUT "/v1/acl/token/{id}" "acl_token_update" access_routes::tokens::update;
    DELETE "/v1/acl/token/{id}" "acl_token_delete" access_routes::tokens::delete;
    PUT "/v1/acl/token/{id}/clone" "acl_token_clone" access_routes::tokens::duplicate;
    GET "/v1/acl/policies" "acl_policies" access_routes::policies::list;
    PUT "/v1/acl/policy" "acl_policy_create" access_routes::policies::create;
    GET "/v1/acl/policy/name/{*name}" "acl_policy_named" access_routes::policies::read_named;
    GET "/v1/acl/policy/{id}" "acl_policy_read" access_routes::policies::read;
    PUT "/v1/acl/policy/{id}" "acl_policy_update" access_routes::policies::update;
    DELETE "/v1/acl/policy/{id}" "acl_policy_delete" access_routes::policies::delete;
    GET "/v1/acl/roles" "acl_roles" access_routes::roles::list;
    PUT "/v1/acl/role" "acl_role_create" access_routes::roles::create;
    GET "/v1/acl/role/name/{*name}" "acl_role_named" access_routes::roles::read_named;
    GET "/v1/acl/role/{id}" "acl_role_read" access_routes::roles::read;
    PUT "/v1/acl/role/{id}" "acl_role_update" access_routes::roles::update;
    DELETE "/v1/acl/role/{id}" "acl_role_delete" access_routes::roles::delete;
    GET "/v1/acl/templated-policies" "acl_templates" access_routes::templates::list;
    GET "/v1/acl/templated-policy/name/{*name}" "acl_template_named" access_routes::templates::read;
    POST "/v1/acl/templated-policy/preview/{*name}" "acl_template_preview" access_routes::templates::preview;
    POST "/v1/internal/acl/authorize" "internal_acl_authorize" access_routes::system::authorize;
    PUT "/v1/config" "config" config::put;
    GET "/v1/config/{*rest}" "config_entry" config::get;
    DELETE "/v1/config/{*rest}" "config_entry_delete" config::delete;
    GET "/v1/connect/ca/configuration" "connect_ca_configuration" connect::configuration;
    PUT "/v1/connect/ca/configuration" "connect_ca_configure" connect::configure;
    GET "/v1/connect/intentions" "connect_intentions" intentions::list;
    POST "/v1/connect/intentions" "connect_intention_create" intentions::create;
    GET | PUT | DELETE "/v1/connect/intentions/exact" "connect_intention_exact" intentions::exact;
    GET "/v1/connect/intentions/match" "connect_intention_match" intentions::matching;
    GET "/v1/connect/intentions/check" "connect_intention_check" intentions::check;
    GET | PUT | DELETE "/v1/connect/intentions/{id}" "connect_intention" intentions::by_id;
    GET | POST "/v1/discovery-chain/{*service}" "discovery_chain" chain::get;
    GET | POST | PUT | DELETE "/v1/operator/keyring" "operator_keyring" disabled::keyring;
    GET "/v1/peerings" "peerings" disabled::peerings;
    POST "/v1/peering/token" "peering_token" disabled::peering;
    POST "/v1/peering/establish" "peering_establish" disabled::peering;
    GET | DELETE "/v1/peering/{*rest}" "peering" disabled::peering;
};

const NAMESPACE: HeaderName = HeaderName::from_static("x-consul-namespace");
const PARTITION: HeaderName = HeaderName::from_static("x-consul-partition");

/// What is checked for every request before its handler: the namespaces that are not there, and the datacenter, which decides who answers.
fn prepared(server: Arc<Server>, request: &Request) -> Result<Arc<Server>, Failure> {
    let params = request.params();
    let header = |name: &HeaderName| {
        let value = request.headers().get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let server = match server.meant(request, params.get("dc"))? {
        Some(other) => other,
        None => server,
    };
    for (value, place, feature) in [
        (
            header(&NAMESPACE),
            "header: \"X-Consul-Namespace\"",
            "Namespaces",
        ),
        (params.get("ns"), "query parameter: \"ns\"", "Namespaces"),
        (
            header(&PARTITION),
            "header: \"X-Consul-Partition\"",
            "Partitions",
        ),
        (
            params.get("partition"),
            "query parameter: \"partition\"",
            "Partitions",
        ),
    ] {
        if !value.is_empty() && value != "default" {
            return Err(Failure::bad(format!(
                "Invalid {place} - {feature} are a Consul Enterprise feature"
            )));
        }
    }
    Ok(server)
}

/// The port asks the caller it knows whether anything was decided.
fn answered(arrived: &Caller, caller: &Caller) {
    if caller.decided() && !arrived.decided() {
        let _is_public = arrived.allow(Action::Read, Resource::Public);
    }
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
    request: HttpRequest,
) -> Response {
    let access = server.info.access.clone();
    let (request, methods) = match router.dispatch(server, request).await {
        Ok(response) => return response,
        Err(back) => back,
    };
    missing(&request, methods).by_default(access.as_ref())
}

/// The answer where there is no row: Consul's words for paths and methods that are not there.
fn missing(request: &HttpRequest, methods: Methods) -> Response {
    // That a path is not there is no secret.
    let caller = Caller::of(request);
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
    } else if takes_a_name(path) {
        Reply::moved(&with_slash(request.uri()))
    } else if path.contains("/v1/") {
        Reply::no_such_path()
    } else {
        Reply::text(
            StatusCode::NOT_FOUND,
            "Invalid URL path: if attempting to use the HTTP API, ensure the path starts with '/v1/'\n",
        )
    };
    reply.finish(Style::default())
}

/// Whether a path is one that something is named after, without the slash and the name: `/v1/kv`.
fn takes_a_name(path: &str) -> bool {
    ROUTES.iter().any(|route| {
        route
            .pattern
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with("/{*"))
    })
}

/// The same place with the slash: `/v1/kv?keys` becomes `/v1/kv/?keys`.
fn with_slash(uri: &http::Uri) -> String {
    let query = uri.query().map(|query| format!("?{query}"));
    format!("{}/{}", uri.path(), query.unwrap_or_default())
}
