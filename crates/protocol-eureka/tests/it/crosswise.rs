//! What other protocols registered, as Eureka's clients see and touch it.

use std::sync::Arc;

use portolan_catalog::{Admin, AdminStatus, AdminTarget, Command, InstanceKey, Protocol, Target};
use portolan_protocol_eureka::wire::Status;

use crate::client::Server;

#[tokio::test]
async fn a_foreign_endpoint_is_an_instance_with_an_id_of_its_own() {
    let server = Server::start().await;
    server.foreign("Web", "10.0.0.9", 9090).await;
    let id = "10.0.0.9:web:9090";
    let it = server
        .get(&format!("/eureka/apps/WEB/{id}"))
        .await
        .instance();
    assert_eq!(it.instance_id.as_deref(), Some(id));
    assert_eq!(
        (it.app.as_str(), it.ip_addr.as_str(), it.host_name.as_str()),
        ("WEB", "10.0.0.9", "10.0.0.9")
    );
    assert_eq!(
        (it.vip_address.as_deref(), it.secure_vip_address.as_deref()),
        (Some("web"), None)
    );
    assert_eq!(
        (it.port.number, it.port.enabled, it.secure_port.enabled),
        (9090, true, false)
    );
    assert_eq!(it.metadata["tags"], "blue,a%2Cb");
    assert_eq!(
        (it.status, it.lease.duration_secs, it.dirty_at),
        (Status::Up, 90, Some(it.updated_at))
    );
    assert_eq!(
        server
            .get(&format!("/eureka/instances/{id}"))
            .await
            .instance(),
        it
    );
    let lists = ["/eureka/apps", "/eureka/apps/delta", "/eureka/vips/WEB"];
    for path in lists {
        let list = server.get(path).await.list();
        assert_eq!(list.applications.len(), 1, "{path}");
        assert_eq!(
            list.applications[0].instances,
            std::slice::from_ref(&it),
            "{path}"
        );
        assert_eq!(list.hashcode, "UP_1_", "{path}");
    }
    // Nobody renews what Eureka does not own: a client that lost its own row must register again.
    assert_eq!(server.put(&format!("/eureka/apps/WEB/{id}")).await, 404);
    assert_eq!(
        server
            .put(&format!("/eureka/apps/WEB/{id}/metadata?a=b"))
            .await,
        404
    );
}

