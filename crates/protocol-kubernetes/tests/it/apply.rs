//! Server-side apply, and what every other write leaves in `managedFields`. The texts and entries are those of a kube-apiserver 1.35.4.

use serde_json::{Value, json};

use crate::client::{Answer, SERVICES, Server};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn apply(server: &Server, path: &str, query: &str, body: &Value) -> Answer {
    let media = [("Content-Type", "application/apply-patch+yaml")];
    let path = format!("{path}?{query}");
    server.send("PATCH", &path, &media, &body.to_string()).await
}

fn service(ports: Value, labels: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "labels": labels},
        "spec": {"selector": {"app": "web"}, "ports": ports},
    })
}

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

/// Each manager with how it came to which fields.
fn owners(object: &Value) -> Vec<(String, String, Value)> {
    let entries = object["metadata"]["managedFields"].as_array();
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let entries = entries.into_iter().flatten();
    entries
        .map(|entry| {
            (
                text(entry, "manager"),
                text(entry, "operation"),
                entry["fieldsV1"].clone(),
            )
        })
        .collect()
}

#[tokio::test]
async fn a_configuration_is_applied_by_several_managers() {
    let server = Server::start().await;
    let web = format!("{SERVICES}/web");
    let ports = json!([{"port": 80, "targetPort": 8080, "name": "x"}]);
    let own = service(ports, json!({"a": "1"}));
    let made = apply(&server, &web, "fieldManager=one", &own).await.ok(201);
    let fields = json!({
        "f:metadata": {"f:labels": {"f:a": {}}},
        "f:spec": {"f:selector": {}, "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}, "f:port": {}, "f:targetPort": {}}}},
    });
    assert_eq!(owners(&made), [("one".into(), "Apply".into(), fields)]);
    let again = apply(&server, &web, "fieldManager=one", &own).await.ok(200);
    assert_eq!(again, made, "nothing changes, not even a time");

    // Somebody else wants two of the fields otherwise.
    let ports = json!([{"port": 80, "targetPort": 9090, "name": "x"}, {"port": 81, "name": "y"}]);
    let other = service(ports, json!({"b": "1", "a": "2"}));
    let refused = apply(&server, &web, "fieldManager=two", &other).await;
    assert_eq!(refused.refused(), (409, "Conflict".into()));
    assert_eq!(
        refused.message(),
        "Apply failed with 2 conflicts: conflicts with \"one\":\n- .metadata.labels.a\n- .spec.ports[port=80,protocol=\"TCP\"].targetPort"
    );
    assert_eq!(
        refused.json()["details"]["causes"][0],
        json!({"reason": "FieldManagerConflict", "message": "conflict with \"one\"", "field": ".metadata.labels.a"})
    );
    let forced = apply(&server, &web, "fieldManager=two&force=true", &other)
        .await
        .ok(200);
    assert_eq!(forced["metadata"]["labels"], json!({"a": "2", "b": "1"}));
    assert_eq!(forced["spec"]["ports"][0]["targetPort"], 9090);

    // What the first one leaves out and the other one has, stays; what nobody has any longer, goes.
    let ports = json!([{"port": 81, "name": "y"}]);
    let less = service(ports, json!({"b": "1"}));
    let left = apply(&server, &web, "fieldManager=two", &less)
        .await
        .ok(200);
    assert_eq!(left["metadata"]["labels"], json!({"b": "1"}));
    let ports: Vec<&Value> = left["spec"]["ports"].as_array().unwrap().iter().collect();
    assert_eq!(
        ports.len(),
        2,
        "the first port is the first manager's too: {left}"
    );
    let nothing = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}});
    let left = apply(&server, &web, "fieldManager=one", &nothing)
        .await
        .ok(200);
    assert_eq!(left["spec"]["ports"].as_array().unwrap().len(), 1, "{left}");
}

