//! Both ways: what is ready here is an instance for everybody, and what others registered is a Service here.

use portolan_catalog::{
    Command, Endpoint, Health, Host, InstanceKey, NodeName, Register, Registration, ServiceKey,
    Target,
};
use serde_json::json;

use crate::client::{SERVICES, Server, service};

fn register(name: &str, host: &str, port: u16) -> Command {
    let id = format!("{name}-{host}");
    let key = InstanceKey::consul(&NodeName::new("n1"), &id);
    let mut facts = Registration::new(
        key,
        ServiceKey::plain(name),
        Endpoint::new(Host::new(host), port),
    );
    facts.node = NodeName::new("n1");
    Command::Register(Box::new(Register::new(facts)))
}

#[tokio::test]
async fn a_ready_pod_is_an_instance_and_its_service_has_an_address() {
    let server = Server::start().await;
    let made = server.post(SERVICES, service("web")).await.ok(201);
    server.run_pod("a", "web", "10.0.0.1", true).await;
    server.run_pod("b", "web", "10.0.0.2", false).await;
    let key = ServiceKey::plain("web");
    let seen = || {
        let state = server.registry.snapshot();
        let rows = state.endpoints(&key);
        rows.map(|row| (row.key.host.to_string(), row.key.port, row.health))
            .collect::<Vec<_>>()
    };
    let ip = made["spec"]["clusterIP"].as_str().unwrap();
    let all = [
        ("10.0.0.1".to_owned(), 8080, Health::Passing),
        ("10.0.0.2".to_owned(), 8080, Health::Critical),
    ];
    server
        .until("/version", |_| {
            let state = server.registry.snapshot();
            let addresses = state
                .service(&key)
                .map(|row| row.settings.addresses.clone())
                .unwrap_or_default();
            seen() == all && addresses.iter().map(Host::to_string).eq([ip.to_owned()])
        })
        .await;
    server.delete(&format!("{SERVICES}/web")).await.ok(200);
    server.until("/version", |_| seen().is_empty()).await;
    server
        .until("/version", |_| {
            let state = server.registry.snapshot();
            state
                .service(&key)
                .is_none_or(|row| row.declared_by.is_empty())
        })
        .await;
}

#[tokio::test]
async fn a_service_registered_elsewhere_is_shown_and_not_changed_here() {
    let server = Server::start().await;
    server.get("/api/v1/namespaces").await.ok(200);
    server.command(register("db", "10.9.0.1", 5432)).await;
    let one = format!("{SERVICES}/db");
    let shown = server.until(&one, |answer| answer.status == 200).await;
    assert_eq!(shown["spec"]["clusterIP"], "None");
    assert_eq!(shown["spec"]["ports"][0]["port"], 5432);
    assert_eq!(
        shown["metadata"]["labels"]["app.kubernetes.io/managed-by"],
        "portolan.io"
    );
    assert_eq!(
        shown["metadata"]["annotations"]["portolan.io/registered-through"],
        "consul"
    );
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io/service-name%3Ddb";
    let list = server
        .until(slices, |answer| {
            answer.json()["items"][0]["endpoints"][0]["conditions"]["ready"] == true
        })
        .await;
    assert_eq!(
        list["items"][0]["endpoints"][0]["addresses"],
        json!(["10.9.0.1"])
    );
    let endpoints = server
        .until("/api/v1/namespaces/default/endpoints/db", |answer| {
            answer.status == 200
        })
        .await;
    assert_eq!(endpoints["subsets"][0]["ports"][0]["port"], 5432);
    for refused in [
        server.delete(&one).await,
        server
            .patch(
                &one,
                "merge-patch",
                json!({"metadata": {"labels": {"x": "y"}}}),
            )
            .await,
    ] {
        assert_eq!(refused.refused(), (403, "Forbidden".into()));
    }
    // What is shown is not registered once more.
    assert_eq!(
        server
            .registry
            .snapshot()
            .instances(&ServiceKey::plain("db"))
            .count(),
        1
    );
    let fake = json!({"metadata": {"name": "x", "labels": {"app.kubernetes.io/managed-by": "portolan.io"}}, "spec": {"ports": [{"port": 1}]}});
    assert_eq!(
        server.post(SERVICES, fake).await.refused(),
        (422, "Invalid".into())
    );

    let key = InstanceKey::consul(&NodeName::new("n1"), "db-10.9.0.1");
    server
        .command(Command::Deregister {
            target: Target::Instance(key),
            expect: None,
        })
        .await;
    server
        .until(slices, |answer| {
            answer.json()["items"][0]["endpoints"]
                .as_array()
                .is_none_or(Vec::is_empty)
        })
        .await;
    server
        .command(Command::Forget {
            service: ServiceKey::plain("db"),
            protocol: None,
        })
        .await;
    server.until(&one, |answer| answer.status == 404).await;
    server
        .until(slices, |answer| answer.json()["items"] == json!([]))
        .await;
}

