//! The mass-expiry guard, as it stands in the catalog's settings.

use std::sync::Arc;

use bytes::Bytes;
use portolan_api as api;
use portolan_catalog::guard::{self, Held, Mode, Removals};
use portolan_catalog::{Command, Key, Keyspace, Op, Put, State, Write};
use portolan_listener::{Action, Caller, Params, Request, Resource};

use crate::App;
use crate::as_of::print;
use crate::error::Answer;
use crate::query::Query;
use crate::reply::json;
use crate::write::{body, propose};

/// What the guard holds back in a state, of both kinds together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeldBack {
    /// Removals of instances that fell silent.
    pub(crate) silent: Option<Held>,
    /// Removals of instances whose check stays critical.
    pub(crate) critical: Option<Held>,
}

impl HeldBack {
    /// What a state says.
    pub(crate) fn of(state: &State) -> HeldBack {
        HeldBack {
            silent: guard::held(state, Removals::Silent),
            critical: guard::held(state, Removals::Critical),
        }
    }

    /// What is there, of silent instances first.
    pub(crate) fn each(&self) -> impl Iterator<Item = (Removals, &Held)> {
        let silent = self.silent.iter().map(|held| (Removals::Silent, held));
        let critical = self.critical.iter();
        silent.chain(critical.map(|held| (Removals::Critical, held)))
    }
}

fn render(state: &State) -> api::Guard {
    let held = HeldBack::of(state);
    let count = |held: &Option<Held>| held.as_ref().map_or(0, |held| held.report.count);
    let mut services: Vec<String> = Vec::new();
    // One that is about all services makes the whole about all.
    if held
        .each()
        .all(|(_, held)| !held.report.services.is_empty())
    {
        let named = held.each().flat_map(|(_, held)| &held.report.services);
        services.extend(named.map(ToString::to_string));
        services.sort_unstable();
        services.dedup();
    }
    api::Guard {
        mode: match guard::mode(state) {
            Mode::Auto => api::GuardMode::Auto,
            Mode::Off => api::GuardMode::Off,
            Mode::On => api::GuardMode::On,
        },
        active: held.each().next().is_some(),
        silent: count(&held.silent),
        critical: count(&held.critical),
        services,
        since: held.each().map(|(_, held)| held.since).min().map(print),
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
    let mode = match asked.mode {
        api::GuardMode::Auto => Mode::Auto,
        api::GuardMode::Off => Mode::Off,
        api::GuardMode::On => Mode::On,
    };
    let put = Put {
        quiet: true,
        ..Put::new(
            Keyspace::Settings,
            Key::from(guard::MODE),
            Bytes::from_static(mode.as_str().as_bytes()),
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
