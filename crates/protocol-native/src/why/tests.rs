//! Scripted incidents: what happened is proposed to a local registry, and the first cause must be the right one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portolan_catalog::layout::{self, Form, LayoutState};
use portolan_catalog::{
    Admin, AdminStatus, AdminTarget, Cause, CheckFacts, CheckKey, Command, Declared, Endpoint,
    Host, InstanceKey, Key, Keyspace, LeaseId, NewCheck, NodeFacts, NodeName, Op, Probe, Protocol,
    Put, Register, Registration, ServiceKey, Status, Target, Terms, Weight, Write,
};
use portolan_registry::{LocalOptions, Registry};

use super::*;

mod guarded;

struct Stage {
    registry: Registry,
}

impl Stage {
    fn new() -> Stage {
        let kitex = LayoutState {
            mode: layout::Mode::Awake,
            ..LayoutState::asleep(Form::Kitex)
        };
        let options = LocalOptions {
            layouts: vec![("kitex".into(), kitex)],
            ..LocalOptions::default()
        };
        Stage {
            registry: Registry::local(&options),
        }
    }

    async fn does(&self, protocol: Protocol, command: Command) {
        let cause = Cause::call(protocol, Some(([10, 0, 0, 99], 5000).into()));
        let settled = self.registry.propose(cause, command).await.unwrap();
        settled.outcome.unwrap();
    }

    async fn registers(&self, register: Register) {
        let origin = register.facts.key.origin;
        self.does(origin, Command::Register(Box::new(register)))
            .await;
    }

    async fn reports(&self, id: &str, status: Status, output: &str) {
        let check = CheckKey::new(&NodeName::new("n1"), id);
        self.does(
            Protocol::Consul,
            Command::Report {
                check,
                status,
                output: output.into(),
            },
        )
        .await;
    }

    fn why(&self, service: &str, instance: Option<&str>) -> api::Why {
        self.why_with(service, instance, &Dns::default())
    }

    fn why_with(&self, service: &str, instance: Option<&str>, dns: &Dns) -> api::Why {
        let asked = Asked {
            spelling: service.to_owned(),
            service: service_key(service, None, None),
            instance: instance.map(str::to_owned),
        };
        let state = self.registry.snapshot();
        let recorded = Recorded::read(&self.registry, &asked.service, state.revision()).unwrap();
        explain(&Look::new(
            &state,
            Some(&self.registry),
            self.registry.now(),
            &asked,
            dns,
            &recorded,
        ))
    }

    /// The first cause's kind, and what it says.
    fn first(&self, service: &str, instance: Option<&str>) -> (String, String) {
        let why = self.why(service, instance);
        why.causes
            .first()
            .map(|cause| (cause.kind.clone(), cause.text.clone()))
            .unwrap_or_default()
    }
}

fn at(last: u8, port: u16) -> Endpoint {
    Endpoint::new(Host::Ip([10, 0, 0, last].into()), port)
}

fn consul(id: &str, endpoint: Endpoint) -> Register {
    let node = NodeName::new("n1");
    let mut facts = Registration::new(
        InstanceKey::consul(&node, id),
        ServiceKey::plain("web"),
        endpoint,
    );
    facts.node = node;
    Register::new(facts)
}

fn checked(id: &str, endpoint: Endpoint, probe: Probe) -> Register {
    let mut register = consul(id, endpoint);
    let mut facts = CheckFacts::new(
        CheckKey::new(&NodeName::new("n1"), &format!("service:{id}")),
        "health",
    );
    facts.instance = Some(register.facts.key.clone());
    facts.probe = probe;
    register.checks.push(NewCheck {
        facts: Arc::new(facts),
        status: Status::Critical,
        output: "".into(),
        reported: false,
    });
    register
}

