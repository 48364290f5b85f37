//! The HTTP port's index: paths and methods to functions.

use std::sync::Arc;

use portolan_listener::{
    Action, BoxFuture, Caller, Methods, Request, Resource, Response, Route, Router,
};

use crate::app::App;
use crate::error::{Problem, no_such_api};
use crate::http::{
    Form, answered, auth, catalog, clients, cluster, config, instance, namespaces, operator, past,
    service,
};

const GET: Methods = Methods::GET.or(Methods::HEAD);
const POST: Methods = Methods::POST;
const PUT: Methods = Methods::PUT;
const DELETE: Methods = Methods::DELETE;
const PATCH: Methods = Methods::PATCH;

macro_rules! route {
    ($form:ident $methods:expr, $path:literal, $name:literal, $handler:path) => {
        Route::new(
            $methods,
            concat!("/nacos", $path),
            $name,
            |app, request, _| -> BoxFuture<Response> {
                Box::pin(answered(app, request, Form::$form, $handler))
            },
        )
    };
}

/// Naming of v1.
static NAMING_V1: &[Route<App>] = &[
    route!(V1 POST, "/v1/ns/instance", "instance_register", instance::register),
    route!(V1 DELETE, "/v1/ns/instance", "instance_deregister", instance::deregister),
    route!(V1 PUT, "/v1/ns/instance", "instance_update", instance::update),
    route!(V1 PATCH, "/v1/ns/instance", "instance_patch", instance::patch),
    route!(V1 GET, "/v1/ns/instance", "instance", instance::find),
    route!(V1 GET, "/v1/ns/instance/list", "instance_list", instance::list),
    route!(V1 PUT.or(POST), "/v1/ns/instance/beat", "beat", instance::beat),
    route!(V1 PUT.or(DELETE), "/v1/ns/instance/metadata/batch", "metadata_batch", instance::batch_metadata),
    route!(V1 GET, "/v1/ns/instance/statuses", "instance_statuses", instance::statuses),
    route!(V1 POST, "/v1/ns/service", "service_create", service::create),
    route!(V1 PUT, "/v1/ns/service", "service_update", service::update),
    route!(V1 DELETE, "/v1/ns/service", "service_delete", service::delete),
    route!(V1 GET, "/v1/ns/service", "service", service::find),
    route!(V1 GET, "/v1/ns/service/list", "service_list", service::list),
    route!(V1 GET, "/v1/ns/service/names", "service_names", service::all_names),
    route!(V1 GET, "/v1/ns/service/subscribers", "subscribers", service::subscribers),
    route!(V1 GET, "/v1/ns/service/selector/types", "selector_types", service::selector_types),
    route!(V1 PUT, "/v1/ns/health", "health_update", instance::health),
    route!(V1 PUT, "/v1/ns/health/instance", "health_update", instance::health),
    route!(V1 GET, "/v1/ns/health/checkers", "checkers", instance::checkers),
    route!(V1 PUT, "/v1/ns/cluster", "cluster_update", service::cluster),
    route!(V1 GET, "/v1/ns/catalog/services", "catalog_services", catalog::services),
    route!(V1 GET, "/v1/ns/catalog/service", "catalog_service", catalog::service),
    route!(V1 GET, "/v1/ns/catalog/instances", "catalog_instances", instance::page),
    route!(V1 GET, "/v1/ns/operator/metrics", "operator_metrics", operator::metrics),
    route!(V1 GET, "/v1/ns/operator/switches", "switches", operator::switches),
    route!(V1 PUT, "/v1/ns/operator/switches", "switches_set", operator::set_switch),
];

