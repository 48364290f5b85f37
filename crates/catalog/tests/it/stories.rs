//! Ten stories of one endpoint seen through several protocols, at the level of the model.

use std::sync::Arc;

use portolan_catalog::Health::{Critical, Maintenance, Passing};
use portolan_catalog::*;

use crate::support::*;

const KITEX: &str = "kitex/registry-etcd/web/10.0.0.1:8080";
const PLAIN: &str = "/services/web/10.0.0.1:8080";
const EUREKA: &str = "eureka:WEB/h1:web:8080";

fn web() -> Register {
    eureka("web", "h1:web:8080", "10.0.0.1", 8080)
}

fn web_key() -> InstanceKey {
    eureka_key("web", "h1:web:8080")
}

fn web_consul() -> Register {
    consul("web", "web-1", "10.0.0.1", 8080, true)
}

#[test]
fn story_1_a_registration_is_seen_by_all_in_one_revision() {
    let mut world = World::with_layouts_awake();
    let applied = world.run(register(web()));
    assert_eq!(applied.settled.revision, Revision(2));
    let record = world.record(KITEX).unwrap();
    assert_eq!(
        (
            record.created.0,
            record.modified.0,
            record.version,
            &record.lease
        ),
        (2, 2, 1, &None)
    );
    assert_eq!(
        record.bytes(),
        r#"{"network":"tcp","address":"10.0.0.1:8080","weight":10,"tags":null}"#
    );
    assert_eq!(
        record_events(&applied),
        [format!("PUT {KITEX} v1"), format!("PUT {PLAIN} v1")]
    );
    let service = ServiceKey::plain("web");
    assert_eq!(world.state.service_index(&service), Revision(2));
    assert_eq!(
        world.rows("web", Protocol::Consul),
        [(EUREKA.to_owned(), Passing)]
    );
    assert_eq!(
        world
            .state
            .virtual_nodes()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["10-0-0-1.virtual"]
    );
    assert_eq!(
        world.state.service_by_label("default", "web"),
        Some(&service)
    );
}

#[test]
fn story_2_the_same_bytes_again_wake_nobody() {
    let mut world = World::with_layouts_awake();
    world.ok(register(web()));
    let again = world.run(register(web()));
    assert_eq!((again.settled.revision, again.batch), (Revision(2), None));
    assert_eq!(
        again.leases,
        [LeaseId::Heartbeat(web_key())],
        "the lease starts afresh"
    );
}

#[test]
fn story_3_a_missed_lease_removes_it_everywhere_and_the_service_is_forgotten_later() {
    let mut world = World::with_layouts_awake();
    world.ok(register(web()));
    let lease = LeaseId::Heartbeat(web_key());
    let stale = Command::Lapse {
        lease: lease.clone(),
        stage: 0,
        generation: 0,
    };
    assert_eq!(world.run(stale).settled.outcome, Err(Refusal::Stale));
    let command = lapse(&world, &lease);
    let lapsed = world.run(command);
    assert_eq!(lapsed.settled.revision, Revision(3));
    assert_eq!(
        record_events(&lapsed),
        [format!("DELETE {KITEX}"), format!("DELETE {PLAIN}")]
    );
    let service = ServiceKey::plain("web");
    assert!(world.state.endpoints(&service).next().is_none());
    assert!(
        world.state.service(&service).is_some(),
        "it lives on for a while"
    );
    assert_eq!(world.state.service_index(&service), Revision(3));
    assert_eq!(
        world.ok(Command::Forget {
            service: service.clone(),
            protocol: None
        }),
        4
    );
    assert_eq!(world.state.service_index(&service), Revision(4));
    assert_eq!(world.state.marks().services_gone, Revision(4));
    assert_eq!(
        world.ok(register(web())),
        5,
        "a late client registers again"
    );
}

