//! What cannot be written to the catalog.

use super::catalog::register;
use super::harness::World;
use serde_json::{Value, json};

#[tokio::test]
async fn what_the_catalog_refuses() {
    let world = World::new().await;
    for (path, body, text) in [
        (
            "register",
            json!({"Node": "x"}),
            "Must provide address if SkipNodeUpdate is not set",
        ),
        ("register", json!({"Address": "x"}), "Must provide node"),
        (
            "register",
            json!({"Node": "x", "Address": "y", "ID": "x"}),
            "Bad node ID: uuid string is wrong length",
        ),
        (
            "register",
            json!({"Node": "x", "Address": "y", "ID": "11111111-1111-1111-1111-11111111111g"}),
            "Bad node ID: uuid is improperly formatted",
        ),
        (
            "register",
            json!({"Node": "x", "Address": "y", "Check": {"Node": "z", "Name": "c"}}),
            "Node 'z' for check 'c' doesn't match register request node 'x'",
        ),
        (
            "register",
            json!({"Node": "x", "Address": "y", "Service": {"ID": "z"}}),
            "Must provide service name",
        ),
        (
            "register",
            json!({"Node": "a/b", "Address": "y"}),
            "Invalid node name",
        ),
        (
            "register",
            json!({"Node": "10-0-0-1.virtual", "Address": "y"}),
            "reserved",
        ),
        (
            "register",
            json!({"Node": "x", "Address": "y", "Check": {"Name": "c", "ServiceID": "none"}}),
            "Missing service registration",
        ),
        ("deregister", json!({}), "Must provide node"),
        (
            "deregister",
            json!({"Node": "n1"}),
            "is a server of this cluster",
        ),
    ] {
        let answer = world.put_json(&format!("/v1/catalog/{path}"), &body).await;
        assert!(
            answer.status >= 400 && answer.text().contains(text),
            "{body}: {} {}",
            answer.status,
            answer.text()
        );
    }
    register(
        &world,
        json!({"ID": "11111111-1111-1111-1111-111111111111", "Node": "x", "Address": "1.1.1.1"}),
    )
    .await;
    let taken =
        json!({"ID": "22222222-1111-1111-1111-111111111111", "Node": "x", "Address": "1.1.1.2"});
    world.put_json("/v1/catalog/register", &taken).await.says(
        500,
        "is reserved by node 11111111-1111-1111-1111-111111111111",
    );
    // The id under another name renames the node: never two. A node that is alive keeps its own.
    let id = "11111111-1111-1111-1111-111111111111";
    let renamed = json!({"ID": id, "Node": "y", "Address": "1.1.1.3", "Service": {"Service": "web", "Port": 1}});
    register(&world, renamed).await;
    let nodes = world.get("/v1/catalog/nodes").await.json();
    let named = |id: &str| -> Vec<String> {
        let nodes = nodes.as_array().unwrap().iter();
        nodes
            .filter(|node| node["ID"] == id)
            .map(|node| node["Node"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(named(id), ["y"]);
    assert_eq!(world.get("/v1/catalog/node/x").await.json(), Value::Null);
    let alive = json!({"Node": "y", "Address": "1.1.1.3", "Check": {"CheckID": "serfHealth", "Name": "s", "Status": "passing"}});
    register(&world, alive).await;
    let other = json!({"ID": id, "Node": "z", "Address": "1.1.1.4"});
    world
        .put_json("/v1/catalog/register", &other)
        .await
        .says(500, "Node name z is reserved by node 11111111-1111-1111-1111-111111111111 with name y (1.1.1.3)");
    let dead = json!({"Node": "y", "Address": "1.1.1.3", "Check": {"CheckID": "serfHealth", "Name": "s", "Status": "critical"}});
    register(&world, dead).await;
    register(&world, other).await;
    assert_eq!(world.get("/v1/catalog/node/y").await.json(), Value::Null);
    for path in [
        "/v1/health/service/",
        "/v1/catalog/service/",
        "/v1/health/checks/",
    ] {
        world.get(path).await.is(400, "Missing service name");
    }
    world
        .get("/v1/health/node/")
        .await
        .is(400, "Missing node name");
    world
        .get("/v1/health/state/")
        .await
        .is(400, "Missing check state");
    world
        .get("/v1/health/service/x?passing=maybe")
        .await
        .is(400, "Invalid value for ?passing");
}

#[tokio::test]
async fn what_makes_a_server_a_server_stays() {
    let world = World::new().await;
    // Nobody joins the servers' service, under any spelling.
    for name in ["consul", "CONSUL"] {
        let body = json!({"Name": name, "ID": "mine", "Port": 1, "Address": "10.9.9.9"});
        world
            .put_json("/v1/agent/service/register", &body)
            .await
            .says(500, "belongs to the servers of this cluster");
    }
    let before = world.revision();
    let own = json!({"Node": "n1", "Address": "127.0.0.1"});
    let with = |key: &str, value: Value| {
        let mut body = own.clone();
        body[key] = value;
        body
    };
    let serf = json!({"CheckID": "serfHealth", "Name": "x", "Status": "critical"});
    for (path, body) in [
        ("catalog/deregister", with("ServiceID", json!("consul"))),
        ("catalog/deregister", with("CheckID", json!("serfHealth"))),
        (
            "catalog/register",
            with("Service", json!({"Service": "consul"})),
        ),
        ("catalog/register", with("Check", serf.clone())),
        (
            "agent/service/register",
            json!({"Name": "consul", "Port": 1}),
        ),
        (
            "agent/check/register",
            json!({"CheckID": "serfHealth", "Name": "x", "TTL": "1s"}),
        ),
        (
            "txn",
            json!([{"Service": {"Verb": "delete", "Node": "n1", "Service": {"ID": "consul"}}}]),
        ),
        (
            "txn",
            json!([{"Check": {"Verb": "delete", "Check": {"Node": "n1", "CheckID": "serfHealth"}}}]),
        ),
        (
            "txn",
            json!([{"Check": {"Verb": "set", "Check": {"Node": "n1", "CheckID": "serfHealth", "Name": "x"}}}]),
        ),
        (
            "txn",
            json!([{"Node": {"Verb": "set", "Node": {"Node": "n1", "Address": "10.0.0.1"}}}]),
        ),
    ] {
        let answer = world.put_json(&format!("/v1/{path}"), &body).await;
        assert!(answer.status >= 400, "{path} {body}: {}", answer.text());
    }
    assert_eq!(world.revision(), before);
    world
        .put_json(
            "/v1/catalog/deregister",
            &with("ServiceID", json!("consul")),
        )
        .await
        .is(
            500,
            "service \"consul\" on node \"n1\" is the server's own and stays as it is",
        );
    world
        .get("/v1/status/peers")
        .await
        .is(200, "[\"127.0.0.1:8300\"]");
    // Of a node that is no server these ids are ids like others; the service's name is not.
    let joins = json!({"Node": "ext", "Address": "10.0.0.1", "Service": {"Service": "consul"}});
    world
        .put_json("/v1/catalog/register", &joins)
        .await
        .says(500, "belongs to the servers of this cluster");
    register(&world, json!({"Node": "ext", "Address": "10.0.0.1", "Service": {"Service": "mine", "ID": "consul"}, "Check": serf})).await;
    for key in ["ServiceID", "CheckID"] {
        let id = if key == "ServiceID" {
            "consul"
        } else {
            "serfHealth"
        };
        world
            .put_json("/v1/catalog/deregister", &json!({"Node": "ext", key: id}))
            .await
            .is(200, "true");
    }
}
