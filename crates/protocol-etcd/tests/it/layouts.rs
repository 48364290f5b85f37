//! Keys that are instances, and instances that are keys.

use portolan_catalog::{
    Cause, Command, Endpoint, Host, InstanceKey, Protocol, Register, Registration, ServiceKey,
};
use portolan_protocol_etcd::wire::etcdserverpb as pb;

use super::support::*;

const KITEX: &str = r#"{"network":"tcp","address":"10.0.0.1:8888","weight":10,"tags":{"k":"v"}}"#;

fn instances(server: &Server, service: &str) -> Vec<String> {
    let state = server.registry.snapshot();
    state
        .instances(&ServiceKey::plain(service))
        .map(|instance| format!("{}:{}", instance.host(), instance.endpoint.port()))
        .collect()
}

async fn register(server: &Server, service: &str, host: &str, port: u16) {
    let facts = Registration::new(
        InstanceKey::new(Protocol::Eureka, format!("{service}/{host}")),
        ServiceKey::plain(service),
        Endpoint::new(Host::new(host), port),
    );
    let settled = server
        .registry
        .propose(
            Cause::call(Protocol::Eureka, None),
            Command::Register(Box::new(Register::new(facts))),
        )
        .await
        .unwrap();
    settled.outcome.unwrap();
}

#[tokio::test]
async fn a_put_that_a_layout_knows_is_an_instance_in_the_same_revision() {
    let server = Server::with_layouts().await;
    let mut client = server.client().await;
    client
        .lease
        .lease_grant(pb::LeaseGrantRequest { id: 7, ttl: 60 })
        .await
        .unwrap();
    let key = "kitex/registry-etcd/pay/10.0.0.1:8888";
    let written = client
        .kv
        .put(pb::PutRequest {
            lease: 7,
            ..put(key, KITEX)
        })
        .reply()
        .await;
    assert_eq!(instances(&server, "pay"), ["10.0.0.1:8888"]);
    assert_eq!(
        server.registry.snapshot().revision().0 as i64,
        revision(&written.header)
    );
    let kept = pb::PutRequest {
        key: key.into(),
        ignore_value: true,
        ignore_lease: true,
        ..Default::default()
    };
    client.kv.put(kept).await.unwrap();
    assert_eq!(
        instances(&server, "pay").len(),
        1,
        "a put that keeps the value keeps the instance"
    );
    let read = client
        .kv
        .range(prefix("kitex/registry-etcd/pay"))
        .reply()
        .await;
    assert_eq!(
        pairs(&read.kvs),
        [(key.to_owned(), KITEX.to_owned())],
        "its own record as it was written, once"
    );
    client.put(key, "no longer JSON").await;
    assert!(instances(&server, "pay").is_empty());
    client
        .kv
        .put(pb::PutRequest {
            lease: 7,
            ..put(key, KITEX)
        })
        .await
        .unwrap();
    client
        .lease
        .lease_revoke(pb::LeaseRevokeRequest { id: 7 })
        .await
        .unwrap();
    assert!(
        instances(&server, "pay").is_empty(),
        "it goes with its lease"
    );
    // Forms without a root of their own want a lease.
    client.put("user.rpc/123", "10.0.0.2:80").await;
    assert!(instances(&server, "user.rpc").is_empty());
    client
        .lease
        .lease_grant(pb::LeaseGrantRequest { id: 123, ttl: 60 })
        .await
        .unwrap();
    client
        .kv
        .put(pb::PutRequest {
            lease: 123,
            ..put("user.rpc/123", "10.0.0.2:80")
        })
        .await
        .unwrap();
    assert_eq!(instances(&server, "user.rpc"), ["10.0.0.2:80"]);
}

#[tokio::test]
async fn an_instance_of_another_protocol_is_a_key_once_somebody_looks() {
    let server = Server::with_layouts().await;
    let mut client = server.client().await;
    register(&server, "web", "10.0.0.1", 80).await;
    let all = pb::RangeRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        ..Default::default()
    };
    assert_eq!(
        client.kv.range(all.clone()).reply().await.count,
        0,
        "a user of plain keys sees an empty store"
    );
    let mut watching = Watching::open(&mut client).await;
    watching.create(watch_of("kitex/registry-etcd/web")).await;
    let read = client
        .kv
        .range(prefix("kitex/registry-etcd/web"))
        .reply()
        .await;
    assert_eq!(
        key_names(&read.kvs),
        ["kitex/registry-etcd/web/10.0.0.1:80"]
    );
    assert_eq!((read.kvs[0].lease, read.kvs[0].version), (0, 1));
    assert_eq!(
        client.kv.range(all).reply().await.count,
        1,
        "the other layouts sleep on"
    );
    register(&server, "web", "10.0.0.2", 80).await;
    let events = told(&watching.next().await);
    assert_eq!(
        (events.len(), events[0].1.as_str()),
        (1, "kitex/registry-etcd/web/10.0.0.2:80")
    );
    let range = prefix("kitex/");
    let deleted = client
        .kv
        .delete_range(pb::DeleteRangeRequest {
            key: range.key,
            range_end: range.range_end,
            prev_kv: false,
        })
        .reply()
        .await;
    assert_eq!(
        (deleted.deleted, instances(&server, "web").len()),
        (0, 2),
        "a range passes over them"
    );
    let one_key = pb::DeleteRangeRequest {
        key: "kitex/registry-etcd/web/10.0.0.2:80".into(),
        ..Default::default()
    };
    assert_eq!(client.kv.delete_range(one_key).reply().await.deleted, 1);
    assert_eq!(
        instances(&server, "web"),
        ["10.0.0.1:80"],
        "by its name it deregisters"
    );
}

#[tokio::test]
async fn what_tutorials_write_is_an_instance_without_a_flag() {
    let server = Server::with_layouts().await;
    let mut client = server.client().await;
    for key in ["/services/web/10.0.0.1:80", "/services/web/db.example:5432"] {
        client.kv.put(put(key, "anything")).reply().await;
    }
    assert_eq!(
        instances(&server, "web"),
        ["10.0.0.1:80", "db.example:5432"]
    );
    for key in [
        "/services/web/10.0.0.2",
        "/services/web",
        "/services/web/10.0.0.2:80/x",
    ] {
        client.kv.put(put(key, "10.0.0.2:80")).reply().await;
    }
    assert_eq!(
        instances(&server, "web").len(),
        2,
        "other keys are only keys"
    );
    let gone = pb::DeleteRangeRequest {
        key: "/services/web/10.0.0.1:80".into(),
        ..Default::default()
    };
    client.kv.delete_range(gone).reply().await;
    assert_eq!(instances(&server, "web"), ["db.example:5432"]);
}

#[tokio::test]
async fn the_preset_sleeps_until_somebody_reads_one_of_its_services() {
    let server = Server::with_layouts().await;
    let mut client = server.client().await;
    register(&server, "web", "10.0.0.1", 80).await;
    for wide in ["/", "/services", "/services/", "/services/web"] {
        let read = client.kv.range(prefix(wide)).reply().await;
        assert_eq!(read.count, 0, "{wide} is not one service's");
    }
    let read = client.kv.range(prefix("/services/web/")).reply().await;
    assert_eq!(key_names(&read.kvs), ["/services/web/10.0.0.1:80"]);
    assert_eq!(read.kvs[0].value, b"10.0.0.1:80"[..]);
    let read = client.kv.range(prefix("/services/")).reply().await;
    assert_eq!(read.count, 1, "it is awake now");
}
