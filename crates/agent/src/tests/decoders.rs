//! Bytes from the network and the disk: what was written is read, and nothing else panics.

use portolan_catalog::{Admin, AdminStatus};
use proptest::prelude::*;

use super::*;
use crate::feed::wire::{Answer, Request};
use crate::feed::{Assembly, parts};
use crate::owned::{Owned, decode, encode};

fn state() -> State {
    let mut state = State::default();
    let node = Command::PutNode {
        node: Arc::new(NodeFacts::new(NODE, Host::new("10.0.0.9"))),
        terms: None,
        expect: None,
    };
    let admin = Command::SetAdmin {
        target: portolan_catalog::AdminTarget::Instance(key("web-2")),
        admin: Some(Arc::new(Admin {
            status: AdminStatus::OutOfService,
            reason: "why".into(),
            by: Protocol::Consul,
        })),
        declared: None,
    };
    let commands = [
        node,
        register("web-1", 80),
        register("web-2", 81),
        report("web-1", Status::Warning),
        admin,
    ];
    for command in commands {
        let entry = portolan_catalog::Entry {
            at: wall()(),
            cause: Arc::new(client()),
            command,
        };
        state.apply(&entry).settled.outcome.unwrap();
    }
    state
}

fn owned() -> Owned {
    let state = state();
    let mut owned = Owned::new(node());
    owned.adopt(&state);
    owned.gone_instances.insert(key("gone"));
    owned.gone_checks.insert(check_key("gone"));
    owned.administered.insert(key("web-2"));
    owned.node_admin = Some(None);
    owned
}

/// As far as it is written: when and at which revision something was said is not.
fn told(owned: &Owned) -> String {
    let checks: Vec<_> = owned
        .checks
        .values()
        .map(|check| (&check.facts, check.status, &check.output, check.reported))
        .collect();
    format!(
        "{:?} {:?} {checks:?} {:?} {:?} {:?} {:?}",
        owned.node,
        owned.instances,
        owned.gone_instances,
        owned.gone_checks,
        owned.administered,
        owned.node_admin
    )
}

#[test]
fn what_is_owned_is_read_as_it_was_written() {
    let owned = owned();
    assert_eq!(owned.instances.len(), 2);
    assert_eq!(owned.checks.len(), 2);
    let read = decode(&encode(&owned).unwrap()).unwrap();
    assert_eq!(told(&read), told(&owned));
}

#[test]
fn a_state_arrives_in_parts() {
    let state = state();
    let parts = parts(&state);
    let mut assembly = Assembly::default();
    for part in &parts {
        assembly.part(part).unwrap();
    }
    assert_eq!(
        format!("{:?}", assembly.finish().unwrap()),
        format!("{state:?}")
    );
    assert!(
        Assembly::default().finish().is_err(),
        "nothing is not a state"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn damage_is_refused_or_read_and_never_panics(
        place in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        anything in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let damaged = |mut bytes: Vec<u8>| {
            let place = place.index(bytes.len());
            bytes[place] = byte;
            let end = cut.index(bytes.len() + 1);
            bytes.truncate(end.max(1));
            bytes
        };
        let file = encode(&owned()).unwrap();
        let worse = damaged(file.clone());
        prop_assert!(worse == file || decode(&worse).is_err());
        for part in &parts(&state()) {
            let _anything = Assembly::default().part(&damaged(part.to_vec()));
        }
        let answer = Answer::Gone { standing: crate::feed::wire::Standing::default() };
        let _anything = Answer::decode(&damaged(answer.encode()));
        let _anything = Answer::decode(&anything);
        let _anything = Request::decode(&anything);
        let _anything = Assembly::default().part(&anything);
        let _anything = decode(&anything);
    }
}
