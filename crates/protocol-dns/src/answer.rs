//! From a packet to a reply: decode, decide, look up, copy, patch. Shared by UDP and TCP, and free of I/O.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use portolan_catalog::{Protocol, State};
use portolan_listener::{Action, Caller, Resource, ServerContext};
use portolan_registry::Registry;
use tokio::runtime::Handle;

use crate::cache::{Cache, Entry, LocalCache};
use crate::cookies::{Cookies, Shown};
use crate::dependency::Dependency;
use crate::elsewhere::Elsewhere;
use crate::found::{Indexes, Question};
use crate::metrics::{AllCounts, Outcome, WorkerCounts};
use crate::names::{self, Zone};
use crate::rates::{Kind, Rates};
use crate::read;
use crate::recursion::{self, Outside, Pending, Recursion};
use crate::settings::{Settings, Sizing};
use crate::shuffler::Shuffler;
use crate::template::{Filled, Space, Template};
use crate::wire::{
    CLASS_IN, Decoded, Edns, Flags, Folded, HEADER, Labels, PLAIN_SIZE, Query, Rcode, SOA_LENGTH,
    decode, finish_header, opt_length, push_opt, push_soa, rtype, start,
};

/// How a message came, and so how long its answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// A datagram: 512 bytes and few answers unless the client said more.
    Udp,
    /// A stream: up to 65,535 bytes.
    Tcp,
}

/// What became of a message.
#[derive(Debug)]
pub(crate) enum Answered {
    /// It gets no reply.
    Nothing,
    /// The reply is written.
    Reply,
    /// The reply has to wait for somebody else.
    Later(Box<Pending>),
}

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) context: ServerContext,
    pub(crate) registry: Registry,
    pub(crate) settings: Settings,
    pub(crate) elsewhere: Elsewhere,
    pub(crate) cache: Cache,
    pub(crate) indexes: Indexes,
    pub(crate) counts: Arc<AllCounts>,
    /// Whom to ask for names outside our zones.
    pub(crate) recursion: Option<Arc<Recursion>>,
    /// Where that is waited for.
    pub(crate) runtime: Handle,
    pub(crate) cookies: Cookies,
    /// How many replies over UDP a network gets, if there is a limit.
    pub(crate) rates: Option<Rates>,
}

/// One thread or connection that answers queries.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) common: Arc<Common>,
    local: LocalCache,
    shuffler: Shuffler,
    folded: Folded,
    caller: Caller,
    /// Whether the last message showed a cookie of ours.
    known: bool,
    /// Whether the last reply that was one too many was cut, so that the next one is dropped.
    cut: bool,
    pub(crate) counts: Arc<WorkerCounts>,
}

