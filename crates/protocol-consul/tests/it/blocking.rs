//! Blocking queries: who is woken, by what, and who is not.

use super::harness::World;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn a_service_query_wakes_for_its_own_service_only() {
    let world = World::new().await;
    world
        .register(&json!({"Name": "web", "Port": 80, "Check": {"TTL": "60s", "Status": "passing"}}))
        .await;
    for path in [
        "/v1/health/service/web",
        "/v1/catalog/service/web",
        "/v1/health/checks/web",
        "/v1/health/service/web?tag=",
        "/v1/health/service/web?passing",
    ] {
        let index = world.get(path).await.index();
        let joint = if path.contains('?') { '&' } else { '?' };
        let waiting = world.background(&format!("{path}{joint}index={index}&wait=20s"));
        world.waiting(1).await;
        world
            .register(&json!({"Name": "other", "Port": index}))
            .await;
        world
            .put("/v1/kv/x", index.to_string())
            .await
            .is(200, "true");
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!waiting.is_finished(), "{path} woke for another service");
        world
            .register(&json!({"Name": "web", "Port": 8000 + index, "Check": {"TTL": "60s"}}))
            .await;
        let answer = waiting.await.unwrap();
        assert!(answer.index() > index, "{path}");
    }
}

#[tokio::test]
async fn health_changes_wake_and_raise_the_index() {
    let world = World::new().await;
    world
        .register(&json!({"Name": "web", "Check": {"TTL": "60s", "Status": "passing"}}))
        .await;
    let index = world.get("/v1/health/service/web?passing").await.index();
    let waiting = world.background(&format!(
        "/v1/health/service/web?passing&index={index}&wait=20s"
    ));
    world.waiting(1).await;
    world
        .put("/v1/agent/check/fail/service:web", "")
        .await
        .is(200, "");
    let answer = waiting.await.unwrap();
    assert_eq!(answer.json(), json!([]));
    assert!(answer.index() > index);
    // The list of services shows no health, so it is no news there.
    let index = world.get("/v1/catalog/services").await.index();
    let waiting = world.background(&format!("/v1/catalog/services?index={index}&wait=20s"));
    world.waiting(1).await;
    world
        .put("/v1/agent/check/pass/service:web", "")
        .await
        .is(200, "");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    world.register(&json!({"Name": "new"})).await;
    assert!(waiting.await.unwrap().json().get("new").is_some());
}

#[tokio::test]
async fn an_index_of_the_future_or_the_present_waits_and_the_limit_answers_200() {
    let world = World::new().await;
    let index = world.get("/v1/health/service/web").await.index();
    for asked in [index, 1_000_000_000] {
        let start = Instant::now();
        let answer = world
            .get(&format!("/v1/health/service/web?index={asked}&wait=200ms"))
            .await;
        assert!(start.elapsed() >= Duration::from_millis(200));
        assert!(start.elapsed() < Duration::from_secs(5));
        assert_eq!(
            (answer.status, answer.index(), answer.json()),
            (200, index, json!([]))
        );
    }
}

#[tokio::test]
async fn what_does_not_exist_is_waited_for() {
    let world = World::new().await;
    let index = world.get("/v1/health/service/web").await.index();
    let service = world.background(&format!("/v1/health/service/web?index={index}&wait=20s"));
    let missing = world.get("/v1/kv/a/b").await;
    let key = world.background(&format!("/v1/kv/a/b?index={}&wait=20s", missing.index()));
    let node = world.background(&format!(
        "/v1/catalog/node/zz?index={}&wait=20s",
        world.get("/v1/catalog/node/zz").await.index()
    ));
    world.waiting(3).await;
    world.register(&json!({"Name": "web"})).await;
    assert_eq!(service.await.unwrap().json().as_array().unwrap().len(), 1);
    world.put("/v1/kv/a/b", "1").await.is(200, "true");
    assert_eq!(key.await.unwrap().status, 200);
    world
        .put_json(
            "/v1/catalog/register",
            &json!({"Node": "zz", "Address": "10.1.1.1"}),
        )
        .await
        .is(200, "true");
    assert_eq!(node.await.unwrap().json()["Node"]["Address"], "10.1.1.1");
}

