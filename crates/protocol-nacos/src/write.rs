//! Request -> Command: register, deregister, beat, update, health. Services and their settings are in `service`.
//!
//! What a registration replaces depends on the row that is there, so each command is worked out on a snapshot and proposed on condition
//! that the row is still the same; if it is not, it is worked out again.

mod service;

use std::collections::BTreeMap;
use std::sync::Arc;

use portolan_catalog::{
    Admin, AdminStatus, AdminTarget, Command, Declared, EndpointKey, Instance, InstanceKey,
    LeaseId, Op, Protocol, Refusal, Register, Revision, State, Target, Write,
};
use portolan_listener::Caller;
use portolan_registry::Renewed;

use crate::app::App;
use crate::clusters;
use crate::error::{Code, Problem};
use crate::names::ServiceName;
use crate::overlay::Overlay;
use crate::translate::{Checked, Owner};

pub(crate) use service::{
    ServiceChanges, create_service, delete_service, no_service, update_service,
};

/// How often a command is worked out again before the client is sent to try later.
const ATTEMPTS: usize = 16;

/// Registers one instance that beats or an operator keeps. It replaces what the same address registered over HTTP under another cluster.
pub(crate) async fn register(
    app: &App,
    caller: &Caller,
    service: &ServiceName,
    sent: &Checked,
) -> Result<(), Problem> {
    let owner = if sent.ephemeral {
        Owner::Beats
    } else {
        Owner::Nobody
    };
    retried(app, caller, service, sent.ephemeral, |state| {
        let register = plan(app, state, service, sent, &owner);
        let key = register.facts.key.clone();
        let replaced: Vec<InstanceKey> = at(state, service, sent)
            .filter(|row| row.key != key && is_http(row))
            .map(|row| row.key.clone())
            .collect();
        let register = Command::Register(Box::new(register));
        Some(match replaced.is_empty() {
            true => register,
            false => {
                let gone = replaced.into_iter().map(deregister_row);
                together(gone.chain([register]))
            }
        })
    })
    .await
}

/// Makes `sent` all that a connection has registered in a service.
pub(crate) async fn register_set(
    app: &App,
    caller: &Caller,
    lease: &LeaseId,
    service: &ServiceName,
    sent: &[Checked],
) -> Result<(), Problem> {
    let owner = Owner::Connection(lease.clone());
    retried(app, caller, service, true, |state| {
        let instances = sent
            .iter()
            .map(|one| plan(app, state, service, one, &owner))
            .collect();
        Some(Command::RegisterSet {
            lease: lease.clone(),
            service: service.key.clone(),
            instances,
        })
    })
    .await
}

/// A registration over whatever row is there: an operator's changes stay.
fn plan(
    app: &App,
    state: &State,
    service: &ServiceName,
    sent: &Checked,
    owner: &Owner,
) -> Register {
    let before = state.instance(&sent.key(service));
    let overlay = before.map(|row| Overlay::of(row)).unwrap_or_default();
    let facts = sent.facts(service, owner, &overlay);
    let checks = match owner {
        Owner::Nobody => {
            let settings = clusters::of(state, &service.key, &sent.cluster);
            clusters::check_for(&facts, &settings, &app.settings.node, sent.healthy)
                .into_iter()
                .collect()
        }
        Owner::Beats | Owner::Connection(_) => Vec::new(),
    };
    Register {
        terms: sent.terms(owner),
        expect: Some(before.map_or(Revision(0), |row| row.modified)),
        checks,
        replace_checks: true,
        ..Register::new(facts)
    }
}

/// Proposes what `plan` says until the rows it looked at are still the same; nothing when it says nothing.
async fn retried(
    app: &App,
    caller: &Caller,
    service: &ServiceName,
    ephemeral: bool,
    plan: impl Fn(&State) -> Option<Command>,
) -> Result<(), Problem> {
    for _ in 0..ATTEMPTS {
        let state = app.registry.latest_unless(|state| plan(state).is_some());
        let Some(command) = plan(&*state.await?) else {
            return Ok(());
        };
        let settled = app.registry.propose(caller.call_cause(), command).await?;
        match settled.outcome {
            Ok(_) => return Ok(()),
            Err(refusal) if is_changed(&refusal) => {}
            Err(refusal) if is_kind(&refusal) => return Err(kind(service, ephemeral)),
            Err(refusal) => return Err(refusal.into()),
        }
    }
    Err(Problem::Contended)
}

fn is_changed(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Changed(_) => true,
        Refusal::Ops(failed) => failed.iter().any(|(_, refusal)| is_changed(refusal)),
        _ => false,
    }
}

fn is_kind(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Kind => true,
        Refusal::Ops(failed) => failed.iter().any(|(_, refusal)| is_kind(refusal)),
        _ => false,
    }
}