#[tokio::test]
async fn other_writes_say_who_made_them() {
    let server = Server::start().await;
    let agent = [
        ("Content-Type", "application/json"),
        ("User-Agent", "tester/1.0 (linux)"),
    ];
    let body = json!({"metadata": {"name": "a", "labels": {"x": "1"}}, "data": {"k": "v"}});
    let made = server
        .send("POST", MAPS, &agent, &body.to_string())
        .await
        .ok(201);
    let fields =
        json!({"f:data": {".": {}, "f:k": {}}, "f:metadata": {"f:labels": {".": {}, "f:x": {}}}});
    assert_eq!(owners(&made), [("tester".into(), "Update".into(), fields)]);
    let one = format!("{MAPS}/a");
    let second = format!("{one}?fieldManager=second");
    let changed = server
        .patch(&second, "merge-patch", json!({"data": {"k": "w"}}))
        .await
        .ok(200);
    let names = owners(&changed).into_iter().map(|(name, ..)| name);
    let names: std::collections::BTreeSet<String> = names.collect();
    assert_eq!(names, ["second", "tester"].map(str::to_owned).into());
    let refused = apply(&server, &one, "fieldManager=third", &map(json!({"k": "x"}))).await;
    assert_eq!(
        refused.message(),
        "Apply failed with 1 conflict: conflict with \"second\" using v1: .data.k"
    );
    // Whoever asks for it has the account closed.
    let reset = json!([{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]);
    let reset = server.patch(&one, "json-patch", reset).await.ok(200);
    assert_eq!(owners(&reset), []);
    let adopted = apply(&server, &one, "fieldManager=third", &map(json!({"k": "x"}))).await;
    assert_eq!(
        adopted.message(),
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.k"
    );
    // A status has an owner of its own.
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}});
    server.post("/api/v1/nodes", node).await.ok(201);
    let status = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"},
        "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
    });
    let node = apply(
        &server,
        "/api/v1/nodes/n/status",
        "fieldManager=kubelet",
        &status,
    )
    .await
    .ok(200);
    let entry = &node["metadata"]["managedFields"][0];
    assert_eq!(entry["subresource"], "status", "{node}");
}

#[tokio::test]
async fn client_side_apply_is_taken_over() {
    let server = Server::start().await;
    let said = map(json!({"k": "v"}));
    let mut made = said.clone();
    made["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": said.to_string()});
    let created = format!("{MAPS}?fieldManager=kubectl-client-side-apply");
    server.post(&created, made).await.ok(201);
    let one = format!("{MAPS}/a");
    let next = map(json!({"k": "w"}));
    let refused = apply(&server, &one, "fieldManager=somebody", &next).await;
    assert_eq!(refused.status, 409);
    let taken = apply(&server, &one, "fieldManager=kubectl", &next)
        .await
        .ok(200);
    assert_eq!(taken["data"]["k"], "w");
    assert_eq!(
        taken["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"],
        "{\"apiVersion\":\"v1\",\"data\":{\"k\":\"w\"},\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\"}}\n"
    );
}

#[tokio::test]
async fn what_cannot_be_applied() {
    let server = Server::start().await;
    let one = format!("{MAPS}/a");
    let rows = [
        (
            "",
            map(json!({})),
            422,
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ),
        (
            "fieldManager=x",
            json!({"apiVersion": "v2", "kind": "ConfigMap"}),
            400,
            "invalid object type: /v2, Kind=ConfigMap",
        ),
        (
            "fieldManager=x",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "foo": 1}),
            500,
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .foo: field not declared in schema",
        ),
        (
            "fieldManager=x",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"managedFields": []}}),
            400,
            "metadata.managedFields must be nil",
        ),
        (
            "fieldManager=x",
            json!(7),
            400,
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal number into Go value of type map[string]interface {}",
        ),
    ];
    for (query, body, status, message) in rows {
        let answer = apply(&server, &one, query, &body).await;
        assert_eq!(
            (answer.status, answer.message()),
            (status, message.to_owned()),
            "{body}"
        );
    }
    let twice = json!([{"port": 80}, {"port": 80, "protocol": "TCP"}]);
    let web = format!("{SERVICES}/web");
    let answer = apply(&server, &web, "fieldManager=x", &service(twice, json!({}))).await;
    assert_eq!(
        answer.message(),
        "failed to create typed patch object (/web; /v1, Kind=Service): .spec.ports: duplicate entries for key [port=80,protocol=\"TCP\"]"
    );
    let force = server
        .patch(&format!("{one}?force=true"), "merge-patch", json!({}))
        .await;
    assert_eq!(
        force.message(),
        "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch"
    );
    let absent = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}});
    let answer = apply(&server, "/api/v1/nodes/n/status", "fieldManager=x", &absent).await;
    assert_eq!(answer.refused(), (404, "NotFound".into()));
}
