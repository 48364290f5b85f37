//! Services and checks through the agent.

use super::harness::{World, pluck};
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
async fn what_an_agent_refuses() {
    let world = World::new().await;
    let table: &[(&str, Value, u16, &str)] = &[
        (
            "/v1/agent/service/register",
            json!({}),
            400,
            "Missing service name",
        ),
        (
            "/v1/agent/service/register",
            json!({"Name": "x", "Address": "0.0.0.0"}),
            400,
            "Invalid service address",
        ),
        (
            "/v1/agent/service/register",
            json!({"Name": "x", "Check": {"TTL": "nope"}}),
            400,
            "invalid duration",
        ),
        (
            "/v1/agent/service/register",
            json!({"Name": "x", "Check": {"HTTP": "http://x"}}),
            400,
            "Invalid check: Interval must be > 0",
        ),
        (
            "/v1/agent/service/register",
            json!({"Name": 3}),
            400,
            "Request decode failed",
        ),
        (
            "/v1/agent/check/register",
            json!({"TTL": "1s"}),
            400,
            "Missing check name",
        ),
        (
            "/v1/agent/check/register",
            json!({"Name": "c", "TTL": "1s", "Status": "x"}),
            400,
            "Bad check status",
        ),
        (
            "/v1/agent/check/register",
            json!({"Name": "c", "TTL": "1s", "ServiceID": "x"}),
            404,
            "ServiceID \"x\" does not exist",
        ),
        (
            "/v1/agent/check/register",
            json!({"Name": "c", "Args": ["sh"], "Interval": "1s"}),
            500,
            "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true",
        ),
        (
            "/v1/agent/service/deregister/x",
            json!({}),
            404,
            "Unknown service ID \"x\". Ensure that the service ID is passed, not the service name.",
        ),
        (
            "/v1/agent/check/deregister/x",
            json!({}),
            404,
            "Unknown check ID \"x\"",
        ),
        (
            "/v1/agent/check/pass/x",
            json!({}),
            404,
            "Unknown check ID \"x\"",
        ),
        (
            "/v1/agent/check/update/x",
            json!({"Status": "fine"}),
            400,
            "Invalid check status: 'fine'",
        ),
        (
            "/v1/agent/service/maintenance/x?enable=true",
            json!({}),
            404,
            "Unknown service ID \"x\"",
        ),
        (
            "/v1/agent/service/maintenance/x",
            json!({}),
            400,
            "Missing value for enable",
        ),
        (
            "/v1/agent/maintenance",
            json!({}),
            400,
            "Missing value for enable",
        ),
        (
            "/v1/agent/force-leave/x",
            json!({}),
            500,
            "agent: No node found with name 'x'",
        ),
        (
            "/v1/agent/token/default",
            json!({"Token": "x"}),
            401,
            "ACL support disabled",
        ),
        (
            "/v1/agent/token/acl_token",
            json!({"Token": "x"}),
            404,
            "unknown",
        ),
    ];
    for (path, body, status, text) in table {
        let answer = world.put_json(path, body).await;
        assert!(
            answer.status == *status && answer.text().contains(text),
            "{path}: {} {}",
            answer.status,
            answer.text()
        );
    }
    world
        .put("/v1/agent/service/register", "{")
        .await
        .says(400, "Request decode failed");
    world
        .put("/v1/agent/service/register", "")
        .await
        .says(400, "Request decode failed");
    assert_eq!(world.get("/v1/agent/check/pass/x").await.status, 405);
}