#[test]
fn story_4_the_guard_is_a_setting_and_spares_heartbeats_only() {
    let mut world = World::new();
    world.ok(register(web()));
    let terms = |lease: &LeaseId, world: &World| world.state.lease(lease).unwrap().terms.guarded;
    assert!(terms(&LeaseId::Heartbeat(web_key()), &world));
    let lease = LeaseId::Etcd(1);
    world.ok(Command::Grant {
        lease: lease.clone(),
        terms: Some(Terms::strict(1000)),
        session: None,
    });
    assert!(!terms(&lease, &world));
    let guard = Put {
        space: Keyspace::Settings,
        quiet: true,
        ..put_op("guard", "{}")
    };
    assert_eq!(
        world.ok(write(Op::Put(Box::new(guard)))),
        3,
        "raising the guard is one revision"
    );
    let lift = Op::Delete {
        space: Keyspace::Settings,
        range: KeyRange::One("guard".into()),
        expect: Expect::Any,
    };
    assert_eq!(world.ok(write(lift)), 4, "and lifting it another");
    assert_eq!(
        world.rows("web", Protocol::Eureka),
        [(EUREKA.to_owned(), Passing)]
    );
}

#[test]
fn story_5_a_second_registration_is_the_same_endpoint() {
    let mut world = World::with_layouts_awake();
    world.ok(register(web()));
    let own = "consul:n1/web-1".to_owned();
    let twin = world.run(register(web_consul()));
    assert_eq!(
        record_events(&twin),
        [""; 0],
        "nothing changes for readers of the endpoint"
    );
    assert_eq!(
        world.rows("web", Protocol::Consul),
        [(own.clone(), Critical), (EUREKA.to_owned(), Passing)]
    );
    assert_eq!(
        world.rows("web", Protocol::Eureka),
        [(EUREKA.to_owned(), Passing)]
    );
    assert_eq!(
        world.endpoint("web").health,
        Passing,
        "the check has not reported"
    );
    world.ok(report("web-1", Status::Passing));
    assert_eq!(
        world.rows("web", Protocol::Consul),
        [(own.clone(), Passing)]
    );
    let failed = world.run(report("web-1", Status::Critical));
    assert_eq!(
        record_events(&failed),
        [format!("DELETE {KITEX}"), format!("DELETE {PLAIN}")]
    );
    assert_eq!(world.endpoint("web").health, Critical);
    assert_eq!(
        world.rows("web", Protocol::Eureka),
        [(EUREKA.to_owned(), Passing)],
        "Eureka's own row is its own"
    );
    let back = world.run(report("web-1", Status::Passing));
    assert_eq!(
        record_events(&back),
        [format!("PUT {KITEX} v1"), format!("PUT {PLAIN} v1")],
        "a new incarnation"
    );
}

#[test]
fn story_6_one_twin_leaves_and_the_endpoint_stays() {
    let mut world = World::with_layouts_awake();
    let mut named = web();
    named.facts = Arc::new(Registration {
        meta: [("zone", "z1")].into_iter().collect(),
        ..(*named.facts).clone()
    });
    world.ok(register(named));
    world.ok(register(web_consul()));
    world.ok(report("web-1", Status::Passing));
    let gone = world.run(deregister(web_key()));
    assert_eq!(
        record_events(&gone),
        [format!("PUT {KITEX} v2")],
        "only bytes that differ are put"
    );
    let row = world.endpoint("web");
    assert_eq!(
        (row.health, row.primary().key.to_string()),
        (Passing, "consul:n1/web-1".to_owned())
    );
    assert_eq!(
        world.rows("web", Protocol::Eureka),
        [("consul:n1/web-1".to_owned(), Passing)]
    );
}

#[test]
fn story_7_maintenance_holds_for_the_endpoint_until_somebody_lifts_it() {
    let mut world = World::with_layouts_awake();
    world.ok(register(web_consul()));
    world.ok(report("web-1", Status::Passing));
    let key = InstanceKey::consul(&n1(), "web-1");
    let out = world.run(admin(
        key.clone(),
        Some(AdminStatus::OutOfService),
        Protocol::Consul,
    ));
    assert_eq!(
        record_events(&out),
        [format!("DELETE {KITEX}"), format!("DELETE {PLAIN}")]
    );
    assert_eq!(
        world.rows("web", Protocol::Consul),
        [("consul:n1/web-1".to_owned(), Maintenance)]
    );
    let revision = world.state.revision();
    assert_eq!(
        world.ok(register(web_consul())),
        revision.0,
        "registering again changes nothing"
    );
    world.ok(register(web()));
    assert_eq!(
        world.endpoint("web").health,
        Maintenance,
        "a twin that comes later inherits it"
    );
    let up = world.run(admin(web_key(), Some(AdminStatus::Up), Protocol::Eureka));
    assert_eq!(
        record_events(&up),
        [format!("PUT {KITEX} v1"), format!("PUT {PLAIN} v1")]
    );
    let row = world.state.instance(&key).unwrap();
    assert_eq!(
        row.admin.as_ref().map(|a| (a.status, a.by)),
        Some((AdminStatus::Up, Protocol::Eureka))
    );
}

