//! Sessions and locks.

use super::harness::{World, pluck};
use serde_json::{Value, json};
use std::time::Duration;

async fn session(world: &World, body: Value) -> String {
    let answer = world.put_json("/v1/session/create", &body).await;
    answer.json()["ID"]
        .as_str()
        .unwrap_or_else(|| panic!("{}", answer.text()))
        .to_owned()
}

#[tokio::test]
async fn a_session_is_shown_renewed_and_destroyed() {
    let world = World::new().await;
    let id = session(
        &world,
        json!({"Name": "s", "TTL": "15s", "LockDelay": "1s", "Behavior": "delete"}),
    )
    .await;
    let info = &world.get(&format!("/v1/session/info/{id}")).await.json()[0];
    assert_eq!(
        (&info["ID"], &info["Name"], &info["Node"], &info["TTL"]),
        (&json!(id), &json!("s"), &json!("n1"), &json!("15s"))
    );
    assert_eq!(
        (
            &info["LockDelay"],
            &info["Behavior"],
            &info["NodeChecks"],
            &info["ServiceChecks"]
        ),
        (
            &json!(1_000_000_000),
            &json!("delete"),
            &json!(["serfHealth"]),
            &Value::Null
        )
    );
    let before = world.revision();
    assert_eq!(
        pluck(
            &world
                .put(&format!("/v1/session/renew/{id}"), "")
                .await
                .json(),
            "ID"
        ),
        [id.as_str()]
    );
    assert_eq!(world.revision(), before, "a renewal stays out of the log");
    assert_eq!(
        pluck(&world.get("/v1/session/list").await.json(), "ID"),
        [id.as_str()]
    );
    assert_eq!(
        pluck(&world.get("/v1/session/node/n1").await.json(), "ID"),
        [id.as_str()]
    );
    assert_eq!(world.get("/v1/session/node/zz").await.json(), json!([]));
    for _ in 0..2 {
        world
            .put(&format!("/v1/session/destroy/{id}"), "")
            .await
            .is(200, "true");
    }
    assert_eq!(
        world.get(&format!("/v1/session/info/{id}")).await.json(),
        json!([])
    );
    world
        .put(&format!("/v1/session/renew/{id}"), "")
        .await
        .is(404, &format!("Session id '{id}' not found"));
    let plain = session(&world, Value::Null).await;
    let info = &world.get(&format!("/v1/session/info/{plain}")).await.json()[0];
    assert_eq!(
        (&info["TTL"], &info["LockDelay"]),
        (&json!(""), &json!(15_000_000_000_u64))
    );
    assert_eq!(
        world
            .put(&format!("/v1/session/renew/{plain}"), "")
            .await
            .status,
        200
    );
    let none = session(&world, json!({"NodeChecks": []})).await;
    assert_eq!(
        world.get(&format!("/v1/session/info/{none}")).await.json()[0]["NodeChecks"],
        json!([])
    );
}

#[tokio::test]
async fn what_makes_no_session() {
    let world = World::new().await;
    for (body, text) in [
        (
            json!({"TTL": "5s"}),
            "Invalid Session TTL '5000000000', must be between [10s=24h0m0s]",
        ),
        (json!({"TTL": "x"}), "Session TTL 'x' invalid"),
        (json!({"Behavior": "x"}), "Invalid Behavior setting 'x'"),
        (json!({"Node": "zz"}), "Missing node registration"),
        (
            json!({"NodeChecks": ["zz"]}),
            "Missing check 'zz' registration",
        ),
    ] {
        world
            .put_json("/v1/session/create", &body)
            .await
            .says(500, text);
    }
    world
        .put_json(
            "/v1/agent/check/register",
            &json!({"Name": "bad", "TTL": "60s"}),
        )
        .await
        .is(200, "");
    world
        .put_json("/v1/session/create", &json!({"NodeChecks": ["bad"]}))
        .await
        .is(500, "Check 'bad' is in critical state");
}

