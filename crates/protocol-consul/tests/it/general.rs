//! What holds for every endpoint.

use super::harness::World;
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn unknown_paths_and_methods() {
    let world = World::new().await;
    world.get("/v1/nope").await.is(
        404,
        "Invalid URL path: not a recognized HTTP API endpoint\n",
    );
    world.get("/nope").await.is(
        404,
        "Invalid URL path: if attempting to use the HTTP API, ensure the path starts with '/v1/'\n",
    );
    // A path that goes on with a name is found with its slash.
    for (path, to) in [
        ("/v1/kv?keys&separator=/", "/v1/kv/?keys&separator=/"),
        ("/v1/health/service", "/v1/health/service/"),
    ] {
        let moved = world.get(path).await;
        assert_eq!(
            (moved.status, moved.headers["location"].as_str()),
            (301, to)
        );
    }
    assert_eq!(world.get("/v1/k").await.status, 404);
    assert_eq!(world.get("/v1/catalog").await.status, 404);
    assert!(world.get("/").await.text().starts_with("Consul Agent"));
    let answer = world.put("/v1/catalog/nodes", "").await;
    answer.is(405, "method PUT not allowed");
    assert_eq!(answer.headers["allow"], "OPTIONS,GET");
    let options = world.send("OPTIONS", "/v1/kv/x", &[], b"").await;
    assert_eq!(
        (options.status, options.headers["allow"].as_str()),
        (200, "OPTIONS,GET,PUT,DELETE")
    );
}

#[tokio::test]
async fn headers_of_reads_are_complete_also_on_404() {
    let world = World::new().await;
    for path in [
        "/v1/health/service/web",
        "/v1/catalog/services",
        "/v1/kv/none",
        "/v1/session/list",
        "/v1/query",
        "/v1/event/list",
        "/v1/coordinate/nodes",
    ] {
        let answer = world.get(path).await;
        assert!(answer.index() > 0, "{path}");
        assert_eq!(answer.headers["x-consul-knownleader"], "true", "{path}");
        assert_eq!(answer.headers["x-consul-lastcontact"], "0", "{path}");
        assert_eq!(
            answer.headers["x-consul-effective-consistency"], "leader",
            "{path}"
        );
        assert_eq!(
            answer.headers["x-consul-default-acl-policy"], "allow",
            "{path}"
        );
        assert_eq!(answer.headers["vary"], "Accept-Encoding", "{path}");
    }
    assert_eq!(world.get("/v1/kv/none").await.status, 404);
    let answer = world.get("/v1/health/service/web?stale").await;
    assert_eq!(answer.headers["x-consul-effective-consistency"], "stale");
    let answer = world.get("/v1/health/service/web?cached").await;
    assert_eq!(
        (
            answer.headers["x-cache"].as_str(),
            answer.headers["age"].as_str()
        ),
        ("HIT", "0")
    );
    world
        .get("/v1/catalog/services?consistent")
        .await
        .says(200, "consul");
    world.get("/v1/catalog/services?stale&consistent").await.is(
        400,
        "Cannot specify ?stale with ?consistent, conflicting semantics.",
    );
    world
        .get("/v1/catalog/services?index=x")
        .await
        .is(400, "Invalid index");
    let told = |value| ("Cache-Control", value);
    for (path, headers, status) in [
        (
            "/v1/health/service/web",
            told("max-age=0, must-revalidate"),
            200,
        ),
        ("/v1/health/service/web?cached", told("max-age=soon"), 400),
        ("/v1/kv/x", told("stale-if-error="), 400),
    ] {
        let answer = world.send("GET", path, &[headers], b"").await;
        assert_eq!(answer.status, status, "{path}");
        if status == 400 {
            answer.is(400, "Invalid Cache-Control header.");
        }
    }
    world
        .get("/v1/catalog/services?wait=x&index=1")
        .await
        .is(400, "Invalid wait time");
}

