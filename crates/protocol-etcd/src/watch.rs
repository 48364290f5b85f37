//! The Watch service: one stream, many watchers, each on a feed of its own.
//!
//! Invariants
//! - A watcher's `created` answer precedes its events; nothing follows its `canceled` answer.
//! - All events of a revision leave in one response, or in fragments of one; the header is never below an event under it.
//! - A progress notification never overtakes an event: it is sent when every feed has been read as far as it says.
//! - A client that does not read costs what its feeds may hold: pieces are made only when the connection takes them, and a feed that
//!   overflows reads the history again. When that is gone too, the watcher is cancelled as compacted, never left with a gap.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use portolan_catalog::{Batch, Change, KeyRange, Keyspace, Revision};
use portolan_listener::{Action, Caller, Request, Resource, Response};
use portolan_registry::{Cut, Selector};
use prost::Message;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    OVERHEAD_BYTES, RECEIVE_BYTES,
    app::{App, allow, allow_keys},
    error::{COMPACTED, Failure, STOPPED},
    events::{Wanted, events_of, respond},
    fan::Fan,
    grpc::{self, Messages},
    wire::etcdserverpb::{
        WatchCreateRequest, WatchRequest, WatchResponse, watch_create_request::FilterType,
        watch_request::RequestUnion,
    },
    write::keys,
};

/// The id in answers that are not one watcher's.
const NO_WATCHER: i64 = -1;
/// Watchers of one stream at most. etcd has no such bound; its clients stay far below.
const WATCHERS: usize = 100_000;
/// Bytes of responses that leave together.
const TOGETHER: usize = 32 << 10;
/// Revisions, and bytes of events, that one response to a watcher that is behind carries at most.
const CATCH_UP: (usize, usize) = (1000, 512 << 10);

/// Opens a stream.
pub(crate) async fn watch(app: Arc<App>, request: Request) -> Response {
    let caller = Caller::of(&request);
    if let Err(failure) = allow(&caller, Action::Watch, Resource::Public) {
        return grpc::unary(Err(failure));
    }
    app.gauges.watch_streams.inc();
    let leaving = caller.clone();
    let stream = Stream {
        messages: Messages::new(request.into_body(), RECEIVE_BYTES),
        draining: Box::pin(async move { leaving.draining().await }),
        app,
        caller,
        asking: true,
        asked_last: false,
        watchers: BTreeMap::new(),
        ids: BTreeMap::new(),
        next_id: 0,
        fan: Fan::default(),
        due: Vec::new(),
        tick: None,
        out: BytesMut::new(),
    };
    grpc::streaming(stream, |mut stream| async move {
        stream.next().await.map(|piece| (piece, stream))
    })
}

struct Stream {
    app: Arc<App>,
    caller: Caller,
    messages: Messages,
    draining: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// The client has not finished sending.
    asking: bool,
    /// Requests and events take turns when there are always more of both.
    asked_last: bool,
    /// By the number of their feed.
    watchers: BTreeMap<u64, Watcher>,
    /// Ids in use. A watcher that was cancelled for compaction keeps its id until the client cancels it too.
    ids: BTreeMap<i64, Option<u64>>,
    next_id: i64,
    fan: Fan,
    due: Vec<Due>,
    tick: Option<Pin<Box<Sleep>>>,
    /// Responses that have not left yet.
    out: BytesMut,
}

#[derive(Debug)]
struct Watcher {
    id: i64,
    wanted: Wanted,
    /// The start was asked for, and is not just the present.
    waits: bool,
    fragment: bool,
    /// Wants to hear of progress when nothing happens.
    notify: bool,
    /// Nothing happened since the last tick.
    quiet: bool,
}

/// A progress notification that is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// To the whole stream.
    All,
    /// To the watcher of this feed.
    One(u64),
}

/// What one feed had.
struct Told {
    number: u64,
    batches: Vec<Arc<Batch>>,
    cut: Option<Cut>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.app.gauges.watch_streams.dec();
        self.app.gauges.watchers.dec_by(self.watchers.len() as i64);
    }
}

