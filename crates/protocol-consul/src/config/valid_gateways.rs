//! What entries of gateways, certificates and providers of tokens may say.

use super::value::{is_host, items, text, texts};
use serde_json::Value;

pub(super) fn settle_ingress(entry: &mut Value) {
    let listeners = entry.get_mut("Listeners").and_then(Value::as_array_mut);
    for listener in listeners.into_iter().flatten() {
        listener["Protocol"] = match text(listener, "Protocol") {
            "" => "tcp".into(),
            protocol => protocol.to_lowercase().into(),
        };
    }
}

/// Whether requests of a protocol are told apart.
pub(crate) fn is_http_like(protocol: &str) -> bool {
    matches!(protocol, "http" | "http2" | "grpc")
}

pub(super) fn check_ingress(entry: &Value) -> Result<(), String> {
    let mut ports = Vec::new();
    for listener in items(entry, "Listeners") {
        let port = listener["Port"].as_i64().unwrap_or(0);
        if ports.contains(&port) {
            return Err(format!("port {port} declared on two listeners"));
        }
        ports.push(port);
        check_listener(listener, port, entry["TLS"]["Enabled"] == true)?;
    }
    Ok(())
}

fn check_listener(listener: &Value, port: i64, tls: bool) -> Result<(), String> {
    let protocol = text(listener, "Protocol");
    if protocol != "tcp" && !is_http_like(protocol) {
        return Err(format!(
            "protocol must be 'tcp', 'http', 'http2', or 'grpc'. '{protocol}' is an unsupported protocol"
        ));
    }
    let services = items(listener, "Services");
    if services.is_empty() {
        return Err(format!("No service declared for listener with port {port}"));
    }
    let here = |why: &str| Err(format!("{why} (listener on port {port})"));
    if protocol == "tcp" && services.len() > 1 {
        return here(
            "Multiple services per listener are only supported for L7 protocols, 'http', 'grpc' and 'http2'",
        );
    }
    let (mut names, mut declared) = (Vec::new(), Vec::new());
    for service in services {
        let name = text(service, "Name");
        let hosts: Vec<&str> = texts(service, "Hosts").collect();
        if protocol == "tcp" && name == "*" {
            return here("Wildcard service name is only valid for protocol = 'http'");
        }
        if protocol == "tcp" && !hosts.is_empty() {
            return here("Associating hosts to a service is not supported for the tcp protocol");
        }
        if name.is_empty() {
            return here("Service name cannot be blank");
        }
        if name == "*" && !hosts.is_empty() {
            return here("Associating hosts to a wildcard service is not supported");
        }
        if names.contains(&name) {
            return here(&format!("Service {name} cannot be added multiple times"));
        }
        names.push(name);
        for host in hosts {
            if declared.contains(&host) {
                return here("Hosts must be unique within a specific listener");
            }
            declared.push(host);
            check_host(host, tls)?;
        }
    }
    Ok(())
}

fn check_host(host: &str, tls: bool) -> Result<(), String> {
    if host == "*" {
        return match tls {
            true => Err("Host '*' is not allowed when TLS is enabled, all hosts must be valid DNS records to add as a DNSSAN".to_owned()),
            false => Ok(()),
        };
    }
    if !is_host(host) {
        return Err(format!("Host {host:?} must be a valid DNS hostname"));
    }
    if host.strip_prefix("*.").unwrap_or(host).contains('*') {
        return Err(format!(
            "Host {host:?} is not valid, a wildcard specifier is only allowed as the leftmost label"
        ));
    }
    Ok(())
}

pub(super) fn check_terminating(entry: &Value) -> Result<(), String> {
    let mut seen: Vec<&str> = Vec::new();
    for service in items(entry, "Services") {
        let name = text(service, "Name");
        if name.is_empty() {
            return Err("Service name cannot be blank.".to_owned());
        }
        if seen.contains(&name) {
            return Err(format!(
                "Service {name:?} was specified more than once within a namespace"
            ));
        }
        seen.push(name);
        let files = ["CAFile", "CertFile", "KeyFile"].map(|key| !text(service, key).is_empty());
        // A certificate goes with its key, and with whom the other side must be.
        if files[1] != files[2] || (files[1] && !files[0]) {
            return Err(format!(
                "Service {name:?} must have a CertFile, CAFile, and KeyFile specified for TLS origination"
            ));
        }
    }
    Ok(())
}

pub(super) fn check_api_gateway(entry: &Value) -> Result<(), String> {
    let mut names: Vec<&str> = Vec::new();
    for listener in items(entry, "Listeners") {
        let name = text(listener, "Name");
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !name.chars().all(plain) || name.len() > 63 {
            return Err(format!(
                "listener name {name:?} is invalid, must be at most 63 characters, consisting of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character"
            ));
        }
        if names.contains(&name) {
            return Err(format!("found multiple listeners with the name {name:?}"));
        }
        names.push(name);
        let port = listener["Port"].as_i64().unwrap_or(0);
        if !(1..=65535).contains(&port) {
            return Err(format!(
                "listener {name:?} port {port} is not in the range 1-65535"
            ));
        }
        let protocol = text(listener, "Protocol");
        if !matches!(protocol, "http" | "tcp") {
            return Err(format!(
                "unsupported listener protocol {protocol:?}, must be one of 'tcp', or 'http'"
            ));
        }
        let host = text(listener, "Hostname");
        if protocol == "tcp" && !host.is_empty() {
            return Err("hostname specification is not supported when using TCP".to_owned());
        }
        if !host.is_empty() {
            check_host(host, false)?;
        }
    }
    Ok(())
}

pub(super) fn check_inline_certificate(entry: &Value) -> Result<(), String> {
    let pem =
        |text: &str, what: &str| text.contains(&format!("-----BEGIN {what}")) && is_whole_pem(text);
    let key = text(entry, "PrivateKey");
    let has_key = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"]
        .iter()
        .any(|what| pem(key, what));
    if !has_key {
        return Err("failed to parse private key PEM".to_owned());
    }
    match pem(text(entry, "Certificate"), "CERTIFICATE") {
        true => Ok(()),
        false => Err("failed to parse certificate PEM".to_owned()),
    }
}

/// Whether a text in PEM ends as it begins.
fn is_whole_pem(text: &str) -> bool {
    let begun = text.matches("-----BEGIN ").count();
    begun > 0 && begun == text.matches("-----END ").count()
}

pub(super) fn check_jwt_provider(entry: &Value) -> Result<(), String> {
    let set = &entry["JSONWebKeySet"];
    let (local, remote) = (&set["Local"], &set["Remote"]);
    if set.is_null() || (local.is_null() == remote.is_null()) {
        return Err(match set.is_null() {
            true => "JSONWebKeySet is required".to_owned(),
            false => "must specify exactly one of Local or Remote JSON Web key set".to_owned(),
        });
    }
    if !local.is_null() && text(local, "JWKS").is_empty() == text(local, "Filename").is_empty() {
        return Err("must specify exactly one of String or filename for local keyset".to_owned());
    }
    if !remote.is_null() && text(remote, "URI").is_empty() {
        return Err("Remote JWKS URI is required".to_owned());
    }
    for (at, location) in items(entry, "Locations").iter().enumerate() {
        let given = ["Header", "QueryParam", "Cookie"]
            .iter()
            .filter(|key| !location[**key].is_null())
            .count();
        if given != 1 {
            return Err(format!(
                "must set exactly one of: JWT location header, query param or cookie (location {at})"
            ));
        }
    }
    Ok(())
}
