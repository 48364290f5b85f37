//! The index: each operation, what it asks the policy for, and its meter.

use portolan_catalog::Protocol;
use portolan_listener::{Action, Meter, Metrics, Resource};

use crate::wire::{Opcode, Request};

/// Meters by operation, made before the first request.
#[derive(Debug)]
pub(crate) struct Routes {
    meters: Vec<(Opcode, Meter)>,
    /// Four-letter words.
    pub(crate) word: Meter,
    /// The first message.
    pub(crate) connect: Meter,
}

impl Routes {
    pub(crate) fn new(metrics: &Metrics) -> Routes {
        let meter = |name| metrics.meter(PROTOCOL, name);
        Routes {
            meters: Opcode::ALL
                .into_iter()
                .map(|opcode| (opcode, meter(opcode.name())))
                .collect(),
            word: meter("four-letter word"),
            connect: meter("connect"),
        }
    }

    pub(crate) fn meter(&self, opcode: Opcode) -> Option<&Meter> {
        let mut all = self.meters.iter();
        all.find(|(of, _)| *of == opcode).map(|(_, meter)| meter)
    }
}

/// What an operation asks for.
pub(crate) fn action(opcode: Opcode) -> Action {
    match opcode {
        Opcode::Create
        | Opcode::Create2
        | Opcode::CreateContainer
        | Opcode::CreateTtl
        | Opcode::Delete
        | Opcode::SetData
        | Opcode::SetAcl
        | Opcode::Multi => Action::Write,
        Opcode::Exists
        | Opcode::GetData
        | Opcode::GetAcl
        | Opcode::GetChildren
        | Opcode::GetChildren2
        | Opcode::Check
        | Opcode::MultiRead
        | Opcode::Sync
        | Opcode::GetEphemerals
        | Opcode::GetAllChildrenNumber => Action::Read,
        Opcode::AddWatch
        | Opcode::SetWatches
        | Opcode::SetWatches2
        | Opcode::CheckWatches
        | Opcode::RemoveWatches => Action::Watch,
        Opcode::Reconfig => Action::Admin,
        Opcode::Ping | Opcode::Auth | Opcode::Sasl | Opcode::WhoAmI | Opcode::CloseSession => {
            Action::Read
        }
    }
}

/// A node as the policy knows it: by its path.
pub(crate) fn node(path: &str) -> Resource<'_> {
    Resource::Record {
        keyspace: portolan_catalog::Keyspace::Znodes.as_str(),
        key: path.as_bytes(),
    }
}

/// Every node that a request touches by name, with what is done there.
pub(crate) fn touched(opcode: Opcode, request: &Request) -> Vec<(Action, &str)> {
    match request {
        Request::Create { path, .. }
        | Request::Versioned { path, .. }
        | Request::Read { path, .. }
        | Request::SetData { path, .. }
        | Request::SetAcl { path, .. }
        | Request::OfPath { path, .. }
        | Request::Watch { path, .. } => vec![(action(opcode), path)],
        Request::Multi(all) | Request::MultiRead(all) => all
            .iter()
            .flat_map(|request| touched(of(request), request))
            .collect(),
        Request::SetWatches { lists, .. } => [
            &lists.data,
            &lists.exist,
            &lists.child,
            &lists.persistent,
            &lists.recursive,
        ]
        .into_iter()
        .flatten()
        .map(|path| (Action::Watch, path.as_str()))
        .collect(),
        Request::Auth { .. } | Request::Plain(_) => Vec::new(),
    }
}

/// The operation of a request within a transaction.
pub(crate) fn of(request: &Request) -> Opcode {
    match request {
        Request::Create { opcode, .. }
        | Request::Versioned { opcode, .. }
        | Request::Read { opcode, .. }
        | Request::OfPath { opcode, .. }
        | Request::Watch { opcode, .. }
        | Request::Plain(opcode) => *opcode,
        Request::SetData { .. } => Opcode::SetData,
        Request::SetAcl { .. } => Opcode::SetAcl,
        Request::Multi(_) => Opcode::Multi,
        Request::MultiRead(_) => Opcode::MultiRead,
        Request::SetWatches { .. } => Opcode::SetWatches2,
        Request::Auth { .. } => Opcode::Auth,
    }
}

/// The protocol of the port.
pub(crate) const PROTOCOL: Protocol = Protocol::ZooKeeper;
