//! What Consul does not take in a service: metadata out of bounds, and facts that contradict one another.

use crate::wire::ServiceBody;
use serde_json::Value;
use std::collections::BTreeMap;

/// Pairs of metadata an agent takes.
const META_PAIRS: usize = 64;
/// Bytes of a metadata key.
const META_KEY: usize = 128;
/// Bytes of a metadata value.
const META_VALUE: usize = 512;

/// What contradicts itself in a service, in the list that Consul makes of it.
pub(super) fn contradictions(body: &ServiceBody) -> Option<String> {
    let mut found = Vec::new();
    let kind = body.kind.as_str();
    let placeless = body.port == 0 && body.ports.is_empty() && body.socket_path.is_empty();
    let destination = proxy_text(body, "destinationservicename").trim();
    if kind == "connect-proxy" {
        if placeless {
            found.push(format!("Port or SocketPath must be set for a {kind}"));
        }
        if destination.is_empty() {
            found.push(
                "Proxy.DestinationServiceName must be non-empty for Connect proxy services".into(),
            );
        }
        if destination == "*" {
            found.push(
                "Proxy.DestinationServiceName must not be a wildcard for Connect proxy services"
                    .into(),
            );
        }
        if is_native(body) {
            found.push("A Proxy cannot also be Connect Native, only typical services".into());
        }
    }
    if kind.ends_with("-gateway") {
        let listens = matches!(kind, "mesh-gateway" | "terminating-gateway");
        if listens && body.port == 0 && body.ports.is_empty() {
            found.push(format!("Port must be non-zero for a {kind}"));
        }
        if field(&body.connect, "sidecarservice").is_some_and(|value| !value.is_null()) {
            found.push(format!("A {kind} cannot have a sidecar service defined"));
        }
        for (key, name) in [
            ("destinationservicename", "DestinationServiceName"),
            ("destinationserviceid", "DestinationServiceID"),
            ("localserviceaddress", "LocalServiceAddress"),
            ("localservicesocketpath", "LocalServiceSocketPath"),
        ] {
            if !proxy_text(body, key).is_empty() {
                found.push(format!(
                    "The Proxy.{name} configuration is invalid for a {kind}"
                ));
            }
        }
    }
    if is_native(body) && placeless {
        found.push("Port or SocketPath must be set for a Connect native service.".into());
    }
    let errors = match found.len() {
        0 => return None,
        1 => "1 error".to_owned(),
        count => format!("{count} errors"),
    };
    let lines: String = found.iter().map(|why| format!("\t* {why}\n")).collect();
    Some(format!("{errors} occurred:\n{lines}\n"))
}

/// What is wrong with metadata, in Consul's words.
pub(crate) fn invalid_meta(meta: &BTreeMap<String, String>) -> Option<String> {
    if meta.len() > META_PAIRS {
        return Some(format!(
            "Node metadata cannot contain more than {META_PAIRS} key/value pairs"
        ));
    }
    for (key, value) in meta {
        let why = if key.is_empty() {
            "Key cannot be blank".to_owned()
        } else if !key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        {
            "Key contains invalid characters".to_owned()
        } else if key.len() > META_KEY {
            format!("Key is too long (limit: {META_KEY} characters)")
        } else if key.starts_with("consul-")
            && !matches!(
                key.as_str(),
                "consul-wan-federation" | "consul-network-segment"
            )
        {
            "Key prefix 'consul-' is reserved for internal use".to_owned()
        } else if value.len() > META_VALUE {
            format!("Value is too long (limit: {META_VALUE} characters)")
        } else {
            continue;
        };
        return Some(format!(
            "Couldn't load metadata pair ('{key}', '{value}'): {why}"
        ));
    }
    None
}

/// A field of `Proxy` or `Connect`, in whatever case its key is.
fn field<'a>(value: &'a Option<Value>, wanted: &str) -> Option<&'a Value> {
    let (_, value) = value
        .as_ref()?
        .as_object()?
        .iter()
        .find(|(key, _)| key.replace('_', "").eq_ignore_ascii_case(wanted))?;
    Some(value)
}

/// A text of `Proxy`, empty when it is not there.
pub(crate) fn proxy_text<'a>(body: &'a ServiceBody, wanted: &str) -> &'a str {
    field(&body.proxy, wanted)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub(super) fn is_native(body: &ServiceBody) -> bool {
    field(&body.connect, "native") == Some(&Value::Bool(true))
}
