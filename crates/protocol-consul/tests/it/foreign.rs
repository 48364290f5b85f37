//! Rows born in other protocols, as Consul's clients see them.

use super::harness::{World, pluck};
use portolan_catalog::{
    Admin, AdminStatus, AdminTarget, Command, Endpoint, Host, InstanceKey, LeaseId, Protocol,
    Register, Registration, ServiceKey, Target, Terms,
};
use serde_json::json;

async fn eureka(world: &World, host: &str) -> InstanceKey {
    let key = InstanceKey::eureka("WEB", &format!("{host}:web:8080"));
    let mut facts = Registration::new(
        key.clone(),
        ServiceKey::plain("web"),
        Endpoint::new(Host::new(host), 8080),
    );
    facts.lease = Some(LeaseId::Heartbeat(key.clone()));
    let register = Register {
        terms: Some(Terms::heartbeat(90_000)),
        ..Register::new(facts)
    };
    world.propose(Command::Register(Box::new(register))).await;
    key
}

#[tokio::test]
async fn a_foreign_endpoint_stands_on_a_virtual_node() {
    let world = World::new().await;
    eureka(&world, "10.0.0.1").await;
    let row = &world.get("/v1/health/service/web?passing").await.json()[0];
    assert_eq!(
        (
            &row["Node"]["Node"],
            &row["Node"]["Address"],
            &row["Node"]["ID"]
        ),
        (&json!("10-0-0-1.virtual"), &json!("10.0.0.1"), &json!(""))
    );
    assert_eq!(
        (
            &row["Service"]["ID"],
            &row["Service"]["Address"],
            &row["Service"]["Port"]
        ),
        (
            &json!("eureka:WEB/10.0.0.1:web:8080"),
            &json!("10.0.0.1"),
            &json!(8080)
        )
    );
    assert_eq!(
        pluck(&row["Checks"], "CheckID"),
        ["service:eureka:WEB/10.0.0.1:web:8080"]
    );
    assert_eq!(
        (&row["Checks"][0]["Name"], &row["Checks"][0]["Type"]),
        (&json!("eureka registration"), &json!(""))
    );
    assert_eq!(world.get("/v1/agent/services").await.json(), json!({}));
    assert_eq!(
        pluck(&world.get("/v1/catalog/nodes").await.json(), "Node"),
        ["n1", "10-0-0-1.virtual"]
    );
    let node = world.get("/v1/catalog/node/10-0-0-1.virtual").await.json();
    assert!(
        node["Services"]
            .get("eureka:WEB/10.0.0.1:web:8080")
            .is_some(),
        "{node}"
    );
    world
        .put(
            "/v1/agent/check/pass/service:eureka:WEB%2F10.0.0.1:web:8080",
            "",
        )
        .await
        .says(500, "does not have associated TTL");
    let whole = json!({"Node": "10-0-0-1.virtual"});
    world
        .put_json("/v1/catalog/deregister", &whole)
        .await
        .says(500, "other protocols");
    let one = json!({"Node": "10-0-0-1.virtual", "ServiceID": "eureka:WEB/10.0.0.1:web:8080"});
    world
        .put_json("/v1/catalog/deregister", &one)
        .await
        .is(200, "true");
    assert_eq!(world.get("/v1/health/service/web").await.json(), json!([]));
}

#[tokio::test]
async fn twins_are_shown_once_and_own_rows_first() {
    let world = World::new().await;
    let key = eureka(&world, "10.0.0.1").await;
    world.register(&json!({"ID": "web-1", "Name": "web", "Address": "10.0.0.1", "Port": 8080, "Check": {"TTL": "60s"}})).await;
    // The new row is critical until it reports; readers of passing rows lose nothing meanwhile.
    assert_eq!(
        pluck(
            &world.get("/v1/health/service/web").await.json(),
            "Service.ID"
        ),
        ["eureka:WEB/10.0.0.1:web:8080", "web-1"]
    );
    assert_eq!(
        pluck(
            &world.get("/v1/health/service/web?passing").await.json(),
            "Service.ID"
        ),
        ["eureka:WEB/10.0.0.1:web:8080"]
    );
    world
        .put("/v1/agent/check/pass/service:web-1", "")
        .await
        .is(200, "");
    assert_eq!(
        pluck(
            &world.get("/v1/health/service/web").await.json(),
            "Service.ID"
        ),
        ["web-1"]
    );
    assert_eq!(
        pluck(&world.get("/v1/catalog/nodes").await.json(), "Node"),
        ["n1"],
        "a hidden row needs no stand-in node"
    );
    world
        .propose(Command::Deregister {
            target: Target::Instance(key),
            expect: None,
        })
        .await;
    assert_eq!(
        pluck(
            &world.get("/v1/health/service/web?passing").await.json(),
            "Service.ID"
        ),
        ["web-1"]
    );
}

#[tokio::test]
async fn maintenance_from_elsewhere_shows_and_goes() {
    let world = World::new().await;
    let key = eureka(&world, "10.0.0.1").await;
    let admin = Admin {
        status: AdminStatus::OutOfService,
        reason: "".into(),
        by: Protocol::Eureka,
    };
    let target = AdminTarget::Instance(key.clone());
    world
        .propose(Command::SetAdmin {
            target: target.clone(),
            admin: Some(admin.into()),
            declared: None,
        })
        .await;
    let row = &world.get("/v1/health/service/web").await.json()[0];
    let id = "eureka:WEB/10.0.0.1:web:8080";
    assert_eq!(
        pluck(&row["Checks"], "CheckID"),
        [
            format!("_service_maintenance:{id}"),
            format!("service:{id}")
        ]
    );
    assert_eq!(
        world.get("/v1/health/service/web?passing").await.json(),
        json!([])
    );
    world
        .propose(Command::SetAdmin {
            target,
            admin: None,
            declared: None,
        })
        .await;
    assert_eq!(
        pluck(
            &world.get("/v1/health/service/web?passing").await.json(),
            "Service.ID"
        ),
        [id]
    );
    // And from here.
    world
        .put(
            &format!(
                "/v1/agent/service/maintenance/{}?enable=true",
                id.replace('/', "%2F")
            ),
            "",
        )
        .await
        .is(200, "");
    assert_eq!(
        world.get("/v1/health/service/web?passing").await.json(),
        json!([])
    );
}

#[tokio::test]
async fn a_row_that_its_twin_hides_is_news_for_lists() {
    let world = World::new().await;
    eureka(&world, "10.0.0.1").await;
    let body = json!({"ID": "web-1", "Name": "web", "Address": "10.0.0.1", "Port": 8080, "Check": {"TTL": "60s"}});
    world.register(&body).await;
    let before = world.get("/v1/catalog/nodes").await;
    assert_eq!(pluck(&before.json(), "Node"), ["n1", "10-0-0-1.virtual"]);
    let nodes = world.background(&format!(
        "/v1/catalog/nodes?index={}&wait=20s",
        before.index()
    ));
    world.waiting(1).await;
    world
        .put("/v1/agent/check/pass/service:web-1", "")
        .await
        .is(200, "");
    assert_eq!(pluck(&nodes.await.unwrap().json(), "Node"), ["n1"]);
}
