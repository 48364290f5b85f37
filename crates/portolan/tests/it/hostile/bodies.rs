//! Bodies: broken, nested, explosive, oversized, smuggled.

use std::time::Instant;

use bytes::Bytes;
use tonic::Code;

use super::{PATIENCE, Siege, refuses, status_of};
use crate::harness::etcd::{self, Etcd};
use crate::harness::http;
use crate::need_binary;
use portolan_protocol_etcd::wire::etcdserverpb as pb;

#[test]
fn wrong_json() {
    need_binary!();
    let siege = Siege::begin();
    let deep = "[".repeat(200_000);
    let deep_object = format!("{}1{}", "{\"Meta\":".repeat(50_000), "}".repeat(50_000));
    let invalid = [
        "{\"Name\":",
        "[]",
        "\"text\"",
        "{\"Name\":7}",
        "{\"Name\":\"web\",\"Port\":\"x\"}",
        "{\"Name\":\"web\",\"Check\":{\"TTL\":\"soon\"}}",
        &deep,
        &deep_object,
        "\u{0}",
    ];
    for body in invalid {
        let shown = &body[..body.len().min(40)];
        let reply = http::call(
            siege.address("consul"),
            "PUT",
            "/v1/agent/service/register",
            Some(body),
        )
        .expect("an answer");
        assert_eq!(reply.status, 400, "Consul, {shown:?}: {}", reply.text());
        let reply = http::call(
            siege.address("eureka"),
            "POST",
            "/eureka/apps/WEB",
            Some(body),
        )
        .expect("an answer");
        assert_eq!(reply.status, 400, "Eureka, {shown:?}: {}", reply.text());
    }
    // A transaction that can be read and not be done is 409, as in Consul.
    for (path, body, statuses) in [
        ("/v1/txn", "{}", [400, 500]),
        (
            "/v1/txn",
            "[{\"KV\":{\"Verb\":\"explode\",\"Key\":\"a\"}}]",
            [409, 409],
        ),
        ("/v1/catalog/register", "{}", [400, 500]),
        ("/v1/session/create", "{\"TTL\":\"x\"}", [400, 500]),
    ] {
        let reply =
            http::call(siege.address("consul"), "PUT", path, Some(body)).expect("an answer");
        assert!(
            statuses.contains(&reply.status),
            "{path} {body}: {} {}",
            reply.status,
            reply.text()
        );
    }
    siege.end();
}

#[test]
fn xml_with_entities() {
    need_binary!();
    let siege = Siege::begin();
    let eureka = siege.address("eureka");
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "TOPSECRET").unwrap();
    let instance = |inside: &str| {
        format!(
            "<instance><instanceId>x</instanceId><hostName>{inside}</hostName><app>WEB</app><ipAddr>10.0.0.1</ipAddr><status>UP</status><port enabled=\"true\">80</port><dataCenterInfo class=\"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo\"><name>MyOwn</name></dataCenterInfo></instance>"
        )
    };
    let mut laughs = String::from("<!DOCTYPE z [<!ENTITY a0 \"ha\">");
    for level in 1..30 {
        laughs.push_str(&format!(
            "<!ENTITY a{level} \"{}\">",
            format!("&a{};", level - 1).repeat(10)
        ));
    }
    laughs.push_str("]>");
    let external = format!(
        "<!DOCTYPE z [<!ENTITY e SYSTEM \"file://{}\">]>",
        secret.path().display()
    );
    let cases = [
        ("a billion laughs", format!("{laughs}{}", instance("&a29;"))),
        (
            "an external entity",
            format!("{external}{}", instance("&e;")),
        ),
        ("an undefined entity", instance("&nothing;")),
        (
            "deep nesting",
            format!(
                "<instance>{}{}</instance>",
                "<metadata>".repeat(100_000),
                "</metadata>".repeat(100_000)
            ),
        ),
        ("unclosed", "<instance><app>WEB".to_owned()),
        ("another root", "<html></html>".to_owned()),
        (
            "a huge attribute",
            format!("<instance a=\"{}\"/>", "x".repeat(1 << 20)),
        ),
    ];
    for (what, body) in cases {
        let asked = Instant::now();
        let reply = http::call_with(
            eureka,
            "POST",
            "/eureka/apps/WEB",
            &[("Content-Type", "application/xml")],
            Some(body.as_bytes()),
        )
        .expect("an answer");
        assert!(
            (400..500).contains(&reply.status),
            "{what}: {} {}",
            reply.status,
            reply.text()
        );
        assert!(
            asked.elapsed().as_secs() < 20,
            "{what} took {:?}",
            asked.elapsed()
        );
    }
    let shown = http::call(eureka, "GET", "/eureka/apps", None)
        .unwrap()
        .text();
    assert!(
        !shown.contains("TOPSECRET") && !shown.contains("WEB"),
        "{shown}"
    );
    siege.end();
}

