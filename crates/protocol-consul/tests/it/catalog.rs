//! Nodes, services and checks written to the catalog, and the lists.

use super::harness::{World, pluck};
use serde_json::{Value, json};

pub(super) async fn register(world: &World, body: Value) {
    world
        .put_json("/v1/catalog/register", &body)
        .await
        .is(200, "true");
}

#[tokio::test]
async fn external_nodes_show_what_was_registered_and_nothing_else() {
    let world = World::new().await;
    let body = json!({"Datacenter": "dc1", "Node": "Foo", "Address": "192.168.10.10", "TaggedAddresses": {"lan": "1.1.1.1"},
        "NodeMeta": {"os": "linux"}, "Locality": {"Region": "r", "Zone": "z"},
        "Service": {"ID": "redis1", "Service": "redis", "Tags": ["master", "v1"], "Port": 8000, "Weights": {"Passing": 0, "Warning": 0}},
        "Check": {"Node": "Foo", "CheckID": "service:redis1", "Name": "Redis", "Status": "passing", "ServiceID": "redis1"}});
    register(&world, body.clone()).await;
    let revision = world.revision();
    register(&world, body).await;
    assert_eq!(world.revision(), revision, "equal facts are no change");
    let node = world.get("/v1/catalog/node/foo").await.json();
    assert_eq!(
        (
            &node["Node"]["ID"],
            &node["Node"]["Node"],
            &node["Node"]["Meta"]
        ),
        (&json!(""), &json!("Foo"), &json!({"os": "linux"}))
    );
    assert_eq!(
        (
            &node["Node"]["TaggedAddresses"],
            &node["Node"]["Locality"]["Zone"]
        ),
        (&json!({"lan": "1.1.1.1"}), &json!("z"))
    );
    assert_eq!(node["Services"]["redis1"]["Port"], 8000);
    let rows = world.get("/v1/catalog/service/redis").await.json();
    assert_eq!(
        (
            &rows[0]["ServiceAddress"],
            &rows[0]["Address"],
            &rows[0]["NodeMeta"]
        ),
        (&json!(""), &json!("192.168.10.10"), &json!({"os": "linux"}))
    );
    assert!(rows[0].get("ServiceTaggedAddresses").is_none());
    let health = world.get("/v1/health/service/redis?passing").await.json();
    assert_eq!(pluck(&health[0]["Checks"], "CheckID"), ["service:redis1"]);
    assert_eq!(health[0]["Checks"][0]["ServiceName"], "redis");
    assert_eq!(world.get("/v1/agent/services").await.json(), json!({}));
    let list = world.get("/v1/catalog/node-services/foo").await.json();
    assert_eq!(list["Services"][0]["ID"], "redis1");
    assert_eq!(world.get("/v1/catalog/node/none").await.json(), Value::Null);
    assert_eq!(
        world.get("/v1/catalog/node-services/none").await.json(),
        json!({"Node": null, "Services": []})
    );
    // A moved node moves the services that took its address.
    register(&world, json!({"Node": "Foo", "Address": "192.168.10.11"})).await;
    assert_eq!(
        world.get("/v1/health/service/redis").await.json()[0]["Node"]["Address"],
        "192.168.10.11"
    );
    // A node may be written after what is on it.
    register(
        &world,
        json!({"Node": "later", "SkipNodeUpdate": true, "Service": {"Service": "early", "Port": 1},
            "Check": {"CheckID": "c", "Status": "passing"}}),
    )
    .await;
    let early = &world.get("/v1/health/service/early").await.json()[0];
    assert_eq!(
        (&early["Node"]["Address"], &early["Checks"][0]["Name"]),
        (&json!(""), &json!(""))
    );
    register(&world, json!({"Node": "later", "Address": "10.0.0.9"})).await;
    assert_eq!(
        world.get("/v1/catalog/service/early").await.json()[0]["Address"],
        "10.0.0.9"
    );
    // Skipping the node's update keeps it as it is.
    register(
        &world,
        json!({"Node": "Foo", "SkipNodeUpdate": true, "Service": {"Service": "db"}}),
    )
    .await;
    assert_eq!(
        world.get("/v1/catalog/service/db").await.json()[0]["Address"],
        "192.168.10.11"
    );
}