#[tokio::test]
async fn a_written_service_gets_the_endpoints_of_others_as_well() {
    let server = Server::start().await;
    server.command(register("web", "10.9.0.9", 8080)).await;
    server.get("/api/v1/namespaces").await.ok(200);
    server
        .until(&format!("{SERVICES}/web"), |answer| answer.status == 200)
        .await;
    let taken = server.post(SERVICES, service("web")).await;
    assert_eq!(taken.refused(), (409, "AlreadyExists".into()));
    server.post(SERVICES, service("api")).await.ok(201);
    server.run_pod("a", "api", "10.0.0.1", true).await;
    server.command(register("api", "10.9.0.2", 8080)).await;
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io/service-name%3Dapi";
    server
        .until(slices, |answer| {
            let list = answer.json();
            let mut managers: Vec<String> = list["items"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|slice| !slice["endpoints"].as_array().unwrap().is_empty())
                .map(|slice| {
                    slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"]
                        .as_str()
                        .unwrap()
                        .to_owned()
                })
                .collect();
            managers.sort();
            managers == ["endpointslice-controller.k8s.io", "portolan.io"]
        })
        .await;
}

/// What stands for others' instances is not removed and made again for ever.
#[tokio::test]
async fn a_namespace_with_instances_of_others_closes_when_they_are_gone() {
    let server = Server::start().await;
    server.get("/api/v1/namespaces").await.ok(200);
    let key = InstanceKey::consul(&NodeName::new("n1"), "far");
    let service = ServiceKey::new("team", "", "web");
    let place = Endpoint::new(Host::new("10.9.0.7"), 99);
    let mut facts = Registration::new(key.clone(), service.clone(), place);
    facts.node = NodeName::new("n1");
    server
        .command(Command::Register(Box::new(Register::new(facts))))
        .await;
    let mirrored = "/api/v1/namespaces/team/services/web";
    server.until(mirrored, |answer| answer.status == 200).await;
    for name in ["team", "other"] {
        if name == "other" {
            let made = json!({"metadata": {"name": name}});
            server.post("/api/v1/namespaces", made).await.ok(201);
        }
        let path = format!("/api/v1/namespaces/{name}");
        server.delete(&path).await.ok(200);
    }
    // The second is not held up by the first.
    server
        .until("/api/v1/namespaces/other", |answer| answer.status == 404)
        .await;
    let before = server.registry.snapshot().revision();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let after = server.registry.snapshot().revision();
    assert!(after.0 - before.0 < 20, "{before:?} {after:?}");
    let team = server.get("/api/v1/namespaces/team").await.ok(200);
    assert_eq!(team["status"]["phase"], "Terminating");
    server
        .command(Command::Deregister {
            target: Target::Instance(key),
            expect: None,
        })
        .await;
    server
        .command(Command::Forget {
            service,
            protocol: None,
        })
        .await;
    server
        .until("/api/v1/namespaces/team", |answer| answer.status == 404)
        .await;
}
