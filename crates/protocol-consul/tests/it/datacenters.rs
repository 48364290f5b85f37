//! What is asked of another datacenter: answered from the copy of its catalog by the same rules, or refused in Consul's words.

use crate::harness::World;
use portolan_catalog::Host;
use portolan_registry::{Datacenter, Datacenters, LocalOptions, Registry};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// A server that knows `dc2`, whose catalog plays the copy, and `dc3`, of which there is none.
async fn world() -> (World, Registry) {
    let there = Registry::local(&LocalOptions {
        node: "far".into(),
        address: Host::new("10.2.0.1"),
        ..LocalOptions::default()
    });
    let (near, far) = (Datacenter::new("dc2"), Datacenter::new("dc3"));
    near.set_copy(there.clone());
    near.measured(Duration::from_millis(3));
    let known = Datacenters::new(vec![Arc::new(far), Arc::new(near)]);
    (World::knowing(known).await, there)
}

#[tokio::test]
async fn reads_writes_and_refusals_by_datacenter() {
    let (world, there) = world().await;
    let names = world.get("/v1/catalog/datacenters").await.json();
    assert_eq!(names, json!(["dc1", "dc2", "dc3"]));
    world
        .get("/v1/kv/k?dc=dc9")
        .await
        .is(500, "No path to datacenter");
    let known = world.get("/v1/catalog/nodes?dc=dc3").await;
    known.is(500, "Remote DC has no server currently reachable");
    let nodes = world.get("/v1/catalog/nodes?dc=DC2").await.json();
    assert_eq!(
        (&nodes[0]["Node"], &nodes[0]["Datacenter"]),
        (&json!("far"), &json!("dc2"))
    );
    // By the query string and by the body.
    let web = json!({"Node": "far", "Address": "10.2.0.1", "Datacenter": "dc2",
        "Service": {"Service": "web", "Port": 80}});
    world
        .put_json("/v1/catalog/register", &web)
        .await
        .is(200, "true");
    world.put("/v1/kv/k?dc=dc2", "v").await.is(200, "true");
    there.read(|state| {
        assert!(
            state
                .record(portolan_catalog::Keyspace::ConsulKv, b"k")
                .is_some()
        );
    });
    for (path, found) in [
        ("/v1/health/service/web", 0),
        ("/v1/health/service/web?dc=dc2", 1),
        ("/v1/catalog/service/web?dc=dc1", 0),
    ] {
        let rows = world.get(path).await.json();
        assert_eq!(rows.as_array().map(Vec::len), Some(found), "{path}");
    }
    // An agent answers for itself; a cluster is changed by its own servers.
    let own = world.get("/v1/agent/services?dc=dc2").await;
    assert_eq!((own.status, own.json()), (200, json!({})));
    for (method, path) in [
        ("DELETE", "/v1/operator/raft/peer?dc=dc2&id=x"),
        ("PUT", "/v1/config?dc=dc2"),
    ] {
        let refused = world.send(method, path, &[], b"{}").await;
        assert_eq!(refused.status, 500, "{path}");
        assert!(refused.text().contains("itself"), "{}", refused.text());
    }
    let members = world.get("/v1/agent/members?wan=1").await.json();
    let names: Vec<_> = members
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["Name"])
        .collect();
    assert_eq!(names, ["n1.dc1", "far.dc2"]);
}

#[tokio::test]
async fn a_query_without_instances_here_goes_on_to_the_nearest_and_the_named() {
    let (world, _there) = world().await;
    let web = json!({"Node": "far", "Address": "10.2.0.1", "Datacenter": "dc2",
        "Service": {"Service": "web", "Port": 80}});
    world
        .put_json("/v1/catalog/register", &web)
        .await
        .is(200, "true");
    for (name, failover, datacenter, tries) in [
        ("none", json!({}), "dc1", 0),
        ("nearest", json!({"NearestN": 1}), "dc2", 1),
        (
            "named",
            json!({"Datacenters": ["dc9", "dc3", "dc2"]}),
            "dc2",
            2,
        ),
        (
            "targets",
            json!({"Targets": [{"Peer": "p"}, {"Datacenter": "dc2"}]}),
            "dc2",
            1,
        ),
    ] {
        let query = json!({"Name": name, "Service": {"Service": "web", "Failover": failover}});
        assert_eq!(world.post("/v1/query", &query).await.status, 200);
        let found = world.get(&format!("/v1/query/{name}/execute")).await.json();
        assert_eq!(found["Datacenter"], datacenter, "{name}: {found}");
        assert_eq!(found["Failovers"], tries, "{name}: {found}");
        let nodes = found["Nodes"].as_array().unwrap().len();
        assert_eq!(nodes, usize::from(datacenter == "dc2"), "{name}");
    }
}