fn kind(service: &ServiceName, ephemeral: bool) -> Problem {
    let words = ["persistent", "ephemeral"];
    Problem::Kind {
        grouped: service.grouped(),
        is: words[usize::from(!ephemeral)],
        wanted: words[usize::from(ephemeral)],
    }
}

fn together(commands: impl IntoIterator<Item = Command>) -> Command {
    Command::Write(Write {
        then: commands
            .into_iter()
            .map(|command| Op::Command(Box::new(command)))
            .collect(),
        ..Write::default()
    })
}

fn deregister_row(key: InstanceKey) -> Command {
    Command::Deregister {
        target: Target::Instance(key),
        expect: None,
    }
}

/// Whether HTTP registered a row of Nacos' own: with beats, or to stay.
fn is_http(row: &Instance) -> bool {
    row.key.origin == Protocol::Nacos && !matches!(row.lease, Some(LeaseId::Connection(_)))
}

fn endpoint_key(service: &ServiceName, sent: &Checked) -> EndpointKey {
    EndpointKey {
        service: service.key.clone(),
        host: sent.host(),
        port: sent.port,
        sole: (sent.port == 0).then(|| sent.key(service)),
    }
}

/// The rows of a service at an address.
fn at<'a>(
    state: &'a State,
    service: &ServiceName,
    sent: &Checked,
) -> impl Iterator<Item = &'a Arc<Instance>> + use<'a> {
    let endpoint = state.endpoint(&endpoint_key(service, sent));
    endpoint.into_iter().flat_map(|row| row.members.iter())
}

/// Removes what HTTP registered at an address; of an address that only other protocols registered, all of that. What a gRPC connection
/// registered is the connection's. Nothing there is fine.
pub(crate) async fn deregister(
    app: &App,
    caller: &Caller,
    service: &ServiceName,
    sent: &Checked,
) -> Result<(), Problem> {
    let there = |state: &State| !removals(state, service, sent).is_empty();
    let state = app.registry.latest_unless(there).await?;
    for command in removals(&state, service, sent) {
        app.settle(caller, command).await?;
    }
    Ok(())
}

fn removals(state: &State, service: &ServiceName, sent: &Checked) -> Vec<Command> {
    let own: Vec<&Arc<Instance>> = at(state, service, sent)
        .filter(|row| row.key.origin == Protocol::Nacos)
        .collect();
    if own.is_empty() {
        let key = endpoint_key(service, sent);
        let there = state.endpoint(&key).is_some();
        let foreign = Command::Deregister {
            target: Target::Endpoint(key),
            expect: None,
        };
        return there.then_some(foreign).into_iter().collect();
    }
    let of_kind = |row: &&&Arc<Instance>| is_http(row) && row.lease.is_some() == sent.ephemeral;
    let rows = own.iter().filter(of_kind);
    rows.map(|row| deregister_row(row.key.clone())).collect()
}

/// What became of a beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beaten {
    /// The instance is alive; the time until the next beat, in milliseconds.
    Alive(u64),
    /// Nobody knows it: the client registers again.
    Unknown,
}

/// Keeps an instance alive, and registers one that is not there when the beat says all of it.
pub(crate) async fn beat(
    app: &App,
    caller: &Caller,
    service: &ServiceName,
    sent: &Checked,
    full: bool,
) -> Result<Beaten, Problem> {
    let interval = |row: &Instance| crate::wire::instance::Shown::times(&row.meta)[0];
    // A light beat may leave the cluster out.
    let beaten = |state: &State| {
        let row = state.instance(&sent.key(service));
        let row = row.or_else(|| at(state, service, sent).find(|row| is_http(row)));
        row.cloned()
    };
    // What is not here yet is not unknown; a full beat registers it either way.
    let enough = |state: &State| full || beaten(state).is_some();
    let state = app.registry.latest_unless(enough).await?;
    if let Some(row) = &beaten(&state) {
        let alive = match &row.lease {
            Some(lease @ LeaseId::Heartbeat(_)) => {
                matches!(app.registry.renew(lease).await?, Renewed::For(_))
            }
            // A connection, or nothing at all, keeps it.
            Some(_) | None => true,
        };
        if alive {
            return Ok(Beaten::Alive(interval(row)));
        }
    }
    if !full {
        return Ok(Beaten::Unknown);
    }
    register(app, caller, service, sent).await?;
    let state = app.registry.snapshot();
    let row = state.instance(&sent.key(service));
    Ok(row.map_or(Beaten::Unknown, |row| Beaten::Alive(interval(row))))
}

/// An operator's changes of one instance; what is not given stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Changes {
    /// In thousandths.
    pub(crate) weight: Option<u32>,
    pub(crate) enabled: Option<bool>,
    /// Pairs to set, over those that are there.
    pub(crate) metadata: BTreeMap<String, String>,
    /// Keys to take away.
    pub(crate) without: Vec<String>,
    /// The pairs are all there are to be.
    pub(crate) whole: bool,
}

