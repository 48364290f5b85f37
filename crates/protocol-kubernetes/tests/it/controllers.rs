//! What follows from objects: endpoints of pods, slices of written Endpoints, and the end of what nobody owns.

use serde_json::{Value, json};

use crate::client::{SERVICES, Server, service};

const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io/service-name%3Dweb";
const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints/web";

/// The endpoints of all slices as `address ready serving terminating`.
fn endpoints(list: &Value) -> Vec<String> {
    let slices = list["items"].as_array().unwrap().iter();
    let all = slices.flat_map(|slice| slice["endpoints"].as_array().unwrap());
    let mut all: Vec<String> = all
        .map(|one| {
            let condition = |name: &str| {
                one["conditions"][name]
                    .as_bool()
                    .map_or("-".into(), |is| is.to_string())
            };
            format!(
                "{} {} {} {}",
                one["addresses"][0].as_str().unwrap(),
                condition("ready"),
                condition("serving"),
                condition("terminating")
            )
        })
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn pods_that_are_selected_and_ready_are_endpoints() {
    let server = Server::start().await;
    server.post(SERVICES, service("web")).await.ok(201);
    server.run_pod("a", "web", "10.0.0.1", true).await;
    server.run_pod("b", "web", "10.0.0.2", false).await;
    server.run_pod("c", "other", "10.0.0.3", true).await;
    let expected = ["10.0.0.1 true true false", "10.0.0.2 false false false"];
    let list = server
        .until(SLICES, |answer| endpoints(&answer.json()) == expected)
        .await;
    let slice = &list["items"][0];
    assert_eq!(
        slice["ports"],
        json!([{"name": "", "port": 8080, "protocol": "TCP"}])
    );
    assert_eq!(
        slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"],
        "endpointslice-controller.k8s.io"
    );
    assert_eq!(slice["metadata"]["ownerReferences"][0]["name"], "web");
    assert_eq!(slice["endpoints"][0]["targetRef"]["name"], "a");
    let both = server
        .until(ENDPOINTS, |answer| {
            answer.status == 200 && answer.json()["subsets"][0]["notReadyAddresses"].is_array()
        })
        .await;
    assert_eq!(both["subsets"][0]["addresses"][0]["ip"], "10.0.0.1");
    assert_eq!(both["subsets"][0]["notReadyAddresses"][0]["ip"], "10.0.0.2");

    server.set_pod("b", "10.0.0.2", true).await;
    server
        .until(SLICES, |answer| {
            endpoints(&answer.json())[1] == "10.0.0.2 true true false"
        })
        .await;
    server
        .delete("/api/v1/namespaces/default/pods/a")
        .await
        .ok(200);
    server
        .until(SLICES, |answer| {
            endpoints(&answer.json()) == ["10.0.0.2 true true false"]
        })
        .await;
    server.delete(&format!("{SERVICES}/web")).await.ok(200);
    server
        .until(SLICES, |answer| answer.json()["items"] == json!([]))
        .await;
    server.until(ENDPOINTS, |answer| answer.status == 404).await;
}

#[tokio::test]
async fn a_pod_on_a_node_ends_gracefully() {
    let server = Server::start().await;
    server.post(SERVICES, service("web")).await.ok(201);
    let pods = "/api/v1/namespaces/default/pods";
    let mut pod = crate::client::pod("a", "web");
    pod["spec"]["nodeName"] = "n".into();
    server.post(pods, pod).await.ok(201);
    server.set_pod("a", "10.0.0.1", true).await;
    server
        .until(SLICES, |answer| {
            endpoints(&answer.json()) == ["10.0.0.1 true true false"]
        })
        .await;
    let marked = server
        .delete(&format!("{pods}/a?gracePeriodSeconds=2"))
        .await
        .ok(200);
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 2);
    server
        .until(SLICES, |answer| {
            endpoints(&answer.json()) == ["10.0.0.1 false true true"]
        })
        .await;
    server
        .until(&format!("{pods}/a"), |answer| answer.status == 404)
        .await;
}

#[tokio::test]
async fn many_endpoints_fill_slices_of_a_hundred_and_stay_where_they_are() {
    let server = Server::start().await;
    server.post(SERVICES, service("web")).await.ok(201);
    for n in 0..120 {
        server
            .run_pod(
                &format!("p{n}"),
                "web",
                &format!("10.0.{}.{}", n / 100, n % 100 + 1),
                true,
            )
            .await;
    }
    let list = server
        .until(SLICES, |answer| endpoints(&answer.json()).len() == 120)
        .await;
    let sizes = |list: &Value| {
        let slices = list["items"].as_array().unwrap().iter();
        let mut sizes: Vec<usize> = slices
            .map(|slice| slice["endpoints"].as_array().unwrap().len())
            .collect();
        sizes.sort_unstable();
        sizes
    };
    assert!(
        sizes(&list).iter().all(|size| *size <= 100) && sizes(&list).len() == 2,
        "{:?}",
        sizes(&list)
    );
    let versions = |list: &Value| -> Vec<(String, String)> {
        let slices = list["items"].as_array().unwrap().iter();
        slices
            .map(|slice| {
                (
                    slice["metadata"]["name"].to_string(),
                    slice["metadata"]["resourceVersion"].to_string(),
                )
            })
            .collect()
    };
    server
        .delete("/api/v1/namespaces/default/pods/p0")
        .await
        .ok(200);
    let after = server
        .until(SLICES, |answer| endpoints(&answer.json()).len() == 119)
        .await;
    let before = versions(&list);
    let changed = versions(&after)
        .into_iter()
        .filter(|one| !before.contains(one))
        .count();
    assert_eq!(changed, 1, "one change rewrites one slice");
}

