use std::sync::Arc;

use http::{Method, StatusCode};
use portolan_catalog::Protocol;
use portolan_listener::{
    Body, Found, Limits, Methods, Metrics, Params, Request, RequestBody, Response, Route, Router,
    text,
};

use crate::support::{context, decide, serve_with};

struct App {
    greeting: &'static str,
}

async fn show(app: Arc<App>, request: Request, params: Params) -> Response {
    decide(&request);
    let captured = ["service", "key", "id"].map(|name| params.get(name).unwrap_or("-").to_owned());
    Response::new(format!("{} {}", app.greeting, captured.join(" ")).into())
}

static TABLE: &[Route<App>] = &[
    Route::new(Methods::GET, "/v1/status/leader", "leader", |a, r, p| {
        Box::pin(show(a, r, p))
    }),
    Route::new(
        Methods::GET,
        "/v1/catalog/service/{service}",
        "service",
        |a, r, p| Box::pin(show(a, r, p)),
    ),
    Route::new(
        Methods::GET.or(Methods::PUT),
        "/v1/kv/{*key}",
        "kv",
        |a, r, p| Box::pin(show(a, r, p)),
    ),
    Route::new(Methods::DELETE, "/v1/kv/{*key}", "kv_delete", |a, r, p| {
        Box::pin(show(a, r, p))
    }),
];

static MORE: &[Route<App>] = &[Route::new(
    Methods::POST,
    "/v2/{service}/instances/{id}",
    "instance",
    |a, r, p| Box::pin(show(a, r, p)),
)];

fn router() -> Router<App> {
    Router::new(&Metrics::new(), Protocol::Consul, &[TABLE, MORE])
}

fn lead(router: &Router<App>, method: Method, path: &str) -> String {
    match router.find(&method, &path.parse().unwrap()) {
        Found::NotFound => "404".to_owned(),
        Found::MethodNotAllowed(methods) => format!("405 {methods}"),
        Found::Route(route, meter, params) => {
            assert_eq!(meter.route(), route.name);
            let names = ["service", "key", "id"];
            let captured: Vec<_> = names.iter().filter_map(|name| params.get(name)).collect();
            format!("{} {captured:?}", route.name)
        }
    }
}

#[test]
fn paths_are_matched_as_they_came() {
    let router = router();
    let rows = [
        (Method::GET, "/v1/status/leader", r#"leader []"#),
        (Method::GET, "/v1/status/leader/", "404"),
        (Method::GET, "/v1/catalog/service/web", r#"service ["web"]"#),
        (
            Method::GET,
            "/v1/catalog/service/a%2Fb?dc=x",
            r#"service ["a%2Fb"]"#,
        ),
        (Method::GET, "/v1/catalog/service/", "404"),
        (Method::GET, "/v1/catalog/service/a/b", "404"),
        (Method::GET, "/v1/kv/a/b", r#"kv ["a/b"]"#),
        (Method::GET, "/v1/kv/a//b/", r#"kv ["a//b/"]"#),
        (Method::PUT, "/v1/kv//a", r#"kv ["/a"]"#),
        (Method::GET, "/v1/kv/%2F%00/../x", r#"kv ["%2F%00/../x"]"#),
        (Method::GET, "/v1/kv/?recurse", r#"kv [""]"#),
        (Method::GET, "/v1/kv", "404"),
        (Method::DELETE, "/v1/kv/a", r#"kv_delete ["a"]"#),
        (Method::POST, "/v1/kv/a", "405 GET,PUT,DELETE"),
        (Method::HEAD, "/v1/status/leader", "405 GET"),
        (
            Method::from_bytes(b"PURGE").unwrap(),
            "/v1/kv/a",
            "405 GET,PUT,DELETE",
        ),
        (
            Method::POST,
            "/v2/web/instances/7",
            r#"instance ["web", "7"]"#,
        ),
        (Method::GET, "/v3", "404"),
        (Method::GET, "/", "404"),
    ];
    for (method, path, expected) in rows {
        assert_eq!(
            lead(&router, method.clone(), path),
            expected,
            "{method} {path}"
        );
    }
}

#[test]
fn the_table_can_be_read_back() {
    let router = router();
    let names: Vec<_> = router.routes().map(|route| route.name).collect();
    assert_eq!(names, ["leader", "service", "kv", "kv_delete", "instance"]);
}

#[test]
#[should_panic(expected = "is also served by")]
fn a_table_that_contradicts_itself_does_not_start() {
    static TWICE: &[Route<App>] = &[Route::new(
        Methods::PUT,
        "/v1/kv/{*key}",
        "kv_again",
        |a, r, p| Box::pin(show(a, r, p)),
    )];
    Router::new(&Metrics::new(), Protocol::Consul, &[TABLE, TWICE]);
}

#[tokio::test]
async fn requests_are_measured_under_their_route() {
    let context = context(Limits::default());
    let router = Router::new(context.metrics(), Protocol::Consul, &[TABLE]);
    let app = Arc::new(App { greeting: "hi" });
    let mut request = http::Request::new(RequestBody::full("body"));
    *request.uri_mut() = "/v1/kv/a/b".parse().unwrap();
    let peer = "127.0.0.1:1".parse().unwrap();
    request
        .extensions_mut()
        .insert(context.caller(Protocol::Consul, peer));
    let response = router
        .dispatch(app.clone(), Box::new(request))
        .await
        .unwrap();
    assert_eq!(response.into_body().bytes().await.unwrap(), "hi - a/b -");

    let mut unknown = http::Request::new(RequestBody::full(""));
    *unknown.uri_mut() = "/nowhere".parse().unwrap();
    let (request, methods) = router.dispatch(app, Box::new(unknown)).await.unwrap_err();
    assert_eq!(request.uri(), "/nowhere");
    assert_eq!(methods, Methods::default());
}

#[tokio::test]
async fn counts_and_latencies_carry_route_and_status() {
    let metrics = Arc::new(std::sync::OnceLock::<Router<App>>::new());
    let routes = metrics.clone();
    let options = portolan_listener::HttpOptions::default();
    let server = serve_with(Limits::default(), options, move |request| {
        let routes = routes.clone();
        async move {
            let app = Arc::new(App { greeting: "hi" });
            match routes.get().unwrap().dispatch(app, request).await {
                Ok(response) => response,
                Err((request, methods)) => {
                    decide(&request);
                    let status = match methods == Methods::default() {
                        true => StatusCode::NOT_FOUND,
                        false => StatusCode::METHOD_NOT_ALLOWED,
                    };
                    text(status, Body::empty())
                }
            }
        }
    });
    let router = Router::new(server.context.metrics(), Protocol::Consul, &[TABLE]);
    assert!(metrics.set(router).is_ok());
    assert!(server.get("/v1/kv/x").await.contains("200 OK"));
    assert!(server.get("/v1/kv/y").await.contains("200 OK"));
    assert!(server.get("/v9").await.contains("404"));
    let kv = ["route=\"kv\"", "code=\"2xx\""];
    assert_eq!(server.metric("portolan_requests_total", &kv), 2.0);
    let none = ["route=\"unrouted\"", "code=\"4xx\""];
    assert_eq!(server.metric("portolan_requests_total", &none), 1.0);
    let count = server.metric("portolan_request_seconds_count", &["route=\"kv\""]);
    assert_eq!(count, 2.0);
    assert!(server.context.metrics().encode().ends_with("# EOF\n"));
}
