use portolan_catalog::{Admin, AdminStatus, AdminTarget};

use super::*;

async fn cut(world: &World) {
    world.servers.set_up(false);
    until("the cut", || !world.agent.age().known_leader).await;
}

#[tokio::test(start_paused = true)]
async fn lookups_are_answered_and_registrations_taken_without_servers() {
    let world = World::new().await;
    world.ok(register("web-1", 80)).await;
    world.ok(report("web-1", Status::Passing)).await;
    cut(&world).await;
    let age = world.agent.age();
    assert!(!age.known_leader && age.age.is_some());
    let before = world.registry.snapshot();
    assert!(before.instance(&key("web-1")).is_some());
    // What is not this agent's to decide waits for a leader.
    let foreign = Command::DropNode {
        name: NodeName::new("n1"),
        expect: None,
    };
    assert_eq!(world.propose(foreign).await, Err(Unavailable::NoLeader));
    assert_eq!(
        world.registry.linearized().await.err(),
        Some(Unavailable::NoLeader)
    );
    // What is its own it decides.
    world.ok(register("web-2", 81)).await;
    world.ok(report("web-2", Status::Warning)).await;
    world.ok(deregister("web-1")).await;
    let alone = world.registry.snapshot();
    assert!(alone.revision() > before.revision());
    assert!(alone.instance(&key("web-1")).is_none());
    assert_eq!(status(&alone, "web-2"), Some(Status::Warning));
    // The servers hear of it when they are back.
    world.servers.set_up(true);
    let back = tokio::time::Instant::now();
    world
        .at_servers("what was decided alone", |state| {
            state.instance(&key("web-1")).is_none()
                && status(state, "web-2") == Some(Status::Warning)
        })
        .await;
    assert!(
        back.elapsed() < Duration::from_secs(10),
        "{:?}",
        back.elapsed()
    );
    world.alike().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_without_servers_keeps_what_was_decided_alone() {
    let world = World::new().await;
    world.ok(register("web-1", 80)).await;
    cut(&world).await;
    world.ok(register("web-2", 81)).await;
    world.ok(report("web-2", Status::Passing)).await;
    world.ok(deregister("web-1")).await;
    let begun = tokio::time::Instant::now();
    let world = world.restart().await;
    assert!(
        begun.elapsed() <= Duration::from_millis(500),
        "{:?}",
        begun.elapsed()
    );
    let alone = world.registry.snapshot();
    assert!(alone.instance(&key("web-1")).is_none());
    assert_eq!(status(&alone, "web-2"), Some(Status::Passing));
    assert!(!world.agent.age().known_leader);
    world.servers.set_up(true);
    world
        .at_servers("what was decided alone", |state| {
            state.instance(&key("web-1")).is_none()
                && status(state, "web-2") == Some(Status::Passing)
        })
        .await;
    world.alike().await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_lost_its_directory_takes_what_the_servers_have_of_it() {
    let world = World::new().await;
    world.ok(register("web-1", 80)).await;
    world.agent.shutdown().await;
    let world = World {
        disk: MemoryDisk::new(),
        ..world
    };
    let world = world.restart().await;
    world
        .here("the service", |state| {
            state.instance(&key("web-1")).is_some()
        })
        .await;
    world.alike().await;
    world.servers.lose_everything();
    world
        .at_servers("the offer", |state| state.instance(&key("web-1")).is_some())
        .await;
}

#[tokio::test(start_paused = true)]
async fn ttl_checks_expire_here_without_servers() {
    let world = World::new().await;
    world.ok(register("web-1", 80)).await;
    world.ok(report("web-1", Status::Passing)).await;
    cut(&world).await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(
        status(&world.registry.snapshot(), "web-1"),
        Some(Status::Passing)
    );
    world
        .here("the expiry", |state| {
            status(state, "web-1") == Some(Status::Critical)
        })
        .await;
    world.ok(report("web-1", Status::Passing)).await;
    assert_eq!(
        status(&world.registry.snapshot(), "web-1"),
        Some(Status::Passing)
    );
}

#[tokio::test(start_paused = true)]
async fn a_check_that_passed_here_while_the_servers_let_it_lapse_passes_again() {
    let world = World::new().await;
    world.ok(register("web-1", 80)).await;
    world.ok(report("web-1", Status::Passing)).await;
    cut(&world).await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(4)).await;
        world.ok(report("web-1", Status::Passing)).await;
    }
    let there = world.servers.registry().snapshot();
    assert_eq!(
        status(&there, "web-1"),
        Some(Status::Critical),
        "the servers heard nothing"
    );
    world.servers.set_up(true);
    world
        .at_servers("the result", |state| {
            status(state, "web-1") == Some(Status::Passing)
        })
        .await;
    world.alike().await;
}

