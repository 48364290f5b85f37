//! How replies are cut to what the client takes: exact numbers for each zone, size and type.

use std::collections::BTreeSet;

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType::{self, A, AAAA, SRV};
use portolan_catalog::{Meta, NodeFacts, Protocol};
use portolan_protocol_dns::Options;

use crate::fixture::{Server, consul, edns, foreign, many, options, query};

/// What one question got: answers, additional records without OPT, TC. The reply keeps to the size unless it is of one answer.
async fn asked(
    server: &Server,
    name: &str,
    kind: RecordType,
    size: Option<u16>,
) -> (usize, usize, bool) {
    let mut query = query(name, kind);
    if let Some(size) = size {
        query.set_edns(edns(size));
    }
    let bytes = server
        .send(&query.to_vec().expect("encoded"))
        .await
        .expect("a reply");
    let reply = Message::from_vec(&bytes).expect("readable");
    let limit = usize::from(size.unwrap_or(512)).max(512);
    assert!(
        bytes.len() <= limit || reply.answers.len() == 1,
        "{name} {kind} {size:?}: {} bytes",
        bytes.len()
    );
    assert_eq!(
        reply.edns.as_ref().map(|edns| edns.max_payload()),
        size.map(|size| size.max(512)),
        "the client's size comes back"
    );
    if kind == SRV {
        let targets: BTreeSet<_> = reply
            .answers
            .iter()
            .map(|record| record.data.to_string().split(' ').nth(3).map(str::to_owned))
            .collect();
        for extra in &reply.additionals {
            assert!(
                targets.contains(&Some(extra.name.to_string())),
                "{extra} is of no target given"
            );
        }
    }
    let distinct: BTreeSet<_> = reply
        .answers
        .iter()
        .map(|one| one.data.to_string())
        .collect();
    assert_eq!(distinct.len(), reply.answers.len(), "nothing twice");
    (
        reply.answers.len(),
        reply.additionals.len(),
        reply.metadata.truncation,
    )
}

/// The sizes of the tables: no EDNS, then what clients offer.
const SIZES: [Option<u16>; 7] = [
    None,
    Some(512),
    Some(1232),
    Some(4096),
    Some(8192),
    Some(16_384),
    Some(65_535),
];

