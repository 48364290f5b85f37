//! Short ways to say commands.

use std::sync::Arc;

use bytes::Bytes;
use portolan_catalog::layout::{Form, LayoutState, Template};
use portolan_catalog::*;

/// A catalog after its bootstrap, with the Kitex and `/services` layouts asleep, driven step by step.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) clock: u64,
}

impl World {
    pub(crate) fn new() -> World {
        let mut world = World {
            state: State::default(),
            clock: 1_000_000,
        };
        world.run(first());
        world
    }

    pub(crate) fn with_layouts_awake() -> World {
        let mut world = World::new();
        for layout in ["kitex", "services"] {
            world.ok(Command::Wake {
                layout: layout.into(),
            });
        }
        world
    }

    pub(crate) fn entry(&mut self, command: Command) -> Entry {
        self.clock += 1000;
        let cause = Arc::new(Cause::call(Protocol::Native, None));
        Entry {
            at: Timestamp(self.clock),
            cause,
            command,
        }
    }

    pub(crate) fn run(&mut self, command: Command) -> Applied {
        let entry = self.entry(command);
        self.state.apply(&entry)
    }

    /// Runs a command that must not be refused, and returns its revision.
    pub(crate) fn ok(&mut self, command: Command) -> u64 {
        let applied = self.run(command.clone());
        assert!(
            applied.settled.outcome.is_ok(),
            "{command:?} was refused: {:?}",
            applied.settled.outcome
        );
        applied.settled.revision.0
    }

    pub(crate) fn record(&self, key: &str) -> Option<&Arc<Record>> {
        self.state.record(Keyspace::Etcd, key.as_bytes())
    }

    pub(crate) fn endpoint(&self, service: &str) -> Arc<EndpointRow> {
        let mut rows = self.state.endpoints(&ServiceKey::plain(service));
        let row = rows.next().expect("the service has an endpoint").clone();
        assert!(rows.next().is_none(), "the service has one endpoint");
        row
    }

    /// Rows of the only endpoint as a protocol shows them: (key, own health).
    pub(crate) fn rows(&self, service: &str, protocol: Protocol) -> Vec<(String, Health)> {
        self.endpoint(service)
            .rows(protocol)
            .map(|row| (row.key.to_string(), row.health))
            .collect()
    }
}

pub(crate) fn first() -> Command {
    let mut node = NodeFacts::new("n1", Host::new("127.0.0.1"));
    node.id = "11111111-1111-4111-8111-111111111111".into();
    let key = InstanceKey::new(Protocol::Portolan, "n1/consul");
    let mut service = Registration::new(
        key,
        ServiceKey::plain("consul"),
        Endpoint::new(Host::new("127.0.0.1"), 8300),
    );
    service.node = NodeName::new("n1");
    let check = CheckFacts::new(
        CheckKey::new(&NodeName::new("n1"), "serfHealth"),
        "Serf Health Status",
    );
    Command::Bootstrap(Box::new(Bootstrap {
        node: Arc::new(node),
        service: Arc::new(service),
        checks: vec![Arc::new(check)],
        layouts: vec![
            ("kitex".into(), LayoutState::asleep(Form::Kitex)),
            (
                "services".into(),
                LayoutState::asleep(Form::Template(Template::services())),
            ),
        ],
    }))
}

pub(crate) fn n1() -> NodeName {
    NodeName::new("n1")
}

pub(crate) fn eureka_key(service: &str, id: &str) -> InstanceKey {
    InstanceKey::eureka(service, id)
}

/// A Eureka registration with its 90 s heartbeat.
pub(crate) fn eureka(service: &str, id: &str, host: &str, port: u16) -> Register {
    let key = eureka_key(service, id);
    let mut facts = Registration::new(
        key.clone(),
        ServiceKey::plain(service),
        Endpoint::new(Host::new(host), port),
    );
    facts.lease = Some(LeaseId::Heartbeat(key));
    Register {
        terms: Some(Terms::heartbeat(90_000)),
        ..Register::new(facts)
    }
}