#[test]
fn story_8_deleting_a_derived_key_deregisters_and_a_range_passes_over_it() {
    let mut world = World::with_layouts_awake();
    world.ok(register(web_consul()));
    world.ok(report("web-1", Status::Passing));
    let revision = world.state.revision().0;
    assert_eq!(
        world.ok(delete(KeyRange::prefix(b"kitex/"))),
        revision,
        "a range delete passes over derived keys"
    );
    let deleted = world.run(delete(KeyRange::One(KITEX.into())));
    let Ok(Done::Written(written)) = &deleted.settled.outcome else {
        panic!("refused")
    };
    assert!(matches!(&written.results[..], [OpDone::Deleted(gone)] if gone.len() == 1));
    assert_eq!(
        record_events(&deleted),
        [format!("DELETE {KITEX}"), format!("DELETE {PLAIN}")]
    );
    assert!(
        world
            .state
            .instance(&InstanceKey::consul(&n1(), "web-1"))
            .is_none()
    );
    let late = world.run(report("web-1", Status::Passing));
    assert_eq!(
        late.settled.outcome,
        Err(Refusal::NoCheck(ttl_check("web-1")))
    );
    world.ok(register(web_consul()));
    assert!(
        world.record(KITEX).is_none(),
        "born critical, and nobody vouches for it"
    );
    world.ok(report("web-1", Status::Passing));
    assert!(world.record(KITEX).is_some());
}

#[test]
fn story_9_a_native_record_claims_a_derived_one_and_gives_it_back() {
    let mut world = World::with_layouts_awake();
    world.ok(register(web_consul()));
    world.ok(report("web-1", Status::Passing));
    let lease = LeaseId::Etcd(9);
    world.ok(Command::Grant {
        lease: lease.clone(),
        terms: Some(Terms::strict(60_000)),
        session: None,
    });
    let claimed = world.run(kitex_put("web", "10.0.0.1:8080", Some(lease.clone())));
    assert_eq!(
        record_events(&claimed),
        [format!("PUT {KITEX} v2")],
        "an update, as if the caller owned the place"
    );
    let record = world.record(KITEX).unwrap();
    assert_eq!(
        (record.lease.as_ref(), record.recognised.is_some()),
        (Some(&lease), true)
    );
    assert!(record.derived_from.is_none());
    assert_eq!(world.endpoint("web").members.len(), 2);
    let ended = lapse(&world, &lease);
    let ended = world.run(ended);
    assert_eq!(
        record_events(&ended),
        [format!("PUT {KITEX} v1")],
        "one change: the derived record takes its place"
    );
    assert!(world.record(KITEX).unwrap().derived_from.is_some());
    assert_eq!(world.endpoint("web").health, Passing);
}

#[test]
fn story_10_the_floor_moves_by_a_command_and_never_back() {
    let mut world = World::with_layouts_awake();
    world.ok(register(web()));
    for port in 1..=20 {
        world.ok(register(eureka("web", "moving", "10.0.0.2", port)));
    }
    let now = world.state.revision();
    assert_eq!(now, Revision(22));
    world.ok(Command::Compact {
        space: None,
        revision: Revision(18),
    });
    assert_eq!(world.state.revision(), now, "compaction is not visible");
    assert_eq!(world.state.floor(None), Revision(18));
    assert_eq!(world.state.floor(Some(Keyspace::Etcd)), Revision(18));
    let refused = world.run(Command::Compact {
        space: None,
        revision: Revision(18),
    });
    assert_eq!(
        refused.settled.outcome,
        Err(Refusal::Compacted(Revision(18)))
    );
}
