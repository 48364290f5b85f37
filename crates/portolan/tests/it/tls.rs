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