#[test]
fn a_gzip_bomb() {
    need_binary!();
    let siege = Siege::begin();
    // 64 MiB of zero in stored and repeated form: hand-made deflate would be longer than this loop.
    let bomb = gzip_of_zeros(64 << 20);
    assert!(bomb.len() < 1 << 20, "the bomb is small before it goes off");
    let headers = [
        ("Content-Type", "application/json"),
        ("Content-Encoding", "gzip"),
    ];
    let reply = http::call_with(
        siege.address("eureka"),
        "POST",
        "/eureka/apps/WEB",
        &headers,
        Some(&bomb),
    )
    .expect("an answer");
    assert!(
        reply.status == 400 || reply.status == 413,
        "{} {}",
        reply.status,
        reply.text()
    );
    siege.end();
}

/// A gzip stream of `length` zero bytes: one literal and then the longest match again and again, in the fixed code.
fn gzip_of_zeros(length: u32) -> Vec<u8> {
    struct Bits(Vec<u8>, u32, u32);
    impl Bits {
        fn push(&mut self, value: u32, count: u32) {
            self.1 |= value << self.2;
            self.2 += count;
            while self.2 >= 8 {
                self.0.push(self.1 as u8);
                self.1 >>= 8;
                self.2 -= 8;
            }
        }
        /// Huffman codes go highest bit first.
        fn code(&mut self, code: u32, count: u32) {
            for bit in (0..count).rev() {
                self.push(code >> bit & 1, 1);
            }
        }
    }
    let mut bits = Bits(vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255], 0, 0);
    bits.push(1, 1);
    bits.push(1, 2);
    bits.code(0b0011_0000, 8);
    let mut left = length - 1;
    while left >= 258 {
        // Length 258 is symbol 285, code 11000101; distance 1 is symbol 0, five bits.
        bits.code(0b1100_0101, 8);
        bits.code(0, 5);
        left -= 258;
    }
    for _ in 0..left {
        bits.code(0b0011_0000, 8);
    }
    bits.code(0, 7);
    bits.push(0, 7);
    // The checksum is wrong on purpose: whoever reads that far has read too much.
    bits.0.extend_from_slice(&[0, 0, 0, 0]);
    bits.0.extend_from_slice(&length.to_le_bytes());
    bits.0
}

#[test]
fn oversized_bodies() {
    need_binary!();
    let siege = Siege::begin();
    let (consul, eureka) = (siege.address("consul"), siege.address("eureka"));
    for (address, line) in [
        (consul, "PUT /v1/kv/big"),
        (consul, "PUT /v1/agent/service/register"),
        (consul, "PUT /v1/txn"),
        (eureka, "POST /eureka/apps/WEB"),
        (siege.address("nacos"), "POST /nacos/v1/cs/configs"),
    ] {
        let asked = Instant::now();
        let head = format!(
            "{line} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: 10737418240\r\n\r\n{{"
        );
        let answer = http::exchange(address, head.as_bytes(), PATIENCE).unwrap_or_default();
        let status = status_of(&answer);
        assert!(
            status.is_none_or(|status| status == 413 || status == 400),
            "{line}, 10 GiB promised: {status:?}"
        );
        assert!(
            asked.elapsed().as_secs() < 20,
            "{line}: the promise of 10 GiB was believed for {:?}",
            asked.elapsed()
        );
    }
    let reply =
        http::call(consul, "PUT", "/v1/kv/big", Some(&"x".repeat(600 << 10))).expect("an answer");
    assert_eq!(reply.status, 413, "{}", reply.text());
    let reply =
        http::call(consul, "PUT", "/v1/kv/fits", Some(&"x".repeat(512 << 10))).expect("an answer");
    assert_eq!(
        (reply.status, reply.text().trim()),
        (200, "true"),
        "512 KiB is allowed"
    );

    etcd::runtime().block_on(async {
        let client = Etcd::connect(siege.address("etcd")).await.unwrap();
        let put = |size: usize| {
            let mut kv = client.kv();
            async move {
                kv.put(pb::PutRequest {
                    key: Bytes::from_static(b"big"),
                    value: vec![0u8; size].into(),
                    ..Default::default()
                })
                .await
            }
        };
        let status = put(1700 << 10).await.expect_err("1.7 MiB is too large");
        assert_eq!(
            (status.code(), status.message()),
            (Code::InvalidArgument, "etcdserver: request is too large")
        );
        let status = put(3 << 20)
            .await
            .expect_err("3 MiB is too large for the transport");
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        put(1 << 20).await.expect("1 MiB fits");
    });
    siege.end();
}

