//! The mass-expiry guard, as it stands in the catalog's settings.

use std::sync::Arc;

use bytes::Bytes;
use portolan_api as api;
use portolan_catalog::{Command, Key, Keyspace, Op, Put, ServiceKey, State, Write};
use portolan_listener::{Action, Caller, Params, Request, Resource};

use crate::App;
use crate::moment::print;
use crate::query::Query;
use crate::reply::{Answer, json};
use crate::write::{body, propose};

/// The setting in which an operator says what the guard does. The leader reads it.
pub const GUARD_MODE: &str = "guard/mode";
/// The setting in which the leader says that removals are held back: `silent=60 services=*`, or `namespace/group/name` by commas.
pub const GUARD_STATE: &str = "guard";

/// What is held back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Instances that were silent when it began.
    pub(crate) silent: usize,
    /// The services; none means all.
    pub(crate) services: Vec<ServiceKey>,
    /// Since when.
    pub(crate) since: portolan_catalog::Timestamp,
    pub(crate) revision: portolan_catalog::Revision,
}

impl Held {
    /// Whether it is about a service.
    pub(crate) fn concerns(&self, service: &ServiceKey) -> bool {
        self.services.is_empty() || self.services.contains(service)
    }
}

/// What the guard holds back in a state.
pub(crate) fn held(state: &State) -> Option<Held> {
    let record = state.record(Keyspace::Settings, GUARD_STATE.as_bytes())?;
    let bytes = record.bytes();
    let text = std::str::from_utf8(&bytes).ok()?;
    let (silent, names) = text.strip_prefix("silent=")?.split_once(" services=")?;
    let service = |name: &str| {
        let mut parts = name.splitn(3, '/');
        Some(ServiceKey::new(parts.next()?, parts.next()?, parts.next()?))
    };
    Some(Held {
        silent: silent.parse().ok()?,
        services: names
            .split(',')
            .filter(|name| *name != "*")
            .filter_map(service)
            .collect(),
        since: record.created_at,
        revision: record.created,
    })
}

fn render(state: &State) -> api::Guard {
    let mode = state.record(Keyspace::Settings, GUARD_MODE.as_bytes());
    let held = held(state);
    api::Guard {
        mode: match mode.map(|record| record.bytes()).as_deref() {
            Some(b"off") => api::GuardMode::Off,
            Some(b"on") => api::GuardMode::On,
            _ => api::GuardMode::Auto,
        },
        active: held.is_some(),
        silent: held.as_ref().map_or(0, |held| held.silent),
        services: held
            .iter()
            .flat_map(|held| &held.services)
            .map(ToString::to_string)
            .collect(),
        since: held.map(|held| print(held.since)),
    }
}

/// `GET /v1/guard`.
pub(crate) async fn status(app: Arc<App>, request: Request, _: Params) -> Answer {
    Caller::of(&request).allow(Action::Read, Resource::Operator)?;
    Query::of(&request, &[])?;
    Ok(json(&render(&app.registry.snapshot())))
}

/// `PUT /v1/guard`.
pub(crate) async fn set(app: Arc<App>, mut request: Request, _: Params) -> Answer {
    let caller = Caller::of(&request);
    caller.allow(Action::Admin, Resource::Operator)?;
    let asked: api::Guard = body(&app, &mut request).await?;
    let word = match asked.mode {
        api::GuardMode::Auto => "auto",
        api::GuardMode::Off => "off",
        api::GuardMode::On => "on",
    };
    let put = Put {
        quiet: true,
        ..Put::new(
            Keyspace::Settings,
            Key::from(GUARD_MODE),
            Bytes::from_static(word.as_bytes()),
        )
    };
    propose(
        &app,
        &caller,
        Command::Write(Write::one(Op::Put(Box::new(put)))),
    )
    .await?;
    Ok(json(&render(&app.registry.snapshot())))
}