#[tokio::test]
async fn a_twin_is_shown_once_as_eurekas_own() {
    let server = Server::start().await;
    server.foreign("web", "10.0.0.1", 8080).await;
    server.up("WEB", 1, "").await;
    let ids = |list: portolan_protocol_eureka::wire::Applications| {
        let all = list.applications.into_iter().flat_map(|a| a.instances);
        all.map(|i| i.instance_id.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(
        ids(server.get("/eureka/apps").await.list()),
        ["h1:web:8080"]
    );
    assert_eq!(server.delete("/eureka/apps/WEB/h1:web:8080").await, 200);
    assert_eq!(
        ids(server.get("/eureka/apps").await.list()),
        ["10.0.0.1:web:8080"]
    );
    let delta = server.get("/eureka/apps/delta").await.list();
    let mut actions: Vec<_> = delta.applications[0]
        .instances
        .iter()
        .map(|i| {
            format!(
                "{} {}",
                i.instance_id.as_deref().unwrap(),
                i.action.as_str()
            )
        })
        .collect();
    actions.sort();
    assert_eq!(actions, ["10.0.0.1:web:8080 ADDED", "h1:web:8080 DELETED"]);
}

#[tokio::test]
async fn an_override_is_everybodys_maintenance_and_back() {
    let server = Server::start().await;
    let key = server.foreign("web", "10.0.0.9", 9090).await;
    let path = "/eureka/apps/WEB/10.0.0.9:web:9090";
    assert_eq!(
        server
            .put(&format!("{path}/status?value=OUT_OF_SERVICE"))
            .await,
        200
    );
    let row = server.registry.snapshot().instance(&key).cloned().unwrap();
    assert_eq!(
        row.admin.as_ref().map(|a| (a.status, a.by)),
        Some((AdminStatus::OutOfService, Protocol::Eureka))
    );
    assert_eq!(
        server.get(path).await.instance().overridden,
        Status::OutOfService
    );
    assert_eq!(server.delete(&format!("{path}/status")).await, 200);
    assert_eq!(server.get(path).await.instance().status, Status::Up);

    server.up("WEB", 1, "").await;
    let own = InstanceKey::eureka("WEB", "h1:web:8080");
    let admin = Admin {
        status: AdminStatus::Draining,
        reason: "deploy".into(),
        by: Protocol::Consul,
    };
    let target = AdminTarget::Instance(own.clone());
    server
        .apply(Command::SetAdmin {
            target: target.clone(),
            admin: Some(Arc::new(admin)),
            declared: None,
        })
        .await;
    let it = server.get("/eureka/apps/WEB/h1:web:8080").await.instance();
    assert_eq!(
        (it.status, it.overridden),
        (Status::OutOfService, Status::OutOfService)
    );
    server.up("WEB", 1, "").await;
    assert_eq!(
        server
            .get("/eureka/apps/WEB/h1:web:8080")
            .await
            .instance()
            .status,
        Status::OutOfService
    );
    server
        .apply(Command::SetAdmin {
            target,
            admin: None,
            declared: None,
        })
        .await;
    assert_eq!(
        server
            .get("/eureka/apps/WEB/h1:web:8080")
            .await
            .instance()
            .status,
        Status::Up
    );
}

#[tokio::test]
async fn removal_works_in_both_directions() {
    let server = Server::start().await;
    let key = server.foreign("web", "10.0.0.9", 9090).await;
    assert_eq!(
        server.delete("/eureka/apps/WEB/10.0.0.9:web:9090").await,
        200
    );
    assert!(server.registry.snapshot().instance(&key).is_none());

    server.up("WEB", 1, "").await;
    let target = Target::Instance(InstanceKey::eureka("WEB", "h1:web:8080"));
    server
        .apply(Command::Deregister {
            target,
            expect: None,
        })
        .await;
    assert_eq!(server.put("/eureka/apps/WEB/h1:web:8080").await, 404);
    server.up("WEB", 1, "").await;
    assert_eq!(server.put("/eureka/apps/WEB/h1:web:8080").await, 200);
}

#[tokio::test]
async fn ids_that_would_clash_are_marked() {
    let server = Server::start().await;
    server.foreign("web", "10.0.0.9", 9090).await;
    server.foreign("web", "10.0.0.8", 0).await;
    server.foreign("web", "2001:db8::1", 80).await;
    // Eureka's own row takes the very id the foreign endpoint would have had.
    let body = crate::client::instance("WEB", 1, "").replace("h1:web:8080", "10.0.0.9:web:9090");
    assert_eq!(server.register("WEB", &body).await.status, 204);
    let list = server.get("/eureka/apps").await.list();
    let ids: Vec<_> = list.applications[0]
        .instances
        .iter()
        .map(|i| i.instance_id.clone().unwrap())
        .collect();
    assert_eq!(ids.len(), 4);
    for id in &ids {
        let it = server
            .get(&format!("/eureka/apps/WEB/{id}"))
            .await
            .instance();
        let anywhere = server
            .get(&format!("/eureka/instances/{id}"))
            .await
            .instance();
        assert_eq!(it.instance_id.as_ref(), Some(id));
        assert_eq!(
            (anywhere.instance_id, anywhere.ip_addr),
            (it.instance_id, it.ip_addr)
        );
    }
    assert!(ids.contains(&"2001:db8::1:web:80".to_owned()), "{ids:?}");
    let marked: Vec<_> = ids
        .iter()
        .filter(|id| id.len() > 6 && id.as_bytes()[id.len() - 6] == b'-')
        .collect();
    assert_eq!(marked.len(), 2, "{ids:?}");
}

#[tokio::test]
async fn an_empty_registry_has_an_empty_list() {
    let server = Server::start().await;
    let answer = server.get("/eureka/apps").await;
    assert_eq!(
        answer.text(),
        r#"{"applications":{"versions__delta":"1","apps__hashcode":"","application":[]}}"#
    );
    let vip = server.get("/eureka/vips/none").await;
    assert_eq!(
        vip.text(),
        r#"{"applications":{"versions__delta":"-1","apps__hashcode":"","application":[]}}"#
    );
}

#[tokio::test]
async fn vips_match_any_of_several_names_in_any_case() {
    let server = Server::start().await;
    let body = crate::client::instance("WEB", 1, "").replace(
        r#""vipAddress":"web""#,
        r#""vipAddress":"One,two","secureVipAddress":"Sec""#,
    );
    assert_eq!(server.register("WEB", &body).await.status, 204);
    for (path, found) in [
        ("vips/one", 1),
        ("vips/TWO", 1),
        ("vips/web", 0),
        ("vips/One,two", 0),
        ("svips/SEC", 1),
        ("svips/one", 0),
    ] {
        let list = server.get(&format!("/eureka/{path}")).await.list();
        assert_eq!(list.applications.len(), found, "{path}");
        assert_eq!(list.version, "-1");
    }
    let it = server.get("/eureka/apps/WEB/h1:web:8080").await.instance();
    assert_eq!(
        (it.vip_address.as_deref(), it.secure_vip_address.as_deref()),
        (Some("One,two"), Some("Sec"))
    );
}
