//! No answer without a decision: every route and every RPC method is asked once, from the protocols' own tables and descriptors, and
//! the server's own count of answers that nobody allowed must stay zero.

use std::time::Duration;

use portolan_listener::Methods;
use portolan_protocol_etcd::wire::{DESCRIPTORS, etcdserverpb as pb};
use prost::Message;
use tonic::Code;

use crate::harness::etcd::{self, Etcd};
use crate::harness::{Server, http};
use crate::need_binary;

/// As much of a file descriptor as it takes to name the methods.
#[derive(Clone, PartialEq, Message)]
struct Files {
    #[prost(message, repeated, tag = "1")]
    file: Vec<File>,
}

#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, repeated, tag = "6")]
    service: Vec<Service>,
}

#[derive(Clone, PartialEq, Message)]
struct Service {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    method: Vec<Method>,
}

#[derive(Clone, PartialEq, Message)]
struct Method {
    #[prost(string, tag = "1")]
    name: String,
}

/// `/package.Service/Method` of every method there is.
fn methods() -> Vec<String> {
    let files = Files::decode(DESCRIPTORS).expect("the descriptors");
    let mut paths = Vec::new();
    for file in files.file {
        for service in file.service {
            for method in service.method {
                paths.push(format!(
                    "/{}.{}/{}",
                    file.package, service.name, method.name
                ));
            }
        }
    }
    paths
}

/// The answers that nobody allowed, by protocol.
fn undecided(server: &Server) -> Vec<String> {
    let metrics = http::call(server.address("native"), "GET", "/metrics", None)
        .expect("metrics")
        .text();
    let lines: Vec<&str> = metrics
        .lines()
        .filter(|line| line.starts_with("portolan_answers_without_decision_total"))
        .collect();
    assert!(
        !lines.is_empty(),
        "the server does not count answers without a decision"
    );
    lines
        .into_iter()
        .filter(|line| !line.ends_with(" 0"))
        .map(str::to_owned)
        .collect()
}

fn filled(pattern: &str) -> String {
    let mut path = String::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        path.push_str(before);
        path.push_str("thing");
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    path + rest
}