#[tokio::test]
async fn datacenters_namespaces_and_peers_that_are_not_there() {
    let world = World::new().await;
    world
        .get("/v1/status/leader?dc=dc9")
        .await
        .is(500, "No path to datacenter");
    assert_eq!(world.get("/v1/status/leader?dc=dc1").await.status, 200);
    world.get("/v1/catalog/services?ns=x").await.is(
        400,
        "Invalid query parameter: \"ns\" - Namespaces are a Consul Enterprise feature",
    );
    assert_eq!(
        world
            .get("/v1/catalog/services?ns=default&partition=default")
            .await
            .status,
        200
    );
    let refused = world
        .send(
            "GET",
            "/v1/catalog/services",
            &[("X-Consul-Namespace", "x")],
            b"",
        )
        .await;
    refused.is(
        400,
        "Invalid header: \"X-Consul-Namespace\" - Namespaces are a Consul Enterprise feature",
    );
    // A peer that is not known exports nothing; other endpoints do not look at the parameter.
    world.register(&json!({"Name": "web", "Port": 80})).await;
    for path in [
        "/v1/health/service/web",
        "/v1/health/connect/web",
        "/v1/health/ingress/web",
        "/v1/health/checks/web",
        "/v1/catalog/service/web",
        "/v1/catalog/connect/web",
    ] {
        let answer = world.get(&format!("{path}?peer=other")).await;
        answer.is(200, "[]");
        assert!(answer.index() > 0, "{path}");
        let waiting = format!("{path}?peer=other&index={}&wait=50ms", answer.index());
        world.get(&waiting).await.is(200, "[]");
    }
    assert_eq!(
        world.get("/v1/catalog/service/web").await.json()[0]["ServicePort"],
        80
    );
    assert_ne!(
        world.get("/v1/catalog/nodes?peer=other").await.json(),
        json!([])
    );
    world
        .put_json(
            "/v1/catalog/register",
            &json!({"Datacenter": "dc9", "Node": "a", "Address": "b"}),
        )
        .await
        .is(500, "No path to datacenter");
}

#[tokio::test]
async fn pretty_and_gzip() {
    let world = World::new().await;
    for i in 0..10 {
        world
            .register(&json!({"ID": format!("w{i}"), "Name": "web", "Port": 80 + i}))
            .await;
    }
    let plain = world.get("/v1/health/service/web").await;
    assert!(!plain.text().contains('\n'));
    let pretty = world.get("/v1/health/service/web?pretty").await;
    // The keys stay in their order.
    let beginning = "[\n    {\n        \"Node\": {\n            \"ID\": ";
    assert!(pretty.text().starts_with(beginning) && pretty.text().ends_with("]\n"));
    assert_eq!(pretty.json(), plain.json());
    for path in [
        "/v1/health/service/web",
        "/v1/health/service/web?tag=",
        "/v1/catalog/service/web",
    ] {
        let packed = world
            .send("GET", path, &[("Accept-Encoding", "gzip")], b"")
            .await;
        assert_eq!(packed.headers["content-encoding"], "gzip", "{path}");
        assert_eq!(packed.headers["content-type"], "application/json");
        assert_eq!(packed.body[..2], [0x1f, 0x8b]);
    }
}

#[tokio::test]
async fn switched_off_features_say_so() {
    let world = World::new().await;
    for (method, path, status, text) in [
        ("PUT", "/v1/acl/bootstrap", 401, "ACL support disabled"),
        ("GET", "/v1/acl/tokens", 401, "ACL support disabled"),
        ("GET", "/v1/snapshot", 500, "snapshots are not kept"),
        (
            "PUT",
            "/v1/config",
            400,
            "Request decoding failed: Payload does not contain a kind/Kind key at the top level",
        ),
        (
            "PUT",
            "/v1/coordinate/update",
            401,
            "Coordinate support disabled",
        ),
        (
            "PUT",
            "/v1/agent/leave",
            500,
            "this server belongs to no cluster",
        ),
        (
            "GET",
            "/v1/agent/monitor?loglevel=x",
            400,
            "Unknown log level: x",
        ),
        (
            "DELETE",
            "/v1/operator/raft/peer?id=x",
            500,
            "id \"x\" was not found in the Raft configuration",
        ),
        (
            "DELETE",
            "/v1/operator/raft/peer?address=nope",
            500,
            "address \"nope\" was not found in the Raft configuration",
        ),
        (
            "DELETE",
            "/v1/operator/raft/peer?id=x&address=y",
            400,
            "Must specify only one of ?id or ?address",
        ),
        (
            "DELETE",
            "/v1/operator/raft/peer",
            400,
            "Must specify either ?id with the server's ID",
        ),
        (
            "PUT",
            "/v1/operator/autopilot/configuration",
            400,
            "Error parsing autopilot config: EOF",
        ),
        // The paths and methods of access lists are Consul's; those of its old ones are gone.
        ("GET", "/v1/acl/bootstrap", 405, "method GET not allowed"),
        ("GET", "/v1/acl/token/self", 401, "ACL support disabled"),
        ("PUT", "/v1/acl/token/self", 405, "method PUT not allowed"),
        ("PUT", "/v1/acl/token/a/clone", 401, "ACL support disabled"),
        (
            "PUT",
            "/v1/acl/create",
            404,
            "Invalid URL path: not a recognized HTTP API endpoint",
        ),
        ("DELETE", "/v1/snapshot", 405, "method DELETE not allowed"),
        ("GET", "/v1/config", 405, "method GET not allowed"),
    ] {
        world.send(method, path, &[], b"").await.says(status, text);
    }
    assert_eq!(world.get("/v1/peerings").await.json(), json!([]));
    // Nothing has to be read again where there are no files.
    world.put("/v1/agent/reload", "").await.is(200, "");
}

