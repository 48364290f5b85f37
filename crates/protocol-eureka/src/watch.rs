//! The change log as Eureka's delta: what became of each instance in the last three minutes.
//!
//! There is no queue of changes beside the catalog's own history, so a delta survives a restart and covers what other
//! protocols did: a critical check or a removed twin is a change like any other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use portolan_catalog::{Batch, Change, EndpointRow, Revision, ServiceKey, State, Table, Timestamp};
use portolan_registry::{Registry, Span};
use tokio::sync::Mutex;

use crate::read::{self, Shown};
use crate::tally::Tally;
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
    window: Window,
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

    /// As [`Delta::get`], before it is encoded: for those who may see only a part of it.
    pub(crate) async fn list(
        &self,
        registry: &Registry,
        state: Arc<State>,
        now: Timestamp,
    ) -> Applications {
        self.prepared(registry, state, now).await.list.clone()
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
        // Another one may have asked with a newer state meanwhile.
        let state = match state.revision() < made.window.seen {
            true => registry.snapshot(),
            false => state,
        };
        let mut tally = std::mem::take(&mut made.tally);
        let mut window = std::mem::take(&mut made.window);
        let times = made.times + 1;
        let registry = registry.clone();
        let work = move || {
            match window.advance(&registry, &state, now) {
                Some(services) => tally.count_again(&state, &services),
                None => tally.count(&state),
            }
            let list = window.changes(&state, times, tally.total());
            (tally, window, list)
        };
        let Ok((tally, window, list)) = portolan_environment::blocking(work).await else {
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
            window,
            tally,
        };
        made.list.clone()
    }
}

/// What is known of one id that was touched in the window.
#[derive(Debug)]
struct Touched {
    /// It was shown before its last change.
    before: bool,
    /// What was shown last, and when that ended or began.
    last: Shown,
    at: Timestamp,
}

type Ids = BTreeMap<(String, String), Shown>;

/// What was touched within reach, by application and id. It is kept from one delta to the next, so that each change is looked at once.
#[derive(Debug, Default)]
struct Window {
    /// All changes up to here have been looked at.
    seen: Revision,
    /// The time of the last of them.
    at: Timestamp,
    /// When that was.
    looked: Timestamp,
    touched: BTreeMap<(String, String), Touched>,
}

impl Window {
    /// Looks at what happened up to `state`, and forgets what is out of reach at `now`. Gives back the services with an endpoint that
    /// changed since the last time; `None` when that cannot be told.
    fn advance(
        &mut self,
        registry: &Registry,
        state: &State,
        now: Timestamp,
    ) -> Option<BTreeSet<ServiceKey>> {
        let reach = Timestamp(now.0.saturating_sub(REACH_MS));
        let whole = self.seen > Revision(0) && self.looked >= reach;
        let (since, seen) = match whole {
            true => (self.at, self.seen),
            false => (reach, Revision(0)),
        };
        let endpoints = Span::table(Table::Endpoints);
        let found = registry
            .history()
            .since(&endpoints, since, state.revision());
        // Clients that miss something fetch everything: their hash codes differ.
        let readable = found.is_ok();
        let mut services = BTreeSet::new();
        // Newest first, as they are found.
        for batch in found.unwrap_or_default().iter().rev() {
            if batch.revision > seen {
                self.see(state, batch);
                services.extend(changed(batch).cloned());
            }
        }
        self.touched.retain(|_, touched| touched.at >= reach);
        (self.seen, self.at, self.looked) = (state.revision(), state.last_at(), now);
        (whole && readable).then_some(services)
    }

    /// Takes in a batch that is newer than all before. The newest change of an id alone counts: one that was added and then changed is
    /// MODIFIED.
    fn see(&mut self, state: &State, batch: &Batch) {
        let (mut was, mut is) = sides(state, batch);
        was.retain(|id, before| match is.get(id) {
            Some(after) if after.same(before) => {
                is.remove(id);
                false
            }
            Some(_) | None => true,
        });
        let at = batch.at;
        for (id, last) in is {
            let before = was.remove(&id).is_some();
            self.touched.insert(id, Touched { before, last, at });
        }
        for (id, last) in was {
            let before = true;
            self.touched.insert(id, Touched { before, last, at });
        }
    }

