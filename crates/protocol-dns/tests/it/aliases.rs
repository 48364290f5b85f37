//! Services and nodes at names: what is inside our zones is followed, what has ports is no alias.

use std::sync::Arc;

use hickory_proto::rr::RecordType::{A, AAAA, ANY, CNAME, SRV, TXT};
use portolan_catalog::{Command, Host, Key, Keyspace, Meta, NodeFacts, Op, Protocol, Put, Write};
use portolan_protocol_dns::Options;

use crate::fixture::{Server, consul, edns, foreign, lines, options, query};

const SOA: &str = "= consul 0 IN SOA ns.consul hostmaster.consul SERIAL 3600 600 86400 0";

/// A server with `tgt` at two addresses of one family and one of the other, and services at names.
async fn server(names: &[(&str, &str)]) -> Server {
    let server = Server::start(&Options {
        alt_domain: Some("corp.example".into()),
        ..options()
    });
    for host in ["10.0.0.1", "10.0.0.2", "2001:db8::1"] {
        server
            .register(foreign(Protocol::Eureka, host, "tgt", host, 80))
            .await;
    }
    for (service, host) in names {
        let id = format!("{service}-{host}");
        server.register(consul("n1", &id, service, host, 80)).await;
    }
    server
}

#[tokio::test]
async fn aliases_are_followed() {
    let server = server(&[
        ("al", "tgt.service.consul"),
        ("two", "AL.service.Consul."),
        ("three", "two.service.dc1.consul"),
        ("second", "tgt.service.corp.example"),
        ("node", "n9.node.consul"),
        ("spelled", "0a000063.addr.dc1.consul"),
        ("cluster", "tgt.default.svc.cluster.local"),
    ])
    .await;
    let mut node = NodeFacts::new("n9", Host::new("10.9.0.9"));
    node.meta = Meta::from_iter([("rack", "r1")]);
    server.put_node(node).await;
    let rows: &[(&str, _, &[&str])] = &[
        (
            "al",
            A,
            &[
                "- al.service.consul 0 IN CNAME tgt.service.consul.",
                "- tgt.service.consul 0 IN A 10.0.0.1",
                "- tgt.service.consul 0 IN A 10.0.0.2",
            ],
        ),
        (
            "al",
            AAAA,
            &[
                "- al.service.consul 0 IN CNAME tgt.service.consul.",
                "- tgt.service.consul 0 IN AAAA 2001:db8::1",
            ],
        ),
        (
            "al",
            ANY,
            &[
                "- al.service.consul 0 IN CNAME tgt.service.consul.",
                "- tgt.service.consul 0 IN A 10.0.0.1",
                "- tgt.service.consul 0 IN A 10.0.0.2",
                "- tgt.service.consul 0 IN AAAA 2001:db8::1",
            ],
        ),
        (
            "al",
            CNAME,
            &["- al.service.consul 0 IN CNAME tgt.service.consul."],
        ),
        (
            "al",
            TXT,
            &["- al.service.consul 0 IN CNAME tgt.service.consul.", SOA],
        ),
        (
            "three",
            AAAA,
            &[
                "- al.service.consul 0 IN CNAME tgt.service.consul.",
                "- tgt.service.consul 0 IN AAAA 2001:db8::1",
                "- three.service.consul 0 IN CNAME two.service.dc1.consul.",
                "- two.service.dc1.consul 0 IN CNAME al.service.consul.",
            ],
        ),
        (
            "second",
            AAAA,
            &[
                "- second.service.consul 0 IN CNAME tgt.service.corp.example.",
                "- tgt.service.corp.example 0 IN AAAA 2001:db8::1",
            ],
        ),
        (
            "second",
            TXT,
            &[
                "- second.service.consul 0 IN CNAME tgt.service.corp.example.",
                "= corp.example 0 IN SOA ns.corp.example hostmaster.corp.example SERIAL 3600 600 86400 0",
            ],
        ),
        (
            "node",
            A,
            &[
                "- n9.node.consul 0 IN A 10.9.0.9",
                "- node.service.consul 0 IN CNAME n9.node.consul.",
                "+ n9.node.consul 0 IN TXT rack=r1",
            ],
        ),
        (
            "node",
            TXT,
            &[
                "- n9.node.consul 0 IN TXT rack=r1",
                "- node.service.consul 0 IN CNAME n9.node.consul.",
            ],
        ),
        (
            "spelled",
            A,
            &[
                "- 0a000063.addr.dc1.consul 0 IN A 10.0.0.99",
                "- spelled.service.consul 0 IN CNAME 0a000063.addr.dc1.consul.",
            ],
        ),
        (
            "cluster",
            AAAA,
            &[
                "- cluster.service.consul 0 IN CNAME tgt.default.svc.cluster.local.",
                "- tgt.default.svc.cluster.local 5 IN AAAA 2001:db8::1",
            ],
        ),
    ];
    // The first answer is worked out, the second is a prepared one.
    for _ in 0..2 {
        for (name, kind, expected) in rows {
            let got = server.lines(&format!("{name}.service.consul"), *kind).await;
            assert_eq!(got[0], "NoError aa", "{name} {kind}");
            assert_eq!(got[1..], **expected, "{name} {kind}");
        }
    }
    // The links come in their order, the addresses last.
    let mut three = query("three.service.consul", A);
    three.set_edns(edns(1232));
    let reply = server.ask(&three).await;
    let kinds: Vec<_> = reply.answers.iter().map(|one| one.record_type()).collect();
    assert_eq!(kinds, [CNAME, CNAME, CNAME, A, A]);
    // Without EDNS there are three answers, but always an address.
    for (name, expected) in [
        ("al", [CNAME, A, A].as_slice()),
        ("three", &[CNAME, CNAME, CNAME, A]),
    ] {
        let reply = server
            .ask(&query(&format!("{name}.service.consul"), A))
            .await;
        let kinds: Vec<_> = reply.answers.iter().map(|one| one.record_type()).collect();
        assert_eq!(kinds, expected, "{name}");
    }
}

