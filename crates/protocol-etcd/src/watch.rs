//! The Watch service: one stream, many watchers.
//!
//! Invariants
//! - A watcher's `created` answer precedes its events; nothing follows its `canceled` answer.
//! - All events of a revision leave in one response, or in fragments of one; the header is never below an event under it.
//! - A progress notification never overtakes an event: it is sent when every feed has been read as far as it says.
//! - A client that does not read costs what its feeds may hold: pieces are made only when the connection takes them, and a feed that
//!   overflows reads the history again. When that is gone too, the watcher is cancelled as compacted, never left with a gap.

pub(crate) mod events;
mod feed_set;
mod watchers;

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use portolan_catalog::{Keyspace, Revision};
use portolan_grpc::Status;
use portolan_listener::{Action, Resource, Response};
use portolan_registry::Cut;
use prost::Message;
use tokio::time::{Instant, Sleep, sleep_until};

use self::{
    events::{Changes, Renderings, WatchOptions},
    watchers::{Received, Watcher, Watchers},
};
use crate::{
    OVERHEAD_BYTES,
    app::{App, allow, allow_keys},
    asker::Asker,
    auth::rules::Access,
    error::{COMPACTED, Failure, STOPPED},
    grpc::{self, Messages},
    key_range::keys,
    wire::etcdserverpb::{
        WatchCreateRequest, WatchRequest, WatchResponse, watch_create_request::FilterType,
        watch_request::RequestUnion,
    },
};

/// The id in answers that are not one watcher's.
const NO_WATCHER: i64 = -1;
/// Watchers of one stream at most. etcd has no such bound; its clients stay far below.
const WATCHERS: usize = 100_000;
/// Bytes of responses that leave together.
const TOGETHER: usize = 32 << 10;

/// Opens a stream.
pub(crate) async fn watch(app: Arc<App>, caller: Asker, messages: Messages) -> Response {
    if let Err(failure) = allow(&caller, Action::Watch, Resource::Public) {
        return grpc::unary(Err(failure));
    }
    app.gauges.watch_streams.inc();
    let leaving = caller.clone();
    // In a box, since it moves into the future of every piece; for the same reason so is what only requests need.
    let stream = Box::new(Stream {
        messages,
        draining: Box::pin(async move { leaving.draining().await }),
        caller,
        asking: true,
        asked_last: false,
        watchers: Watchers::default(),
        delivery: None,
        renderings: Renderings::new(app.renderings.clone()),
        app,
        due: Vec::new(),
        tick: None,
        out: BytesMut::new(),
    });
    grpc::streaming(stream, |mut stream| async move {
        stream.next().await.map(|piece| (piece, stream))
    })
}

struct Stream {
    app: Arc<App>,
    caller: Asker,
    messages: Messages,
    draining: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// The client has not finished sending.
    asking: bool,
    /// Requests and events take turns when there are always more of both.
    asked_last: bool,
    watchers: Watchers,
    /// The delivery under way. Requests wait until every watcher of the feed has been served.
    delivery: Option<Delivery>,
    renderings: Renderings,
    due: Vec<Due>,
    tick: Option<Pin<Box<Sleep>>>,
    /// Responses that have not left yet.
    out: BytesMut,
}

/// Batches of one feed on their way to its watchers.
struct Delivery {
    number: u64,
    changes: Changes,
    /// The first watcher that has not been served.
    from: i64,
    /// There was nothing more.
    all: bool,
    cut: Option<Cut>,
}

/// A progress notification that is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// To the whole stream.
    All,
    /// To one watcher.
    One(i64),
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.app.gauges.watch_streams.dec();
        self.app
            .gauges
            .watchers
            .dec_by(self.watchers.count() as i64);
    }
}