#[tokio::test]
async fn catalog_definitions_are_echoed() {
    let world = World::new().await;
    register(&world, json!({"Node": "foo", "Address": "1.1.1.1", "Checks": [
        {"Name": "tcp", "Status": "critical", "Definition": {"TCP": "1.1.1.1:80", "Interval": "5s", "Timeout": 10_000_000_000_i64, "DeregisterCriticalServiceAfter": "20m"}},
        {"CheckID": "typed", "Name": "x", "Type": "external", "Notes": "n", "Output": "o"}]})).await;
    let checks = world.get("/v1/health/node/foo").await.json();
    assert_eq!(pluck(&checks, "CheckID"), ["tcp", "typed"]);
    assert_eq!(
        (&checks[0]["Type"], &checks[0]["Interval"]),
        (&json!("tcp"), &json!(""))
    );
    assert_eq!(
        checks[0]["Definition"],
        json!({"TCP": "1.1.1.1:80", "Interval": "5s", "Timeout": "10s", "DeregisterCriticalServiceAfter": "20m0s"})
    );
    assert_eq!(
        (
            &checks[1]["Type"],
            &checks[1]["Notes"],
            &checks[1]["Output"],
            &checks[1]["Status"]
        ),
        (
            &json!("external"),
            &json!("n"),
            &json!("o"),
            &json!("critical")
        )
    );
    // What nobody runs is removed by nobody, however short the time that was asked for; it is shown as it was sent.
    register(&world, json!({"Node": "foo", "Address": "1.1.1.1", "Service": {"Service": "s"}, "Check": {"CheckID": "short", "ServiceID": "s",
        "Status": "critical", "Definition": {"HTTP": "http://x/", "Interval": "5s", "DeregisterCriticalServiceAfter": "20s"}}})).await;
    let shown = world.get("/v1/health/checks/s").await.json();
    assert_eq!(
        shown[0]["Definition"]["DeregisterCriticalServiceAfter"],
        "20s"
    );
    assert_eq!(world.registry.snapshot().reapable().count(), 0);
    let gone = json!({"Node": "foo", "ServiceID": "s"});
    world
        .put_json("/v1/catalog/deregister", &gone)
        .await
        .is(200, "true");
    // Whatever was said comes back, also what nobody here runs.
    for definition in [
        json!({"HTTP": "http://x/", "Header": {"A": ["1", "2"]}, "Method": "POST", "Body": "b", "DisableRedirects": true,
            "TLSServerName": "x", "TLSSkipVerify": true, "Interval": "1m30s"}),
        json!({"GRPC": "x:1/y", "GRPCUseTLS": true, "Interval": "5s"}),
        json!({"UDP": "x:1", "Interval": "5s"}),
        json!({"OSService": "x", "Interval": "5s"}),
        json!({"ScriptArgs": ["a", "b"], "Interval": "5s"}),
        json!({"DockerContainerID": "c", "Shell": "sh", "ScriptArgs": ["a"], "Interval": "5s"}),
        json!({"AliasNode": "foo", "AliasService": "s"}),
        json!({"TTL": 5_000_000_000_i64}),
    ] {
        let check = json!({"Node": "bar", "Address": "1.1.1.2", "Check": {"Name": "c", "Definition": definition}});
        register(&world, check).await;
        let shown = world.get("/v1/health/node/bar").await.json();
        assert_eq!(shown[0]["Definition"], definition);
    }
    world
        .put_json("/v1/catalog/deregister", &json!({"Node": "bar"}))
        .await
        .is(200, "true");
    // A catalog check's status is a result, and replaces the one before.
    register(
        &world,
        json!({"Node": "foo", "Address": "1.1.1.1", "Check": {"Name": "tcp", "Status": "passing"}}),
    )
    .await;
    assert_eq!(
        world.get("/v1/health/node/foo").await.json()[0]["Status"],
        "passing"
    );
    assert_eq!(
        pluck(
            &world.get("/v1/health/state/critical").await.json(),
            "CheckID"
        ),
        ["typed"]
    );
    assert_eq!(
        world
            .get("/v1/health/state/any")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        3
    );
    world.get("/v1/health/state/x").await.is(200, "[]");
}

