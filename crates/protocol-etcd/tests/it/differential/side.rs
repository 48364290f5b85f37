//! One of the two servers: a connection, its watch streams, and everything that was heard on them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use pb::{kv_client::KvClient, lease_client::LeaseClient, watch_client::WatchClient};
use portolan_protocol_etcd::wire::{etcdserverpb as pb, mvccpb};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Streaming,
    transport::{Channel, Endpoint},
};

use super::{
    compare::{Answer, Failure, Normal, Reply},
    generate::{FENCE_ID, FENCE_KEY, Request},
};

/// How long any single answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The messages of a run are larger than the usual limit of a client.
const LARGEST: usize = 64 << 20;

/// What one watcher of one stream was told, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Created {
        revision: i64,
        refused: Option<String>,
    },
    Event(mvccpb::Event),
    Cancelled {
        revision: i64,
        compact_revision: i64,
        reason: String,
    },
}

/// By stream and watch id.
pub type AllHeard = BTreeMap<(usize, i64), Vec<Heard>>;

pub struct Side {
    name: &'static str,
    kv: KvClient<Channel>,
    leases: LeaseClient<Channel>,
    watches: WatchClient<Channel>,
    keepalive: Option<(
        mpsc::Sender<pb::LeaseKeepAliveRequest>,
        Streaming<pb::LeaseKeepAliveResponse>,
    )>,
    streams: BTreeMap<usize, Stream>,
}

struct Stream {
    requests: mpsc::Sender<pb::WatchRequest>,
    log: Arc<Mutex<Log>>,
    created: usize,
}

#[derive(Default)]
struct Log {
    /// Of what was compared and found equal only the last is kept.
    heard: BTreeMap<i64, Vec<Heard>>,
    /// Of each watch that was asked for and not yet answered: whether it starts in the past.
    asked: VecDeque<bool>,
    /// Watchers that start in the past and have heard nothing yet.
    behind: BTreeSet<i64>,
    /// Revisions that were announced for the whole stream.
    progress: Vec<i64>,
    /// The last of them: everything up to it has been delivered to every watcher that was there.
    promised: i64,
    /// The promise made before each watcher was created: its history is its own.
    since: BTreeMap<i64, i64>,
    created: usize,
    fence: i64,
    /// The last event's revision by watcher, and whether more of that response is to come.
    last: BTreeMap<i64, (i64, bool)>,
    header: Option<(u64, u64)>,
    violation: Option<String>,
}