impl Stream {
    /// The next piece of the answer: as many responses as are there and leave well together.
    async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        loop {
            self.deliver();
            if self.out.len() >= TOGETHER {
                return Some(Ok(self.out.split().freeze()));
            }
            // What else is there already leaves together with what is about to leave, and notifications only when there is nothing else.
            if !self.out.is_empty() || !self.due.is_empty() {
                self.asked_last = !self.asked_last;
                if self.asked_last
                    && let Some(request) = self.request_already().await
                {
                    if let Err(failure) = Box::pin(self.take(request)).await {
                        return Some(Err(failure));
                    }
                    continue;
                }
                if let Some(received) = self.received_already().await {
                    self.begin_delivery(received);
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
            }
            tokio::select! {
                received = poll_fn(|context| self.watchers.poll_received(context)) => {
                    self.begin_delivery(received);
                }
                request = self.messages.next::<WatchRequest>(), if self.asking => {
                    if let Err(failure) = Box::pin(self.take(request)).await {
                        return Some(Err(failure));
                    }
                }
                () = ticking(&mut self.tick) => self.ticked(),
                () = self.draining.as_mut() => return Some(Err(STOPPED)),
            }
        }
    }

    /// A request that has arrived already.
    async fn request_already(&mut self) -> Option<Result<Option<WatchRequest>, Status>> {
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
    async fn received_already(&mut self) -> Option<Received> {
        poll_fn(|context| {
            Poll::Ready(match self.watchers.poll_received(context) {
                Poll::Ready(received) => Some(received),
                Poll::Pending => None,
            })
        })
        .await
    }

    async fn take(&mut self, request: Result<Option<WatchRequest>, Status>) -> Result<(), Failure> {
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
        let who = self.app.who(&self.caller);
        let permitted = allowed
            .and(who)
            .and_then(|who| who.may(Access::Read, &request.key, &request.range_end));
        if let Err(failure) = permitted {
            return self.refuse(failure.in_go());
        }
        let open_end = request.range_end[..] == *b"\0";
        if !request.range_end.is_empty() && !open_end && request.key >= request.range_end {
            return self.refuse("mvcc: watcher range is empty".to_owned());
        }
        if request.watch_id != 0 && self.watchers.uses(request.watch_id) {
            return self.refuse("mvcc: duplicate watch ID provided on the WatchStream".to_owned());
        }
        if self.watchers.ids() >= WATCHERS {
            return self.refuse(format!(
                "etcdserver: a stream has at most {WATCHERS} watchers"
            ));
        }
        let id = if request.watch_id != 0 {
            request.watch_id
        } else {
            self.watchers.free_id()
        };
        self.app
            .wake(&self.caller, &request.key, &request.range_end)
            .await;
        self.register(id, &request);
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
        self.say(WatchResponse {
            header: Some(self.app.header(now)),
            watch_id: id,
            created: true,
            ..Default::default()
        });
        let delivers = |filter: FilterType| !request.filters.contains(&(filter as i32));
        let watcher = Watcher {
            options: WatchOptions {
                start: match u64::try_from(request.start_revision) {
                    Ok(start) if start > 0 => Revision(start),
                    _ => now.next(),
                },
                puts: delivers(FilterType::Noput),
                deletes: delivers(FilterType::Nodelete),
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
        let range = keys(&request.key, &request.range_end);
        let registry = &self.app.registry;
        match self.watchers.add(registry, now, (id, range), watcher) {
            Ok(()) => {
                self.app.gauges.watchers.inc();
            }
            Err(compacted) => self.compacted(id, compacted.floor),
        }
    }

    /// Answers that the history a watcher needs is compacted. etcd's header has no revision here, and the id stays taken until the client cancels it.
    fn compacted(&mut self, id: i64, floor: Revision) {
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
        let Some(watched) = self.watchers.remove(id) else {
            return;
        };
        if watched {
            self.app.gauges.watchers.dec();
        }
        let header = self.app.header(self.revision());
        self.say(WatchResponse {
            header: Some(header),
            watch_id: id,
            canceled: true,
            ..Default::default()
        });
    }

    fn revision(&self) -> Revision {
        self.app.registry.read(|state| state.revision())
    }

    fn say(&mut self, response: WatchResponse) {
        let length = response.encoded_len();
        grpc::frame_into(&mut self.out, length, |out| response.encode_raw(out));
    }

    /// Takes the batches of a feed, to be delivered to its watchers.
    fn begin_delivery(&mut self, received: Received) {
        let Some(group) = self.watchers.group(received.number) else {
            return;
        };
        let (now, floor) = self.app.registry.read(|state| {
            let floor = state.floor(Some(Keyspace::Etcd));
            (state.revision(), floor)
        });
        // A live change has its own revision in the header; a watcher that catches up learns how far the history goes.
        let last = received.batches.last().map_or(now, |batch| batch.revision);
        let revision = if group.behind { last.max(now) } else { last };
        let changes = Changes {
            range: group.range.clone(),
            batches: received.batches,
            floor,
        };
        self.renderings.begin(&self.app.header(revision));
        self.delivery = Some(Delivery {
            number: received.number,
            changes,
            from: i64::MIN,
            all: received.all,
            cut: received.cut,
        });
    }

    /// Continues the delivery until every watcher is served or enough bytes are queued.
    fn deliver(&mut self) {
        let Some(delivery) = &mut self.delivery else {
            return;
        };
        let largest = self.app.settings.request_bytes + OVERHEAD_BYTES;
        if let Some(group) = self.watchers.group(delivery.number) {
            for (id, watcher) in group.members.range_mut(delivery.from..) {
                if self.out.len() >= TOGETHER {
                    delivery.from = *id;
                    return;
                }
                let largest = watcher.fragment.then_some(largest);
                let (out, changes) = (&mut self.out, &delivery.changes);
                if self
                    .renderings
                    .respond(out, *id, &watcher.options, changes, largest)
                {
                    watcher.quiet = false;
                }
            }
            group.behind &= !delivery.all;
        }
        let (number, cut) = (delivery.number, delivery.cut);
        self.delivery = None;
        if let Some(cut) = cut {
            self.cut(number, cut);
        }
    }

    /// Cancels the watchers that missed changes; one whose start revision lies later has missed nothing.
    fn cut(&mut self, number: u64, cut: Cut) {
        let Some(group) = self.watchers.dissolve(number) else {
            return;
        };
        let now = self.revision();
        for (id, watcher) in group.members {
            let missed = watcher.options.start <= cut.after.next();
            let floor = if missed {
                Some(cut.floor)
            } else {
                let again = (id, group.range.clone());
                self.watchers
                    .add(&self.app.registry, now, again, watcher)
                    .err()
                    .map(|compacted| compacted.floor)
            };
            if let Some(floor) = floor {
                self.app.gauges.watchers.dec();
                self.compacted(id, floor);
            }
        }
    }

    fn ticked(&mut self) {
        self.tick = Some(Box::pin(sleep_until(next_tick(
            self.app.settings.progress_interval,
        ))));
        for (id, watcher) in self
            .watchers
            .each_mut()
            .filter(|(_, watcher)| watcher.notify)
        {
            if watcher.quiet && !self.due.contains(&Due::One(*id)) {
                self.due.push(Due::One(*id));
            }
            watcher.quiet = true;
        }
    }

    /// Sends the notifications that are owed. Every feed was found empty just before; false when one is behind the published state after all.
    fn announce(&mut self) -> bool {
        let now = self.revision();
        while let Some(due) = self.due.last().copied() {
            let one = match due {
                Due::All => None,
                Due::One(id) => Some(id),
            };
            // A watcher whose start revision is not reached gets no progress, and neither does a stream without watchers.
            let not_started = |watcher: &Watcher| watcher.waits && watcher.options.start > now;
            let waits = match one {
                Some(id) => self.watchers.get(id).is_some_and(not_started),
                None => self
                    .watchers
                    .each()
                    .any(|(_, watcher)| not_started(watcher)),
            };
            let Some(frontier) = self.watchers.frontier(one).filter(|_| !waits) else {
                self.due.pop();
                continue;
            };
            if frontier < now {
                return false;
            }
            self.due.pop();
            self.say(WatchResponse {
                header: Some(self.app.header(frontier)),
                watch_id: one.unwrap_or(NO_WATCHER),
                ..Default::default()
            });
        }
        true
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
    Instant::now() + interval + interval.mul_f64(portolan_environment::random_fraction() / 10.0)
}
