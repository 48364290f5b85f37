use bytes::Bytes;
use http::StatusCode;
use portolan_catalog::Protocol;
use portolan_listener::{Body, Limits, Request, Response};
use tokio::io::AsyncWriteExt;
use tokio_stream::StreamExt;

use crate::support::{decide, hello, one_answer, read, request, rest, serve, until};

async fn fragile(request: Request) -> Response {
    match request.uri().path() {
        "/panic" => panic!("a bug in a handler"),
        "/late" => {
            decide(&request);
            let pieces = tokio_stream::iter(0..3).map(|n| {
                assert!(n < 2, "a bug in a stream");
                Ok(Bytes::from_static(b"piece\n"))
            });
            Response::new(Body::stream(pieces))
        }
        _ => hello(request).await,
    }
}

#[tokio::test]
async fn a_panic_in_a_handler_is_a_500_and_the_connection_goes_on() {
    let server = serve(Limits::default(), fragile);
    let mut stream = server.connect().await;
    for (path, status) in [("/", "200"), ("/panic", "500"), ("/", "200")] {
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = one_answer(&mut stream).await;
        assert!(answer.contains(status), "{path}: {answer}");
        assert!(!answer.contains("a bug"), "a panic's words stay inside");
    }
    assert_eq!(server.panics(), 1);
    assert_eq!(server.undecided(), 0, "a panic is no answer");
    assert_eq!(server.metric("portolan_panics_total", &["consul"]), 1.0);
}

#[tokio::test]
async fn a_panic_in_a_stream_ends_its_connection_only() {
    let server = serve(Limits::default(), fragile);
    let mut bystander = server.connect().await;
    let answer = server.get("/late").await;
    assert!(
        !answer.ends_with("0\r\n\r\n"),
        "the end is missing: {answer}"
    );
    assert_eq!(server.panics(), 1);
    let get = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    bystander.write_all(get).await.unwrap();
    assert!(rest(&mut bystander).await.ends_with("hello\n"));
}

#[tokio::test]
async fn a_panic_in_an_http2_stream_leaves_its_neighbours_alone() {
    let server = serve(Limits::default(), fragile);
    let (mut sender, _connection) = server.http2().await;
    let late = sender.send_request(request(server.address, "/late")).await;
    if let Ok(response) = late {
        use http_body_util::BodyExt;
        assert!(response.into_body().collect().await.is_err());
    }
    until("the panic is counted", || server.panics() == 1).await;
    let next = sender.send_request(request(server.address, "/"));
    assert_eq!(read(next.await.unwrap()).await.0, StatusCode::OK);
    let next = sender.send_request(request(server.address, "/panic"));
    assert_eq!(
        read(next.await.unwrap()).await.0,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    assert_eq!(server.panics(), 2);
}

#[tokio::test]
async fn work_beside_the_ports_is_guarded_too() {
    let server = serve(Limits::default(), hello);
    let context = &server.context;
    assert_eq!(context.guard(Protocol::Consul, || 7), Some(7));
    let bug: Option<u8> = context.guard(Protocol::Consul, || panic!("a bug in a datagram"));
    assert_eq!(bug, None);
    context.spawn(Protocol::Consul, async { panic!("a bug in a worker") });
    until("both are counted", || server.panics() == 2).await;

    let worker = context.clone();
    context.spawn(Protocol::Consul, async move { worker.draining().await });
    assert!(
        context.finish().await,
        "a worker that listens is waited for"
    );
}