impl Side {
    pub async fn connect(name: &'static str, url: &str) -> Result<Self, String> {
        let endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(|error| format!("{url:?}: {error}"))?
            .tcp_nodelay(true);
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| format!("{name} {url}: {error:?}"))?;
        Ok(Self {
            name,
            kv: KvClient::new(channel.clone())
                .max_decoding_message_size(LARGEST)
                .max_encoding_message_size(LARGEST),
            leases: LeaseClient::new(channel.clone()),
            watches: WatchClient::new(channel).max_decoding_message_size(LARGEST),
            keepalive: None,
            streams: BTreeMap::new(),
        })
    }

    pub async fn call(&mut self, request: Request) -> Result<Answer, String> {
        let name = self.name;
        timeout(PATIENCE, self.answer(request))
            .await
            .map_err(|_| format!("{name} did not answer in {PATIENCE:?}"))
    }

    async fn answer(&mut self, request: Request) -> Answer {
        Ok(match request {
            Request::Range(request) => Reply::Range(self.kv.range(request).await?.into_inner()),
            Request::Stream(request) => {
                let mut chunks = self.kv.range_stream(request).await?.into_inner();
                let mut whole = pb::RangeResponse::default();
                while let Some(chunk) = chunks.message().await? {
                    let chunk = chunk.range_response.unwrap_or_default();
                    whole.kvs.extend(chunk.kvs);
                    (whole.header, whole.more, whole.count) =
                        (chunk.header, chunk.more, chunk.count);
                }
                Reply::Range(whole)
            }
            Request::Put(request) => Reply::Put(self.kv.put(request).await?.into_inner()),
            Request::Delete(request) => {
                Reply::Delete(self.kv.delete_range(request).await?.into_inner())
            }
            Request::Txn(request) => Reply::Txn(self.kv.txn(request).await?.into_inner()),
            Request::Compact(request) => {
                Reply::Compact(self.kv.compact(request).await?.into_inner())
            }
            Request::Grant(request) => {
                Reply::Grant(self.leases.lease_grant(request).await?.into_inner())
            }
            Request::Revoke(request) => {
                Reply::Revoke(self.leases.lease_revoke(request).await?.into_inner())
            }
            Request::TimeToLive(request) => {
                Reply::TimeToLive(self.leases.lease_time_to_live(request).await?.into_inner())
            }
            Request::Leases(request) => {
                Reply::Leases(self.leases.lease_leases(request).await?.into_inner())
            }
            Request::KeepAlive(request) => Reply::KeepAlive(self.keep_alive(request).await?),
        })
    }

    async fn keep_alive(
        &mut self,
        request: pb::LeaseKeepAliveRequest,
    ) -> Result<pb::LeaseKeepAliveResponse, Failure> {
        if self.keepalive.is_none() {
            let (requests, stream) = mpsc::channel(4);
            // The answer's headers may wait for the first request.
            requests.send(request).await.map_err(Failure::broken)?;
            let mut answers = self
                .leases
                .lease_keep_alive(ReceiverStream::new(stream))
                .await?
                .into_inner();
            let answer = answers
                .message()
                .await?
                .ok_or_else(|| Failure::broken("the keep-alive stream ended"))?;
            self.keepalive = Some((requests, answers));
            return Ok(answer);
        }
        let Some((requests, answers)) = &mut self.keepalive else {
            unreachable!()
        };
        requests.send(request).await.map_err(Failure::broken)?;
        answers
            .message()
            .await?
            .ok_or_else(|| Failure::broken("the keep-alive stream ended"))
    }

    /// Opens a stream in the place of whatever was there, with its fence watcher.
    pub async fn open(&mut self, stream: usize) -> Result<(), String> {
        let (requests, receiver) = mpsc::channel(16);
        let log = Arc::new(Mutex::new(Log {
            asked: VecDeque::from([false]),
            ..Log::default()
        }));
        let fence = pb::WatchCreateRequest {
            key: FENCE_KEY.into(),
            watch_id: FENCE_ID,
            ..Default::default()
        };
        requests
            .send(create(fence))
            .await
            .map_err(|error| error.to_string())?;
        let answers = timeout(PATIENCE, self.watches.watch(ReceiverStream::new(receiver))).await;
        let mut answers = answers
            .map_err(|_| format!("{} did not open a watch stream", self.name))?
            .map_err(|status| status.to_string())?
            .into_inner();
        tokio::spawn({
            let log = Arc::clone(&log);
            async move {
                loop {
                    match answers.message().await {
                        Ok(Some(response)) => log.lock().unwrap().take(response),
                        Ok(None) => break,
                        Err(status) => {
                            log.lock()
                                .unwrap()
                                .violation
                                .get_or_insert(format!("stream ended: {status}"));
                            break;
                        }
                    }
                }
            }
        });
        self.streams.insert(
            stream,
            Stream {
                requests,
                log,
                created: 0,
            },
        );
        self.created(stream).await
    }

    pub async fn watch(
        &mut self,
        stream: usize,
        request: pb::WatchCreateRequest,
        past: bool,
    ) -> Result<(), String> {
        self.asked(stream, past);
        self.send(stream, create(request)).await?;
        self.created(stream).await
    }

    fn asked(&self, stream: usize, past: bool) {
        self.log(stream).lock().unwrap().asked.push_back(past);
    }

    /// Whether a watcher that starts in the past has heard nothing yet. There may be nothing.
    pub fn is_behind(&self) -> bool {
        let mut streams = self.streams.values();
        streams.any(|stream| !stream.log.lock().unwrap().behind.is_empty())
    }

    /// Whoever is behind has had all the time it needs.
    pub fn has_waited(&self) {
        for stream in self.streams.values() {
            stream.log.lock().unwrap().behind.clear();
        }
    }

    /// Forgets what is in `compared`, but for the last of each watcher. Gives back how much that is.
    pub fn forget(&self, compared: &AllHeard) -> usize {
        let mut forgotten = 0;
        for ((stream, id), heard) in compared {
            let mut log = self.log(*stream).lock().unwrap();
            let list = log.heard.get_mut(id).expect("a watcher of the stream");
            let known = heard.len().saturating_sub(1);
            list.drain(..known);
            forgotten += known;
        }
        forgotten
    }

    /// Cancels a watcher. A watch that is refused in any case is asked for behind it: its answer says that the cancellation is done.
    pub async fn cancel(&mut self, stream: usize, watch_id: i64) -> Result<(), String> {
        let request =
            pb::watch_request::RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id });
        self.send(
            stream,
            pb::WatchRequest {
                request_union: Some(request),
            },
        )
        .await?;
        self.watch(
            stream,
            pb::WatchCreateRequest {
                start_revision: -1,
                ..Default::default()
            },
            false,
        )
        .await
    }

    /// Asks for progress up to four times, as clients do, and gives the revision that was announced, if any was.
    pub async fn progress(&mut self, stream: usize) -> Result<Option<i64>, String> {
        let request = pb::watch_request::RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
        self.log(stream).lock().unwrap().progress.clear();
        for _ in 0..4 {
            self.send(
                stream,
                pb::WatchRequest {
                    request_union: Some(request.clone()),
                },
            )
            .await?;
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_millis(5)).await;
                if let Some(revision) = self.log(stream).lock().unwrap().progress.last() {
                    return Ok(Some(*revision));
                }
            }
        }
        Ok(None)
    }

    /// Whether every stream's fence watcher has heard of this revision.
    pub fn passed(&self, revision: i64) -> bool {
        self.streams
            .values()
            .all(|stream| stream.log.lock().unwrap().fence >= revision)
    }

    /// Whether a watcher of the stream was ended by a compaction and not cancelled by the client since.
    pub fn has_compacted(&self, stream: usize) -> bool {
        let log = self.log(stream).lock().unwrap();
        let ended = |heard: &Vec<Heard>| matches!(heard.last(), Some(Heard::Cancelled { compact_revision, .. }) if *compact_revision != 0);
        log.heard.values().any(ended)
    }

    pub fn heard(&self, normal: &Normal) -> Result<AllHeard, String> {
        let mut all = AllHeard::new();
        for (stream, open) in &self.streams {
            let log = open.log.lock().unwrap();
            if let Some(violation) = &log.violation {
                return Err(format!("{}, stream {stream}: {violation}", self.name));
            }
            for (id, heard) in &log.heard {
                all.insert(
                    (*stream, *id),
                    heard
                        .iter()
                        .map(|heard| normal.heard(heard.clone()))
                        .collect(),
                );
            }
        }
        Ok(all)
    }

    fn log(&self, stream: usize) -> &Mutex<Log> {
        &self.streams[&stream].log
    }

    async fn send(&mut self, stream: usize, request: pb::WatchRequest) -> Result<(), String> {
        self.streams[&stream]
            .requests
            .send(request)
            .await
            .map_err(|_| format!("{}: stream {stream} is closed", self.name))
    }

    async fn created(&mut self, stream: usize) -> Result<(), String> {
        let name = self.name;
        let open = self.streams.get_mut(&stream).expect("an open stream");
        open.created += 1;
        let log = &open.log;
        let wait = async {
            while log.lock().unwrap().created < open.created {
                tokio::time::sleep(Duration::from_micros(300)).await;
            }
        };
        timeout(PATIENCE, wait)
            .await
            .map_err(|_| format!("{name}: no answer to a watch request on stream {stream}"))
    }
}

