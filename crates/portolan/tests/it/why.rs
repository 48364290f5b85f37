//! Ten scripted incidents, and that the first cause `why` names is the one that was staged.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::etcd::{self, Etcd};
use crate::harness::server::{self, Start};
use crate::harness::{Server, eventually, http, same};
use crate::need_binary;
use portolan_protocol_etcd::wire::etcdserverpb as pb;

/// `portolan why SERVICE[/INSTANCE] --output json`.
fn why(server: &Server, what: &str) -> Result<Value, String> {
    let output = Command::new(server::binary().unwrap())
        .args(["why", what, "--output", "json"])
        .env(
            "PORTOLAN_SERVER",
            format!("http://{}", server.address("native")),
        )
        .output()
        .map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(&said).map_err(|error| {
        format!(
            "why {what}: {error}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

/// The first cause is of that kind, at once or after the time it takes to be noticed.
fn first_cause(server: &Server, what: &str, kind: &str, limit: Duration) -> Value {
    eventually(limit, || {
        let answer = why(server, what)?;
        let first = answer["causes"][0].clone();
        same(&first["kind"], &json!(kind)).map_err(|why| format!("{why}; the answer: {answer}"))?;
        Ok(first)
    })
    .unwrap_or_else(|why| panic!("{why}"))
}

/// Nothing has to be noticed first; longer than any pause of a busy machine.
const AT_ONCE: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_secs(60);

fn consul(server: &Server, method: &str, path: &str, body: Option<Value>) {
    let body = body.map(|body| body.to_string());
    let reply = http::call(server.address("consul"), method, path, body.as_deref()).unwrap();
    assert_eq!(reply.status, 200, "{method} {path}: {}", reply.text());
}

fn register(server: &Server, name: &str, port: u16, ttl: Option<&str>) {
    let check = ttl.map(|ttl| json!({ "TTL": ttl, "Status": "passing" }));
    let body = json!({ "Name": name, "ID": format!("{name}-1"), "Address": "10.0.0.1", "Port": port, "Check": check });
    consul(server, "PUT", "/v1/agent/service/register", Some(body));
}

fn eureka_register(address: SocketAddr, app: &str, host: &str, port: u16, seconds: u32) {
    let body = json!({ "instance": {
        "instanceId": format!("{host}:{app}:{port}"), "hostName": host, "app": app, "ipAddr": host, "status": "UP", "vipAddress": app,
        "port": { "$": port, "@enabled": "true" }, "leaseInfo": { "renewalIntervalInSecs": 1, "durationInSecs": seconds },
        "dataCenterInfo": { "@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo", "name": "MyOwn" },
    } });
    let reply = http::call(
        address,
        "POST",
        &format!("/eureka/apps/{app}"),
        Some(&body.to_string()),
    )
    .unwrap();
    assert_eq!(reply.status, 204, "{}", reply.text());
}

#[test]
fn never_registered() {
    need_binary!();
    let server = Server::start();
    first_cause(&server, "ghost", "never_registered", AT_ONCE);
}

#[test]
fn a_missed_time_to_live() {
    need_binary!();
    let server = Server::start();
    register(&server, "late", 80, Some("2s"));
    let cause = first_cause(&server, "late", "ttl_missed", SOON);
    assert!(
        cause["text"]
            .as_str()
            .is_some_and(|text| text.contains("10.0.0.1:80")),
        "{cause}"
    );
}

#[test]
fn a_failing_check() {
    need_binary!();
    let server = Server::start();
    register(&server, "ill", 80, Some("300s"));
    consul(
        &server,
        "PUT",
        "/v1/agent/check/fail/service:ill-1?note=out+of+memory",
        None,
    );
    let cause = first_cause(&server, "ill", "check_failing", AT_ONCE);
    assert!(
        cause.to_string().contains("out of memory"),
        "the check's output is not told: {cause}"
    );
}

#[test]
fn maintenance() {
    need_binary!();
    let server = Server::start();
    register(&server, "shut", 80, None);
    consul(
        &server,
        "PUT",
        "/v1/agent/service/maintenance/shut-1?enable=true&reason=new+disk",
        None,
    );
    let cause = first_cause(&server, "shut", "maintenance", AT_ONCE);
    assert!(
        cause.to_string().contains("new disk"),
        "the reason is not told: {cause}"
    );
}

#[test]
fn deregistered_by_another_protocol() {
    need_binary!();
    let server = Server::start();
    eureka_register(server.address("eureka"), "taken", "10.0.0.1", 80, 90);
    etcd::runtime().block_on(async {
        let client = Etcd::connect(server.address("etcd")).await.unwrap();
        let (_, found) = client.prefix("kitex/registry-etcd/taken").await.unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        let delete = pb::DeleteRangeRequest {
            key: found[0].key.clone(),
            ..Default::default()
        };
        assert_eq!(
            client
                .kv()
                .delete_range(delete)
                .await
                .unwrap()
                .into_inner()
                .deleted,
            1
        );
    });
    let cause = first_cause(&server, "taken", "deregistered", AT_ONCE);
    assert_eq!(
        (
            &cause["detail"]["protocol"],
            &cause["detail"]["registered_through"]
        ),
        (&json!("etcd"), &json!("eureka")),
        "{cause}"
    );
}

#[test]
fn another_namespace() {
    need_binary!();
    let server = Server::start();
    let body =
        json!({ "service": "elsewhere", "namespace": "prod", "host": "10.0.0.1", "port": 80 })
            .to_string();
    let reply = http::call(
        server.address("native"),
        "POST",
        "/v1/register",
        Some(&body),
    )
    .unwrap();
    assert!(reply.status < 300, "{} {}", reply.status, reply.text());
    let cause = first_cause(&server, "elsewhere", "wrong_namespace", AT_ONCE);
    assert!(cause.to_string().contains("prod"), "{cause}");
}

#[test]
fn another_spelling() {
    need_binary!();
    let server = Server::start();
    register(&server, "order-service", 80, None);
    let cause = first_cause(&server, "Order-Service", "name_case", AT_ONCE);
    assert!(cause.to_string().contains("order-service"), "{cause}");
}

#[test]
fn an_expired_lease() {
    need_binary!();
    let server = Server::start();
    etcd::runtime().block_on(async {
        let client = Etcd::connect(server.address("etcd")).await.unwrap();
        let lease = client
            .lease()
            .lease_grant(pb::LeaseGrantRequest { ttl: 2, id: 0 })
            .await
            .unwrap()
            .into_inner()
            .id;
        let value = r#"{"network":"tcp","address":"10.0.0.1:80","weight":10,"tags":null}"#;
        let put = pb::PutRequest {
            key: "kitex/registry-etcd/brief/10.0.0.1:80".into(),
            value: value.into(),
            lease,
            ..Default::default()
        };
        client.kv().put(put).await.unwrap();
    });
    let cause = first_cause(&server, "brief", "lease_expired", SOON);
    assert_eq!(cause["detail"]["lease"], "etcd", "{cause}");
}

#[test]
fn the_guard() {
    need_binary!();
    let server = Start::default().with("--guard-least").with("10").go();
    for number in 1..=12 {
        eureka_register(
            server.address("eureka"),
            "crowd",
            &format!("10.0.7.{number}"),
            80,
            // All are there before the first of them is late.
            10,
        );
    }
    first_cause(&server, "crowd", "guard", SOON);
    let shown = crate::harness::eureka::app(server.address("eureka"), "crowd").unwrap();
    assert_eq!(shown.len(), 12, "the guard keeps them visible: {shown:?}");
}

#[test]
fn replaced_by_a_twin() {
    need_binary!();
    let server = Server::start();
    let eureka = server.address("eureka");
    eureka_register(eureka, "moved", "10.0.0.1", 80, 90);
    register(&server, "moved", 80, None);
    let reply = http::call(
        eureka,
        "DELETE",
        "/eureka/apps/moved/10.0.0.1:moved:80",
        None,
    )
    .unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let cause = first_cause(
        &server,
        "moved/10.0.0.1:moved:80",
        "replaced_by_twin",
        AT_ONCE,
    );
    assert!(
        cause["detail"]["twin"]
            .as_str()
            .is_some_and(|twin| twin.starts_with("consul:")),
        "{cause}"
    );
}

#[test]
fn nothing_is_wrong() {
    need_binary!();
    let server = Server::start();
    register(&server, "fine", 80, Some("300s"));
    let answer = why(&server, "fine").unwrap();
    assert_eq!(answer["causes"], json!([]), "{answer}");
    let protocols: Vec<&str> = answer["shown"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|shown| shown["protocol"].as_str())
        .collect();
    for protocol in ["consul", "dns", "etcd", "eureka", "nacos", "native"] {
        assert!(
            protocols.contains(&protocol),
            "{protocol} is not in {protocols:?}"
        );
    }
}
