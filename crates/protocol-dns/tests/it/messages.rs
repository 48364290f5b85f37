//! Rules of the message: EDNS, sizes, truncation, order, case, codes.

use std::collections::BTreeSet;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsCode, EdnsOption};
use hickory_proto::rr::{DNSClass, RecordType};
use portolan_catalog::Protocol;
use portolan_protocol_dns::{Network, Options};

use crate::fixture::{Server, edns, many, options, query};

#[tokio::test]
async fn the_order_is_random_and_so_is_what_is_left_out() {
    let server = many(&options(), 20).await;
    let mut first = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for _ in 0..200 {
        let reply = server
            .ask(&query("many.service.consul", RecordType::A))
            .await;
        first.insert(reply.answers[0].data.to_string());
        seen.extend(reply.answers.iter().map(|record| record.data.to_string()));
        let distinct: BTreeSet<_> = reply
            .answers
            .iter()
            .map(|record| record.data.to_string())
            .collect();
        assert_eq!(distinct.len(), 3, "no address twice");
    }
    assert_eq!(seen.len(), 20);
    assert!(first.len() > 15, "{first:?}");
}

#[tokio::test]
async fn a_limit_of_addresses_is_no_truncation() {
    let server = many(
        &Options {
            a_record_limit: 2,
            ..options()
        },
        20,
    )
    .await;
    let reply = server
        .ask(&query("many.service.consul", RecordType::A))
        .await;
    assert_eq!((reply.answers.len(), reply.metadata.truncation), (2, false));
}

#[tokio::test]
async fn flags_case_and_options_come_back() {
    let server = Server::filled(&options()).await;
    let mut query = query("wEb.SERvice.cOnsul", RecordType::A);
    query.metadata.checking_disabled = true;
    let mut asked = edns(1232);
    asked.set_dnssec_ok(true);
    let subnet = ClientSubnet::new("192.0.2.0".parse().expect("an address"), 24, 0);
    asked.options_mut().insert(EdnsOption::Subnet(subnet));
    query.set_edns(asked);
    let packet = query.to_vec().expect("encoded");
    let bytes = server.send(&packet).await.expect("a reply");
    assert_eq!(
        bytes[12..12 + 24],
        packet[12..12 + 24],
        "the question is echoed byte for byte"
    );
    let reply = Message::from_vec(&bytes).expect("readable");
    assert_eq!(reply.answers.len(), 2);
    let metadata = &reply.metadata;
    assert!(metadata.recursion_desired && metadata.checking_disabled && metadata.authoritative);
    assert!(!metadata.recursion_available && !metadata.authentic_data);
    let edns = reply.edns.as_ref().expect("an OPT");
    assert!(edns.flags().dnssec_ok);
    let Some(EdnsOption::Subnet(echoed)) = edns.option(EdnsCode::Subnet) else {
        panic!("no client subnet");
    };
    assert_eq!(
        (echoed.addr(), echoed.source_prefix(), echoed.scope_prefix()),
        (subnet.addr(), 24, 0)
    );
}

