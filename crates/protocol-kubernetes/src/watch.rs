//! Feed to stream: a watch is one answer without end, an event a line.
//!
//! Promises
//! - Events come in the order of their versions, none twice, none left out. A reader too slow for the history is told `Expired`.
//! - A selector sees an object that begins to match as added and one that no longer does as deleted.
//! - A bookmark's version is never ahead of an event that is still to come.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::unfold;
use http::StatusCode;
use portolan_catalog::{Batch, Change, Record, Revision, State};
use portolan_listener::{Action, Body, BoxError, Caller, Response};
use portolan_registry::{Feed, Selector as Follow};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::accept::Accepted;
use crate::app::{App, allow_selected};
use crate::describe::table::Form;
use crate::error::Failure;
use crate::kind::{Kind, SPACE};
use crate::media::Media;
use crate::object;
use crate::params::{Params, Version};
use crate::read::state_at;
use crate::selector::Selector;
use crate::{protobuf, respond};

/// How often a watch without events is told which version it has reached.
const BOOKMARK: Duration = Duration::from_secs(60);
/// How long before its end a watch is told so.
const BEFORE_END: Duration = Duration::from_secs(2);
/// How long a watch goes on that does not say, at least; up to twice that.
const LONGEST: Duration = Duration::from_secs(1800);
/// How often it is looked whether whoever watches still may.
const LOOK: Duration = Duration::from_secs(2);
/// Objects in one piece of the first events.
const PIECE: usize = 256;

/// Counts a watch for as long as it is open.
struct Open(Arc<App>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.gauges.watches.dec();
    }
}

struct Watcher {
    open: Open,
    caller: Caller,
    kind: &'static Kind,
    namespace: Option<String>,
    /// When it is looked next whether the watch is still allowed.
    look: Option<Instant>,
    selector: Selector,
    params: Params,
    accepted: Accepted,
    feed: Option<Feed>,
    /// What there was at the start, still to be sent.
    first: VecDeque<Arc<Record>>,
    /// The bookmark that ends what there was.
    initial_end: Option<Revision>,
    /// Why it ends at once.
    failure: Option<Failure>,
    bookmarks: bool,
    next_bookmark: Instant,
    ends: Instant,
    told_end: bool,
    over: bool,
}

/// Opens a watch on the objects of a kind, or of one of its namespaces.
pub(crate) async fn watch(
    app: &Arc<App>,
    caller: &Caller,
    kind: &'static Kind,
    namespace: Option<&str>,
    params: Params,
    accepted: Accepted,
) -> Result<Response, Failure> {
    let selector = params.selector(kind);
    let name = selector.as_ref().ok().and_then(Selector::name);
    allow_selected(caller, Action::Watch, kind, namespace, name)?;
    let selector = selector?;
    let (version, initial) = params.watch_version()?;
    let timeout = params
        .timeout()?
        .unwrap_or_else(|| LONGEST.mul_f64(1.0 + portolan_environment::random_fraction()));
    if app.gauges.watches.inc() >= i64::try_from(app.settings.watches).unwrap_or(i64::MAX) {
        app.gauges.watches.dec();
        app.gauges.limited.inc();
        return Err(Failure::too_many(
            "too many watches are open, please try again later",
        ));
    }
    let open = Open(app.clone());
    // One name is one row: nobody else's changes wake this watch.
    let range = match (selector.name(), namespace, kind.namespaced) {
        (Some(name), Some(namespace), true) => {
            portolan_catalog::KeyRange::One(kind.key(namespace, name))
        }
        (Some(name), _, false) => portolan_catalog::KeyRange::One(kind.key("", name)),
        _ => kind.range(namespace),
    };
    let from_here = initial || matches!(version, Version::Latest | Version::Any);
    let (mut first, mut after) = (VecDeque::new(), Revision(0));
    if from_here {
        let state: Arc<State> = state_at(app, version).await?;
        after = state.revision();
        first = state
            .range(SPACE, &range)
            .map(|(_, record)| record.clone())
            .collect();
    } else if let Version::NotOlder(number) | Version::Exact(number) = version {
        // A version that was not reached yet may still be known to others.
        let state = state_at(app, version).await?;
        after = Revision(number.min(state.revision().0));
    }
    let selectors = vec![Follow::Range(SPACE, range)];
    let (feed, failure) = match app.registry.follow(selectors, after) {
        Ok(feed) => (Some(feed), None),
        Err(compacted) => {
            let why = format!("too old resource version: {after} ({})", compacted.floor);
            (None, Some(Failure::expired(why)))
        }
    };
    let now = Instant::now();
    let watcher = Watcher {
        open,
        caller: caller.clone(),
        kind,
        namespace: namespace.map(str::to_owned),
        // Without access control nothing is ever taken back.
        look: (caller.restricted() || caller.principal().name().is_some()).then_some(now + LOOK),
        selector,
        accepted,
        feed,
        initial_end: (initial && failure.is_none()).then_some(after),
        first,
        failure,
        bookmarks: params.truth("allowWatchBookmarks"),
        params,
        next_bookmark: now + BOOKMARK,
        ends: now + timeout,
        told_end: false,
        over: false,
    };
    let pieces = unfold(watcher, |mut watcher| async move {
        let piece = watcher.next().await?;
        Some((Ok::<Bytes, Infallible>(piece), watcher))
    });
    let body =
        Body::stream(pieces.map(|piece| piece.map_err(|never| -> BoxError { match never {} })));
    Ok(respond::typed(
        StatusCode::OK,
        accepted.media.streamed(),
        body,
    ))
}

