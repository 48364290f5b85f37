//! What each kind of name answers.

use std::time::Duration;

use hickory_proto::rr::RecordType::{A, AAAA, ANY, CNAME, HTTPS, MX, NS, PTR, SOA, SRV, TXT};
use portolan_catalog::{Protocol, ServiceKey};
use portolan_protocol_dns::Options;

use crate::fixture::{Server, consul, foreign, options};

pub(crate) const NO_SUCH_NAME: &[&str] = &[
    "NXDomain aa",
    "= consul 0 IN SOA ns.consul hostmaster.consul SERIAL 3600 600 86400 0",
];
const NO_SUCH_TYPE: &[&str] = &[
    "NoError aa",
    "= consul 0 IN SOA ns.consul hostmaster.consul SERIAL 3600 600 86400 0",
];

#[tokio::test]
async fn services() {
    let server = Server::filled(&options()).await;
    let both = [
        "NoError aa",
        "- web.service.consul 0 IN A 10.0.0.7",
        "- web.service.consul 0 IN A 10.0.0.8",
    ];
    server.check_lines("web.service.consul", A, &both).await;
    server.check_lines("web.service.consul", ANY, &both).await;
    let dc1 = both.map(|line| line.replace("service.consul", "service.dc1.consul"));
    assert_eq!(server.lines("web.service.dc1.consul", A).await, dc1);
    server
        .check_lines("web.service.consul", AAAA, NO_SUCH_TYPE)
        .await;
    server
        .check_lines("web.service.consul", HTTPS, NO_SUCH_TYPE)
        .await;
    server
        .check_lines("web.service.consul", MX, NO_SUCH_TYPE)
        .await;
    server
        .check_lines(
            "six.service.consul",
            AAAA,
            &["NoError aa", "- six.service.consul 0 IN AAAA 2001:db8::66"],
        )
        .await;
    server
        .check_lines("six.service.consul", A, NO_SUCH_TYPE)
        .await;
    for kind in [A, AAAA, CNAME, HTTPS, TXT, ANY] {
        server
            .check_lines(
                "far.service.consul",
                kind,
                &[
                    "NoError aa",
                    "- far.service.consul 0 IN CNAME far.example.com.",
                ],
            )
            .await;
    }
    for name in [
        "none.service.consul",
        "web.service.dc2.consul",
        "web.nowhere.consul",
        "web.consul",
        "web.ingress.consul",
    ] {
        server.check_lines(name, A, NO_SUCH_NAME).await;
    }
    for name in [
        "service.consul",
        "dc1.consul",
        "node.dc1.consul",
        "_tcp.service.consul",
        "_tcp.consul",
        "dc.consul",
        "dc1.dc.consul",
        "ap.dc1.dc.consul",
    ] {
        server.check_lines(name, A, NO_SUCH_TYPE).await;
    }
    // Beside an address a host name is passed over, also by those who ask for it.
    server
        .register(consul("six", "web-3", "six", "far.example.com", 443))
        .await;
    server
        .check_lines("six.service.consul", CNAME, NO_SUCH_TYPE)
        .await;
    // The server itself, which clients begin with.
    server
        .check_lines(
            "consul.service.consul",
            A,
            &["NoError aa", "- consul.service.consul 0 IN A 127.0.0.1"],
        )
        .await;
}

#[tokio::test]
async fn tags() {
    let server = Server::filled(&options()).await;
    for (name, expected) in [
        ("v1.web.service.consul", Some("10.0.0.7")),
        ("V2.web.service.consul", Some("10.0.0.8")),
        ("blue.green.web.service.consul", Some("10.0.0.7")),
        ("_web._v2.service.consul", Some("10.0.0.8")),
        ("v3.web.service.consul", None),
        ("reen.web.service.consul", None),
    ] {
        match expected {
            Some(ip) => assert_eq!(
                server.lines(name, A).await,
                ["NoError aa".to_owned(), format!("- {name} 0 IN A {ip}")]
            ),
            None => server.check_lines(name, A, NO_SUCH_NAME).await,
        }
    }
    // On the way to the tag `Blue.Green`.
    server
        .check_lines("green.web.service.consul", A, NO_SUCH_TYPE)
        .await;
}

