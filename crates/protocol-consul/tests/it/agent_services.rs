//! Services registered, moved and removed through the agent.

use super::harness::{World, pluck};
use portolan_catalog::{CheckKey, NodeName, Probe};
use serde_json::{Value, json};

#[tokio::test]
async fn a_registered_service_is_seen_everywhere() {
    let world = World::new().await;
    world
        .register(&json!({"ID": "web1", "Name": "web", "Tags": ["v1", "a"], "Address": "10.0.0.1", "Port": 80,
            "Meta": {"k": "v"}, "Weights": {"Passing": 5, "Warning": 2}, "Locality": {"Region": "r", "Zone": "z"},
            "Check": {"TTL": "30s", "Status": "passing"}}))
        .await;
    let services = world.get("/v1/agent/services").await.json();
    let web = &services["web1"];
    assert_eq!(
        (&web["Service"], &web["Tags"], &web["Port"]),
        (&json!("web"), &json!(["v1", "a"]), &json!(80))
    );
    assert_eq!(
        web["TaggedAddresses"]["lan_ipv4"],
        json!({"Address": "10.0.0.1", "Port": 80})
    );
    assert_eq!(
        (&web["Meta"], &web["Weights"], &web["Datacenter"]),
        (
            &json!({"k": "v"}),
            &json!({"Passing": 5, "Warning": 2}),
            &json!("dc1")
        )
    );
    assert!(web.get("Proxy").is_none() && web.get("Kind").is_none());
    assert_eq!(
        (&web["CreateIndex"], &web["ModifyIndex"]),
        (&json!(0), &json!(0)),
        "an agent knows no indexes"
    );

    let health = world.get("/v1/health/service/web").await.json();
    assert_eq!(health[0]["Service"]["ID"], "web1");
    assert_eq!(
        health[0]["Service"]["Locality"],
        json!({"Region": "r", "Zone": "z"})
    );
    assert_eq!(
        health[0]["Service"]["Proxy"],
        json!({"Mode": "", "MeshGateway": {}, "Expose": {}})
    );
    assert_eq!(
        pluck(&health[0]["Checks"], "CheckID"),
        ["serfHealth", "service:web1"]
    );
    assert_eq!(health[0]["Checks"][1]["Name"], "Service 'web' check");
    assert_eq!(health[0]["Checks"][1]["ServiceTags"], json!(["v1", "a"]));
    assert_eq!(health[0]["Node"]["Node"], "n1");

    let rows = world.get("/v1/catalog/service/web").await.json();
    assert_eq!(
        (
            &rows[0]["ServiceID"],
            &rows[0]["ServiceAddress"],
            &rows[0]["ServicePort"]
        ),
        (&json!("web1"), &json!("10.0.0.1"), &json!(80))
    );
    assert_eq!(rows[0]["ServiceLocality"]["Zone"], "z");
    let names = world.get("/v1/catalog/services").await.json();
    assert_eq!(names, json!({"consul": [], "web": ["a", "v1"]}));
    let checks = world.get("/v1/agent/checks").await.json();
    assert_eq!(checks["service:web1"]["Type"], "ttl");
    assert!(checks.get("serfHealth").is_none());
    let written = json!({"Node": "n1", "Address": "127.0.0.1", "Check": {"Name": "written", "Status": "critical"},
        "Service": {"Service": "written"}});
    world
        .put_json("/v1/catalog/register", &written)
        .await
        .is(200, "true");
    assert!(
        world
            .get("/v1/agent/checks")
            .await
            .json()
            .get("written")
            .is_none()
    );
    assert!(
        world
            .get("/v1/agent/services")
            .await
            .json()
            .get("written")
            .is_none()
    );
    assert_eq!(
        world.get("/v1/catalog/node/n1").await.json()["Node"]["ID"],
        "00000000-0000-4000-8000-000000000001"
    );
}

#[tokio::test]
async fn keys_are_taken_in_any_spelling_and_nulls_are_absent() {
    let world = World::new().await;
    world
        .register(&json!({"name": "py", "id": "py1", "tags": null, "port": 1, "meta": null, "checks": null,
            "enable_tag_override": true, "check": {"http": "http://127.0.0.1:1/", "interval": "10s", "timeout": "1s",
            "deregister_critical_service_after": "1m"}}))
        .await;
    let row = &world.get("/v1/health/service/py").await.json()[0];
    assert_eq!(
        (
            &row["Service"]["Tags"],
            &row["Service"]["Meta"],
            &row["Service"]["EnableTagOverride"]
        ),
        (&json!([]), &json!({}), &json!(true))
    );
    let check = &row["Checks"][1];
    assert_eq!(
        (
            &check["Type"],
            &check["Interval"],
            &check["Timeout"],
            &check["Definition"]
        ),
        (&json!("http"), &json!("10s"), &json!("1s"), &json!({}))
    );
}

