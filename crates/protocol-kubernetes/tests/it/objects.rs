//! One object's life: made, read, changed, held back, removed; and who comes second.

use serde_json::json;

use crate::client::{SERVICES, Server, pod, service};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn an_object_is_made_read_changed_and_removed() {
    let server = Server::start().await;
    let made = server
        .post(MAPS, json!({"metadata": {"name": "a"}, "data": {"k": "v"}}))
        .await
        .ok(201);
    assert_eq!(made["kind"], "ConfigMap");
    assert_eq!(made["metadata"]["namespace"], "default");
    let version = made["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        version.parse::<u64>().is_ok() && made["metadata"]["uid"].as_str().unwrap().len() == 36
    );
    let one = format!("{MAPS}/a");
    assert_eq!(server.get(&one).await.ok(200), made);

    let again = server.post(MAPS, json!({"metadata": {"name": "a"}})).await;
    assert_eq!(again.refused(), (409, "AlreadyExists".into()));
    assert_eq!(again.message(), "configmaps \"a\" already exists");

    let mut changed = made.clone();
    changed["data"]["k"] = "w".into();
    let put = server.put(&one, changed.clone()).await.ok(200);
    assert_ne!(put["metadata"]["resourceVersion"], version.as_str());
    let stale = server.put(&one, changed).await;
    assert_eq!(stale.refused(), (409, "Conflict".into()));
    assert!(stale.message().starts_with(
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified"
    ));
    // Nothing different is no change.
    let same = server.put(&one, put.clone()).await.ok(200);
    assert_eq!(
        same["metadata"]["resourceVersion"],
        put["metadata"]["resourceVersion"]
    );
    // Who names no version means whatever is there.
    server
        .put(&one, json!({"metadata": {"name": "a"}, "data": {"k": "x"}}))
        .await
        .ok(200);

    let gone = server.delete(&one).await.ok(200);
    assert_eq!(
        (&gone["status"], &gone["details"]["kind"]),
        (&json!("Success"), &json!("configmaps"))
    );
    let missing = server.get(&one).await;
    assert_eq!(missing.refused(), (404, "NotFound".into()));
    assert_eq!(
        missing.json()["details"],
        json!({"name": "a", "kind": "configmaps"})
    );
    assert_eq!(server.delete(&one).await.status, 404);
    let absent = server.put(&one, json!({"metadata": {"name": "a"}})).await;
    assert_eq!(absent.status, 404, "a PUT makes no ConfigMap");
}

#[tokio::test]
async fn what_cannot_be_is_refused_in_the_api_s_words() {
    let server = Server::start().await;
    let rows = [
        (
            MAPS,
            json!({"metadata": {"name": "No"}}),
            422,
            "Invalid",
            "metadata.name: Invalid value: \"No\"",
        ),
        (
            MAPS,
            json!({"metadata": {}}),
            422,
            "Invalid",
            "name or generateName is required",
        ),
        (
            MAPS,
            json!({"metadata": {"name": "a", "namespace": "other"}}),
            400,
            "BadRequest",
            "does not match the namespace",
        ),
        (
            MAPS,
            json!({"kind": "Pod", "metadata": {"name": "a"}}),
            400,
            "BadRequest",
            "cannot be handled as a ConfigMap",
        ),
        (
            MAPS,
            json!({"apiVersion": "v2", "metadata": {"name": "a"}}),
            400,
            "BadRequest",
            "does not match the expected API version",
        ),
        (
            MAPS,
            json!({"metadata": {"name": "a"}, "data": {"k": 1}}),
            400,
            "BadRequest",
            "cannot unmarshal number",
        ),
        (
            MAPS,
            json!({"metadata": {"name": "a", "labels": {"x y": "z"}}}),
            422,
            "Invalid",
            "metadata.labels",
        ),
        (
            "/api/v1/namespaces/nope/configmaps",
            json!({"metadata": {"name": "a"}}),
            404,
            "NotFound",
            "namespaces \"nope\" not found",
        ),
        (
            "/api/v1/namespaces/default/secrets",
            json!({"metadata": {"name": "a"}}),
            405,
            "MethodNotAllowed",
            "does not allow",
        ),
        (
            "/api/v1/namespaces/default/things",
            json!({}),
            404,
            "NotFound",
            "could not find the requested resource",
        ),
    ];
    for (path, body, status, reason, word) in rows {
        let answer = server.post(path, body.clone()).await;
        assert_eq!(answer.refused(), (status, reason.into()), "{body}");
        assert!(
            answer.message().contains(word),
            "{word}: {}",
            answer.message()
        );
    }
    let unknown = json!({"metadata": {"name": "a"}, "nope": 1});
    let strict = server
        .post(&format!("{MAPS}?fieldValidation=Strict"), unknown.clone())
        .await;
    assert_eq!(strict.status, 400);
    assert!(
        strict
            .message()
            .contains("strict decoding error: unknown field \"nope\"")
    );
    let warned = server.post(MAPS, unknown).await;
    assert!(
        warned.head.contains("299 - \"unknown field"),
        "{}",
        warned.head
    );
    let cbor = [("Content-Type", "application/cbor")];
    let answer = server.send("POST", MAPS, &cbor, "x").await;
    assert_eq!(answer.refused(), (415, "UnsupportedMediaType".into()));
    let accept = [("Accept", "application/cbor")];
    assert_eq!(
        server.send("GET", MAPS, &accept, "").await.refused(),
        (406, "NotAcceptable".into())
    );
}

