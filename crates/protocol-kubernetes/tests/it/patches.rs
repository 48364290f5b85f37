//! Patches of each kind, also two at a time.

use serde_json::json;

use crate::client::{SERVICES, Server, service};

#[tokio::test]
async fn three_kinds_of_patches() {
    let server = Server::start().await;
    server.post(SERVICES, service("web")).await.ok(201);
    let one = format!("{SERVICES}/web");
    let merged = server
        .patch(
            &one,
            "merge-patch",
            json!({"metadata": {"labels": {"tier": "a", "app": null}}}),
        )
        .await
        .ok(200);
    assert_eq!(merged["metadata"]["labels"], json!({"tier": "a"}));
    let strategic =
        json!({"spec": {"ports": [{"port": 80, "name": "http"}, {"port": 443, "name": "https"}]}});
    let joined = server
        .patch(&one, "strategic-merge-patch", strategic)
        .await
        .ok(200);
    assert_eq!(joined["spec"]["ports"].as_array().unwrap().len(), 2);
    assert_eq!(
        joined["spec"]["ports"][0]["targetPort"], 8080,
        "what was there stays"
    );
    let listed = json!([{"op": "test", "path": "/spec/ports/1/port", "value": 443}, {"op": "remove", "path": "/spec/ports/1"}]);
    let one_left = server
        .patch(&one, "json-patch", listed.clone())
        .await
        .ok(200);
    assert_eq!(one_left["spec"]["ports"].as_array().unwrap().len(), 1);
    let failed = server.patch(&one, "json-patch", listed).await;
    assert_eq!(failed.refused(), (422, "Invalid".into()));
    let stale = json!({"metadata": {"resourceVersion": "1", "labels": {"x": "y"}}});
    assert_eq!(
        server.patch(&one, "merge-patch", stale).await.refused(),
        (409, "Conflict".into())
    );
    assert_eq!(
        server
            .patch(&format!("{SERVICES}/none"), "merge-patch", json!({}))
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn patches_at_the_same_time_all_count() {
    let server = Server::start().await;
    server.post(SERVICES, service("web")).await.ok(201);
    let one = format!("{SERVICES}/web");
    let patches = (0..8).map(|n| {
        server.patch(
            &one,
            "merge-patch",
            json!({"metadata": {"annotations": {format!("a{n}"): "x"}}}),
        )
    });
    let patches: Vec<_> = patches.collect();
    for answer in futures_util::future::join_all(patches).await {
        answer.ok(200);
    }
    let after = server.get(&one).await.ok(200);
    assert_eq!(
        after["metadata"]["annotations"].as_object().unwrap().len(),
        8
    );
}
