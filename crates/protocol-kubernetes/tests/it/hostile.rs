//! Bodies, paths and queries that nobody means well with: answered in the API's own words, and the next one is answered as ever.

use serde_json::{Value, json};

use crate::client::{SERVICES, Server, service};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn bodies_that_are_none() {
    let server = Server::start().await;
    let deep = format!("{}1{}", "{\"a\":".repeat(5000), "}".repeat(5000));
    let lists = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let json_type = [("Content-Type", "application/json")];
    for body in [
        "",
        "{",
        "[]",
        "null",
        "7",
        "\"x\"",
        "{\"metadata\":[]}",
        "{\"metadata\":{\"labels\":[]}}",
        &deep,
        &lists,
        "\u{0}",
    ] {
        for (method, path) in [
            ("POST", MAPS),
            ("PUT", "/api/v1/namespaces/default/configmaps/a"),
            ("POST", SERVICES),
        ] {
            let answer = server.send(method, path, &json_type, body).await;
            assert!(
                (400..500).contains(&answer.status),
                "{method} {path}: {}",
                answer.text()
            );
            assert_eq!(answer.json()["kind"], "Status");
        }
    }
    server.post(SERVICES, service("web")).await.ok(201);
    let one = format!("{SERVICES}/web");
    for media in ["json-patch", "merge-patch", "strategic-merge-patch"] {
        for body in [
            json!(7),
            json!([]),
            json!({}),
            json!([[]]),
            json!({"spec": []}),
            json!({"spec": {"ports": {"a": 1}}}),
            json!({"$patch": "x"}),
            json!([{"op": "remove", "path": ""}]),
        ] {
            let answer = server.patch(&one, media, body.clone()).await;
            // The API server does not foresee what is wrong with one kind of patches.
            let foreseen = answer.status < 500 || media == "strategic-merge-patch";
            assert!(foreseen, "{media} {body}: {}", answer.text());
            assert!(answer.status <= 500, "{media} {body}: {}", answer.text());
        }
    }
    let copies: Vec<Value> = std::iter::repeat_n(
        json!({"op": "copy", "from": "/metadata", "path": "/metadata/annotations"}),
        64,
    )
    .collect();
    assert!(server.patch(&one, "json-patch", json!(copies)).await.status < 500);
    assert!(
        server
            .patch(
                &one,
                "json-patch",
                json!(vec![
                    json!({"op": "test", "path": "/kind", "value": "x"});
                    10_001
                ])
            )
            .await
            .status
            < 500
    );
    server.get(&one).await.ok(200);
}

#[tokio::test]
async fn large_objects_are_refused() {
    let server = Server::start().await;
    let large = json!({"metadata": {"name": "a"}, "data": {"k": "x".repeat(2 << 20)}});
    assert_eq!(server.post(MAPS, large).await.status, 413);
    let many = "a=b,".repeat(300) + "a=b";
    let answer = server.get(&format!("{MAPS}?labelSelector={many}")).await;
    assert_eq!(answer.refused(), (400, "BadRequest".into()));
}

#[tokio::test]
async fn paths_and_queries_that_lead_nowhere() {
    let server = Server::start().await;
    for path in [
        "/api/v1/namespaces/default/configmaps/a%2Fb",
        "/api/v1/namespaces/x%2Fy/configmaps",
        "/api/v1/namespaces/default/nodes",
        "/api/v1/pods/a",
        "/api/v2/pods",
        "/apis/apps/v1/deployments",
        "/api/v1/namespaces/default/pods/a/log",
        "/api/v1/namespaces/default/services/web/finalize",
        "//api",
        "/api/v1/watch/pods",
    ] {
        assert_eq!(server.get(path).await.status, 404, "{path}");
    }
    for query in [
        "limit=x",
        "limit=-1",
        "timeoutSeconds=x&watch=1",
        "resourceVersion=-1",
        "resourceVersion=99999999999999999999",
        "labelSelector=((",
        "fieldSelector==",
        "continue=%00",
    ] {
        let answer = server.get(&format!("{MAPS}?{query}")).await;
        assert!(
            (400..500).contains(&answer.status),
            "{query}: {}",
            answer.text()
        );
    }
    for method in ["PUT", "PATCH"] {
        let answer = server
            .send(
                method,
                MAPS,
                &[("Content-Type", "application/merge-patch+json")],
                "{}",
            )
            .await;
        assert!(
            matches!(answer.status, 405 | 415),
            "{method} {}",
            answer.text()
        );
    }
}