#[tokio::test]
async fn aliases_that_lead_nowhere_end() {
    let server = server(&[
        ("none", "absent.service.consul"),
        ("empty", "tgt.nowhere.consul"),
        ("out", "www.example.com"),
        ("outer", "out.service.consul"),
        ("self", "other.service.consul"),
        ("a", "b.service.consul"),
        ("b", "a.service.consul"),
        ("own", "own.service.consul"),
    ])
    .await;
    for index in 0..12 {
        let host = format!("deep{}.service.consul", index + 1);
        let service = format!("deep{index}");
        server
            .register(consul("n1", &service, &service, &host, 80))
            .await;
    }
    let rows: &[(&str, &[&str])] = &[
        (
            "none",
            &[
                "NXDomain aa",
                "- none.service.consul 0 IN CNAME absent.service.consul.",
                SOA,
            ],
        ),
        (
            "empty",
            &[
                "NXDomain aa",
                "- empty.service.consul 0 IN CNAME tgt.nowhere.consul.",
                SOA,
            ],
        ),
        (
            "outer",
            &[
                "NoError aa",
                "- out.service.consul 0 IN CNAME www.example.com.",
                "- outer.service.consul 0 IN CNAME out.service.consul.",
            ],
        ),
        (
            "a",
            &[
                "NoError aa",
                "- a.service.consul 0 IN CNAME b.service.consul.",
                "- b.service.consul 0 IN CNAME a.service.consul.",
            ],
        ),
    ];
    for _ in 0..2 {
        for (name, expected) in rows {
            server
                .check_lines(&format!("{name}.service.consul"), A, expected)
                .await;
        }
        // A service at its own name is at its node's address.
        server
            .check_lines(
                "own.service.consul",
                A,
                &["NoError aa", "- own.service.consul 0 IN A 127.0.0.1"],
            )
            .await;
        let deep = server.lines("deep0.service.consul", A).await;
        assert_eq!(deep.len(), 1 + 8, "eight aliases and no more: {deep:?}");
    }
}

#[tokio::test]
async fn an_alias_shows_what_has_become_of_its_target() {
    let server = server(&[
        ("al", "tgt.service.consul"),
        ("late", "later.service.consul"),
    ])
    .await;
    let addresses = async |name: &str| {
        let lines = server.lines(&format!("{name}.service.consul"), A).await;
        lines.iter().filter(|line| line.contains(" IN A ")).count()
    };
    for _ in 0..2 {
        assert_eq!((addresses("al").await, addresses("late").await), (2, 0));
    }
    for (id, service, host) in [("t3", "tgt", "10.0.0.3"), ("l1", "later", "10.0.0.4")] {
        server
            .register(foreign(Protocol::Eureka, id, service, host, 80))
            .await;
    }
    for _ in 0..2 {
        assert_eq!((addresses("al").await, addresses("late").await), (3, 1));
    }
}

