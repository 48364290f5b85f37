//! Access control: every route has a rule, and keeps it.

use std::collections::BTreeMap;

use super::access::Guarded;

/// What somebody without a token meets at a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Everybody may know.
    Public,
    /// Rows are left out.
    Filtered,
    /// 403, with the permission that is missing.
    Needs(&'static str),
    /// What is asked for comes after what it is about was found, or was read: the particular tests ask.
    Found,
}

/// The rule of each route. A new route has to stand here.
const RULES: &[(&str, &str, Rule)] = {
    use Rule::{Filtered, Found, Needs, Public};
    &[
        ("GET", "/v1/agent/self", Needs("agent:read")),
        ("GET", "/v1/agent/version", Public),
        ("GET", "/v1/agent/host", Needs("operator:read")),
        ("GET", "/v1/agent/metrics", Needs("agent:read")),
        ("GET", "/v1/agent/members", Filtered),
        ("GET", "/v1/agent/monitor", Needs("agent:read")),
        ("GET", "/v1/agent/services", Filtered),
        ("GET", "/v1/agent/service/{*id}", Needs("service:read")),
        ("GET", "/v1/agent/checks", Filtered),
        (
            "GET",
            "/v1/agent/health/service/id/{*id}",
            Needs("service:read"),
        ),
        (
            "GET",
            "/v1/agent/health/service/name/{*name}",
            Needs("service:read"),
        ),
        ("PUT", "/v1/agent/service/register", Needs("service:write")),
        (
            "PUT",
            "/v1/agent/service/deregister/{*id}",
            Needs("service:write"),
        ),
        (
            "PUT",
            "/v1/agent/service/maintenance/{*id}",
            Needs("service:write"),
        ),
        ("PUT", "/v1/agent/maintenance", Needs("node:write")),
        ("PUT", "/v1/agent/check/register", Needs("node:write")),
        (
            "PUT",
            "/v1/agent/check/deregister/{*id}",
            Needs("service:write"),
        ),
        ("PUT", "/v1/agent/check/pass/{*id}", Needs("service:write")),
        ("PUT", "/v1/agent/check/warn/{*id}", Needs("service:write")),
        ("PUT", "/v1/agent/check/fail/{*id}", Needs("service:write")),
        (
            "PUT",
            "/v1/agent/check/update/{*id}",
            Needs("service:write"),
        ),
        ("PUT", "/v1/agent/join/{*address}", Needs("agent:write")),
        ("PUT", "/v1/agent/leave", Needs("agent:write")),
        (
            "PUT",
            "/v1/agent/force-leave/{*node}",
            Needs("operator:write"),
        ),
        ("PUT", "/v1/agent/reload", Needs("agent:write")),
        ("PUT", "/v1/agent/token/{*kind}", Needs("agent:write")),
        ("GET", "/v1/agent/connect/ca/roots", Public),
        (
            "GET",
            "/v1/agent/connect/ca/leaf/{*service}",
            Needs("service:write"),
        ),
        (
            "POST",
            "/v1/agent/connect/authorize",
            Needs("service:write"),
        ),
        ("PUT", "/v1/catalog/register", Needs("node:write")),
        ("PUT", "/v1/catalog/deregister", Needs("node:write")),
        ("GET", "/v1/catalog/datacenters", Public),
        ("GET", "/v1/catalog/nodes", Filtered),
        ("GET", "/v1/catalog/services", Filtered),
        ("GET", "/v1/catalog/service/{*service}", Filtered),
        ("GET", "/v1/catalog/connect/{*service}", Found),
        ("GET", "/v1/catalog/node/{*node}", Filtered),
        ("GET", "/v1/catalog/node-services/{*node}", Filtered),
        (
            "GET",
            "/v1/catalog/gateway-services/{*gateway}",
            Needs("service:read"),
        ),
        ("GET", "/v1/health/service/{*service}", Filtered),
        ("GET", "/v1/health/connect/{*service}", Found),
        ("GET", "/v1/health/ingress/{*service}", Found),
        ("GET", "/v1/health/checks/{*service}", Filtered),
        ("GET", "/v1/health/node/{*node}", Filtered),
        ("GET", "/v1/health/state/{*state}", Filtered),
        ("GET", "/v1/kv/{*key}", Needs("key:read")),
        ("PUT", "/v1/kv/{*key}", Needs("key:write")),
        ("DELETE", "/v1/kv/{*key}", Needs("key:write")),
        ("PUT", "/v1/session/create", Needs("session:write")),
        ("PUT", "/v1/session/destroy/{*id}", Needs("session:write")),
        ("PUT", "/v1/session/renew/{*id}", Needs("session:write")),
        ("GET", "/v1/session/info/{*id}", Filtered),
        ("GET", "/v1/session/node/{*node}", Filtered),
        ("GET", "/v1/session/list", Filtered),
        ("PUT", "/v1/txn", Found),
        ("PUT", "/v1/event/fire/{*name}", Needs("event:write")),
        ("GET", "/v1/event/list", Filtered),
        ("GET", "/v1/query", Filtered),
        ("POST", "/v1/query", Needs("query:write")),
        ("GET", "/v1/query/{id}", Needs("query:read")),
        ("PUT", "/v1/query/{id}", Needs("query:write")),
        ("DELETE", "/v1/query/{id}", Needs("query:write")),
        ("GET", "/v1/query/{id}/execute", Found),
        ("GET", "/v1/query/{id}/explain", Needs("query:read")),
        ("GET", "/v1/coordinate/datacenters", Public),
        ("GET", "/v1/coordinate/nodes", Filtered),
        ("GET", "/v1/coordinate/node/{*node}", Found),
        ("PUT", "/v1/coordinate/update", Needs("node:write")),
        ("GET", "/v1/status/leader", Public),
        ("GET", "/v1/status/peers", Public),
        (
            "GET",
            "/v1/operator/raft/configuration",
            Needs("operator:read"),
        ),
        ("DELETE", "/v1/operator/raft/peer", Needs("operator:write")),
        (
            "POST",
            "/v1/operator/raft/transfer-leader",
            Needs("operator:write"),
        ),
        (
            "GET",
            "/v1/operator/autopilot/configuration",
            Needs("operator:read"),
        ),
        (
            "PUT",
            "/v1/operator/autopilot/configuration",
            Needs("operator:write"),
        ),
        (
            "GET",
            "/v1/operator/autopilot/health",
            Needs("operator:read"),
        ),
        (
            "GET",
            "/v1/operator/autopilot/state",
            Needs("operator:read"),
        ),
        ("GET", "/v1/operator/usage", Needs("operator:read")),
        ("GET", "/v1/connect/ca/roots", Public),
        ("GET", "/v1/internal/ui/services", Filtered),
        ("GET", "/v1/internal/ui/nodes", Filtered),
        ("GET", "/v1/internal/ui/node/{*node}", Found),
        ("GET", "/v1/internal/ui/catalog-overview", Filtered),
        ("PUT", "/v1/acl/bootstrap", Found),
        ("GET", "/v1/acl/replication", Public),
        ("POST", "/v1/acl/login", Found),
        ("POST", "/v1/acl/logout", Found),
        ("GET", "/v1/acl/auth-methods", Needs("acl:read")),
        ("PUT", "/v1/acl/auth-method", Needs("acl:write")),
        ("GET", "/v1/acl/auth-method/{*name}", Needs("acl:read")),
        ("PUT", "/v1/acl/auth-method/{*name}", Needs("acl:write")),
        ("DELETE", "/v1/acl/auth-method/{*name}", Needs("acl:write")),
        ("GET", "/v1/acl/binding-rules", Needs("acl:read")),
        ("PUT", "/v1/acl/binding-rule", Needs("acl:write")),
        ("GET", "/v1/acl/binding-rule/{*id}", Needs("acl:read")),
        ("PUT", "/v1/acl/binding-rule/{*id}", Needs("acl:write")),
        ("DELETE", "/v1/acl/binding-rule/{*id}", Needs("acl:write")),
        ("GET", "/v1/acl/tokens", Needs("acl:read")),
        ("PUT", "/v1/acl/token", Needs("acl:write")),
        ("GET", "/v1/acl/token/self", Public),
        ("GET", "/v1/acl/token/{id}", Needs("acl:read")),
        ("PUT", "/v1/acl/token/{id}", Needs("acl:write")),
        ("DELETE", "/v1/acl/token/{id}", Needs("acl:write")),
        ("PUT", "/v1/acl/token/{id}/clone", Needs("acl:write")),
        ("GET", "/v1/acl/policies", Needs("acl:read")),
        ("PUT", "/v1/acl/policy", Needs("acl:write")),
        ("GET", "/v1/acl/policy/name/{*name}", Needs("acl:read")),
        ("GET", "/v1/acl/policy/{id}", Needs("acl:read")),
        ("PUT", "/v1/acl/policy/{id}", Needs("acl:write")),
        ("DELETE", "/v1/acl/policy/{id}", Needs("acl:write")),
        ("GET", "/v1/acl/roles", Needs("acl:read")),
        ("PUT", "/v1/acl/role", Needs("acl:write")),
        ("GET", "/v1/acl/role/name/{*name}", Needs("acl:read")),
        ("GET", "/v1/acl/role/{id}", Needs("acl:read")),
        ("PUT", "/v1/acl/role/{id}", Needs("acl:write")),
        ("DELETE", "/v1/acl/role/{id}", Needs("acl:write")),
        ("GET", "/v1/acl/templated-policies", Needs("acl:read")),
        (
            "GET",
            "/v1/acl/templated-policy/name/{*name}",
            Needs("acl:read"),
        ),
        (
            "POST",
            "/v1/acl/templated-policy/preview/{*name}",
            Needs("acl:read"),
        ),
        ("POST", "/v1/internal/acl/authorize", Found),
        ("PUT", "/v1/config", Needs("mesh:write")),
        ("GET", "/v1/config/{*rest}", Needs("mesh:read")),
        ("DELETE", "/v1/config/{*rest}", Needs("mesh:write")),
        (
            "GET",
            "/v1/connect/ca/configuration",
            Needs("operator:read"),
        ),
        (
            "PUT",
            "/v1/connect/ca/configuration",
            Needs("operator:write"),
        ),
        ("GET", "/v1/connect/intentions", Filtered),
        ("POST", "/v1/connect/intentions", Needs("intention:write")),
        (
            "GET",
            "/v1/connect/intentions/exact",
            Needs("intention:read"),
        ),
        (
            "PUT",
            "/v1/connect/intentions/exact",
            Needs("intention:write"),
        ),
        (
            "DELETE",
            "/v1/connect/intentions/exact",
            Needs("intention:write"),
        ),
        (
            "GET",
            "/v1/connect/intentions/match",
            Needs("intention:read"),
        ),
        ("GET", "/v1/connect/intentions/check", Needs("service:read")),
        (
            "GET",
            "/v1/connect/intentions/{id}",
            Needs("intention:read"),
        ),
        (
            "PUT",
            "/v1/connect/intentions/{id}",
            Needs("intention:write"),
        ),
        (
            "DELETE",
            "/v1/connect/intentions/{id}",
            Needs("intention:write"),
        ),
        (
            "GET",
            "/v1/discovery-chain/{*service}",
            Needs("service:read"),
        ),
        (
            "POST",
            "/v1/discovery-chain/{*service}",
            Needs("service:read"),
        ),
        ("GET", "/v1/operator/keyring", Needs("keyring:read")),
        ("POST", "/v1/operator/keyring", Needs("keyring:write")),
        ("PUT", "/v1/operator/keyring", Needs("keyring:write")),
        ("DELETE", "/v1/operator/keyring", Needs("keyring:write")),
        ("GET", "/v1/peerings", Needs("peering:read")),
        ("POST", "/v1/peering/token", Needs("peering:write")),
        ("POST", "/v1/peering/establish", Needs("peering:write")),
        ("GET", "/v1/peering/{*rest}", Needs("peering:read")),
        ("DELETE", "/v1/peering/{*rest}", Needs("peering:write")),
        ("GET", "/v1/snapshot", Needs("acl:write")),
        ("PUT", "/v1/snapshot", Needs("acl:write")),
    ]
};

