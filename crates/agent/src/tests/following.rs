use portolan_catalog::{Key, Keyspace, Op, Put, Write};

use super::*;

fn put(key: &str, value: &str) -> Command {
    let value = value.as_bytes().to_vec().into();
    let put = Put::new(Keyspace::Etcd, Key::from(key), value);
    Command::Write(Write::one(Op::Put(Box::new(put))))
}

#[tokio::test(start_paused = true)]
async fn the_copy_is_the_state_of_the_servers_whoever_changed_it() {
    let world = World::new().await;
    world.ok(register("web-1", 80)).await;
    let at_once = world.registry.snapshot();
    assert!(
        at_once.instance(&key("web-1")).is_some(),
        "read your writes"
    );
    world.ok(report("web-1", Status::Passing)).await;
    world.alike().await;
    for round in 0..50 {
        let there = world.servers.registry();
        let settled = there.propose(client(), put(&format!("k{}", round % 7), "v"));
        settled.await.unwrap().outcome.unwrap();
    }
    world.alike().await;
    let grant = Command::Grant {
        lease: portolan_catalog::LeaseId::Etcd(7),
        terms: Some(portolan_catalog::Terms::strict(60_000)),
        session: None,
    };
    world.ok(grant).await;
    let lease = portolan_catalog::LeaseId::Etcd(7);
    assert!(world.registry.snapshot().lease(&lease).is_some());
    world.alike().await;
}

#[tokio::test(start_paused = true)]
async fn feeds_go_on_over_what_is_followed() {
    let world = World::new().await;
    let selector = portolan_registry::Selector::Service(ServiceKey::plain("web"));
    let mut feed = world
        .registry
        .follow(vec![selector], world.registry.snapshot().revision())
        .unwrap();
    for round in 1..=5_u16 {
        let there = world.servers.registry();
        let registered = there.propose(client(), register("web-1", round));
        registered.await.unwrap().outcome.unwrap();
        let batch = feed.next().await.unwrap();
        assert_eq!(batch.revision, there.snapshot().revision());
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_was_away_for_longer_than_entries_are_kept_fetches_everything() {
    let world = World::new().await;
    world.servers.registry().entries().bound(1 << 10);
    world.servers.set_up(false);
    until("the cut", || !world.agent.age().known_leader).await;
    for round in 0..200 {
        let there = world.servers.registry();
        let settled = there.propose(client(), put(&format!("k{round}"), "v"));
        settled.await.unwrap().outcome.unwrap();
    }
    world.servers.set_up(true);
    world.alike().await;
    assert!(world.agent.age().known_leader);
}

#[tokio::test(start_paused = true)]
async fn servers_that_have_lost_everything_are_told_what_is_owned() {
    let world = World::new().await;
    world.ok(register("web-1", 80)).await;
    world.ok(report("web-1", Status::Passing)).await;
    world.servers.lose_everything();
    world
        .at_servers("the service", |state| {
            status(state, "web-1") == Some(Status::Passing)
        })
        .await;
    world.alike().await;
}

#[tokio::test(start_paused = true)]
async fn what_others_removed_is_offered_again_and_what_was_removed_here_is_not() {
    let world = World::new().await;
    world.ok(register("web-1", 80)).await;
    world.ok(register("web-2", 81)).await;
    world.ok(deregister("web-2")).await;
    let there = world.servers.registry();
    there
        .propose(client(), deregister("web-1"))
        .await
        .unwrap()
        .outcome
        .unwrap();
    world
        .here("the removal", |state| {
            state.instance(&key("web-1")).is_none()
        })
        .await;
    world
        .at_servers("the offer", |state| state.instance(&key("web-1")).is_some())
        .await;
    world.alike().await;
    assert!(world.registry.snapshot().instance(&key("web-2")).is_none());
}

#[tokio::test(start_paused = true)]
async fn the_node_fails_when_its_agent_falls_silent_and_comes_back_with_it() {
    let world = World::new().await;
    world.ok(register("web-1", 80)).await;
    world.ok(report("web-1", Status::Passing)).await;
    let health = |state: &State| {
        let row = state.instance(&key("web-1"));
        row.map(|row| row.health)
    };
    world
        .at_servers("passing", |s| {
            health(s) == Some(portolan_catalog::Health::Passing)
        })
        .await;
    world.servers.set_up(false);
    let silent = tokio::time::Instant::now();
    world
        .at_servers("the failure", |state| {
            let serf = state.check(&check_key("serfHealth"));
            serf.is_some_and(|check| check.status == Status::Critical)
        })
        .await;
    assert!(
        silent.elapsed() <= Duration::from_secs(11),
        "{:?}",
        silent.elapsed()
    );
    let state = world.servers.registry().snapshot();
    assert_eq!(health(&state), Some(portolan_catalog::Health::Critical));
    // The client goes on: its own TTL of ten seconds is not what this is about.
    world.ok(report("web-1", Status::Passing)).await;
    world.servers.set_up(true);
    world
        .at_servers("the return", |s| {
            health(s) == Some(portolan_catalog::Health::Passing)
        })
        .await;
    world.alike().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_said_while_nothing_happens() {
    let world = World::new().await;
    world.ok(register("web-1", 80)).await;
    let before = world
        .servers
        .proposals
        .load(std::sync::atomic::Ordering::Relaxed);
    let renewals = world
        .servers
        .renewals
        .load(std::sync::atomic::Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(300)).await;
    let after = world
        .servers
        .proposals
        .load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(before, after, "no command without news");
    let renewals = world
        .servers
        .renewals
        .load(std::sync::atomic::Ordering::Relaxed)
        - renewals;
    assert!(
        (80..130).contains(&renewals),
        "{renewals} renewals of the node in five minutes"
    );
}