/// Changes the instance at an address. Of other protocols' rows only whether they are in service is anybody's to change.
pub(crate) async fn update(
    app: &App,
    caller: &Caller,
    service: &ServiceName,
    sent: &Checked,
    changes: &Changes,
) -> Result<(), Problem> {
    let found = |state: &State| {
        let row = state
            .instance(&sent.key(service))
            .or_else(|| at(state, service, sent).find(|row| row.key.origin == Protocol::Nacos))
            .or_else(|| at(state, service, sent).next());
        row.cloned()
    };
    let known = |state: &State| found(state).is_some();
    let state = app.registry.latest_unless(known).await?;
    let Some(row) = found(&state) else {
        return Err(Problem::coded(
            Code::InstanceNotFound,
            format!("instance not exist: {}:{}", sent.ip, sent.port),
        ));
    };
    let key = row.key.clone();
    if key.origin == Protocol::Nacos {
        retried(app, caller, service, row.lease.is_some(), |state| {
            changed(state, state.instance(&key)?, changes)
        })
        .await?;
    } else if changes.weight.is_some_and(|weight| weight != row.weight.0)
        || changes
            .metadata
            .iter()
            .any(|(k, v)| row.meta.get(k) != Some(v))
        || !changes.without.is_empty()
    {
        return Err(Problem::coded(
            Code::Conflict,
            format!(
                "weight and metadata of {}:{} belong to its registration through {}",
                sent.ip, sent.port, key.origin
            ),
        ));
    }
    let Some(enabled) = changes.enabled else {
        return Ok(());
    };
    let admin = (!enabled).then(|| {
        Arc::new(Admin {
            status: AdminStatus::OutOfService,
            reason: "disabled".into(),
            by: Protocol::Nacos,
        })
    });
    // None where it is so already.
    let change = |state: &State| {
        let row = state.instance(&key)?;
        let declared = (enabled && row.declared == Declared::OutOfService).then_some(Declared::Up);
        let differs = row.admin.is_some() != admin.is_some() || declared.is_some();
        differs.then(|| Command::SetAdmin {
            target: AdminTarget::Instance(key.clone()),
            admin: admin.clone(),
            declared,
        })
    };
    let differs = |state: &State| change(state).is_some();
    let Some(command) = change(&*app.registry.latest_unless(differs).await?) else {
        return Ok(());
    };
    app.settle(caller, command).await?;
    Ok(())
}

/// The registration with an operator's changes laid over it; none when that is as it was.
fn changed(state: &State, row: &Arc<Instance>, changes: &Changes) -> Option<Command> {
    let mut overlay = Overlay::of(row);
    overlay.weight = changes.weight.or(overlay.weight);
    let mut facts = (*row.facts).clone();
    let kept = facts.meta.iter().filter(|(key, _)| {
        let named = |without: &String| without == key;
        !changes.whole && !changes.without.iter().any(named)
    });
    facts.meta = kept.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    overlay
        .meta
        .retain(|key, _| !changes.whole && !changes.without.contains(key));
    for (key, value) in &changes.metadata {
        overlay.meta.insert(key.clone(), value.clone());
    }
    overlay.apply(&mut facts);
    if facts == *row.facts {
        return None;
    }
    let lease = facts.lease.as_ref().and_then(|id| state.lease(id));
    Some(Command::Register(Box::new(Register {
        terms: lease.map(|lease| lease.terms.clone()),
        expect: Some(row.modified),
        ..Register::new(facts)
    })))
}

/// Sets whether an instance whose cluster nobody checks is healthy.
pub(crate) async fn set_healthy(
    app: &App,
    caller: &Caller,
    service: &ServiceName,
    sent: &Checked,
    healthy: bool,
) -> Result<(), Problem> {
    let settings = clusters::of(&app.registry.snapshot(), &service.key, &sent.cluster);
    if !settings.checker.is_none() {
        return Err(Problem::coded(
            Code::CheckRunning,
            format!(
                "health check is still working, service: {}, cluster: {}",
                service.grouped(),
                sent.cluster
            ),
        ));
    }
    let key = sent.key(service);
    let known = |state: &State| state.instance(&key).is_some();
    if !known(&*app.registry.latest_unless(known).await?) {
        return Err(Problem::coded(
            Code::InstanceNotFound,
            format!("instance not exist: {}:{}", sent.ip, sent.port),
        ));
    }
    retried(app, caller, service, false, |state| {
        let row = state.instance(&key)?;
        let mut facts = (*row.facts).clone();
        facts.declared = if healthy {
            Declared::Up
        } else {
            Declared::Down
        };
        let lease = facts.lease.as_ref().and_then(|id| state.lease(id));
        (facts != *row.facts).then(|| {
            Command::Register(Box::new(Register {
                terms: lease.map(|lease| lease.terms.clone()),
                expect: Some(row.modified),
                ..Register::new(facts)
            }))
        })
    })
    .await
}