/// A Consul registration through the agent of `n1`, with a TTL check born critical if asked for.
pub(crate) fn consul(service: &str, id: &str, host: &str, port: u16, ttl: bool) -> Register {
    let key = InstanceKey::consul(&n1(), id);
    let mut facts = Registration::new(
        key.clone(),
        ServiceKey::plain(service),
        Endpoint::new(Host::new(host), port),
    );
    facts.node = n1();
    let check = CheckFacts {
        instance: Some(key),
        probe: Probe::Ttl { ttl_ms: 10_000 },
        ..CheckFacts::new(ttl_check(id), "ttl")
    };
    let check = NewCheck {
        facts: Arc::new(check),
        status: Status::Critical,
        output: Arc::default(),
        reported: false,
    };
    Register {
        checks: ttl.then_some(check).into_iter().collect(),
        ..Register::new(facts)
    }
}

pub(crate) fn ttl_check(id: &str) -> CheckKey {
    CheckKey::new(&n1(), &format!("service:{id}"))
}

pub(crate) fn register(register: Register) -> Command {
    Command::Register(Box::new(register))
}

pub(crate) fn deregister(key: InstanceKey) -> Command {
    Command::Deregister {
        target: Target::Instance(key),
        expect: None,
    }
}

pub(crate) fn report(id: &str, status: Status) -> Command {
    Command::Report {
        check: ttl_check(id),
        status,
        output: "".into(),
    }
}

pub(crate) fn put_op(key: &str, value: &str) -> Put {
    Put::new(
        Keyspace::Etcd,
        key.into(),
        Bytes::copy_from_slice(value.as_bytes()),
    )
}

pub(crate) fn put(key: &str, value: &str) -> Command {
    write(Op::Put(Box::new(put_op(key, value))))
}

pub(crate) fn delete(range: KeyRange) -> Command {
    write(Op::Delete {
        space: Keyspace::Etcd,
        range,
        expect: Expect::Any,
    })
}

pub(crate) fn write(op: Op) -> Command {
    Command::Write(Write::one(op))
}

/// A native Kitex record with the instance a front end recognises in it.
pub(crate) fn kitex_put(service: &str, address: &str, lease: Option<LeaseId>) -> Command {
    let key = format!("kitex/registry-etcd/{service}/{address}");
    let value = format!(r#"{{"network":"tcp","address":"{address}","weight":10,"tags":null}}"#);
    let facts = Form::Kitex
        .recognise(key.as_bytes(), value.as_bytes())
        .expect("a Kitex record");
    write(Op::Put(Box::new(Put {
        recognised: vec![Arc::new(facts)],
        lease,
        ..put_op(&key, &value)
    })))
}

pub(crate) fn admin(key: InstanceKey, status: Option<AdminStatus>, by: Protocol) -> Command {
    let admin = status.map(|status| {
        Arc::new(Admin {
            status,
            reason: "".into(),
            by,
        })
    });
    Command::SetAdmin {
        target: AdminTarget::Instance(key),
        admin,
        declared: None,
    }
}

pub(crate) fn lapse(world: &World, lease: &LeaseId) -> Command {
    let row = world.state.lease(lease).expect("the lease is there");
    Command::Lapse {
        lease: lease.clone(),
        stage: row.stage,
        generation: row.generation,
    }
}

/// Changes of a batch in one line each, for comparing with what a watcher should see.
pub(crate) fn record_events(applied: &Applied) -> Vec<String> {
    let changes = applied
        .batch
        .as_ref()
        .map(|batch| &batch.changes[..])
        .unwrap_or_default();
    changes
        .iter()
        .filter_map(|change| match change {
            Change::Record {
                key, before, after, ..
            } => Some(match (before, after) {
                (_, Some(row)) => format!("PUT {} v{}", key.as_text().unwrap(), row.version),
                (_, None) => format!("DELETE {}", key.as_text().unwrap()),
            }),
            _ => None,
        })
        .collect()
}
