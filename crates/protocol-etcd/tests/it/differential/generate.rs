//! What is asked: random requests over a small universe of keys, so that they meet one another often.

mod transactions;

use bytes::Bytes;
use portolan_protocol_etcd::wire::etcdserverpb as pb;

use super::{compare::Answer, random::Random};

/// Watch streams open at any time.
pub const STREAMS: usize = 3;
/// Every stream has one watcher on this key, under this id: what it hears, all others have heard before.
pub const FENCE_KEY: &[u8] = b"~fence";
pub const FENCE_ID: i64 = 7777;
/// Leases whose id the server chose are called by numbers from here on, the same on both sides.
pub const FIRST_TOKEN: i64 = 4_000_000_000_000;

#[derive(Clone, Debug)]
pub enum Request {
    Range(pb::RangeRequest),
    Stream(pb::RangeRequest),
    Put(pb::PutRequest),
    Delete(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compact(pb::CompactionRequest),
    Grant(pb::LeaseGrantRequest),
    Revoke(pb::LeaseRevokeRequest),
    KeepAlive(pb::LeaseKeepAliveRequest),
    TimeToLive(pb::LeaseTimeToLiveRequest),
    Leases(pb::LeaseLeasesRequest),
}

#[derive(Clone, Debug)]
pub enum Op {
    Unary(Request),
    Watch {
        stream: usize,
        request: pb::WatchCreateRequest,
    },
    Cancel {
        stream: usize,
        watch_id: i64,
    },
    Progress {
        stream: usize,
    },
    Reopen {
        stream: usize,
    },
    Settle,
}

/// The generator knows of the servers what a client could know: the last revision, the last compaction, and its leases.
pub struct Generator {
    random: Random,
    queued: Vec<Op>,
    pub revision: i64,
    compacted: i64,
    leases: Vec<i64>,
    tokens: i64,
    explicit: i64,
    fences: u64,
    history: bool,
    watch_ids: [Vec<i64>; STREAMS],
    values: u64,
}

impl Generator {
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            queued: Vec::new(),
            revision: 1,
            compacted: 0,
            leases: Vec::new(),
            tokens: FIRST_TOKEN,
            explicit: 100,
            fences: 0,
            history: false,
            watch_ids: Default::default(),
            values: 0,
        }
    }

    pub fn next(&mut self) -> Op {
        if let Some(op) = self.queued.pop() {
            return op;
        }
        match self.random.below(1000) {
            0..340 => Op::Unary(Request::Put(self.put())),
            340..540 => Op::Unary(Request::Range(self.range())),
            540..555 => {
                let mut range = self.range();
                // etcd sorts such a stream piece by piece and loses its place.
                if range.sort_order == 0 {
                    range.sort_target = range.sort_target.min(0);
                }
                Op::Unary(Request::Stream(range))
            }
            555..640 => Op::Unary(Request::Delete(self.delete())),
            640..810 => Op::Unary(Request::Txn(self.txn(0))),
            810..817 => Op::Unary(Request::Compact(self.compact())),
            817..847 => self.grant(),
            847..862 => self.revoke(),
            862..882 => Op::Unary(Request::KeepAlive(pb::LeaseKeepAliveRequest {
                id: self.lease_or_unknown(),
            })),
            882..902 => {
                let (id, keys) = (self.lease_or_unknown(), self.random.chance(60));
                Op::Unary(Request::TimeToLive(pb::LeaseTimeToLiveRequest { id, keys }))
            }
            902..907 => Op::Unary(Request::Leases(pb::LeaseLeasesRequest {})),
            907..950 => self.watch(),
            950..970 => self.cancel(),
            970..975 => Op::Progress {
                stream: self.random.below(STREAMS),
            },
            975..977 => {
                let stream = self.random.below(STREAMS);
                self.watch_ids[stream].clear();
                Op::Reopen { stream }
            }
            977..978 if self.random.chance(30) => self.large(),
            _ => Op::Settle,
        }
    }

    /// A put that every stream's fence watcher hears.
    pub fn fence(&mut self) -> Request {
        self.fences += 1;
        Request::Put(pb::PutRequest {
            key: Bytes::from_static(FENCE_KEY),
            value: self.fences.to_string().into(),
            ..Default::default()
        })
    }

    /// Whether a watcher that starts in the past was created since the last time of asking.
    pub fn reads_history(&mut self) -> bool {
        std::mem::take(&mut self.history)
    }

    /// Takes from the answer what later requests refer to.
    pub fn learn(&mut self, request: &Request, answer: &Answer) {
        if let Ok(reply) = answer {
            self.revision = self.revision.max(reply.revision());
            match request {
                Request::Compact(request) => self.compacted = request.revision,
                Request::Grant(request) => {
                    let id = if request.id == 0 {
                        self.tokens
                    } else {
                        request.id
                    };
                    self.tokens += i64::from(request.id == 0);
                    self.leases.push(id);
                }
                Request::Revoke(request) => self.leases.retain(|id| *id != request.id),
                _ => {}
            }
        }
    }

    fn key(&mut self) -> Bytes {
        const ODD: [&[u8]; 8] = [
            b"\0",
            b"\0\0",
            b"\xff",
            b"\xff\xff",
            b"a\0",
            b"b\xff",
            b"b\xff\xff",
            b"~",
        ];
        match self.random.below(100) {
            0..8 => Bytes::from_static(ODD[self.random.below(ODD.len())]),
            8..40 => format!("{}", (b'a' + self.random.below(6) as u8) as char).into(),
            40..80 => format!(
                "{}/{}",
                (b'a' + self.random.below(4) as u8) as char,
                self.random.below(6)
            )
            .into(),
            _ => format!("deep/{}/{}", self.random.below(3), self.random.below(4)).into(),
        }
    }

    fn range_end(&mut self, key: &[u8]) -> Bytes {
        match self.random.below(100) {
            0..40 => Bytes::new(),
            40..65 => prefix_end(key),
            65..80 => Bytes::from_static(b"\0"),
            80..95 => self.key(),
            _ => [key, b"\0"].concat().into(),
        }
    }

    fn interval(&mut self) -> (Bytes, Bytes) {
        if self.random.chance(10) {
            return (Bytes::from_static(b"\0"), Bytes::from_static(b"\0"));
        }
        if self.random.chance(2) {
            return (Bytes::new(), self.key());
        }
        let mut key = self.key();
        if self.random.chance(20) && key.len() > 1 {
            key = key.slice(..key.len() - 1);
        }
        let end = self.range_end(&key);
        (key, end)
    }

    fn value(&mut self) -> Bytes {
        self.values += 1;
        match self.random.below(100) {
            0..8 => Bytes::new(),
            8..50 => format!("v{}", self.random.below(5)).into(),
            50..95 => format!("value {}", self.values).into(),
            _ => vec![b'x'; self.random.below(3000)].into(),
        }
    }

    fn lease_or_unknown(&mut self) -> i64 {
        if self.leases.is_empty() || self.random.chance(12) {
            *self.random.pick(&[1, 99, -1, i64::MAX])
        } else {
            *self.random.pick(&self.leases)
        }
    }

    fn put(&mut self) -> pb::PutRequest {
        let key = if self.random.chance(1) {
            Bytes::new()
        } else {
            self.key()
        };
        let mut put = pb::PutRequest {
            key,
            value: self.value(),
            ..Default::default()
        };
        put.prev_kv = self.random.chance(30);
        if self.random.chance(25) {
            put.lease = self.lease_or_unknown();
        }
        if self.random.chance(12) {
            put.ignore_value = true;
            if self.random.chance(85) {
                put.value = Bytes::new();
            }
        }
        if self.random.chance(12) {
            put.ignore_lease = true;
            if self.random.chance(85) {
                put.lease = 0;
            }
        }
        put
    }

    fn revision_to_read(&mut self) -> i64 {
        match self.random.below(100) {
            0..60 => 0,
            60..85 => self.random.within(self.compacted, self.revision),
            85..88 => self.compacted,
            88..92 => self.random.within(1, self.compacted.max(1)),
            92..95 => self.revision + self.random.within(1, 3),
            95..97 => -self.random.within(1, 5),
            _ => self.revision,
        }
    }

    fn range(&mut self) -> pb::RangeRequest {
        let (key, range_end) = self.interval();
        let mut range = pb::RangeRequest {
            key,
            range_end,
            revision: self.revision_to_read(),
            ..Default::default()
        };
        if self.random.chance(35) {
            range.limit = *self.random.pick(&[1, 2, 3, 5, 8, 100, -1]);
        }
        if self.random.chance(40) {
            range.sort_order = self.random.below(3) as i32;
            range.sort_target = self.random.below(5) as i32;
        }
        if self.random.chance(2) {
            if self.random.chance(50) {
                range.sort_order = 7
            } else {
                range.sort_target = -3
            }
        }
        range.serializable = self.random.chance(30);
        range.keys_only = self.random.chance(15);
        range.count_only = self.random.chance(10);
        if range.keys_only && range.sort_target == 4 {
            // Equal values may come in any order, and without the values nobody can tell which are equal.
            range.limit = 0;
        }
        for field in [
            &mut range.min_mod_revision,
            &mut range.max_mod_revision,
            &mut range.min_create_revision,
            &mut range.max_create_revision,
        ] {
            if self.random.chance(8) {
                *field = self.random.within(self.revision - 60, self.revision + 2);
            }
        }
        range
    }

    fn delete(&mut self) -> pb::DeleteRangeRequest {
        let (key, mut range_end) = self.interval();
        // Deleting everything all the time would leave nothing to look at.
        if range_end.len() > 1 || self.random.chance(85) {
            range_end = if self.random.chance(70) {
                Bytes::new()
            } else {
                prefix_end(&key)
            };
        }
        pb::DeleteRangeRequest {
            key,
            range_end,
            prev_kv: self.random.chance(40),
        }
    }

    fn compact(&mut self) -> pb::CompactionRequest {
        let revision = match self.random.below(100) {
            // A store that was never compacted takes this once.
            0..60 if self.compacted == 0 => 0,
            0..70 => self.random.within(self.compacted + 1, self.revision),
            70..80 => self.revision,
            80..88 => self.revision + 5,
            88..96 => self.random.within(0, self.compacted),
            _ => -3,
        };
        pb::CompactionRequest {
            revision,
            physical: self.random.chance(50),
        }
    }

    fn grant(&mut self) -> Op {
        let id = match self.random.below(100) {
            0..40 => 0,
            40..85 => {
                self.explicit += 1;
                if self.random.chance(10) {
                    -self.explicit
                } else {
                    self.explicit
                }
            }
            _ => self.lease_or_unknown().min(FIRST_TOKEN - 1),
        };
        // A lease that could end during the run would end at its own time on each side.
        let ttl = match self.random.below(100) {
            0..3 => 9_000_000_001,
            3..5 => 9_000_000_000,
            5..8 if id != 0 && id != 1 && id != 99 && id != -1 && !self.leases.contains(&id) => {
                self.queued
                    .push(Op::Unary(Request::Revoke(pb::LeaseRevokeRequest { id })));
                self.random.within(-3, 1)
            }
            _ => self.random.within(600, 4000),
        };
        Op::Unary(Request::Grant(pb::LeaseGrantRequest { ttl, id }))
    }

    fn revoke(&mut self) -> Op {
        Op::Unary(Request::Revoke(pb::LeaseRevokeRequest {
            id: self.lease_or_unknown(),
        }))
    }

    fn watch(&mut self) -> Op {
        let stream = self.random.below(STREAMS);
        let (key, range_end) = self.interval();
        let start_revision = match self.random.below(100) {
            0..50 => 0,
            50..75 => self.random.within(self.compacted.max(1), self.revision),
            75..80 => self.random.within(1, self.compacted.max(1)),
            80..84 => self.compacted,
            84..94 => self.revision + self.random.within(1, 12),
            94..97 => self.revision,
            _ => -self.random.within(1, 9),
        };
        self.history |= (1..=self.revision).contains(&start_revision);
        let mut request = pb::WatchCreateRequest {
            key,
            range_end,
            start_revision,
            ..Default::default()
        };
        request.prev_kv = self.random.chance(40);
        request.progress_notify = self.random.chance(10);
        request.fragment = self.random.chance(20);
        for filter in [0, 1, 1, 5] {
            if self.random.chance(6) {
                request.filters.push(filter);
            }
        }
        if self.random.chance(20) {
            request.watch_id = self.random.within(1, 12);
        }
        let known = self.watch_ids[stream].len() as i64;
        self.watch_ids[stream].push(if request.watch_id != 0 {
            request.watch_id
        } else {
            known
        });
        Op::Watch { stream, request }
    }

    fn cancel(&mut self) -> Op {
        let stream = self.random.below(STREAMS);
        let watch_id = if self.watch_ids[stream].is_empty() || self.random.chance(10) {
            self.random.within(20_000, 20_010)
        } else {
            let at = self.random.below(self.watch_ids[stream].len());
            self.watch_ids[stream].swap_remove(at)
        };
        Op::Cancel { stream, watch_id }
    }

    /// Puts more than one message holds, watches it from the past in fragments, and takes it away again.
    fn large(&mut self) -> Op {
        let stream = self.random.below(STREAMS);
        let key = |n: usize| Bytes::from(format!("large/{n}"));
        let start_revision = self.revision + 1;
        self.history = true;
        let request = pb::WatchCreateRequest {
            key: key(0),
            range_end: prefix_end(b"large/"),
            start_revision,
            fragment: true,
            prev_kv: self.random.chance(50),
            ..Default::default()
        };
        self.queued
            .push(Op::Unary(Request::Delete(pb::DeleteRangeRequest {
                key: key(0),
                range_end: prefix_end(b"large/"),
                prev_kv: true,
            })));
        self.queued.push(Op::Settle);
        self.queued.push(Op::Watch { stream, request });
        for n in 0..5 {
            let value = Bytes::from(vec![b'0' + n as u8; 600_000]);
            self.queued.push(Op::Unary(Request::Put(pb::PutRequest {
                key: key(n),
                value,
                ..Default::default()
            })));
        }
        // Larger than a request may be.
        Op::Unary(Request::Put(pb::PutRequest {
            key: key(9),
            value: vec![b'9'; 1_600_000].into(),
            ..Default::default()
        }))
    }
}

/// The end of the interval of everything that begins with `key`; `\0` when there is none.
pub fn prefix_end(key: &[u8]) -> Bytes {
    let mut end = key.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(b"\0")
}
