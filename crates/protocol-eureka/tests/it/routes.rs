//! Each row of the protocol's index, and what its failures look like.

use crate::client::{JSON, SEND_JSON, Server, instance};

#[tokio::test]
async fn every_row_of_the_index_answers_with_its_code() {
    let server = Server::start().await;
    server.up("WEB", 1, r#","secureVipAddress":"webs""#).await;
    let rows = [
        ("GET", "/eureka/apps", 200),
        ("GET", "/eureka/apps/", 200),
        ("GET", "/eureka/v2/apps", 200),
        ("GET", "/eureka/v2/apps/?regions=a,b", 200),
        ("HEAD", "/eureka/apps", 200),
        ("GET", "/eureka/apps/delta", 200),
        ("GET", "/eureka/apps/WEB", 200),
        ("GET", "/eureka/apps/web", 200),
        ("HEAD", "/eureka/apps/web", 200),
        ("GET", "/eureka/apps/NOPE", 404),
        ("GET", "/eureka/apps/WEB/h1:web:8080", 200),
        ("GET", "/eureka/apps/WEB/h1%3Aweb%3A8080", 200),
        ("GET", "/eureka/apps/WEB/H1:web:8080", 404),
        ("GET", "/eureka/instances/h1:web:8080", 200),
        ("GET", "/eureka/instances/nope", 404),
        ("GET", "/eureka/vips/web", 200),
        ("GET", "/eureka/vips/nope", 200),
        ("GET", "/eureka/svips/webs", 200),
        ("PUT", "/eureka/apps/WEB/h1:web:8080", 200),
        (
            "PUT",
            "/eureka/v2/apps/WEB/h1:web:8080?status=UP&lastDirtyTimestamp=1",
            200,
        ),
        (
            "PUT",
            "/eureka/apps/WEB/h1:web:8080?lastDirtyTimestamp=soon",
            400,
        ),
        ("PUT", "/eureka/apps/WEB/nope", 404),
        ("PUT", "/eureka/apps/WEB/h1:web:8080/metadata?a=b", 200),
        ("PUT", "/eureka/apps/WEB/nope/metadata?a=b", 404),
        (
            "PUT",
            "/eureka/apps/WEB/h1:web:8080/status?value=OUT_OF_SERVICE",
            200,
        ),
        ("PUT", "/eureka/apps/WEB/h1:web:8080/status?value=out", 500),
        ("PUT", "/eureka/apps/WEB/h1:web:8080/status", 500),
        ("PUT", "/eureka/apps/WEB/nope/status?value=UP", 404),
        (
            "DELETE",
            "/eureka/apps/WEB/h1:web:8080/status?value=UP",
            200,
        ),
        (
            "DELETE",
            "/eureka/apps/WEB/h1:web:8080/status?value=UP",
            200,
        ),
        (
            "DELETE",
            "/eureka/apps/WEB/h1:web:8080/status?value=up",
            500,
        ),
        ("DELETE", "/eureka/apps/WEB/nope/status", 404),
        ("PUT", "/eureka/asg/g/status?value=ENABLED", 400),
        ("GET", "/eureka/status", 200),
        ("GET", "/eureka/serverinfo/statusoverrides", 404),
        ("POST", "/eureka/peerreplication/batch/", 400),
        ("GET", "/eureka/v1/apps", 404),
        ("GET", "/v2/apps", 404),
        ("GET", "/eureka/", 404),
        ("GET", "/nothing", 404),
        ("OPTIONS", "/eureka/apps", 200),
        ("OPTIONS", "/eureka/v2/apps/WEB/", 200),
        ("OPTIONS", "/eureka/nothing", 404),
        ("GET", "/eureka/peerreplication/batch/", 405),
        ("PATCH", "/eureka/apps", 405),
        ("POST", "/eureka/apps", 405),
        ("POST", "/eureka/apps/WEB/h1:web:8080", 405),
        ("GET", "/", 200),
        ("GET", "/lastn", 200),
        ("GET", "/actuator", 200),
        ("GET", "/actuator/health", 200),
        ("GET", "/actuator/info", 200),
        ("DELETE", "/eureka/apps/WEB/h1:web:8080", 200),
        ("DELETE", "/eureka/apps/WEB/h1:web:8080", 404),
        ("GET", "/eureka/apps/WEB", 404),
    ];
    for (method, path, status) in rows {
        let answer = server.send(method, path, &[JSON], b"").await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        if method == "HEAD" {
            assert!(answer.body.is_empty());
            assert_ne!(answer.header("content-length"), Some("0"));
        }
    }
}

#[tokio::test]
async fn failures_have_the_bodies_clients_know() {
    let server = Server::start().await;
    for path in ["/eureka/apps/NOPE", "/eureka/nothing"] {
        let xml = [("Accept", "application/xml")];
        let missing = server.send("GET", path, &xml, b"").await;
        assert_eq!(
            missing.header("content-type"),
            Some("application/xml;charset=UTF-8")
        );
        let text = missing.text();
        assert!(text.starts_with("<Map><timestamp>"), "{text}");
        assert!(text.contains("<status>404</status><error>Not Found</error>"));
    }
    let health = server.get("/actuator/health").await;
    assert_eq!(health.header("content-type"), Some("application/json"));
    let health = server.send("GET", "/actuator/health", &[], b"").await;
    assert_eq!(
        health.header("content-type"),
        Some("application/vnd.spring-boot.actuator.v3+json")
    );

    let renewed = server
        .send("PUT", "/eureka/apps/WEB/h1", &[JSON], b"")
        .await;
    assert_eq!((renewed.status, renewed.body.len()), (404, 0));
    assert_eq!(renewed.header("content-type"), None);

    let missing = server.send("GET", "/eureka/v2/apps/NOPE/", &[], b"").await;
    assert_eq!(missing.header("content-type"), Some("application/json"));
    let text = missing.text();
    assert!(text.starts_with(r#"{"timestamp":"2023-11-"#), "{text}");
    assert!(
        text.ends_with(r#","status":404,"error":"Not Found","path":"/eureka/v2/apps/NOPE/"}"#),
        "{text}"
    );

    let method = server.send("PATCH", "/eureka/apps/", &[], b"").await;
    assert_eq!(method.header("allow"), Some("GET,HEAD,OPTIONS"));
    assert!(method.text().contains(r#""error":"Method Not Allowed""#));
    let options = server
        .send("OPTIONS", "/eureka/apps/WEB/h1", &[], b"")
        .await;
    assert_eq!(options.header("allow"), Some("GET,HEAD,PUT,DELETE,OPTIONS"));
    assert!(options.body.is_empty());

    // Where the code alone does not say what is wrong, the message does.
    server.up("WEB", 1, "").await;
    let id = "/eureka/apps/WEB/h1:web:8080";
    let long = "x".repeat(5000);
    for (method, path, message) in [
        (
            "PUT",
            format!("{id}/status?value=up"),
            r#""message":"no status is called \"up\"; there are UP, DOWN, STARTING, OUT_OF_SERVICE and UNKNOWN","path":"/eureka/"#,
        ),
        (
            "PUT",
            format!("{id}?lastDirtyTimestamp=soon"),
            r#""message":"bad request: lastDirtyTimestamp \"soon\" is not a number""#,
        ),
        (
            "PUT",
            format!("{id}/metadata?k={long}"),
            r#""message":"limit reached: "#,
        ),
    ] {
        let answer = server.send(method, &path, &[], b"").await;
        assert!(answer.text().contains(message), "{}", answer.text());
    }
}

#[tokio::test]
async fn registrations_are_refused_with_their_reason() {
    let server = Server::start().await;
    let good = instance("WEB", 1, "");
    let rows = [
        (
            SEND_JSON.1,
            good.replace("h1:web:8080", "")
                .replace("\"hostName\":\"h1\"", "\"hostName\":\"\""),
            400,
            "Missing instanceId",
        ),
        (
            SEND_JSON.1,
            good.replace("\"hostName\":\"h1\",", ""),
            400,
            "Missing hostname",
        ),
        (
            SEND_JSON.1,
            good.replace("10.0.0.1", ""),
            400,
            "Missing ip address",
        ),
        (
            SEND_JSON.1,
            good.replace("\"app\":\"WEB\"", "\"app\":\"\""),
            400,
            "Missing appName",
        ),
        (
            SEND_JSON.1,
            good.replace("\"app\":\"WEB\"", "\"app\":\"other\""),
            400,
            "Mismatched appName, expecting WEB but was OTHER",
        ),
        (
            SEND_JSON.1,
            good.replace("dataCenterInfo", "x"),
            400,
            "Missing dataCenterInfo",
        ),
        (
            SEND_JSON.1,
            good.replace("\"MyOwn\"", "null"),
            400,
            "Missing dataCenterInfo Name",
        ),
        (
            SEND_JSON.1,
            "{}".into(),
            400,
            r#"{"error": "cannot parse request body"}"#,
        ),
        (
            SEND_JSON.1,
            "nonsense".into(),
            400,
            r#"{"error": "cannot parse request body"}"#,
        ),
        (
            "application/xml",
            good.clone(),
            400,
            "<error><message>cannot parse request body</message></error>",
        ),
    ];
    for (content_type, body, status, text) in rows {
        let headers = [("Content-Type", content_type)];
        let answer = server
            .send("POST", "/eureka/apps/web", &headers, body.as_bytes())
            .await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (status, text),
            "{body}"
        );
    }
    for headers in [
        &[][..],
        &[("Content-Type", "text/plain")],
        &[("Content-Type", "application/x-www-form-urlencoded")],
    ] {
        let answer = server
            .send("POST", "/eureka/apps/WEB", headers, good.as_bytes())
            .await;
        assert_eq!(answer.status, 415, "{headers:?}");
    }
    assert_eq!(server.get("/eureka/apps/WEB").await.status, 404);
    assert_eq!(server.register("web", &good).await.status, 204);
}

#[tokio::test]
async fn spelling_follows_the_accept_header() {
    let server = Server::start().await;
    server.up("WEB", 1, "").await;
    let rows: [(&[(&str, &str)], u16, &str); 6] = [
        (&[], 200, "application/xml"),
        (
            &[("Accept", "text/plain"), ("Accept", "application/json")],
            200,
            "application/json",
        ),
        (&[("Accept", "*/*")], 200, "application/xml"),
        (
            &[("Accept", "application/json, application/*+json")],
            200,
            "application/json",
        ),
        (&[("Accept", "application/xml")], 200, "application/xml"),
        (&[("Accept", "text/html")], 406, "application/json"),
    ];
    for path in [
        "/eureka/apps",
        "/eureka/apps/delta",
        "/eureka/apps/WEB",
        "/eureka/apps/WEB/h1:web:8080",
        "/eureka/vips/web",
        "/eureka/status",
    ] {
        for (headers, status, content_type) in rows {
            let answer = server.send("GET", path, headers, b"").await;
            assert_eq!(answer.status, status, "{path} {headers:?}");
            assert_eq!(
                answer.header("content-type"),
                Some(content_type),
                "{path} {headers:?}"
            );
        }
    }
}

#[tokio::test]
async fn pages_show_what_is_there_and_escape_it() {
    let server = Server::start().await;
    let body = instance("WEB", 1, "").replace("h1:web:8080", "<script>&");
    assert_eq!(server.register("WEB", &body).await.status, 204);
    let page = server.get("/").await;
    assert_eq!(page.header("content-type"), Some("text/html;charset=UTF-8"));
    assert!(
        page.text()
            .contains("<td>WEB</td><td>1</td><td><b>UP</b> (1) - &lt;script&gt;&amp;<br>")
    );
    assert_eq!(server.delete("/eureka/apps/WEB/%3Cscript%3E&").await, 200);
    let last = server.get("/lastn").await.text();
    assert_eq!(
        last.matches("WEB(&lt;script&gt;&amp;)").count(),
        2,
        "{last}"
    );
    assert!(
        server
            .get("/")
            .await
            .text()
            .contains("No instances available")
    );
    assert_eq!(
        server.get("/actuator/health").await.text(),
        r#"{"status":"UP"}"#
    );
    let status = server.send("GET", "/eureka/status", &[], b"").await.text();
    assert!(
        status.starts_with("<com.netflix.eureka.util.StatusInfo>\n  <generalStats>\n"),
        "{status}"
    );
    assert!(
        server
            .get("/eureka/status")
            .await
            .text()
            .contains(r#""applicationStats":{"registered-replicas":"""#)
    );
}
