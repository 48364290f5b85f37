//! TCP, UDP, gRPC, HTTP/2 ping, script and alias checks.

use std::sync::Arc;
use std::time::Duration;

use portolan_catalog::{
    Admin, AdminStatus, AdminTarget, CheckKey, Command, Endpoint, Host, InstanceKey, NewCheck,
    Probe, Protocol, Register, Registration, ServiceKey, Status, Target,
};
use portolan_checks::LocalScript;
use tokio::net::{TcpListener, UdpSocket};
use tonic_health::ServingStatus;

use crate::bench::{Bench, check, closed_port, node, put, settings};

fn tcp(target: &str) -> Probe {
    Probe::Tcp {
        target: target.into(),
        tls: None,
    }
}

#[tokio::test]
async fn a_tcp_check_connects() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let open = listener.local_addr().unwrap();
    let closed = closed_port().await;
    let bench = Bench::start();
    let rows = [
        (
            open.to_string(),
            Status::Passing,
            format!("TCP connect {open}: Success"),
        ),
        (
            format!("localhost:{}", open.port()),
            Status::Passing,
            format!("TCP connect localhost:{}: Success", open.port()),
        ),
        (
            closed.to_string(),
            Status::Critical,
            format!("dial tcp {closed}: connect: connection refused"),
        ),
        (
            "127.0.0.1".to_owned(),
            Status::Critical,
            "dial tcp: address 127.0.0.1: missing port in address".to_owned(),
        ),
    ];
    for (target, status, words) in rows {
        assert_eq!(
            bench.result(check(&target, tcp(&target))).await,
            (status, words)
        );
    }
    let mut facts = check("tls", tcp(&open.to_string()));
    facts.probe = Probe::Tcp {
        target: open.to_string().into(),
        tls: Some(Default::default()),
    };
    let (status, output) = bench.result(facts).await;
    assert_eq!(status, Status::Critical);
    assert!(output.contains("no TLS"), "{output}");
}

#[tokio::test]
async fn a_udp_check_takes_silence_for_health() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let open = silent.local_addr().unwrap();
    let closed = UdpSocket::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let bench = Bench::start();
    for (address, status) in [(open, Status::Passing), (closed, Status::Critical)] {
        let mut facts = check(
            &address.to_string(),
            Probe::Udp {
                target: address.to_string().into(),
            },
        );
        facts.timeout_ms = 300;
        let (found, output) = bench.result(facts).await;
        assert_eq!(found, status, "{output}");
        assert!(
            output.contains(if status == Status::Passing {
                "Success"
            } else {
                "connection refused"
            }),
            "{output}"
        );
    }
}

#[tokio::test]
async fn a_grpc_check_asks_the_health_service() {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter
        .set_service_status("good", ServingStatus::Serving)
        .await;
    reporter
        .set_service_status("bad", ServingStatus::NotServing)
        .await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming),
    );
    let bench = Bench::start();
    let closed = closed_port().await;
    let rows = [
        (
            format!("{address}"),
            Status::Passing,
            format!("gRPC check {address}: success"),
        ),
        (
            format!("{address}/good"),
            Status::Passing,
            format!("gRPC check {address}/good: success"),
        ),
        (
            format!("{address}/bad"),
            Status::Critical,
            "gRPC application didn't report service healthy".to_owned(),
        ),
    ];
    for (target, status, words) in rows {
        let facts = check(
            &target,
            Probe::Grpc {
                target: target.as_str().into(),
                tls: None,
            },
        );
        assert_eq!(bench.result(facts).await, (status, words));
    }
    for (target, words) in [
        (format!("{address}/none"), "rpc error: code = NotFound"),
        (closed.to_string(), "rpc error: code = Unavailable"),
    ] {
        let facts = check(
            &target,
            Probe::Grpc {
                target: target.as_str().into(),
                tls: None,
            },
        );
        let (status, output) = bench.result(facts).await;
        assert_eq!(status, Status::Critical);
        assert!(output.starts_with(words), "{output}");
    }
    let ping = check(
        "ping",
        Probe::H2Ping {
            target: address.to_string().into(),
            tls: None,
        },
    );
    assert_eq!(
        bench.result(ping).await,
        (Status::Passing, "HTTP2 ping was successful".to_owned())
    );
    let lost = check(
        "lost",
        Probe::H2Ping {
            target: closed.to_string().into(),
            tls: None,
        },
    );
    assert_eq!(bench.result(lost).await.0, Status::Critical);
}

#[tokio::test]
async fn only_programs_of_the_local_configuration_run() {
    let mut settings = settings();
    let listed = |check: &str, script: &str| LocalScript {
        check: check.to_owned(),
        args: vec!["sh".into(), "-c".into(), script.into()],
    };
    let scripts = [
        ("ok", "echo fine", Status::Passing, "fine\n"),
        ("warn", "echo low >&2; exit 1", Status::Warning, "low\n"),
        ("bad", "exit 7", Status::Critical, ""),
        (
            "cut",
            "echo 0123456789",
            Status::Passing,
            "Captured 4 of 11 bytes\n...\n789\n",
        ),
        (
            "slow",
            "sleep 20",
            Status::Critical,
            "Timed out (1s) running check",
        ),
    ];
    settings.scripts = scripts
        .iter()
        .map(|(id, script, ..)| listed(id, script))
        .collect();
    let bench = Bench::with(settings);
    let script = |script: &str| Probe::Script {
        args: Arc::from(["sh".into(), "-c".into(), script.into()]),
    };
    // The same program under another id, and another program under a listed id.
    bench.apply(put(check("other", script("echo fine")))).await;
    let mut facts = check("long", script("echo fine"));
    facts.key = CheckKey::new(&node(), "ok");
    facts.probe = script("echo something else");
    bench.apply(put(facts)).await;
    for (id, program, status, words) in scripts {
        let mut facts = check(id, script(program));
        facts.timeout_ms = 1000;
        facts.output_bytes = if id == "cut" { 4 } else { 0 };
        assert_eq!(
            bench.result(facts).await,
            (status, words.to_owned()),
            "{id}"
        );
    }
    let state = bench.registry.snapshot();
    assert!(
        !state
            .check(&CheckKey::new(&node(), "other"))
            .unwrap()
            .reported
    );
    assert_eq!(bench.meters.scheduled.get(), 5);
}

