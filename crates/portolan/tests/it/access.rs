//! Access control of the binary: Consul's client and its tokens, and every other port without one.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::clients::Driver;
use crate::harness::etcd::{Etcd, runtime};
use crate::harness::server::{Server, Start};
use crate::harness::{eventually, http, tally};
use crate::need_binary;

const SOON: Duration = Duration::from_secs(20);

fn guarded() -> Server {
    Start::default().with("--access-control").go()
}

fn bootstrap(server: &Server) -> String {
    let answer = http::call(server.address("consul"), "PUT", "/v1/acl/bootstrap", None).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let secret = answer.json().unwrap()["SecretID"].clone();
    secret.as_str().unwrap().to_owned()
}

#[test]
fn the_go_api_manages_tokens_policies_and_roles() {
    need_binary!();
    let mut go = match Driver::start("go") {
        Ok(driver) => driver,
        Err(why) => return tally::skip_test("access: Consul's API of access control", &why, 1),
    };
    let server = guarded();
    let addr = server.address("consul").to_string();
    let found = go.call("consul.acl", json!({ "addr": addr })).unwrap();
    for (what, part) in [
        (
            "again",
            "Permission denied: ACL bootstrap no longer allowed (reset index: ",
        ),
        ("denied", "lacks permission 'service:write' on \"db\""),
        ("kv", "lacks permission 'key:write' on \"db/a\""),
        (
            "stranger",
            "Permission denied: anonymous token lacks permission 'key:read' on \"web/a\". The anonymous token is used implicitly when a request does not specify a token.",
        ),
        ("gone", "ACL not found"),
    ] {
        let text = found[what].as_str().unwrap();
        assert!(
            text.contains("403") && text.contains(part),
            "{what}: {text}"
        );
    }
    assert_eq!(found["services"], json!(["web"]));
    assert_eq!(found["filtered"], json!(true));
    assert_eq!(
        (&found["policies"], &found["tokens"]),
        (&json!(3), &json!(5))
    );
}

/// What an HTTP port says to a request, and whether it gives away what is there.
fn asked(server: &Server, protocol: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let answer = http::call_with(server.address(protocol), "GET", path, headers, None).unwrap();
    (answer.status, answer.text())
}

#[test]
fn no_port_shows_or_takes_anything_without_a_token() {
    need_binary!();
    let mut server = guarded();
    let root = bootstrap(&server);
    let token = [("X-Consul-Token", root.as_str())];
    let body = br#"{"Name":"web","Address":"10.9.8.7","Port":80}"#;
    let consul = server.address("consul");
    let put =
        |path: &str, body: &[u8]| http::call_with(consul, "PUT", path, &token, Some(body)).unwrap();
    assert_eq!(put("/v1/agent/service/register", body).status, 200);
    assert_eq!(put("/v1/kv/a", b"secret").status, 200);
    let rows = [
        ("eureka", "/eureka/apps"),
        ("eureka", "/eureka/apps/WEB"),
        ("nacos", "/nacos/v1/ns/instance/list?serviceName=web"),
        ("nacos", "/nacos/v1/ns/service/list?pageNo=1&pageSize=10"),
        ("native", "/v1/services"),
        ("native", "/v1/kv/consul-kv"),
        ("native", "/v1/kv/settings"),
        ("native", "/v1/snapshot"),
        ("native", "/v1/why/web"),
    ];
    for (protocol, path) in rows {
        let (status, text) = asked(&server, protocol, path, &[]);
        assert!(status >= 400, "{protocol} {path}: {status} {text}");
        for secret in ["10.9.8.7", "secret", &root] {
            assert!(!text.contains(secret), "{protocol} {path}: {text}");
        }
        let (status, _) = asked(&server, protocol, path, &[("X-Consul-Token", "none")]);
        assert_eq!(status, 401, "{protocol} {path}");
    }
    // With one, the same ports answer: as a header, as a password, as etcd has it.
    let (status, text) = asked(&server, "eureka", "/eureka/apps/WEB", &token);
    assert!(
        status == 200 && text.contains("10.9.8.7"),
        "{status} {text}"
    );
    let (status, text) = asked(&server, "native", "/v1/kv/settings", &token);
    assert!(status == 200 && !text.contains(&root), "{status} {text}");
    runtime().block_on(async {
        let etcd = Etcd::connect(server.address("etcd")).await.unwrap();
        let denied = etcd.put("a", b"1").await.unwrap_err();
        assert_eq!(denied.code(), tonic::Code::PermissionDenied, "{denied}");
        let denied = etcd.get("a").await.unwrap_err();
        assert_eq!(denied.code(), tonic::Code::PermissionDenied, "{denied}");
    });
    // Everything is there after a restart.
    server.kill();
    server.start_again();
    let (status, text) = asked(&server, "consul", "/v1/kv/a?raw", &token);
    assert_eq!((status, text.as_str()), (200, "secret"));
    let (status, _) = asked(&server, "consul", "/v1/kv/a", &[]);
    assert_eq!(status, 403);
}