#[tokio::test]
async fn locks_are_taken_kept_and_given_back() {
    let world = World::new().await;
    let (a, b) = (
        session(&world, json!({})).await,
        session(&world, json!({})).await,
    );
    world
        .put(&format!("/v1/kv/lock?acquire={a}"), "1")
        .await
        .is(200, "true");
    let pair = world.get("/v1/kv/lock").await.json()[0].clone();
    assert_eq!(
        (&pair["LockIndex"], &pair["Session"]),
        (&json!(1), &json!(a))
    );
    world
        .put(&format!("/v1/kv/lock?acquire={a}"), "2")
        .await
        .is(200, "true");
    assert_eq!(world.get("/v1/kv/lock").await.json()[0]["LockIndex"], 1);
    world
        .put(&format!("/v1/kv/lock?acquire={b}"), "x")
        .await
        .is(200, "false");
    world
        .put(&format!("/v1/kv/lock?release={b}"), "x")
        .await
        .is(200, "false");
    world.put("/v1/kv/lock", "plain").await.is(200, "true");
    assert_eq!(
        world.get("/v1/kv/lock").await.json()[0]["Session"],
        json!(a),
        "a plain put keeps the lock"
    );
    world
        .put(&format!("/v1/kv/lock?release={a}"), "3")
        .await
        .is(200, "true");
    let pair = world.get("/v1/kv/lock").await.json()[0].clone();
    assert_eq!(
        (&pair["LockIndex"], pair.get("Session"), &pair["Value"]),
        (&json!(1), None, &json!("Mw=="))
    );
    world
        .put(&format!("/v1/kv/lock?acquire={b}"), "4")
        .await
        .is(200, "true");
    assert_eq!(world.get("/v1/kv/lock").await.json()[0]["LockIndex"], 2);
    let nobody = "11111111-2222-3333-4444-555555555555";
    world
        .put(&format!("/v1/kv/lock?acquire={nobody}"), "x")
        .await
        .is(500, &format!("invalid session \"{nobody}\""));
    world
        .put("/v1/kv/lock?acquire=zz", "x")
        .await
        .is(500, "invalid session \"zz\"");
}

#[tokio::test]
async fn a_session_that_ends_releases_or_deletes_and_delays() {
    let world = World::new().await;
    let waiter = session(&world, json!({})).await;
    let release = session(&world, json!({"LockDelay": "300ms"})).await;
    world
        .put(&format!("/v1/kv/r?acquire={release}"), "1")
        .await
        .is(200, "true");
    let index = world.get("/v1/kv/r").await.index();
    let waiting = world.background(&format!("/v1/kv/r?index={index}&wait=20s&consistent"));
    world.waiting(1).await;
    world
        .put(&format!("/v1/session/destroy/{release}"), "")
        .await
        .is(200, "true");
    assert!(waiting.await.unwrap().json()[0].get("Session").is_none());
    world
        .put(&format!("/v1/kv/r?acquire={waiter}"), "2")
        .await
        .is(200, "false");
    world
        .put("/v1/kv/r", "other writes work")
        .await
        .is(200, "true");
    tokio::time::sleep(Duration::from_millis(400)).await;
    world
        .put(&format!("/v1/kv/r?acquire={waiter}"), "2")
        .await
        .is(200, "true");
    let delete = session(&world, json!({"Behavior": "delete", "LockDelay": "0s"})).await;
    world
        .put(&format!("/v1/kv/d?acquire={delete}"), "1")
        .await
        .is(200, "true");
    world
        .put(&format!("/v1/session/destroy/{delete}"), "")
        .await
        .is(200, "true");
    world.get("/v1/kv/d").await.is(404, "");
    world
        .put(&format!("/v1/kv/d?acquire={waiter}"), "1")
        .await
        .is(200, "true");
}

