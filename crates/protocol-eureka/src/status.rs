//! Eureka's status rules in the catalog's terms.
//!
//! Eureka keeps one status per instance and a map of overrides. Here the first is what an instance declares, the second
//! the administrative status all protocols share; which of the two is shown is decided on reading, so an override set
//! through another protocol needs no rule of its own.

use portolan_catalog::{Admin, AdminStatus, Declared, Health, Instance, Protocol};

use crate::wire::Status;

/// What an instance declares by a status.
pub(crate) fn declared(status: Status) -> Declared {
    match status {
        Status::Up => Declared::Up,
        Status::Down => Declared::Down,
        Status::Starting => Declared::Starting,
        Status::OutOfService => Declared::OutOfService,
        Status::Unknown => Declared::Unknown,
    }
}

fn spoken(declared: Declared) -> Status {
    match declared {
        Declared::Up => Status::Up,
        Declared::Down => Status::Down,
        Declared::Starting => Status::Starting,
        Declared::OutOfService => Status::OutOfService,
        Declared::Unknown => Status::Unknown,
    }
}

/// The override an administrative status amounts to; `Unknown` is Eureka's word for none.
pub(crate) fn overridden(admin: Option<&Admin>) -> Status {
    match admin.map(|a| a.status) {
        None => Status::Unknown,
        Some(AdminStatus::Up) => Status::Up,
        Some(AdminStatus::OutOfService | AdminStatus::Draining) => Status::OutOfService,
        Some(AdminStatus::Down) => Status::Down,
    }
}

/// The status of a row that Eureka's own clients registered.
///
/// An instance that calls itself down, starting or unknown is believed whatever was imposed, except a forced UP;
/// then what was imposed counts, then its own word, unless checks or its node speak against it.
pub(crate) fn of_own(row: &Instance) -> Status {
    let imposed = overridden(row.admin.as_deref());
    match (imposed, row.declared) {
        (Status::Up, _) => Status::Up,
        (_, said @ (Declared::Down | Declared::Starting | Declared::Unknown)) => spoken(said),
        (Status::OutOfService | Status::Down | Status::Starting, _) => imposed,
        (Status::Unknown, Declared::OutOfService) => Status::OutOfService,
        (Status::Unknown, Declared::Up) => match row.health {
            Health::Passing | Health::Warning => Status::Up,
            Health::Critical => Status::Down,
            // What keeps an UP instance out of service without an imposed status is its node or a weight of zero.
            Health::Maintenance if row.weight.0 == 0 => Status::Up,
            Health::Maintenance => Status::OutOfService,
        },
    }
}

/// The status of an endpoint shown for another protocol, from its merged health.
pub(crate) fn of_foreign(primary: &Instance, health: Health) -> Status {
    match health {
        Health::Passing | Health::Warning => Status::Up,
        Health::Maintenance => Status::OutOfService,
        Health::Critical => match primary.declared {
            said @ (Declared::Starting | Declared::Unknown) => spoken(said),
            Declared::Up | Declared::Down | Declared::OutOfService => Status::Down,
        },
    }
}

/// The administrative status an override asks for, and what the instance declares with it.
///
/// The catalog imposes no STARTING and no UNKNOWN: the instance is forced down and declares them, which shows them until
/// it registers again, and keeps it out of traffic after that.
pub(crate) fn impose(status: Status) -> (Admin, Option<Declared>) {
    let (imposed, declares) = match status {
        Status::Up => (AdminStatus::Up, None),
        Status::OutOfService => (AdminStatus::OutOfService, None),
        Status::Down => (AdminStatus::Down, None),
        Status::Starting => (AdminStatus::Down, Some(Declared::Starting)),
        Status::Unknown => (AdminStatus::Down, Some(Declared::Unknown)),
    };
    let admin = Admin {
        status: imposed,
        reason: format!("status override {status}").into(),
        by: Protocol::Eureka,
    };
    (admin, declares)
}

/// What a registration with this status makes the instance declare.
///
/// DOWN, STARTING and UNKNOWN are trusted. Between UP and OUT_OF_SERVICE the row that is there wins: a client that
/// registers again as UP stays out while the server holds it out.
pub(crate) fn registered(sent: Status, existing: Option<Declared>) -> Declared {
    match (declared(sent), existing) {
        (
            Declared::Up | Declared::OutOfService,
            Some(held @ (Declared::Up | Declared::OutOfService)),
        ) => held,
        (said, _) => said,
    }
}
