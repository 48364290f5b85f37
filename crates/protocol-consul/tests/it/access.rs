//! Access control: lists are filtered, and tokens, policies and roles are kept.

use portolan_access::{AccessControl, OwnTokens, Settings, store};
use serde_json::{Value, json};

use super::harness::{Answer, World, pluck};

/// A server whose access control is on and that denies what no rule speaks of.
pub(super) struct Guarded {
    pub(super) world: World,
    root: String,
}

impl Guarded {
    pub(super) async fn new() -> Self {
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

    /// The secret of the first token.
    pub(super) fn root(&self) -> &str {
        &self.root
    }

    pub(super) async fn send(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        let headers = [("X-Consul-Token", token)];
        let headers = match token {
            "" => &[][..],
            _ => &headers[..],
        };
        self.world
            .send(method, path, headers, body.as_bytes())
            .await
    }

    pub(super) async fn as_root(&self, method: &str, path: &str, body: &Value) -> Value {
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
    pub(super) async fn furnish(&self) {
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
        (
            "PUT",
            "/v1/acl/auth-method",
            json!({}),
            500,
            "Invalid Auth Method: no Name is set",
        ),
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
