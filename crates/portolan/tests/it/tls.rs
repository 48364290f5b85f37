//! TLS on ports: Consul's and etcd's Go clients, with and without a certificate, before and after the files were changed.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::clients::Driver;
use crate::harness::server::{self, Server, Start, signal};
use crate::harness::{eventually, same, tally};
use crate::need_binary;

const SOON: Duration = Duration::from_secs(20);
/// The name in every certificate that `tls create` makes for a server.
const NAME: &str = "server.dc1.portolan";

/// An authority, and a certificate `n1` of it.
fn certificates(folder: &Path) {
    let made = Command::new(server::binary().unwrap())
        .args(["tls", "create", "n1", "--dir"])
        .arg(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

fn start(folder: &Path, further: &[&str]) -> Server {
    let file = |name: &str| folder.join(name).display().to_string();
    let mut start = Start::default()
        .with(format!("--allowed-host={NAME}"))
        .with("--listen=consul+tls=127.0.0.1:0")
        .with("--listen=etcd=127.0.0.1:0,tls")
        .with(format!("--tls-cert={}", file("n1.pem")))
        .with(format!("--tls-key={}", file("n1-key.pem")));
    for argument in further {
        start = start.with(*argument);
    }
    start.go()
}

/// What a client that trusts the authority of `folder` reads, and shows the certificate of it if it is to.
fn read(
    go: &mut Driver,
    server: &Server,
    op: &str,
    folder: &Path,
    shows: bool,
) -> Result<Value, String> {
    let file = |name: &str| folder.join(name).display().to_string();
    let port = match op {
        "consul.tls" => "consul+tls",
        _ => "etcd",
    };
    let (cert, key) = match shows {
        true => (file("n1.pem"), file("n1-key.pem")),
        false => (String::new(), String::new()),
    };
    let addr = server.address(port).to_string();
    go.call(
        op,
        json!({"addr": addr, "CA": file("cluster-ca.pem"), "Cert": cert, "Key": key, "Server": NAME}),
    )
}

#[test]
fn go_clients_speak_tls_and_the_files_are_read_again() {
    need_binary!();
    let mut go = match Driver::start("go") {
        Ok(driver) => driver,
        Err(why) => return tally::skip_test("tls: Go clients", &why, 1),
    };
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    certificates(first.path());
    certificates(second.path());
    let server = start(first.path(), &[]);
    for op in ["consul.tls", "etcd.tls"] {
        let answer = read(&mut go, &server, op, first.path(), false);
        assert_eq!(answer, Ok(json!("secure")), "{op}");
    }
    let stranger = read(&mut go, &server, "consul.tls", second.path(), false).unwrap_err();
    assert!(stranger.contains("certificate"), "{stranger}");
    for name in ["n1.pem", "n1-key.pem"] {
        std::fs::copy(second.path().join(name), first.path().join(name)).unwrap();
    }
    signal(server.pid(), Signal::HUP);
    eventually(SOON, || {
        let answer = read(&mut go, &server, "consul.tls", second.path(), false)?;
        same(&answer, &json!("secure"))
    })
    .unwrap();
}

#[test]
fn clients_without_a_certificate_stay_outside_where_one_is_asked_for() {
    need_binary!();
    let mut go = match Driver::start("go") {
        Ok(driver) => driver,
        Err(why) => return tally::skip_test("tls: Go clients with certificates", &why, 1),
    };
    let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    certificates(own.path());
    certificates(other.path());
    let authority = format!(
        "--tls-client-ca={}",
        own.path().join("cluster-ca.pem").display()
    );
    let server = start(own.path(), &[&authority]);
    for op in ["consul.tls", "etcd.tls"] {
        assert_eq!(
            read(&mut go, &server, op, own.path(), true),
            Ok(json!("secure")),
            "{op}"
        );
        let outside = read(&mut go, &server, op, own.path(), false);
        assert!(outside.is_err(), "{op}: {outside:?}");
    }
}

/// Exit code and everything that a command printed.
fn asked(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.code(), said)
}

#[test]
fn every_protocol_has_a_tls_port_beside_its_plain_one_and_commands_speak_it() {
    need_binary!();
    const BESIDE: [&str; 8] = [
        "consul+tls",
        "etcd+tls",
        "eureka+tls",
        "kubernetes+tls",
        "nacos+tls",
        "nacos-grpc+tls",
        "native+tls",
        "zookeeper+tls",
    ];
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let mut start = Start::default()
        .with(format!("--allowed-host={NAME}"))
        .with(format!("--tls-cert={}", file("n1.pem")))
        .with(format!("--tls-key={}", file("n1-key.pem")))
        .with(format!("--tls-client-ca={}", file("cluster-ca.pem")));
    for name in BESIDE.iter().filter(|name| !name.starts_with("nacos-")) {
        start = start.with(format!("--listen={name}=127.0.0.1:0"));
    }
    let server = start.go();
    let listening = server.listening();
    for name in BESIDE {
        assert!(
            listening.contains(&name.to_owned()),
            "{name}: {listening:?}"
        );
    }
    let command = |name: &str| {
        let mut command = Command::new(server::binary().unwrap());
        let address = format!("https://{}", server.address(name));
        command.args(["members", "--server", &address]);
        command.args(["--tls-server-name", NAME]);
        command
    };
    let trusting = |name: &str| {
        let mut command = command(name);
        command.env("PORTOLAN_CA_CERT", file("cluster-ca.pem"));
        command.args(["--client-cert", &file("n1.pem")]);
        command.args(["--client-key", &file("n1-key.pem")]);
        command
    };
    let (code, said) = asked(&mut trusting("native+tls"));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("leader"), "{said}");
    let (code, said) = asked(command("native+tls").args(["--ca-cert", &file("cluster-ca.pem")]));
    assert_eq!(code, Some(3), "without a certificate: {said}");
    let (code, said) = asked(&mut command("native+tls"));
    assert_eq!(
        code,
        Some(3).filter(|_| said.contains("certificate")).or(Some(2)),
        "{said}"
    );
    // Another protocol behind TLS is one that answers, and not what was asked for.
    for name in [
        "consul+tls",
        "etcd+tls",
        "eureka+tls",
        "kubernetes+tls",
        "nacos+tls",
    ] {
        let (code, said) = asked(&mut trusting(name));
        assert!(matches!(code, Some(1 | 4)), "{name}: {code:?} {said}");
        assert!(!said.contains("cannot reach"), "{name}: {said}");
    }
    // Consul's commands, by Consul's variables.
    let consul = |verify: &str| {
        let mut command = Command::new(server::binary().unwrap());
        command
            .args(["as", "consul", "members"])
            .env("CONSUL_HTTP_ADDR", server.address("consul+tls").to_string())
            .env("CONSUL_HTTP_SSL", "true")
            .env("CONSUL_HTTP_SSL_VERIFY", verify)
            .env("CONSUL_CLIENT_CERT", file("n1.pem"))
            .env("CONSUL_CLIENT_KEY", file("n1-key.pem"));
        command
    };
    let (code, said) = asked(
        consul("true")
            .env("CONSUL_CACERT", file("cluster-ca.pem"))
            .env("CONSUL_TLS_SERVER_NAME", NAME),
    );
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("alive"), "{said}");
    let (code, said) = asked(consul("true").env("CONSUL_CACERT", file("cluster-ca.pem")));
    assert_eq!(code, Some(1), "another name: {said}");
    let (code, said) = asked(&mut consul("false"));
    assert_eq!(code, Some(0), "{said}");
    // A protocol with two ports counts once.
    let metrics = crate::harness::http::call(server.address("native"), "GET", "/metrics", None);
    let metrics = metrics.unwrap().text();
    let mut families: Vec<&str> = metrics
        .lines()
        .filter(|line| line.starts_with("# TYPE "))
        .collect();
    let all = families.len();
    families.sort_unstable();
    families.dedup();
    assert!(
        all > 100 && families.len() == all,
        "{all} {}",
        families.len()
    );
}

