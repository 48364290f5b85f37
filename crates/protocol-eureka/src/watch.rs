//! The change log as Eureka's delta: what became of each instance in the last three minutes.
//!
//! There is no queue of changes beside the catalog's own history, so a delta survives a restart and covers what other
//! protocols did: a critical check or a removed twin is a change like any other.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use portolan_catalog::{Batch, Change, EndpointRow, Revision, ServiceKey, State, Table, Timestamp};
use portolan_registry::{Registry, Span};
use tokio::sync::Mutex;

use crate::read::{self, Shown};
use crate::translate;
use crate::view;
use crate::wire::{self, Action, Application, Applications, Counts, Shape};

/// How far a delta reaches back, in milliseconds. Clients poll every 30 s and may miss a few.
pub(crate) const REACH_MS: u64 = 180_000;
/// A delta is made anew after this many milliseconds even when nothing happened, so that old changes leave it.
const FRESH_MS: u64 = 30_000;

/// The delta, made once per change and shared by all who poll.
#[derive(Debug, Default)]
pub(crate) struct Delta(Mutex<Made>);

#[derive(Debug, Default)]
struct Made {
    times: u64,
    mark: Revision,
    at: Timestamp,
    list: Arc<Prepared>,
    tally: Tally,
}

/// One delta and its encodings, each made when first asked for: after many registrations at once every client is sent
/// the same long list.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    list: Applications,
    encoded: [OnceLock<Bytes>; 8],
}

impl Prepared {
    /// The answer's bytes. May take long the first time.
    fn bytes(&self, shape: Shape, gzip: bool) -> Bytes {
        let encode = || {
            let plain = wire::encode_applications(shape, &self.list);
            if gzip {
                portolan_listener::gzip(&plain)
            } else {
                plain.into()
            }
        };
        let cell = &self.encoded[usize::from(view::slot_of(shape, gzip))];
        cell.get_or_init(encode).clone()
    }
}

impl Delta {
    /// The answer to `/apps/delta`: the changes up to `state`, at `now`.
    pub(crate) async fn get(
        &self,
        registry: &Registry,
        state: Arc<State>,
        now: Timestamp,
        shape: Shape,
        gzip: bool,
    ) -> Bytes {
        let prepared = self.prepared(registry, state, now).await;
        let cell = &prepared.encoded[usize::from(view::slot_of(shape, gzip))];
        if let Some(bytes) = cell.get() {
            return bytes.clone();
        }
        // An error means that the runtime is going down; nobody waits for the answer.
        let work = move || prepared.bytes(shape, gzip);
        portolan_environment::blocking(work)
            .await
            .unwrap_or_default()
    }

    async fn prepared(
        &self,
        registry: &Registry,
        state: Arc<State>,
        now: Timestamp,
    ) -> Arc<Prepared> {
        let mut made = self.0.lock().await;
        let mark = view::mark(&state);
        if made.times > 0 && made.mark >= mark && now.0 < made.at.0 + FRESH_MS {
            return made.list.clone();
        }
        let mut tally = std::mem::take(&mut made.tally);
        let times = made.times + 1;
        let registry = registry.clone();
        let work = move || {
            let counts = tally.count(&state);
            let list = changes(&recent(&registry, &state, now), &state, times, &counts);
            (tally, list)
        };
        let Ok((tally, list)) = portolan_environment::blocking(work).await else {
            // The runtime is going down; nobody waits for the answer.
            return Arc::default();
        };
        *made = Made {
            times,
            mark,
            at: now,
            list: Arc::new(Prepared {
                list,
                ..Prepared::default()
            }),
            tally,
        };
        made.list.clone()
    }
}

/// How many instances of each status every service shows; only services that changed are counted again.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    services: HashMap<ServiceKey, Counted>,
    round: u64,
}

#[derive(Debug)]
struct Counted {
    changed: Revision,
    counts: Counts,
    /// The last count that met the service.
    round: u64,
}

impl Tally {
    /// The counts over the whole registry.
    pub(crate) fn count(&mut self, state: &State) -> Counts {
        let mut total = Counts::default();
        self.round += 1;
        let (round, mut met) = (self.round, 0);
        for service in state.services() {
            met += 1;
            let changed = state.service_marks(&service.key).changed;
            if let Some(known) = self
                .services
                .get_mut(&service.key)
                .filter(|known| known.changed == changed)
            {
                known.round = round;
                total.merge(&known.counts);
                continue;
            }
            let counts = read::counts_of(state, &service.key);
            total.merge(&counts);
            let counted = Counted {
                changed,
                counts,
                round,
            };
            self.services.insert(service.key.clone(), counted);
        }
        if self.services.len() > met {
            self.services.retain(|_, known| known.round == round);
        }
        total
    }
}

/// What is known of one id that was touched in the window.
struct Touched {
    /// It was shown before its last change.
    before: bool,
    /// What was shown last, and when that ended or began.
    last: Shown,
    at: Timestamp,
}

type Ids = BTreeMap<(String, String), Shown>;

/// The batches within reach that changed an endpoint, newest first. Batches of other rows are not looked at.
fn recent(registry: &Registry, state: &State, now: Timestamp) -> Vec<Arc<Batch>> {
    let since = Timestamp(now.0.saturating_sub(REACH_MS));
    let endpoints = Span::table(Table::Endpoints);
    // Clients that miss something fetch everything: their hash codes differ.
    let found = registry
        .history()
        .since(&endpoints, since, state.revision());
    found.unwrap_or_default()
}