#[tokio::test]
async fn of_several_aliases_each_reply_has_one() {
    let server = server(&[
        ("many", "tgt.service.consul"),
        ("many", "www.example.com"),
        ("many", "absent.service.consul"),
    ])
    .await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let mut asked = query("many.service.consul", A);
        asked.set_edns(edns(1232));
        seen.insert(lines(&server.ask(&asked).await));
    }
    let counts: Vec<_> = seen.iter().map(Vec::len).collect();
    assert_eq!(
        counts,
        [3, 4, 2],
        "absent with SOA, followed, outside: {seen:?}"
    );
}

#[tokio::test]
async fn names_with_ports_are_never_aliases() {
    let server = server(&[
        ("hostn", "host.example.com"),
        ("ours", "tgt.service.consul"),
    ])
    .await;
    let name = "_hostn._tcp.service.consul";
    server
        .check_lines(
            name,
            SRV,
            &[
                "NoError aa",
                "- _hostn._tcp.service.consul 0 IN SRV 1 1 80 host.example.com.",
            ],
        )
        .await;
    for kind in [A, AAAA, CNAME, ANY, TXT] {
        for name in [name, "_ours._tcp.service.dc1.consul", "_hostn._tcp.consul"] {
            let got = server.lines(name, kind).await;
            assert_eq!(got, ["NoError aa", SOA], "{name} {kind}");
        }
    }
    // The plain form is the alias, as in Consul.
    server
        .check_lines(
            "hostn.service.consul",
            A,
            &[
                "NoError aa",
                "- hostn.service.consul 0 IN CNAME host.example.com.",
            ],
        )
        .await;
    // A target of ours has its addresses beside it.
    server
        .check_lines(
            "_ours._tcp.service.consul",
            SRV,
            &[
                "NoError aa",
                "- _ours._tcp.service.consul 0 IN SRV 1 1 80 tgt.service.consul.",
                "+ tgt.service.consul 0 IN A 10.0.0.1",
                "+ tgt.service.consul 0 IN A 10.0.0.2",
                "+ tgt.service.consul 0 IN AAAA 2001:db8::1",
            ],
        )
        .await;
    // Instances with an address show it, those at names do not.
    server
        .register(consul("n1", "h2", "hostn", "10.0.0.9", 81))
        .await;
    for name in [name, "hostn.service.consul"] {
        server
            .check_lines(
                name,
                A,
                &["NoError aa", &format!("- {name} 0 IN A 10.0.0.9")],
            )
            .await;
    }
}

#[tokio::test]
async fn tags_queries_nodes_and_the_second_domain_lead_on_as_well() {
    let server = server(&[("al", "tgt.service.consul")]).await;
    let mut tagged = consul("n1", "tagged", "marked", "tgt.service.consul", 80);
    tagged.tags = Arc::from(["v1".into()]);
    server.register(tagged).await;
    server
        .put_node(NodeFacts::new("named", Host::new("tgt.service.consul")))
        .await;
    let definition = r#"{"ID":"9f","Name":"pq","Service":{"Service":"al"}}"#;
    let put = Put::new(
        Keyspace::ConsulObjects,
        Key::from("query/9f"),
        definition.into(),
    );
    server
        .propose(Command::Write(Write::one(Op::Put(Box::new(put)))))
        .await;
    for _ in 0..2 {
        for name in [
            "al.service.corp.example",
            "v1.marked.service.consul",
            "named.node.consul",
            "pq.query.dc1.consul",
        ] {
            let mut expected = [
                "NoError aa".to_owned(),
                format!("- {name} 0 IN CNAME tgt.service.consul."),
                "- tgt.service.consul 0 IN AAAA 2001:db8::1".to_owned(),
            ];
            expected[1..].sort();
            assert_eq!(server.lines(name, AAAA).await, expected);
        }
        for name in ["_pq._tcp.query.consul", "_marked._v1.service.consul"] {
            let got = server.lines(name, AAAA).await;
            assert_eq!(got, ["NoError aa", SOA], "{name}");
        }
        let spelled = "20010db8000000000000000000000001.addr.dc1.consul";
        server
            .check_lines(
                "named.node.consul",
                SRV,
                &[
                    "NoError aa",
                    "- named.node.consul 0 IN CNAME tgt.service.consul.",
                    "- tgt.service.consul 0 IN SRV 1 1 80 0a000001.addr.dc1.consul.",
                    "- tgt.service.consul 0 IN SRV 1 1 80 0a000002.addr.dc1.consul.",
                    &format!("- tgt.service.consul 0 IN SRV 1 1 80 {spelled}."),
                    "+ 0a000001.addr.dc1.consul 0 IN A 10.0.0.1",
                    "+ 0a000002.addr.dc1.consul 0 IN A 10.0.0.2",
                    &format!("+ {spelled} 0 IN AAAA 2001:db8::1"),
                ],
            )
            .await;
    }
}