/// What wakes a watch.
enum Woken {
    Batch(Arc<Batch>),
    Cut(Revision, Revision),
    Bookmark,
    EndsSoon,
    Look,
    Over,
}

impl Watcher {
    /// The next piece of the answer; none at its end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        if let Some(failure) = self.failure.take() {
            self.over = true;
            return Some(self.error(&failure));
        }
        loop {
            let mut out = BytesMut::new();
            while let Some(record) = self.first.pop_front() {
                let object = object::decode(&record);
                if self.selector.is_empty() || self.selector.matches(&object) {
                    self.event(&mut out, "ADDED", object);
                }
                if out.len() > PIECE * 1024 {
                    break;
                }
            }
            if self.first.is_empty()
                && let Some(revision) = self.initial_end.take()
            {
                self.bookmark(&mut out, revision, true);
            }
            if !out.is_empty() {
                return Some(out.freeze());
            }
            match self.woken().await {
                Woken::Batch(batch) => {
                    self.batch(&mut out, &batch);
                    if !out.is_empty() {
                        return Some(out.freeze());
                    }
                }
                Woken::Cut(after, floor) => {
                    self.over = true;
                    let why = format!("too old resource version: {after} ({floor})");
                    return Some(self.error(&Failure::expired(why)));
                }
                Woken::Bookmark => {
                    self.next_bookmark = Instant::now() + BOOKMARK;
                    if self.bookmarks
                        && let Some(revision) = self.feed.as_ref().map(Feed::frontier)
                    {
                        self.bookmark(&mut out, revision, false);
                        return Some(out.freeze());
                    }
                }
                Woken::EndsSoon => {
                    self.told_end = true;
                    self.next_bookmark = Instant::now();
                }
                Woken::Look => {
                    self.look = Some(Instant::now() + LOOK);
                    let (namespace, name) = (self.namespace.as_deref(), self.selector.name());
                    let allowed =
                        allow_selected(&self.caller, Action::Watch, self.kind, namespace, name);
                    if let Err(denied) = allowed {
                        self.over = true;
                        return Some(self.error(&Failure::from(denied)));
                    }
                }
                Woken::Over => return None,
            }
        }
    }

    async fn woken(&mut self) -> Woken {
        let Some(feed) = &mut self.feed else {
            return Woken::Over;
        };
        let soon = self.ends.checked_sub(BEFORE_END).unwrap_or(self.ends);
        tokio::select! {
            biased;
            () = self.caller.draining() => Woken::Over,
            batch = feed.next() => match batch {
                Ok(batch) => Woken::Batch(batch),
                Err(cut) => Woken::Cut(cut.after, cut.floor),
            },
            () = sleep_until(self.ends) => Woken::Over,
            () = sleep_until(soon), if !self.told_end => Woken::EndsSoon,
            () = sleep_until(self.next_bookmark) => Woken::Bookmark,
            () = sleep_until(self.look.unwrap_or(self.ends)), if self.look.is_some() => Woken::Look,
        }
    }

    fn batch(&self, out: &mut BytesMut, batch: &Batch) {
        let Some(feed) = &self.feed else { return };
        for change in &batch.changes {
            let wanted = feed.selectors().iter().any(|s| s.matches_change(change));
            let Change::Record { before, after, .. } = change else {
                continue;
            };
            if !wanted {
                continue;
            }
            if self.selector.is_empty() && self.accepted.form == Form::Object {
                // Nobody has to look into it: the bytes go out as they are stored.
                let (word, record, revision) = match (before, after) {
                    (None, Some(after)) => ("ADDED", after, after.modified),
                    (Some(_), Some(after)) => ("MODIFIED", after, after.modified),
                    (Some(before), None) => ("DELETED", before, batch.revision),
                    (None, None) => continue,
                };
                self.open.0.gauges.events.inc();
                self.stored(out, word, &record.bytes(), revision);
                continue;
            }
            let seen = |record: &Option<Arc<Record>>, revision: Option<Revision>| {
                let record = record.as_ref()?;
                let object = object::decode_at(record, revision.unwrap_or(record.modified));
                self.selector.matches(&object).then_some(object)
            };
            let was = seen(before, Some(batch.revision));
            let is = seen(after, None);
            match (was, is) {
                (None, Some(is)) => self.event(out, "ADDED", is),
                (Some(_), Some(is)) => self.event(out, "MODIFIED", is),
                (Some(was), None) => {
                    // One that only stopped matching is shown as it is now.
                    let now = after.as_ref().map(|record| object::decode(record));
                    self.event(out, "DELETED", now.unwrap_or(was));
                }
                (None, None) => {}
            }
        }
    }

    fn event(&self, out: &mut BytesMut, word: &str, object: Value) {
        self.open.0.gauges.events.inc();
        let now = self.open.0.registry.now();
        let shown = self
            .accepted
            .form
            .one(self.kind, &object, &self.params, now);
        self.put(out, word, &shown, self.accepted.schema(self.kind));
    }

    /// An object as it is stored, which nobody has to look into.
    fn stored(&self, out: &mut BytesMut, word: &str, stored: &[u8], revision: Revision) {
        match self.accepted.media {
            Media::Protobuf => {
                let (kind, schema) = (self.kind.kind, self.kind.schema);
                let api_version = self.kind.api_version();
                match protobuf::stored(&api_version, kind, schema, stored, revision) {
                    Ok(object) => out.extend_from_slice(&protobuf::frame(word, &object)),
                    Err(error) => self.unwritable(out, &error),
                }
            }
            Media::Json | Media::Yaml => {
                begin(out, word);
                object::render(out, stored, revision, true);
                out.extend_from_slice(b"}\n");
            }
        }
    }

    /// One event, of a value of the type `schema`.
    fn put(&self, out: &mut BytesMut, word: &str, shown: &Value, schema: &'static str) {
        match self.accepted.media {
            Media::Protobuf => match protobuf::object(shown, schema) {
                Ok(object) => out.extend_from_slice(&protobuf::frame(word, &object)),
                Err(error) => self.unwritable(out, &error),
            },
            Media::Json | Media::Yaml => {
                begin(out, word);
                let _written = serde_json::to_writer((&mut *out).writer(), shown);
                out.extend_from_slice(b"}\n");
            }
        }
    }

    /// An object that was kept before its fields were known: who watches in JSON is shown it.
    fn unwritable(&self, out: &mut BytesMut, error: &serde_json::Error) {
        let failure = Failure::internal(format!("an object cannot be sent as protobuf: {error}"));
        out.extend_from_slice(&self.error(&failure));
    }

    fn bookmark(&self, out: &mut BytesMut, revision: Revision, ends_first: bool) {
        let mut object = json!({
            "kind": self.kind.kind,
            "apiVersion": self.kind.api_version(),
            "metadata": {"resourceVersion": revision.to_string(), "creationTimestamp": null},
        });
        if ends_first {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        if self.accepted.form != Form::Object {
            object = self.accepted.form.bookmark(self.kind, object);
        }
        self.put(out, "BOOKMARK", &object, self.accepted.schema(self.kind));
    }

    fn error(&self, failure: &Failure) -> Bytes {
        let mut out = BytesMut::new();
        self.put(&mut out, "ERROR", &failure.status(), "Status");
        out.freeze()
    }
}

fn begin(out: &mut BytesMut, word: &str) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(word.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
}
