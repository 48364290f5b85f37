//! Starting and stopping: what is printed, which ports are open, how the process ends.

use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::etcd::{self, Etcd};
use crate::harness::server::{self, PORTS, PROTOCOLS, Start};
use crate::harness::{Server, eventually, http, same};
use crate::need_binary;
use portolan_protocol_etcd::wire::etcdserverpb as pb;

/// Runs `portolan serve` with arguments that must make it end by itself; how it ended and what it said.
fn refused_with(arguments: &[&str]) -> (i32, String) {
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
    let deadline = Instant::now() + Duration::from_secs(90);
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
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// As [`refused_with`], for a configuration that cannot be meant.
fn refused(arguments: &[&str]) -> String {
    let (code, said) = refused_with(arguments);
    assert_eq!(code, 2, "`serve {}`: {said}", arguments.join(" "));
    said
}

/// The value of the first series that begins so and has these labels.
fn metric(server: &Server, name: &str, labels: &[&str]) -> Result<f64, String> {
    let text = http::call(server.address("native"), "GET", "/metrics", None)?.text();
    let line = text
        .lines()
        .find(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)))
        .ok_or_else(|| format!("no {name} with {labels:?}"))?;
    let value = line.rsplit(' ').next().unwrap_or_default();
    value.parse().map_err(|error| format!("{line}: {error}"))
}

#[test]
fn every_protocol_says_where_it_listens_before_ready() {
    need_binary!();
    let server = Server::start();
    assert_eq!(server.listening(), PORTS);
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
fn port_zero_is_announced_as_the_port_it_became() {
    need_binary!();
    let mut start = Start::default();
    for protocol in PROTOCOLS {
        start = start
            .with("--listen")
            .with(format!("{protocol}=127.0.0.1:0"));
    }
    let server = start.go();
    for port in PORTS {
        let address = server.address(port);
        assert_ne!(address.port(), 0, "{port}");
        TcpStream::connect(address).unwrap_or_else(|error| panic!("{port}: {error}"));
    }
    // Clients of Nacos look for gRPC there.
    let [http, grpc] = ["nacos", "nacos-grpc"].map(|port| server.address(port).port());
    assert_eq!(grpc, http + 1000);
}

#[test]
fn a_protocol_that_is_off_is_not_there() {
    need_binary!();
    let server = Server::with(&["--listen", "eureka=off", "--listen", "dns=off"]);
    assert_eq!(
        server.listening(),
        [
            "consul",
            "etcd",
            "kubernetes",
            "nacos",
            "nacos-grpc",
            "native",
            "xds",
            "zookeeper"
        ]
    );
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
    let said = refused(&["--listen", "consl=127.0.0.1:0"]);
    assert!(
        said.contains("consl") && said.contains("consul"),
        "it said:\n{said}"
    );
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
    let (code, said) = refused_with(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(code, 1, "it said:\n{said}");
    for words in [
        &*address.to_string(),
        "for eureka",
        "pass --listen eureka=ADDR",
    ] {
        assert!(said.contains(words), "it said:\n{said}");
    }
    assert_eq!(said.matches("in use").count(), 1, "said once:\n{said}");
}

#[test]
fn sigterm_says_goodbye_and_ends_well() {
    need_binary!();
    // Nothing that is open holds the process back: it ends long before its patience does.
    let mut server = Server::with(&["--limit-drain-timeout", "10m"]);
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
    eventually(Duration::from_secs(60), || {
        same(&metric(&server, "portolan_etcd_watchers", &[])?, &1.0)?;
        let open = |protocol: &str| {
            let labels = [
                &*format!("protocol=\"{protocol}\""),
                "limit=\"connections\"",
            ];
            metric(&server, "portolan_limit_used", &labels)
        };
        same(&(open("consul")?, open("eureka")?), &(1.0, 1.0))
    })
    .unwrap_or_else(|why| panic!("{why}"));
    let status = server
        .terminate(Duration::from_secs(120))
        .unwrap_or_else(|why| panic!("{why}"));
    assert!(
        status.success(),
        "ended with {status}; it said:\n{}",
        server.said()
    );
    runtime.block_on(watch).unwrap();
    let _ = query.join().unwrap();
    drop(idle);
    // A clean stop loses nothing either.
    server.start_again();
}

#[test]
fn sigterm_under_load_keeps_what_was_acknowledged() {
    need_binary!();
    let mut server = Server::start();
    let consul = server.address("consul");
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            std::thread::spawn(move || {
                let mut acknowledged = Vec::new();
                for count in 0.. {
                    let path = format!("/v1/kv/load/{writer}/{count}");
                    match http::call(consul, "PUT", &path, Some("v")) {
                        Ok(reply) if reply.status == 200 => acknowledged.push(path),
                        Ok(_) | Err(_) => break,
                    }
                }
                acknowledged
            })
        })
        .collect();
    eventually(Duration::from_secs(60), || {
        let keys = http::get_json(consul, "/v1/kv/load?keys")?;
        let count = keys.as_array().map_or(0, Vec::len);
        if count > 100 {
            Ok(())
        } else {
            Err(format!("{count} keys"))
        }
    })
    .unwrap_or_else(|why| panic!("{why}"));
    let status = server
        .terminate(Duration::from_secs(120))
        .unwrap_or_else(|why| panic!("{why}"));
    assert!(status.success(), "{status}: {}", server.said());
    server.start_again();
    for writer in writers {
        for path in writer.join().unwrap() {
            let reply = http::call(consul, "GET", &path, None).unwrap();
            assert_eq!(reply.status, 200, "{path} was acknowledged");
        }
    }
}