#[test]
fn smuggled_requests() {
    need_binary!();
    let siege = Siege::begin();
    // All at once: a body that never ends is waited for.
    std::thread::scope(|scope| {
        for protocol in ["consul", "eureka", "nacos", "native"] {
            let address = siege.address(protocol);
            for (what, headers) in [
                (
                    "length and chunks",
                    "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
                ),
                (
                    "two lengths",
                    "Content-Length: 4\r\nContent-Length: 40\r\n\r\nabcd",
                ),
                ("a negative length", "Content-Length: -1\r\n\r\n"),
                ("a length with a sign", "Content-Length: +4\r\n\r\nabcd"),
                (
                    "a bad chunk",
                    "Transfer-Encoding: chunked\r\n\r\nZZ\r\nabcd\r\n",
                ),
                (
                    "a chunk without end",
                    "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabcd",
                ),
                (
                    "chunks twice removed",
                    "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
                ),
            ] {
                let bytes = format!(
                    "PUT /v1/kv/smuggled HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}"
                );
                // One request went in: at most one success may come out.
                scope.spawn(move || {
                    let answer =
                        http::exchange(address, bytes.as_bytes(), PATIENCE).unwrap_or_default();
                    let answers = answer
                        .windows(9)
                        .filter(|window| window == b"HTTP/1.1 ")
                        .count();
                    assert!(
                        answers <= 1,
                        "{what} at {protocol}: {answers} answers: {}",
                        String::from_utf8_lossy(&answer)
                    );
                });
            }
        }
    });
    siege.end();
}

#[test]
fn paths_that_climb() {
    need_binary!();
    let siege = Siege::begin();
    for protocol in ["consul", "eureka", "nacos", "native"] {
        let address = siege.address(protocol);
        for path in [
            "/../../etc/passwd",
            "/v1/kv/..%2f..%2fetc",
            "/%00",
            "/v1/agent/service/deregister/%",
            "/\\..\\",
            "/eureka/apps/%zz",
            "/nacos/v1/cs/configs?dataId=..%2F..%2Fetc&group=x",
            "http://evil.example/",
        ] {
            let bytes =
                format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
            let answer = http::exchange(address, bytes.as_bytes(), PATIENCE).unwrap_or_default();
            assert!(
                status_of(&answer).is_none_or(|status| status >= 300),
                "{path} at {protocol}: {}",
                String::from_utf8_lossy(&answer)
            );
            assert!(
                !String::from_utf8_lossy(&answer).contains("root:"),
                "{path} at {protocol}"
            );
        }
    }
    siege.end();
}

#[test]
fn a_web_page_is_not_a_client() {
    need_binary!();
    let siege = Siege::begin();
    for (protocol, line) in [
        ("consul", "PUT /v1/kv/rebound"),
        ("eureka", "POST /eureka/apps/WEB"),
        (
            "nacos",
            "POST /nacos/v1/ns/instance?serviceName=rebound&ip=1.1.1.1&port=80",
        ),
        ("native", "POST /"),
    ] {
        let address = siege.address(protocol);
        refuses(address, "a foreign Host", format!("{line} HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx").as_bytes());
        refuses(address, "a foreign Origin", format!("{line} HTTP/1.1\r\nHost: {address}\r\nOrigin: http://evil.example\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx").as_bytes());
    }
    let reply = http::call(siege.address("consul"), "GET", "/v1/kv/rebound", None).unwrap();
    assert_eq!(reply.status, 404, "the page wrote: {}", reply.text());
    siege.end();
}

#[test]
fn a_stored_script_is_never_served_as_a_page() {
    need_binary!();
    let siege = Siege::begin();
    let consul = siege.address("consul");
    let script = "<script>alert(1)</script>";
    let reply = http::call(consul, "PUT", "/v1/kv/page", Some(script)).expect("an answer");
    assert_eq!(reply.text().trim(), "true");
    let reply = http::call(consul, "GET", "/v1/kv/page?raw", None).expect("an answer");
    assert_eq!(reply.text(), script);
    let kind = reply.header("content-type").unwrap_or("none").to_owned();
    assert!(!kind.contains("html"), "served as {kind}");
    assert_eq!(
        reply.header("x-content-type-options"),
        Some("nosniff"),
        "a browser may guess at {kind}"
    );
    siege.end();
}