#[tokio::test]
async fn a_failing_check_or_a_removed_node_ends_its_sessions() {
    let world = World::new().await;
    world
        .put_json(
            "/v1/agent/check/register",
            &json!({"Name": "c", "TTL": "60s", "Status": "passing"}),
        )
        .await
        .is(200, "");
    let bound = session(&world, json!({"NodeChecks": ["c"], "LockDelay": 0})).await;
    world
        .put(&format!("/v1/kv/k?acquire={bound}"), "1")
        .await
        .is(200, "true");
    world.put("/v1/agent/check/fail/c", "").await.is(200, "");
    assert_eq!(
        world.get(&format!("/v1/session/info/{bound}")).await.json(),
        json!([])
    );
    assert!(
        world.get("/v1/kv/k").await.json()[0]
            .get("Session")
            .is_none()
    );
    world
        .put_json(
            "/v1/catalog/register",
            &json!({"Node": "ext", "Address": "1.1.1.1"}),
        )
        .await
        .is(200, "true");
    let external = session(&world, json!({"Node": "ext"})).await;
    world
        .put_json("/v1/catalog/deregister", &json!({"Node": "ext"}))
        .await
        .is(200, "true");
    assert_eq!(
        world
            .get(&format!("/v1/session/info/{external}"))
            .await
            .json(),
        json!([])
    );
}

/// What a session has is twice its TTL: Patroni, Vault and Nomad renew once in a TTL, sometimes a little late.
#[tokio::test]
async fn a_session_has_two_of_its_ttls_and_a_renewal_gives_both_again() {
    let world = World::new().await;
    let id = session(&world, json!({"TTL": "10s"})).await;
    let lease =
        portolan_catalog::LeaseId::Session(portolan_catalog::SessionId::parse(&id).unwrap());
    for renewed in [false, true] {
        let left = world.registry.remaining(&lease).unwrap();
        let range = Duration::from_secs(19)..=Duration::from_secs(20);
        assert!(range.contains(&left), "renewed {renewed}: {left:?}");
        let answer = world.put(&format!("/v1/session/renew/{id}"), "").await;
        assert_eq!(answer.json()[0]["TTL"], "10s");
    }
    let info = world.get(&format!("/v1/session/info/{id}")).await.json();
    assert_eq!(info[0]["TTL"], "10s");
}

/// A check has one TTL, not two: what is silent for longer is critical.
#[tokio::test]
async fn a_ttl_check_has_one_ttl() {
    let world = World::new().await;
    let check = json!({"Name": "c", "TTL": "10s", "Status": "passing", "DeregisterCriticalServiceAfter": "10s"});
    world
        .put_json("/v1/agent/check/register", &check)
        .await
        .is(200, "");
    let key = portolan_catalog::CheckKey::new(&portolan_catalog::NodeName::new("n1"), "c");
    let left = world
        .registry
        .remaining(&portolan_catalog::LeaseId::Check(key.clone()))
        .unwrap();
    assert!(
        left > Duration::from_secs(9) && left <= Duration::from_secs(10),
        "{left:?}"
    );
    // Less than a minute counts as a minute.
    let state = world.registry.snapshot();
    assert_eq!(state.check(&key).unwrap().reap_after_ms, Some(60_000));
}

/// The delay is shown as it was sent; what counts is at most a minute.
#[tokio::test]
async fn a_lock_delay_counts_for_at_most_a_minute() {
    let world = World::new().await;
    for (body, shown, counts) in [
        (json!({"TTL": "10s"}), 15_000, 15_000),
        (json!({"LockDelay": "90s"}), 90_000, 60_000),
        (json!({"LockDelay": "0s"}), 0, 0),
    ] {
        let id = session(&world, body).await;
        let info = world.get(&format!("/v1/session/info/{id}")).await.json();
        assert_eq!(info[0]["LockDelay"], json!(shown * 1_000_000_i64));
        let key = format!("k{shown}");
        world
            .put(&format!("/v1/kv/{key}?acquire={id}"), "1")
            .await
            .is(200, "true");
        let before = world.registry.now().0;
        world
            .put(&format!("/v1/session/destroy/{id}"), "")
            .await
            .is(200, "true");
        let state = world.registry.snapshot();
        let space = portolan_catalog::Keyspace::ConsulKv;
        let until = state.lock_delay(space, &portolan_catalog::Key::from(key.as_str()));
        match (until, counts) {
            (None, 0) => {}
            (Some(until), _) => {
                let delay = until.0 - before;
                assert!((counts..counts + 2000).contains(&delay), "{shown}: {delay}");
            }
            (None, _) => panic!("no delay after {shown} ms"),
        }
    }
}
