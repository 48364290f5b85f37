//! A refusal reaches clients that are still sending: no reset takes the answer away from them.

use http::StatusCode;
use http_body_util::{BodyExt, Full};
use portolan_listener::{Limits, Request, Response, read_body, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{PATIENCE, Server, decide, ms, request, serve};

const LARGE: usize = 600_000;

/// Answers with the status in the path without a look at the body; below `/read` with 413 after some of it.
async fn refuse(mut request: Request) -> Response {
    decide(&request);
    if request.uri().path() == "/read" {
        return match read_body(&mut request, 500_000).await {
            Ok(_) => text(StatusCode::OK, "read\n"),
            Err(error) => text(StatusCode::PAYLOAD_TOO_LARGE, format!("{error}\n")),
        };
    }
    let status = request.uri().path()[1..].parse().unwrap();
    text(StatusCode::from_u16(status).unwrap(), "refused\n")
}

/// Sends everything before it reads anything, as many clients do; the answer.
async fn send(server: &Server, head: &str, body: &[u8], pieces: usize, pause: u64) -> String {
    let mut stream = server.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    for piece in body.chunks(body.len().div_ceil(pieces).max(1)) {
        stream.write_all(piece).await.expect("no broken pipe");
        if pause > 0 {
            sleep(ms(pause)).await;
        }
    }
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.expect("the server closes").expect("no reset");
    String::from_utf8(answer).unwrap()
}

fn put(path: &str, host: &str, length: usize) -> String {
    format!("PUT {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n\r\n")
}

#[tokio::test]
async fn fast_and_slow_senders_read_their_refusal() {
    let limits = Limits {
        body_bytes: 1 << 20,
        ..Limits::default()
    };
    let server = serve(limits, refuse);
    let body = vec![b'x'; LARGE];
    let chunked = {
        let chunk = [b"1000\r\n".to_vec(), vec![b'x'; 0x1000], b"\r\n".to_vec()].concat();
        [chunk.repeat(LARGE / 0x1000), b"0\r\n\r\n".to_vec()].concat()
    };
    let twice = body.repeat(2);
    for path in [
        "/401", "/403", "/404", "/405", "/415", "/429", "/503", "/read",
    ] {
        let status = path.strip_prefix("/read").map_or(&path[1..], |_| "413");
        let wanted = format!("HTTP/1.1 {status}");
        for _ in 0..10 {
            let answer = send(&server, &put(path, "localhost", LARGE), &body, 1, 0).await;
            assert!(answer.starts_with(&wanted), "{path}: {answer}");
            let head = format!(
                "PUT {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
            );
            let answer = send(&server, &head, &chunked, 1, 0).await;
            assert!(answer.starts_with(&wanted), "{path} chunked: {answer}");
        }
        let answer = send(&server, &put(path, "localhost", LARGE), &body, 40, 3).await;
        assert!(answer.starts_with(&wanted), "{path} slowly: {answer}");
    }
    // The listener's own.
    for _ in 0..50 {
        let answer = send(&server, &put("/200", "localhost", 2 * LARGE), &twice, 7, 0).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        let answer = send(&server, &put("/200", "evil.example", LARGE), &body, 7, 0).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    }
    assert!(server.metric("portolan_limit_used", &["\"linger_bytes\""]) > 100_000.0);
    assert_eq!(server.metric("portolan_limited_total", &["linger"]), 0.0);
}

#[tokio::test]
async fn a_large_head_reads_its_refusal() {
    let server = serve(Limits::default(), refuse);
    for _ in 0..20 {
        let filler = "x".repeat(1 << 20);
        let head = format!("GET /200 HTTP/1.1\r\nhost: localhost\r\nfiller: {filler}\r\n\r\n");
        let answer = send(&server, &head, b"\r\n", 1, 0).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
}

#[tokio::test]
async fn lingering_is_bounded_in_bytes_and_time() {
    let limits = Limits {
        linger_bytes: 8 << 20,
        linger_timeout: ms(300),
        ..Limits::default()
    };
    let server = serve(limits, refuse);
    let mut stream = server.connect().await;
    let head = put("/403", "localhost", 100 << 20);
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut sent = 0;
    let piece = vec![b'x'; 64 << 10];
    while sent < 100 << 20 && stream.write_all(&piece).await.is_ok() {
        sent += piece.len();
    }
    // Beside what was read, the buffers of both ends.
    assert!(sent < 40 << 20, "{sent} bytes went through");
    assert_eq!(server.metric("portolan_limited_total", &["linger_"]), 1.0);

    // One that says no more and does not go.
    let mut stream = server.connect().await;
    let began = Instant::now();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.unwrap().unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 413"));
    assert!(began.elapsed() < ms(300), "the answer does not wait");
    loop {
        if stream.write_all(b"x").await.is_err() {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "the connection stays open");
        sleep(ms(20)).await;
    }
    let timed = ["\"linger_timeout\""];
    assert_eq!(server.metric("portolan_limited_total", &timed), 1.0);
}

#[tokio::test]
async fn who_asks_before_sending_is_told_not_to() {
    let server = serve(Limits::default(), refuse);
    let head = "PUT /403 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9000000\r\nexpect: 100-continue\r\n\r\n";
    for path in ["/403", "/read", "/413"] {
        let answer = send(&server, &head.replace("/403", path), b"", 1, 0).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "no 100 before {answer}");
    }
    // And who does not wait for the word reads it all the same.
    let body = vec![b'x'; 9_000_000];
    for _ in 0..5 {
        let answer = send(&server, head, &body, 5, 0).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
}

#[tokio::test]
async fn small_bodies_that_nobody_reads_do_not_end_the_connection() {
    let server = serve(Limits::default(), refuse);
    let mut stream = server.connect().await;
    for _ in 0..10 {
        let request = put("/404", "localhost", 5) + "hello";
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = crate::support::one_answer(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    }
}

#[tokio::test]
async fn an_http2_connection_outlives_refused_bodies() {
    let limits = Limits {
        body_bytes: 1 << 20,
        ..Limits::default()
    };
    let server = serve(limits, refuse);
    let (mut sender, connection) = server.http2().await;
    for round in 0..50 {
        for (path, length, status) in [
            ("/403", LARGE, 403),
            ("/read", LARGE, 413),
            ("/200", 2 * LARGE, 413),
        ] {
            let mut put = request(server.address, path);
            *put.method_mut() = http::Method::PUT;
            *put.body_mut() = Full::from(vec![b'x'; length]);
            let answer = timeout(PATIENCE, sender.send_request(put)).await;
            let answer = answer.expect("windows are given back").unwrap();
            assert_eq!(answer.status(), status, "round {round}");
            answer.into_body().collect().await.unwrap();
        }
    }
    assert!(!connection.is_finished());
}