#[tokio::test]
async fn what_is_said_where_there_are_no_config_entries() {
    let world = World::new().await;
    let list = world.get("/v1/config/service-defaults").await;
    list.is(200, "[]");
    assert!(list.index() > 0);
    let single = world.get("/v1/config/service-defaults/web").await;
    single.is(
        404,
        "Config entry not found for \"service-defaults\" / \"web\"",
    );
    assert!(single.index() > 0);
    world
        .get("/v1/config/nonsense")
        .await
        .is(500, "invalid config entry kind: nonsense");
    // What is not there is removed already: consul-k8s asks for that to see whether a server is ready.
    world
        .delete("/v1/config/service-intentions/web")
        .await
        .is(200, "{}");
    world
        .delete("/v1/config/service-intentions/web?cas=3")
        .await
        .is(200, "false");
    world
        .delete("/v1/config/nonsense/web")
        .await
        .is(400, "invalid config entry kind: nonsense");
    world
        .delete("/v1/config/mesh")
        .await
        .is(404, "Must provide both a kind and name to delete");
}

#[tokio::test]
async fn nonsense_is_refused_and_harms_nobody() {
    let world = World::new().await;
    let deep = "[".repeat(100_000);
    let bodies: Vec<Vec<u8>> = vec![
        b"null".to_vec(),
        b"[]".to_vec(),
        b"3".to_vec(),
        b"\"x\"".to_vec(),
        b"\xff\xfe".to_vec(),
        deep.into_bytes(),
        br#"{"Name":{"a":1},"Check":[1],"Checks":{"x":2},"Meta":[],"Tags":"x","Port":"80"}"#
            .to_vec(),
        br#"{"Name":"x","Port":1e300,"Check":{"TTL":-99999999999999999999999}}"#.to_vec(),
    ];
    for (methods, pattern) in portolan_protocol_consul::routes() {
        for method in methods.iter().filter(|method| *method != http::Method::GET) {
            let path = pattern.split('{').next().unwrap_or_default().to_owned()
                + if pattern.contains('{') {
                    "%00%ff%2e%2e"
                } else {
                    ""
                };
            for body in &bodies {
                let answer = world.send(method.as_str(), &path, &[], body).await;
                assert!(
                    (200..=501).contains(&answer.status),
                    "{method} {path}: {}",
                    answer.status
                );
            }
        }
    }
    for path in [
        "/v1/health/service/",
        "/v1/kv/%ff",
        "/v1/kv/..",
        "/v1/agent/service/",
        "/v1/health/service/x?index=y",
        "/v1/txn?stale&consistent",
    ] {
        world.get(path).await;
    }
    let big = vec![b'x'; 2 << 20];
    assert_eq!(
        world.put("/v1/agent/service/register", &big).await.status,
        413
    );
    assert_eq!(
        world
            .context
            .metrics()
            .panics(portolan_catalog::Protocol::Consul),
        0
    );
    assert_eq!(
        world
            .context
            .metrics()
            .answers_without_decision(portolan_catalog::Protocol::Consul),
        0
    );
    world
        .get("/v1/status/leader")
        .await
        .is(200, "\"127.0.0.1:8300\"");
}