/// Naming of v2.
static NAMING_V2: &[Route<App>] = &[
    route!(V2 POST, "/v2/ns/instance", "instance_register", instance::register),
    route!(V2 DELETE, "/v2/ns/instance", "instance_deregister", instance::deregister),
    route!(V2 PUT, "/v2/ns/instance", "instance_update", instance::update),
    route!(V2 PATCH, "/v2/ns/instance", "instance_patch", instance::patch),
    route!(V2 GET, "/v2/ns/instance", "instance", instance::find),
    route!(V2 GET, "/v2/ns/instance/list", "instance_list", instance::list),
    route!(V2 PUT, "/v2/ns/instance/beat", "beat", instance::beat),
    route!(V2 PUT.or(DELETE), "/v2/ns/instance/metadata/batch", "metadata_batch", instance::batch_metadata),
    route!(V2 POST, "/v2/ns/service", "service_create", service::create),
    route!(V2 PUT, "/v2/ns/service", "service_update", service::update),
    route!(V2 DELETE, "/v2/ns/service", "service_delete", service::delete),
    route!(V2 GET, "/v2/ns/service", "service", service::find),
    route!(V2 GET, "/v2/ns/service/list", "service_list", service::list),
    route!(V2 GET, "/v2/ns/catalog/instances", "catalog_instances", instance::page),
    route!(V2 PUT, "/v2/ns/health", "health_update", instance::health),
    route!(V2 PUT, "/v2/ns/health/instance", "health_update", instance::health),
    route!(V2 GET, "/v2/ns/health/checkers", "checkers", instance::checkers),
    route!(V2 GET, "/v2/ns/operator/metrics", "operator_metrics", operator::metrics),
    route!(V2 GET, "/v2/ns/operator/switches", "switches", operator::switches),
    route!(V2 PUT, "/v2/ns/operator/switches", "switches_set", operator::set_switch),
    route!(V2 GET, "/v2/ns/client/list", "client_list", clients::list),
    route!(V2 GET, "/v2/ns/client", "client", clients::detail),
    route!(V2 GET, "/v2/ns/client/publish/list", "client_publishes", clients::publishes),
    route!(V2 GET, "/v2/ns/client/subscribe/list", "client_subscribes", clients::subscribes),
    route!(V2 GET, "/v2/ns/client/service/publisher/list", "service_publishers", clients::publishers),
    route!(V2 GET, "/v2/ns/client/service/subscriber/list", "service_subscribers", clients::subscribers),
];

/// Naming of v3, for clients and for operators.
static NAMING_V3: &[Route<App>] = &[
    route!(V3 POST, "/v3/client/ns/instance", "instance_register", instance::register),
    route!(V3 DELETE, "/v3/client/ns/instance", "instance_deregister", instance::deregister),
    route!(V3 GET, "/v3/client/ns/instance/list", "instance_list", instance::list),
    route!(V3 POST, "/v3/admin/ns/instance", "instance_register", instance::register),
    route!(V3 DELETE, "/v3/admin/ns/instance", "instance_deregister", instance::deregister),
    route!(V3 PUT, "/v3/admin/ns/instance", "instance_update", instance::update),
    route!(V3 PUT, "/v3/admin/ns/instance/partial", "instance_patch", instance::patch),
    route!(V3 GET, "/v3/admin/ns/instance", "instance", instance::find),
    route!(V3 GET, "/v3/admin/ns/instance/list", "instance_page", instance::page),
    route!(V3 PUT.or(DELETE), "/v3/admin/ns/instance/metadata/batch", "metadata_batch", instance::batch_metadata),
    route!(V3 POST, "/v3/admin/ns/service", "service_create", service::create),
    route!(V3 PUT, "/v3/admin/ns/service", "service_update", service::update),
    route!(V3 DELETE, "/v3/admin/ns/service", "service_delete", service::delete),
    route!(V3 GET, "/v3/admin/ns/service", "service", service::find),
    route!(V3 GET, "/v3/admin/ns/service/list", "service_page", service::page),
    route!(V3 GET, "/v3/admin/ns/service/subscribers", "subscribers", service::subscribers),
    route!(V3 GET, "/v3/admin/ns/service/selector/types", "selector_types", service::selector_types),
    route!(V3 PUT, "/v3/admin/ns/cluster", "cluster_update", service::cluster),
    route!(V3 PUT, "/v3/admin/ns/health/instance", "health_update", instance::health),
    route!(V3 GET, "/v3/admin/ns/health/checkers", "checkers", instance::checkers),
    route!(V3 GET, "/v3/admin/ns/ops/metrics", "operator_metrics", operator::metrics),
    route!(V3 GET, "/v3/admin/ns/ops/switches", "switches", operator::switches),
    route!(V3 PUT, "/v3/admin/ns/ops/switches", "switches_set", operator::set_switch),
    route!(V3 GET, "/v3/admin/ns/client/list", "client_list", clients::list),
    route!(V3 GET, "/v3/admin/ns/client", "client", clients::detail),
    route!(V3 GET, "/v3/admin/ns/client/publish/list", "client_publishes", clients::publishes),
    route!(V3 GET, "/v3/admin/ns/client/subscribe/list", "client_subscribes", clients::subscribes),
    route!(V3 GET, "/v3/admin/ns/client/service/publisher/list", "service_publishers", clients::publishers),
    route!(V3 GET, "/v3/admin/ns/client/service/subscriber/list", "service_subscribers", clients::subscribers),
];