/// A program that starts another one, which writes to a file for as long as it lives.
fn parent_of_a_writer(file: &std::path::Path) -> Vec<String> {
    let script = format!(
        "(while :; do echo x >> {}; sleep 0.02; done) & wait",
        file.display()
    );
    vec!["sh".to_owned(), "-c".to_owned(), script]
}

/// Whether nobody writes to a file any more.
async fn falls_silent(file: &std::path::Path) -> bool {
    let size = || std::fs::metadata(file).map_or(0, |data| data.len());
    for _ in 0..50 {
        let before = size();
        tokio::time::sleep(Duration::from_millis(200)).await;
        if size() == before {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn a_script_takes_its_children_along() {
    let folder = tempfile::tempdir().unwrap();
    let (late, dropped) = (folder.path().join("late"), folder.path().join("dropped"));
    let mut settings = settings();
    settings.scripts = [("late", &late), ("dropped", &dropped)]
        .into_iter()
        .map(|(check, file)| LocalScript {
            check: check.to_owned(),
            args: parent_of_a_writer(file),
        })
        .collect();
    let bench = Bench::with(settings.clone());
    let facts = |at: usize, timeout_ms: u64| {
        let script = &settings.scripts[at];
        let args = script.args.iter().map(|arg| arg.as_str().into()).collect();
        let mut facts = check(&script.check, Probe::Script { args });
        (facts.interval_ms, facts.timeout_ms) = (3_600_000, timeout_ms);
        facts
    };
    assert_eq!(
        bench.result(facts(0, 500)).await,
        (
            Status::Critical,
            "Timed out (500ms) running check".to_owned()
        )
    );
    assert!(std::fs::metadata(&late).unwrap().len() > 0, "it ran");
    assert!(falls_silent(&late).await, "it lives on after the time-out");

    bench.apply(put(facts(1, 60_000))).await;
    while !dropped.exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let key = CheckKey::new(&node(), "dropped");
    bench.apply(Command::DropCheck { key, expect: None }).await;
    assert!(falls_silent(&dropped).await, "it lives on after its check");
}

#[tokio::test]
async fn an_alias_follows_what_it_stands_for() {
    let bench = Bench::start();
    let key = InstanceKey::consul(&node(), "web-1");
    let alias = check(
        "alias",
        Probe::Alias {
            node: node(),
            service: "web-1".into(),
        },
    );
    let words = "Service web-1 could not be found on node n1";
    assert_eq!(
        bench.result(alias).await,
        (Status::Critical, words.to_owned())
    );

    let endpoint = Endpoint::new(Host::new("10.0.0.1"), 80);
    let mut facts = Registration::new(key.clone(), ServiceKey::plain("web"), endpoint);
    facts.node = node();
    let mut probe = check("probe", Probe::None);
    probe.owner = None;
    probe.instance = Some(key.clone());
    let mut register = Register::new(facts);
    register.checks = vec![NewCheck {
        facts: Arc::new(probe.clone()),
        status: Status::Passing,
        output: "yes".into(),
        reported: true,
    }];
    bench.apply(Command::Register(Box::new(register))).await;
    let row = bench.until("alias", |c| c.status == Status::Passing).await;
    assert_eq!(&*row.output, "All checks passing.");

    let report = |status, output: &str| Command::Report {
        check: probe.key.clone(),
        status,
        output: output.into(),
    };
    bench.apply(report(Status::Warning, "hm")).await;
    let row = bench.until("alias", |c| c.status == Status::Warning).await;
    assert_eq!(&*row.output, "Aliased check \"probe\" failing: hm");
    bench.apply(report(Status::Critical, "no")).await;
    let row = bench.until("alias", |c| c.status == Status::Critical).await;
    assert_eq!(&*row.output, "Aliased check \"probe\" failing: no");
    bench.apply(report(Status::Passing, "yes")).await;
    bench.until("alias", |c| c.status == Status::Passing).await;

    // What operators take out is out for its aliases as well, and no check had to say so.
    let order = |target: AdminTarget, status: Option<AdminStatus>| Command::SetAdmin {
        target,
        admin: status.map(|status| {
            Arc::new(Admin {
                status,
                reason: "disk".into(),
                by: Protocol::Consul,
            })
        }),
        declared: None,
    };
    let instance = || AdminTarget::Instance(key.clone());
    for (target, status, words) in [
        (
            instance(),
            AdminStatus::OutOfService,
            "Service Maintenance Mode",
        ),
        (instance(), AdminStatus::Down, "Service Status Override"),
        (
            AdminTarget::Node(node()),
            AdminStatus::OutOfService,
            "Node Maintenance Mode",
        ),
    ] {
        bench.apply(order(target.clone(), Some(status))).await;
        let row = bench.until("alias", |c| c.status == Status::Critical).await;
        assert_eq!(*row.output, format!("Aliased check \"{words}\" failing: "));
        bench.apply(order(target, None)).await;
        bench.until("alias", |c| c.status == Status::Passing).await;
    }
    bench
        .apply(Command::Deregister {
            target: Target::Instance(key),
            expect: None,
        })
        .await;
    bench.until("alias", |c| c.status == Status::Critical).await;
}
