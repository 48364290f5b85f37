//! Access control: every route has a rule, lists are filtered, and tokens, policies and roles are kept.

use std::collections::BTreeMap;

use portolan_access::{AccessControl, OwnTokens, Settings, store};
use serde_json::{Value, json};

use super::harness::{Answer, World, pluck};

/// A server whose access control is on and that denies what no rule speaks of.
struct Guarded {
    world: World,
    root: String,
}

impl Guarded {
    async fn new() -> Self {
        let world = World::guarded(|registry| {
            AccessControl::new(
                registry.clone(),
                Settings {
                    default_allow: false,
                    datacenter: "dc1".into(),
                    node: "n1".into(),
                    tokens: OwnTokens::default(),
                },
            )
        })
        .await;
        let first = world.put("/v1/acl/bootstrap", "").await;
        assert_eq!(first.status, 200, "{}", first.text());
        let root = first.json()["SecretID"]
            .as_str()
            .expect("a secret")
            .to_owned();
        Self { world, root }
    }

    async fn send(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        let headers = [("X-Consul-Token", token)];
        let headers = match token {
            "" => &[][..],
            _ => &headers[..],
        };
        self.world
            .send(method, path, headers, body.as_bytes())
            .await
    }

    async fn as_root(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.send(&self.root, method, path, &body.to_string()).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
        match answer.body.is_empty() {
            true => Value::Null,
            false => answer.json(),
        }
    }

    /// The secret of a new token with one policy.
    async fn token(&self, name: &str, rules: &str) -> String {
        let policy = json!({"Name": name, "Rules": rules});
        self.as_root("PUT", "/v1/acl/policy", &policy).await;
        let token = json!({"Description": name, "Policies": [{"Name": name}]});
        let made = self.as_root("PUT", "/v1/acl/token", &token).await;
        made["SecretID"].as_str().expect("a secret").to_owned()
    }

    /// A service, its node, keys, a session, an event and a query to be seen or not.
    async fn furnish(&self) {
        for name in ["web", "db"] {
            let body = json!({"Name": name, "Address": "10.0.0.1", "Port": 80, "Check": {"CheckID": format!("ttl-{name}"), "TTL": "10m"}});
            self.as_root("PUT", "/v1/agent/service/register", &body)
                .await;
            self.as_root("PUT", &format!("/v1/kv/{name}/a"), &json!(1))
                .await;
            self.as_root("PUT", &format!("/v1/event/fire/{name}"), &json!({}))
                .await;
            let query = json!({"Name": name, "Token": self.root, "Service": {"Service": name}});
            self.as_root("POST", "/v1/query", &query).await;
        }
        let node = json!({"Node": "other", "Address": "10.0.0.2", "Service": {"Service": "web"}});
        self.as_root("PUT", "/v1/catalog/register", &node).await;
        self.as_root("PUT", "/v1/session/create", &json!({})).await;
    }
}

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
        ("GET", "/v1/agent/connect/ca/leaf/{*service}", Found),
        ("POST", "/v1/agent/connect/authorize", Found),
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
        ("GET", "/v1/acl/binding-rule/{*name}", Needs("acl:read")),
        ("PUT", "/v1/acl/binding-rule/{*name}", Needs("acl:write")),
        ("DELETE", "/v1/acl/binding-rule/{*name}", Needs("acl:write")),
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
        ("PUT", "/v1/config", Needs("operator:write")),
        ("GET", "/v1/config/{*rest}", Needs("mesh:read")),
        ("DELETE", "/v1/config/{*rest}", Needs("mesh:write")),
        ("GET", "/v1/connect/ca/configuration", Found),
        ("PUT", "/v1/connect/ca/configuration", Found),
        ("GET", "/v1/connect/intentions", Found),
        ("POST", "/v1/connect/intentions", Found),
        ("GET", "/v1/connect/intentions/{*rest}", Found),
        ("PUT", "/v1/connect/intentions/{*rest}", Found),
        ("DELETE", "/v1/connect/intentions/{*rest}", Found),
        ("GET", "/v1/discovery-chain/{*rest}", Found),
        ("POST", "/v1/discovery-chain/{*rest}", Found),
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
        .next()
        .and_then(|(key, _)| Some(key.as_text()?["query/".len()..].to_owned()))
        .expect("a query");
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
        _ => path,
    };
    (path, body)
}