#[tokio::test(start_paused = true)]
async fn of_administrative_status_the_last_word_counts() {
    let admin = |reason: &str| {
        Some(Arc::new(Admin {
            status: AdminStatus::OutOfService,
            reason: reason.into(),
            by: Protocol::Consul,
        }))
    };
    let set = |id: &str, admin| Command::SetAdmin {
        target: AdminTarget::Instance(key(id)),
        admin,
        declared: None,
    };
    let reason = |state: &State, id: &str| {
        let row = state.instance(&key(id));
        row.and_then(|row| row.admin.clone())
            .map(|admin| admin.reason.to_string())
    };
    let world = World::new().await;
    world.ok(register("web-1", 80)).await;
    world.ok(register("web-2", 81)).await;
    cut(&world).await;
    let there = world.servers.registry();
    for id in ["web-1", "web-2"] {
        let elsewhere = there.propose(client(), set(id, admin("elsewhere")));
        elsewhere.await.unwrap().outcome.unwrap();
    }
    world.ok(set("web-1", admin("here"))).await;
    world.servers.set_up(true);
    world
        .at_servers("the last word", |state| {
            reason(state, "web-1").as_deref() == Some("here")
        })
        .await;
    world.alike().await;
    let state = world.registry.snapshot();
    assert_eq!(reason(&state, "web-2").as_deref(), Some("elsewhere"));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_another_node_has_taken_over_is_let_go() {
    let world = World::new().await;
    world.ok(register("web-1", 80)).await;
    cut(&world).await;
    let there = world.servers.registry();
    let gone = there.propose(client(), deregister("web-1"));
    gone.await.unwrap().outcome.unwrap();
    let other = NodeName::new("n1");
    let Command::Register(mut moved) = register("web-1", 80) else {
        unreachable!()
    };
    let mut facts = (*moved.facts).clone();
    facts.key = InstanceKey::consul(&other, "web-1");
    facts.node = other.clone();
    moved.facts = Arc::new(facts);
    moved.checks.clear();
    let moved = there.propose(client(), Command::Register(moved));
    moved.await.unwrap().outcome.unwrap();
    world.servers.set_up(true);
    world.alike().await;
    tokio::time::sleep(Duration::from_secs(200)).await;
    let state = world.servers.registry().snapshot();
    assert!(
        state.instance(&key("web-1")).is_none(),
        "it is not taken back"
    );
    assert!(
        state
            .instance(&InstanceKey::consul(&other, "web-1"))
            .is_some()
    );
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_what_would_be_decided_alone() {
    let world = World::new().await;
    cut(&world).await;
    world.disk.set_capacity(Some(0));
    let refused = world.propose(register("web-1", 80)).await;
    assert_eq!(refused, Err(Unavailable::Full));
    world.disk.set_capacity(None);
    world.ok(register("web-1", 80)).await;
    world.servers.set_up(true);
    world
        .at_servers("the service", |state| {
            state.instance(&key("web-1")).is_some()
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn feeds_that_stand_on_what_did_not_come_to_be_are_cut_off() {
    let world = World::new().await;
    cut(&world).await;
    let selector = portolan_registry::Selector::Service(ServiceKey::plain("web"));
    let after = world.registry.snapshot().revision();
    let mut feed = world.registry.follow(vec![selector], after).unwrap();
    for port in 0..5 {
        world.ok(register("web-1", 80 + port)).await;
        feed.next().await.unwrap();
    }
    world.ok(deregister("web-1")).await;
    feed.next().await.unwrap();
    world.servers.set_up(true);
    world.alike().await;
    let revision = world.registry.snapshot().revision();
    assert!(revision < Revision(after.0 + 6), "the servers heard less");
    let cut = feed.next().await.unwrap_err();
    assert!(cut.floor <= revision.next(), "{cut:?}");
}

use portolan_catalog::Revision;

#[tokio::test(start_paused = true)]
async fn a_report_that_no_server_heard_counts_at_the_servers_afterwards() {
    let world = World::new().await;
    world.ok(register("web-1", 80)).await;
    world.ok(report("web-1", Status::Passing)).await;
    // The servers' ten seconds of the check begin here, and go on while nobody can reach them.
    world.servers.set_up(false);
    tokio::time::sleep(Duration::from_secs(7)).await;
    world.ok(report("web-1", Status::Passing)).await;
    world.servers.set_up(true);
    world.alike().await;
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let state = world.servers.registry().snapshot();
        assert_eq!(status(&state, "web-1"), Some(Status::Passing));
    }
}
