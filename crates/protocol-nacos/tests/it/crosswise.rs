//! What other protocols register, through Nacos, and the other way round.

use portolan_catalog::{
    Admin, AdminStatus, AdminTarget, Command, Health, Protocol, ServiceKey, Weight,
};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::client::Server;

#[tokio::test]
async fn foreign_instances_are_hosts() {
    let server = Server::start().await;
    let key = server.foreign("web", "10.0.0.1", 8080).await;
    let info = server
        .json("GET /nacos/v1/ns/instance/list?serviceName=web")
        .await;
    assert_eq!(
        info["hosts"],
        json!([{
            "instanceId": "10.0.0.1#8080#DEFAULT#DEFAULT_GROUP@@web", "ip": "10.0.0.1", "port": 8080, "weight": 1.0,
            "healthy": true, "enabled": true, "ephemeral": false, "clusterName": "DEFAULT",
            "serviceName": "DEFAULT_GROUP@@web", "metadata": {"tags": "blue,a%2Cb"}, "instanceHeartBeatInterval": 5000,
            "instanceHeartBeatTimeOut": 15000, "ipDeleteTimeout": 30000,
        }])
    );
    assert_eq!(
        server
            .json("GET /nacos/v1/ns/service/list?pageNo=1&pageSize=9")
            .await,
        json!({"count": 1, "doms": ["web"]})
    );
    // Maintenance from elsewhere takes it out of lists.
    let admin = |status| Command::SetAdmin {
        target: AdminTarget::Instance(key.clone()),
        admin: status,
        declared: None,
    };
    let out = Admin {
        status: AdminStatus::OutOfService,
        reason: "".into(),
        by: Protocol::Consul,
    };
    server.apply(admin(Some(Arc::new(out)))).await;
    assert_eq!(server.hosts("serviceName=web").await, []);
    server.apply(admin(None)).await;
    // And the other way round.
    server
        .fine("PATCH /nacos/v1/ns/instance?serviceName=web&ip=10.0.0.1&port=8080&enabled=false")
        .await;
    let state = server.registry.snapshot();
    let row = state.endpoints(&ServiceKey::plain("web")).next().unwrap();
    assert_eq!(row.health, Health::Maintenance);
    let weight = server
        .call("PATCH /nacos/v1/ns/instance?serviceName=web&ip=10.0.0.1&port=8080&weight=5")
        .await;
    assert_eq!(weight.status, 400, "{}", weight.text());
    server
        .fine("DELETE /nacos/v1/ns/instance?serviceName=web&ip=10.0.0.1&port=8080")
        .await;
    assert!(server.registry.snapshot().instance(&key).is_none());
}

#[tokio::test]
async fn two_registrations_of_one_address_are_one_host() {
    let server = Server::start().await;
    server.foreign("web", "10.0.0.1", 8080).await;
    server
        .fine("POST /nacos/v1/ns/instance?serviceName=web&ip=10.0.0.1&port=8080&weight=0")
        .await;
    let info = server
        .json("GET /nacos/v1/ns/instance/list?serviceName=web")
        .await;
    let hosts = info["hosts"].as_array().unwrap();
    assert_eq!(hosts.len(), 1);
    // Its own row, with a weight that is its own business.
    assert_eq!(
        (
            &hosts[0]["weight"],
            &hosts[0]["healthy"],
            &hosts[0]["ephemeral"]
        ),
        (&json!(0.0), &json!(true), &json!(true))
    );
    let state = server.registry.snapshot();
    let row = state.endpoints(&ServiceKey::plain("web")).next().unwrap();
    assert_eq!(row.members.len(), 2);
    let own = row
        .members
        .iter()
        .find(|row| row.key.origin == Protocol::Nacos)
        .unwrap();
    assert_eq!(
        (own.weight, &*own.key.id),
        (Weight(0), "default/default/web/10.0.0.1#8080#DEFAULT")
    );
}

#[tokio::test]
async fn groups_and_namespaces_in_the_model() {
    let server = Server::start().await;
    server.fine("POST /nacos/v1/ns/instance?serviceName=Order&groupName=DEV&namespaceId=prod&ip=1.1.1.1&port=80").await;
    let state = server.registry.snapshot();
    let key = ServiceKey::new("prod", "dev", "order");
    assert_eq!(state.service(&key).unwrap().spelling.as_ref(), "Order");
    assert_eq!(key.to_string(), "order--dev--prod");
    let refused = server
        .call("POST /nacos/v1/ns/instance?serviceName=x&groupName=a--b&ip=1.1.1.1&port=80")
        .await;
    assert_eq!(refused.status, 400);
    let names: Value = server.json("GET /nacos/v1/ns/service/names").await;
    assert_eq!(
        names,
        json!({"count": 1, "services": {"prod": ["DEV@@Order"]}})
    );
}
