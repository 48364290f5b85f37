//! The kinds of config entries, and which of them are taken.

use super::gateways::{
    API_GATEWAY, CERTIFICATE, HTTP_ROUTE, INGRESS, JWT_PROVIDER, MESH, TCP_ROUTE, TERMINATING,
};
use super::schema::Field;
use super::services::{INTENTIONS, PROXY_DEFAULTS, RESOLVER, ROUTER, SERVICE_DEFAULTS, SPLITTER};

/// A kind of entry.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(super) fields: &'static [Field],
    /// Why none is taken.
    pub(crate) refused: Option<&'static str>,
}

const NO_PEERING: &str = "this server exports no services to other clusters";
const ENTERPRISE: &str = "it is a Consul Enterprise feature";
const NO_LIMITS: &str = "this server has its own limits, which its flags set";
const INTERNAL: &str = "it is kept by Consul itself";

/// Every kind that Consul knows.
pub(crate) static KINDS: [Kind; 20] = [
    kind("api-gateway", API_GATEWAY),
    refused("bound-api-gateway", INTERNAL),
    refused("control-plane-request-limit", NO_LIMITS),
    refused("exported-services", NO_PEERING),
    kind("file-system-certificate", CERTIFICATE),
    kind("http-route", HTTP_ROUTE),
    kind("ingress-gateway", INGRESS),
    kind("inline-certificate", CERTIFICATE),
    kind("jwt-provider", JWT_PROVIDER),
    kind("mesh", MESH),
    kind("proxy-defaults", PROXY_DEFAULTS),
    refused("rate-limit", NO_LIMITS),
    refused("sameness-group", ENTERPRISE),
    kind("service-defaults", SERVICE_DEFAULTS),
    kind("service-intentions", INTENTIONS),
    kind("service-resolver", RESOLVER),
    kind("service-router", ROUTER),
    kind("service-splitter", SPLITTER),
    kind("tcp-route", TCP_ROUTE),
    kind("terminating-gateway", TERMINATING),
];

const fn kind(name: &'static str, fields: &'static [Field]) -> Kind {
    Kind {
        name,
        fields,
        refused: None,
    }
}

const fn refused(name: &'static str, why: &'static str) -> Kind {
    Kind {
        name,
        fields: &[],
        refused: Some(why),
    }
}

/// The kind of that name.
pub(crate) fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}
