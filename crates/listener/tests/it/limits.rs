use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use portolan_listener::{
    BodyError, HttpOptions, Limits, Request, RequestBody, Response, gzip, read_body,
    read_body_decoded, text,
};
use tokio::io::AsyncWriteExt;

use crate::support::{decide, hello, one_answer, read, request, rest, serve, serve_with, until};

async fn store(mut request: Request) -> Response {
    decide(&request);
    match read_body(&mut request, 1000).await {
        Ok(bytes) => text(StatusCode::OK, format!("{} bytes\n", bytes.len())),
        Err(BodyError::TooLarge { .. }) => text(StatusCode::PAYLOAD_TOO_LARGE, "handler\n"),
        Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}

fn two_thousand() -> Limits {
    Limits {
        body_bytes: 2000,
        ..Limits::default()
    }
}

fn put(length: usize) -> String {
    let body = "x".repeat(length);
    format!(
        "PUT / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn bodies_are_bounded_by_the_handler_and_by_the_port() {
    let server = serve(two_thousand(), store);
    let rows = [
        (0, "200", "0 bytes"),
        (1000, "200", "1000 bytes"),
        (1001, "413", "handler"),
        (2000, "413", "handler"),
        (2001, "413", "larger than 2000 bytes"),
        (3_000_000, "413", "larger than 2000 bytes"),
    ];
    for (length, status, words) in rows {
        let answer = server.raw(put(length)).await;
        assert!(answer.contains(status), "{length}: {answer}");
        assert!(answer.contains(words), "{length}: {answer}");
    }
    let labels = ["limit=\"body_bytes\""];
    assert_eq!(server.metric("portolan_limit{", &labels), 2000.0);
    assert_eq!(server.metric("portolan_limit_used", &labels), 1000.0);
    assert_eq!(server.metric("portolan_limited_total", &labels), 2.0);
}

#[tokio::test]
async fn each_limit_says_its_bound_and_where_it_can_how_near_it_is() {
    let server = serve(Limits::default(), hello);
    let long = "x".repeat(1000);
    server
        .raw(format!(
            "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nlong: {long}\r\n\r\n"
        ))
        .await;
    let mut slow = server.connect().await;
    slow.write_all(b"GET / HT").await.unwrap();
    let used = |limit: &str| server.metric("portolan_limit_used", &[&format!("\"{limit}\"")]);
    until("a head that is late", || used("header_timeout") > 0.0).await;
    assert!((1000.0..1200.0).contains(&used("header_bytes")));
    assert_eq!(used("header_count"), 3.0);
    assert_eq!(used("connections"), 1.0);
    let bound = |limit: &str| server.metric("portolan_limit{", &[&format!("\"{limit}\"")]);
    let rows = [
        ("connections", 20_000.0),
        ("connections_per_peer", 16_384.0),
        ("streams_per_connection", 4_096.0),
        ("header_bytes", 65_536.0),
        ("header_count", 128.0),
        ("header_timeout", 10.0),
        ("body_bytes", 1_572_864.0),
        ("decompressed_bytes", 8_388_608.0),
        ("body_timeout", 20.0),
        ("write_timeout", 30.0),
        ("idle_timeout", 300.0),
        ("pending_reset_streams", 64.0),
        ("keepalive_interval", 60.0),
        ("keepalive_timeout", 20.0),
        ("json_depth", 64.0),
        ("drain_timeout", 5.0),
    ];
    for (limit, expected) in rows {
        assert_eq!(bound(limit), expected, "{limit}");
    }
}

#[tokio::test]
async fn a_body_that_hides_its_length_is_cut_off_at_the_bound() {
    let server = serve(two_thousand(), store);
    let head = "PUT / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("190\r\n{}\r\n", "x".repeat(400));
    let fits = format!("{head}{}0\r\n\r\n", chunk.repeat(2));
    let mut stream = server.connect().await;
    stream.write_all(fits.as_bytes()).await.unwrap();
    assert!(one_answer(&mut stream).await.contains("800 bytes"));
    stream
        .write_all(format!("{head}{}", chunk.repeat(3)).as_bytes())
        .await
        .unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.contains("413"), "{answer}");
}

#[tokio::test]
async fn a_handler_without_a_bound_has_the_ports() {
    let server = serve(two_thousand(), |request: Request| async move {
        decide(&request);
        match request.into_body().collect().await {
            Ok(body) => text(StatusCode::OK, format!("{} bytes\n", body.to_bytes().len())),
            Err(error) => text(StatusCode::PAYLOAD_TOO_LARGE, format!("{error}\n")),
        }
    });
    let chunked = |bytes: usize| {
        let head =
            "PUT / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\nconnection: close";
        format!(
            "{head}\r\n\r\n{bytes:x}\r\n{}\r\n0\r\n\r\n",
            "x".repeat(bytes)
        )
    };
    assert!(server.raw(chunked(2000)).await.contains("2000 bytes"));
    let refused = server.raw(chunked(2001)).await;
    assert!(refused.contains("larger than 2000 bytes"), "{refused}");
}

#[tokio::test]
async fn a_claim_of_ten_gibibytes_is_refused_before_a_byte_is_asked_for() {
    let server = serve(two_thousand(), store);
    let head = "PUT / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10737418240\r\nexpect: 100-continue\r\n\r\n";
    let answer = server.raw(head).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_port_may_take_more_than_the_others() {
    let options = HttpOptions {
        body_bytes: Some(5000),
        http1_only: true,
        ..HttpOptions::default()
    };
    let server = serve_with(two_thousand(), options, |mut request: Request| async move {
        decide(&request);
        let bytes = read_body(&mut request, 5000).await.unwrap();
        text(StatusCode::OK, format!("{} bytes\n", bytes.len()))
    });
    assert!(server.raw(put(5000)).await.contains("5000 bytes"));
    let preface = server.raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(
        preface.is_empty() || preface.starts_with("HTTP/1.1 4"),
        "{preface}"
    );
}

#[tokio::test]
async fn large_heads_are_refused() {
    let limits = Limits {
        header_bytes: 16 << 10,
        ..Limits::default()
    };
    let server = serve(limits, hello);
    let with = |extra: String| {
        format!("GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{extra}\r\n")
    };
    let fits = server
        .raw(with(format!("x: {}\r\n", "y".repeat(8000))))
        .await;
    assert!(fits.contains("200 OK"), "{fits}");
    let large = server
        .raw(with(format!("x: {}\r\n", "y".repeat(17_000))))
        .await;
    assert!(large.contains("431"), "{large}");
    let many = server.raw(with("x: y\r\n".repeat(200))).await;
    assert!(many.contains("431"), "{many}");

    let (mut sender, _connection) = server.http2().await;
    let mut large = request(server.address, "/");
    let value = http::HeaderValue::try_from("y".repeat(17_000)).unwrap();
    large.headers_mut().insert("x", value);
    match sender.send_request(large).await {
        Ok(response) => assert_eq!(response.status(), 431),
        Err(error) => assert!(!error.is_timeout(), "{error}"),
    }
    assert!(server.get("/").await.contains("200 OK"));
}

#[tokio::test]
async fn connections_are_bounded_and_the_refusal_names_the_limit() {
    for (limits, status, name) in [
        (
            Limits {
                connections_per_peer: 3,
                ..Limits::default()
            },
            "429",
            "connections_per_peer",
        ),
        (
            Limits {
                connections: 3,
                ..Limits::default()
            },
            "503",
            "connections",
        ),
    ] {
        let server = serve(limits, hello);
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(server.connect().await);
        }
        let labels = [&*format!("limit=\"{name}\"")];
        until("three are in", || {
            server.metric("portolan_limit_used", &labels) == 3.0
        })
        .await;
        assert_eq!(server.metric("portolan_limit{", &labels), 3.0);
        let refused = server.get("/").await;
        assert!(
            refused.contains(status) && refused.contains(name),
            "{refused}"
        );
        assert_eq!(server.metric("portolan_limited_total", &labels), 1.0);
        held.pop();
        until("one is out", || {
            server.metric("portolan_limit_used", &labels) == 2.0
        })
        .await;
        assert!(server.get("/").await.contains("200 OK"));
    }
}

#[tokio::test]
async fn a_storm_of_resets_leaves_others_unharmed() {
    let server = serve(Limits::default(), |request: Request| async move {
        if request.uri().path() == "/wait" {
            std::future::pending::<()>().await;
        }
        hello(request).await
    });
    let (mut sender, connection) = server.http2().await;
    for _ in 0..2_000 {
        if sender.ready().await.is_err() {
            break;
        }
        drop(sender.send_request(request(server.address, "/wait")));
        tokio::task::yield_now().await;
    }
    assert!(server.get("/").await.contains("200 OK"));
    connection.abort();
    until("nothing is left in flight", || {
        server.metric("portolan_limit_used", &["limit=\"connections\""]) == 0.0
    })
    .await;
    let (mut sender, _connection) = server.http2().await;
    let answer = sender.send_request(request(server.address, "/"));
    assert_eq!(read(answer.await.unwrap()).await.0, 200);
}

fn packed(encoding: &str, bytes: impl Into<Bytes>) -> Request {
    let mut request = http::Request::new(RequestBody::full(bytes));
    let encoding = encoding.parse().unwrap();
    request.headers_mut().insert("content-encoding", encoding);
    Box::new(request)
}

#[tokio::test]
async fn packed_bodies_are_bounded_by_what_they_unpack_to() {
    let plain = vec![b'a'; 100_000];
    let small = gzip(&plain);
    let mut request = packed("GZip", small.clone());
    let read = read_body_decoded(&mut request, 1000, 100_000).await;
    assert_eq!(read.unwrap(), plain);

    let mut request = packed("gzip", small.clone());
    let refused = read_body_decoded(&mut request, 1000, 99_999).await;
    assert!(matches!(
        refused,
        Err(BodyError::UnpacksTooLarge { limit: 99_999 })
    ));

    let mut request = packed("gzip", small.clone());
    let refused = read_body_decoded(&mut request, 10, 100_000).await;
    assert!(matches!(refused, Err(BodyError::TooLarge { limit: 10 })));

    let mut request = packed("identity", small);
    assert!(read_body_decoded(&mut request, 1000, 10).await.is_ok());

    let mut request = packed("br", "x");
    let refused = read_body_decoded(&mut request, 10, 10).await;
    assert!(matches!(refused, Err(BodyError::Encoding { encoding }) if encoding == "br"));

    let mut request = packed("gzip", "not gzip");
    let refused = read_body_decoded(&mut request, 10, 10).await;
    assert!(matches!(refused, Err(BodyError::NotGzip)));
    let mut request = packed("gzip", gzip(b""));
    assert_eq!(read_body_decoded(&mut request, 100, 0).await.unwrap(), "");
}