/// A path of a route that leads to something that is there, and a body that can be read.
fn call(world: &Guarded, pattern: &str) -> (String, &'static str) {
    let state = world.world.registry.snapshot();
    let session = state.sessions().next().expect("a session").id.to_string();
    let query = state
        .range(
            portolan_catalog::Keyspace::ConsulObjects,
            &portolan_catalog::KeyRange::prefix(b"query/"),
        )
        .find(|(_, record)| record.bytes().windows(5).any(|text| text == b"plain"))
        .and_then(|(key, _)| Some(key.as_text()?["query/".len()..].to_owned()))
        .expect("a query");
    let intention = state
        .record(
            portolan_catalog::Keyspace::ConsulObjects,
            b"config/service-intentions/web",
        )
        .and_then(|record| serde_json::from_slice::<serde_json::Value>(&record.bytes()).ok())
        .and_then(|entry| Some(entry["Sources"][0]["LegacyID"].as_str()?.to_owned()))
        .expect("an intention");
    let (part, body) = match pattern {
        "/v1/agent/service/register" => ("", r#"{"Name":"web"}"#),
        "/v1/agent/check/register" => ("", r#"{"Name":"a","TTL":"1m"}"#),
        "/v1/agent/check/update/{*id}" => ("ttl-web", r#"{"Status":"passing"}"#),
        "/v1/catalog/register" => ("", r#"{"Node":"new","Address":"10.0.0.9"}"#),
        "/v1/catalog/deregister" => ("", r#"{"Node":"n1"}"#),
        "/v1/query" => ("", r#"{"Name":"q","Service":{"Service":"web"}}"#),
        "/v1/query/{id}" => (&*query, r#"{"Name":"web","Service":{"Service":"web"}}"#),
        "/v1/query/{id}/explain" | "/v1/query/{id}/execute" => (&*query, ""),
        "/v1/txn" | "/v1/internal/acl/authorize" => ("", "[]"),
        "/v1/config" => ("", r#"{"Kind":"mesh"}"#),
        "/v1/agent/connect/authorize" => ("", r#"{"Target":"web"}"#),
        "/v1/connect/intentions" => (
            "",
            r#"{"SourceName":"a","DestinationName":"web","Action":"allow"}"#,
        ),
        "/v1/connect/intentions/{id}" => (
            &*intention,
            r#"{"SourceName":"a","DestinationName":"web","Action":"allow"}"#,
        ),
        "/v1/config/{*rest}" => ("mesh/mesh", ""),
        "/v1/health/state/{*state}" => ("any", ""),
        _ if pattern.contains("/agent/check/") => ("ttl-web", ""),
        _ if pattern.contains("/session/") && pattern.contains("{*id}") => (&*session, ""),
        _ if pattern.contains("{*node}") => ("n1", ""),
        _ => ("web", ""),
    };
    let mut path = pattern.to_owned();
    if let (Some(from), Some(to)) = (pattern.find('{'), pattern.find('}')) {
        path.replace_range(from..=to, part);
    }
    let path = match pattern {
        "/v1/agent/service/maintenance/{*id}" | "/v1/agent/maintenance" => {
            format!("{path}?enable=true")
        }
        "/v1/connect/intentions/exact" | "/v1/connect/intentions/check" => {
            format!("{path}?source=a&destination=web")
        }
        "/v1/connect/intentions/match" => format!("{path}?by=destination&name=web"),
        _ => path,
    };
    (path, body)
}

#[tokio::test]
async fn every_route_has_a_rule_and_keeps_it() {
    let world = Guarded::new().await;
    world.furnish().await;
    // One that does not carry a token of its own.
    let plain = serde_json::json!({"Name": "plain", "Service": {"Service": "web"}});
    world.as_root("POST", "/v1/query", &plain).await;
    let intention =
        serde_json::json!({"SourceName": "x", "DestinationName": "web", "Action": "deny"});
    world
        .as_root("POST", "/v1/connect/intentions", &intention)
        .await;
    let mut rules: BTreeMap<(String, &str), Rule> = RULES
        .iter()
        .map(|(method, pattern, rule)| (((*method).to_owned(), *pattern), *rule))
        .collect();
    let before = world.world.revision();
    for (methods, pattern) in portolan_protocol_consul::routes() {
        for method in methods.iter() {
            let rule = rules
                .remove(&(method.as_str().to_owned(), pattern))
                .unwrap_or_else(|| panic!("{method} {pattern} has no rule in this table"));
            let (path, body) = call(&world, pattern);
            if pattern == "/v1/connect/ca/roots" || pattern == "/v1/agent/connect/ca/roots" {
                // The first question makes it.
                continue;
            }
            let answer = world.send("", method.as_str(), &path, body).await;
            let (status, text) = (answer.status, answer.text());
            let hidden = answer
                .headers
                .get("x-consul-results-filtered-by-acls")
                .is_some_and(|value| value == "true");
            let place = format!("{method} {path}: {status} {text}");
            match rule {
                Rule::Public => assert!(status == 200 && !hidden, "{place}"),
                Rule::Filtered => {
                    assert!(status == 200 && hidden, "{place}");
                    for secret in ["web", "10.0.0."] {
                        assert!(!text.contains(secret), "{place}");
                    }
                }
                Rule::Needs(permission) => {
                    let words = format!(
                        "Permission denied: anonymous token lacks permission '{permission}'"
                    );
                    assert!(status == 403 && text.starts_with(&words), "{place}");
                    assert!(text.ends_with("The anonymous token is used implicitly when a request does not specify a token."), "{place}");
                }
                Rule::Found => assert!(!text.contains("10.0.0."), "{place}"),
            }
            assert_eq!(
                answer.headers["x-consul-default-acl-policy"], "deny",
                "{place}"
            );
            // A token that is nobody's gets nothing but what everybody may know.
            let unknown = world
                .send(
                    "6d0e3a55-0000-4000-8000-000000000000",
                    method.as_str(),
                    &path,
                    body,
                )
                .await;
            if rule != Rule::Public && rule != Rule::Found {
                unknown.is(403, "ACL not found");
            }
        }
    }
    assert!(rules.is_empty(), "not routes: {:?}", rules.keys());
    assert_eq!(world.world.revision(), before, "nobody changed anything");
}