fn eureka(id: &str, endpoint: Endpoint, ttl_ms: u64) -> Register {
    let key = InstanceKey::eureka("web", id);
    let mut facts = Registration::new(key.clone(), ServiceKey::plain("web"), endpoint);
    facts.lease = Some(LeaseId::Heartbeat(key));
    Register {
        terms: Some(Terms::heartbeat(ttl_ms)),
        ..Register::new(facts)
    }
}

fn admin(status: AdminStatus, by: Protocol) -> Option<Arc<Admin>> {
    Some(Arc::new(Admin {
        status,
        reason: "new disk".into(),
        by,
    }))
}

#[tokio::test(start_paused = true)]
async fn dns_is_shown_as_it_is_served_here() {
    let stage = Stage::new();
    stage
        .registers(checked("web-1", at(1, 80), Probe::None))
        .await;
    stage
        .reports("service:web-1", Status::Warning, "slow")
        .await;
    let only_passing = Dns {
        domain: "example.net".into(),
        only_passing: true,
    };
    let rows = [
        (Dns::default(), "web.service.consul", "answered"),
        (only_passing, "web.service.example.net", "hidden"),
    ];
    for (dns, name, status) in rows {
        let why = stage.why_with("web", None, &dns);
        let shown = why
            .shown
            .iter()
            .find(|shown| shown.protocol == "dns")
            .unwrap();
        assert_eq!((&*shown.name, &*shown.instances[0].status), (name, status));
    }
}

#[tokio::test(start_paused = true)]
async fn never_registered_names_what_is_near() {
    let stage = Stage::new();
    stage.registers(consul("web-1", at(1, 80))).await;
    let why = stage.why("wep", None);
    assert_eq!(why.causes[0].kind, "never_registered");
    assert_eq!(why.causes[0].detail["near"], "web");
    assert!(!why.exists);
    let why = stage.why("web", Some("web-2"));
    assert_eq!(why.causes[0].kind, "never_registered");
    assert_eq!(why.causes[0].detail["near"], "web-1");
}

#[tokio::test(start_paused = true)]
async fn healthy_has_no_cause() {
    let stage = Stage::new();
    stage.registers(consul("web-1", at(1, 80))).await;
    let why = stage.why("web", None);
    assert_eq!(why.causes, []);
    assert_eq!(
        why.summary,
        "web is there and serves: nothing is wrong with it"
    );
    let shown = |protocol: &str| {
        why.shown
            .iter()
            .find(|shown| shown.protocol == protocol)
            .unwrap()
    };
    assert_eq!(shown("consul").instances[0].id, "web-1");
    assert_eq!(shown("eureka").instances[0].id, "10.0.0.1:web:80");
    assert_eq!(shown("dns").instances[0].status, "answered");
    assert_eq!(
        shown("etcd").instances[0].id,
        "kitex/registry-etcd/web/10.0.0.1:80"
    );
}

