//! What clients ask before anything else.

use crate::client::Server;

#[tokio::test]
async fn groups_and_resources_are_found_one_by_one_and_in_one_piece() {
    let server = Server::start().await;
    let api = server.get("/api").await.ok(200);
    assert_eq!(api["versions"][0], "v1");
    let groups = server.get("/apis").await.ok(200);
    let names: Vec<&str> = groups["groups"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|g| g["name"].as_str())
        .collect();
    assert_eq!(
        names,
        [
            "authentication.k8s.io",
            "authorization.k8s.io",
            "coordination.k8s.io",
            "discovery.k8s.io",
            "events.k8s.io",
            "networking.k8s.io"
        ]
    );
    assert_eq!(
        server.get("/apis/discovery.k8s.io").await.ok(200)["preferredVersion"]["version"],
        "v1"
    );
    let core = server.get("/api/v1").await.ok(200);
    let resources = core["resources"].as_array().unwrap();
    let services = resources.iter().find(|r| r["name"] == "services").unwrap();
    assert_eq!(services["shortNames"][0], "svc");
    assert_eq!(services["verbs"].as_array().unwrap().len(), 8);
    assert!(resources.iter().any(|r| r["name"] == "pods/status"));
    assert_eq!(server.get("/apis/nope.io/v1").await.status, 404);
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
    let whole = server.send("GET", "/apis", &[("Accept", accept)], "").await;
    assert!(
        whole.head.contains("as=APIGroupDiscoveryList"),
        "{}",
        whole.head
    );
    let whole = whole.ok(200);
    assert_eq!(whole["apiVersion"], "apidiscovery.k8s.io/v2");
    let groups = whole["items"].as_array().unwrap();
    let of_slices = |group: &&serde_json::Value| group["metadata"]["name"] == "discovery.k8s.io";
    let group = groups.iter().find(of_slices).unwrap();
    let slices = &group["versions"][0]["resources"][0];
    assert_eq!(slices["responseKind"]["kind"], "EndpointSlice");
}

#[tokio::test]
async fn version_health_and_descriptions() {
    let server = Server::start().await;
    let version = server.get("/version").await.ok(200);
    assert!(version["gitVersion"].as_str().unwrap().starts_with("v1."));
    for path in ["/healthz", "/livez", "/readyz", "/readyz/ping"] {
        assert_eq!(server.get(path).await.text(), "ok", "{path}");
    }
    let verbose = server.get("/readyz?verbose").await.text();
    assert!(verbose.ends_with("readyz check passed\n"), "{verbose}");
    assert_eq!(server.get("/readyz/nope").await.status, 404);
    let index = server.get("/openapi/v3").await.ok(200);
    for (path, at) in index["paths"].as_object().unwrap() {
        let document = server
            .get(at["serverRelativeURL"].as_str().unwrap())
            .await
            .ok(200);
        assert_eq!(document["openapi"], "3.0.0", "{path}");
    }
    let core = server.get("/openapi/v3/api/v1").await.ok(200);
    let patch = &core["paths"]["/api/v1/namespaces/{namespace}/services/{name}"]["patch"];
    assert!(patch["parameters"].to_string().contains("fieldValidation"));
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Service");
    let second = server.get("/openapi/v2").await.ok(200);
    let ports = &second["definitions"]["io.k8s.api.v1.ServiceSpec"]["properties"]["ports"];
    assert_eq!(
        ports["x-kubernetes-list-map-keys"],
        serde_json::json!(["port", "protocol"])
    );
    let accept = [(
        "Accept",
        "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    )];
    let second = server.send("GET", "/openapi/v2", &accept, "").await;
    assert!(
        second
            .head
            .contains("application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
    );
    assert!(second.body.starts_with(b"\x0a\x032.0\x12"));
    let accept = [("Accept", "text/html")];
    assert_eq!(
        server.send("GET", "/openapi/v2", &accept, "").await.status,
        406
    );
    let nothing = server.get("/nowhere").await;
    assert_eq!(
        (nothing.status, nothing.text().as_str()),
        (404, "404 page not found\n")
    );
}

#[tokio::test]
async fn a_catalog_that_nobody_asks_through_this_api_has_nothing_of_it() {
    let server = Server::start().await;
    let before = server.registry.snapshot().revision();
    for path in ["/api", "/apis", "/version", "/openapi/v3", "/healthz"] {
        server.get(path).await;
    }
    assert_eq!(server.registry.snapshot().revision(), before);
    let namespaces = server.get("/api/v1/namespaces").await.ok(200);
    assert_eq!(namespaces["items"].as_array().unwrap().len(), 4);
    assert!(server.registry.snapshot().revision() > before);
}