#[tokio::test]
async fn services_with_ports() {
    let server = Server::filled(&options()).await;
    let expected = |name: &str| {
        [
            "NoError aa".to_owned(),
            format!("- {name} 0 IN SRV 1 1 80 alpha.rack.node.dc1.consul."),
            format!("- {name} 0 IN SRV 1 3 81 0a000008.addr.dc1.consul."),
            "+ 0a000008.addr.dc1.consul 0 IN A 10.0.0.8".to_owned(),
            "+ 0a000008.addr.dc1.consul 0 IN TXT a`=b=c".to_owned(),
            "+ 0a000008.addr.dc1.consul 0 IN TXT as is".to_owned(),
            "+ 0a000008.addr.dc1.consul 0 IN TXT rack=r1".to_owned(),
            "+ alpha.rack.node.dc1.consul 0 IN A 10.0.0.7".to_owned(),
            "+ alpha.rack.node.dc1.consul 0 IN TXT a`=b=c".to_owned(),
            "+ alpha.rack.node.dc1.consul 0 IN TXT as is".to_owned(),
            "+ alpha.rack.node.dc1.consul 0 IN TXT rack=r1".to_owned(),
        ]
    };
    for name in [
        "web.service.consul",
        "_web._tcp.service.consul",
        "_web._tcp.consul",
        "_web._tcp.dc1.consul",
    ] {
        assert_eq!(server.lines(name, SRV).await, expected(name));
    }
    server
        .check_lines(
            "_web._v2.consul",
            SRV,
            &[
                "NoError aa",
                "- _web._v2.consul 0 IN SRV 1 3 81 0a000008.addr.dc1.consul.",
                "+ 0a000008.addr.dc1.consul 0 IN A 10.0.0.8",
                "+ 0a000008.addr.dc1.consul 0 IN TXT a`=b=c",
                "+ 0a000008.addr.dc1.consul 0 IN TXT as is",
                "+ 0a000008.addr.dc1.consul 0 IN TXT rack=r1",
            ],
        )
        .await;
    // Any word but `tcp` is a tag, `udp` too.
    server
        .check_lines("_web._udp.service.consul", SRV, NO_SUCH_NAME)
        .await;
    // A name that has ports exists for every type.
    server
        .check_lines("_web._tcp.consul", A, NO_SUCH_TYPE)
        .await;
    server
        .check_lines("_none._tcp.consul", A, NO_SUCH_NAME)
        .await;
    // A node at a host name is an alias, which a target must not be.
    let mut aliased = consul("named", "box-1", "box", "host.example.com", 53);
    aliased.inherits_host = true;
    server.register(aliased).await;
    server
        .check_lines(
            "box.service.consul",
            SRV,
            &[
                "NoError aa",
                "- box.service.consul 0 IN SRV 1 1 53 host.example.com.",
            ],
        )
        .await;
    server
        .check_lines(
            "far.service.consul",
            SRV,
            &[
                "NoError aa",
                "- far.service.consul 0 IN SRV 1 1 443 far.example.com.",
            ],
        )
        .await;
    // A service of another protocol has an address of its own.
    server
        .check_lines(
            "api.service.consul",
            SRV,
            &[
                "NoError aa",
                "- api.service.consul 0 IN SRV 1 1 8080 0a000101.addr.dc1.consul.",
                "+ 0a000101.addr.dc1.consul 0 IN A 10.0.1.1",
            ],
        )
        .await;
    let plain = Server::filled(&Options {
        node_meta_txt: false,
        ..options()
    })
    .await;
    for (name, kind) in [("web.service.consul", SRV), ("alpha.rack.node.consul", A)] {
        let lines = plain.lines(name, kind).await;
        assert!(!lines.iter().any(|line| line.contains("TXT")), "{lines:?}");
    }
}

#[tokio::test]
async fn nodes() {
    let server = Server::filled(&options()).await;
    let address = "- alpha.rack.node.consul 0 IN A 10.0.0.7";
    let texts = ["a`=b=c", "as is", "rack=r1"]
        .map(|text| format!("- alpha.rack.node.consul 0 IN TXT {text}"));
    let beside = texts.each_ref().map(|text| text.replacen('-', "+", 1));
    let [first, second, third] = &beside;
    server
        .check_lines(
            "alpha.rack.node.consul",
            A,
            &["NoError aa", address, first, second, third],
        )
        .await;
    server
        .check_lines(
            "alpha.rack.node.consul",
            TXT,
            &["NoError aa", &texts[0], &texts[1], &texts[2]],
        )
        .await;
    server
        .check_lines(
            "alpha.rack.node.consul",
            ANY,
            &["NoError aa", address, &texts[0], &texts[1], &texts[2]],
        )
        .await;
    for kind in [AAAA, SRV, MX] {
        server
            .check_lines("alpha.rack.node.consul", kind, NO_SUCH_TYPE)
            .await;
    }
    server
        .check_lines(
            "six.node.dc1.consul",
            AAAA,
            &["NoError aa", "- six.node.dc1.consul 0 IN AAAA 2001:db8::6"],
        )
        .await;
    for kind in [A, AAAA, CNAME, MX, ANY] {
        server
            .check_lines(
                "named.node.consul",
                kind,
                &[
                    "NoError aa",
                    "- named.node.consul 0 IN CNAME host.example.com.",
                ],
            )
            .await;
    }
    server
        .check_lines("named.node.consul", TXT, NO_SUCH_TYPE)
        .await;
    server
        .check_lines(
            "10-0-1-1.virtual.node.consul",
            A,
            &[
                "NoError aa",
                "- 10-0-1-1.virtual.node.consul 0 IN A 10.0.1.1",
            ],
        )
        .await;
    for name in ["rack.node.consul", "virtual.node.dc1.consul"] {
        server.check_lines(name, A, NO_SUCH_TYPE).await;
    }
    for name in [
        "ack.node.consul",
        "nobody.node.consul",
        "10-0-1-2.virtual.node.consul",
        "alpha.rack.node.dc2.consul",
    ] {
        server.check_lines(name, A, NO_SUCH_NAME).await;
    }
}

