//! Slow peers are closed, patient ones are not.

use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use portolan_listener::{Body, BodyError, BoxError, Limits, Request, Response, read_body, text};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_stream::StreamExt;

use crate::support::{PATIENCE, decide, hello, ms, one_answer, read, request, rest, serve, until};

/// The defaults in small: a thirtieth of a second stands for one.
fn hasty() -> Limits {
    Limits {
        header_timeout: ms(300),
        body_timeout: ms(300),
        write_timeout: ms(300),
        idle_timeout: ms(600),
        ..Limits::default()
    }
}

/// Sends a byte every 30 ms until the server has enough.
async fn dribble(mut stream: TcpStream, bytes: Vec<u8>) -> String {
    let (mut reader, mut writer) = stream.split();
    let mut answer = Vec::new();
    tokio::select! {
        () = async {
            for byte in bytes {
                if writer.write_all(&[byte]).await.is_err() {
                    break;
                }
                sleep(ms(30)).await;
            }
            std::future::pending::<()>().await;
        } => {}
        read = tokio::time::timeout(PATIENCE, tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut answer)) => {
            let _ = read.expect("the server closes the connection");
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn the_defaults_close_a_slow_connection_within_thirty_seconds() {
    let limits = Limits::default();
    let sweep = ms(1_000);
    assert!(limits.header_timeout + sweep < ms(30_000));
    assert!(limits.body_timeout + sweep < ms(30_000));
}

#[tokio::test]
async fn two_hundred_slow_connections_are_closed_and_a_normal_client_is_served() {
    let server = serve(hasty(), hello);
    let began = Instant::now();
    let mut slow = Vec::new();
    for n in 0..200 {
        let stream = server.connect().await;
        let bytes = match n % 4 {
            0 => Vec::new(),
            1 => b"GET / HTTP/1.1\r\nhost: localhost\r\n".repeat(5),
            2 => [&b"GET / HTTP/1.1\r\n"[..], &b"x: y\r\n".repeat(50)].concat(),
            _ => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        };
        slow.push(tokio::spawn(dribble(stream, bytes)));
    }
    for _ in 0..5 {
        assert!(server.get("/").await.contains("200 OK"));
        sleep(ms(50)).await;
    }
    for connection in slow {
        connection.await.unwrap();
    }
    let took = began.elapsed();
    assert!(took < ms(5_000), "{took:?}");
    let cut = server.metric("portolan_limited_total", &["header_timeout"]);
    assert_eq!(cut, 200.0);
}

#[tokio::test]
async fn a_slow_body_is_told_so_and_closed_whatever_it_calls_itself() {
    let server = serve(hasty(), |mut request: Request| async move {
        decide(&request);
        match read_body(&mut request, 1000).await {
            Ok(_) => text(StatusCode::OK, "all of it\n"),
            Err(BodyError::TooSlow) => text(StatusCode::REQUEST_TIMEOUT, "too slow\n"),
            Err(error) => text(StatusCode::BAD_REQUEST, error.to_string()),
        }
    });
    for kind in ["application/json", "application/grpc"] {
        let mut stream = server.connect().await;
        let head = format!(
            "PUT / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 500\r\ncontent-type: {kind}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let began = Instant::now();
        let answer = dribble(stream, vec![b'x'; 500]).await;
        assert!(answer.contains("408"), "{answer}");
        assert!(answer.contains("too slow"), "{answer}");
        assert!(began.elapsed() < ms(3_000));
    }
}

#[tokio::test]
async fn a_grpc_stream_may_say_little_for_long() {
    let server = serve(hasty(), |mut request: Request| async move {
        decide(&request);
        let bytes = read_body(&mut request, 1000).await.unwrap();
        text(StatusCode::OK, format!("{} bytes\n", bytes.len()))
    });
    let io = hyper_util::rt::TokioIo::new(server.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io)
            .await
            .unwrap();
    tokio::spawn(connection);
    let drops = tokio_stream::iter(0..4).then(|_| async {
        sleep(ms(300)).await;
        Ok::<_, BoxError>(Bytes::from_static(b"drop"))
    });
    let stream = http::Request::builder()
        .method("POST")
        .uri(format!("http://{}/Watch", server.address))
        .header("content-type", "application/grpc+proto")
        .body(Body::stream(drops))
        .unwrap();
    let answer = read(sender.send_request(stream).await.unwrap()).await;
    assert_eq!(answer, (StatusCode::OK, "16 bytes\n".to_owned()));
}

#[tokio::test]
async fn a_long_poll_is_not_idle_and_a_quiet_connection_is() {
    let server = serve(hasty(), |request: Request| async move {
        if request.uri().path() == "/poll" {
            sleep(ms(1_500)).await;
        }
        hello(request).await
    });
    let mut stream = server.connect().await;
    for path in ["/poll", "/", "/poll"] {
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        assert!(one_answer(&mut stream).await.contains("hello"));
        // Longer than a head may take: only a begun head counts.
        sleep(ms(400)).await;
    }
    let quiet = Instant::now();
    assert_eq!(rest(&mut stream).await, "");
    assert!(quiet.elapsed() < ms(1_500));
    assert_eq!(
        server.metric("portolan_limited_total", &["idle_timeout"]),
        1.0
    );
}

#[tokio::test]
async fn http2_connections_may_be_quiet_and_streams_long() {
    let server = serve(hasty(), |request: Request| async move {
        decide(&request);
        let ticks = tokio_stream::iter(0..10).then(|_| async {
            sleep(ms(150)).await;
            Ok(Bytes::from_static(b"tick "))
        });
        Response::new(Body::stream(ticks))
    });
    let (mut sender, connection) = server.http2().await;
    // Longer than a head may take, shorter than idle.
    sleep(ms(450)).await;
    let stream = sender.send_request(request(server.address, "/")).await;
    assert_eq!(read(stream.unwrap()).await.1, "tick ".repeat(10));
    let ended = tokio::time::timeout(PATIENCE, connection).await.unwrap();
    ended
        .unwrap()
        .expect("idle ends with GOAWAY, not with an error");
    assert_eq!(
        server.metric("portolan_limited_total", &["idle_timeout"]),
        1.0
    );
}

#[tokio::test]
async fn an_http2_head_in_pieces_is_closed() {
    let limits = Limits {
        idle_timeout: PATIENCE,
        ..hasty()
    };
    let server = serve(limits, hello);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let headers_without_end = [0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82];
    let continuation_without_end = [0, 0, 5, 9, 0, 0, 0, 0, 1, 0, 1, b'x', 1, b'y'];
    let mut stream = server.connect().await;
    let begun = [&preface[..], &settings, &headers_without_end].concat();
    stream.write_all(&begun).await.unwrap();
    let mut sent = 0;
    let began = Instant::now();
    // Whole frames, so that only the header block is unfinished; fewer than the library's own bound on their number.
    while sent < 4 && stream.write_all(&continuation_without_end).await.is_ok() {
        sent += 1;
        sleep(ms(40)).await;
    }
    rest(&mut stream).await;
    assert!(began.elapsed() < ms(3_000));
    let cut = server.metric("portolan_limited_total", &["header_timeout"]);
    assert_eq!(cut, 1.0);
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_closed() {
    let server = serve(hasty(), |request: Request| async move {
        decide(&request);
        Response::new(vec![0; 64 << 20].into())
    });
    let mut stream = server.connect().await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    until("the connection is given up", || {
        server.metric("portolan_limited_total", &["write_timeout"]) == 1.0
    })
    .await;
    until("its place is free", || {
        server.metric("portolan_limit_used", &["limit=\"connections\""]) == 0.0
    })
    .await;
}