#[tokio::test]
async fn registering_again_keeps_results_and_unsent_checks() {
    let world = World::new().await;
    let body = json!({"Name": "web", "Checks": [{"CheckID": "a", "TTL": "30s"}, {"CheckID": "b", "TTL": "30s"}]});
    world.register(&body).await;
    world
        .put("/v1/agent/check/pass/a?note=fine", "")
        .await
        .is(200, "");
    let before = world.revision();
    world.register(&body).await;
    assert_eq!(world.revision(), before, "equal facts are no change");
    world.register(&json!({"Name": "web", "Port": 81, "Checks": [{"CheckID": "a", "TTL": "30s", "Status": "critical"}]})).await;
    let checks = world.get("/v1/agent/checks").await.json();
    assert_eq!(
        (&checks["a"]["Status"], &checks["a"]["Output"]),
        (&json!("passing"), &json!("fine"))
    );
    assert!(
        checks.get("b").is_some(),
        "a check that is not sent again stays"
    );
    let path = "/v1/agent/service/register?replace-existing-checks";
    world
        .put_json(
            path,
            &json!({"Name": "web", "Check": {"CheckID": "a", "TTL": "30s"}}),
        )
        .await
        .is(200, "");
    assert!(
        world
            .get("/v1/agent/checks")
            .await
            .json()
            .get("b")
            .is_none()
    );
    // The name is a field: the same id under another name moves the row.
    world.register(&json!({"ID": "web", "Name": "other"})).await;
    assert_eq!(world.get("/v1/health/service/web").await.json(), json!([]));
    assert_eq!(
        pluck(
            &world.get("/v1/health/service/other").await.json(),
            "Service.ID"
        ),
        ["web"]
    );
}

#[tokio::test]
async fn deregistration_takes_checks_and_sidecar_along() {
    let world = World::new().await;
    world.register(&json!({"Name": "web", "Port": 80, "Check": {"TTL": "30s"}, "Connect": {"SidecarService": {}}})).await;
    let services = world.get("/v1/agent/services").await.json();
    let sidecar = &services["web-sidecar-proxy"];
    assert_eq!(
        (&sidecar["Kind"], &sidecar["Port"]),
        (&json!("connect-proxy"), &json!(21000))
    );
    assert_eq!(sidecar["Proxy"]["DestinationServiceName"], "web");
    assert_eq!(
        pluck(
            &world.get("/v1/catalog/connect/web").await.json(),
            "ServiceID"
        ),
        ["web-sidecar-proxy"]
    );
    assert_eq!(
        pluck(
            &world.get("/v1/health/connect/web").await.json(),
            "Service.ID"
        ),
        ["web-sidecar-proxy"]
    );
    world
        .put("/v1/agent/service/deregister/web", "")
        .await
        .is(200, "");
    assert_eq!(world.get("/v1/agent/services").await.json(), json!({}));
    assert_eq!(world.get("/v1/agent/checks").await.json(), json!({}));
    world
        .put("/v1/agent/service/deregister/web", "")
        .await
        .says(404, "Unknown service ID \"web\"");
}

#[tokio::test]
async fn one_service_blocks_by_its_hash() {
    let world = World::new().await;
    world.register(&json!({"Name": "web", "Port": 80})).await;
    let first = world.get("/v1/agent/service/web").await;
    let hash = first.headers["x-consul-contenthash"].clone();
    assert_eq!(first.json()["ContentHash"], hash);
    let waiting = world.background(&format!("/v1/agent/service/web?hash={hash}&wait=10s"));
    world.waiting(1).await;
    world.register(&json!({"Name": "web", "Port": 81})).await;
    let second = waiting.await.unwrap();
    assert_eq!(second.json()["Port"], 81);
    assert_ne!(second.headers["x-consul-contenthash"], hash);
    world
        .get("/v1/agent/service/nope")
        .await
        .is(404, "unknown service ID: nope");
}

