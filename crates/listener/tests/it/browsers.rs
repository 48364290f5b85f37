use portolan_listener::Limits;

use crate::support::{hello, read, request, serve};

#[tokio::test]
async fn a_rebound_name_is_refused_before_any_handler() {
    let server = serve(Limits::default(), hello);
    let ask = |head: &'static str| server.raw(format!("{head}\r\nconnection: close\r\n\r\n"));
    let rows = [
        ("GET / HTTP/1.1\r\nhost: 127.0.0.1:8500", "200"),
        ("GET / HTTP/1.1\r\nhost: node-1", "200"),
        ("GET / HTTP/1.0", "200"),
        ("PUT / HTTP/1.1\r\nhost: evil.example", "403"),
        ("GET / HTTP/1.1\r\nhost: evil.example", "403"),
        (
            "GET http://evil.example/ HTTP/1.1\r\nhost: localhost",
            "403",
        ),
        (
            "GET / HTTP/1.1\r\nhost: localhost\r\nhost: evil.example",
            "400",
        ),
        (
            "PUT / HTTP/1.1\r\nhost: localhost\r\norigin: http://evil.example",
            "403",
        ),
        (
            "PUT / HTTP/1.1\r\nhost: localhost\r\norigin: http://localhost",
            "200",
        ),
        (
            "GET / HTTP/1.1\r\nhost: localhost\r\norigin: http://evil.example",
            "200",
        ),
    ];
    for (head, status) in rows {
        let answer = ask(head).await;
        assert!(answer.split(' ').nth(1) == Some(status), "{head}: {answer}");
        if status == "403" {
            assert!(answer.contains("text/plain"), "{answer}");
        }
    }
    assert_eq!(server.metric("portolan_limited_total", &["browser"]), 5.0);
    assert_eq!(
        server.undecided(),
        0,
        "the listener's own answers need no decision"
    );
}

#[tokio::test]
async fn http2_authorities_obey_the_same_rule() {
    let server = serve(Limits::default(), hello);
    let (mut sender, _connection) = server.http2().await;
    let ours = sender.send_request(request(server.address, "/"));
    assert_eq!(read(ours.await.unwrap()).await.0, 200);
    let mut rebound = request(server.address, "/");
    *rebound.uri_mut() = "http://evil.example:2379/".parse().unwrap();
    let (status, text) = read(sender.send_request(rebound).await.unwrap()).await;
    assert_eq!(status, 403);
    assert!(
        text.contains("evil.example") && text.contains("--allowed-host"),
        "{text}"
    );
    let mut grpc = request(server.address, "/");
    *grpc.uri_mut() = "http://etcd.corp.example:2379/".parse().unwrap();
    let kind = "application/grpc".parse().unwrap();
    grpc.headers_mut().insert("content-type", kind);
    let (status, _) = read(sender.send_request(grpc).await.unwrap()).await;
    assert_eq!(status, 200, "no browser speaks gRPC in the clear");
}