#[tokio::test]
async fn the_cluster_and_its_root() {
    let world = World::new().await;
    assert_eq!(
        world.get("/v1/status/peers").await.json(),
        json!(["127.0.0.1:8300"])
    );
    let raft = world.get("/v1/operator/raft/configuration").await.json();
    assert_eq!(
        (
            &raft["Servers"][0]["Node"],
            &raft["Servers"][0]["Leader"],
            &raft["Servers"][0]["Voter"]
        ),
        (&json!("n1"), &json!(true), &json!(true))
    );
    let health = world.get("/v1/operator/autopilot/health").await;
    assert_eq!(
        (
            health.status,
            &health.json()["Healthy"],
            &health.json()["FailureTolerance"]
        ),
        (200, &json!(true), &json!(0))
    );
    let autopilot = world
        .get("/v1/operator/autopilot/configuration")
        .await
        .json();
    assert_eq!(
        (
            &autopilot["LastContactThreshold"],
            &autopilot["ModifyIndex"]
        ),
        (&json!("200ms"), &json!(0))
    );
    world
        .put_json(
            "/v1/operator/autopilot/configuration?cas=7",
            &json!({"CleanupDeadServers": false}),
        )
        .await
        .is(200, "false");
    world
        .put_json(
            "/v1/operator/autopilot/configuration?cas=0",
            &json!({"CleanupDeadServers": false}),
        )
        .await
        .is(200, "true");
    assert_eq!(
        world
            .get("/v1/operator/autopilot/configuration")
            .await
            .json()["CleanupDeadServers"],
        false
    );
    assert_eq!(
        world.get("/v1/operator/autopilot/state").await.json()["Healthy"],
        true
    );
    let usage = world.get("/v1/operator/usage").await.json();
    assert_eq!(
        (
            &usage["Usage"]["dc1"]["Services"],
            &usage["Usage"]["dc1"]["BillableServiceInstances"]
        ),
        (&json!(1), &json!(0))
    );

    let first = world.get("/v1/connect/ca/roots").await.json();
    let again = world.get("/v1/agent/connect/ca/roots").await.json();
    assert_eq!(first, again, "the root is made once");
    assert!(!first["ActiveRootID"].as_str().unwrap().is_empty());
    assert!(
        first["Roots"][0]["RootCert"]
            .as_str()
            .unwrap()
            .contains("BEGIN CERTIFICATE")
    );
    let services = world.get("/v1/internal/ui/services").await.json();
    assert_eq!(
        (&services[0]["Name"], &services[0]["InstanceCount"]),
        (&json!("consul"), &json!(1))
    );
    assert_eq!(
        world.get("/v1/internal/ui/node/n1").await.json()["Services"][0]["ID"],
        "consul"
    );
    assert_eq!(
        world.get("/v1/internal/ui/catalog-overview").await.json()["Nodes"][0]["Passing"],
        1
    );
    assert_eq!(
        world.get("/v1/internal/ui/nodes").await.json()[0]["Node"],
        "n1"
    );
    assert_eq!(
        world.get("/v1/coordinate/node/n1").await.json()[0]["Node"],
        "n1"
    );
    assert_eq!(world.get("/v1/coordinate/node/zz").await.status, 404);
}

#[tokio::test]
async fn draining_ends_queries_with_what_is_there() {
    let world = World::new().await;
    let index = world.get("/v1/catalog/services").await.index();
    let waiting = world.background(&format!("/v1/catalog/services?index={index}&wait=60s"));
    world.waiting(1).await;
    let context = world.context.clone();
    let finished = tokio::spawn(async move { context.finish().await });
    let answer = tokio::time::timeout(Duration::from_secs(5), waiting)
        .await
        .unwrap()
        .unwrap();
    answer.says(200, "consul");
    assert!(finished.await.unwrap(), "nothing had to be cut");
}

#[tokio::test]
async fn header_names_are_spelled_as_go_does() {
    let world = World::new().await;
    let mut stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let request = b"GET /v1/kv/none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    for line in [
        "\r\nX-Consul-Index: ",
        "\r\nX-Consul-Knownleader: true\r\n",
        "\r\nX-Consul-Lastcontact: 0\r\n",
        "\r\nContent-Length: 0\r\n",
    ] {
        assert!(answer.contains(line), "{line:?} in {answer}");
    }
}