impl Worker {
    /// A worker with a table of its own for prepared answers.
    pub(crate) fn new(common: Arc<Common>, local: LocalCache, counts: Arc<WorkerCounts>) -> Self {
        let nobody = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 0);
        Self {
            local,
            shuffler: Shuffler::new(portolan_environment::random_u64()),
            folded: Folded::default(),
            known: false,
            cut: false,
            caller: common.context.caller(Protocol::Dns, nobody),
            counts,
            common,
        }
    }

    /// The state to answer from now.
    #[inline]
    pub(crate) fn look(&mut self) -> Arc<State> {
        // Before the state: a state of the era before may be answered from what was prepared then, not the other way round.
        self.local.enter(self.common.registry.era());
        self.common.registry.snapshot()
    }

    /// Answers one message from `peer` as of `state`, which [`Worker::look`] gave, into `out`.
    #[inline]
    pub(crate) fn answer(
        &mut self,
        state: &State,
        packet: &[u8],
        peer: SocketAddr,
        transport: Transport,
        out: &mut Vec<u8>,
    ) -> Answered {
        let answered = self.answer_freely(state, packet, peer, transport, out);
        // Over a stream, and with a cookie, whoever asks is where the reply goes.
        if transport == Transport::Udp
            && !self.known
            && let Some(rates) = &self.common.rates
            && !rates.exempts(peer.ip())
        {
            return self.limit(packet, peer, answered, out);
        }
        answered
    }

    /// Gives an answer as it is while the client's network has had less than its share; else every second one is cut so that the client
    /// comes again, over TCP or with a cookie, and the others are dropped.
    #[cold]
    fn limit(
        &mut self,
        packet: &[u8],
        peer: SocketAddr,
        answered: Answered,
        out: &mut Vec<u8>,
    ) -> Answered {
        let kind = match &answered {
            Answered::Nothing => return Answered::Nothing,
            Answered::Later(_) => Kind::Answer,
            Answered::Reply => Kind::of(out),
        };
        let common = Arc::clone(&self.common);
        let rates = common.rates.as_ref();
        if rates.is_none_or(|rates| rates.take(peer.ip(), kind)) {
            return answered;
        }
        self.cut = !self.cut;
        let Decoded::Query(mut query) = decode(packet) else {
            self.cut = false;
            self.counts.limited(false);
            return Answered::Nothing;
        };
        self.counts.limited(self.cut);
        if !self.cut {
            return Answered::Nothing;
        }
        self.judge_cookie(&common, packet, peer, &mut query);
        let cookie = query.edns.is_some_and(|edns| edns.reply_cookie.is_some());
        start(out, packet, query.end());
        let rcode = if cookie {
            Rcode::BadCookie
        } else {
            Rcode::NoError
        };
        if let Some(edns) = &query.edns {
            push_opt(out, packet, edns, rcode);
        }
        let flags = Flags {
            truncated: !cookie,
            recursive: common.recursion.is_some(),
            ..Flags::default()
        };
        let additional = u16::from(query.edns.is_some());
        finish_header(out, rcode, flags, 1, [0, 0, additional]);
        Answered::Reply
    }

    /// Looks at the cookie that a client showed, and puts the one that goes back into the query.
    fn judge_cookie(
        &self,
        common: &Common,
        packet: &[u8],
        peer: SocketAddr,
        query: &mut Query,
    ) -> Option<Shown> {
        let edns = query.edns.as_mut()?;
        let (start, length) = edns.cookie?;
        let start = usize::from(start);
        let option = packet.get(start..start + usize::from(length))?;
        let now = (portolan_environment::wall_ms() / 1000) as u32;
        let (shown, reply) = common.cookies.judge(option, peer.ip(), now);
        edns.reply_cookie = Some(reply);
        Some(shown)
    }

    #[inline]
    fn answer_freely(
        &mut self,
        state: &State,
        packet: &[u8],
        peer: SocketAddr,
        transport: Transport,
        out: &mut Vec<u8>,
    ) -> Answered {
        self.known = false;
        let mut query = match decode(packet) {
            Decoded::Query(query) => query,
            Decoded::Ignore => {
                self.counts.ignored();
                return Answered::Nothing;
            }
            Decoded::Fault(rcode, end, edns) => {
                self.fault(packet, end, edns.as_ref(), rcode, out);
                return Answered::Reply;
            }
        };
        let common = Arc::clone(&self.common);
        if let Some(shown) = self.judge_cookie(&common, packet, peer, &mut query) {
            self.known = shown == Shown::Good;
            self.counts.cookie(shown);
        }
        if !common.settings.allows(peer.ip()) {
            self.fault(
                packet,
                query.end(),
                query.edns.as_ref(),
                Rcode::Refused,
                out,
            );
            return Answered::Reply;
        }
        let rcode = if query.qclass != CLASS_IN {
            Rcode::Refused
        } else if (rtype::FIRST_META..=rtype::LAST_META).contains(&query.qtype) {
            Rcode::NotImp
        } else if query.qtype == rtype::OPT {
            Rcode::FormErr
        } else {
            Rcode::NoError
        };
        if rcode != Rcode::NoError {
            self.fault(packet, query.end(), query.edns.as_ref(), rcode, out);
            return Answered::Reply;
        }
        self.caller.renew(peer);
        let name = packet.get(HEADER..HEADER + query.name).unwrap_or_default();
        self.folded.set(name, query.qtype);
        let hash = LocalCache::hash(&common.cache, self.folded.key());
        if let Some(entry) = self.local.get(hash, self.folded.key(), state) {
            let reply = Reply {
                packet,
                query: &query,
                transport,
                settings: &common.settings,
                zone: entry.place(&query),
                state,
                recursive: common.recursion.is_some(),
            };
            let (template, dependency) = (&entry.template, &entry.dependency);
            let context = (&self.caller, &mut self.shuffler, &*self.counts);
            reply.give(out, template, dependency, context);
            return reply.led_outside(&common, template, out);
        }
        self.answer_slowly(&common, state, packet, &query, hash, transport, out)
    }

    /// The way of a question that this thread has no prepared answer for.
    #[cold]
    #[expect(
        clippy::too_many_arguments,
        reason = "the hot path's locals, taken over"
    )]
    fn answer_slowly(
        &mut self,
        common: &Common,
        state: &State,
        packet: &[u8],
        query: &Query,
        hash: u64,
        transport: Transport,
        out: &mut Vec<u8>,
    ) -> Answered {
        let fetched = self
            .local
            .fetch(&common.cache, hash, self.folded.key(), state);
        if let Some(entry) = fetched {
            let reply = Reply {
                packet,
                query,
                transport,
                settings: &common.settings,
                zone: entry.place(query),
                state,
                recursive: common.recursion.is_some(),
            };
            let (template, dependency) = (&entry.template, &entry.dependency);
            let context = (&self.caller, &mut self.shuffler, &*self.counts);
            reply.give(out, template, dependency, context);
            return reply.led_outside(common, template, out);
        }
        let mut text = [0; 256];
        let labels = Labels::read(self.folded.name(), &mut text);
        let classified = labels.as_ref().and_then(|labels| {
            names::classify(labels, query.qtype, &common.settings.zones).map(
                |(zone, split, asked)| {
                    let whole = labels.join(0, labels.len());
                    (zone, labels.offset(split), asked, whole)
                },
            )
        });
        let recursion = common.recursion.as_ref();
        let recursion = recursion.filter(|_| recursion::wanted(packet));
        let Some((zone, offset, asked, whole)) = classified else {
            let _ = self.caller.allow(Action::Discover, Resource::Public);
            if let Some(recursion) = recursion {
                return self.ask_elsewhere(recursion, packet, query, transport, out);
            }
            self.fault(
                packet,
                query.end(),
                query.edns.as_ref(),
                Rcode::Refused,
                out,
            );
            return Answered::Reply;
        };
        let reader = read::reader(state, &common.settings, &common.indexes, &common.elsewhere);
        let question = Question {
            zone,
            name: whole,
            qtype: query.qtype,
            ports: false,
        };
        let shuffler = &mut self.shuffler;
        let found = read::resolve(&reader, question, &asked, |bound| shuffler.below(bound));
        // Of addresses that are in no row here others may know names.
        if let Some(recursion) = recursion
            && zone == Zone::Reverse
            && found.template.is_empty()
        {
            let _ = self.caller.allow(Action::Discover, Resource::Public);
            return self.ask_elsewhere(recursion, packet, query, transport, out);
        }
        let reply = Reply {
            packet,
            query,
            transport,
            settings: &common.settings,
            zone: (zone, offset),
            state,
            recursive: common.recursion.is_some(),
        };
        let context = (&self.caller, &mut self.shuffler, &*self.counts);
        reply.give(out, &found.template, &found.dependency, context);
        let answered = reply.led_outside(common, &found.template, out);
        if found.keep && kept_type(query.qtype) {
            let suffix = query.end() as u16 - 4 - offset;
            let entry = Entry::new(
                self.folded.key(),
                found.template,
                found.dependency,
                (zone, suffix),
                state,
            );
            self.local.put(&common.cache, hash, entry);
        }
        answered
    }

    /// Answers from what a recursor said, or is going to say.
    fn ask_elsewhere(
        &mut self,
        recursion: &Arc<Recursion>,
        packet: &[u8],
        query: &Query,
        transport: Transport,
        out: &mut Vec<u8>,
    ) -> Answered {
        let name = packet.get(HEADER..HEADER + query.name).unwrap_or_default();
        let asked = (packet, query, transport == Transport::Tcp);
        let counts = &self.common.counts;
        match recursion::forward(recursion, (name, &self.folded), asked, out, counts) {
            Outside::Reply(rcode, truncated) => {
                self.counts.answered(query.qtype, rcode, truncated);
                Answered::Reply
            }
            Outside::Later(pending) => Answered::Later(pending),
            Outside::Full => {
                let (end, edns) = (query.end(), query.edns.as_ref());
                self.fault(packet, end, edns, Rcode::ServFail, out);
                Answered::Reply
            }
        }
    }

    /// A reply that carries a code and no records.
    fn fault(
        &mut self,
        packet: &[u8],
        end: usize,
        edns: Option<&Edns>,
        rcode: Rcode,
        out: &mut Vec<u8>,
    ) {
        start(out, packet, end);
        let mut additional = 0;
        if let Some(edns) = edns {
            push_opt(out, packet, edns, rcode);
            additional = 1;
        }
        finish_header(
            out,
            rcode,
            Flags {
                recursive: self.common.recursion.is_some(),
                ..Flags::default()
            },
            usize::from(end > HEADER) as u16,
            [0, 0, additional],
        );
        self.counts.faulted(rcode);
    }
}