/// Every instance touched within reach, in its present state; those that are gone with their last data.
pub(crate) fn changes(
    batches: &[Arc<Batch>],
    state: &State,
    version: u64,
    counts: &Counts,
) -> Applications {
    let mut touched: BTreeMap<(String, String), Touched> = BTreeMap::new();
    // Newest first: the first sight of an id is its last change.
    for batch in batches {
        let (mut was, mut is) = sides(state, batch);
        was.retain(|id, before| match is.get(id) {
            Some(after) if after.same(before) => {
                is.remove(id);
                false
            }
            Some(_) | None => true,
        });
        for (id, shown) in &is {
            see(&mut touched, id, shown, was.contains_key(id), batch.at);
        }
        for (id, shown) in was.iter().filter(|(id, _)| !is.contains_key(*id)) {
            see(&mut touched, id, shown, true, batch.at);
        }
    }
    let mut apps: BTreeMap<String, Application> = BTreeMap::new();
    for ((app, id), touched) in touched {
        let present = read::find(state, &app, &id);
        let shown = present.as_ref().unwrap_or(&touched.last);
        let mut it = shown.render(state, &app);
        it.action = match (present.is_some(), touched.before) {
            (false, _) => Action::Deleted,
            (true, false) => Action::Added,
            (true, true) => Action::Modified,
        };
        if present.is_none() {
            it.lease.evicted_at = touched.at.0 as i64;
            it.updated_at = touched.at.0 as i64;
        }
        let application = apps.entry(app.clone()).or_default();
        application.name = app;
        application.instances.push(it);
    }
    Applications {
        version: version.to_string(),
        hashcode: counts.hashcode(),
        applications: apps.into_values().collect(),
    }
}

/// What the endpoints changed by a batch showed before and show after it.
fn sides(state: &State, batch: &Batch) -> (Ids, Ids) {
    let (mut was, mut is) = (Ids::new(), Ids::new());
    let add = |ids: &mut Ids, row: &Option<Arc<EndpointRow>>| {
        let Some(row) = row else {
            return;
        };
        let app = translate::app_of(&row.key.service);
        for shown in read::shown(state, &app, row) {
            ids.insert((app.clone(), shown.id.clone()), shown);
        }
    };
    for change in &batch.changes {
        if let Change::Endpoint { before, after } = change {
            add(&mut was, before);
            add(&mut is, after);
        }
    }
    (was, is)
}

fn see(
    touched: &mut BTreeMap<(String, String), Touched>,
    id: &(String, String),
    shown: &Shown,
    before: bool,
    at: Timestamp,
) {
    // The newest change comes first, and it alone counts: an id that was added and then changed is MODIFIED.
    if !touched.contains_key(id) {
        let last = shown.clone();
        touched.insert(id.clone(), Touched { before, last, at });
    }
}

#[cfg(test)]
mod tests {
    use portolan_catalog::{
        Cause, Command, Endpoint, Host, InstanceKey, Protocol, Register, Registration,
    };
    use portolan_registry::LocalOptions;

    use super::*;

    /// A catalog in which one instance was registered last, and when.
    async fn registered() -> (Registry, Arc<State>, Timestamp) {
        let registry = Registry::local(&LocalOptions::default());
        let facts = Registration::new(
            InstanceKey::new(Protocol::Native, "a"),
            ServiceKey::plain("web"),
            Endpoint::new(Host::new("10.0.0.1"), 80),
        );
        let command = Command::Register(Box::new(Register::new(facts)));
        let cause = Cause::call(Protocol::Native, None);
        let settled = registry.propose(cause, command).await.unwrap();
        settled.outcome.unwrap();
        let state = registry.snapshot();
        let at = state.last_at();
        (registry, state, at)
    }

    #[tokio::test]
    async fn a_change_is_told_for_three_minutes() {
        let (registry, state, at) = registered().await;
        for (later, told) in [(0, 1), (REACH_MS, 1), (REACH_MS + 1, 0)] {
            let now = Timestamp(at.0 + later);
            let batches = recent(&registry, &state, now);
            let list = changes(&batches, &state, 1, &Counts::default());
            assert_eq!(list.applications.len(), told, "{later} ms later");
        }
    }

    #[tokio::test]
    async fn a_delta_without_news_is_made_anew_after_a_while() {
        let (registry, state, at) = registered().await;
        let delta = Delta::default();
        let rows = [
            (0, "1", true),
            (FRESH_MS - 1, "1", true),
            (REACH_MS - 1, "2", true),
            (REACH_MS + 1, "2", true),
            (REACH_MS + FRESH_MS, "3", false),
        ];
        for (later, version, told) in rows {
            let now = Timestamp(at.0 + later);
            let bytes = delta
                .get(&registry, state.clone(), now, Shape::ALL[0], false)
                .await;
            let text = std::str::from_utf8(&bytes).unwrap();
            assert!(
                text.contains(&format!("\"versions__delta\":\"{version}\"")),
                "{later} ms later: {text}"
            );
            assert_eq!(text.contains("10.0.0.1:web:80"), told, "{later} ms later");
            assert!(text.contains("\"apps__hashcode\":\"UP_1_\""), "{text}");
        }
    }
}
