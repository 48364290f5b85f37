//! Whether whoever shows a certificate may call a service.

use super::rows::{self, Pair};
use crate::connect;
use crate::error::Failure;
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::sight;
use crate::wire::Fields;
use percent_encoding::percent_decode_str;
use portolan_listener::Action;
use serde_json::json;
use std::sync::Arc;

/// Who a certificate says somebody is.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    trust_domain: String,
    service: String,
}

/// Reads `spiffe://DOMAIN[/ap/P]/ns/N/dc/D/svc/S`.
fn identity(uri: &str) -> Result<Identity, &'static str> {
    let rest = uri.strip_prefix("spiffe://").ok_or(
        "ClientCertURI not a valid Connect identifier: SPIFFE ID must have 'spiffe' scheme",
    )?;
    let (domain, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut parts = path.split('/').peekable();
    if parts.peek() == Some(&"ap") {
        parts.nth(1);
    }
    let parts: Vec<&str> = parts.collect();
    let ["ns", namespace, "dc", datacenter, "svc", service] = parts[..] else {
        return Err("ClientCertURI not a valid Service identifier");
    };
    let whole = [namespace, datacenter, service]
        .iter()
        .all(|part| !part.is_empty());
    let service = percent_decode_str(service).decode_utf8();
    match (whole, service) {
        (true, Ok(service)) => Ok(Identity {
            trust_domain: domain.to_owned(),
            service: service.into_owned(),
        }),
        _ => Err("ClientCertURI not a valid Service identifier"),
    }
}

/// POST /v1/agent/connect/authorize
pub(crate) async fn authorize(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    if !server.info.connect.enabled {
        request.listed()?;
        return Err(Failure::server(
            "Connect must be enabled in order to use this endpoint",
        ));
    }
    let body = request.json_object().await?;
    let fields = Fields::of(&body, "authorization")?;
    let target = fields.text("target")?;
    if target.is_empty() {
        request.listed()?;
        return Err(Failure::bad("Target service must be specified"));
    }
    request.allow(Action::Write, sight::service(&target))?;
    let caller = identity(&fields.text("clientcerturi")?).map_err(Failure::bad)?;
    let domain = connect::trust_domain(&server, &request).await?;
    let answer = |authorized: bool, reason: String| {
        Reply::json(&json!({"Authorized": authorized, "Reason": reason}))
    };
    if !caller.trust_domain.eq_ignore_ascii_case(&domain) {
        return answer(
            false,
            format!(
                "Identity from an external trust domain: {}",
                caller.trust_domain
            ),
        );
    }
    let pair = Pair {
        source: caller.service,
        destination: target,
    };
    let state = server
        .state_for(request.read_options()?.consistency)
        .await?;
    match rows::decision(&state, &pair) {
        Some(row) => answer(row.allows(), format!("Matched intention: {}", row.line())),
        None => answer(
            super::by_default(&server),
            "Default behavior configured by ACLs".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_those_of_services() {
        let id = |domain: &str, service: &str| Identity {
            trust_domain: domain.into(),
            service: service.into(),
        };
        for (uri, expected) in [
            (
                "spiffe://a.consul/ns/default/dc/dc1/svc/web",
                Some(id("a.consul", "web")),
            ),
            (
                "spiffe://a.consul/ap/default/ns/default/dc/dc1/svc/we%20b",
                Some(id("a.consul", "we b")),
            ),
            ("http://a.consul/ns/default/dc/dc1/svc/web", None),
            ("spiffe://a.consul/agent/client/dc/dc1/id/x", None),
            ("spiffe://a.consul/ns/default/dc/dc1/svc/", None),
            ("spiffe://", None),
            ("", None),
        ] {
            assert_eq!(identity(uri).ok(), expected, "{uri}");
        }
    }
}
