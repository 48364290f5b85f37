//! Routes of the gateway: which requests are for which service.

use serde::{Deserialize, Serialize};

/// Where routes are kept: the beginning of their keys in the keyspace of settings, before the name.
pub const ROUTES: &str = "gateway/route/";

/// A route. `PUT /v1/routes/{name}` takes it, `GET /v1/routes` lists them; a request is for the service when all that is given matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Route {
    /// `example.com`, or `*.example.com` for every name below it. Empty: any host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// `/api` for that path and what is below it, `/api$` for that path alone. Empty: any path.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The methods, in capitals. Empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Fields that the head has to have, with their values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The service.
    pub service: String,
    /// Its namespace. Default `default`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its group. Default `default`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Whether the service gets the path without that of the route. Default false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub strip: bool,
}

/// A route and its name, a row of `GET /v1/routes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedRoute {
    /// Its name.
    pub name: String,
    /// Revision of its last change.
    pub modified: u64,
    /// What it says; none when it cannot be read, and so is not served.
    pub route: Option<Route>,
}

/// `GET /v1/routes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteList {
    /// The revision that was read.
    pub revision: u64,
    /// The routes, by name.
    pub routes: Vec<NamedRoute>,
}