#[tokio::test]
async fn every_route_has_a_rule_and_keeps_it() {
    let world = Guarded::new().await;
    world.furnish().await;
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

#[tokio::test]
async fn a_token_sees_and_does_what_its_policies_say() {
    let world = Guarded::new().await;
    world.furnish().await;
    let rules = r#"
        service "web" { policy = "write" }
        node "n1" { policy = "read" }
        key_prefix "web/" { policy = "write" }
        key "web/secret" { policy = "deny" }
        session "n1" { policy = "write" }
        event "web" { policy = "read" }
        query "web" { policy = "read" }
    "#;
    let web = world.token("web", rules).await;
    world.as_root("PUT", "/v1/kv/web/secret", &json!(2)).await;
    let get = async |path: &str| world.send(&web, "GET", path, "").await;

    let rows = get("/v1/health/service/web").await;
    assert_eq!(
        pluck(&rows.json(), "Node.Node"),
        ["n1"],
        "the other node is not for it"
    );
    assert_eq!(rows.headers["x-consul-results-filtered-by-acls"], "true");
    assert_eq!(get("/v1/health/service/db").await.json(), json!([]));
    let names = get("/v1/catalog/services").await.json();
    assert_eq!(
        names.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["web"]
    );
    assert_eq!(
        pluck(&get("/v1/catalog/nodes").await.json(), "Node"),
        ["n1"]
    );
    assert_eq!(get("/v1/kv/?keys").await.json(), json!(["web/a"]));
    assert_eq!(
        pluck(&get("/v1/kv/web?recurse").await.json(), "Key"),
        ["web/a"]
    );
    get("/v1/kv/db/a")
        .await
        .says(403, "lacks permission 'key:read' on \"db/a\"");
    assert_eq!(
        get("/v1/session/list")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(pluck(&get("/v1/event/list").await.json(), "Name"), ["web"]);
    let queries = get("/v1/query").await.json();
    assert_eq!(pluck(&queries, "Name"), ["web"]);
    assert_eq!(queries[0]["Token"], "<hidden>");
    // A query answers with what its own token sees.
    let found = get("/v1/query/db/execute").await.json();
    assert_eq!(
        pluck(&found["Nodes"], "Service.Service"),
        Vec::<String>::new(),
        "the check is critical"
    );
    world
        .as_root("PUT", "/v1/agent/check/pass/ttl-db", &json!({}))
        .await;
    assert_eq!(
        pluck(
            &get("/v1/query/db/execute").await.json()["Nodes"],
            "Service.Service"
        ),
        ["db"]
    );

    let put = async |path: &str, body: &str| world.send(&web, "PUT", path, body).await;
    put("/v1/agent/service/register", r#"{"Name":"web","ID":"w2"}"#)
        .await
        .is(200, "");
    put("/v1/agent/service/register", r#"{"Name":"web","ID":"db"}"#)
        .await
        .says(403, "lacks permission 'service:write' on \"db\"");
    put("/v1/agent/service/register", r#"{"Name":"db"}"#)
        .await
        .says(403, "Permission denied: token with AccessorID '");
    put("/v1/agent/check/pass/ttl-web", "").await.is(200, "");
    put("/v1/agent/check/pass/ttl-db", "")
        .await
        .says(403, "'service:write' on \"db\"");
    put("/v1/agent/service/deregister/db", "")
        .await
        .says(403, "'service:write' on \"db\"");
    put("/v1/kv/web/b", "1").await.is(200, "true");
    put("/v1/kv/web/secret", "1")
        .await
        .says(403, "'key:write' on \"web/secret\"");
    let delete = world.send(&web, "DELETE", "/v1/kv/web/?recurse", "").await;
    delete.says(403, "'key:write' on \"web/\"");
    put(
        "/v1/catalog/register",
        r#"{"Node":"n1","Address":"127.0.0.1","SkipNodeUpdate":true,"Service":{"Service":"web"}}"#,
    )
    .await
    .is(200, "true");
    put(
        "/v1/catalog/register",
        r#"{"Node":"n1","Address":"127.0.0.1","SkipNodeUpdate":true,"Service":{"Service":"db"}}"#,
    )
    .await
    .says(403, "'service:write' on \"db\"");
    put(
        "/v1/catalog/deregister",
        r#"{"Node":"n1","ServiceID":"db"}"#,
    )
    .await
    .says(403, "'service:write' on \"db\"");
    put(
        "/v1/catalog/deregister",
        r#"{"Node":"n1","ServiceID":"w2"}"#,
    )
    .await
    .is(200, "true");
    put("/v1/session/create", "").await.says(200, "ID");

    let txn = put(
        "/v1/txn",
        r#"[{"KV":{"Verb":"set","Key":"web/c","Value":"MQ=="}},{"KV":{"Verb":"set","Key":"db/c","Value":"MQ=="}}]"#,
    )
    .await;
    assert_eq!(txn.status, 409);
    assert_eq!(txn.json()["Errors"][0]["OpIndex"], 1);
    let what = txn.json()["Errors"][0]["What"].as_str().unwrap().to_owned();
    assert!(what.contains("'key:write' on \"db/c\""), "{what}");
    let reads = put(
        "/v1/txn",
        r#"[{"KV":{"Verb":"get","Key":"web/a"}},{"KV":{"Verb":"get","Key":"db/a"}},{"KV":{"Verb":"get-tree","Key":""}},
            {"Node":{"Verb":"get","Node":{"Node":"other"}}},{"Service":{"Verb":"get","Node":"n1","Service":{"ID":"db"}}}]"#,
    )
    .await
    .json();
    let keys: Vec<_> = reads["Results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["KV"]["Key"].clone())
        .collect();
    assert_eq!(keys, ["web/a", "web/a", "web/b"]);
}

#[tokio::test]
async fn a_token_is_shown_in_three_ways_and_is_worth_nothing_when_it_is_gone() {
    let world = Guarded::new().await;
    let secret = world
        .token("reader", r#"key_prefix "" { policy = "read" }"#)
        .await;
    world.as_root("PUT", "/v1/kv/a", &json!(1)).await;
    let bearer = format!("Bearer {secret}");
    let in_path = format!("/v1/kv/a?token={secret}");
    let ways: [(&str, &[(&str, &str)]); 3] = [
        ("/v1/kv/a", &[("X-Consul-Token", &secret)]),
        ("/v1/kv/a", &[("Authorization", &bearer)]),
        (
            &in_path,
            &[("X-Consul-Token", "6d0e3a55-0000-4000-8000-000000000000")],
        ),
    ];
    for (path, headers) in ways {
        let answer = world.world.send("GET", path, headers, b"").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let own = world
        .send(&secret, "GET", "/v1/acl/token/self", "")
        .await
        .json();
    assert_eq!(own["SecretID"], *secret);
    // Causes name the token by its accessor, never by its secret.
    let accessor = own["AccessorID"].as_str().unwrap().to_owned();
    let path = format!("/v1/acl/token/{accessor}");
    world.as_root("DELETE", &path, &json!({})).await;
    world
        .send(&secret, "GET", "/v1/kv/a", "")
        .await
        .is(403, "ACL not found");
    world
        .send(&world.root, "GET", &path, "")
        .await
        .says(403, "ACL not found");
    // Rules that change hold for the next request.
    let other = world
        .token("other", r#"key_prefix "" { policy = "read" }"#)
        .await;
    world
        .send(&other, "GET", "/v1/kv/a?raw", "")
        .await
        .is(200, "1");
    let policies = world.as_root("GET", "/v1/acl/policies", &json!({})).await;
    let policy = policies
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["Name"] == "other")
        .unwrap();
    let path = format!("/v1/acl/policy/{}", policy["ID"].as_str().unwrap());
    world
        .as_root("PUT", &path, &json!({"Name": "other", "Rules": ""}))
        .await;
    world
        .send(&other, "GET", "/v1/kv/a?raw", "")
        .await
        .says(403, "key:read");
}

#[tokio::test]
async fn a_first_token_is_made_once() {
    let world = Guarded::new().await;
    let again = world.send("", "PUT", "/v1/acl/bootstrap", "").await;
    again.says(
        403,
        "Permission denied: ACL bootstrap no longer allowed (reset index: ",
    );
    let tokens = world.as_root("GET", "/v1/acl/tokens", &json!({})).await;
    assert_eq!(tokens.as_array().unwrap().len(), 2);
    let policies = world.as_root("GET", "/v1/acl/policies", &json!({})).await;
    assert_eq!(
        pluck(&policies, "Name"),
        ["builtin/global-read-only", "global-management"]
    );
    let bootstrapped = world
        .world
        .registry
        .read(|state| store::bootstrapped(state).is_some());
    assert!(bootstrapped);
}

#[tokio::test]
async fn tokens_roles_and_policies_are_checked_in_consuls_words() {
    let world = Guarded::new().await;
    let first = world
        .as_root(
            "PUT",
            "/v1/acl/policy",
            &json!({"Name": "p", "Rules": "acl = \"read\"", "Datacenters": ["dc1"]}),
        )
        .await;
    let role = world
        .as_root("PUT", "/v1/acl/role", &json!({"Name": "r", "Policies": [{"Name": "p"}], "ServiceIdentities": [{"ServiceName": "web"}]}))
        .await;
    assert_eq!(role["Policies"][0]["ID"], first["ID"]);
    let body = json!({"Description": "d", "Roles": [{"Name": "r"}], "NodeIdentities": [{"NodeName": "n1", "Datacenter": "dc1"}],
        "TemplatedPolicies": [{"TemplateName": "builtin/service", "TemplateVariables": {"Name": "api"}}], "ExpirationTTL": "1h"});
    let token = world.as_root("PUT", "/v1/acl/token", &body).await;
    let accessor = token["AccessorID"].as_str().unwrap().to_owned();
    let read = world
        .as_root("GET", &format!("/v1/acl/token/{accessor}"), &json!({}))
        .await;
    assert_eq!(read, token);
    assert!(read["ExpirationTime"].is_string());
    let secret = token["SecretID"].as_str().unwrap().to_owned();
    // It reads access control, but sees no secret there.
    let list = world
        .send(&secret, "GET", "/v1/acl/tokens", "")
        .await
        .json();
    assert!(
        list.as_array()
            .unwrap()
            .iter()
            .all(|row| row["SecretID"] == "<hidden>")
    );
    let asked = json!([
        {"Resource": "service", "Segment": "web", "Access": "write"}, {"Resource": "service", "Segment": "api", "Access": "write"},
        {"Resource": "service", "Segment": "db", "Access": "write"}, {"Resource": "node", "Segment": "n1", "Access": "write"},
        {"Resource": "acl", "Access": "read"}, {"Resource": "acl", "Access": "write"},
    ]);
    let answers = world
        .send(
            &secret,
            "POST",
            "/v1/internal/acl/authorize",
            &asked.to_string(),
        )
        .await
        .json();
    let allowed: Vec<_> = answers
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["Allow"].clone())
        .collect();
    assert_eq!(allowed, [true, true, false, true, true, false]);
    let copy = world
        .as_root(
            "PUT",
            &format!("/v1/acl/token/{accessor}/clone"),
            &json!({"Description": "copy"}),
        )
        .await;
    assert_ne!(copy["SecretID"], token["SecretID"]);
    assert_eq!(copy["Roles"], token["Roles"]);

    let rows = [
        (
            "PUT",
            "/v1/acl/policy",
            json!({"Name": "p"}),
            500,
            "Invalid Policy: A Policy with Name \"p\" already exists",
        ),
        (
            "PUT",
            "/v1/acl/policy",
            json!({"Name": "P"}),
            500,
            "already exists",
        ),
        (
            "PUT",
            "/v1/acl/policy",
            json!({"Name": "a b"}),
            500,
            "Invalid Policy: invalid Name. Only alphanumeric",
        ),
        (
            "PUT",
            "/v1/acl/policy",
            json!({}),
            500,
            "Invalid Policy: no Name is set",
        ),
        (
            "PUT",
            "/v1/acl/policy",
            json!({"Name": "x", "Rules": "servce \"a\" {}"}),
            500,
            "there is no rule \"servce\"",
        ),
        (
            "PUT",
            "/v1/acl/policy/00000000-0000-0000-0000-000000000001",
            json!({"Name": "global-management", "Rules": ""}),
            500,
            "not permitted",
        ),
        (
            "DELETE",
            "/v1/acl/policy/00000000-0000-0000-0000-000000000001",
            json!({}),
            500,
            "Delete operation not permitted on the builtin global-management policy",
        ),
        (
            "PUT",
            "/v1/acl/role",
            json!({"Name": "r"}),
            500,
            "Invalid Role: A Role with Name \"r\" already exists",
        ),
        (
            "GET",
            "/v1/acl/tokens?servicename=web&authmethod=a",
            json!({}),
            500,
            "can only filter by one of",
        ),
        (
            "PUT",
            "/v1/acl/token",
            json!({"Policies": [{"Name": "none"}]}),
            500,
            "No such ACL policy with name \"none\"",
        ),
        (
            "PUT",
            "/v1/acl/token",
            json!({"SecretID": secret}),
            500,
            "Invalid Token: SecretID is already in use",
        ),
        (
            "PUT",
            "/v1/acl/token",
            json!({"AccessorID": accessor}),
            500,
            "Invalid Token: AccessorID is already in use",
        ),
        (
            "PUT",
            "/v1/acl/token",
            json!({"AccessorID": "x"}),
            500,
            "Invalid Token: AccessorID is not a valid UUID",
        ),
        (
            "PUT",
            "/v1/acl/token",
            json!({"ExpirationTTL": "5s"}),
            500,
            "ExpirationTime cannot be less than 1m0s in the future",
        ),
        (
            "PUT",
            "/v1/acl/token",
            json!({"ServiceIdentities": [{"ServiceName": "A b"}]}),
            500,
            "has an invalid name",
        ),
        (
            "DELETE",
            "/v1/acl/token/00000000-0000-0000-0000-000000000002",
            json!({}),
            500,
            "Delete operation not permitted on the anonymous token",
        ),
        ("GET", "/v1/acl/role/none", json!({}), 404, "ACL not found"),
        ("PUT", "/v1/acl/auth-method", json!({}), 501, "no login"),
    ];
    for (method, path, body, status, part) in rows {
        world
            .send(&world.root, method, path, &body.to_string())
            .await
            .says(status, part);
    }
    let changed =
        json!({"AccessorID": accessor, "SecretID": "6d0e3a55-0000-4000-8000-000000000000"});
    let path = format!("/v1/acl/token/{accessor}");
    world
        .send(&world.root, "PUT", &path, &changed.to_string())
        .await
        .says(500, "Changing a token's SecretID is not permitted");
    // The anonymous token may be given more.
    let anonymous = "/v1/acl/token/00000000-0000-0000-0000-000000000002";
    world
        .as_root("PUT", anonymous, &json!({"Policies": [{"Name": "p"}]}))
        .await;
    assert_eq!(
        world.send("", "GET", "/v1/acl/policies", "").await.status,
        200
    );
}
