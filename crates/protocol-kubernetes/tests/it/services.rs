//! Services: what is filled in, what is refused, addresses and node ports.

use portolan_protocol_kubernetes::Settings;
use serde_json::{Value, json};

use crate::client::{SERVICES, Server, service};

#[tokio::test]
async fn what_is_not_said_is_filled_in() {
    let server = Server::start().await;
    let made = server.post(SERVICES, service("web")).await.ok(201);
    let spec = &made["spec"];
    let ip = spec["clusterIP"].as_str().unwrap();
    assert!(ip.starts_with("10.96."), "{ip}");
    assert_eq!(spec["clusterIPs"], json!([ip]));
    for (field, value) in [
        ("type", json!("ClusterIP")),
        ("sessionAffinity", json!("None")),
        ("internalTrafficPolicy", json!("Cluster")),
        ("ipFamilies", json!(["IPv4"])),
        ("ipFamilyPolicy", json!("SingleStack")),
    ] {
        assert_eq!(spec[field], value, "{field}");
    }
    assert_eq!(
        spec["ports"][0],
        json!({"port": 80, "targetPort": 8080, "protocol": "TCP"})
    );
    assert_eq!(made["status"], json!({"loadBalancer": {}}));
    let own = server
        .get(&format!("/apis/networking.k8s.io/v1/ipaddresses/{ip}"))
        .await
        .ok(200);
    assert_eq!(own["spec"]["parentRef"]["name"], "web");
    // A replacement that leaves the address out keeps it.
    let put = server
        .put(&format!("{SERVICES}/web"), service("web"))
        .await
        .ok(200);
    assert_eq!(put["spec"]["clusterIP"], ip);
    let gone = server.delete(&format!("{SERVICES}/web")).await.ok(200);
    assert_eq!(gone["kind"], "Service");
    assert_eq!(
        server
            .get(&format!("/apis/networking.k8s.io/v1/ipaddresses/{ip}"))
            .await
            .status,
        404
    );
}

async fn refused(server: &Server, spec: Value) -> String {
    let answer = server
        .post(SERVICES, json!({"metadata": {"name": "x"}, "spec": spec}))
        .await;
    assert_eq!(answer.refused(), (422, "Invalid".into()), "{spec}");
    answer.message()
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let server = Server::start().await;
    server.post(SERVICES, json!({"metadata": {"name": "taken"}, "spec": {"clusterIP": "10.96.0.77", "ports": [{"port": 1}]}})).await.ok(201);
    let port = json!([{"port": 80}]);
    let rows = [
        (json!({}), "spec.ports: Required value"),
        (
            json!({"ports": [{"port": 0}]}),
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (
            json!({"ports": [{"port": 80}, {"port": 81}]}),
            "spec.ports[0].name: Required value",
        ),
        (
            json!({"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]}),
            "spec.ports[1].name: Duplicate value: \"a\"",
        ),
        (
            json!({"ports": [{"port": 80, "protocol": "ICMP"}]}),
            "spec.ports[0].protocol: Unsupported value: \"ICMP\"",
        ),
        (
            json!({"ports": [{"port": 80, "nodePort": 30001}]}),
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (
            json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}),
            "The range of valid ports is 30000-32767",
        ),
        (
            json!({"type": "Other", "ports": port}),
            "spec.type: Unsupported value: \"Other\"",
        ),
        (
            json!({"type": "ExternalName"}),
            "spec.externalName: Required value",
        ),
        (
            json!({"type": "NodePort", "clusterIP": "None", "ports": port}),
            "may not be set to 'None' for NodePort services",
        ),
        (
            json!({"clusterIP": "10.97.0.1", "ports": port}),
            "the range of valid IPs is 10.96.0.0/16",
        ),
        (
            json!({"clusterIP": "10.96.0.77", "ports": port}),
            "failed to allocate IP 10.96.0.77: provided IP is already allocated",
        ),
        (
            json!({"ipFamilyPolicy": "RequireDualStack", "ports": port}),
            "this cluster is not configured for dual-stack services",
        ),
        (
            json!({"sessionAffinity": "Sometimes", "ports": port}),
            "spec.sessionAffinity: Unsupported value",
        ),
    ];
    for (spec, word) in rows {
        let message = refused(&server, spec).await;
        assert!(message.contains(word), "{word}: {message}");
    }
    let moved = json!({"spec": {"clusterIP": "10.96.0.78", "clusterIPs": ["10.96.0.78"]}});
    let answer = server
        .patch(&format!("{SERVICES}/taken"), "merge-patch", moved)
        .await;
    assert!(
        answer.message().contains("may not change once set"),
        "{}",
        answer.message()
    );
}

#[tokio::test]
async fn types_change_and_give_back_what_they_had() {
    let server = Server::start().await;
    server.post(SERVICES, service("web")).await.ok(201);
    let one = format!("{SERVICES}/web");
    let patch = async |spec: Value| {
        server
            .patch(&one, "merge-patch", json!({"spec": spec}))
            .await
            .ok(200)
    };
    let open = patch(json!({"type": "NodePort"})).await;
    let node_port = open["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    assert!((30_000..=32_767).contains(&node_port));
    assert_eq!(open["spec"]["externalTrafficPolicy"], "Cluster");
    let taken = json!({"metadata": {"name": "b"}, "spec": {"type": "NodePort", "ports": [{"port": 1, "nodePort": node_port}]}});
    let answer = server.post(SERVICES, taken.clone()).await;
    assert!(
        answer
            .message()
            .contains("provided port is already allocated"),
        "{}",
        answer.message()
    );
    let closed = patch(json!({"type": "ClusterIP"})).await;
    assert!(closed["spec"]["ports"][0]["nodePort"].is_null());
    server.post(SERVICES, taken).await.ok(201);
    let ip = closed["spec"]["clusterIP"].as_str().unwrap().to_owned();
    let named = patch(json!({"type": "ExternalName", "externalName": "db.example.com"})).await;
    assert!(named["spec"]["clusterIP"].is_null());
    assert_eq!(
        server
            .get(&format!("/apis/networking.k8s.io/v1/ipaddresses/{ip}"))
            .await
            .status,
        404
    );
    let back = patch(json!({"type": "ClusterIP", "externalName": null})).await;
    assert!(back["spec"]["clusterIP"].is_string());
    let headless = server.post(SERVICES, json!({"metadata": {"name": "h"}, "spec": {"clusterIP": "None", "selector": {"a": "b"}}})).await.ok(201);
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
    let balanced = server.post(SERVICES, json!({"metadata": {"name": "lb"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}})).await.ok(201);
    assert_eq!(balanced["spec"]["allocateLoadBalancerNodePorts"], true);
    assert!(balanced["spec"]["ports"][0]["nodePort"].is_u64());
}

#[tokio::test]
async fn addresses_go_to_one_service_each_and_run_out() {
    let settings = Settings {
        service_range: "10.1.0.0/29".parse().unwrap(),
        ..Settings::default()
    };
    let server = Server::with(settings).await;
    let made: Vec<_> = (0..5)
        .map(|n| {
            let mut one = service(&format!("s{n}"));
            one["spec"]["selector"] = Value::Null;
            server.post(SERVICES, one)
        })
        .collect();
    let mut all = Vec::new();
    for answer in futures_util::future::join_all(made).await {
        all.push(
            answer.ok(201)["spec"]["clusterIP"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    all.sort();
    assert_eq!(
        all,
        ["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6"]
    );
    let full = server.post(SERVICES, service("last")).await;
    assert!(
        full.message().contains("range 10.1.0.0/29 is full"),
        "{}",
        full.message()
    );
}