fn create(request: pb::WatchCreateRequest) -> pb::WatchRequest {
    pb::WatchRequest {
        request_union: Some(pb::watch_request::RequestUnion::CreateRequest(request)),
    }
}

impl Log {
    /// Files a response, checking on the way what a stream promises whatever it carries.
    fn take(&mut self, response: pb::WatchResponse) {
        if let Err(violation) = self.try_take(response) {
            self.violation.get_or_insert(violation);
        }
    }

    fn try_take(&mut self, response: pb::WatchResponse) -> Result<(), String> {
        let id = response.watch_id;
        let header = response.header.ok_or("a response without a header")?;
        let who = (header.cluster_id, header.member_id);
        if who.0 == 0
            || who.1 == 0
            || header.raft_term == 0
            || *self.header.get_or_insert(who) != who
        {
            return Err(format!("a header of another server: {header:?}"));
        }
        self.behind.remove(&id);
        let heard = self.heard.entry(id).or_default();
        if response.created {
            self.created += 1;
            if self.asked.pop_front().unwrap_or_default() && !response.canceled {
                self.behind.insert(id);
            }
            heard.push(Heard::Created {
                revision: header.revision,
                refused: response.canceled.then_some(response.cancel_reason),
            });
            if !response.events.is_empty() {
                return Err(format!("watcher {id} was created together with events"));
            }
            self.last.remove(&id);
            self.since.insert(id, self.promised);
            return Ok(());
        }
        if response.canceled {
            heard.push(Heard::Cancelled {
                revision: header.revision,
                compact_revision: response.compact_revision,
                reason: response.cancel_reason,
            });
            return Ok(());
        }
        if response.events.is_empty() {
            if id != -1 {
                return Err(format!("an empty response for watcher {id}"));
            }
            self.progress.push(header.revision);
            self.promised = header.revision;
            return Ok(());
        }
        if !matches!(
            heard.last(),
            Some(Heard::Created { refused: None, .. } | Heard::Event(_))
        ) {
            return Err(format!(
                "events for watcher {id}, which was not created or is cancelled"
            ));
        }
        for (place, event) in response.events.into_iter().enumerate() {
            let revision = event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
            let (last, continued) = self.last.get(&id).copied().unwrap_or_default();
            if revision > header.revision {
                return Err(format!(
                    "watcher {id}: an event of revision {revision} under header {}",
                    header.revision
                ));
            }
            if revision < last {
                return Err(format!("watcher {id}: revision {revision} after {last}"));
            }
            if revision <= self.promised
                && self
                    .since
                    .get(&id)
                    .is_none_or(|since| *since < self.promised)
            {
                return Err(format!(
                    "watcher {id}: revision {revision} after progress {}",
                    self.promised
                ));
            }
            if place == 0 && revision == last && !continued {
                return Err(format!(
                    "watcher {id}: revision {revision} in two responses"
                ));
            }
            self.last.insert(id, (revision, response.fragment));
            if id == FENCE_ID {
                self.fence = revision;
            }
            heard.push(Heard::Event(event));
        }
        Ok(())
    }
}