#[tokio::test]
async fn names_of_the_domain_are_cut_as_consul_cuts_them() {
    // Header and question take 37 bytes, OPT 11, an A record 16, an AAAA record 28, an SRV record 44 and the address beside it 16.
    let rows = [
        (
            30,
            A,
            [(3, 0), (3, 0), (30, 0), (30, 0), (30, 0), (30, 0), (30, 0)],
        ),
        (
            100,
            A,
            [
                (3, 0),
                (3, 0),
                (74, 0),
                (100, 0),
                (100, 0),
                (100, 0),
                (100, 0),
            ],
        ),
        (
            30,
            SRV,
            [
                (3, 3),
                (3, 3),
                (19, 19),
                (30, 30),
                (30, 30),
                (30, 30),
                (30, 30),
            ],
        ),
        (
            100,
            SRV,
            [
                (3, 3),
                (3, 3),
                (19, 19),
                (67, 67),
                (100, 100),
                (100, 100),
                (100, 100),
            ],
        ),
        (30, AAAA, [(0, 0); 7]),
    ];
    for count in [30, 100] {
        let server = many(&options(), count).await;
        for (_, kind, expected) in rows.iter().filter(|row| row.0 == count) {
            for (size, (answers, additional)) in SIZES.iter().zip(expected) {
                assert_eq!(
                    asked(&server, "many.service.consul", *kind, *size).await,
                    (*answers, *additional, false),
                    "{count} {kind} {size:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn six_and_both_families() {
    let server = Server::start(&options());
    for index in 0..100 {
        let host = format!("2001:db8::{index:x}");
        server
            .register(foreign(
                Protocol::Native,
                &format!("s{index}"),
                "six",
                &host,
                80,
            ))
            .await;
    }
    for index in 0..30 {
        for host in [format!("2001:db8::{index:x}"), format!("10.9.0.{index}")] {
            let id = format!("b{host}");
            server
                .register(foreign(Protocol::Native, &id, "both", &host, 80))
                .await;
        }
    }
    // The names take 4 bytes alike; a target that spells an IPv6 address is 24 bytes longer.
    let rows = [
        ("six", AAAA, [3, 3, 42, 100, 100, 100, 100]),
        ("six", SRV, [3, 3, 12, 42, 84, 100, 100]),
        ("both", A, [3, 3, 30, 30, 30, 30, 30]),
        ("both", AAAA, [3, 3, 30, 30, 30, 30, 30]),
    ];
    for (name, kind, expected) in rows {
        for (size, answers) in SIZES.iter().zip(expected) {
            let name = format!("{name}.service.consul");
            let (got, additional, cut) = asked(&server, &name, kind, *size).await;
            assert_eq!((got, cut), (answers, false), "{name} {kind} {size:?}");
            assert_eq!(additional, if kind == SRV { answers } else { 0 });
        }
    }
}

#[tokio::test]
async fn metadata_goes_first_and_then_answers_with_their_addresses() {
    let server = Server::start(&options());
    let mut node = NodeFacts::new("n", portolan_catalog::Host::new("10.0.0.7"));
    node.meta = Meta::from_iter([("rack", "r1")]);
    server.put_node(node).await;
    for index in 0..10 {
        let host = format!("10.0.1.{index}");
        server
            .register(consul("n", &format!("w{index}"), "metas", &host, 80))
            .await;
    }
    // 38 bytes before, 11 behind; a text takes 12 and 8: 49 + 10 * (44 + 16 + 20) = 849.
    for (size, expected) in [
        (None, (3, 6, false)),
        (Some(849), (10, 20, false)),
        (Some(848), (10, 10, false)),
        (Some(649), (10, 10, false)),
        (Some(648), (9, 9, false)),
    ] {
        let got = asked(&server, "metas.service.consul", SRV, size).await;
        assert_eq!(got, expected, "{size:?}");
    }
}

#[tokio::test]
async fn one_answer_is_given_however_long_it_is() {
    let server = Server::start(&options());
    let label = "x".repeat(63);
    let host = [&label[..], &label, &label, &label[..50]].join(".");
    for index in 0..2 {
        let host = format!("{}{index}.example", &host[..240]);
        server
            .register(consul("n1", &format!("l{index}"), "long", &host, 80))
            .await;
    }
    let name = format!("{}.long.service.consul", "t".repeat(63));
    let mut tagged = consul(
        "n1",
        "l9",
        "long",
        &format!("{}9.example", &host[..240]),
        80,
    );
    tagged.tags = std::sync::Arc::from([
        "t".repeat(63).into(),
        format!("{0}.{0}.{0}", "t".repeat(63)).into(),
    ]);
    server.register(tagged).await;
    assert_eq!(
        asked(&server, "long.service.consul", SRV, None).await,
        (1, 0, false),
        "two do not fit"
    );
    let longer = format!("{0}.{0}.{name}", "t".repeat(63));
    assert_eq!(asked(&server, &longer, SRV, None).await, (1, 0, false));
}

#[tokio::test]
async fn what_can_be_set() {
    let cut = many(
        &Options {
            truncate: true,
            udp_answer_limit: 8,
            max_udp_size: 1232,
            ..options()
        },
        100,
    )
    .await;
    for (size, expected) in [
        (None, (8, 0, true)),
        (Some(1232), (74, 0, true)),
        (Some(65_535), (74, 0, true)),
    ] {
        let got = asked(&cut, "many.service.consul", A, size).await;
        assert_eq!(got, expected, "{size:?}");
    }
    let small = many(
        &Options {
            max_udp_size: 512,
            ..options()
        },
        100,
    )
    .await;
    let got = asked(&small, "many.service.consul", A, Some(4096)).await;
    assert_eq!(got, (3, 0, false));
}

#[tokio::test]
async fn the_cluster_zone_truncates_and_says_so() {
    let server = many(&options(), 100).await;
    let name = "many.default.svc.cluster.local";
    // 48 bytes before; an SRV record takes 59 or 60.
    for (size, addresses, ports) in [
        (None, (29, 0, true), (7, 0, true)),
        (Some(512), (28, 0, true), (7, 0, true)),
        (Some(1232), (73, 0, true), (19, 0, true)),
        (Some(4096), (73, 0, true), (19, 0, true)),
    ] {
        assert_eq!(asked(&server, name, A, size).await, addresses, "{size:?}");
        assert_eq!(asked(&server, name, SRV, size).await, ports, "{size:?}");
    }
    let some = many(&options(), 18).await;
    // Additional records go before any answer does, and without TC.
    let (answers, additional, cut) = asked(&some, name, SRV, Some(1232)).await;
    assert_eq!((answers, cut), (18, false));
    assert!((1..18).contains(&additional), "{additional}");
}