#[tokio::test]
async fn the_last_instance_going_raises_the_index() {
    let world = World::new().await;
    world.register(&json!({"Name": "web"})).await;
    let index = world.get("/v1/health/service/web").await.index();
    let waiting = world.background(&format!("/v1/health/service/web?index={index}&wait=20s"));
    world.waiting(1).await;
    world
        .put("/v1/agent/service/deregister/web", "")
        .await
        .is(200, "");
    let answer = waiting.await.unwrap();
    assert_eq!(answer.json(), json!([]));
    assert!(answer.index() > index);
}

#[tokio::test]
async fn keys_wake_for_themselves_and_prefixes_for_removals() {
    let world = World::new().await;
    world.put("/v1/kv/p/a", "1").await.is(200, "true");
    world.put("/v1/kv/p/b", "1").await.is(200, "true");
    let one = world.get("/v1/kv/p/a").await;
    let prefix = world.get("/v1/kv/p/?recurse").await;
    let waiting_one = world.background(&format!("/v1/kv/p/a?index={}&wait=20s", one.index()));
    let waiting_prefix = world.background(&format!(
        "/v1/kv/p/?recurse&index={}&wait=20s",
        prefix.index()
    ));
    let waiting_keys =
        world.background(&format!("/v1/kv/p/?keys&index={}&wait=20s", prefix.index()));
    world.waiting(3).await;
    world.put("/v1/kv/q", "1").await.is(200, "true");
    // An equal value is no news.
    world.put("/v1/kv/p/a", "1").await.is(200, "true");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting_prefix.is_finished() && !waiting_one.is_finished());
    world.delete("/v1/kv/p/b").await.is(200, "true");
    let woken = waiting_prefix.await.unwrap();
    assert!(woken.index() > prefix.index());
    assert_eq!(woken.json().as_array().unwrap().len(), 1);
    assert_eq!(waiting_keys.await.unwrap().json(), json!(["p/a"]));
    assert!(!waiting_one.is_finished());
    world.delete("/v1/kv/p/a").await.is(200, "true");
    let gone = waiting_one.await.unwrap();
    assert_eq!(gone.status, 404);
    assert!(gone.index() > one.index());
}

