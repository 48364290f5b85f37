//! Names of the other schemes: proxies, prepared queries, the Kubernetes zone.

use std::sync::Arc;

use hickory_proto::rr::RecordType::{A, AAAA, ANY, MX, SRV, TXT};
use portolan_catalog::{
    Command, Expect, Host, Key, KeyRange, Keyspace, LookupKind, Op, Protocol, Put, ServiceKey,
    ServiceSettings, Write,
};

use crate::answers::NO_SUCH_NAME;
use crate::fixture::{Server, consul, foreign, options, ports};

#[tokio::test]
async fn proxies_and_virtual_addresses() {
    let server = Server::filled(&options()).await;
    let mut proxy = consul("alpha.rack", "web-proxy", "web-sidecar", "10.0.0.7", 21000);
    proxy.lookups = Arc::from([(LookupKind::Connect, "web".into())]);
    server.register(proxy).await;
    server
        .check_lines(
            "web.connect.consul",
            A,
            &["NoError aa", "- web.connect.consul 0 IN A 10.0.0.7"],
        )
        .await;
    server
        .check_lines("api.connect.consul", A, NO_SUCH_NAME)
        .await;
    let settings = ServiceSettings {
        addresses: Arc::from([Host::new("240.0.0.7")]),
        ..ServiceSettings::default()
    };
    let declare = Command::Declare {
        service: ServiceKey::plain("web"),
        spelling: "web".into(),
        protocol: Protocol::Kubernetes,
        settings: Some(Arc::new(settings)),
        ephemeral: None,
        create_only: false,
    };
    let cluster = "web.default.svc.cluster.local";
    assert_eq!(server.lines(cluster, A).await.len(), 3);
    server.propose(declare).await;
    server
        .check_lines(
            "web.virtual.consul",
            A,
            &["NoError aa", "- web.virtual.consul 0 IN A 240.0.0.7"],
        )
        .await;
    server
        .check_lines("api.virtual.consul", A, NO_SUCH_NAME)
        .await;
    // In the cluster zone the virtual address stands for the endpoints, and for the targets of ports.
    server
        .check_lines(
            cluster,
            A,
            &["NoError aa", &format!("- {cluster} 5 IN A 240.0.0.7")],
        )
        .await;
    let ported = server.lines(cluster, SRV).await;
    assert!(
        ported.contains(&format!("- {cluster} 5 IN SRV 0 100 80 {cluster}.")),
        "{ported:?}"
    );
    assert!(
        ported.contains(&format!("+ {cluster} 5 IN A 240.0.0.7")),
        "{ported:?}"
    );
}

#[tokio::test]
async fn prepared_queries() {
    let server = Server::filled(&options()).await;
    let definitions = [
        r#"{"ID":"1f","Name":"Near-Web","Service":{"Service":"Web","Tags":["!v2"]},"DNS":{"TTL":"30s"}}"#,
        r#"{"ID":"2f","Name":"all-","Template":{"Type":"name_prefix_match","Regexp":""},"Service":{"Service":"${name.suffix}"}}"#,
        r#"{"ID":"3f","Name":"meta","Service":{"Service":"web","NodeMeta":{"rack":"r2"}}}"#,
        r#"{"ID":"4f","Name":"dotted.name","Service":{"Service":"api"}}"#,
    ];
    for definition in definitions {
        let id = &definition[7..9];
        let key = Key::from(format!("query/{id}").as_str());
        let put = Put::new(Keyspace::ConsulObjects, key, definition.into());
        server
            .propose(Command::Write(Write {
                then: vec![Op::Put(Box::new(put))],
                ..Write::default()
            }))
            .await;
    }
    for _ in 0..2 {
        server
            .check_lines(
                "near-web.query.consul",
                A,
                &["NoError aa", "- near-web.query.consul 30 IN A 10.0.0.7"],
            )
            .await;
    }
    server
        .check_lines(
            "1f.query.dc1.consul",
            A,
            &["NoError aa", "- 1f.query.dc1.consul 30 IN A 10.0.0.7"],
        )
        .await;
    server
        .check_lines(
            "all-api.query.consul",
            A,
            &["NoError aa", "- all-api.query.consul 0 IN A 10.0.1.1"],
        )
        .await;
    let ported = server.lines("_near-web._tcp.query.consul", SRV).await;
    assert_eq!(
        ported[1],
        "- _near-web._tcp.query.consul 30 IN SRV 1 1 80 alpha.rack.node.dc1.consul."
    );
    let dotted = server.lines("dotted.name.query.consul", A).await;
    assert_eq!(dotted[1], "- dotted.name.query.consul 0 IN A 10.0.1.1");
    assert_eq!(
        server.lines("name.query.consul", A).await[0],
        "NoError aa",
        "it has a name below it"
    );
    // Another definition, and one that is gone, show at once.
    let write = async |op| server.propose(Command::Write(Write::one(op))).await;
    let key = Key::from("query/5f");
    let late = r#"{"ID":"5f","Name":"late","Service":{"Service":"api"}}"#;
    for _ in 0..2 {
        server
            .check_lines("late.query.consul", A, NO_SUCH_NAME)
            .await;
        let put = Put::new(Keyspace::ConsulObjects, key.clone(), late.into());
        write(Op::Put(Box::new(put))).await;
        server
            .check_lines(
                "late.query.consul",
                A,
                &["NoError aa", "- late.query.consul 0 IN A 10.0.1.1"],
            )
            .await;
        let gone = Op::Delete {
            space: Keyspace::ConsulObjects,
            range: KeyRange::prefix(b"query/5f"),
            expect: Expect::default(),
        };
        write(gone).await;
    }
    for name in [
        "meta.query.consul",
        "all-none.query.consul",
        "none.query.consul",
    ] {
        server.check_lines(name, A, NO_SUCH_NAME).await;
    }
}

