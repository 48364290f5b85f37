//! What follows from objects: endpoints of pods, slices of services registered elsewhere, and the end of what nobody owns any longer.
//!
//! It runs on every server and works on the one that leads. It keeps nothing that it could not read again: whoever leads next begins with
//! everything, and what is as it should be is left alone. Its writes name the versions they replace, as everybody's do.

mod collect;
mod endpoints;
mod index;
mod reconcile;
mod shared;
mod slices;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use portolan_catalog::{
    Batch, Cause, Change, Command, Key, KeyRange, Op, Refusal, Table, Why, Write,
};
use portolan_registry::{Feed, Selector};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use crate::app::{App, FIRST};
use crate::kind::{NAMESPACES, SPACE};
use index::Index;

/// How often it looks at the clock, and whether it still leads.
const TICK: Duration = Duration::from_secs(1);
/// Operations in one write: a few less than one may have.
const OPERATIONS: usize = 100;

/// A service, by namespace and name.
type Name = (String, String);

/// What could not be done now; it is tried again.
#[derive(Debug)]
enum Later {
    /// Somebody else wrote first: what there is now is looked at again.
    Again,
    /// Nobody can decide now.
    Unavailable,
}

/// Works for ever.
pub(crate) async fn run(app: Arc<App>) {
    let first = NAMESPACES.key("", FIRST[0]);
    loop {
        if app.registry.leads() && !app.registry.is_copy() && app.registry.read(App::is_awake) {
            work(&app).await;
        }
        // Until the API is used for the first time, or this server leads.
        let selector = vec![Selector::Key(SPACE, first.clone())];
        match app
            .registry
            .follow(selector, app.registry.snapshot().revision())
        {
            Ok(mut feed) => tokio::select! {
                _woken = feed.next() => {}
                () = sleep(TICK) => {}
            },
            Err(_compacted) => sleep(TICK).await,
        }
    }
}

/// Works until another server leads, or changes were missed.
async fn work(app: &Arc<App>) {
    let state = app.registry.snapshot();
    let selectors = vec![
        Selector::Range(SPACE, KeyRange::all()),
        Selector::Table(Table::Services),
        Selector::Table(Table::Endpoints),
    ];
    let Ok(mut feed) = app.registry.follow(selectors, state.revision()) else {
        return;
    };
    let mut index = Index::of(&state);
    let mut dirty = index.every_service(&state);
    let mut failed: BTreeSet<Name> = BTreeSet::new();
    let mut ticks = interval_at(Instant::now() + TICK, TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    drop(state);
    loop {
        if !take(app, &mut feed, &mut index, &mut dirty) {
            return;
        }
        if let Some(service) = dirty.pop_first() {
            match reconcile::service(app, &index, &service.0, &service.1).await {
                Ok(()) => {
                    app.gauges.reconciled.inc();
                }
                Err(later) => {
                    app.gauges.failed.inc();
                    tracing::debug!(service = ?service, ?later, "endpoints are to be worked out again");
                    failed.insert(service);
                }
            }
            continue;
        }
        if collect::now(app, &mut index).await {
            continue;
        }
        tokio::select! {
            batch = feed.next() => match batch {
                Ok(batch) => note(app, &batch, &mut index, &mut dirty),
                Err(_cut) => return,
            },
            _ = ticks.tick() => {
                if !app.registry.leads() {
                    return;
                }
                dirty.append(&mut failed);
                collect::timed(app, &mut index).await;
            }
        }
    }
}

/// Notes what happened so far; false when changes were missed.
fn take(app: &App, feed: &mut Feed, index: &mut Index, dirty: &mut BTreeSet<Name>) -> bool {
    loop {
        match feed.try_next() {
            Ok(Some(batch)) => note(app, &batch, index, dirty),
            Ok(None) => return true,
            Err(_cut) => return false,
        }
    }
}

fn note(app: &App, batch: &Batch, index: &mut Index, dirty: &mut BTreeSet<Name>) {
    for change in &batch.changes {
        match change {
            Change::Record {
                space,
                key,
                before,
                after,
            } if *space == SPACE => {
                index.note(key, before.as_deref(), after.as_deref(), dirty);
            }
            Change::Service { before, after } => {
                let rows = before.iter().chain(after);
                dirty.extend(
                    rows.map(|row| (row.key.namespace().to_owned(), row.label.to_string())),
                );
            }
            Change::Endpoint { before, after } => {
                let Some(row) = after.as_ref().or(before.as_ref()) else {
                    continue;
                };
                let service = &row.key.service;
                let label = app
                    .registry
                    .read(|state| state.service(service).map(|row| row.label.clone()));
                dirty
                    .extend(label.map(|label| (service.namespace().to_owned(), label.to_string())));
            }
            _ => {}
        }
    }
}

/// Writes some operations, all or nothing; more than fit into one command as several.
async fn write(app: &App, ops: Vec<Op>) -> Result<(), Later> {
    let mut ops = ops.into_iter().peekable();
    while ops.peek().is_some() {
        let then: Vec<Op> = ops.by_ref().take(OPERATIONS).collect();
        let write = Write {
            then,
            ..Write::default()
        };
        let cause = Cause::own(Why::Housekeeping);
        let settled = app.registry.propose(cause, Command::Write(write)).await;
        match settled.map(|settled| settled.outcome) {
            Ok(Ok(_)) => {}
            Ok(Err(refusal)) => {
                let expected = matches!(
                    refusal,
                    Refusal::Changed(_) | Refusal::NoKey | Refusal::Exists
                );
                if !expected {
                    tracing::warn!(?refusal, "what follows from objects was refused");
                }
                return Err(Later::Again);
            }
            Err(_unavailable) => return Err(Later::Unavailable),
        }
    }
    Ok(())
}

/// The keys of everything in a namespace are found kind by kind.
fn ranges_of(
    namespace: &str,
) -> impl Iterator<Item = (&'static crate::kind::Kind, KeyRange)> + use<'_> {
    crate::kind::KINDS
        .into_iter()
        .filter(|kind| kind.namespaced)
        .map(move |kind| (kind, kind.range(Some(namespace))))
}

/// A record's key as kind, namespace and name.
fn read_key(key: &Key) -> Option<(&'static crate::kind::Kind, &str, &str)> {
    crate::kind::Kind::of_key(key)
}
