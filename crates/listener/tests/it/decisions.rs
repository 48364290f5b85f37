use std::sync::Arc;

use http::StatusCode;
use portolan_catalog::{Protocol, Why};
use portolan_listener::{
    Action, Body, Caller, Limits, Methods, Request, Resource, Response, Route, Router, text,
};

use crate::support::{context, decide, hello, serve, until};

#[tokio::test]
async fn an_answer_without_a_decision_is_counted() {
    let server = serve(Limits::default(), |request: Request| async move {
        if request.uri().path() != "/forgotten" {
            decide(&request);
        }
        Response::new(Body::empty())
    });
    server.get("/").await;
    assert_eq!(server.undecided(), 0);
    server.get("/forgotten").await;
    assert_eq!(server.undecided(), 1);
    assert_eq!(
        server.metric(
            "portolan_answers_without_decision_total",
            &["protocol=\"consul\""]
        ),
        1.0
    );
}

/// The shape of the test that every protocol gets: each row of its table is asked, and the count says who forgot.
#[tokio::test]
async fn a_table_can_be_asked_row_by_row() {
    static TABLE: &[Route<()>] = &[
        Route::new(Methods::GET, "/a", "a", |_, r, _| Box::pin(hello(r))),
        Route::new(Methods::GET, "/b/{name}", "b", |_, _, _| {
            Box::pin(async { text(StatusCode::OK, "forgot to ask") })
        }),
        Route::new(Methods::GET, "/c/{*rest}", "c", |_, r, _| {
            Box::pin(hello(r))
        }),
    ];
    let metrics = portolan_listener::Metrics::new();
    let router = Arc::new(Router::new(&metrics, Protocol::Consul, &[TABLE]));
    let routes = router.clone();
    let server = serve(Limits::default(), move |request| {
        let router = router.clone();
        async move { router.dispatch(Arc::new(()), request).await.unwrap() }
    });
    let mut forgetful = Vec::new();
    for route in routes.routes() {
        let before = server.undecided();
        server
            .get(&route.pattern.replace("{name}", "x").replace("{*rest}", "x"))
            .await;
        if server.undecided() > before {
            forgetful.push(route.name);
        }
    }
    assert_eq!(forgetful, ["b"]);
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_is_not_an_answer() {
    let server = serve(Limits::default(), |_request: Request| async move {
        std::future::pending::<Response>().await
    });
    let mut stream = server.connect().await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let streams = ["limit=\"streams_per_connection\""];
    until("the request arrives", || {
        server.metric("portolan_limit_used", &streams) == 1.0
    })
    .await;
    drop(stream);
    until("the handler is dropped", || {
        server.metric("portolan_limit_used", &["limit=\"connections\""]) == 0.0
    })
    .await;
    assert_eq!(server.undecided(), 0);
}

#[test]
fn a_caller_says_who_and_is_used_again() {
    let context = context(Limits::default());
    let first = "127.0.0.1:1000".parse().unwrap();
    let mut caller: Caller = context.caller(Protocol::Dns, first);
    assert!(!caller.decided());
    let service = Resource::Service {
        namespace: "",
        name: "web",
    };
    assert_eq!(caller.allow(Action::Discover, service), Ok(()));
    assert!(caller.decided());
    let cause = caller.cause(Why::Call);
    assert_eq!((cause.protocol, cause.peer), (Protocol::Dns, Some(first)));
    assert_eq!(cause.principal, None);

    let held = caller.clone();
    let second = "127.0.0.1:1001".parse().unwrap();
    caller.renew(second);
    assert_eq!(caller.peer(), second);
    assert!(!caller.decided());
    assert!(
        held.decided() && held.peer() == first,
        "who holds the old one keeps it"
    );

    let undecided = || context.metrics().answers_without_decision(Protocol::Dns);
    caller.answered();
    assert_eq!(undecided(), 1);
    caller.allow(Action::Read, Resource::Public).unwrap();
    caller.answered();
    assert_eq!(undecided(), 1);
    let decision = caller.allow(Action::Admin, Resource::Operator);
    assert_eq!(decision, Ok(()), "no rules without a policy");
}
