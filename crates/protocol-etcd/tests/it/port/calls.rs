//! Calls as such: every method asked for a decision, and messages that are none.

use std::{sync::Arc, time::Duration};

use portolan_catalog::{State, Timestamp};
use portolan_protocol_etcd::{
    Settings, methods,
    wire::{DESCRIPTORS, etcdserverpb as pb},
};
use portolan_registry::{Backend, Limits};
use prost::Message;
use tonic::Code;

use super::{
    super::support::*,
    plain::get,
    raw::{Sent, framed, post},
};

#[tokio::test]
async fn every_method_of_the_protocol_is_in_the_table_and_decides_before_it_answers() {
    let server = Server::start().await;
    let set = prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let mut defined = Vec::new();
    for file in &set.file {
        for service in &file.service {
            defined.extend(
                service.method.iter().map(|method| {
                    format!("/{}.{}/{}", file.package(), service.name(), method.name())
                }),
            );
        }
    }
    let mut served: Vec<&str> = methods().collect();
    defined.sort();
    served.sort_unstable();
    assert_eq!(served, defined);
    for path in defined
        .iter()
        .map(String::as_str)
        .chain(["/etcdserverpb.KV/Nothing", "/v3barrierpb.Barrier/Wait"])
    {
        // What goes on for ever, or waits for others.
        let streams = ["/Watch", "KeepAlive", "/Observe", "Lock/Lock"]
            .iter()
            .any(|end| path.ends_with(end));
        // An empty message, one that is no message, and one with a key and nothing else.
        for message in [&b""[..], b"\xff\xff\xff", b"\x0a\x01k"] {
            if streams && message != b"\xff\xff\xff" {
                continue;
            }
            let answer = post(&server, path, &[], Sent::all(framed(0, message))).await;
            assert_eq!(answer.http, 200, "{path}");
        }
        assert_eq!(undecided(&server), 0, "{path}");
    }
    for path in [
        "/etcdserverpb.KV/Nothing",
        "/v3barrierpb.Barrier/Wait",
        "/etcdserverpb.Maintenance/Downgrade",
    ] {
        let answer = post(&server, path, &[], Sent::all(framed(0, b""))).await;
        assert_eq!((answer.http, answer.status.as_str()), (200, "12"), "{path}");
    }
    for path in [
        "/version", "/health", "/livez", "/readyz", "/metrics", "/nothing",
    ] {
        get(&server, "GET", path).await;
        get(&server, "DELETE", path).await;
        assert_eq!(undecided(&server), 0, "{path}");
    }
}

/// etcd's CVE-2026-33413: methods that nobody had thought of when users were asked for.
#[tokio::test]
async fn every_method_asks_for_a_token_once_authentication_is_on() {
    let settings = Settings {
        password_cost: 4,
        ..Settings::default()
    };
    let server = Server::with(settings, Vec::new()).await;
    let mut client = server.client().await;
    let root = pb::AuthUserAddRequest {
        name: "root".into(),
        ..Default::default()
    };
    client.auth.user_add(root).reply().await;
    let role = pb::AuthUserGrantRoleRequest {
        user: "root".into(),
        role: "root".into(),
    };
    client.auth.user_grant_role(role).reply().await;
    client
        .auth
        .auth_enable(pb::AuthEnableRequest {})
        .reply()
        .await;
    for path in methods() {
        let (service, method) = path[1..].split_once('/').unwrap();
        // Keys are looked at first, and streams answer inside; both have tests of their own.
        let elsewhere = ["etcdserverpb.KV", "etcdserverpb.Watch", "v3lockpb.Lock"];
        let stream = ["LeaseKeepAlive", "Observe", "Watch"].contains(&method);
        if elsewhere.contains(&service) || stream {
            continue;
        }
        let answer = post(&server, path, &[("token", "x")], Sent::all(framed(0, b""))).await;
        let expected = match (service, method) {
            ("grpc.health.v1.Health", _) => "0",
            (_, "Authenticate") => "3",
            (_, "Downgrade") => "12",
            ("v3electionpb.Election", _) => "2",
            _ => "16",
        };
        assert_eq!(answer.status, expected, "{path}");
        assert_eq!(undecided(&server), 0, "{path}");
    }
}

#[tokio::test]
async fn what_is_no_message_is_refused_and_the_connection_lives() {
    let server = Server::start().await;
    let rows: [(&str, &[u8], &str); 6] = [
        ("nothing", b"", "13"),
        ("half a prefix", b"\0\0\0", "13"),
        ("less than announced", b"\0\0\0\0\x09abc", "13"),
        ("compressed", b"\x01\0\0\0\x01a", "13"),
        ("more than is allowed", b"\0\xff\xff\xff\xffabc", "8"),
        ("not of the type", b"\0\0\0\0\x02\x0a\x7f", "13"),
    ];
    for (name, body, code) in rows {
        let answer = post(&server, "/etcdserverpb.KV/Put", &[], Sent::all(body)).await;
        assert_eq!(
            (answer.status.as_str(), answer.at_once),
            (code, true),
            "{name}"
        );
    }
    let mut client = server.client().await;
    client.put("k", "v").await;
}

/// Nobody stands behind the backend: what needs a decision never gets one.
#[tokio::test]
async fn what_nobody_decides_times_out() {
    let limits = Limits {
        decision: Duration::from_millis(200),
        ..Limits::default()
    };
    let (registry, backend) = Backend::new(State::default(), Arc::new(|| Timestamp(0)), limits);
    // A single voter would need nobody to confirm a read.
    backend.publisher().set_voters(3);
    let server = Server::over(registry, Settings::default());
    let mut client = server.client().await;
    let late = (
        Code::Unavailable,
        "etcdserver: request timed out".to_owned(),
    );
    assert_eq!(failure(client.kv.put(put("k", "v")).await), late);
    assert_eq!(failure(client.kv.range(one("k")).await), late);
    let here = pb::RangeRequest {
        serializable: true,
        ..one("k")
    };
    assert_eq!(client.kv.range(here).reply().await.count, 0);
}