/// Types whose answers are kept. Others are never there, and there are tens of thousands of them.
fn kept_type(qtype: u16) -> bool {
    use rtype::{A, AAAA, ANY, CNAME, HTTPS, PTR, SRV, TXT};
    matches!(qtype, A | AAAA | SRV | TXT | ANY | HTTPS | CNAME | PTR)
}

/// One decision for one query: may the caller see what the answer was made from?
#[inline]
fn permits(caller: &Caller, dependency: &Dependency) -> bool {
    let allowed = is_allowed(caller, dependency);
    caller.answered();
    allowed
}

fn is_allowed(caller: &Caller, dependency: &Dependency) -> bool {
    let resource = match dependency {
        Dependency::All(each) => return each.iter().all(|one| is_allowed(caller, one)),
        Dependency::Service(key, _) => Resource::Service {
            namespace: key.namespace(),
            name: key.name(),
        },
        Dependency::Node(name, _) => Resource::Node(name.as_str()),
        Dependency::Query(name) => Resource::Query(name),
        Dependency::Nothing | Dependency::Revision => Resource::Services,
    };
    caller.allow(Action::Discover, resource).is_ok()
}

/// Everything a reply is written from except the records.
struct Reply<'a> {
    packet: &'a [u8],
    query: &'a Query,
    transport: Transport,
    settings: &'a Settings,
    /// The zone and where its name stands in the message, for negative answers.
    zone: (Zone, u16),
    state: &'a State,
    /// Whether names outside our zones are asked for elsewhere.
    recursive: bool,
}

