//! Plain HTTP.

use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client as Http, rt::TokioExecutor};

use super::super::support::*;

/// Status, content type and body of what a path answers.
pub(super) async fn get(server: &Server, method: &str, path: &str) -> (u16, String, String) {
    let client: Http<_, Full<bytes::Bytes>> = Http::builder(TokioExecutor::new()).build_http();
    let request = http::Request::builder()
        .method(method)
        .uri(format!("{}{path}", server.url))
        .body(Full::default())
        .unwrap();
    let response = client.request(request).await.unwrap();
    let kind = response
        .headers()
        .get("content-type")
        .map(|kind| kind.to_str().unwrap().to_owned())
        .unwrap_or_default();
    (
        response.status().as_u16(),
        kind,
        String::from_utf8(
            response
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .to_vec(),
        )
        .unwrap(),
    )
}

#[tokio::test]
async fn plain_http() {
    let server = Server::start().await;
    let text = "text/plain; charset=utf-8";
    let rows = [
        (
            "GET",
            "/version",
            200,
            "application/json",
            r#"{"etcdserver":"3.7.0","etcdcluster":"3.7.0","storage":"3.7.0"}"#,
        ),
        ("POST", "/version", 405, text, "Method Not Allowed\n"),
        (
            "GET",
            "/health",
            200,
            text,
            r#"{"health":"true","reason":""}"#,
        ),
        (
            "GET",
            "/health?serializable=true",
            200,
            text,
            r#"{"health":"true","reason":""}"#,
        ),
        ("PUT", "/health", 405, text, "Method Not Allowed\n"),
        ("GET", "/livez", 200, text, "ok\n"),
        (
            "GET",
            "/livez?verbose",
            200,
            text,
            "[+]serializable_read ok\nok\n",
        ),
        ("GET", "/readyz", 200, text, "ok\n"),
        (
            "GET",
            "/readyz?verbose&exclude=non_learner",
            200,
            text,
            "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\nok\n",
        ),
        ("GET", "/readyz/linearizable_read", 200, text, "ok\n"),
        (
            "GET",
            "/livez/linearizable_read",
            404,
            text,
            "404 page not found\n",
        ),
        ("GET", "/v2/keys", 404, text, "404 page not found\n"),
        (
            "POST",
            "/v3alpha/kv/range",
            404,
            text,
            "404 page not found\n",
        ),
    ];
    for (method, path, status, kind, body) in rows {
        assert_eq!(
            get(&server, method, path).await,
            (status, kind.to_owned(), body.to_owned()),
            "{method} {path}"
        );
    }
    let (status, _, metrics) = get(&server, "GET", "/metrics").await;
    assert_eq!(status, 200);
    for name in [
        "etcd_server_has_leader 1",
        "etcd_server_is_leader 1",
        "etcd_debugging_mvcc_keys_total 0",
        "etcd_cluster_version{cluster_version=\"3.7\"} 1",
        "portolan_etcd_watchers 0",
    ] {
        assert!(metrics.contains(name), "{name} in {metrics}");
    }
}
