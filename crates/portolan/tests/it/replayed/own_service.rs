//! A server's own service, its node and what is derived from them: no port deregisters them.

use std::sync::Arc;

use portolan_catalog::{
    Cause, Command, Endpoint, Host, InstanceKey, KeyRange, Keyspace, NodeFacts, NodeName, Protocol,
    Register, Registration, ServiceKey, Why,
};
use portolan_protocol_etcd::wire::etcdserverpb as pb;
use portolan_registry::Registry;
use prost::Message;
use serde_json::json;

use crate::corpus::targets::replay::{Call, Node};

fn call(method: &str, target: &str, body: impl Into<Vec<u8>>) -> Call {
    Call {
        method: method.into(),
        target: target.into(),
        kind: "application/json",
        body: body.into(),
    }
}

/// Another server's registration, made by itself.
async fn second_server(registry: &Registry) {
    let host = Host::new("10.9.9.9");
    let facts = NodeFacts::new("n2", host.clone());
    let mut service = Registration::new(
        InstanceKey::new(Protocol::Portolan, "n2/consul"),
        ServiceKey::plain("consul"),
        Endpoint::new(host, 8300),
    );
    (service.node, service.inherits_host) = (facts.name.clone(), true);
    let put = Command::PutNode {
        node: Arc::new(facts),
        terms: None,
        expect: None,
    };
    for command in [put, Command::Register(Box::new(Register::new(service)))] {
        let cause = Cause::own(Why::Start);
        let settled = registry.propose(cause, command).await.unwrap();
        settled.outcome.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_port_deregisters_a_server() {
    let node = Node::start(u64::MAX).await;
    // Nobody else joins the servers' own service.
    let twin = json!({ "service": "consul", "id": "twin", "host": "10.9.9.9", "port": 8300 });
    let twin = call("POST", "/v1/register", twin.to_string());
    assert!(!node.send(Protocol::Native, &twin).await.unwrap().accepted);
    second_server(node.registry()).await;
    let state = node.registry().snapshot();
    let derived: Vec<_> = state
        .range(Keyspace::Etcd, &KeyRange::prefix(b""))
        .filter(|(_, record)| record.derived_from.is_some())
        .map(|(key, _)| key.to_vec())
        .collect();
    // Else a client that deletes what a layout shows would deregister a server.
    assert!(derived.is_empty(), "layouts show a server: {derived:?}");

    let put = |target: &str, body: serde_json::Value| call("PUT", target, body.to_string());
    let consul = [
        put("/v1/agent/service/deregister/consul", json!(null)),
        put("/v1/catalog/deregister", json!({ "Node": "n2" })),
        put("/v1/catalog/deregister", json!({ "Node": "n1" })),
        put(
            "/v1/catalog/deregister",
            json!({ "Node": "N1", "ServiceID": "consul" }),
        ),
        put(
            "/v1/txn",
            json!([{ "Node": { "Verb": "delete", "Node": { "Node": "n1" } } }]),
        ),
        put(
            "/v1/txn",
            json!([{ "Service": { "Verb": "delete", "Node": "n1", "Service": { "ID": "consul", "Service": "consul" } } }]),
        ),
    ];
    let native = [
        call(
            "POST",
            "/v1/deregister",
            json!({ "instance": "portolan:n1/consul" }).to_string(),
        ),
        call(
            "POST",
            "/v1/deregister",
            json!({ "instance": "127.0.0.1:8300" }).to_string(),
        ),
    ];
    // Eureka shows no server.
    let eureka = [call(
        "DELETE",
        "/eureka/apps/CONSUL/10.9.9.9:consul:8300",
        "",
    )];
    for (protocol, calls) in [
        (Protocol::Consul, &consul[..]),
        (Protocol::Native, &native[..]),
        (Protocol::Eureka, &eureka[..]),
    ] {
        for call in calls {
            let answer = node.send(protocol, call).await.unwrap();
            assert!(!answer.accepted, "{protocol} {call:?}: {answer:?}");
            match protocol {
                Protocol::Native => {
                    assert_eq!(answer.status, 403, "{call:?}: {answer:?}");
                    assert!(answer.text.contains("cannot be deregistered"), "{answer:?}");
                }
                Protocol::Eureka => assert_eq!(answer.status, 404, "{call:?}: {answer:?}"),
                _ => {}
            }
        }
    }
    // Everything there is, at once.
    let all = pb::DeleteRangeRequest {
        key: b"\0".to_vec().into(),
        range_end: b"\0".to_vec().into(),
        ..Default::default()
    };
    let all = call("POST", "/etcdserverpb.KV/DeleteRange", all.encode_to_vec());
    assert!(node.send(Protocol::Etcd, &all).await.unwrap().accepted);

    let after = node.registry().snapshot();
    assert_eq!(after.revision(), state.revision());
    for name in ["n1", "n2"] {
        assert!(after.node(&NodeName::new(name)).is_some());
        let own = InstanceKey::new(Protocol::Portolan, format!("{name}/consul"));
        assert!(after.instance(&own).is_some());
    }
    assert_eq!(after.instances(&ServiceKey::plain("consul")).count(), 2);
    node.stop().await;
}