/// Configuration of all versions.
static CONFIG: &[Route<App>] = &[
    route!(V1Config GET, "/v1/cs/configs", "config", config::find),
    route!(V1Config POST.or(PUT), "/v1/cs/configs", "config_publish", config::publish),
    route!(V1Config DELETE, "/v1/cs/configs", "config_delete", config::delete),
    route!(V1Config POST, "/v1/cs/configs/listener", "config_listen", config::listen),
    route!(V1Config GET, "/v1/cs/configs/listener", "config_listeners", config::listeners),
    route!(V1Config GET, "/v1/cs/history", "config_history", past::history),
    route!(V1Config GET, "/v1/cs/history/previous", "config_previous", past::previous),
    route!(V2 GET, "/v2/cs/config", "config", config::find),
    route!(V2 POST, "/v2/cs/config", "config_publish", config::publish),
    route!(V2 DELETE, "/v2/cs/config", "config_delete", config::delete),
    route!(V2 GET, "/v2/cs/history", "config_history", past::history),
    route!(V2 GET, "/v2/cs/history/list", "config_history", past::list),
    route!(V2 GET, "/v2/cs/history/previous", "config_previous", past::previous),
    route!(V3 GET, "/v3/client/cs/config", "config", config::find),
    route!(V3 GET, "/v3/admin/cs/config", "config", config::find),
    route!(V3 POST, "/v3/admin/cs/config", "config_publish", config::publish),
    route!(V3 DELETE, "/v3/admin/cs/config", "config_delete", config::delete),
    route!(V3 GET, "/v3/admin/cs/config/list", "config_search", config::search),
    route!(V3 GET, "/v3/admin/cs/config/beta", "config_beta", config::beta),
    route!(V3 DELETE, "/v3/admin/cs/config/beta", "config_beta_stop", config::stop_beta),
    route!(V3 GET, "/v3/admin/cs/config/listener", "config_listeners", config::listeners),
    route!(V3 GET, "/v3/admin/cs/listener", "config_listeners", config::listeners),
    route!(V3 GET, "/v3/admin/cs/history", "config_history", past::history),
    route!(V3 GET, "/v3/admin/cs/history/list", "config_history", past::list),
    route!(V3 GET, "/v3/admin/cs/history/previous", "config_previous", past::previous),
];