/// A worker's own: who asks, the order of answers, the counts.
type Context<'a> = (&'a Caller, &'a mut Shuffler, &'a WorkerCounts);

impl Reply<'_> {
    /// Writes the reply if the caller may see what it was made from, else a refusal, and counts it.
    #[inline]
    fn give(
        &self,
        out: &mut Vec<u8>,
        template: &Template,
        dependency: &Dependency,
        (caller, shuffler, counts): Context<'_>,
    ) {
        let written = self.write(out, template, permits(caller, dependency), shuffler);
        counts.answered(self.query.qtype, written.rcode, written.truncated);
    }

    /// Whether the reply in `out`, made from `template`, is all there is to say: where it ends in an alias that leads out of our zones,
    /// recursors know more.
    #[inline]
    fn led_outside(&self, common: &Common, template: &Template, out: &mut Vec<u8>) -> Answered {
        if let Some(recursion) = &common.recursion
            && template.ends_in_alias()
        {
            let asked = (self.packet, self.query, self.transport == Transport::Tcp);
            let truncate = self.settings.sizing(self.zone.0).truncate;
            let (zones, counts) = (&self.settings.zones, &common.counts);
            let pending = recursion::behind_alias(recursion, zones, asked, truncate, out, counts);
            return pending.map_or(Answered::Reply, Answered::Later);
        }
        Answered::Reply
    }

    #[inline]
    fn write(
        &self,
        out: &mut Vec<u8>,
        template: &Template,
        allowed: bool,
        shuffler: &mut Shuffler,
    ) -> Outcome {
        start(out, self.packet, self.query.end());
        let edns = self.query.edns.as_ref();
        let reserved = edns.map_or(0, opt_length);
        let sizing = self.settings.sizing(self.zone.0);
        let space = self.space(sizing, reserved);
        let mut filled = Filled::default();
        let mut authority = 0;
        let mut rcode = if allowed {
            template.rcode
        } else {
            Rcode::Refused
        };
        if allowed && template.is_empty() {
            filled.nothing_in = Some(self.zone);
        } else if allowed {
            filled = template.fill(out, &space, shuffler);
        } else {
            rcode = Rcode::Refused;
        }
        if let Some((zone, offset)) = filled.nothing_in
            && out.len() + SOA_LENGTH <= space.limit
        {
            push_soa(
                out,
                offset,
                self.settings.primary(zone),
                &self.settings.soa(zone, self.state.revision()),
            );
            authority = 1;
        }
        if let Some(edns) = edns {
            push_opt(out, self.packet, edns, rcode);
        }
        let flags = Flags {
            authoritative: allowed,
            truncated: filled.truncated && sizing.truncate,
            recursive: self.recursive,
            authentic: false,
        };
        let additional = filled.additional + u16::from(edns.is_some());
        finish_header(
            out,
            rcode,
            flags,
            1,
            [filled.answers, authority, additional],
        );
        Outcome {
            rcode,
            truncated: filled.truncated,
        }
    }

    /// What the reply has room for, without the `reserved` bytes at its end.
    #[inline]
    fn space(&self, sizing: &Sizing, reserved: usize) -> Space {
        let (size, answers, whole_answers) = match (self.transport, &self.query.edns) {
            (Transport::Tcp, _) => (usize::from(u16::MAX), u32::MAX, false),
            (Transport::Udp, Some(Edns { size: 513.., .. })) if sizing.max_udp_size > 512 => {
                let edns = self.query.edns.as_ref();
                let size = edns.map_or(512, |edns| edns.size).min(sizing.max_udp_size);
                (usize::from(size), u32::MAX, sizing.whole_answers)
            }
            // As in Consul, a client that names the least size is like one that names none.
            (Transport::Udp, _) => (PLAIN_SIZE, sizing.plain_answers, sizing.whole_answers),
        };
        Space {
            limit: size - reserved,
            answers,
            whole_answers,
        }
    }
}