#[tokio::test]
async fn a_client_that_leaves_is_forgotten_at_once() {
    let world = World::new().await;
    let index = world.get("/v1/health/service/web").await.index();
    let mut streams = Vec::new();
    for _ in 0..50 {
        let mut stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
        let request = format!(
            "GET /v1/health/service/web?index={index}&wait=10m HTTP/1.1\r\nHost: {}\r\n\r\n",
            world.address
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    world.waiting(50).await;
    drop(streams);
    world.waiting(0).await;
}

#[tokio::test]
async fn sessions_events_and_lists_wake_too() {
    let world = World::new().await;
    let sessions = world.background(&format!(
        "/v1/session/list?index={}&wait=20s",
        world.get("/v1/session/list").await.index()
    ));
    let events = world.get("/v1/event/list").await.index();
    let events = world.background(&format!("/v1/event/list?index={events}&wait=20s"));
    let nodes = world.background(&format!(
        "/v1/catalog/nodes?index={}&wait=20s",
        world.get("/v1/catalog/nodes").await.index()
    ));
    let state = world.background(&format!(
        "/v1/health/state/any?index={}&wait=20s",
        world.get("/v1/health/state/any").await.index()
    ));
    world.waiting(4).await;
    assert_eq!(world.put("/v1/session/create", "").await.status, 200);
    assert_eq!(sessions.await.unwrap().json().as_array().unwrap().len(), 1);
    assert_eq!(world.put("/v1/event/fire/deploy", "x").await.status, 200);
    assert_eq!(events.await.unwrap().json()[0]["Name"], "deploy");
    world.put_json("/v1/catalog/register", &json!({"Node": "zz", "Address": "10.1.1.1", "Check": {"Name": "c", "Status": "passing"}})).await.is(200, "true");
    assert_eq!(nodes.await.unwrap().json().as_array().unwrap().len(), 2);
    assert_eq!(state.await.unwrap().json().as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_waiting_queries_are_cheap_and_only_the_right_ones_wake() {
    let world = World::new().await;
    for i in 0..20 {
        world
            .register(&json!({"Name": format!("s{i}"), "Port": 1}))
            .await;
    }
    let mut waiting = Vec::new();
    for i in 0..400 {
        let name = format!("s{}", i % 20);
        let index = world
            .get(&format!("/v1/health/service/{name}"))
            .await
            .index();
        waiting.push((
            i % 20,
            world.background(&format!("/v1/health/service/{name}?index={index}&wait=60s")),
        ));
    }
    world.waiting(400).await;
    world.register(&json!({"Name": "s7", "Port": 2})).await;
    let mut woken = 0;
    for (service, task) in waiting {
        if service == 7 {
            assert_eq!(task.await.unwrap().json()[0]["Service"]["Port"], 2);
            woken += 1;
        } else {
            assert!(!task.is_finished());
            task.abort();
        }
    }
    assert_eq!(woken, 20);
}

#[tokio::test]
async fn a_shared_index_that_moved_for_something_else_is_no_news() {
    let world = World::new().await;
    world
        .register(&json!({"Name": "web", "Check": {"TTL": "60s", "Status": "passing"}}))
        .await;
    let services = world.get("/v1/catalog/services").await.index();
    let node = world.get("/v1/catalog/node/zz").await.index();
    world
        .put("/v1/agent/check/fail/service:web", "")
        .await
        .is(200, "");
    let services = world.background(&format!("/v1/catalog/services?index={services}&wait=20s"));
    let node = world.background(&format!("/v1/catalog/node/zz?index={node}&wait=20s"));
    world.waiting(2).await;
    world.register(&json!({"Name": "other"})).await;
    assert!(services.await.unwrap().json().get("other").is_some());
    assert!(!node.is_finished());
    node.abort();
}

#[tokio::test]
async fn lists_that_seldom_change_wait_too() {
    let world = World::new().await;
    for path in [
        "/v1/coordinate/nodes",
        "/v1/coordinate/node/n1",
        "/v1/peerings",
        "/v1/connect/ca/roots",
    ] {
        let index = world.get(path).await.index();
        let waiting = world.background(&format!("{path}?index={index}&wait=20s"));
        world.waiting(1).await;
        assert!(!waiting.is_finished(), "{path}");
        waiting.abort();
        world.waiting(0).await;
    }
    assert_eq!(
        world.get("/v1/coordinate/nodes?segment=a").await.json(),
        json!([])
    );
}

#[tokio::test]
async fn health_is_news_where_it_shows_and_nowhere_else() {
    let world = World::new().await;
    world
        .register(&json!({"Name": "web", "Port": 80, "Connect": {"Native": true}, "Check": {"TTL": "60s", "Status": "passing"}}))
        .await;
    let mut deaf = Vec::new();
    for path in [
        "/v1/catalog/connect/web",
        "/v1/catalog/node/n1",
        "/v1/catalog/nodes",
    ] {
        let index = world.get(path).await.index();
        deaf.push((
            path,
            world.background(&format!("{path}?index={index}&wait=20s")),
        ));
    }
    let path = "/v1/health/connect/web";
    let index = world.get(path).await.index();
    let health = world.background(&format!("{path}?index={index}&wait=20s"));
    world.waiting(4).await;
    world
        .put("/v1/agent/check/warn/service:web", "")
        .await
        .is(200, "");
    let health = health.await.unwrap();
    assert_eq!(health.json()[0]["Checks"][1]["Status"], "warning");
    tokio::time::sleep(Duration::from_millis(50)).await;
    for (path, waiting) in &deaf {
        assert!(!waiting.is_finished(), "{path} woke for health");
    }
    // A node's maintenance is a check of each of its instances.
    let waiting = world.background(&format!("{path}?index={}&wait=20s", health.index()));
    world.waiting(4).await;
    world
        .put("/v1/agent/maintenance?enable=true", "")
        .await
        .is(200, "");
    let checks = waiting.await.unwrap().json();
    assert_eq!(checks[0]["Checks"][0]["CheckID"], "_node_maintenance");
    // The rows of the catalog show their node, so what is written of it is news there.
    let (_, connected) = deaf.swap_remove(0);
    assert_eq!(connected.await.unwrap().status, 200);
}