#[tokio::test]
async fn endpoints_that_somebody_wrote_are_slices_too() {
    let server = Server::start().await;
    server
        .post(
            SERVICES,
            json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}),
        )
        .await
        .ok(201);
    let written = json!({"metadata": {"name": "web"}, "subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 9376}]}]});
    let made = server
        .post("/api/v1/namespaces/default/endpoints", written)
        .await;
    assert!(
        made.head
            .to_ascii_lowercase()
            .contains("warning: 299 - \"v1 endpoints is deprecated"),
        "{}",
        made.head
    );
    let list = server
        .until(SLICES, |answer| {
            endpoints(&answer.json()) == ["192.0.2.1 true - -"]
        })
        .await;
    assert_eq!(
        list["items"][0]["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"],
        "endpointslicemirroring-controller.k8s.io"
    );
    server.delete(ENDPOINTS).await.ok(200);
    server
        .until(SLICES, |answer| answer.json()["items"] == json!([]))
        .await;
}

#[tokio::test]
async fn what_is_owned_goes_with_its_owner() {
    let server = Server::start().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let owner = server
        .post(maps, json!({"metadata": {"name": "owner"}}))
        .await
        .ok(201);
    let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]});
    server
        .post(
            maps,
            json!({"metadata": {"name": "owned", "ownerReferences": [reference]}}),
        )
        .await
        .ok(201);
    assert_eq!(server.get(&format!("{maps}/owned")).await.status, 200);
    server.delete(&format!("{maps}/owner")).await.ok(200);
    server
        .until(&format!("{maps}/owned"), |answer| answer.status == 404)
        .await;
    server
        .post(
            maps,
            json!({"metadata": {"name": "late", "ownerReferences": [reference]}}),
        )
        .await
        .ok(201);
    server
        .until(&format!("{maps}/late"), |answer| answer.status == 404)
        .await;
}

#[tokio::test]
async fn a_namespace_goes_with_all_that_is_in_it() {
    let server = Server::start().await;
    let made = server
        .post("/api/v1/namespaces", json!({"metadata": {"name": "team"}}))
        .await
        .ok(201);
    assert_eq!(
        (&made["status"]["phase"], &made["spec"]["finalizers"][0]),
        (&json!("Active"), &json!("kubernetes"))
    );
    let services = "/api/v1/namespaces/team/services";
    let ip = server.post(services, service("web")).await.ok(201)["spec"]["clusterIP"]
        .as_str()
        .unwrap()
        .to_owned();
    server
        .post(
            "/api/v1/namespaces/team/configmaps",
            json!({"metadata": {"name": "a"}}),
        )
        .await
        .ok(201);
    let marked = server.delete("/api/v1/namespaces/team").await.ok(200);
    assert_eq!(marked["status"]["phase"], "Terminating");
    let late = server
        .post(
            "/api/v1/namespaces/team/configmaps",
            json!({"metadata": {"name": "b"}}),
        )
        .await;
    assert!(matches!(late.status, 403 | 404), "{}", late.text());
    server
        .until("/api/v1/namespaces/team", |answer| answer.status == 404)
        .await;
    assert_eq!(server.get(&format!("{services}/web")).await.status, 404);
    assert_eq!(
        server
            .get(&format!("/apis/networking.k8s.io/v1/ipaddresses/{ip}"))
            .await
            .status,
        404
    );
    let kept = server.delete("/api/v1/namespaces/default").await;
    assert_eq!(kept.refused(), (403, "Forbidden".into()));
}

#[tokio::test]
async fn the_service_kubernetes_is_this_server() {
    let server = Server::start().await;
    let own = server.get(&format!("{SERVICES}/kubernetes")).await.ok(200);
    assert_eq!(own["spec"]["clusterIP"], "10.96.0.1");
    let path = "/api/v1/namespaces/default/endpoints/kubernetes";
    let endpoints = server.until(path, |answer| answer.status == 200).await;
    let subset = &endpoints["subsets"][0];
    assert_eq!(
        (&subset["addresses"][0]["ip"], &subset["ports"][0]["port"]),
        (&json!("127.0.0.1"), &json!(server.address.port()))
    );
}