#[tokio::test]
async fn calls_by_id_look_on_other_nodes_before_they_give_up() {
    let world = World::new().await;
    other_node(&world, "n2", "api-1", "10.0.0.7", 90).await;
    world
        .put("/v1/agent/check/pass/service:api-1", "")
        .await
        .is(200, "");
    assert_eq!(
        world.get("/v1/agent/service/api-1").await.json()["Port"],
        90
    );
    assert_eq!(
        world.get("/v1/agent/services").await.json(),
        json!({}),
        "other nodes' rows are not this agent's"
    );
    // The same explicit endpoint registered here moves the row.
    world
        .register(&json!({"ID": "api-1", "Name": "api", "Address": "10.0.0.7", "Port": 90}))
        .await;
    assert_eq!(
        pluck(&world.get("/v1/catalog/service/api").await.json(), "Node"),
        ["n1"]
    );
    // Two nodes that hold one id cannot be told apart.
    other_node(&world, "n2", "dup", "10.0.0.8", 1).await;
    other_node(&world, "n3", "dup", "10.0.0.9", 1).await;
    world
        .put("/v1/agent/service/deregister/dup", "")
        .await
        .says(404, "Unknown service ID");
    other_node(&world, "n2", "solo", "10.0.0.8", 2).await;
    world
        .put("/v1/agent/service/deregister/solo", "")
        .await
        .is(200, "");
    assert_eq!(
        world
            .get("/v1/catalog/service/api")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

/// A service that another server's agent holds.
async fn other_node(world: &World, node: &str, id: &str, host: &str, port: u16) {
    use portolan_catalog::*;
    let name = NodeName::new(node);
    let facts = NodeFacts::new(node, Host::new(host));
    world
        .propose(Command::PutNode {
            node: facts.into(),
            terms: None,
            expect: None,
        })
        .await;
    let mut row = Registration::new(
        InstanceKey::consul(&name, id),
        ServiceKey::plain("api"),
        Endpoint::new(Host::new(host), port),
    );
    row.node = name.clone();
    let mut check = CheckFacts::new(CheckKey::new(&name, &format!("service:{id}")), "ttl");
    check.instance = Some(row.key.clone());
    check.probe = Probe::Ttl { ttl_ms: 60_000 };
    check.owner = Some(name);
    let check = NewCheck {
        facts: check.into(),
        status: Status::Critical,
        output: "".into(),
        reported: false,
    };
    world
        .propose(Command::Register(Box::new(Register {
            checks: vec![check],
            ..Register::new(row)
        })))
        .await;
}

#[tokio::test]
async fn a_sidecar_is_told_where_its_service_is() {
    let world = World::new().await;
    let proxy = |asked: Value| {
        let world = &world;
        async move {
            world.register(&asked).await;
            let id = format!("{}-sidecar-proxy", asked["Name"].as_str().unwrap());
            let row = world.get(&format!("/v1/agent/service/{id}")).await.json();
            let listening = world.get("/v1/agent/checks").await.json();
            let name = &listening[format!("service:{id}:1")]["Name"];
            assert_eq!(name, "Connect Sidecar Listening");
            row["Proxy"].clone()
        }
    };
    assert_eq!(
        proxy(json!({"Name": "a", "Port": 80, "Connect": {"SidecarService": {}}})).await,
        json!({"DestinationServiceName": "a", "DestinationServiceID": "a",
            "LocalServiceAddress": "127.0.0.1", "LocalServicePort": 80})
    );
    assert_eq!(
        proxy(json!({"Name": "b", "SocketPath": "/b", "Connect": {"SidecarService": {}}})).await,
        json!({"DestinationServiceName": "b", "DestinationServiceID": "b", "LocalServiceSocketPath": "/b"})
    );
    let key = CheckKey::new(&NodeName::new("n1"), "service:b-sidecar-proxy:1");
    let state = world.registry.snapshot();
    let Some(Probe::Tcp { target, .. }) = state.check(&key).map(|check| &check.probe) else {
        panic!("{key:?} is no TCP check");
    };
    assert_eq!(&**target, "127.0.0.1:21001");
    // What it says itself stays, in whatever case.
    assert_eq!(
        proxy(
            json!({"Name": "c", "Port": 80, "Connect": {"sidecar_service": {"proxy":
            {"destination_service_name": "d", "LocalServiceAddress": "::1"}}}})
        )
        .await,
        json!({"destination_service_name": "d", "DestinationServiceID": "c", "LocalServiceAddress": "::1",
            "LocalServicePort": 80})
    );
}
