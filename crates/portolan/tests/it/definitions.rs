//! The agent's local configuration: its node's id and metadata, definition files and their reload, programs as checks.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::server::{Start, signal};
use crate::harness::{Server, eventually, http, same};
use crate::need_binary;

const PATIENCE: Duration = Duration::from_secs(20);

fn agent(server: &Server, path: &str) -> Result<Value, String> {
    http::get_json(server.address("consul"), &format!("/v1/agent/{path}"))
}

fn keys(value: &Value) -> Vec<String> {
    let map = value.as_object().expect("an object");
    map.keys().cloned().collect()
}

#[test]
fn definition_files_are_read_at_the_start_and_again_when_asked() {
    need_binary!();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    file(
        "web.json",
        r#"{"service": {"name": "web", "port": 80, "check": {"args": ["sh", "-c", "echo fine"], "interval": "1s"}}}"#,
    );
    file("notes.txt", "not read");
    let id = "6ba7b810-9dad-41d1-80b4-00c04fd430c8";
    let server = Start::default()
        .with(format!("--definitions-dir={}", folder.path().display()))
        .with("--enable-local-script-checks")
        .with("--node-meta=rack=r1")
        .with(format!("--node-id={id}"))
        .with("--log-level=warn")
        .go();
    let me = agent(&server, "self").unwrap();
    assert_eq!(me["Config"]["NodeID"], id);
    assert_eq!(
        (&me["Meta"]["rack"], &me["DebugConfig"]["NodeMeta"]["rack"]),
        (&json!("r1"), &json!("r1"))
    );
    assert_eq!(me["DebugConfig"]["Logging"]["LogLevel"], "WARN");
    assert_eq!(me["DebugConfig"]["EnableLocalScriptChecks"], true);
    let found = http::get_json(
        server.address("consul"),
        "/v1/catalog/nodes?node-meta=rack:r1",
    )
    .unwrap();
    assert_eq!(found[0]["ID"], id);
    eventually(PATIENCE, || {
        let check = &agent(&server, "checks")?["service:web"];
        same(
            &(check["Status"].clone(), check["Output"].clone()),
            &(json!("passing"), json!("fine\n")),
        )
    })
    .unwrap();
    let call = |method: &str, path: &str, body: Option<&str>| {
        http::call(server.address("consul"), method, path, body).unwrap()
    };
    assert_eq!(
        call(
            "PUT",
            "/v1/agent/service/register",
            Some(r#"{"Name": "called"}"#)
        )
        .status,
        200
    );
    // A mistake leaves everything as it was, and says where it is.
    file("db.json", r#"{"service": {"port": 1}}"#);
    let refused = call("PUT", "/v1/agent/reload", None);
    assert_eq!(refused.status, 500);
    assert!(
        refused.text().contains("db.json: Missing service name"),
        "{}",
        refused.text()
    );
    assert_eq!(
        keys(&agent(&server, "services").unwrap()),
        ["called", "web"]
    );
    // By a call: another program, another service.
    file(
        "db.json",
        r#"{"service": {"name": "db", "port": 5432, "check": {"args": ["sh", "-c", "echo low; exit 1"], "interval": "1s"}}}"#,
    );
    assert_eq!(call("PUT", "/v1/agent/reload", None).status, 200);
    assert_eq!(
        keys(&agent(&server, "services").unwrap()),
        ["called", "db", "web"]
    );
    eventually(PATIENCE, || {
        same(
            &agent(&server, "checks")?["service:db"]["Status"],
            &json!("warning"),
        )
    })
    .unwrap();
    // By the signal: a file is gone.
    std::fs::remove_file(folder.path().join("web.json")).unwrap();
    signal(server.pid(), rustix::process::Signal::HUP);
    eventually(PATIENCE, || {
        same(
            &keys(&agent(&server, "services")?),
            &vec!["called".to_owned(), "db".to_owned()],
        )
    })
    .unwrap();
}

/// What an HTTP check sends is what was registered: method, headers and body.
#[test]
fn an_http_check_sends_what_it_was_given() {
    need_binary!();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/health", listener.local_addr().unwrap());
    let server = Server::start();
    let check = json!({"Name": "rich", "HTTP": url, "Method": "PUT", "Body": "{\"deep\":true}", "Interval": "1s", "OutputMaxSize": 4,
        "Header": {"X-Token": ["a", "b"], "Content-Type": ["application/json"]}});
    let put = http::call(
        server.address("consul"),
        "PUT",
        "/v1/agent/check/register",
        Some(&check.to_string()),
    )
    .unwrap();
    assert_eq!(put.status, 200, "{}", put.text());
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut sent, mut buffer) = (String::new(), [0; 4096]);
    while !sent.ends_with("{\"deep\":true}") {
        let length = stream.read(&mut buffer).unwrap();
        assert!(length > 0, "{sent}");
        sent.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789")
        .unwrap();
    let sent = sent.to_ascii_lowercase();
    for line in [
        "put /health http/1.1",
        "x-token: a",
        "x-token: b",
        "content-type: application/json",
        "content-length: 13",
    ] {
        assert!(
            sent.lines().any(|found| found.trim_end() == line),
            "{line:?} in {sent}"
        );
    }
    eventually(PATIENCE, || {
        let output = &agent(&server, "checks")?["rich"]["Output"];
        same(
            output,
            &json!(format!("HTTP PUT {url}: 200 OK Output: 6789")),
        )
    })
    .unwrap();
}