impl Stream {
    /// The next piece of the answer: as many responses as are there and leave well together.
    async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        loop {
            if self.out.len() >= TOGETHER {
                return Some(Ok(self.out.split().freeze()));
            }
            self.asked_last = !self.asked_last;
            if self.asked_last
                && let Some(request) = self.request_here().await
            {
                if let Err(failure) = self.take(request).await {
                    return Some(Err(failure));
                }
                continue;
            }
            if let Some(told) = self.told_here().await {
                self.tell(told);
                continue;
            }
            if !self.due.is_empty() && !self.announce() {
                // A change is published and about to be handed out.
                tokio::task::yield_now().await;
                continue;
            }
            if !self.out.is_empty() {
                return Some(Ok(self.out.split().freeze()));
            }
            tokio::select! {
                told = poll_fn(|context| self.fan.poll_next(context)) => {
                    let told = gather(&mut self.fan, told);
                    self.tell(told);
                }
                request = self.messages.next::<WatchRequest>(), if self.asking => {
                    if let Err(failure) = self.take(request).await {
                        return Some(Err(failure));
                    }
                }
                () = ticking(&mut self.tick) => self.ticked(),
                () = self.draining.as_mut() => return Some(Err(STOPPED)),
            }
        }
    }

    /// A request that has arrived already.
    async fn request_here(&mut self) -> Option<Result<Option<WatchRequest>, Failure>> {
        if !self.asking {
            return None;
        }
        poll_fn(|context| {
            let next = pin!(self.messages.next::<WatchRequest>());
            Poll::Ready(match next.poll(context) {
                Poll::Ready(request) => Some(request),
                Poll::Pending => None,
            })
        })
        .await
    }

    /// What a feed has already.
    async fn told_here(&mut self) -> Option<Told> {
        poll_fn(|context| {
            Poll::Ready(match self.fan.poll_next(context) {
                Poll::Ready(told) => Some(gather(&mut self.fan, told)),
                Poll::Pending => None,
            })
        })
        .await
    }

    async fn take(
        &mut self,
        request: Result<Option<WatchRequest>, Failure>,
    ) -> Result<(), Failure> {
        let Some(request) = request? else {
            // Events go on until the client goes away.
            self.asking = false;
            return Ok(());
        };
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => self.create(request).await,
            Some(RequestUnion::CancelRequest(request)) => self.cancel(request.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => {
                if !self.due.contains(&Due::All) {
                    self.due.push(Due::All);
                }
            }
            None => {
                tracing::debug!(peer = %self.caller.peer(), "a watch request that asks for nothing")
            }
        }
        Ok(())
    }

    async fn create(&mut self, mut request: WatchCreateRequest) {
        if request.key.is_empty() {
            request.key = Bytes::from_static(b"\0");
        }
        let allowed = allow_keys(
            &self.caller,
            Action::Watch,
            &request.key,
            &request.range_end,
        );
        if request.start_revision < 0 {
            return self.refuse(COMPACTED.text.into_owned());
        }
        if let Err(failure) = allowed {
            return self.refuse(failure.in_go());
        }
        let open_end = request.range_end[..] == *b"\0";
        if !request.range_end.is_empty() && !open_end && request.key >= request.range_end {
            return self.refuse("mvcc: watcher range is empty".to_owned());
        }
        if request.watch_id != 0 && self.ids.contains_key(&request.watch_id) {
            return self.refuse("mvcc: duplicate watch ID provided on the WatchStream".to_owned());
        }
        if self.ids.len() >= WATCHERS {
            return self.refuse(format!(
                "etcdserver: a stream has at most {WATCHERS} watchers"
            ));
        }
        let id = if request.watch_id != 0 {
            request.watch_id
        } else {
            self.free_id()
        };
        self.app
            .wake(&self.caller, &request.key, &request.range_end)
            .await;
        self.register(id, &request);
    }

    fn free_id(&mut self) -> i64 {
        while self.ids.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    fn refuse(&mut self, reason: String) {
        let header = self.app.header(self.revision());
        self.say(WatchResponse {
            header: Some(header),
            watch_id: NO_WATCHER,
            created: true,
            canceled: true,
            cancel_reason: reason,
            ..Default::default()
        });
    }

    fn register(&mut self, id: i64, request: &WatchCreateRequest) {
        let now = self.revision();
        let start = if request.start_revision == 0 {
            now.next()
        } else {
            Revision(request.start_revision as u64)
        };
        let range = keys(&request.key, &request.range_end);
        let selector = match &range {
            KeyRange::One(key) => Selector::Key(Keyspace::Etcd, key.clone()),
            range => Selector::Range(Keyspace::Etcd, range.clone()),
        };
        self.say(WatchResponse {
            header: Some(self.app.header(now)),
            watch_id: id,
            created: true,
            ..Default::default()
        });
        match self
            .app
            .registry
            .follow(vec![selector], Revision(start.0 - 1))
        {
            Ok(feed) => {
                let wanted = |filter: FilterType| !request.filters.contains(&(filter as i32));
                let watcher = Watcher {
                    id,
                    wanted: Wanted {
                        range,
                        start,
                        puts: wanted(FilterType::Noput),
                        deletes: wanted(FilterType::Nodelete),
                        previous: request.prev_kv,
                    },
                    waits: request.start_revision != 0,
                    fragment: request.fragment,
                    notify: request.progress_notify,
                    quiet: false,
                };
                if watcher.notify && self.tick.is_none() {
                    self.tick = Some(Box::pin(sleep_until(next_tick(
                        self.app.settings.progress_interval,
                    ))));
                }
                let number = self.fan.add(feed);
                self.ids.insert(id, Some(number));
                self.watchers.insert(number, watcher);
                self.app.gauges.watchers.inc();
            }
            Err(compacted) => self.compacted(id, compacted.floor),
        }
    }

    /// Ends a watcher whose history is gone. etcd's header has no revision here, and the id stays taken until the client cancels it.
    fn compacted(&mut self, id: i64, floor: Revision) {
        self.ids.insert(id, None);
        let header = self.app.header(Revision(0));
        self.say(WatchResponse {
            header: Some(header),
            watch_id: id,
            canceled: true,
            compact_revision: floor.0 as i64,
            ..Default::default()
        });
    }

    fn cancel(&mut self, id: i64) {
        // Nothing is said of an id that is not in use.
        let Some(number) = self.ids.remove(&id) else {
            return;
        };
        if let Some(number) = number {
            self.forget(number);
        }
        let header = self.app.header(self.revision());
        self.say(WatchResponse {
            header: Some(header),
            watch_id: id,
            canceled: true,
            ..Default::default()
        });
    }

    fn forget(&mut self, number: u64) -> Option<Watcher> {
        self.fan.remove(number);
        let watcher = self.watchers.remove(&number)?;
        self.app.gauges.watchers.dec();
        Some(watcher)
    }

    fn revision(&self) -> Revision {
        self.app.registry.read(|state| state.revision())
    }

    fn say(&mut self, response: WatchResponse) {
        let length = response.encoded_len();
        grpc::frame_into(&mut self.out, length, |out| response.encode_raw(out));
    }

    /// Sends what a feed had to its watcher.
    fn tell(&mut self, told: Told) {
        let Some(watcher) = self.watchers.get(&told.number) else {
            return;
        };
        let floor = self
            .app
            .registry
            .read(|state| state.history().floor(Some(Keyspace::Etcd)));
        let wanted = |batch| events_of(&watcher.wanted, batch, floor);
        let events: Vec<_> = told
            .batches
            .iter()
            .flat_map(|batch| wanted(batch))
            .collect();
        if let (Some(last), false) = (told.batches.last(), events.is_empty()) {
            let header = self.app.header(last.revision);
            let largest = self.app.settings.request_bytes + OVERHEAD_BYTES;
            let largest = watcher.fragment.then_some(largest);
            respond(&mut self.out, &header, watcher.id, &events, largest);
            drop(events);
            if let Some(watcher) = self.watchers.get_mut(&told.number) {
                watcher.quiet = false;
            }
        }
        if let Some(cut) = told.cut
            && let Some(watcher) = self.forget(told.number)
        {
            self.compacted(watcher.id, cut.floor);
        }
    }

    fn ticked(&mut self) {
        self.tick = Some(Box::pin(sleep_until(next_tick(
            self.app.settings.progress_interval,
        ))));
        for (number, watcher) in self
            .watchers
            .iter_mut()
            .filter(|(_, watcher)| watcher.notify)
        {
            if watcher.quiet && !self.due.contains(&Due::One(*number)) {
                self.due.push(Due::One(*number));
            }
            watcher.quiet = true;
        }
    }

    /// Sends the notifications that are owed. Every feed was found empty just before; false when one is behind the published state after all.
    fn announce(&mut self) -> bool {
        let now = self.revision();
        while let Some(due) = self.due.last().copied() {
            let numbers: Vec<u64> = match due {
                Due::All => self.watchers.keys().copied().collect(),
                Due::One(number) => self
                    .watchers
                    .contains_key(&number)
                    .then_some(number)
                    .into_iter()
                    .collect(),
            };
            // A watcher that waits for the future has nothing to be told of the present, and a stream without watchers is owed nothing.
            let waits = numbers.iter().any(|number| {
                self.watchers
                    .get(number)
                    .is_some_and(|watcher| watcher.waits && watcher.wanted.start > now)
            });
            let frontier = numbers
                .iter()
                .filter_map(|number| self.fan.frontier(*number))
                .min();
            let Some(frontier) = frontier.filter(|_| !waits) else {
                self.due.pop();
                continue;
            };
            if frontier < now {
                return false;
            }
            self.due.pop();
            let watch_id = match due {
                Due::All => NO_WATCHER,
                Due::One(number) => self
                    .watchers
                    .get(&number)
                    .map_or(NO_WATCHER, |watcher| watcher.id),
            };
            self.say(WatchResponse {
                header: Some(self.app.header(frontier)),
                watch_id,
                ..Default::default()
            });
        }
        true
    }
}

