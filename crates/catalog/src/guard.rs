//! The mass-expiry guard in the keyspace `settings`: what an operator tells it, and what it says of itself.
//!
//! The leader judges and writes (`replica`), protocols show; both read the records through here.

use std::fmt;

use crate::{Keyspace, Revision, ServiceKey, State, Timestamp};

/// The setting in which an operator says what the guard does: `auto`, `off` or `on`.
pub const MODE: &str = "guard/mode";

/// What the guard may hold back, each told in a setting of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Removals {
    /// Of instances whose renewals stay away. Setting `guard`.
    Silent,
    /// Of instances whose check stays critical. Setting `guard/checks`.
    Critical,
}

impl Removals {
    /// Both.
    pub const ALL: [Removals; 2] = [Removals::Silent, Removals::Critical];

    /// The key of the setting that is there while these removals are held back.
    #[must_use]
    pub const fn setting(self) -> &'static str {
        match self {
            Removals::Silent => "guard",
            Removals::Critical => "guard/checks",
        }
    }
}

/// What an operator set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The numbers decide.
    #[default]
    Auto,
    /// Nothing is ever held back.
    Off,
    /// Every guarded removal is held back.
    On,
}

impl Mode {
    /// As the setting spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::Auto => "auto",
            Mode::Off => "off",
            Mode::On => "on",
        }
    }
}

/// The mode of a state; `auto` where nothing, or nothing that can be read, is set.
#[must_use]
pub fn mode(state: &State) -> Mode {
    let record = state.record(Keyspace::Settings, MODE.as_bytes());
    match record.map(|record| record.bytes()).as_deref() {
        Some(b"off") => Mode::Off,
        Some(b"on") => Mode::On,
        _ => Mode::Auto,
    }
}

/// What is held back. Printed and parsed as `silent=60 services=*`, or `namespace/group/name` by commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Instances that were to go when it began.
    pub count: usize,
    /// The services it is about; none means all.
    pub services: Vec<ServiceKey>,
}

impl Report {
    /// Whether it is about a service.
    #[must_use]
    pub fn concerns(&self, service: &ServiceKey) -> bool {
        self.services.is_empty() || self.services.contains(service)
    }

    /// Reads what [`fmt::Display`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Report> {
        let (count, names) = text.strip_prefix("silent=")?.split_once(" services=")?;
        let service = |name: &str| {
            let mut parts = name.split('/').map(plain);
            Some(ServiceKey::new(
                &parts.next()?,
                &parts.next()?,
                &parts.next()?,
            ))
        };
        let services = match names {
            "*" => Vec::new(),
            names => names.split(',').map(service).collect::<Option<_>>()?,
        };
        Some(Report {
            count: count.parse().ok()?,
            services,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "silent={} services=", self.count)?;
        if self.services.is_empty() {
            return f.write_str("*");
        }
        for (at, key) in self.services.iter().enumerate() {
            let [namespace, group, name] = [key.namespace(), key.group(), key.name()].map(escaped);
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{namespace}/{group}/{name}")?;
        }
        Ok(())
    }
}

/// The letters that part names from one another.
const APART: [(char, &str); 3] = [('%', "%25"), (',', "%2C"), ('/', "%2F")];

fn escaped(text: &str) -> String {
    let [percent, comma, slash] = APART;
    text.replace(percent.0, percent.1)
        .replace(comma.0, comma.1)
        .replace(slash.0, slash.1)
}

fn plain(text: &str) -> String {
    let [percent, comma, slash] = APART;
    let text = text.replace(slash.1, "/").replace(comma.1, ",");
    text.replace(percent.1, "%")
}

/// A report as the catalog has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What is held back.
    pub report: Report,
    /// Since when.
    pub since: Timestamp,
    /// In which revision that began.
    pub revision: Revision,
}

/// Which removals a state says are held back.
#[must_use]
pub fn held(state: &State, removals: Removals) -> Option<Held> {
    let record = state.record(Keyspace::Settings, removals.setting().as_bytes())?;
    Some(Held {
        report: Report::parse(std::str::from_utf8(&record.bytes()).ok()?)?,
        since: record.created_at,
        revision: record.created,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read_as_they_were_written() {
        let rows: [(&[ServiceKey], &str); 3] = [
            (&[], "silent=7 services=*"),
            (
                &[ServiceKey::plain("web"), ServiceKey::new("prod", "g", "db")],
                "silent=7 services=default/default/web,prod/g/db",
            ),
            (
                &[ServiceKey::plain("a,b/c%2c")],
                "silent=7 services=default/default/a%2Cb%2Fc%252c",
            ),
        ];
        for (services, text) in rows {
            let report = Report {
                count: 7,
                services: services.to_vec(),
            };
            assert_eq!(report.to_string(), text);
            assert_eq!(Report::parse(text), Some(report));
        }
        for wrong in ["", "silent=x services=*", "silent=1", "silent=1 services=a"] {
            assert_eq!(Report::parse(wrong), None, "{wrong}");
        }
    }
}