#[tokio::test(start_paused = true)]
async fn a_missed_ttl_is_told_from_a_failing_check() {
    let stage = Stage::new();
    stage
        .registers(checked("web-1", at(1, 80), Probe::Ttl { ttl_ms: 1000 }))
        .await;
    assert_eq!(stage.first("web", None).0, "ttl_missed", "never reported");
    stage
        .reports("service:web-1", Status::Passing, "fine")
        .await;
    assert_eq!(stage.why("web", None).causes, []);
    stage
        .reports("service:web-1", Status::Critical, "out of memory")
        .await;
    let (kind, text) = stage.first("web", None);
    assert_eq!(kind, "check_failing");
    assert!(text.contains("out of memory"), "{text}");
    stage
        .reports("service:web-1", Status::Passing, "fine")
        .await;
    let lease = LeaseId::Check(CheckKey::new(&NodeName::new("n1"), "service:web-1"));
    let generation = stage
        .registry
        .snapshot()
        .lease(&lease)
        .map(|lease| lease.generation);
    if let Some(generation) = generation {
        let since = stage.registry.now();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let lapse = Command::Lapse {
            lease,
            stage: 0,
            generation,
        };
        let _decided = stage
            .registry
            .propose(Cause::own(portolan_catalog::Why::Silence { since }), lapse)
            .await
            .unwrap();
        let why = stage.why("web", None);
        assert_eq!(why.causes[0].kind, "ttl_missed");
        assert_eq!(why.causes[0].detail["ttl_ms"], 1000);
        assert!(why.causes[0].revision.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_fails_says_what_it_said() {
    let stage = Stage::new();
    let probe = Probe::Tcp {
        target: "10.0.0.1:80".into(),
        tls: None,
    };
    stage.registers(checked("web-1", at(1, 80), probe)).await;
    stage
        .reports(
            "service:web-1",
            Status::Critical,
            "dial tcp 10.0.0.1:80: connection refused",
        )
        .await;
    let why = stage.why("web", Some("10.0.0.1:80"));
    assert_eq!(why.causes[0].kind, "check_failing");
    assert_eq!(why.causes[0].instance.as_deref(), Some("consul:n1/web-1"));
    assert!(
        why.causes[0].text.contains("connection refused"),
        "{}",
        why.causes[0].text
    );
    assert_eq!(
        why.shown
            .iter()
            .find(|shown| shown.protocol == "dns")
            .unwrap()
            .instances[0]
            .status,
        "hidden"
    );
}

#[tokio::test(start_paused = true)]
async fn maintenance_names_who_set_it_and_why() {
    let stage = Stage::new();
    stage
        .registers(checked("web-1", at(1, 80), Probe::Ttl { ttl_ms: 10_000 }))
        .await;
    let target = AdminTarget::Instance(InstanceKey::consul(&NodeName::new("n1"), "web-1"));
    let command = Command::SetAdmin {
        target,
        admin: admin(AdminStatus::OutOfService, Protocol::Eureka),
        declared: None,
    };
    stage.does(Protocol::Eureka, command).await;
    let (kind, text) = stage.first("web", None);
    assert_eq!(kind, "maintenance", "before the check that never reported");
    assert!(
        text.contains("through eureka by 10.0.0.99:5000") && text.contains("new disk"),
        "{text}"
    );
    let node = AdminTarget::Node(NodeName::new("n1"));
    let stage = Stage::new();
    stage.registers(consul("web-1", at(1, 80))).await;
    stage
        .does(
            Protocol::Consul,
            Command::SetAdmin {
                target: node,
                admin: admin(AdminStatus::OutOfService, Protocol::Consul),
                declared: None,
            },
        )
        .await;
    let (kind, text) = stage.first("web", None);
    assert_eq!(kind, "maintenance");
    assert!(text.starts_with("node n1"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_deregistration_names_the_protocol_and_the_peer() {
    let stage = Stage::new();
    stage.registers(eureka("h1", at(1, 80), 90_000)).await;
    let target = Target::Instance(InstanceKey::eureka("web", "h1"));
    stage
        .does(
            Protocol::Consul,
            Command::Deregister {
                target,
                expect: None,
            },
        )
        .await;
    for instance in [None, Some("h1"), Some("10.0.0.1:80"), Some("eureka:WEB/h1")] {
        let why = stage.why("web", instance);
        let cause = &why.causes[0];
        assert_eq!(cause.kind, "deregistered", "{instance:?}");
        assert_eq!(cause.detail["protocol"], "consul");
        assert_eq!(cause.detail["peer"], "10.0.0.99:5000");
        assert!(cause.text.contains("not through eureka"), "{}", cause.text);
    }
    stage.registers(eureka("h1", at(1, 80), 90_000)).await;
    assert_eq!(stage.why("web", None).causes, [], "it came back");
}

#[tokio::test(start_paused = true)]
async fn another_namespace_is_named() {
    let stage = Stage::new();
    let key = InstanceKey::new(Protocol::Native, "web--default--prod/h:80");
    let facts = Registration::new(key, ServiceKey::new("prod", "", "web"), at(1, 80));
    stage.registers(Register::new(facts)).await;
    let why = stage.why("web", None);
    assert_eq!(why.causes[0].kind, "wrong_namespace");
    assert_eq!(why.causes[0].detail["namespace"], "prod");
    assert_eq!(why.causes[0].detail["flat"], "web--default--prod");
}

#[tokio::test(start_paused = true)]
async fn another_spelling_is_named() {
    let stage = Stage::new();
    let mut register = consul("web-1", at(1, 80));
    let mut facts = (*register.facts).clone();
    facts.spelling = "Web".into();
    register.facts = Arc::new(facts);
    stage.registers(register).await;
    let (kind, text) = stage.first("web", None);
    assert_eq!(kind, "name_case");
    assert!(text.contains("kitex/registry-etcd/Web"), "{text}");
    assert_eq!(stage.why("Web", None).causes, []);
    assert_eq!(stage.first("Web", Some("WEB-1")).0, "name_case", "an id");
}

#[tokio::test(start_paused = true)]
async fn an_expired_lease_says_since_when_nobody_renewed() {
    let stage = Stage::new();
    stage.registers(eureka("h1", at(1, 80), 2000)).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let why = stage.why("web", None);
    assert_eq!(why.causes[0].kind, "lease_expired");
    assert!(why.causes[0].detail["silent_ms"].as_u64().unwrap() >= 2000);
    // A record under an etcd lease.
    stage
        .does(
            Protocol::Etcd,
            Command::Grant {
                lease: LeaseId::Etcd(7),
                terms: Some(Terms::strict(1000)),
                session: None,
            },
        )
        .await;
    let key = "kitex/registry-etcd/web/10.0.0.2:80";
    let value =
        Bytes::from_static(br#"{"network":"tcp","address":"10.0.0.2:80","weight":10,"tags":null}"#);
    let mut put = Put::new(Keyspace::Etcd, Key::from(key), value.clone());
    put.lease = Some(LeaseId::Etcd(7));
    put.recognised = layout::recognise(
        stage.registry.snapshot().layouts(),
        Keyspace::Etcd,
        key.as_bytes(),
        &value,
    )
    .map(|(_, mut facts)| {
        facts.lease = Some(LeaseId::Etcd(7));
        Arc::new(facts)
    })
    .into_iter()
    .collect();
    stage
        .does(
            Protocol::Etcd,
            Command::Write(Write::one(Op::Put(Box::new(put)))),
        )
        .await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let (kind, text) = stage.first("web", Some("10.0.0.2:80"));
    assert_eq!(kind, "lease_expired");
    assert!(text.contains("etcd lease 7"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_twin_that_took_the_place_is_named() {
    let stage = Stage::new();
    stage.registers(eureka("h1", at(1, 80), 90_000)).await;
    stage.registers(consul("web-1", at(1, 80))).await;
    let why = stage.why("web", Some("eureka:WEB/h1"));
    assert_eq!(why.causes[0].kind, "replaced_by_twin");
    assert_eq!(why.causes[0].detail["twin"], "consul:n1/web-1");
    assert_eq!(why.causes[0].detail["protocol"], "consul");
    let target = Target::Instance(InstanceKey::eureka("web", "h1"));
    stage
        .does(
            Protocol::Eureka,
            Command::Deregister {
                target,
                expect: None,
            },
        )
        .await;
    let why = stage.why("web", Some("h1"));
    assert_eq!(why.causes[0].kind, "replaced_by_twin");
    assert_eq!(why.causes[0].detail["after"], "deregistered");
}

#[tokio::test(start_paused = true)]
async fn what_it_says_of_itself_its_node_and_its_weight() {
    let stage = Stage::new();
    let mut down = eureka("h1", at(1, 80), 90_000);
    let mut facts = (*down.facts).clone();
    facts.declared = Declared::Down;
    down.facts = Arc::new(facts);
    stage.registers(down).await;
    assert_eq!(stage.first("web", None).0, "declared_down");

    let stage = Stage::new();
    let mut light = consul("web-1", at(1, 80));
    let mut facts = (*light.facts).clone();
    facts.weight = Weight(0);
    light.facts = Arc::new(facts);
    stage.registers(light).await;
    assert_eq!(stage.first("web", None).0, "unweighted");

    let stage = Stage::new();
    let node = NodeFacts::new("n2", Host::new("10.0.0.2"));
    stage
        .does(
            Protocol::Consul,
            Command::PutNode {
                node: Arc::new(node),
                terms: None,
                expect: None,
            },
        )
        .await;
    let n2 = NodeName::new("n2");
    let mut facts = Registration::new(
        InstanceKey::consul(&n2, "web-2"),
        ServiceKey::plain("web"),
        at(2, 80),
    );
    facts.node = n2.clone();
    stage.registers(Register::new(facts)).await;
    let serf = CheckFacts::new(CheckKey::new(&n2, "serfHealth"), "Serf Health Status");
    let check = NewCheck {
        facts: Arc::new(serf),
        status: Status::Critical,
        output: "Agent not live or unreachable".into(),
        reported: true,
    };
    stage
        .does(
            Protocol::Consul,
            Command::PutCheck(Box::new(portolan_catalog::PutCheck {
                check,
                expect: None,
            })),
        )
        .await;
    let (kind, text) = stage.first("web", None);
    assert_eq!(kind, "node_down");
    assert!(text.contains("node n2"), "{text}");
    stage
        .does(
            Protocol::Consul,
            Command::DropNode {
                name: n2,
                expect: None,
            },
        )
        .await;
    let (kind, text) = stage.first("web", Some("web-2"));
    assert_eq!(kind, "deregistered");
    assert!(text.contains("with its node n2"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_record_nobody_recognises_is_found() {
    let stage = Stage::new();
    let put = Put::new(
        Keyspace::Etcd,
        Key::from("/my/own/orders/1"),
        Bytes::from_static(b"x"),
    );
    stage
        .does(
            Protocol::Etcd,
            Command::Write(Write::one(Op::Put(Box::new(put)))),
        )
        .await;
    let why = stage.why("orders", None);
    let kinds: Vec<&str> = why.causes.iter().map(|cause| &*cause.kind).collect();
    assert_eq!(kinds, ["unrecognised_record", "never_registered"]);
    assert_eq!(why.causes[0].detail["key"], "/my/own/orders/1");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_almost_of_the_preset_and_the_preset_asleep() {
    let stage = Stage::new();
    let services = LayoutState::asleep(layout::Form::Template(layout::Template::services()));
    let set = Command::SetLayout {
        layout: "services".into(),
        state: Some(services),
    };
    stage.does(Protocol::Portolan, set).await;
    let put = Put::new(
        Keyspace::Etcd,
        Key::from("/services/orders/10.0.0.1"),
        Bytes::from_static(b"10.0.0.1:80"),
    );
    let write = Command::Write(Write::one(Op::Put(Box::new(put))));
    stage.does(Protocol::Etcd, write).await;
    let why = stage.why("orders", None);
    assert_eq!(why.causes[0].kind, "unrecognised_record");
    assert!(
        why.causes[0]
            .text
            .ends_with("; services reads keys of the form /services/{service}/HOST:PORT"),
        "{}",
        why.causes[0].text
    );
    stage.registers(eureka("i1", at(1, 80), 90_000)).await;
    let why = stage.why("web", None);
    let row = why
        .shown
        .iter()
        .find(|row| row.layout.as_deref() == Some("services"))
        .unwrap();
    assert_eq!(row.name, "/services/web/");
    assert_eq!(
        row.remark.as_deref(),
        Some("this layout sleeps until somebody reads or registers at /services/web/ or below")
    );
}
