//! What the servers have on the agent's node and the agent does not know, and what they decide when nobody expects it any more.

use portolan_catalog::Done;
use portolan_replica::disk::Crash;

use super::*;

const SOON: Duration = Duration::from_secs(5);

fn is_there(state: &State, id: &str) -> bool {
    state.instance(&key(id)).is_some()
}

/// Whether the agent shows `id`, at every look until the servers are as wanted.
async fn steadily(world: &World, id: &str, shown: bool, at_servers: impl Fn(&State) -> bool) {
    let begun = tokio::time::Instant::now();
    loop {
        let state = world.registry.snapshot();
        assert_eq!(is_there(&state, id), shown, "after {:?}", begun.elapsed());
        if at_servers(&world.servers.registry().snapshot()) {
            break;
        }
        assert!(begun.elapsed() < SOON, "the servers go on without it");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.alike().await;
    assert_eq!(is_there(&world.registry.snapshot(), id), shown);
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_is_decided_late_does_not_remove_what_was_registered_since() {
    let world = World::new().await;
    world.ok(register("web-1", 80)).await;
    world.servers.hold_back();
    world.ok(deregister("web-1")).await;
    let late = world.servers.go_on();
    world
        .at_servers("the removal", |state| !is_there(state, "web-1"))
        .await;
    world.ok(register("web-1", 80)).await;
    world.alike().await;
    let outcomes = world.servers.decide_late(late).await;
    assert_eq!(outcomes.first(), Some(&Ok(Done::Deregistered(1))));
    steadily(&world, "web-1", true, |state| is_there(state, "web-1")).await;
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_is_decided_late_does_not_bring_back_what_was_removed_since() {
    let world = World::new().await;
    world.servers.hold_back();
    world.ok(register("web-1", 80)).await;
    let late = world.servers.go_on();
    world
        .at_servers("the registration", |state| is_there(state, "web-1"))
        .await;
    world.ok(deregister("web-1")).await;
    world.alike().await;
    let outcomes = world.servers.decide_late(late).await;
    assert!(matches!(outcomes.first(), Some(Ok(_))), "{outcomes:?}");
    steadily(&world, "web-1", false, |state| !is_there(state, "web-1")).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_holds_after_the_power_was_lost() {
    let mut world = World::new().await;
    world.ok(register("web-1", 80)).await;
    for there in [true, false] {
        if !there {
            world.ok(deregister("web-1")).await;
        }
        let World {
            servers,
            disk,
            agent,
            registry,
        } = world;
        // What the disk has now is all that is left.
        let left = disk.duplicate();
        left.restart(Crash::LoseAll);
        drop((agent, registry));
        let (agent, registry) = start(&servers, &left).await;
        world = World {
            servers,
            disk: left,
            agent,
            registry,
        };
        world.alike().await;
        tokio::time::sleep(Duration::from_secs(100)).await;
        world.alike().await;
        let state = world.servers.registry().snapshot();
        assert_eq!(is_there(&state, "web-1"), there);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_registered_at_its_nodes_agent_is_removed() {
    let world = World::new().await;
    world.ok(register("web-1", 80)).await;
    let there = world.servers.registry();
    let register_there = |key: InstanceKey, port| {
        let endpoint = Endpoint::new(Host::new("10.0.0.9"), port);
        let mut facts = Registration::new(key, ServiceKey::plain("web"), endpoint);
        facts.node = node();
        Command::Register(Box::new(Register::new(facts)))
    };
    let other = InstanceKey::new(Protocol::Eureka, "web/web-4");
    let check = |id: &str, instance: Option<&InstanceKey>| {
        let mut facts = CheckFacts::new(check_key(id), id);
        facts.instance = instance.cloned();
        Command::PutCheck(Box::new(portolan_catalog::PutCheck {
            check: NewCheck {
                facts: Arc::new(facts),
                status: Status::Passing,
                output: Arc::default(),
                reported: true,
            },
            expect: None,
        }))
    };
    let commands = [
        register_there(key("web-2"), 81),
        register_there(other.clone(), 82),
        check("of-nothing", None),
        check("of-its-own", Some(&key("web-1"))),
        check("of-another-protocol", Some(&other)),
    ];
    for command in commands {
        let done = there.propose(client(), command).await;
        done.unwrap().outcome.unwrap();
    }
    world
        .at_servers("the removal", |state| {
            let has = |id| state.check(&check_key(id)).is_some();
            !is_there(state, "web-2") && !has("of-nothing") && !has("of-its-own")
        })
        .await;
    let state = there.snapshot();
    assert!(is_there(&state, "web-1"));
    assert!(state.instance(&other).is_some());
    assert!(state.check(&check_key("of-another-protocol")).is_some());
    assert!(state.check(&check_key("serfHealth")).is_some());
    assert!(state.check(&check_key("service:web-1")).is_some());
    world.alike().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_leader_removed_since_it_was_critical_for_too_long_does_not_come_back() {
    let world = World::new().await;
    world.ok(register("web-1", 80)).await;
    world.ok(register("web-2", 81)).await;
    let check = check_key("service:web-1");
    let cause = Cause::own(portolan_catalog::Why::Reaped { check });
    let there = world.servers.registry();
    let reaped = there.propose(cause, deregister("web-1")).await;
    assert_eq!(reaped.unwrap().outcome, Ok(Done::Deregistered(1)));
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let state = there.snapshot();
        assert!(!is_there(&state, "web-1") && is_there(&state, "web-2"));
    }
    world.alike().await;
}