#[tokio::test]
async fn addresses_by_name() {
    let server = Server::filled(&options()).await;
    server
        .check_lines(
            "7f000001.addr.consul",
            A,
            &["NoError aa", "- 7f000001.addr.consul 0 IN A 127.0.0.1"],
        )
        .await;
    server
        .check_lines(
            "7f000001.addr.consul",
            AAAA,
            &["NoError aa", "+ 7f000001.addr.consul 0 IN A 127.0.0.1"],
        )
        .await;
    let long = "20010db8000000000000000000000001.addr.dc1.consul";
    server
        .check_lines(
            long,
            AAAA,
            &["NoError aa", &format!("- {long} 0 IN AAAA 2001:db8::1")],
        )
        .await;
    for name in [
        "7f00001.addr.consul",
        "zz000001.addr.consul",
        "a.7f000001.addr.consul",
    ] {
        server.check_lines(name, A, NO_SUCH_NAME).await;
    }
}

#[tokio::test]
async fn names_of_addresses() {
    let server = Server::filled(&options()).await;
    for (ip, name) in [
        ("10.0.0.7", "alpha.rack.node.dc1.consul."),
        ("10.0.0.8", "web.service.dc1.consul."),
        ("10.0.1.1", "api.service.dc1.consul."),
    ] {
        let mut labels: Vec<_> = ip.split('.').collect();
        labels.reverse();
        let reverse = format!("{}.in-addr.arpa", labels.join("."));
        server
            .check_lines(
                &reverse,
                PTR,
                &["NoError aa", &format!("- {reverse} 0 IN PTR {name}")],
            )
            .await;
        let reply = server.lines(&reverse, A).await;
        assert_eq!(reply[0], "NoError aa", "the name exists");
    }
    let six = format!("6.{}8.b.d.0.1.0.0.2.ip6.arpa", "0.".repeat(23));
    server
        .check_lines(
            &six,
            PTR,
            &[
                "NoError aa",
                &format!("- {six} 0 IN PTR six.node.dc1.consul."),
            ],
        )
        .await;
    let reply = server.lines("9.0.0.10.in-addr.arpa", PTR).await;
    assert_eq!(reply[0], "NXDomain aa");
    assert!(reply[1].starts_with("= in-addr.arpa 0 IN SOA"), "{reply:?}");
    // Resolvers that ask label by label come through here.
    for name in ["10.in-addr.arpa", "0.0.10.in-addr.arpa", "8.b.d.0.ip6.arpa"] {
        let reply = server.lines(name, NS).await;
        assert_eq!(reply[0], "NoError aa", "{name}");
        assert!(reply[1].starts_with("= "), "{reply:?}");
    }
    for name in ["300.in-addr.arpa", "5.4.3.2.1.in-addr.arpa", "x.ip6.arpa"] {
        assert_eq!(server.lines(name, NS).await[0], "NXDomain aa", "{name}");
    }
}

#[tokio::test]
async fn the_zone_itself() {
    let server = Server::filled(&options()).await;
    server
        .check_lines(
            "consul",
            SOA,
            &[
                "NoError aa",
                "- consul 0 IN SOA ns.consul hostmaster.consul SERIAL 3600 600 86400 0",
            ],
        )
        .await;
    server
        .check_lines(
            "consul",
            NS,
            &[
                "NoError aa",
                "- consul 0 IN NS n1.node.dc1.consul.",
                "+ n1.node.dc1.consul 0 IN A 127.0.0.1",
            ],
        )
        .await;
    server.check_lines("consul", A, NO_SUCH_TYPE).await;
    let soa = "SERIAL 3600 600 86400 0";
    for zone in ["in-addr.arpa", "ip6.arpa"] {
        let own = format!("- {zone} 0 IN SOA ns.{zone} hostmaster.{zone} {soa}");
        server.check_lines(zone, SOA, &["NoError aa", &own]).await;
    }
    // The Kubernetes zone has a SOA of its own, the same at the top as in negative answers, and one name for its servers.
    server
        .check_lines(
            "cluster.local",
            SOA,
            &[
                "NoError aa",
                "- cluster.local 5 IN SOA ns.dns.cluster.local hostmaster.cluster.local SERIAL 7200 1800 86400 5",
            ],
        )
        .await;
    server
        .check_lines(
            "cluster.local",
            NS,
            &[
                "NoError aa",
                "- cluster.local 5 IN NS ns.dns.cluster.local.",
                "+ ns.dns.cluster.local 5 IN A 127.0.0.1",
            ],
        )
        .await;
    server
        .check_lines(
            "ns.dns.cluster.local",
            A,
            &["NoError aa", "- ns.dns.cluster.local 5 IN A 127.0.0.1"],
        )
        .await;
    for name in ["ns.dns.cluster.local", "dns.cluster.local"] {
        assert_eq!(server.lines(name, AAAA).await[0], "NoError aa", "{name}");
    }
}