#[tokio::test]
async fn ttl_checks_report_and_repeated_passing_stays_out_of_the_log() {
    let world = World::new().await;
    world
        .register(&json!({"Name": "web", "Check": {"TTL": "30s"}}))
        .await;
    assert_eq!(
        world.get("/v1/health/service/web?passing").await.json(),
        json!([])
    );
    for (call, status) in [
        ("pass", "passing"),
        ("warn", "warning"),
        ("fail", "critical"),
    ] {
        world
            .put(
                &format!("/v1/agent/check/{call}/service:web?note=n-{call}"),
                "",
            )
            .await
            .is(200, "");
        let check = &world.get("/v1/health/checks/web").await.json()[0];
        assert_eq!(
            (&check["Status"], &check["Output"]),
            (&json!(status), &json!(format!("n-{call}")))
        );
    }
    let update = json!({"Status": "passing", "Output": "x".repeat(5000)});
    world
        .put_json("/v1/agent/check/update/service:web", &update)
        .await
        .is(200, "");
    let revision = world.revision();
    for note in ["a", "b", "c"] {
        world
            .put(&format!("/v1/agent/check/pass/service:web?note={note}"), "")
            .await
            .is(200, "");
    }
    assert_eq!(
        world.revision(),
        revision,
        "only a change of status is news"
    );
    let check = &world.get("/v1/health/checks/web").await.json()[0];
    assert!(
        check["Output"]
            .as_str()
            .unwrap()
            .ends_with("(captured 4096 of 5000 bytes)")
    );
    // A check that is probed cannot be reported on.
    world
        .put_json(
            "/v1/agent/check/register",
            &json!({"Name": "t", "TCP": "127.0.0.1:1", "Interval": "10s"}),
        )
        .await
        .is(200, "");
    world
        .put("/v1/agent/check/pass/t", "")
        .await
        .is(500, "CheckID \"t\" does not have associated TTL");
    world
        .put("/v1/agent/check/deregister/t", "")
        .await
        .is(200, "");
    assert!(
        world
            .get("/v1/agent/checks")
            .await
            .json()
            .get("t")
            .is_none()
    );
}