/// Takes more from a feed that had something, as far as one response goes.
fn gather(fan: &mut Fan, (number, first): (u64, Result<Arc<Batch>, Cut>)) -> Told {
    let mut told = Told {
        number,
        batches: Vec::with_capacity(1),
        cut: None,
    };
    let mut bytes = 0;
    let mut next = Poll::Ready(first);
    loop {
        match next {
            Poll::Ready(Ok(batch)) => {
                bytes += batch.changes.iter().map(size).sum::<usize>();
                told.batches.push(batch);
            }
            Poll::Ready(Err(cut)) => {
                told.cut = Some(cut);
                return told;
            }
            Poll::Pending => return told,
        }
        if told.batches.len() >= CATCH_UP.0 || bytes >= CATCH_UP.1 {
            fan.again(number);
            return told;
        }
        next = fan.poll_one(number);
    }
}

fn size(change: &Change) -> usize {
    match change {
        Change::Record { before, after, .. } => [before, after]
            .into_iter()
            .flatten()
            .filter_map(|record| record.value.as_ref())
            .map(Bytes::len)
            .sum(),
        _ => 0,
    }
}

/// Resolves at the tick, if there is to be one.
async fn ticking(tick: &mut Option<Pin<Box<Sleep>>>) {
    match tick {
        Some(tick) => tick.as_mut().await,
        None => std::future::pending().await,
    }
}

/// The next time to look for quiet watchers, a little later for some streams than for others.
fn next_tick(interval: Duration) -> Instant {
    Instant::now() + interval + interval.mul_f64(rand::random_range(0.0..0.1))
}