#[test]
fn the_configuration_gives_the_first_token_and_that_of_whoever_shows_none() {
    need_binary!();
    let (root, other) = (
        "11111111-2222-4333-8444-555555555555",
        "21111111-2222-4333-8444-555555555555",
    );
    let server = Start::default()
        .with("--access-control")
        .with(format!("--access-initial-management={root}"))
        .with(format!("--access-default-token={other}"))
        .go();
    let consul = server.address("consul");
    let token = [("X-Consul-Token", root)];
    eventually(SOON, || {
        let answer = http::call_with(consul, "GET", "/v1/acl/token/self", &token, None)?;
        match answer.status {
            200 => Ok(()),
            _ => Err(answer.text()),
        }
    })
    .unwrap();
    let again = http::call(consul, "PUT", "/v1/acl/bootstrap", None).unwrap();
    assert_eq!(again.status, 403);
    let put = |path: &str, body: Value| {
        let body = body.to_string();
        let answer = http::call_with(consul, "PUT", path, &token, Some(body.as_bytes())).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    put(
        "/v1/acl/policy",
        json!({"Name": "look", "Rules": "key_prefix \"open/\" { policy = \"read\" }"}),
    );
    put(
        "/v1/acl/token",
        json!({"SecretID": other, "Policies": [{"Name": "look"}]}),
    );
    put("/v1/kv/open/a", json!(1));
    assert_eq!(
        http::call(consul, "GET", "/v1/kv/open/a", None)
            .unwrap()
            .status,
        200
    );
    assert_eq!(
        http::call(consul, "GET", "/v1/kv/a", None).unwrap().status,
        403
    );
    let said = server.said();
    assert!(
        !said.contains(root) && !said.contains(other),
        "secrets are in no log"
    );
}

/// A token that may do what `rules` say.
fn token_for(server: &Server, root: &str, name: &str, rules: &str) -> (String, String) {
    let token = [("X-Consul-Token", root)];
    let put = |path: &str, body: Value| {
        let body = body.to_string();
        let address = server.address("consul");
        let answer = http::call_with(address, "PUT", path, &token, Some(body.as_bytes())).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json().unwrap()
    };
    put("/v1/acl/policy", json!({"Name": name, "Rules": rules}));
    let made = put("/v1/acl/token", json!({"Policies": [{"Name": name}]}));
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    (text("SecretID"), text("AccessorID"))
}

#[test]
fn a_narrow_token_sees_its_part() {
    need_binary!();
    let server = guarded();
    let root = bootstrap(&server);
    for (name, address) in [("web", "10.9.8.7"), ("db", "10.9.8.6")] {
        let body = format!(r#"{{"Name":"{name}","Address":"{address}","Port":80}}"#);
        let token = [("X-Consul-Token", root.as_str())];
        let path = "/v1/agent/service/register";
        let answer = http::call_with(
            server.address("consul"),
            "PUT",
            path,
            &token,
            Some(body.as_bytes()),
        );
        assert_eq!(answer.unwrap().status, 200);
    }
    let rules = "service \"web\" { policy = \"write\" } record_prefix \"kubernetes:services/team/\" { policy = \"read\" }";
    let (narrow, _) = token_for(&server, &root, "narrow", rules);
    let (none, _) = token_for(&server, &root, "none", "key \"a\" { policy = \"read\" }");
    let by = |secret: &str, protocol: &str, path: &str| {
        asked(
            &server,
            protocol,
            path,
            &[("X-Consul-Token", secret), ("Accept", "application/json")],
        )
    };
    let lists = [
        ("native", "/v1/services"),
        ("native", "/v1/instances"),
        ("eureka", "/eureka/apps"),
        ("eureka", "/eureka/apps/delta"),
    ];
    for (protocol, path) in lists {
        let (status, text) = by(&narrow, protocol, path);
        assert_eq!(status, 200, "{protocol} {path}: {text}");
        let lower = text.to_lowercase();
        assert!(lower.contains("\"web\""), "{protocol} {path}: {text}");
        assert!(
            !lower.contains("\"db\"") && !text.contains("10.9.8.6"),
            "{protocol} {path}: {text}"
        );
        let (status, text) = by(&none, protocol, path);
        assert!(status >= 400, "{protocol} {path}: {status} {text}");
        let (status, text) = by(&root, protocol, path);
        let whole = status == 200 && text.to_lowercase().contains("\"db\"");
        assert!(whole, "{protocol} {path}: {status} {text}");
    }
    let (_, text) = by(&narrow, "eureka", "/eureka/apps");
    assert!(text.contains("\"apps__hashcode\":\"UP_1_\""), "{text}");
    // Kubernetes: its namespace, and one object by its name; no list that would have holes.
    let services = "/api/v1/namespaces/team/services";
    assert_eq!(by(&narrow, "kubernetes", services).0, 200);
    assert_eq!(by(&narrow, "kubernetes", "/api/v1/services").0, 403);
    let named = "/api/v1/namespaces/team/services?fieldSelector=metadata.name%3Dweb";
    assert_eq!(by(&narrow, "kubernetes", named).0, 200);
    assert_eq!(by(&none, "kubernetes", named).0, 403);
    // What it may register it can register.
    for (service, expected) in [("web", 200), ("db", 403)] {
        let body = json!({"service": service, "host": "10.9.8.5", "port": 80}).to_string();
        let token = [
            ("X-Consul-Token", narrow.as_str()),
            ("content-type", "application/json"),
        ];
        let native = server.address("native");
        let answer = http::call_with(
            native,
            "POST",
            "/v1/register",
            &token,
            Some(body.as_bytes()),
        );
        let answer = answer.unwrap();
        assert_eq!(answer.status, expected, "{}", answer.text());
    }
    // Where there is no path either, the default is said as it is.
    let answer = http::call(server.address("consul"), "GET", "/v1/nowhere", None).unwrap();
    let policy = answer.header("x-consul-default-acl-policy");
    assert_eq!((answer.status, policy), (404, Some("deny")));
}

#[test]
fn a_watch_ends_with_its_token() {
    need_binary!();
    let server = guarded();
    let root = bootstrap(&server);
    let rules = "service \"web\" { policy = \"read\" } record_prefix \"kubernetes:services/team/\" { policy = \"read\" }";
    let (secret, accessor) = token_for(&server, &root, "watcher", rules);
    let watching = [
        ("native", "/v1/watch?service=web", "\"denied\""),
        (
            "kubernetes",
            "/api/v1/namespaces/team/services?watch=1",
            "\"code\":403",
        ),
    ];
    let watching = watching.map(|(protocol, path, word)| {
        let mut stream = TcpStream::connect(server.address(protocol)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Consul-Token: {secret}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next().unwrap().unwrap();
        assert!(first.contains(" 200 "), "{path}: {first}");
        (lines, path, word)
    });
    let token = [("X-Consul-Token", root.as_str())];
    let path = format!("/v1/acl/token/{accessor}");
    let gone = http::call_with(server.address("consul"), "DELETE", &path, &token, None).unwrap();
    assert_eq!(gone.status, 200, "{}", gone.text());
    for (mut lines, path, word) in watching {
        // Reading ends with an error where nothing comes in time.
        let told = lines.any(|line| line.unwrap().contains(word));
        assert!(told, "{path} ended without {word}");
    }
}