#[tokio::test]
async fn deregistering_a_service_a_check_a_node() {
    let world = World::new().await;
    let body = json!({"Node": "foo", "Address": "1.1.1.1", "Service": {"Service": "web"},
        "Checks": [{"Name": "node-check"}, {"CheckID": "c", "Name": "c", "ServiceID": "web"}]});
    register(&world, body.clone()).await;
    let gone = json!({"Node": "foo", "CheckID": "c"});
    world
        .put_json("/v1/catalog/deregister", &gone)
        .await
        .is(200, "true");
    assert_eq!(world.get("/v1/health/checks/web").await.json(), json!([]));
    world
        .put_json("/v1/catalog/deregister", &gone)
        .await
        .is(200, "true");
    world
        .put_json(
            "/v1/catalog/deregister",
            &json!({"Node": "foo", "ServiceID": "web"}),
        )
        .await
        .is(200, "true");
    world
        .put_json(
            "/v1/catalog/deregister",
            &json!({"Node": "foo", "ServiceID": "web"}),
        )
        .await
        .is(200, "true");
    assert_eq!(world.get("/v1/catalog/service/web").await.json(), json!([]));
    assert_eq!(
        pluck(&world.get("/v1/health/node/foo").await.json(), "CheckID"),
        ["node-check"]
    );
    register(&world, body).await;
    world
        .put_json("/v1/catalog/deregister", &json!({"Node": "foo"}))
        .await
        .is(200, "true");
    assert_eq!(world.get("/v1/catalog/node/foo").await.json(), Value::Null);
    assert_eq!(world.get("/v1/health/service/web").await.json(), json!([]));
    world
        .put_json("/v1/catalog/deregister", &json!({"Node": "never"}))
        .await
        .is(200, "true");
}

#[tokio::test]
async fn tags_metadata_and_filters_select() {
    let world = World::new().await;
    for (node, os, id, tags, status) in [
        ("a", "linux", "w1", json!(["v1", "Primary"]), "passing"),
        ("b", "bsd", "w2", json!(["v2"]), "critical"),
        ("c", "linux", "w3", json!(["v1"]), "passing"),
    ] {
        register(&world, json!({"Node": node, "Address": "1.1.1.1", "NodeMeta": {"os": os},
            "Service": {"ID": id, "Service": "web", "Tags": tags, "Port": 80, "Meta": {"ver": id}},
            "Check": {"CheckID": format!("c-{id}"), "Name": "c", "Status": status, "ServiceID": id}})).await;
    }
    let table: &[(&str, &[&str])] = &[
        ("", &["w1", "w2", "w3"]),
        ("tag=v1", &["w1", "w3"]),
        ("tag=v1&tag=PRIMARY", &["w1"]),
        ("node-meta=os:linux", &["w1", "w3"]),
        ("node-meta=os:linux&tag=primary", &["w1"]),
        ("passing", &["w1", "w3"]),
        ("passing=false", &["w1", "w2", "w3"]),
        ("near=_agent", &["w1", "w2", "w3"]),
        ("filter=Service.Meta.ver+%3D%3D+w2", &["w2"]),
        ("filter=Checks.Status+%3D%3D+%22critical%22", &["w2"]),
        (
            "filter=Node.Meta.os+%3D%3D+linux+and+not+%22v1%22+in+Service.Tags",
            &[],
        ),
        ("filter=Service.Tags+contains+%22v2%22", &["w2"]),
    ];
    for (query, ids) in table {
        let rows = world
            .get(&format!("/v1/health/service/web?{query}"))
            .await
            .json();
        assert_eq!(pluck(&rows, "Service.ID"), *ids, "{query}");
    }
    let rows = world
        .get("/v1/catalog/service/web?filter=ServiceMeta.ver+%3D%3D+w3+or+NodeMeta.os+%3D%3D+bsd")
        .await
        .json();
    assert_eq!(pluck(&rows, "ServiceID"), ["w2", "w3"]);
    assert_eq!(
        pluck(
            &world
                .get("/v1/catalog/nodes?node-meta=os:linux")
                .await
                .json(),
            "Node"
        ),
        ["a", "c"]
    );
    assert_eq!(
        pluck(
            &world
                .get("/v1/catalog/nodes?filter=Meta.os+%3D%3D+bsd")
                .await
                .json(),
            "Node"
        ),
        ["b"]
    );
    assert_eq!(
        world
            .get("/v1/catalog/services?node-meta=os:bsd")
            .await
            .json(),
        json!({"web": ["v2"]})
    );
    assert_eq!(
        world
            .get("/v1/catalog/services?filter=ServiceName+%3D%3D+web")
            .await
            .json(),
        json!({"web": ["Primary", "v1", "v2"]})
    );
    world
        .get("/v1/health/service/web?filter=Nope+%3D%3D+1")
        .await
        .says(400, "Failed to create boolean expression evaluator");
    world
        .get("/v1/health/service/web?filter=Service.ID")
        .await
        .says(400, "Failed to create boolean expression evaluator");
    let checks = world
        .get("/v1/health/state/any?filter=ServiceName+%3D%3D+web&node-meta=os:bsd")
        .await
        .json();
    assert_eq!(pluck(&checks, "CheckID"), ["c-w2"]);
    assert_eq!(
        world.get("/v1/catalog/datacenters").await.json(),
        json!(["dc1"])
    );
    assert_eq!(
        world.get("/v1/catalog/gateway-services/x").await.json(),
        json!([])
    );
    assert_eq!(world.get("/v1/health/ingress/web").await.json(), json!([]));
}