/// Namespaces, servers, health, login.
static SERVER: &[Route<App>] = &[
    route!(V1 GET, "/v1/console/namespaces", "namespaces", namespaces::find),
    route!(V1 POST, "/v1/console/namespaces", "namespace_create", namespaces::create),
    route!(V1 PUT, "/v1/console/namespaces", "namespace_update", namespaces::update),
    route!(V1 DELETE, "/v1/console/namespaces", "namespace_delete", namespaces::delete),
    route!(V2 GET, "/v2/console/namespace/list", "namespaces", namespaces::list),
    route!(V2 GET, "/v2/console/namespace", "namespace", namespaces::find),
    route!(V2 POST, "/v2/console/namespace", "namespace_create", namespaces::create),
    route!(V2 PUT, "/v2/console/namespace", "namespace_update", namespaces::update),
    route!(V2 DELETE, "/v2/console/namespace", "namespace_delete", namespaces::delete),
    route!(V3 GET, "/v3/admin/core/namespace/list", "namespaces", namespaces::list),
    route!(V3 GET, "/v3/admin/core/namespace/check", "namespace_check", namespaces::exists),
    route!(V3 GET, "/v3/admin/core/namespace/exist", "namespace_check", namespaces::exists),
    route!(V3 GET, "/v3/admin/core/namespace", "namespace", namespaces::find),
    route!(V3 POST, "/v3/admin/core/namespace", "namespace_create", namespaces::create),
    route!(V3 PUT, "/v3/admin/core/namespace", "namespace_update", namespaces::update),
    route!(V3 DELETE, "/v3/admin/core/namespace", "namespace_delete", namespaces::delete),
    route!(V1 GET, "/v1/core/cluster/nodes", "cluster_nodes", cluster::nodes),
    route!(V1 GET, "/v1/core/cluster/self", "cluster_self", cluster::own),
    route!(V1 GET, "/v1/ns/operator/cluster/state", "cluster_self", cluster::own),
    route!(V2 GET, "/v2/core/cluster/node/list", "cluster_nodes", cluster::nodes),
    route!(V2 GET, "/v2/core/cluster/node/self", "cluster_self", cluster::own),
    route!(V2 GET, "/v2/core/cluster/node/self/health", "cluster_health", cluster::health),
    route!(V3 GET, "/v3/admin/core/cluster/node/list", "cluster_nodes", cluster::nodes),
    route!(V3 GET, "/v3/admin/core/cluster/node/self", "cluster_self", cluster::own),
    route!(V3 GET, "/v3/admin/core/cluster/node/self/health", "cluster_health", cluster::health),
    route!(V3 GET, "/v3/admin/core/loader/current", "connections", clients::current),
    route!(V2 GET, "/v2/core/loader/current", "connections", clients::current),
    route!(V1 GET, "/v1/console/health/liveness", "liveness", cluster::lives),
    route!(V1 GET, "/v1/console/health/readiness", "readiness", cluster::lives),
    route!(V2 GET, "/v2/console/health/liveness", "liveness", cluster::lives),
    route!(V2 GET, "/v2/console/health/readiness", "readiness", cluster::lives),
    route!(V3 GET, "/v3/admin/core/state/liveness", "liveness", cluster::lives),
    route!(V3 GET, "/v3/admin/core/state/readiness", "readiness", cluster::lives),
    route!(V3 GET, "/v3/admin/core/state", "server_state", cluster::state),
    route!(V1 GET, "/v1/console/server/state", "server_state", cluster::state),
    route!(V1 GET, "/actuator/health", "actuator_health", cluster::actuator),
    route!(V1 GET, "/serverlist", "server_list", cluster::server_list),
    route!(V1 POST, "/v1/auth/login", "login", auth::login),
    route!(V1 POST, "/v1/auth/users/login", "login", auth::login),
    route!(V1 POST, "/v3/auth/user/login", "login", auth::login),
    route!(V1Config POST, "/v1/auth/users", "user_create", auth::create_user),
    route!(V1Config PUT, "/v1/auth/users", "user_update", auth::update_user),
    route!(V1Config DELETE, "/v1/auth/users", "user_delete", auth::delete_user),
    route!(V1Config GET, "/v1/auth/users", "user_list", auth::list_users),
    route!(V1Config GET, "/v1/auth/users/search", "user_search", auth::search_users),
    route!(V1Config POST, "/v1/auth/users/admin", "first_user", auth::first),
    route!(V3 POST, "/v3/auth/user", "user_create", auth::create_user),
    route!(V3 PUT, "/v3/auth/user", "user_update", auth::update_user),
    route!(V3 DELETE, "/v3/auth/user", "user_delete", auth::delete_user),
    route!(V3 GET, "/v3/auth/user/list", "user_list", auth::list_users),
    route!(V3 GET, "/v3/auth/user/search", "user_search", auth::search_users),
    route!(V3 POST, "/v3/auth/user/admin", "first_user", auth::first),
    route!(V1Config POST, "/v1/auth/roles", "role_add", auth::add_role),
    route!(V1Config DELETE, "/v1/auth/roles", "role_delete", auth::delete_role),
    route!(V1Config GET, "/v1/auth/roles", "role_list", auth::list_roles),
    route!(V1Config GET, "/v1/auth/roles/search", "role_search", auth::search_roles),
    route!(V3 POST, "/v3/auth/role", "role_add", auth::add_role),
    route!(V3 DELETE, "/v3/auth/role", "role_delete", auth::delete_role),
    route!(V3 GET, "/v3/auth/role/list", "role_list", auth::list_roles),
    route!(V3 GET, "/v3/auth/role/search", "role_search", auth::search_roles),
    route!(V1Config POST, "/v1/auth/permissions", "permission_add", auth::add_permission),
    route!(V1Config DELETE, "/v1/auth/permissions", "permission_delete", auth::delete_permission),
    route!(V1Config GET, "/v1/auth/permissions", "permission_list", auth::list_permissions),
    route!(V3 POST, "/v3/auth/permission", "permission_add", auth::add_permission),
    route!(V3 DELETE, "/v3/auth/permission", "permission_delete", auth::delete_permission),
    route!(V3 GET, "/v3/auth/permission/list", "permission_list", auth::list_permissions),
];

/// Every table.
pub(crate) static TABLES: &[&[Route<App>]] = &[NAMING_V1, NAMING_V2, NAMING_V3, CONFIG, SERVER];

/// Answers any request of the port. A path that there is not, and a method that a path has not, are no such API.
pub(crate) async fn dispatch(
    app: Arc<App>,
    router: Arc<Router<App>>,
    request: Request,
) -> Response {
    match router.dispatch(app.clone(), request).await {
        Ok(response) => response,
        Err((request, _)) => {
            let caller = Caller::of(&request);
            match caller.allow(Action::Read, Resource::Public) {
                Ok(()) => no_such_api(
                    request.method().as_str(),
                    request.uri().path(),
                    app.registry.now(),
                ),
                Err(denied) => Problem::from(denied).as_text(),
            }
        }
    }
}
