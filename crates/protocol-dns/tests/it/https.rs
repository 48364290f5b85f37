//! DNS over HTTPS without its TLS: what is taken, what is refused, and for how long a reply is kept.

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType::A;
use portolan_catalog::Protocol;
use portolan_listener::bind_tcp;
use portolan_protocol_dns::{Encrypted, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use std::net::SocketAddr;
use std::time::Duration;

use crate::fixture::{Server, lines, options, query};

/// Sends one request and reads what comes until the server closes; head and body.
async fn call(address: SocketAddr, request: &[u8]) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(request).await.expect("written");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("read");
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let body = bytes.split_off(end.expect("a head") + 4);
    (String::from_utf8(bytes).expect("text"), body)
}

/// base64url without padding.
fn encoded(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let number = three
            .iter()
            .fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte))
            << (8 * (3 - three.len()));
        for place in 0..=three.len() {
            out.push(char::from(
                LETTERS[(number >> (18 - 6 * place) & 63) as usize],
            ));
        }
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_in_urls_and_bodies() {
    let server = Server::start_with(
        &Options {
            service_ttl: vec![("web".into(), Duration::from_secs(7))],
            negative_ttl: Duration::from_secs(3),
            ..options()
        },
        |context| {
            let port = bind_tcp(
                context,
                Protocol::Dns,
                SocketAddr::from(([127, 0, 0, 1], 0)),
            );
            Encrypted {
                https: Some(port.expect("a port")),
                ..Encrypted::default()
            }
        },
    );
    let https = server.https.expect("a port");
    server.fill().await;
    let message = |name: &str| {
        let mut message = query(name, A);
        message.metadata.id = 0;
        message.to_vec().expect("encoded")
    };
    let get = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").into_bytes()
    };
    let post = |kind: &str, body: &[u8]| {
        let length = body.len();
        let mut request = format!("POST /dns-query HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        request.extend(body);
        request
    };
    let asked = |name: &str| get(&format!("/dns-query?dns={}", encoded(&message(name))));
    let web = [
        "NoError aa",
        "- web.service.consul 7 IN A 10.0.0.7",
        "- web.service.consul 7 IN A 10.0.0.8",
    ];
    let none = [
        "NXDomain aa",
        "= consul 3 IN SOA ns.consul hostmaster.consul SERIAL 3600 600 86400 3",
    ];
    for (request, expected, age) in [
        (asked("web.service.consul"), &web[..], 7),
        (
            post("application/dns-message", &message("web.service.consul")),
            &web,
            7,
        ),
        (asked("none.service.consul"), &none, 3),
        (asked("www.example.com"), &["Refused"], 0),
    ] {
        let (head, body) = call(https, &request).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(
            head.contains("content-type: application/dns-message\r\n"),
            "{head}"
        );
        assert!(
            head.contains(&format!("cache-control: max-age={age}\r\n")),
            "{head}"
        );
        assert_eq!(
            lines(&Message::from_vec(&body).expect("readable")),
            *expected
        );
    }
    let mut response = message("web.service.consul");
    response[2] |= 0x80;
    for (request, status, part) in [
        (get("/dns-query"), 400, "no dns=MESSAGE"),
        (get("/dns-query?dns=%2f"), 400, "not base64url"),
        (get("/dns-query?dns=AAAA"), 400, "no query of DNS"),
        (
            get(&format!("/dns-query?dns={}", encoded(&response))),
            400,
            "no query of DNS",
        ),
        (get("/"), 404, "DNS is at /dns-query"),
        (post("text/plain", b"x"), 415, "application/dns-message"),
        (
            post("application/dns-message", &[0; 65_536]),
            413,
            "larger than",
        ),
        (
            b"PUT /dns-query HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec(),
            405,
            "GET or POST",
        ),
    ] {
        let (head, body) = call(https, &request).await;
        let body = String::from_utf8_lossy(&body).into_owned();
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{head}{body}"
        );
        assert!(body.contains(part), "{head}{body}");
        assert_eq!(
            head.contains("allow: GET, POST\r\n"),
            status == 405,
            "{head}"
        );
    }
}