#[tokio::test]
async fn a_silent_ttl_check_expires() {
    let world = World::new().await;
    world
        .register(&json!({"Name": "web", "Check": {"TTL": "200ms", "Status": "passing"}}))
        .await;
    world
        .put("/v1/agent/check/pass/service:web?note=alive", "")
        .await
        .is(200, "");
    let index = world.get("/v1/health/service/web").await.index();
    let woken = world
        .get(&format!("/v1/health/service/web?index={index}&wait=10s"))
        .await
        .json();
    let check = &woken[0]["Checks"][1];
    assert_eq!(check["Status"], "critical");
    assert_eq!(
        check["Output"],
        "TTL expired (last output before timeout follows): alive"
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
async fn maintenance_is_a_check_and_goes_again() {
    let world = World::new().await;
    world.register(&json!({"Name": "web", "Port": 80})).await;
    world
        .put(
            "/v1/agent/service/maintenance/web?enable=true&reason=disk",
            "",
        )
        .await
        .is(200, "");
    let row = &world.get("/v1/health/service/web").await.json()[0];
    let check = &row["Checks"][1];
    assert_eq!(check["CheckID"], "_service_maintenance:web");
    assert_eq!(
        (
            &check["Name"],
            &check["Status"],
            &check["Notes"],
            &check["Type"]
        ),
        (
            &json!("Service Maintenance Mode"),
            &json!("critical"),
            &json!("disk"),
            &json!("maintenance")
        )
    );
    assert_eq!(
        world.get("/v1/health/service/web?passing=1").await.json(),
        json!([])
    );
    let health = world.get("/v1/agent/health/service/id/web").await;
    assert_eq!(
        (health.status, &health.json()["AggregatedStatus"]),
        (503, &json!("maintenance"))
    );
    // Registering again keeps it.
    world
        .register(&json!({"Name": "web", "Port": 80, "Tags": ["x"]}))
        .await;
    assert_eq!(
        world.get("/v1/health/service/web?passing").await.json(),
        json!([])
    );
    world
        .put("/v1/agent/service/maintenance/web?enable=false", "")
        .await
        .is(200, "");
    assert_eq!(
        pluck(
            &world.get("/v1/health/service/web?passing").await.json(),
            "Service.ID"
        ),
        ["web"]
    );

    world
        .put("/v1/agent/maintenance?enable=true", "")
        .await
        .is(200, "");
    let checks = world.get("/v1/agent/checks").await.json();
    assert!(
        checks["_node_maintenance"]["Notes"]
            .as_str()
            .unwrap()
            .starts_with("Maintenance mode is enabled for this node")
    );
    assert_eq!(
        world.get("/v1/health/service/web?passing").await.json(),
        json!([])
    );
    world
        .put("/v1/agent/maintenance?enable=false", "")
        .await
        .is(200, "");
    assert_eq!(world.get("/v1/agent/checks").await.json(), json!({}));
}

#[tokio::test]
async fn health_is_in_the_status_code() {
    let world = World::new().await;
    world
        .register(&json!({"ID": "w1", "Name": "web", "Check": {"TTL": "30s", "Status": "passing"}}))
        .await;
    for (call, status, word) in [
        ("pass", 200, "passing"),
        ("warn", 429, "warning"),
        ("fail", 503, "critical"),
    ] {
        world
            .put(&format!("/v1/agent/check/{call}/service:w1"), "")
            .await
            .is(200, "");
        let by_id = world.get("/v1/agent/health/service/id/w1").await;
        assert_eq!(
            (by_id.status, &by_id.json()["AggregatedStatus"]),
            (status, &json!(word))
        );
        assert_eq!(by_id.headers["x-consul-reason"], word);
        let by_name = world.get("/v1/agent/health/service/name/web").await;
        assert_eq!(
            (by_name.status, &by_name.json()[0]["AggregatedStatus"]),
            (status, &json!(word))
        );
        world
            .get("/v1/agent/health/service/name/web?format=text")
            .await
            .is(status, word);
    }
    world
        .get("/v1/agent/health/service/id/x?format=text")
        .await
        .is(404, "ServiceId x not found");
    world
        .get("/v1/agent/health/service/name/x?format=text")
        .await
        .is(404, "ServiceName x Not Found");
    let unknown = world.get("/v1/agent/health/service/name/x").await;
    assert_eq!((unknown.status, unknown.json()), (404, json!([])));
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
async fn who_the_agent_is() {
    let world = World::new().await;
    let me = world.get("/v1/agent/self").await.json();
    assert_eq!(
        (
            &me["Config"]["Datacenter"],
            &me["Config"]["NodeName"],
            &me["Config"]["Server"]
        ),
        (&json!("dc1"), &json!("n1"), &json!(true))
    );
    assert_eq!(me["Member"]["Name"], "n1");
    assert_eq!(
        me["DebugConfig"]["SerfAdvertiseAddrLAN"],
        "tcp://127.0.0.1:8301"
    );
    assert_eq!(me["Coord"]["Vec"].as_array().unwrap().len(), 8);
    let members = world.get("/v1/agent/members").await.json();
    assert_eq!(
        (
            members.as_array().unwrap().len(),
            &members[0]["Tags"]["role"],
            &members[0]["Status"]
        ),
        (1, &json!("consul"), &json!(1))
    );
    assert_eq!(
        world
            .get("/v1/agent/members?filter=Tags%5B%22dc%22%5D+%3D%3D+dc2")
            .await
            .json(),
        json!([])
    );
    let metrics = world.get("/v1/agent/metrics").await.json();
    assert_eq!(
        metrics["Gauges"][0]["Name"],
        "consul.n1.runtime.alloc_bytes"
    );
    assert!(
        world
            .get("/v1/agent/metrics?format=prometheus")
            .await
            .text()
            .contains("portolan_")
    );
    assert_eq!(
        world.get("/v1/agent/version").await.json()["HumanVersion"],
        me["Config"]["Version"]
    );
    assert!(
        world.get("/v1/agent/host").await.json()["CollectionTime"]
            .as_u64()
            .unwrap()
            > 0
    );
    let nodes = world.get("/v1/catalog/nodes").await.json();
    assert_eq!(nodes[0]["Meta"]["consul-version"], me["Config"]["Version"]);
    let mut tags: Vec<_> = nodes[0]["TaggedAddresses"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    tags.sort();
    assert_eq!(tags, ["lan", "lan_ipv4", "wan", "wan_ipv4"]);
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