fn ask_routes(protocol: &str, routes: impl Iterator<Item = (Methods, &'static str)>) {
    let mut server = Server::start();
    let mut asked = 0;
    // Leaving is asked for last: it may well end the server.
    let mut routes: Vec<_> = routes.collect();
    routes.sort_by_key(|(_, pattern)| pattern.ends_with("/leave"));
    for (methods, pattern) in routes {
        for method in methods.iter() {
            let path = filled(pattern);
            let address = server.address(protocol);
            let line = format!(
                "{method} {path}?wait=10ms HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
            );
            // A stream of news never ends: what is asked here is only that the request was judged.
            let _ = http::exchange(address, line.as_bytes(), Duration::from_secs(2));
            asked += 1;
            if pattern.ends_with("/leave") {
                // It ends a moment after the answer, or not at all.
                let _ended = server.wait_end(Duration::from_secs(5));
            }
            if !server.is_up() {
                server.start_again();
            }
            let undecided = undecided(&server);
            assert!(
                undecided.is_empty(),
                "{method} {path} was answered without a decision: {undecided:?}"
            );
        }
    }
    println!("{protocol}: {asked} methods of routes asked");
    assert!(asked > 0, "{protocol} names no routes");
}

#[test]
fn every_route_of_consul_is_decided() {
    need_binary!();
    ask_routes("consul", portolan_protocol_consul::routes());
}

#[test]
fn every_route_of_eureka_is_decided() {
    need_binary!();
    ask_routes("eureka", portolan_protocol_eureka::routes());
}

#[test]
fn every_route_of_nacos_is_decided() {
    need_binary!();
    ask_routes("nacos", portolan_protocol_nacos::routes());
}

#[test]
fn every_route_of_kubernetes_is_decided() {
    need_binary!();
    ask_routes("kubernetes", portolan_protocol_kubernetes::routes());
}

#[test]
fn every_route_of_xds_is_decided() {
    need_binary!();
    ask_routes("xds", portolan_protocol_xds::routes());
}

#[test]
fn every_route_of_the_native_protocol_is_decided() {
    need_binary!();
    ask_routes("native", portolan_protocol_native::routes());
}

#[test]
fn every_method_of_etcd_is_decided() {
    need_binary!();
    let server = Server::start();
    let methods = methods();
    assert!(methods.len() >= 40, "the descriptors name only {methods:?}");
    etcd::runtime().block_on(async {
        let client = Etcd::connect(server.address("etcd"))
            .await
            .expect("a connection");
        for path in &methods {
            let mut grpc = tonic::client::Grpc::new(client.channel.clone());
            grpc.ready().await.expect("ready");
            // An empty message is a valid message of every type.
            let codec =
                tonic_prost::ProstCodec::<pb::LeaseLeasesRequest, pb::LeaseRevokeResponse>::default(
                );
            let call = grpc.unary(
                tonic::Request::new(pb::LeaseLeasesRequest {}),
                path.parse().expect("a path"),
                codec,
            );
            let answer = tokio::time::timeout(Duration::from_secs(2), call).await;
            if let Ok(Err(status)) = &answer {
                assert_ne!(
                    status.code(),
                    Code::Unavailable,
                    "{path}: the connection broke: {status:?}"
                );
            }
            let undecided = undecided(&server);
            assert!(
                undecided.is_empty(),
                "{path} was answered without a decision: {undecided:?}"
            );
        }
    });
    for path in [
        "/version",
        "/health",
        "/metrics",
        "/livez",
        "/readyz",
        "/v2/keys/x",
    ] {
        let _ = http::call(server.address("etcd"), "GET", path, None);
    }
    let undecided = undecided(&server);
    assert!(undecided.is_empty(), "{undecided:?}");
    println!("etcd: {} methods asked", methods.len());
}

#[test]
fn dns_is_decided() {
    need_binary!();
    let server = Server::start();
    for name in [
        "consul.service.consul",
        "nobody.service.consul",
        "example.com",
        "x.node.consul",
    ] {
        let query = crate::hostile::bystander::query(name, 1);
        crate::hostile::bystander::ask(server.address("dns"), &query).expect("an answer");
    }
    let undecided = undecided(&server);
    assert!(undecided.is_empty(), "{undecided:?}");
}

#[test]
fn every_operation_of_zookeeper_is_decided() {
    use portolan_protocol_zookeeper::wire::{Opcode, Writer};
    use std::io::{Read, Write};

    need_binary!();
    let server = Server::start();
    let connect = || {
        let mut stream = std::net::TcpStream::connect(server.address("zookeeper")).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let mut writer = Writer::default();
        writer
            .int(0)
            .long(0)
            .int(10_000)
            .long(0)
            .buffer(Some(&[0; 16]))
            .boolean(false);
        stream.write_all(&writer.finish()).unwrap();
        stream.read_exact(&mut [0; 41]).unwrap();
        stream
    };
    let mut asked = 0;
    for opcode in Opcode::ALL {
        // An empty body, which few operations take, and one that all of them can begin to read.
        for path in ["", "/thing"] {
            let mut stream = connect();
            let mut writer = Writer::default();
            writer.int(1).int(opcode as i32);
            if !path.is_empty() {
                writer.text(path).int(-1).int(-1).int(-1);
            }
            stream.write_all(&writer.finish()).unwrap();
            let answered = stream.read(&mut [0; 64]).unwrap();
            assert!(answered > 0, "{opcode:?}");
            asked += 1;
            let undecided = undecided(&server);
            assert!(undecided.is_empty(), "{opcode:?} {path:?}: {undecided:?}");
        }
    }
    let mut word = std::net::TcpStream::connect(server.address("zookeeper")).unwrap();
    word.write_all(b"srvr").unwrap();
    word.read_to_end(&mut Vec::new()).unwrap();
    let undecided = undecided(&server);
    assert!(undecided.is_empty(), "{undecided:?}");
    println!("zookeeper: {asked} operations asked");
}