#[tokio::test]
async fn names_are_made_and_dry_runs_leave_nothing() {
    let server = Server::start().await;
    let made = server
        .post(MAPS, json!({"metadata": {"generateName": "job-"}}))
        .await
        .ok(201);
    let name = made["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("job-") && name.len() == 9, "{name}");
    let dry = server
        .post(&format!("{SERVICES}?dryRun=All"), service("web"))
        .await
        .ok(201);
    assert_eq!(dry["spec"]["type"], "ClusterIP");
    assert_eq!(server.get(&format!("{SERVICES}/web")).await.status, 404);
}

#[tokio::test]
async fn finalizers_hold_an_object_back() {
    let server = Server::start().await;
    server
        .post(
            MAPS,
            json!({"metadata": {"name": "a", "finalizers": ["x.io/y"]}}),
        )
        .await
        .ok(201);
    let one = format!("{MAPS}/a");
    let marked = server.delete(&one).await.ok(200);
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(server.get(&one).await.status, 200);
    server
        .patch(
            &one,
            "merge-patch",
            json!({"metadata": {"finalizers": null}}),
        )
        .await
        .ok(200);
    assert_eq!(server.get(&one).await.status, 404);
}

#[tokio::test]
async fn a_removal_may_say_which_object_it_means() {
    let server = Server::start().await;
    server
        .post(MAPS, json!({"metadata": {"name": "a"}}))
        .await
        .ok(201);
    let one = format!("{MAPS}/a");
    let body = json!({"preconditions": {"uid": "other"}}).to_string();
    let json_type = [("Content-Type", "application/json")];
    assert_eq!(
        server
            .send("DELETE", &one, &json_type, &body)
            .await
            .refused(),
        (409, "Conflict".into())
    );
    let orphan = server
        .delete(&format!("{one}?propagationPolicy=Orphan"))
        .await;
    assert_eq!(orphan.refused(), (422, "Invalid".into()));
    server
        .post(
            MAPS,
            json!({"metadata": {"name": "b", "labels": {"x": "1"}}}),
        )
        .await
        .ok(201);
    let gone = server
        .delete(&format!("{MAPS}?labelSelector=x=1"))
        .await
        .ok(200);
    assert_eq!(gone["items"].as_array().unwrap().len(), 1);
    assert_eq!(server.get(&one).await.status, 200);
}

#[tokio::test]
async fn a_status_is_changed_by_itself() {
    let server = Server::start().await;
    let pods = "/api/v1/namespaces/default/pods";
    let mut new = pod("p", "web");
    new["status"] = json!({"phase": "Running"});
    let made = server.post(pods, new).await.ok(201);
    assert_eq!(made["status"]["phase"], "Pending");
    let one = format!("{pods}/p");
    let changed = json!({"metadata": {"labels": {"app": "other"}}, "status": {"phase": "Running"}});
    let status = server
        .patch(&format!("{one}/status"), "merge-patch", changed.clone())
        .await
        .ok(200);
    assert_eq!(
        (
            &status["status"]["phase"],
            &status["metadata"]["labels"]["app"]
        ),
        (&json!("Running"), &json!("web"))
    );
    let whole = server
        .patch(&one, "merge-patch", json!({"status": {"phase": "Failed"}}))
        .await
        .ok(200);
    assert_eq!(whole["status"]["phase"], "Running");
    let fixed = server
        .patch(&one, "merge-patch", json!({"spec": {"nodeName": "n"}}))
        .await;
    assert!(
        fixed
            .message()
            .contains("pod updates may not change fields"),
        "{}",
        fixed.message()
    );
}

#[tokio::test]
async fn leases_are_for_one_holder_at_a_time() {
    let server = Server::start().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15}});
    let made = server.post(leases, lease.clone()).await.ok(201);
    let one = format!("{leases}/l");
    let bare = server.put(&one, lease).await;
    assert!(
        bare.message().contains(
            "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
        )
    );
    let mut mine = made.clone();
    mine["spec"]["holderIdentity"] = "b".into();
    let (first, second) = tokio::join!(
        server.put(&one, mine.clone()),
        server.put(&one, mine.clone())
    );
    let mut both = [first.status, second.status];
    both.sort_unstable();
    // The second one that says the same is no change, if it comes after; else it is told.
    assert!(both == [200, 409], "{both:?}");
}