/// kazoo over the port for TLS beside the plain one: with a certificate of its own, and a stranger's server.
#[test]
fn kazoo_speaks_tls() {
    need_binary!();
    let mut python = match Driver::start("python") {
        Ok(driver) => driver,
        Err(why) => return tally::skip_test("tls: kazoo", &why, 1),
    };
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let authority = format!("--tls-client-ca={}", file("cluster-ca.pem"));
    let further = ["--listen=zookeeper+tls=127.0.0.1:0", authority.as_str()];
    let server = start(folder.path(), &further);
    let addr = server.address("zookeeper+tls").to_string();
    let mut shown = json!({ "addr": addr, "path": "/secure", "ca": file("cluster-ca.pem"), "cert": file("n1.pem"), "key": file("n1-key.pem") });
    python.call("kazoo.create", shown.clone()).unwrap();
    // Another client, on the plain port, sees it.
    shown = json!({ "addr": server.address("zookeeper").to_string(), "path": "/secure" });
    assert_eq!(python.call("kazoo.exists", shown), Ok(json!(true)));
    // Its certificate's subject is who it is, and nobody without it comes near.
    let guarded = json!({ "addr": addr, "path": "/guarded" });
    let list = python.call("kazoo.guarded", guarded).unwrap();
    let id = list[0].as_str().unwrap_or_default();
    assert!(id.starts_with("x509:") && id.contains("CN="), "{list}");
    let plain = json!({ "addr": server.address("zookeeper").to_string(), "path": "/guarded" });
    let refused = python.call("kazoo.children", plain).unwrap_err();
    assert!(refused.contains("NoAuth"), "{refused}");
}
