//! Evidence: what is known of an instance when the health of its endpoint is worked out.

use crate::health::Health;
use crate::instance::{AdminStatus, Declared, Instance};

/// What is known of one twin when an endpoint's health is worked out.
#[derive(Clone, Copy, Debug)]
pub struct Evidence {
    /// What an operator or the instance itself says.
    pub word: Word,
    /// Worst of the checks that have had a result, if there are any.
    pub reported: Option<Health>,
    /// Worst of the checks that never had one, if there are any.
    pub unreported: Option<Health>,
    /// Worst of the node's checks.
    pub node: Health,
    /// The lease is past its unhealthy stage.
    pub lapsed: bool,
}

/// What an operator or the instance itself says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Nothing against it.
    Up,
    /// Starting or unknown: not ready unless a check says so.
    NotReady,
    /// Down.
    Down,
    /// Out of service, draining, or on a node that is.
    Out,
}

impl Word {
    /// The word about `instance`, given its node's administrative status.
    pub fn of(instance: &Instance, node: Option<AdminStatus>) -> Word {
        if matches!(
            node,
            Some(AdminStatus::OutOfService | AdminStatus::Draining | AdminStatus::Down)
        ) {
            return Word::Out;
        }
        match instance.admin.as_deref().map(|admin| admin.status) {
            Some(AdminStatus::OutOfService | AdminStatus::Draining) => return Word::Out,
            Some(AdminStatus::Down) => return Word::Down,
            Some(AdminStatus::Up) | None => {}
        }
        match instance.effective_declared() {
            Declared::Up => Word::Up,
            Declared::Down => Word::Down,
            Declared::OutOfService => Word::Out,
            Declared::Starting | Declared::Unknown => Word::NotReady,
        }
    }
}

impl Evidence {
    /// Whether this twin is alive by something other than a check that never had a result.
    pub fn vouches(&self) -> bool {
        let checked = match (self.reported, self.unreported) {
            (Some(reported), _) => reported.serves(),
            (None, unreported) => unreported.is_none(),
        };
        checked && self.word == Word::Up && !self.lapsed && self.node.serves()
    }

    fn lease(&self) -> Health {
        if self.lapsed || self.word == Word::NotReady {
            Health::Critical
        } else {
            Health::Passing
        }
    }
}

/// Health of an endpoint from its twins; for one instance alone it is the instance's own health.
///
/// Maintenance if any twin is; else critical if any is down; else the worst of the checks that count, if any counts;
/// else the best of the lease stages, so that a forgotten registration that runs out does not take down what another
/// keeps alive. A check counts when it has reported once, or when no twin vouches for the endpoint without it.
pub(crate) fn merged(twins: &[Evidence]) -> Health {
    if twins.iter().any(|t| t.word == Word::Out) {
        return Health::Maintenance;
    }
    if twins.iter().any(|t| t.word == Word::Down) {
        return Health::Critical;
    }
    let vouched = twins.iter().any(Evidence::vouches);
    let checks = twins.iter().flat_map(|t| {
        let node = (t.node != Health::Passing).then_some(t.node);
        [t.reported, t.unreported.filter(|_| !vouched), node]
    });
    match checks.flatten().max() {
        Some(worst) => worst,
        None => twins.iter().map(Evidence::lease).min().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: Evidence = Evidence {
        word: Word::Up,
        reported: None,
        unreported: None,
        node: Health::Passing,
        lapsed: false,
    };

    #[test]
    fn what_counts() {
        use Health::{Critical, Maintenance, Passing, Warning};
        let born = Evidence {
            unreported: Some(Critical),
            ..UP
        };
        let failing = Evidence {
            reported: Some(Critical),
            ..UP
        };
        let lapsed = Evidence { lapsed: true, ..UP };
        let starting = Evidence {
            word: Word::NotReady,
            ..UP
        };
        let rows: [(&str, &[Evidence], Health); 11] = [
            ("alone", &[UP], Passing),
            (
                "a check born critical counts when it is alone",
                &[born],
                Critical,
            ),
            ("and not beside a twin that vouches", &[born, UP], Passing),
            (
                "a failing check is not hidden by a heartbeat",
                &[failing, UP],
                Critical,
            ),
            (
                "a lapsed lease is outlived by a twin",
                &[lapsed, UP],
                Passing,
            ),
            ("a lapsed lease alone", &[lapsed], Critical),
            (
                "down wins over heartbeats",
                &[
                    Evidence {
                        word: Word::Down,
                        ..UP
                    },
                    UP,
                ],
                Critical,
            ),
            (
                "out wins over down",
                &[
                    Evidence {
                        word: Word::Down,
                        ..UP
                    },
                    Evidence {
                        word: Word::Out,
                        ..UP
                    },
                ],
                Maintenance,
            ),
            ("starting", &[starting], Critical),
            (
                "warning",
                &[Evidence {
                    reported: Some(Warning),
                    ..UP
                }],
                Warning,
            ),
            (
                "the node is down",
                &[Evidence {
                    node: Critical,
                    ..UP
                }],
                Critical,
            ),
        ];
        for (name, twins, expected) in rows {
            assert_eq!(merged(twins), expected, "{name}");
        }
    }
}
