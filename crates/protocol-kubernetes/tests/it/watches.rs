//! Watches: from a version, from what there is, through selectors, to their end.

use serde_json::json;

use crate::client::{SERVICES, Server, service};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn map(server: &Server, name: &str, label: &str) {
    let map = json!({"metadata": {"name": name, "labels": {"l": label}}});
    server.post(MAPS, map).await.ok(201);
}

#[tokio::test]
async fn events_come_in_order_and_end_with_the_last_state() {
    let server = Server::start().await;
    let list = server.get(MAPS).await.ok(200);
    let from = list["metadata"]["resourceVersion"].as_str().unwrap();
    let mut watch = server
        .watch(&format!("{MAPS}?watch=true&resourceVersion={from}"))
        .await;
    map(&server, "a", "1").await;
    server
        .patch(
            &format!("{MAPS}/a"),
            "merge-patch",
            json!({"data": {"k": "v"}}),
        )
        .await
        .ok(200);
    server.delete(&format!("{MAPS}/a")).await.ok(200);
    assert_eq!(watch.word().await, "ADDED a");
    let (word, changed) = watch.next().await;
    assert_eq!(
        (word.as_str(), changed["kind"].as_str()),
        ("MODIFIED", Some("ConfigMap"))
    );
    let (word, gone) = watch.next().await;
    assert_eq!(
        (word.as_str(), &gone["data"]["k"]),
        ("DELETED", &json!("v"))
    );
    let version = |object: &serde_json::Value| {
        object["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    assert!(version(&gone) > version(&changed));
    // From a version in between there is the rest.
    let mut rest = server
        .watch(&format!(
            "{MAPS}?watch=1&resourceVersion={}",
            version(&changed)
        ))
        .await;
    assert_eq!(rest.word().await, "DELETED a");
}

#[tokio::test]
async fn a_selector_sees_what_begins_and_ceases_to_match() {
    let server = Server::start().await;
    map(&server, "a", "1").await;
    map(&server, "b", "2").await;
    let mut watch = server
        .watch(&format!("{MAPS}?watch=true&labelSelector=l%3D1"))
        .await;
    assert_eq!(watch.word().await, "ADDED a");
    let label = |value: &str| json!({"metadata": {"labels": {"l": value}}});
    server
        .patch(&format!("{MAPS}/b"), "merge-patch", label("1"))
        .await
        .ok(200);
    assert_eq!(watch.word().await, "ADDED b");
    server
        .patch(&format!("{MAPS}/a"), "merge-patch", label("2"))
        .await
        .ok(200);
    assert_eq!(watch.word().await, "DELETED a");
    server
        .patch(&format!("{MAPS}/a"), "merge-patch", label("3"))
        .await
        .ok(200);
    server
        .patch(
            &format!("{MAPS}/b"),
            "merge-patch",
            json!({"data": {"k": "v"}}),
        )
        .await
        .ok(200);
    assert_eq!(watch.word().await, "MODIFIED b");
}

#[tokio::test]
async fn what_there_is_ends_with_a_bookmark_that_says_so() {
    let server = Server::start().await;
    map(&server, "a", "1").await;
    let streaming = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = server.watch(&format!("{MAPS}?{streaming}")).await;
    assert_eq!(watch.word().await, "ADDED a");
    let (word, mark) = watch.next().await;
    assert_eq!(word, "BOOKMARK");
    assert_eq!(
        mark["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    assert_eq!(mark["kind"], "ConfigMap");
    map(&server, "b", "1").await;
    assert_eq!(watch.word().await, "ADDED b");
    for bad in [
        "sendInitialEvents=true",
        "resourceVersionMatch=NotOlderThan",
    ] {
        let answer = server.get(&format!("{MAPS}?watch=true&{bad}")).await;
        assert_eq!(answer.refused(), (422, "Invalid".into()), "{bad}");
    }
}

#[tokio::test]
async fn a_watch_ends_when_it_was_to_and_says_where_it_stood() {
    let server = Server::start().await;
    map(&server, "a", "1").await;
    let mut watch = server
        .watch(&format!(
            "{MAPS}?watch=true&allowWatchBookmarks=true&timeoutSeconds=3&resourceVersion=0"
        ))
        .await;
    assert_eq!(watch.word().await, "ADDED a");
    let (word, mark) = watch.next().await;
    assert_eq!(word, "BOOKMARK");
    assert!(
        mark["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
            > 1
    );
    assert!(watch.ends().await);
}

#[tokio::test]
async fn a_version_that_is_gone_is_told_in_the_stream() {
    let server = Server::start().await;
    map(&server, "a", "1").await;
    let revision = server.registry.snapshot().revision();
    server
        .command(portolan_catalog::Command::Compact {
            space: None,
            revision,
        })
        .await;
    map(&server, "b", "1").await;
    let mut watch = server
        .watch(&format!("{MAPS}?watch=true&resourceVersion=1"))
        .await;
    let (word, status) = watch.next().await;
    assert_eq!(
        (word.as_str(), &status["code"], &status["reason"]),
        ("ERROR", &json!(410), &json!("Expired"))
    );
    assert!(watch.ends().await);
    let list = server
        .get(&format!(
            "{MAPS}?resourceVersion=1&resourceVersionMatch=Exact"
        ))
        .await;
    assert_eq!(list.refused(), (410, "Expired".into()));
}

#[tokio::test]
async fn one_name_and_one_kind_are_all_that_a_watch_hears_of() {
    let server = Server::start().await;
    let mut watch = server
        .watch(&format!(
            "{SERVICES}?watch=true&fieldSelector=metadata.name%3Dweb"
        ))
        .await;
    map(&server, "a", "1").await;
    server.post(SERVICES, service("other")).await.ok(201);
    server.post(SERVICES, service("web")).await.ok(201);
    assert_eq!(watch.word().await, "ADDED web");
}