#[tokio::test]
async fn the_serial_is_the_revision() {
    let server = Server::filled(&options()).await;
    for _ in 0..2 {
        let reply = server
            .ask(&crate::fixture::query("none.service.consul", A))
            .await;
        let record = reply.authorities[0].to_string();
        let serial = record.split(' ').nth(6).expect("a serial").to_owned();
        assert_eq!(serial, server.registry.snapshot().revision().to_string());
        server
            .register(foreign(Protocol::Native, "later", "later", "10.9.9.9", 1))
            .await;
    }
}

#[tokio::test]
async fn times_to_live_and_a_second_domain() {
    let seconds = Duration::from_secs;
    let server = Server::filled(&Options {
        alt_domain: Some("Corp.Example.".into()),
        datacenter: "East".into(),
        node_ttl: seconds(7),
        service_ttl: vec![("w*".into(), seconds(8)), ("*".into(), seconds(9))],
        negative_ttl: seconds(600),
        ..options()
    })
    .await;
    server
        .check_lines(
            "v1.web.service.east.corp.example",
            A,
            &[
                "NoError aa",
                "- v1.web.service.east.corp.example 8 IN A 10.0.0.7",
            ],
        )
        .await;
    // Names in an answer have the spelling of the question: the other one may not be forwarded here.
    let ported = server.lines("web.service.corp.example", SRV).await;
    for target in [
        "alpha.rack.node.east.corp.example.",
        "0a000008.addr.east.corp.example.",
    ] {
        assert!(
            ported.iter().any(|line| line.ends_with(target)),
            "{target} in {ported:?}"
        );
    }
    let servers = server.lines("corp.example", NS).await;
    assert_eq!(
        servers[1],
        "- corp.example 0 IN NS n1.node.east.corp.example."
    );
    let reverse = server.lines("7.0.0.10.in-addr.arpa", PTR).await;
    assert!(reverse[1].ends_with("alpha.rack.node.east.consul."));
    server
        .check_lines(
            "api.service.consul",
            A,
            &["NoError aa", "- api.service.consul 9 IN A 10.0.1.1"],
        )
        .await;
    server
        .check_lines(
            "six.node.consul",
            AAAA,
            &["NoError aa", "- six.node.consul 7 IN AAAA 2001:db8::6"],
        )
        .await;
    server
        .check_lines("none.service.corp.example", A, &[
            "NXDomain aa",
            "= corp.example 5 IN SOA ns.corp.example hostmaster.corp.example SERIAL 3600 600 86400 5",
        ])
        .await;
}

#[tokio::test]
async fn names_that_are_no_labels_and_groups() {
    let server = Server::start(&options());
    server
        .register(foreign(
            Protocol::Nacos,
            "d1",
            "com.foo.Bar",
            "10.0.3.1",
            20880,
        ))
        .await;
    let mut grouped = foreign(Protocol::Nacos, "d2", "x", "10.0.3.2", 20880);
    grouped.service = ServiceKey::new("prod", "DEV", "Order-Service");
    server.register(grouped).await;
    server
        .check_lines(
            "com-foo-bar.service.consul",
            A,
            &["NoError aa", "- com-foo-bar.service.consul 0 IN A 10.0.3.1"],
        )
        .await;
    let name = "order-service--dev--prod.service.consul";
    server
        .check_lines(
            name,
            A,
            &["NoError aa", &format!("- {name} 0 IN A 10.0.3.2")],
        )
        .await;
    server
        .check_lines("order-service--dev.service.consul", A, NO_SUCH_NAME)
        .await;
    server
        .check_lines(
            "1.3.0.10.in-addr.arpa",
            PTR,
            &[
                "NoError aa",
                "- 1.3.0.10.in-addr.arpa 0 IN PTR com-foo-bar.service.dc1.consul.",
            ],
        )
        .await;
}