    /// Every instance touched within reach, in its present state; those that are gone with their last data.
    fn changes(&self, state: &State, version: u64, counts: &Counts) -> Applications {
        let mut apps: BTreeMap<&str, Application> = BTreeMap::new();
        for ((app, id), touched) in &self.touched {
            let present = read::find(state, app, id);
            let shown = present.as_ref().unwrap_or(&touched.last);
            let mut it = shown.render(state, app);
            it.action = match (present.is_some(), touched.before) {
                (false, _) => Action::Deleted,
                (true, false) => Action::Added,
                (true, true) => Action::Modified,
            };
            if present.is_none() {
                it.lease.evicted_at = touched.at.0 as i64;
                it.updated_at = touched.at.0 as i64;
            }
            let application = apps.entry(app).or_default();
            application.name.clone_from(app);
            application.instances.push(it);
        }
        Applications {
            version: version.to_string(),
            hashcode: counts.hashcode(),
            applications: apps.into_values().collect(),
        }
    }
}

/// The services of the endpoints that a batch changed.
fn changed(batch: &Batch) -> impl Iterator<Item = &ServiceKey> {
    batch.changes.iter().filter_map(|change| match change {
        Change::Endpoint { before, after } => {
            let row = after.as_ref().or(before.as_ref())?;
            Some(&row.key.service)
        }
        _ => None,
    })
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
            let mut window = Window::default();
            window.advance(&registry, &state, now);
            let list = window.changes(&state, 1, &Counts::default());
            assert_eq!(list.applications.len(), told, "{later} ms later");
        }
    }

    async fn propose(registry: &Registry, command: Command) {
        let cause = Cause::call(Protocol::Native, None);
        let settled = registry.propose(cause, command).await.unwrap();
        settled.outcome.unwrap();
    }

    /// Registers and removes by turns, and compares what was kept with what is made from nothing.
    #[tokio::test]
    async fn a_window_that_is_kept_says_what_one_made_anew_says() {
        let registry = Registry::local(&LocalOptions::default());
        let (mut window, mut tally) = (Window::default(), Tally::default());
        for step in 0..60_u16 {
            let key = InstanceKey::new(Protocol::Native, format!("i{}", step % 7));
            let command = match step % 3 {
                2 => Command::Deregister {
                    target: portolan_catalog::Target::Instance(key),
                    expect: None,
                },
                _ => Command::Register(Box::new(Register::new(Registration::new(
                    key,
                    ServiceKey::plain(&format!("s{}", step % 4)),
                    Endpoint::new(Host::new("10.0.0.1"), 80 + step % 5),
                )))),
            };
            let cause = Cause::call(Protocol::Native, None);
            registry.propose(cause, command).await.unwrap();
            if step % 4 == 1 {
                continue;
            }
            let state = registry.snapshot();
            let now = state.last_at();
            match window.advance(&registry, &state, now) {
                Some(services) => tally.count_again(&state, &services),
                None => tally.count(&state),
            }
            let (mut anew, mut counted) = (Window::default(), Tally::default());
            assert_eq!(anew.advance(&registry, &state, now), None);
            counted.count(&state);
            let kept = window.changes(&state, 1, tally.total());
            let made = anew.changes(&state, 1, counted.total());
            assert_eq!(
                wire::encode_applications(Shape::ALL[0], &kept),
                wire::encode_applications(Shape::ALL[0], &made),
                "step {step}"
            );
        }
    }

    #[tokio::test]
    async fn only_what_is_new_is_looked_at() {
        let (registry, state, at) = registered().await;
        let mut window = Window::default();
        assert_eq!(window.advance(&registry, &state, at), None);
        assert_eq!(window.advance(&registry, &state, at), Some(BTreeSet::new()));
        let facts = Registration::new(
            InstanceKey::new(Protocol::Native, "b"),
            ServiceKey::plain("db"),
            Endpoint::new(Host::new("10.0.0.1"), 81),
        );
        propose(&registry, Command::Register(Box::new(Register::new(facts)))).await;
        let state = registry.snapshot();
        let services = window.advance(&registry, &state, state.last_at());
        assert_eq!(services, Some(BTreeSet::from([ServiceKey::plain("db")])));
        assert_eq!(window.touched.len(), 2);
        // Nobody asked for longer than a delta reaches.
        let later = Timestamp(state.last_at().0 + REACH_MS + 1);
        assert_eq!(window.advance(&registry, &state, later), None);
        assert!(window.touched.is_empty());
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
