//! Every key of the configuration, once. Each area has a file; a new protocol adds one, and a line here.

mod access;
mod checks;
mod cluster;
mod connect;
mod dns;
mod etcd;
mod eureka;
mod gateway;
mod guard;
mod history;
mod kubernetes;
mod layouts;
mod listener;
mod logging;
mod nacos;
mod server;
mod storage;
mod tls;
mod xds;
mod zookeeper;

use super::key::{Area, Key};
use super::settings::Config;

/// All areas, in the order of the help.
pub(crate) static AREAS: &[&Area] = &[
    &server::AREA,
    &cluster::AREA,
    &access::AREA,
    &connect::AREA,
    &tls::AREA,
    &layouts::AREA,
    &logging::AREA,
    &listener::AREA,
    &history::AREA,
    &storage::AREA,
    &etcd::AREA,
    &eureka::AREA,
    &zookeeper::AREA,
    &nacos::AREA,
    &kubernetes::AREA,
    &xds::AREA,
    &gateway::AREA,
    &guard::AREA,
    &checks::AREA,
    &dns::AREA,
];

/// Every key.
pub(crate) fn all() -> impl Iterator<Item = &'static Key> {
    AREAS.iter().flat_map(|area| area.keys)
}

/// The key of a name.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    all().find(|key| key.name == name)
}

/// Checks that the value that `key` has now is within its bounds.
///
/// # Errors
/// What would do.
pub(super) fn check(key: &str, config: &Config) -> Result<(), String> {
    let mut bounds = AREAS.iter().flat_map(|area| area.bounds);
    match bounds.find(|bound| bound.key == key) {
        Some(bound) => bound.check(config),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_stands_once() {
        let names: BTreeSet<&str> = all().map(|key| key.name).collect();
        assert_eq!(names.len(), all().count());
    }

    #[test]
    fn every_bound_is_of_a_key_of_its_area_and_every_default_is_within() {
        for area in AREAS {
            for bound in area.bounds {
                let found = area.keys.iter().any(|key| key.name == bound.key);
                assert!(found, "{}", bound.key);
                bound.check(&Config::default()).unwrap();
            }
        }
    }
}