#[test]
fn sigint_ends_it_as_well_and_sighup_reads_definitions_again() {
    need_binary!();
    let mut server = Server::start();
    server::signal(server.pid(), rustix::process::Signal::HUP);
    eventually(Duration::from_secs(60), || {
        let said = server.said();
        let told = said.contains("definition files were read again");
        told.then_some(()).ok_or(said)
    })
    .unwrap_or_else(|why| panic!("{why}"));
    let reply = http::call(server.address("native"), "GET", "/readyz", None).unwrap();
    assert_eq!(reply.status, 200);
    server::signal(server.pid(), rustix::process::Signal::INT);
    let status = server.wait_end(Duration::from_secs(60)).unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn the_log_is_json_where_that_is_asked_for() {
    need_binary!();
    let mut server = Server::with(&["--log-format", "json", "--log-level", "info,openraft=warn"]);
    server.terminate(Duration::from_secs(60)).unwrap();
    let said = server.said();
    let lines: Vec<serde_json::Value> = said
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let others = said.lines().filter(|line| !line.starts_with('{'));
    assert!(
        others
            .clone()
            .all(|line| line == "ready" || line.starts_with("listening ")),
        "{said}"
    );
    for message in ["starting", "ready", "stopping", "stopped"] {
        assert!(
            lines.iter().any(|line| line["message"] == message),
            "no {message:?}: {said}"
        );
    }
    assert!(
        lines
            .iter()
            .all(|line| line["timestamp"].is_string() && line["level"].is_string())
    );
}

#[test]
fn the_addresses_of_ipv6_and_names_of_this_machine_are_taken() {
    need_binary!();
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: no IPv6 on loopback");
        return;
    }
    let server = Server::with(&[
        "--listen",
        "consul=[::1]:0",
        "--listen",
        "dns=[::1]:0",
        "--listen",
        "native=localhost:0",
    ]);
    let consul = server.address("consul");
    assert!(consul.is_ipv6());
    let reply = http::call(consul, "GET", "/v1/status/leader", None).unwrap();
    assert_eq!(reply.status, 200);
    assert!(server.address("dns").is_ipv6());
    assert_eq!(server.address("native").ip().to_string(), "127.0.0.1");
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