#[tokio::test]
async fn the_cluster_zone() {
    let server = Server::filled(&options()).await;
    let mut ported = foreign(
        Protocol::Kubernetes,
        "default/shop/1",
        "shop",
        "10.0.2.1",
        0,
    );
    ported.endpoint.ports = ports(&[("http", 80), ("admin", 9000)]);
    server.register(ported.clone()).await;
    ported.key = portolan_catalog::InstanceKey::new(Protocol::Kubernetes, "default/shop/2");
    ported.endpoint.host = portolan_catalog::Host::new("2001:db8::2");
    server.register(ported).await;
    let soa = "= cluster.local 5 IN SOA ns.dns.cluster.local hostmaster.cluster.local SERIAL 7200 1800 86400 5";
    let zone = "shop.default.svc.cluster.local";
    server
        .check_lines(
            zone,
            A,
            &["NoError aa", &format!("- {zone} 5 IN A 10.0.2.1")],
        )
        .await;
    server
        .check_lines(
            zone,
            AAAA,
            &["NoError aa", &format!("- {zone} 5 IN AAAA 2001:db8::2")],
        )
        .await;
    server.check_lines(zone, MX, &["NoError aa", soa]).await;
    server
        .check_lines(
            zone,
            ANY,
            &["NoError aa", &format!("- {zone} 5 IN HINFO RFC8482 ")],
        )
        .await;
    // A service from any protocol, the address as a host, a port by name.
    server
        .check_lines("web.default.svc.cluster.local", AAAA, &["NoError aa", soa])
        .await;
    server
        .check_lines(
            &format!("10-0-2-1.{zone}"),
            A,
            &["NoError aa", &format!("- 10-0-2-1.{zone} 5 IN A 10.0.2.1")],
        )
        .await;
    server
        .check_lines(&format!("10-0-2-1.{zone}"), AAAA, &["NoError aa", soa])
        .await;
    server
        .check_lines(&format!("10-0-2-9.{zone}"), A, &["NXDomain aa", soa])
        .await;
    let port = format!("_http._tcp.{zone}");
    server
        .check_lines(
            &port,
            SRV,
            &[
                "NoError aa",
                &format!("- {port} 5 IN SRV 0 50 80 10-0-2-1.{zone}."),
                &format!("- {port} 5 IN SRV 0 50 80 2001-db8--2.{zone}."),
                &format!("+ 10-0-2-1.{zone} 5 IN A 10.0.2.1"),
                &format!("+ 2001-db8--2.{zone} 5 IN AAAA 2001:db8::2"),
            ],
        )
        .await;
    assert_eq!(
        server
            .lines(zone, SRV)
            .await
            .iter()
            .filter(|line| line.starts_with('-'))
            .count(),
        4
    );
    server
        .check_lines(&format!("_http._udp.{zone}"), SRV, &["NXDomain aa", soa])
        .await;
    server
        .check_lines(&format!("_http._tcp.{zone}"), A, &["NoError aa", soa])
        .await;
    server
        .check_lines(&format!("_tcp.{zone}"), A, &["NoError aa", soa])
        .await;
    let mut elsewhere = foreign(Protocol::Nacos, "e", "e", "10.0.4.1", 1);
    elsewhere.service = ServiceKey::new("prod", "a-group", "e");
    server.register(elsewhere).await;
    for name in [
        "svc.cluster.local",
        "default.svc.cluster.local",
        "prod.svc.cluster.local",
    ] {
        server.check_lines(name, A, &["NoError aa", soa]).await;
    }
    for name in [
        "none.default.svc.cluster.local",
        "shop.other.svc.cluster.local",
        "other.svc.cluster.local",
        "x.cluster.local",
    ] {
        server.check_lines(name, A, &["NXDomain aa", soa]).await;
    }
    server
        .check_lines(
            "dns-version.cluster.local",
            TXT,
            &["NoError aa", "- dns-version.cluster.local 5 IN TXT 1.1.0"],
        )
        .await;
}
