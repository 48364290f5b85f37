//! Bytes that no client sends: refused in the protocol's words, and the server goes on.

use portolan_catalog::Protocol;

use crate::client::{SEND_JSON, Server};

#[tokio::test]
async fn hostile_bodies_are_refused_and_nothing_breaks() {
    let server = Server::start().await;
    let xml = ("Content-Type", "application/xml");
    let bomb = r#"<!DOCTYPE i [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><instance><app>&b;</app></instance>"#;
    let outside = r#"<!DOCTYPE i [<!ENTITY a SYSTEM "file:///etc/hostname">]><instance><app>&a;</app></instance>"#;
    let deep_json = "{\"a\":".repeat(5000);
    let deep_xml = "<a>".repeat(5000);
    let wide = format!(
        r#"{{"instance":{{"app":"A","x":[{}0]}}}}"#,
        "0,".repeat(100_000)
    );
    let bodies = [
        (xml, bomb.as_bytes().to_vec()),
        (xml, outside.as_bytes().to_vec()),
        (xml, deep_xml.into_bytes()),
        (xml, b"\xff\xfe\x00".to_vec()),
        (SEND_JSON, deep_json.into_bytes()),
        (SEND_JSON, wide.into_bytes()),
        (SEND_JSON, b"\x00\x01\x02".to_vec()),
        (SEND_JSON, b"PRI * HTTP/2.0".to_vec()),
    ];
    for (content_type, body) in bodies {
        let answer = server
            .send("POST", "/eureka/apps/A", &[content_type], &body)
            .await;
        let text = answer.text();
        assert_eq!(answer.status, 400, "{text}");
        assert!(text.contains("cannot parse request body"), "{text}");
    }
    let bomb = portolan_listener::gzip(&vec![b' '; 64 << 20]);
    let headers = [SEND_JSON, ("Content-Encoding", "gzip")];
    assert_eq!(
        server
            .send("POST", "/eureka/apps/A", &headers, &bomb)
            .await
            .status,
        413
    );
    for path in [
        "/eureka/apps/%ff",
        "/eureka/apps/A/%00",
        "/eureka/apps/%00/x",
    ] {
        assert_eq!(server.get(path).await.status, 400, "{path}");
    }
    for path in [
        "/eureka/apps/..%2f..%2fetc",
        "/eureka/apps/A/%2e%2e",
        "/eureka/%61pps",
        "//eureka//apps",
    ] {
        assert_eq!(server.get(path).await.status, 404, "{path}");
    }
    assert_eq!(server.context.metrics().panics(Protocol::Eureka), 0);
    server.up("WEB", 1, "").await;
    assert_eq!(server.get("/eureka/apps/WEB").await.status, 200);
}

#[tokio::test]
async fn names_beyond_their_bounds_are_refused() {
    let server = Server::start().await;
    let long = "x".repeat(300);
    let body = crate::client::instance(&long, 1, "");
    assert_eq!(server.register(&long, &body).await.status, 400);
    let tall = "y".repeat(70_000);
    let body = crate::client::instance("WEB", 1, &format!(r#","homePageUrl":"{tall}""#));
    assert_eq!(server.register("WEB", &body).await.status, 400);
}
