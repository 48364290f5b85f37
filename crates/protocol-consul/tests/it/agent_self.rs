//! Who the agent is, and what it refuses.

use super::harness::World;
use serde_json::{Value, json};

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
    assert!(
        me["Config"].get("Partition").is_none(),
        "partitions are not here"
    );
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
    let host = world.get("/v1/agent/host").await.json()["Host"]["hostname"].clone();
    assert_eq!(
        metrics["Gauges"][0]["Name"],
        format!("consul.{}.runtime.alloc_bytes", host.as_str().unwrap())
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
            401,
            "ACL support disabled",
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
async fn members_are_of_one_segment_without_a_name() {
    let world = World::new().await;
    let names = |answer: &Value| answer[0]["Name"].as_str().map(str::to_owned);
    for (query, name) in [("", "n1"), ("?segment=_all", "n1"), ("?wan=1", "n1.dc1")] {
        let members = world.get(&format!("/v1/agent/members{query}")).await.json();
        assert_eq!(names(&members).as_deref(), Some(name), "{query}");
        assert_eq!(members[0]["Tags"]["grpc_port"], "8502", "{query}");
    }
    world.get("/v1/agent/members?segment=a").await.is(
        500,
        "Network segments are not supported in this version of Consul",
    );
    world
        .get("/v1/agent/members?segment=a&wan=1")
        .await
        .is(400, "Cannot provide a segment with wan=true");
    for (query, text) in [
        ("", "Missing value for enable"),
        ("?enable=", "Invalid value for enable: \"\""),
        ("?enable=maybe", "Invalid value for enable: \"maybe\""),
    ] {
        world
            .put(&format!("/v1/agent/maintenance{query}"), "")
            .await
            .is(400, text);
    }
}

#[tokio::test]
async fn a_proxy_without_a_destination_is_not_valid() {
    let world = World::new().await;
    let proxy = json!({"Name": "p", "Kind": "connect-proxy"});
    world.put_json("/v1/agent/service/register", &proxy).await.is(
        400,
        "Validation failed: 2 errors occurred:\n\t* Port or SocketPath must be set for a connect-proxy\n\t* Proxy.DestinationServiceName must be non-empty for Connect proxy services\n\n",
    );
    let named = json!({"Name": "w", "Connect": {"SidecarService": {"ID": "x"}}});
    world
        .put_json("/v1/agent/service/register", &named)
        .await
        .says(400, "* A SidecarService cannot specify an ID");
    // Whatever else the parameter says, it is not a wish.
    let path = "/v1/agent/service/register?replace-existing-checks=maybe";
    world
        .put_json(
            path,
            &json!({"Name": "w", "Check": {"CheckID": "a", "TTL": "30s"}}),
        )
        .await
        .is(200, "");
    world
        .put_json(path, &json!({"Name": "w"}))
        .await
        .is(200, "");
    assert!(
        world
            .get("/v1/agent/checks")
            .await
            .json()
            .get("a")
            .is_some()
    );
}
