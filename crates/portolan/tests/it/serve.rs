//! Starting and stopping: what is printed, which ports are open, how the process ends.

use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::etcd::{self, Etcd};
use crate::harness::server::{self, PROTOCOLS, Start};
use crate::harness::{Server, http};
use crate::need_binary;
use portolan_protocol_etcd::wire::etcdserverpb as pb;

/// Runs `portolan serve` with arguments that must make it end by itself; what it said and whether it ended well.
fn refused(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(server::binary().unwrap())
        .arg("serve")
        .arg("--data-dir")
        .arg(folder.path().join("data"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(15);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            let output = child.wait_with_output().unwrap();
            panic!(
                "`serve {}` was not refused; it said:\n{}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stdout)
            );
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().unwrap();
    assert!(
        !output.status.success(),
        "`serve {}` ended well",
        arguments.join(" ")
    );
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_protocol_says_where_it_listens_before_ready() {
    need_binary!();
    let server = Server::start();
    assert_eq!(server.listening(), PROTOCOLS);
    let said = server.said();
    let ready = said
        .lines()
        .position(|line| line.trim() == "ready")
        .unwrap();
    let last = said
        .lines()
        .enumerate()
        .filter(|(_, line)| line.starts_with("listening "))
        .map(|(at, _)| at)
        .last()
        .unwrap();
    assert!(last < ready, "a port was announced after `ready`:\n{said}");
    for protocol in PROTOCOLS {
        TcpStream::connect(server.address(protocol))
            .unwrap_or_else(|error| panic!("{protocol}: {error}"));
    }
}

#[test]
fn port_nought_is_announced_as_the_port_it_became() {
    need_binary!();
    let mut start = Start::default();
    for protocol in PROTOCOLS {
        start = start
            .with("--listen")
            .with(format!("{protocol}=127.0.0.1:0"));
    }
    let server = start.go();
    for protocol in PROTOCOLS {
        let address = server.address(protocol);
        assert_ne!(address.port(), 0, "{protocol}");
        TcpStream::connect(address).unwrap_or_else(|error| panic!("{protocol}: {error}"));
    }
}

#[test]
fn a_protocol_that_is_off_is_not_there() {
    need_binary!();
    let server = Server::with(&["--listen", "eureka=off", "--listen", "dns=off"]);
    assert_eq!(server.listening(), ["consul", "etcd", "native"]);
    assert_eq!(
        http::call(server.address("consul"), "GET", "/v1/status/leader", None)
            .unwrap()
            .status,
        200
    );
}

#[test]
fn a_name_that_is_no_protocol_is_refused_with_those_that_are() {
    need_binary!();
    for name in ["zookeeper", "consl"] {
        let said = refused(&["--listen", &format!("{name}=127.0.0.1:0")]);
        assert!(
            said.contains(name) && said.contains("consul"),
            "it said:\n{said}"
        );
    }
    let said = refused(&["--listen", "consul=nowhere"]);
    assert!(said.contains("nowhere"), "it said:\n{said}");
}

#[test]
fn other_machines_are_let_in_only_on_request() {
    need_binary!();
    let said = refused(&["--listen", "consul=0.0.0.0:0"]);
    assert!(said.contains("--insecure-listen"), "it said:\n{said}");
    let server = Server::with(&["--listen", "consul=0.0.0.0:0", "--insecure-listen"]);
    let port = server.address("consul").port();
    let local = SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(
        http::call(local, "GET", "/v1/status/leader", None)
            .unwrap()
            .status,
        200
    );
}

#[test]
fn a_taken_port_is_named() {
    need_binary!();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut arguments: Vec<String> = Vec::new();
    for protocol in PROTOCOLS {
        arguments.extend([
            "--listen".into(),
            if protocol == "eureka" {
                format!("eureka={address}")
            } else {
                format!("{protocol}=127.0.0.1:0")
            },
        ]);
    }
    let said = refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(said.contains(&address.to_string()), "it said:\n{said}");
}

#[test]
fn sigterm_says_goodbye_and_ends_well() {
    need_binary!();
    let mut server = Server::start();
    let runtime = etcd::runtime();
    let client = runtime
        .block_on(Etcd::for_streams(server.address("etcd")))
        .unwrap();
    // A watch, a blocking query and an idle connection must not hold the process back.
    let watch = runtime.spawn(async move {
        let create = pb::WatchCreateRequest {
            key: "x".into(),
            ..Default::default()
        };
        let request = pb::WatchRequest {
            request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)),
        };
        let (keep, requests) = tokio::sync::mpsc::channel(1);
        keep.send(request).await.unwrap();
        let mut stream = client
            .watch()
            .watch(tokio_stream::wrappers::ReceiverStream::new(requests))
            .await
            .unwrap()
            .into_inner();
        while let Ok(Some(_)) = stream.message().await {}
    });
    let consul = server.address("consul");
    let query = std::thread::spawn(move || {
        http::call(
            consul,
            "GET",
            "/v1/catalog/services?index=100000&wait=60s",
            None,
        )
    });
    let idle = TcpStream::connect(server.address("eureka")).unwrap();
    // Both are known to be open once the server counts them.
    runtime.block_on(async { tokio::time::sleep(Duration::from_millis(300)).await });
    let asked = Instant::now();
    let status = server
        .terminate(Duration::from_secs(10))
        .unwrap_or_else(|why| panic!("{why}"));
    assert!(
        status.success(),
        "ended with {status}; it said:\n{}",
        server.said()
    );
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "the drain took {:?}",
        asked.elapsed()
    );
    runtime.block_on(watch).unwrap();
    let _ = query.join().unwrap();
    drop(idle);
    // A clean stop loses nothing either.
    server.start_again();
}

#[test]
fn health_and_metrics_are_seen_from_outside() {
    need_binary!();
    let server = Server::start();
    let native = server.address("native");
    for path in ["/healthz", "/readyz"] {
        let reply = http::call(native, "GET", path, None).unwrap();
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    }
    http::call(
        server.address("consul"),
        "GET",
        "/v1/catalog/services",
        None,
    )
    .unwrap();
    let metrics = http::call(native, "GET", "/metrics", None).unwrap().text();
    for name in [
        "portolan_requests_total",
        "portolan_connections_accepted_total",
        "portolan_answers_without_decision",
    ] {
        assert!(
            metrics.contains(name),
            "no {name} in the metrics:\n{metrics}"
        );
    }
}
