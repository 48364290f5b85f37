//! The routes, asked in this process over a local registry.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use portolan_api as api;
use portolan_catalog::{Protocol, State};
use portolan_listener::{Body, Metrics, Request, RequestBody, Response, Router, ServerContext};
use portolan_registry::{LocalOptions, Registry, SnapshotFiles, SnapshotParts};
use prometheus_client::metrics::gauge::Gauge;
use serde_json::{Value, json};

use super::*;

#[derive(Debug)]
struct Alone;

impl Backend for Alone {
    fn standing(&self) -> Standing {
        Standing::default()
    }
}

impl SnapshotFiles for Alone {
    fn write(&self, state: &State, to: &mut dyn Write) -> io::Result<u64> {
        write!(to, "revision {}", state.revision())?;
        Ok(10)
    }

    fn read(&self, _: &[u8]) -> Result<SnapshotParts, String> {
        Err("it is none".to_owned())
    }
}

struct Port {
    app: Arc<App>,
    router: Arc<Router<App>>,
    context: ServerContext,
}

impl Port {
    fn open() -> Port {
        let registry = Registry::local(&LocalOptions::default());
        let context = ServerContext::new(portolan_listener::Settings::default());
        metrics::publish(context.metrics(), &registry);
        let readiness = Readiness::new([Protocol::Native, Protocol::Consul]);
        let settings = Settings {
            version: "0.0.1".into(),
            node: "n1".into(),
            ports: Vec::new(),
            open: Vec::new(),
            readiness: readiness.clone(),
            backend: Arc::new(Alone),
            dns: Dns::default(),
            remarks: crate::Remarks::default(),
        };
        let app = Arc::new(App {
            registry,
            context: context.clone(),
            settings,
            watches: Gauge::default(),
        });
        let router = Arc::new(Router::new(
            &Metrics::new(),
            Protocol::Native,
            &[routes::ROUTES],
        ));
        Port {
            app,
            router,
            context,
        }
    }

    async fn send(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Response {
        let mut request: Request = Box::new(http::Request::new(RequestBody::full(body.into())));
        *request.method_mut() = method;
        self.answer(request, path).await
    }

    /// A GET with an `Accept` header.
    async fn asking(&self, path: &str, accept: Option<&'static str>) -> Response {
        let mut request: Request = Box::new(http::Request::new(RequestBody::full("")));
        if let Some(accept) = accept {
            let accept = http::HeaderValue::from_static(accept);
            request.headers_mut().insert(http::header::ACCEPT, accept);
        }
        self.answer(request, path).await
    }

    async fn answer(&self, mut request: Request, path: &str) -> Response {
        *request.uri_mut() = path.parse().unwrap();
        let caller = self
            .context
            .caller(Protocol::Native, ([127, 0, 0, 1], 5).into());
        request.extensions_mut().insert(caller.clone());
        let response = routes::dispatch(self.app.clone(), self.router.clone(), request).await;
        assert!(caller.decided(), "{path} was answered without a decision");
        response
    }

    async fn call(&self, method: Method, path: &str, body: impl Into<Bytes>) -> (u16, Value) {
        let response = self.send(method, path, body).await;
        let status = response.status().as_u16();
        let bytes = response.into_body().bytes().await.unwrap();
        let value = serde_json::from_slice(&bytes);
        (
            status,
            value.unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned())),
        )
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, "").await
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::POST, path, body.to_string()).await
    }

    async fn register(&self, service: &str, host: &str) -> Value {
        let (status, body) = self
            .post(
                "/v1/register",
                json!({ "service": service, "host": host, "port": 80 }),
            )
            .await;
        assert_eq!(status, 200, "{body}");
        body
    }
}

