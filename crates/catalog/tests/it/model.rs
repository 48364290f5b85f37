//! A naive model beside the catalog: what must hold is worked out from all instances and records anew.

use std::collections::{BTreeMap, BTreeSet};

use portolan_catalog::*;
use proptest::prelude::*;

use crate::laws::commands;
use crate::support::*;

/// Endpoints as the rows of instances say: members by (service, host, port or own key).
fn endpoints(state: &State) -> BTreeMap<EndpointKey, BTreeSet<InstanceKey>> {
    let mut endpoints: BTreeMap<EndpointKey, BTreeSet<InstanceKey>> = BTreeMap::new();
    for row in state.all_instances() {
        endpoints
            .entry(EndpointKey::of(row))
            .or_default()
            .insert(row.key.clone());
    }
    endpoints
}

/// Health of one instance by the words of the rule, from the checks alone.
fn own_health(state: &State, row: &Instance) -> Health {
    let status = row.admin.as_ref().map(|admin| admin.status);
    let forced_up = status == Some(AdminStatus::Up);
    if matches!(
        status,
        Some(AdminStatus::OutOfService | AdminStatus::Draining)
    ) {
        return Health::Maintenance;
    }
    if status != Some(AdminStatus::Down) && !forced_up && row.declared == Declared::OutOfService {
        return Health::Maintenance;
    }
    if status == Some(AdminStatus::Down) || (!forced_up && row.declared == Declared::Down) {
        return Health::Critical;
    }
    let node = state
        .checks_on(&row.node)
        .filter(|c| c.instance.is_none())
        .map(|c| c.status.health())
        .max();
    let own: Vec<_> = state
        .checks()
        .filter(|c| c.instance.as_ref() == Some(&row.key))
        .collect();
    let ready = forced_up || row.declared == Declared::Up;
    let reported: Vec<Health> = own
        .iter()
        .filter(|c| c.reported)
        .map(|c| c.status.health())
        .collect();
    let vouches = ready
        && !row.lapsed
        && node.is_none_or(Health::serves)
        && if reported.is_empty() {
            own.is_empty()
        } else {
            reported.iter().all(|h| h.serves())
        };
    let counted = own
        .iter()
        .filter(|c| c.reported || !vouches)
        .map(|c| c.status.health());
    match counted.chain(node.filter(|h| *h != Health::Passing)).max() {
        Some(worst) => worst,
        None if ready && !row.lapsed => Health::Passing,
        None => Health::Critical,
    }
}

/// Derived records as the endpoints say: for each awake layout, each serving endpoint without a record of its own.
fn derived(state: &State) -> BTreeMap<Key, bytes::Bytes> {
    let mut wanted = BTreeMap::new();
    for (_, layout) in state
        .layouts()
        .filter(|(_, layout)| layout.mode == layout::Mode::Awake)
    {
        for row in state.all_endpoints() {
            let owned = row.members.iter().any(|member| layout.form.owns(member));
            let Some(service) = state.service(&row.key.service) else {
                continue;
            };
            if row.health.serves()
                && !owned
                && let Some((key, value)) = layout.form.render(row, service, state.level())
            {
                wanted.entry(key).or_insert(value);
            }
        }
    }
    wanted
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn computed_rows_follow_from_the_others(commands in commands(80)) {
        let mut world = World::new();
        for command in commands {
            world.run(command.clone());
            let state = &world.state;
            let rows: BTreeMap<EndpointKey, BTreeSet<InstanceKey>> = state
                .all_endpoints()
                .map(|row| (row.key.clone(), row.members.iter().map(|m| m.key.clone()).collect()))
                .collect();
            prop_assert_eq!(&rows, &endpoints(state), "after {:?}", command);
            for row in state.all_endpoints() {
                for member in row.members.iter() {
                    prop_assert_eq!(Some(member), state.instance(&member.key), "a stale member after {:?}", command);
                    prop_assert_eq!(member.health, own_health(state, member), "{:?} after {:?}", member.key, command);
                }
                if let [alone] = &row.members[..] {
                    prop_assert_eq!(row.health, alone.health);
                }
                prop_assert!(row.members.is_sorted_by_key(|m| (m.created, m.key.clone())));
            }
            for service in state.services() {
                let members = state.all_instances().filter(|i| i.service == service.key).count();
                prop_assert_eq!(state.service_marks(&service.key).members as usize, members);
                prop_assert_eq!(state.service_marks(&service.key).empty_since.is_some(), members == 0);
            }
            for row in state.all_instances() {
                prop_assert!(state.service(&row.service).is_some(), "{:?} has no service", row.key);
                prop_assert!(state.instances_on(&row.node).any(|i| i.key == row.key));
                prop_assert!(state.instances_at(row.host()).any(|i| i.key == row.key));
            }
            let all = KeyRange::all();
            let native: BTreeSet<&Key> = state
                .range(Keyspace::Etcd, &all)
                .filter(|(_, record)| record.derived_from.is_none())
                .map(|(key, _)| key)
                .collect();
            let shown: BTreeMap<Key, bytes::Bytes> = state
                .range(Keyspace::Etcd, &KeyRange::all())
                .filter(|(_, record)| record.derived_from.is_some())
                .map(|(key, record)| (key.clone(), record.bytes()))
                .collect();
            let mut wanted = derived(state);
            wanted.retain(|key, _| !native.contains(key));
            prop_assert_eq!(shown, wanted, "derived records after {:?}", command);
            for (key, record) in state.range(Keyspace::Etcd, &KeyRange::all()) {
                let instance = state.instance(&InstanceKey::record(Keyspace::Etcd, key.as_text().unwrap()));
                prop_assert_eq!(record.recognised.is_some(), instance.is_some(), "recognition of {:?} after {:?}", key, command);
            }
        }
    }

    #[test]
    fn records_behave_like_a_map_with_versions(commands in commands(80)) {
        let mut world = World::new();
        let mut map: BTreeMap<Vec<u8>, (u64, u64, u64)> = BTreeMap::new();
        for command in commands {
            let applied = world.run(command);
            let Some(batch) = &applied.batch else { continue };
            for change in &batch.changes {
                let Change::Record { space: Keyspace::Etcd, key, after, .. } = change else { continue };
                let Some(after) = after else {
                    map.remove(&key[..]);
                    continue;
                };
                let entry = map.entry(key.to_vec()).or_default();
                // Deleted and put again within one revision, it is a new incarnation.
                let fresh = entry.1 == 0 || after.created == batch.revision;
                *entry = if fresh { (batch.revision.0, 1, 0) } else { (entry.0, entry.1 + 1, 0) };
                entry.2 = batch.revision.0;
            }
            for (key, expected) in &map {
                let record = world.state.record(Keyspace::Etcd, key).expect("in the map");
                prop_assert_eq!((record.created.0, record.version, record.modified.0), *expected, "{:?}", key);
            }
            prop_assert_eq!(world.state.record_count(Keyspace::Etcd), map.len());
        }
    }
}
