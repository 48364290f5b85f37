//! Properties of every reply: random bytes, damaged queries and good ones, read again by another implementation.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use hickory_proto::op::Message;
use portolan_catalog::Protocol;
use portolan_catalog::{
    Cause, Command, Endpoint, Host, InstanceKey, Register, Registration, ServiceKey,
};
use portolan_listener::ServerContext;
use portolan_registry::{LocalOptions, Registry};
use proptest::prelude::*;

use crate::answer::{Answered, Common, Transport, Worker};
use crate::cache::{Cache, LocalCache};
use crate::found::Indexes;
use crate::settings::{Options, Settings};
use crate::wire::{push_name, rtype};

/// A worker over services `s0` to `s39`, of which `sN` has N addresses.
struct Bench {
    _runtime: tokio::runtime::Runtime,
    common: Arc<Common>,
}

static BENCH: LazyLock<Bench> = LazyLock::new(|| {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let registry = runtime.block_on(async {
        let registry = Registry::local(&LocalOptions::default());
        let cause = Arc::new(Cause::call(Protocol::Native, None));
        for service in 0..40_u8 {
            for last in 0..service {
                let facts = Registration::new(
                    InstanceKey::new(Protocol::Native, format!("{service}-{last}")),
                    ServiceKey::plain(&format!("s{service}")),
                    Endpoint::new(Host::Ip([10, 0, service, last].into()), 80),
                );
                let command = Command::Register(Box::new(Register::new(facts)));
                let settled = registry
                    .propose(cause.clone(), command)
                    .await
                    .expect("an answer");
                settled.outcome.expect("no refusal");
            }
        }
        registry
    });
    Bench {
        common: Arc::new(Common {
            context: ServerContext::new(portolan_listener::Settings::default()),
            registry,
            settings: Settings::new(&Options::default()),
            elsewhere: crate::elsewhere::Elsewhere::default(),
            cache: Cache::new(64 << 20),
            indexes: Indexes::default(),
            counts: Arc::default(),
            recursion: None,
            runtime: runtime.handle().clone(),
            cookies: crate::cookies::Cookies::new(),
            rates: None,
        }),
        _runtime: runtime,
    }
});

/// Answers with a worker that has answered nothing before, twice, so that the second answer is a prepared one.
fn answer(packet: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let state = BENCH.common.registry.snapshot();
    let mut worker = Worker::new(
        Arc::clone(&BENCH.common),
        LocalCache::lasting(),
        Arc::default(),
    );
    let peer = SocketAddr::from(([127, 0, 0, 1], 9));
    let mut out = Vec::new();
    let mut once = || {
        let answered = worker.answer(&state, packet, peer, transport, &mut out);
        matches!(answered, Answered::Reply).then_some(out.len())
    };
    let (first, second) = (once(), once());
    assert_eq!(first.is_some(), second.is_some());
    if transport == Transport::Tcp {
        // Over UDP another random part may have been left out.
        assert_eq!(first, second, "a prepared answer is as long as a fresh one");
    }
    second.map(|_| out)
}

fn question(labels: &[String], qtype: u16, edns: Option<u16>) -> Vec<u8> {
    let mut packet = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
    assert!(push_name(&mut packet, &labels.join(".")));
    packet.extend(qtype.to_be_bytes());
    packet.extend([0, 1]);
    if let Some(size) = edns {
        packet[11] = 1;
        packet.extend([0, 0, 41]);
        packet.extend(size.to_be_bytes());
        packet.extend([0; 6]);
    }
    packet
}

fn label() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "service", "node", "query", "addr", "dc1", "consul", "svc", "cluster", "local",
            "default", "n1", "arpa"
        ])
        .prop_map(str::to_owned),
        "s[0-9]{1,2}",
        "_[a-z]{1,4}",
        "[0-9a-fA-F]{8}",
        "[a-zA-Z0-9-]{1,12}",
    ]
}

fn name() -> impl Strategy<Value = Vec<String>> {
    let end = prop::sample::select(vec![
        "service.consul",
        "SERVICE.dc1.Consul",
        "node.consul",
        "consul",
        "default.svc.cluster.local",
        "x",
    ]);
    (prop::collection::vec(label(), 0..4), end).prop_map(|(mut labels, end)| {
        labels.extend(end.split('.').map(str::to_owned));
        labels
    })
}

fn check_reply(packet: &[u8], reply: &[u8]) {
    assert_eq!(reply[..2], packet[..2], "the id");
    assert_eq!(reply[2] & 0x80, 0x80, "a response");
    if let Err(error) = Message::from_vec(reply) {
        // Names may hold bytes that are no text; another implementation may refuse to read those.
        assert!(!packet.is_ascii(), "{error}: {reply:02x?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_packet_is_answered_with_nonsense(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        for transport in [Transport::Udp, Transport::Tcp] {
            if let Some(reply) = answer(&bytes, transport) {
                prop_assert!(reply.len() <= 65_535);
                check_reply(&bytes, &reply);
            }
        }
    }

    #[test]
    fn no_damaged_query_is_answered_with_nonsense(
        labels in name(),
        qtype in any::<u16>(),
        edns in proptest::option::of(any::<u16>()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut packet = question(&labels, qtype, edns);
        for (at, byte) in damage {
            let at = at.index(packet.len());
            packet[at] = byte;
        }
        for packet in [&packet[..], &packet[..cut.index(packet.len())]] {
            if let Some(reply) = answer(packet, Transport::Udp) {
                prop_assert!(reply.len() <= 65_467);
                check_reply(packet, &reply);
            }
        }
    }

    #[test]
    fn what_we_write_is_read_as_we_meant_it(
        labels in name(),
        qtype in prop::sample::select(vec![rtype::A, rtype::AAAA, rtype::SRV, rtype::TXT, rtype::ANY, rtype::SOA, rtype::NS, rtype::PTR]),
        edns in proptest::option::of(any::<u16>()),
        tcp in any::<bool>(),
    ) {
        let packet = question(&labels, qtype, edns);
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        let reply = answer(&packet, transport).expect("a reply");
        let limit = match (tcp, edns) {
            (true, _) => 65_535,
            (false, None) => 512,
            (false, Some(size)) => usize::from(size).clamp(512, 65_467),
        };
        prop_assert!(reply.len() <= limit);
        let question = packet.len() - if edns.is_some() { 11 } else { 0 };
        prop_assert_eq!(&reply[12..question], &packet[12..question], "the question comes back as it was");
        let read = Message::from_vec(&reply).expect("readable");
        prop_assert_eq!(read.edns.is_some(), edns.is_some());
        // Written again by the other implementation, it says the same.
        let again = Message::from_vec(&read.to_vec().expect("writable")).expect("readable");
        prop_assert_eq!(&again.answers, &read.answers);
        prop_assert_eq!(&again.authorities, &read.authorities);
        for record in read.answers.iter() {
            let owner = record.name.to_ascii();
                prop_assert_eq!(owner.trim_end_matches('.'), labels.join("."));
        }
        if let [name, rest @ ..] = &labels[..]
            && rest.join(".").eq_ignore_ascii_case("service.consul")
            && let Some(count) = name.strip_prefix('s').and_then(|n| n.parse::<usize>().ok()).filter(|n| (1..40).contains(n) && *name == format!("s{n}"))
            && qtype == rtype::A
        {
            let room = (limit - question - if edns.is_some() { 11 } else { 0 }) / 16;
            let most = if !tcp && edns.is_none_or(|size| size <= 512) { 3 } else { usize::MAX };
            prop_assert_eq!(read.answers.len(), count.min(room).min(most));
            prop_assert!(!read.metadata.truncation);
        }
    }
}
