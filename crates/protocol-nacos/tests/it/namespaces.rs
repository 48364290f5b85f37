//! Namespaces in three versions.

use serde_json::json;

use crate::client::Server;

#[tokio::test]
async fn declared_listed_removed() {
    let server = Server::start().await;
    let public = json!({"namespace": "", "namespaceShowName": "public", "namespaceDesc": "Default Namespace", "quota": 200, "configCount": 0, "type": 0});
    let list = server.json("GET /nacos/v1/console/namespaces").await;
    assert_eq!(
        list,
        json!({"code": 200, "message": null, "data": [public]})
    );
    let created = server.fine("POST /nacos/v1/console/namespaces?customNamespaceId=Prod&namespaceName=production&namespaceDesc=x").await;
    assert_eq!(created, "true");
    let again = server
        .call("POST /nacos/v2/console/namespace?namespaceId=prod&namespaceName=y")
        .await;
    assert_eq!((again.status, &again.json()["code"]), (400, &json!(22_002)));
    let list = server.json("GET /nacos/v2/console/namespace/list").await;
    assert_eq!(
        (&list["data"][1]["namespace"], &list["data"][1]["type"]),
        (&json!("Prod"), &json!(2))
    );
    let one = server
        .json("GET /nacos/v3/admin/core/namespace?namespaceId=prod")
        .await;
    assert_eq!(one["data"]["namespaceShowName"], "production");
    server
        .fine("PUT /nacos/v1/console/namespaces?namespace=prod&namespaceShowName=p2&namespaceDesc=")
        .await;
    server
        .fine("POST /nacos/v1/ns/instance?serviceName=s&namespaceId=prod&ip=1.1.1.1&port=80")
        .await;
    assert_eq!(
        server
            .call("DELETE /nacos/v1/console/namespaces?namespaceId=prod")
            .await
            .status,
        400
    );
    let fresh = server
        .json("POST /nacos/v2/console/namespace?namespaceName=fresh")
        .await;
    assert_eq!(fresh["data"], true);
    let list = server.json("GET /nacos/v2/console/namespace/list").await;
    let fresh = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["namespaceShowName"] == "fresh")
        .unwrap();
    let id = fresh["namespace"].as_str().unwrap();
    assert_eq!(id.len(), 36);
    assert_eq!(
        server
            .fine(&format!(
                "DELETE /nacos/v1/console/namespaces?namespaceId={id}"
            ))
            .await,
        "true"
    );
    assert_eq!(
        server
            .call("GET /nacos/v2/console/namespace?namespaceId=nope")
            .await
            .status,
        404
    );
}
