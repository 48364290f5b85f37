//! Lists: pages of one version, selectors, versions that are asked for, tables.

use serde_json::{Value, json};

use crate::client::{SERVICES, Server, service};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn maps(server: &Server, count: usize) {
    for n in 0..count {
        let map =
            json!({"metadata": {"name": format!("m{n}"), "labels": {"odd": (n % 2).to_string()}}});
        server.post(MAPS, map).await.ok(201);
    }
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn pages_are_all_of_the_first_one_s_version() {
    let server = Server::start().await;
    maps(&server, 5).await;
    let first = server.get(&format!("{MAPS}?limit=2")).await.ok(200);
    assert_eq!(names(&first), ["m0", "m1"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    server.delete(&format!("{MAPS}/m3")).await.ok(200);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = server
        .get(&format!("{MAPS}?limit=2&continue={token}"))
        .await
        .ok(200);
    assert_eq!(names(&second), ["m2", "m3"]);
    assert_eq!(
        second["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
    let token = second["metadata"]["continue"].as_str().unwrap();
    let last = server
        .get(&format!("{MAPS}?limit=2&continue={token}"))
        .await
        .ok(200);
    assert_eq!(names(&last), ["m4"]);
    assert!(last["metadata"]["continue"].is_null());
    assert_eq!(
        server.get(&format!("{MAPS}?continue=x")).await.refused(),
        (400, "BadRequest".into())
    );
    let odd = server
        .get(&format!("{MAPS}?labelSelector=odd%3D1&limit=1"))
        .await
        .ok(200);
    assert_eq!(names(&odd), ["m1"]);
    assert!(
        odd["metadata"]["remainingItemCount"].is_null(),
        "nobody counted what matches"
    );
}

#[tokio::test]
async fn a_version_can_be_asked_for() {
    let server = Server::start().await;
    maps(&server, 1).await;
    let then = server.get(MAPS).await.ok(200)["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned();
    maps(&server, 0).await;
    server
        .post(MAPS, json!({"metadata": {"name": "later"}}))
        .await
        .ok(201);
    let exact = server
        .get(&format!(
            "{MAPS}?resourceVersion={then}&resourceVersionMatch=Exact"
        ))
        .await
        .ok(200);
    assert_eq!(names(&exact), ["m0"]);
    let newer = server
        .get(&format!("{MAPS}?resourceVersion={then}"))
        .await
        .ok(200);
    assert_eq!(names(&newer), ["later", "m0"]);
    let future = server.get(&format!("{MAPS}?resourceVersion=99999")).await;
    assert_eq!(future.refused(), (504, "Timeout".into()));
    assert_eq!(
        future.json()["details"]["causes"][0]["reason"],
        "ResourceVersionTooLarge"
    );
    let bad = server
        .get(&format!("{MAPS}?resourceVersionMatch=Exact"))
        .await;
    assert_eq!(bad.refused(), (422, "Invalid".into()));
    let field = server.get(&format!("{MAPS}?fieldSelector=data.x=1")).await;
    assert_eq!(field.message(), "field label not supported: data.x");
}

#[tokio::test]
async fn tables_and_metadata_alone() {
    let server = Server::start().await;
    server.post(SERVICES, service("web")).await.ok(201);
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let table = server
        .send("GET", SERVICES, &[("Accept", accept)], "")
        .await
        .ok(200);
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["columnDefinitions"][4]["name"], "Port(s)");
    let row = &table["rows"][1];
    assert_eq!(
        (&row["cells"][0], &row["cells"][4]),
        (&json!("web"), &json!("80/TCP"))
    );
    assert_eq!(row["object"]["kind"], "PartialObjectMetadata");
    let one = server
        .send(
            "GET",
            &format!("{SERVICES}/web?includeObject=Object"),
            &[("Accept", accept)],
            "",
        )
        .await
        .ok(200);
    assert_eq!(one["rows"][0]["object"]["spec"]["type"], "ClusterIP");
    let accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let partial = server
        .send("GET", SERVICES, &[("Accept", accept)], "")
        .await
        .ok(200);
    assert_eq!(partial["kind"], "PartialObjectMetadataList");
    assert!(partial["items"][0]["spec"].is_null());
}
