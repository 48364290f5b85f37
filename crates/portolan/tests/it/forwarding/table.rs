//! Behaviours, each a request and what has to come of it.

use serde_json::json;

use super::wire::{Answer, Wire, get, once};
use super::{Backend, Stage};
use crate::need_binary;

type Row = (&'static str, String, fn(&Answer) -> bool);

fn check(stage: &Stage, rows: &[Row]) {
    let mut wrong = Vec::new();
    for (name, request, holds) in rows {
        let mut wire = Wire::open(stage.gateway());
        wire.send(request);
        let answer = wire.answer(request.starts_with("HEAD"));
        if !holds(&answer) {
            wrong.push(format!("{name}: {}\n{}", answer.head, answer.body));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n---\n"));
}

/// Whether the endpoint got these values of a field.
fn seen(answer: &Answer, name: &str, values: &[&str]) -> bool {
    answer.seen(name) == values
}

pub fn request(method: &str, path: &str, fields: &str, body: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: example.com\r\n{fields}\r\n{body}")
}

#[test]
fn heads_are_passed_on_as_an_intermediary_should() {
    need_binary!();
    let stage = Stage::new(&[]);
    let get = |path: &str, fields: &str| request("GET", path, fields, "");
    let rows: Vec<Row> = vec![
        ("path stripped", get("/web/a/b?c=d", ""), |a| {
            a.first_line().ends_with(" GET /a/b?c=d HTTP/1.1")
        }),
        ("only the segment", get("/web", ""), |a| {
            a.first_line().ends_with(" GET / HTTP/1.1")
        }),
        ("segment and query", get("/web?x", ""), |a| {
            a.first_line().ends_with(" GET /?x HTTP/1.1")
        }),
        ("names fold", get("/WEB/x", ""), |a| a.status == 200),
        ("escapes stay", get("/web/%2e%2e/a%20b", ""), |a| {
            a.first_line().contains("/%2e%2e/a%20b ")
        }),
        ("the host stays", get("/web/", ""), |a| {
            seen(a, "host", &["example.com"])
        }),
        ("prefix told", get("/web/", ""), |a| {
            seen(a, "x-forwarded-prefix", &["/web"])
        }),
        ("client told", get("/web/", ""), |a| {
            seen(a, "x-forwarded-for", &["127.0.0.1"])
        }),
        (
            "client added",
            get("/web/", "X-Forwarded-For: 10.0.0.1\r\n"),
            |a| seen(a, "x-forwarded-for", &["10.0.0.1, 127.0.0.1"]),
        ),
        (
            "host told",
            get("/web/", "X-Forwarded-Host: evil\r\n"),
            |a| seen(a, "x-forwarded-host", &["example.com"]),
        ),
        (
            "scheme told",
            get("/web/", "X-Forwarded-Proto: https\r\n"),
            |a| seen(a, "x-forwarded-proto", &["http"]),
        ),
        ("forwarded", get("/web/", ""), |a| {
            seen(
                a,
                "forwarded",
                &["for=127.0.0.1;host=\"example.com\";proto=http"],
            )
        }),
        (
            "forwarded added",
            get("/web/", "Forwarded: for=10.0.0.1\r\n"),
            |a| {
                seen(
                    a,
                    "forwarded",
                    &["for=10.0.0.1, for=127.0.0.1;host=\"example.com\";proto=http"],
                )
            },
        ),
        ("via there", get("/web/", ""), |a| {
            seen(a, "via", &["1.1 portolan"])
        }),
        ("via back", get("/web/", ""), |a| {
            a.all("via") == ["1.1 portolan"]
        }),
        (
            "connection's own",
            get("/web/", "Connection: x-mine, close\r\nX-Mine: 1\r\n"),
            |a| a.seen("x-mine").is_empty() && a.seen("connection").is_empty(),
        ),
        (
            "keep-alive",
            get(
                "/web/",
                "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n",
            ),
            |a| a.seen("keep-alive").is_empty() && a.seen("proxy-connection").is_empty(),
        ),
        (
            "proxy credentials",
            get(
                "/web/",
                "Proxy-Authorization: Basic x\r\nAuthorization: Basic y\r\n",
            ),
            |a| a.seen("proxy-authorization").is_empty() && seen(a, "authorization", &["Basic y"]),
        ),
        ("te", get("/web/", "TE: gzip\r\nConnection: te\r\n"), |a| {
            a.seen("te").is_empty()
        }),
        (
            "te trailers",
            get("/web/", "TE: trailers\r\nConnection: te\r\n"),
            |a| seen(a, "te", &["trailers"]),
        ),
        (
            "h2c is not passed on",
            get(
                "/web/",
                "Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n",
            ),
            |a| {
                a.status == 200
                    && a.seen("upgrade").is_empty()
                    && a.seen("http2-settings").is_empty()
            },
        ),
        (
            "upgrade without connection",
            get("/web/", "Upgrade: websocket\r\n"),
            |a| a.seen("upgrade").is_empty(),
        ),
        (
            "host cannot be taken away",
            get("/web/", "Connection: host\r\n"),
            |a| seen(a, "host", &["example.com"]),
        ),
        ("endpoint's own", get("/web/hops", ""), |a| {
            a.field("x-secret").is_none()
                && a.field("keep-alive").is_none()
                && a.field("x-kept").is_some()
        }),
        ("trace made", get("/web/", ""), |a| {
            a.seen("traceparent").first().is_some_and(|v| v.len() == 55)
        }),
        (
            "trace passed on",
            get(
                "/web/",
                "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\ntracestate: a=b\r\n",
            ),
            |a| {
                seen(
                    a,
                    "traceparent",
                    &["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
                ) && seen(a, "tracestate", &["a=b"])
            },
        ),
        (
            "bad trace replaced",
            get("/web/", "traceparent: 00-x\r\ntracestate: a=b\r\n"),
            |a| {
                a.seen("traceparent").first().is_some_and(|v| v.len() == 55)
                    && a.seen("tracestate").is_empty()
            },
        ),
        (
            "absolute target",
            "GET http://web.gateway.localhost/p HTTP/1.1\r\nHost: other\r\n\r\n".into(),
            |a| {
                a.first_line().ends_with(" GET /p HTTP/1.1")
                    && seen(a, "host", &["web.gateway.localhost"])
            },
        ),
        (
            "user in the target",
            "GET http://u@web.gateway.localhost/ HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            |a| a.status == 400,
        ),
        (
            "name in the host",
            "GET /web/x HTTP/1.1\r\nHost: WEB.gateway.localhost:8080\r\n\r\n".into(),
            |a| a.first_line().ends_with(" GET /web/x HTTP/1.1"),
        ),
        (
            "host label is off",
            "GET / HTTP/1.1\r\nHost: web.example.com\r\n\r\n".into(),
            |a| a.status == 404,
        ),
        ("no service", get("/nobody/x", ""), |a| {
            a.status == 404 && a.field("x-portolan-error").is_some()
        }),
        ("no path", get("/", ""), |a| a.status == 404),
        ("the server's own", get("/consul/", ""), |a| a.status == 404),
        ("head", request("HEAD", "/web/", "", ""), |a| {
            a.status == 200 && a.field("content-length").is_some_and(|v| v != "0")
        }),
        (
            "post",
            request("POST", "/web/", "Content-Length: 5\r\n", "hello"),
            |a| a.body.contains("body: 5"),
        ),
        (
            "put",
            request("PUT", "/web/", "Content-Length: 5\r\n", "hello"),
            |a| a.body.contains("body: 5") && a.first_line().contains("PUT"),
        ),
        (
            "chunked",
            request(
                "POST",
                "/web/",
                "Transfer-Encoding: chunked\r\n",
                "3;a=b\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            ),
            |a| a.body.contains("body: 5"),
        ),
        (
            "trailers there",
            request(
                "POST",
                "/web/",
                "Transfer-Encoding: chunked\r\nTrailer: x-sum\r\n",
                "3\r\nabc\r\n0\r\nx-sum: 9\r\n\r\n",
            ),
            |a| a.body.contains("trailers: x-sum: 9"),
        ),
        (
            "trailers back",
            request(
                "GET",
                "/web/trailers",
                "TE: trailers\r\nConnection: te\r\n",
                "",
            ),
            |a| a.body == "okx-sum: 7\r\n",
        ),
        ("own method", request("BREW", "/web/", "", ""), |a| {
            a.first_line().contains("BREW / ")
        }),
        (
            "options with none left",
            request("OPTIONS", "/web/", "Max-Forwards: 0\r\n", ""),
            |a| a.status == 200 && a.field("allow").is_some() && a.body.is_empty(),
        ),
        (
            "options counted",
            request("OPTIONS", "/web/", "Max-Forwards: 3\r\n", ""),
            |a| seen(a, "max-forwards", &["2"]),
        ),
        (
            "connect",
            "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n".into(),
            |a| a.status == 405,
        ),
        ("trace", request("TRACE", "/web/", "", ""), |a| {
            a.status == 405
        }),
        ("http/1.0", "GET /web/ HTTP/1.0\r\n\r\n".into(), |a| {
            a.status == 200 && seen(a, "via", &["1.0 portolan"])
        }),
        ("304", get("/web/status/304", ""), |a| a.status == 304),
        ("204", get("/web/status/204", ""), |a| a.status == 204),
        ("an endpoint's own error", get("/web/status/503", ""), |a| {
            a.status == 503 && a.field("x-portolan-error").is_none()
        }),
        ("an endpoint's own 404", get("/web/status/404", ""), |a| {
            a.status == 404 && a.field("x-portolan-error").is_none()
        }),
        (
            "no answer to post",
            request("POST", "/web/hangup", "Content-Length: 0\r\n", ""),
            |a| a.status == 502 && a.field("x-portolan-error").is_some(),
        ),
        (
            "no http",
            request("POST", "/web/garbage", "Content-Length: 0\r\n", ""),
            |a| a.status == 502,
        ),
        (
            "expect",
            request(
                "POST",
                "/web/",
                "Expect: 100-continue\r\nContent-Length: 5\r\n",
                "",
            ),
            |a| a.status == 100,
        ),
    ];
    check(&stage, &rows);
}

#[test]
fn one_connection_carries_many_requests() {
    need_binary!();
    let stage = Stage::new(&[]);
    let mut wire = Wire::open(stage.gateway());
    // Sent ahead of the answers, with bodies between them.
    let one = request("GET", "/web/one", "", "");
    let two = request("POST", "/web/two", "Content-Length: 3\r\n", "abc");
    let three = request(
        "POST",
        "/web/three",
        "Transfer-Encoding: chunked\r\n",
        "1\r\na\r\n0\r\n\r\n",
    );
    wire.send(format!("{one}{two}{three}{one}"));
    for path in ["/one", "/two", "/three", "/one"] {
        let answer = wire.answer(false);
        assert!(
            answer.first_line().contains(&format!(" {path} ")),
            "{path}: {}",
            answer.body
        );
    }
    // What is wrong behind a good one does not harm it.
    wire.send(format!(
        "{}GET /web/x HTTP/1.1\r\n\r\n",
        request("GET", "/web/pause", "", "")
    ));
    assert_eq!(wire.answer(false).status, 200);
    assert_eq!(wire.answer(false).status, 400);
    assert!(wire.is_closed());
    // Connections to endpoints are kept.
    let opened = stage.backends.iter().map(Backend::connections).sum::<u32>();
    assert!(opened <= 4, "{opened}");
    // A body that the client is asked for.
    let mut wire = Wire::open(stage.gateway());
    wire.send(request(
        "POST",
        "/web/",
        "Expect: 100-continue\r\nContent-Length: 5\r\n",
        "",
    ));
    assert_eq!(wire.answer(false).status, 100);
    wire.send("hello");
    let answer = wire.answer(false);
    assert!(answer.body.contains("body: 5") && answer.seen("expect").is_empty());
    // Who asks to close is closed.
    wire.send(request("GET", "/web/", "Connection: close\r\n", ""));
    assert_eq!(wire.answer(false).status, 200);
    assert!(wire.is_closed());
}

#[test]
fn answers_come_as_they_are_made_and_connections_change_their_protocol() {
    need_binary!();
    let stage = Stage::new(&[]);
    let mut wire = Wire::open(stage.gateway());
    wire.send(request(
        "GET",
        "/web/stream",
        "Accept: text/event-stream\r\n",
        "",
    ));
    // The first event is there while the endpoint still waits.
    let first = wire.until(b"first\n").expect("the first event");
    assert!(String::from_utf8_lossy(&first).contains("text/event-stream"));
    assert!(!String::from_utf8_lossy(&first).contains("second"));
    assert!(wire.until(b"second\n").is_some());
    assert!(wire.until(b"0\r\n\r\n").is_some());
    // The same connection goes on.
    wire.send(request("GET", "/web/", "", ""));
    assert_eq!(wire.answer(false).status, 200);
    wire.send(request(
        "GET",
        "/web/upgrade",
        "Connection: Upgrade\r\nUpgrade: echo\r\n",
        "",
    ));
    let answer = wire.answer(false);
    assert_eq!(
        (answer.status, answer.field("upgrade")),
        (101, Some("echo".into()))
    );
    for text in ["one", "GET / HTTP/1.1\r\n\r\n", "\0\u{1}"] {
        wire.send(text);
        assert_eq!(wire.exactly(text.len()).as_deref(), Some(text.as_bytes()));
    }
    wire.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(wire.is_closed());
    // An answer before the body is there.
    let mut wire = Wire::open(stage.gateway());
    wire.send(request(
        "POST",
        "/web/early",
        "Content-Length: 100000000\r\n",
        "some of it",
    ));
    let answer = wire.answer(false);
    assert_eq!((answer.status, &*answer.body), (413, "full"));
    // An answer that is cut is cut for the client as well, and never looks whole.
    let answer = get(stage.gateway(), "example.com", "/web/cut");
    assert_eq!((answer.status, answer.body.len()), (200, 0), "{answer:?}");
}

#[test]
fn routes_and_tags_lead_to_services() {
    need_binary!();
    let stage = Stage::new(&["--host-label"]);
    let tagged = Backend::new();
    stage.register(
        "tagged",
        &tagged,
        json!({"Tags": [
            "traefik.http.routers.t.rule=Host(`t.example.com`) && PathPrefix(`/a`)",
            "urlprefix-f.example.com/x strip=/x",
            "traefik.http.routers.secret.rule=Host(`secret.example.com`)",
            "traefik.http.routers.secret.middlewares=auth",
        ]}),
    );
    let route = |name: &str, body| assert_eq!(stage.route(name, &body), 200, "{name}");
    route(
        "r1",
        json!({"host": "r.example.com", "path": "/api", "service": "web", "strip": true}),
    );
    route(
        "r2",
        json!({"host": "*.wild.example.com", "service": "web", "methods": ["POST"]}),
    );
    route(
        "r3",
        json!({"host": "h.example.com", "service": "web", "headers": [["x-beta", "1"]]}),
    );
    assert_eq!(
        stage.route("bad", &json!({"host": "a b", "service": "web"})),
        400
    );
    assert_eq!(
        stage.route("bad", &json!({"host": "a", "service": ""})),
        400
    );
    assert_eq!(stage.route("a%20b", &json!({"service": "web"})), 400);
    let of = |host: &str, path: &str| stage.until(host, path, 200).first_line().to_owned();
    assert!(of("r.example.com", "/api/x").ends_with(" GET /x HTTP/1.1"));
    assert!(of("t.example.com", "/a/b").ends_with(" GET /a/b HTTP/1.1"));
    assert!(of("f.example.com:80", "/x/y").ends_with(" GET /y HTTP/1.1"));
    assert!(of("web.any.example.com", "/z").ends_with(" GET /z HTTP/1.1"));
    let status = |text: &str| once(stage.gateway(), text).status;
    assert_eq!(
        status("GET / HTTP/1.1\r\nHost: secret.example.com\r\n\r\n"),
        404
    );
    assert_eq!(status("GET / HTTP/1.1\r\nHost: t.example.com\r\n\r\n"), 404);
    let post = "POST / HTTP/1.1\r\nHost: a.wild.example.com\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(status(post), 200);
    assert_eq!(
        status("GET / HTTP/1.1\r\nHost: a.wild.example.com\r\n\r\n"),
        404
    );
    assert_eq!(
        status("GET / HTTP/1.1\r\nHost: h.example.com\r\nX-Beta: 1\r\n\r\n"),
        200
    );
    assert_eq!(status("GET / HTTP/1.1\r\nHost: h.example.com\r\n\r\n"), 404);
    // What is not served is told.
    let native = stage.server.address("native");
    let why = crate::harness::http::get_json(native, "/v1/why/tagged").unwrap();
    assert!(why.to_string().contains("middleware"), "{why}");
    // A route that goes takes effect without anybody's connection ending.
    let mut wire = Wire::open(stage.gateway());
    wire.send("GET /api/x HTTP/1.1\r\nHost: r.example.com\r\n\r\n");
    assert_eq!(wire.answer(false).status, 200);
    let gone = crate::harness::http::call(native, "DELETE", "/v1/routes/r1", None).unwrap();
    assert_eq!(gone.status, 200);
    stage.until("r.example.com", "/api/x", 404);
    wire.send("GET /api/x HTTP/1.1\r\nHost: r.example.com\r\n\r\n");
    assert_eq!(wire.answer(false).status, 404, "on the same connection");
    let again = crate::harness::http::call(native, "DELETE", "/v1/routes/r1", None).unwrap();
    assert_eq!(again.status, 404);
}
