//! The faults that can be planted in the product, each of which the checkers must find. Only builds with `--cfg portolan_mutations` have them;
//! see `portolan_environment::mutated`.

/// A planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mutation {
    /// As the product asks for it.
    pub name: &'static str,
    /// What goes wrong.
    pub what: &'static str,
}

/// All of them.
pub const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "acknowledge-before-sync",
        what: "entries of the log are acknowledged before they are on the disk",
    },
    Mutation {
        name: "reuse-read-barrier",
        what: "a read is answered by the confirmation of an earlier one",
    },
    Mutation {
        name: "read-without-asking",
        what: "whoever takes itself for the leader answers reads, whatever the term is elsewhere",
    },
    Mutation {
        name: "drop-event",
        what: "one revision of a hundred reaches no watcher",
    },
    Mutation {
        name: "install-in-silence",
        what: "watchers are not told that a snapshot took the place of what they followed",
    },
    Mutation {
        name: "skip-lease-extension",
        what: "a new leader does not give leases their full time again",
    },
    Mutation {
        name: "keep-deciding-alone",
        what: "a leader that no majority answers goes on renewing and deciding",
    },
    Mutation {
        name: "snapshot-not-synced",
        what: "a snapshot takes the place of the log before it is on the disk",
    },
    Mutation {
        name: "forget-truncation",
        what: "entries that another leader's replaced come back with a restart",
    },
    Mutation {
        name: "forget-vote",
        what: "a vote is not on the disk when it is given",
    },
    Mutation {
        name: "decide-twice",
        what: "a batch is handed in again after it was decided",
    },
    Mutation {
        name: "plan-by-what-is-here",
        what: "what this server has not applied yet is said not to be there",
    },
    Mutation {
        name: "lapse-late",
        what: "a lapse that was handed in long ago is decided after the lease was renewed",
    },
    Mutation {
        name: "apply-by-own-clock",
        what: "entries are applied at the time of whoever applies them",
    },
];

/// Whether this build has them.
pub const KNOWN: bool = cfg!(portolan_mutations);

#[cfg(portolan_mutations)]
pub(crate) fn plant(fault: Option<&'static str>) {
    portolan_environment::mutate(fault);
}

#[cfg(not(portolan_mutations))]
pub(crate) fn plant(_: Option<&'static str>) {}