#[tokio::test]
async fn names_are_one_in_any_case_and_keep_their_spelling() {
    let world = World::new().await;
    world
        .register(&json!({"ID": "1", "Name": "Order-Service"}))
        .await;
    world
        .register(&json!({"ID": "2", "Name": "order--group--ns"}))
        .await;
    assert_eq!(
        pluck(
            &world.get("/v1/health/service/order-service").await.json(),
            "Service.Service"
        ),
        ["Order-Service"]
    );
    assert_eq!(
        pluck(
            &world
                .get("/v1/health/service/order--group--ns")
                .await
                .json(),
            "Service.Service"
        ),
        ["order--group--ns"]
    );
    let names = world.get("/v1/catalog/services").await.json();
    assert!(
        names.get("Order-Service").is_some() && names.get("order--group--ns").is_some(),
        "{names}"
    );
}

#[tokio::test]
async fn the_server_shows_itself() {
    let world = World::new().await;
    let row = &world.get("/v1/health/service/consul?passing").await.json()[0];
    assert_eq!(
        (
            &row["Service"]["ID"],
            &row["Service"]["Port"],
            &row["Service"]["Address"]
        ),
        (&json!("consul"), &json!(8300), &json!(""))
    );
    assert_eq!(row["Service"]["Meta"]["raft_version"], "3");
    let check = &row["Checks"][0];
    assert_eq!(
        (
            &check["CheckID"],
            &check["Output"],
            &check["Type"],
            &check["Definition"]
        ),
        (
            &json!("serfHealth"),
            &json!("Agent alive and reachable"),
            &json!(""),
            &json!({})
        )
    );
}

#[tokio::test]
async fn a_node_is_found_by_its_id_as_well() {
    let world = World::new().await;
    for (id, node) in [
        ("aaaaaaaa-1111-4111-8111-111111111111", "x"),
        ("aaaaaaaa-2222-4111-8111-111111111111", "y"),
    ] {
        register(
            &world,
            json!({"ID": id, "Node": node, "Address": "10.0.0.1"}),
        )
        .await;
    }
    for (text, node) in [
        ("aaaaaaaa-1111-4111-8111-111111111111", json!("x")),
        ("AAAAAAAA-2", json!("y")),
        ("y", json!("y")),
        // Of two that begin so, neither.
        ("aaaaaaaa", Value::Null),
        ("a", Value::Null),
    ] {
        let answer = world.get(&format!("/v1/catalog/node/{text}")).await.json();
        assert_eq!(answer["Node"]["Node"], node, "{text}");
    }
}

#[tokio::test]
async fn near_puts_what_is_on_the_node_itself_first() {
    let world = World::new().await;
    for node in ["a1", "m1", "z1"] {
        let body = json!({"Node": node, "Address": "10.0.0.9",
            "Service": {"Service": "web", "Port": 80}, "Check": {"Name": "c", "Status": "passing"}});
        world
            .put_json("/v1/catalog/register", &body)
            .await
            .is(200, "true");
    }
    let own = json!({"Name": "web", "Port": 81});
    let registered = world.put_json("/v1/agent/service/register", &own).await;
    assert_eq!(registered.status, 200);
    for (near, first) in [("z1", "z1"), ("M1", "m1"), ("_agent", "n1")] {
        for (path, node) in [
            ("/v1/catalog/nodes", "/Node"),
            ("/v1/catalog/service/web", "/Node"),
            ("/v1/health/service/web", "/Node/Node"),
        ] {
            let rows = world.get(&format!("{path}?near={near}")).await.json();
            let found = rows[0].pointer(node).unwrap();
            assert_eq!(found, first, "{path} near {near}");
            let plain = world.get(path).await.json();
            let (length, same) = (
                rows.as_array().unwrap().len(),
                plain.as_array().unwrap().len(),
            );
            assert_eq!(length, same, "{path} near {near}");
        }
    }
    for path in ["/v1/catalog/nodes", "/v1/health/service/web"] {
        let unknown = world.get(&format!("{path}?near=nobody")).await.json();
        assert_eq!(unknown, world.get(path).await.json(), "{path}");
    }
    let checks = world.get("/v1/health/state/passing?near=z1").await.json();
    assert_eq!(checks[0]["Node"], "z1");
}