#[tokio::test(start_paused = true)]
async fn registered_found_taken_out_and_deregistered() {
    let port = Port::open();
    let done = port.register("Web", "10.0.0.1").await;
    assert_eq!(
        done,
        json!({ "instance": "native:web/10.0.0.1:80", "revision": 2 })
    );
    assert_eq!(
        port.register("Web", "10.0.0.1").await["revision"],
        2,
        "equal facts are no change"
    );
    let (_, list) = port.get("/v1/services").await;
    let list: api::ServiceList = serde_json::from_value(list).unwrap();
    let row = list.services.iter().find(|row| row.name == "Web").unwrap();
    assert_eq!((row.instances, row.passing, &*row.flat), (1, 1, "Web"));
    let (_, detail) = port.get("/v1/services/web").await;
    assert_eq!(
        detail["endpoints"][0]["members"][0]["id"],
        "native:web/10.0.0.1:80"
    );
    for path in [
        "/v1/instances/native:web%2F10.0.0.1:80",
        "/v1/instances/10.0.0.1:80",
        "/v1/instances/10.0.0.1:80?at=2",
    ] {
        assert_eq!(port.get(path).await.1["host"], "10.0.0.1", "{path}");
    }
    let body =
        json!({ "instance": "10.0.0.1:80", "service": "web", "enable": true, "reason": "disk" });
    assert_eq!(
        port.post("/v1/maintenance", body).await,
        (200, json!({ "revision": 3 }))
    );
    let (_, list) = port.get("/v1/instances?health=maintenance").await;
    assert_eq!(
        list["instances"][0]["admin"],
        json!({ "status": "out_of_service", "reason": "disk", "by": "native" })
    );
    let (_, before) = port.get("/v1/instances?service=web&at=2").await;
    assert_eq!(before["instances"][0]["health"], "passing", "as it was");
    let (status, gone) = port
        .post(
            "/v1/deregister",
            json!({ "instance": "10.0.0.1:80", "service": "web" }),
        )
        .await;
    assert_eq!((status, &gone["revision"]), (200, &json!(4)));
    assert_eq!(
        port.post("/v1/deregister", json!({ "instance": "10.0.0.1:80" }))
            .await
            .0,
        404
    );
    let (_, why) = port.get("/v1/why/web").await;
    assert_eq!(why["causes"][0]["kind"], "deregistered");
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_or_runs_out() {
    let port = Port::open();
    let body = json!({ "service": "web", "id": "a", "port": 80, "ttl_ms": 3000 });
    let (_, done) = port.post("/v1/register", body.clone()).await;
    assert_eq!(done["ttl_ms"], 3000);
    let renew = json!({ "instance": done["instance"] });
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(
            port.post("/v1/renew", renew.clone()).await,
            (200, json!({ "ttl_ms": 3000 }))
        );
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (status, error) = port.post("/v1/renew", renew).await;
    assert_eq!((status, &error["code"]), (404, &json!("not_found")));
    assert_eq!(
        port.get("/v1/why/web?instance=a").await.1["causes"][0]["kind"],
        "lease_expired"
    );
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_or_found_says_so() {
    let port = Port::open();
    port.register("web", "10.0.0.1").await;
    let long = json!({ "service": "x".repeat(300) }).to_string();
    let rows: Vec<(Method, &str, &str, u16, &str)> = vec![
        (Method::GET, "/v1/services/none", "", 404, "not_found"),
        (
            Method::GET,
            "/v1/services?namspace=x",
            "",
            400,
            "bad_request",
        ),
        (
            Method::GET,
            "/v1/instances?service=none",
            "",
            404,
            "not_found",
        ),
        (
            Method::GET,
            "/v1/instances?origin=none",
            "",
            400,
            "bad_request",
        ),
        (Method::GET, "/v1/services?at=99", "", 404, "not_found"),
        (Method::GET, "/v1/services?at=soon", "", 400, "bad_request"),
        (Method::GET, "/v1/services/%ff", "", 400, "bad_request"),
        (Method::POST, "/v1/register", "{", 400, "bad_request"),
        (Method::POST, "/v1/register", "{}", 400, "bad_request"),
        (
            Method::POST,
            "/v1/register",
            r#"{"service":"a","prot":1}"#,
            400,
            "bad_request",
        ),
        (
            Method::POST,
            "/v1/register",
            r#"{"service":"a","ttl_ms":1}"#,
            400,
            "bad_request",
        ),
        (
            Method::POST,
            "/v1/register",
            r#"{"service":"a","weight":-1}"#,
            400,
            "bad_request",
        ),
        (
            Method::POST,
            "/v1/register",
            r#"{"service":"a","namespace":"-"}"#,
            400,
            "bad_request",
        ),
        (Method::POST, "/v1/register", &long, 422, "limit"),
        (
            Method::POST,
            "/v1/renew",
            r#"{"instance":"native:web/10.0.0.1:80"}"#,
            404,
            "not_found",
        ),
        (
            Method::POST,
            "/v1/maintenance",
            r#"{"enable":true}"#,
            400,
            "bad_request",
        ),
        (
            Method::POST,
            "/v1/maintenance",
            r#"{"enable":true,"node":"none"}"#,
            404,
            "not_found",
        ),
        (Method::GET, "/v1/kv/none/x", "", 404, "not_found"),
        (Method::PUT, "/v1/kv/settings/x", "", 400, "bad_request"),
        (
            Method::GET,
            "/v1/watch?service=a&node=b",
            "",
            400,
            "bad_request",
        ),
        (
            Method::PUT,
            "/v1/guard",
            r#"{"mode":"never"}"#,
            400,
            "bad_request",
        ),
        (Method::GET, "/v1/none", "", 404, "not_found"),
        (
            Method::DELETE,
            "/v1/services",
            "",
            405,
            "method_not_allowed",
        ),
        (Method::GET, "/readyz/zookeeper", "", 404, "not_found"),
    ];
    for (method, path, body, status, code) in rows {
        let (found, error) = port.call(method, path, body.to_owned()).await;
        assert_eq!(
            (found, error["code"].as_str()),
            (status, Some(code)),
            "{path} {body}: {error}"
        );
        assert!(
            error["error"].as_str().is_some_and(|text| !text.is_empty()),
            "{path}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn records_are_read_written_and_listed() {
    let port = Port::open();
    let put = |path: &'static str, value: &'static [u8]| port.call(Method::PUT, path, value);
    assert_eq!(
        put("/v1/kv/consul-kv/a/b", b"one").await.1,
        json!({ "revision": 2, "records": 1 })
    );
    assert_eq!(
        put("/v1/kv/consul-kv/a/b", b"one").await.1["revision"],
        2,
        "an equal put is no change there"
    );
    assert_eq!(put("/v1/kv/etcd/a", b"\xff").await.1["revision"], 3);
    assert_eq!(
        put("/v1/kv/etcd/a", b"\xff").await.1["revision"],
        4,
        "and one in etcd"
    );
    assert_eq!(put("/v1/kv/etcd/a?expect=0", b"x").await.0, 409);
    assert_eq!(port.get("/v1/kv/etcd/a").await.1["value_base64"], "/w==");
    assert_eq!(port.get("/v1/kv/consul-kv/a/b").await.1["value"], "one");
    assert_eq!(port.get("/v1/kv/consul-kv/a%2Fb?raw").await.1, "one");
    let (_, list) = port.get("/v1/kv/consul-kv?prefix=a/&keys").await;
    assert_eq!(
        (
            &list["count"],
            &list["entries"][0]["key"],
            &list["entries"][0]["value"]
        ),
        (&json!(1), &json!("a/b"), &Value::Null)
    );
    assert_eq!(
        port.call(Method::DELETE, "/v1/kv/consul-kv/a/?prefix", "")
            .await
            .1,
        json!({ "revision": 5, "records": 1 })
    );
    assert_eq!(
        port.call(Method::DELETE, "/v1/kv/consul-kv/a/b", "")
            .await
            .0,
        404
    );
    assert_eq!(
        port.get("/v1/kv/consul-kv/a/b?at=4").await.1["value"],
        "one"
    );
    let raw = port.send(Method::GET, "/v1/kv/etcd/a?raw", "").await;
    assert_eq!(raw.headers()["content-disposition"], "attachment");
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_what_happened_since_and_ends_with_the_server() {
    let port = Port::open();
    port.register("web", "10.0.0.1").await;
    port.register("other", "10.0.0.1").await;
    let mut body: Body = port
        .send(Method::GET, "/v1/watch?service=web&after=1", "")
        .await
        .into_body();
    async fn line(body: &mut Body) -> api::Line {
        let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
        serde_json::from_slice(&data).unwrap()
    }
    assert_eq!(line(&mut body).await, api::Line::Start { revision: 1 });
    assert_eq!(port.app.watches.get(), 1);
    let api::Line::Event {
        revision,
        cause,
        changes,
        ..
    } = line(&mut body).await
    else {
        panic!("no event");
    };
    assert_eq!((revision, &*cause.protocol), (2, "native"));
    let instance = changes
        .iter()
        .find(|change| change.table == "instance")
        .unwrap();
    assert_eq!(
        (instance.kind, &*instance.row),
        (api::ChangeKind::Created, "native:web/10.0.0.1:80")
    );
    assert_eq!(
        line(&mut body).await,
        api::Line::Idle { revision: 3 },
        "the other service is passed over"
    );
    port.context.drain();
    assert!(matches!(
        line(&mut body).await,
        api::Line::End { revision: 3, .. }
    ));
    assert!(body.frame().await.is_none());
    drop(body);
    assert_eq!(port.app.watches.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn readiness_moments_settings_and_snapshots() {
    let port = Port::open();
    assert_eq!(port.get("/readyz").await.0, 503);
    port.app.settings.readiness.ready();
    assert_eq!(
        port.get("/readyz").await.1["protocols"],
        json!({ "consul": "ready", "native": "ready" })
    );
    assert_eq!(port.get("/readyz/consul").await.0, 200);
    assert_eq!(port.get("/healthz").await, (200, json!("ok\n")));
    port.app.settings.readiness.leaving();
    assert_eq!(port.get("/readyz").await.0, 503);
    port.register("web", "10.0.0.1").await;
    let (_, moment) = port.get("/v1/at?at=2").await;
    assert_eq!(
        (&moment["revision"], &moment["at"], &moment["current"]),
        (&json!(2), &json!("2023-11-14T22:13:20Z"), &json!(2))
    );
    assert_eq!(port.get("/v1/at?at=22:13:20").await.1["revision"], 2);
    let (status, body) = port.get("/v1/services?at=22:00").await;
    assert_eq!(status, 404, "{body}");
    assert_eq!(
        body["error"],
        "there was no catalog at 2023-11-14T22:00:00Z: it begins at 2023-11-14T22:13:20Z"
    );
    assert_eq!(port.get("/v1/guard").await.1["mode"], "auto");
    let (_, guard) = port
        .call(Method::PUT, "/v1/guard", r#"{"mode":"off"}"#)
        .await;
    assert_eq!(
        (&guard["mode"], &guard["active"]),
        (&json!("off"), &json!(false))
    );
    assert_eq!(port.get("/v1/layouts").await.1, json!([]));
    assert_eq!(port.get("/v1/snapshot").await.1, "revision 3");
    assert_eq!(port.get("/v1/version").await.1["version"], "0.0.1");
    let (status, text) = port.get("/metrics").await;
    assert_eq!(status, StatusCode::OK.as_u16());
    for name in [
        "portolan_revision 3",
        "portolan_instances 2",
        "portolan_catalog_limit{limit=\"leases\"} 1000000",
        "# TYPE portolan_revision gauge",
    ] {
        assert!(
            text.as_str().is_some_and(|text| text.contains(name)),
            "no {name} in\n{text}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn metrics_come_in_the_format_that_is_asked_for() {
    let port = Port::open();
    let rows = [
        (None, "text/plain; version=0.0.4", false),
        (
            Some("text/plain, */*;q=0.1"),
            "text/plain; version=0.0.4",
            false,
        ),
        (
            Some("application/openmetrics-text;version=1.0.0,text/plain;q=0.5"),
            "application/openmetrics-text; version=1.0.0",
            true,
        ),
    ];
    for (accept, kind, end) in rows {
        let response = port.asking("/metrics", accept).await;
        let found = response.headers()[http::header::CONTENT_TYPE].clone();
        assert!(
            found.to_str().unwrap().starts_with(kind),
            "{accept:?}: {found:?}"
        );
        let text = response.into_body().bytes().await.unwrap();
        assert_eq!(text.ends_with(b"# EOF\n"), end, "{accept:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_meant_is_refused() {
    let port = Port::open();
    let rows = [
        (
            "/v1/instances?health=bad",
            400,
            "there is passing, warning, critical, maintenance",
        ),
        (
            "/v1/services?at=0",
            400,
            "an empty catalog is at revision 1",
        ),
        ("/v1/at?at=0", 400, "an empty catalog is at revision 1"),
        ("/v1/watch?after=99", 404, "the catalog is at revision 1"),
    ];
    for (path, status, words) in rows {
        let (found, body) = port.get(path).await;
        assert_eq!(found, status, "{path}: {body}");
        assert!(
            body["error"].as_str().unwrap().contains(words),
            "{path}: {body}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn both_guards_are_one_answer() {
    let port = Port::open();
    for (setting, value) in [
        ("guard", "silent=12 services=default/default/web"),
        (
            "guard/checks",
            "silent=20 services=default/default/db,default/default/web",
        ),
    ] {
        let put = portolan_catalog::Put::new(
            portolan_catalog::Keyspace::Settings,
            setting.into(),
            value.into(),
        );
        let write = portolan_catalog::Write::one(portolan_catalog::Op::Put(Box::new(put)));
        let cause = portolan_catalog::Cause::own(portolan_catalog::Why::Guard);
        let command = portolan_catalog::Command::Write(write);
        let settled = port.app.registry.propose(cause, command).await.unwrap();
        settled.outcome.unwrap();
    }
    let (_, guard) = port.get("/v1/guard").await;
    assert_eq!(
        (
            &guard["active"],
            &guard["silent"],
            &guard["critical"],
            &guard["services"]
        ),
        (&json!(true), &json!(12), &json!(20), &json!(["db", "web"]))
    );
}

#[tokio::test(start_paused = true)]
async fn every_route_decides() {
    let port = Port::open();
    for (methods, pattern) in routes() {
        let path = pattern
            .replace("{*key}", "x")
            .replace("{*instance}", "x")
            .replace("{keyspace}", "etcd")
            .replace(['{', '}'], "");
        for method in methods.iter() {
            // The assertion is in `send`; a watch is dropped after its head.
            let _answered = port.send(method, &path, "").await;
        }
    }
}
