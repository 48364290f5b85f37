//! Reports on TTL checks that no server has heard of.
//!
//! They are told to the servers even where those have the same status already: a check's time begins anew with each report, and a client that
//! reported in time must not see its instance turn critical because the servers could not be reached just then.

use std::collections::BTreeMap;

use portolan_catalog::{CheckKey, Command, Op};

/// The last report on each check that was decided without servers.
#[derive(Debug, Default)]
pub(crate) struct Unheard(BTreeMap<CheckKey, Command>);

impl Unheard {
    /// A report that no server hears.
    pub(crate) fn add(&mut self, check: &CheckKey, report: &Command) {
        self.0.insert(check.clone(), report.clone());
    }

    /// The servers were told something: an earlier report on its checks has nothing to add.
    pub(crate) fn superseded(&mut self, command: &Command) {
        for (check, _) in reports(command) {
            self.0.remove(check);
        }
    }

    /// The servers have decided what [`Unheard::first`] gave.
    pub(crate) fn heard(&mut self, command: &Command) {
        for (check, report) in reports(command) {
            if self.0.get(check) == Some(report) {
                self.0.remove(check);
            }
        }
    }

    /// Keeps those of checks that are still there.
    pub(crate) fn retain(&mut self, there: impl Fn(&CheckKey) -> bool) {
        self.0.retain(|check, _| there(check));
    }

    /// A report that is to be told, on a check of which `wanted` is true.
    pub(crate) fn first(&self, wanted: impl Fn(&CheckKey) -> bool) -> Option<Command> {
        let mut all = self.0.iter();
        let (_, report) = all.find(|(check, _)| wanted(check))?;
        Some(report.clone())
    }
}

/// Whether a command has nothing but results of checks.
pub(crate) fn reports_only(command: &Command) -> bool {
    match command {
        Command::Report { .. } => true,
        Command::Write(write) => write.then.iter().all(|op| match op {
            Op::Command(inner) => reports_only(inner),
            _ => false,
        }),
        _ => false,
    }
}

/// The reports in a command, each with the check it is about.
pub(crate) fn reports(command: &Command) -> Vec<(&CheckKey, &Command)> {
    match command {
        Command::Report { check, .. } => vec![(check, command)],
        Command::Write(write) => {
            let inner = write.then.iter().filter_map(|op| match op {
                Op::Command(inner) => Some(reports(inner)),
                _ => None,
            });
            inner.flatten().collect()
        }
        _ => Vec::new(),
    }
}
