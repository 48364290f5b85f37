//! The machine's hosts file: names that it gives to itself are this server's as well.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Bytes of a hosts file that are read.
const LARGEST: usize = 1 << 20;

/// The names of a hosts file that mean this machine. The file may change while we run, so it is read again when asked later.
#[derive(Debug)]
pub(crate) struct Hosts {
    file: PathBuf,
    host_name: Option<String>,
    fresh: Duration,
    read: Mutex<Option<(Instant, HashSet<String>)>>,
}

impl Hosts {
    /// The names in `file`, at most as old as `fresh`; `host_name` is this machine's.
    pub(crate) fn new(
        file: impl Into<PathBuf>,
        host_name: Option<String>,
        fresh: Duration,
    ) -> Hosts {
        Hosts {
            fresh,
            file: file.into(),
            host_name: host_name.map(|name| name.to_ascii_lowercase()),
            read: Mutex::default(),
        }
    }

    /// Whether `name`, in lower case, means this machine.
    pub(crate) fn contain(&self, name: &str) -> bool {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match &*read {
            Some((at, names)) if at.elapsed() < self.fresh => names.contains(name),
            _ => {
                // No file, no names: there are machines without one.
                let bytes = std::fs::read(&self.file).unwrap_or_default();
                let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LARGEST)]);
                let names = names(&text, self.host_name.as_deref());
                let found = names.contains(name);
                *read = Some((Instant::now(), names));
                found
            }
        }
    }
}

/// Names of lines with a loopback address, and of lines that name this machine: `10.0.0.5 vm.corp.example vm`.
fn names(text: &str, host_name: Option<&str>) -> HashSet<String> {
    let mut own: HashSet<String> = host_name.map(str::to_owned).into_iter().collect();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        // A zone behind `%` is part of the address.
        let address = words
            .next()
            .and_then(|word| word.split('%').next()?.parse::<IpAddr>().ok());
        let Some(address) = address else { continue };
        let names: Vec<String> = words
            .map(|name| name.trim_end_matches('.').to_ascii_lowercase())
            .collect();
        let means_us = address.to_canonical().is_loopback()
            || host_name.is_some_and(|host| names.iter().any(|name| name == host));
        if means_us {
            own.extend(names);
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine_are_those_on_loopback_and_beside_its_own() {
        let text = "# comment\n127.0.0.1 localhost registry.corp.example # evil.example\n\
                    ::1\tip6.corp.example.\n127.0.1.1 Debian.corp.example debian\n\
                    10.0.0.5 vm.corp.example vm\n10.0.0.6 other.corp.example other\nnonsense a.b.c\n\n";
        let names = names(text, Some("vm"));
        for own in [
            "registry.corp.example",
            "ip6.corp.example",
            "debian.corp.example",
            "vm.corp.example",
            "vm",
        ] {
            assert!(names.contains(own), "{own}");
        }
        for other in ["evil.example", "other.corp.example", "a.b.c", ""] {
            assert!(!names.contains(other), "{other}");
        }
    }

    #[test]
    fn a_changed_file_is_noticed_when_what_was_read_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hosts");
        let young = Hosts::new(&file, None, Duration::from_secs(3600));
        let old = Hosts::new(&file, None, Duration::ZERO);
        for hosts in [&young, &old] {
            assert!(!hosts.contain("a.example"), "no file is no name");
        }
        std::fs::write(&file, "127.0.0.1 a.example").unwrap();
        assert!(!young.contain("a.example"));
        assert!(old.contain("a.example"));
    }
}