#[tokio::test]
async fn what_is_not_answered_has_its_code() {
    let server = Server::filled(&options()).await;
    let code = async |query: &Message| server.ask(query).await.metadata.response_code;
    assert_eq!(
        code(&query("www.example.com", RecordType::A)).await,
        ResponseCode::Refused
    );
    assert_eq!(
        code(&query("consul.example", RecordType::A)).await,
        ResponseCode::Refused
    );
    assert_eq!(
        code(&query(".", RecordType::NS)).await,
        ResponseCode::Refused
    );
    assert_eq!(
        code(&query("consul", RecordType::AXFR)).await,
        ResponseCode::NotImp
    );
    assert_eq!(
        code(&query("consul", RecordType::IXFR)).await,
        ResponseCode::NotImp
    );
    let mut version = query("version.bind", RecordType::TXT);
    version.queries[0].query_class = DNSClass::CH;
    assert_eq!(code(&version).await, ResponseCode::Refused);
    for opcode in [OpCode::Notify, OpCode::Status, OpCode::Update] {
        let mut other = query("web.service.consul", RecordType::A);
        other.metadata.op_code = opcode;
        other.set_edns(edns(1232));
        let bytes = server
            .send(&other.to_vec().expect("encoded"))
            .await
            .expect("a reply");
        assert_eq!(bytes[3] & 0x0f, 4, "{opcode:?} is not implemented");
        assert_eq!(
            bytes[2] >> 3 & 0x0f,
            u8::from(opcode),
            "the opcode comes back"
        );
        assert_eq!(
            (bytes[5], bytes[11], bytes.len()),
            (1, 1, 12 + 24 + 11),
            "{opcode:?}: with the question and OPT"
        );
    }
    let mut future = query("web.service.consul", RecordType::A);
    let mut one = edns(1232);
    one.set_version(1);
    one.set_dnssec_ok(true);
    future.set_edns(one);
    let reply = server.ask(&future).await;
    assert_eq!(u16::from(reply.metadata.response_code), 16, "BADVERS");
    let said = reply
        .edns
        .as_ref()
        .map(|e| (e.version(), e.flags().dnssec_ok));
    assert_eq!(said, Some((0, true)));
    let mut astray = query("web.service.consul", RecordType::A);
    let mut scoped = edns(1232);
    let subnet = ClientSubnet::new("192.0.2.0".parse().expect("an address"), 24, 8);
    scoped.options_mut().insert(EdnsOption::Subnet(subnet));
    astray.set_edns(scoped);
    let bytes = server
        .send(&astray.to_vec().expect("encoded"))
        .await
        .expect("a reply");
    assert_eq!(bytes[3] & 0x0f, 1, "a client's subnet has no scope");
    let mut strange = query("www.example.com", RecordType::A);
    strange.set_edns(edns(1232));
    assert!(
        server.ask(&strange).await.edns.is_some(),
        "OPT is answered with OPT, also on refusal"
    );
}

#[tokio::test]
async fn strangers_are_refused() {
    let nobody: Network = "192.0.2.0/24".parse().expect("a network");
    let server = Server::filled(&Options {
        allow: vec![nobody],
        ..options()
    })
    .await;
    let reply = server
        .ask(&query("web.service.consul", RecordType::A))
        .await;
    assert_eq!(reply.metadata.response_code, ResponseCode::Refused);
    assert!(reply.answers.is_empty() && !reply.metadata.authoritative);
}

#[tokio::test]
async fn a_wildcard_port_answers_from_the_address_asked() {
    let registry = portolan_registry::Registry::local(&portolan_registry::LocalOptions::default());
    let context = portolan_listener::ServerContext::new(portolan_listener::Settings {
        insecure_listen: true,
        ..portolan_listener::Settings::default()
    });
    let any = Options {
        listen: "0.0.0.0:0".parse().expect("an address"),
        ..options()
    };
    let mut address = portolan_protocol_dns::serve(
        &context,
        &registry,
        &Default::default(),
        &any,
        Default::default(),
    )
    .expect("a free port");
    address.set_ip("127.0.0.5".parse().expect("an address"));
    let server = Server {
        registry,
        address,
        context,
        https: None,
    };
    for _ in 0..20 {
        // `ask` asserts where the reply comes from.
        let reply = server
            .ask(&query("consul.service.consul", RecordType::A))
            .await;
        assert_eq!(reply.answers.len(), 1);
    }
}

#[tokio::test]
async fn every_answer_was_decided_and_counted() {
    let server = Server::filled(&options()).await;
    for name in [
        "web.service.consul",
        "none.service.consul",
        "alpha.rack.node.consul",
        "7f000001.addr.consul",
        "web.default.svc.cluster.local",
    ] {
        server.ask(&query(name, RecordType::A)).await;
    }
    server
        .ask(&query("web.service.consul", RecordType::SRV))
        .await;
    let metrics = server.context.metrics();
    assert_eq!(metrics.answers_without_decision(Protocol::Dns), 0);
    let text = metrics.encode();
    for line in [
        "portolan_dns_queries_total{type=\"A\",code=\"NOERROR\"} 4",
        "portolan_dns_queries_total{type=\"A\",code=\"NXDOMAIN\"} 1",
        "portolan_dns_queries_total{type=\"SRV\",code=\"NOERROR\"} 1",
        "portolan_dns_ignored_total 0",
        "portolan_dns_prepared 5",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}
