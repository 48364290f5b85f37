//! The JSON gateway.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client as Http, rt::TokioExecutor};
use portolan_protocol_etcd::{json_methods, methods};

use super::support::*;

/// A request with its answer's head, and the body to come.
pub async fn open(
    server: &Server,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> http::Response<hyper::body::Incoming> {
    let client: Http<_, Full<Bytes>> = Http::builder(TokioExecutor::new()).build_http();
    let mut request = http::Request::builder()
        .method(method)
        .uri(format!("{}{path}", server.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).unwrap();
    client.request(request).await.unwrap()
}

/// Status and body of an answer that ends.
pub async fn post(server: &Server, path: &str, body: impl Into<Bytes>) -> (u16, String) {
    let response = open(server, ("POST", path), &[], body).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// The next lines of an answer that may not end.
pub async fn lines(response: &mut http::Response<hyper::body::Incoming>, count: usize) -> String {
    let mut text = String::new();
    while text.matches('\n').count() < count {
        let frame = tokio::time::timeout(Duration::from_secs(20), response.frame()).await;
        let frame = frame.expect("a line in time").expect("no end").unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    text
}

fn failed(code: u16, text: &str) -> String {
    let text = serde_json::Value::from(text);
    format!(r#"{{"error":{text},"code":{code},"message":{text}}}"#)
}

/// A header at a revision, as this server in memory says it.
fn header(revision: u64) -> String {
    format!(
        r#""header":{{"cluster_id":"1","member_id":"1","revision":"{revision}","raft_term":"1"}}"#
    )
}

#[tokio::test]
async fn every_path_leads_to_a_method_and_decides_before_it_answers() {
    let server = Server::start().await;
    let served: Vec<&str> = methods().collect();
    for (json, grpc) in json_methods() {
        assert!(served.contains(&grpc), "{json}: {grpc}");
        let path = format!("/v3/{json}");
        let waits = ["watch", "observe", "lock/lock", "campaign"];
        for body in ["x", "[]", "{}"] {
            if body == "{}" && waits.iter().any(|end| path.ends_with(end)) {
                continue;
            }
            let (status, answer) = post(&server, &path, body).await;
            assert_eq!(server_undecided(&server), 0, "{path} {body}");
            if body != "{}" {
                assert_eq!(status, 400, "{path} {body}: {answer}");
            }
        }
        let response = open(&server, ("GET", &path), &[], "").await;
        assert_eq!(response.status(), 501, "{path}");
    }
    for path in [
        "/v3",
        "/v3/",
        "/v3/nothing",
        "/v3beta/kv",
        "/v3alpha/kv/put",
    ] {
        post(&server, path, "{}").await;
        assert_eq!(server_undecided(&server), 0, "{path}");
    }
}

fn server_undecided(server: &Server) -> u64 {
    undecided(server)
}

/// As etcd 3.7.3 answered the same requests in the same order, but for the ids and the field `error`, which etcd sends up to 3.5.
#[tokio::test]
async fn answers_are_those_of_etcd() {
    let server = Server::start().await;
    let fine = |rest: &str, revision| (200, format!("{{{}{rest}}}", header(revision)));
    let no = |status: u16, code, text: &str| (status, failed(code, text));
    let foo = r#","kvs":[{"key":"Zm9v","create_revision":"2","mod_revision":"2","version":"1","value":"YmFy"}],"count":"1""#;
    let rows = [
        ("kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#, fine("", 2)),
        ("kv/range", r#"{"key":"Zm9v"}"#, fine(foo, 2)),
        (
            "kv/range",
            r#"{"key":"Zm9v","rangeEnd":"AA==","sortOrder":"DESCEND","limit":1}"#,
            fine(foo, 2),
        ),
        (
            "kv/range",
            r#"{"key":"Zm9v","range_end":"AA","sort_target":3}"#,
            fine(foo, 2),
        ),
        (
            "kv/range",
            "",
            no(400, 3, "etcdserver: key is not provided"),
        ),
        (
            "kv/range",
            "{}",
            no(400, 3, "etcdserver: key is not provided"),
        ),
        (
            "kv/range",
            r#"{"key":"!!"}"#,
            no(
                400,
                3,
                "proto: (line 1:8): invalid value for bytes field key: \"!!\"",
            ),
        ),
        (
            "kv/range",
            r#"{"key":"Zm9v","nope":{"a":[1,2]}} trailing"#,
            fine(foo, 2),
        ),
        ("kv/range", r#"{"key":"Zm9v""#, no(400, 3, "unexpected EOF")),
        (
            "kv/range",
            "x",
            no(
                400,
                3,
                "invalid character 'x' looking for beginning of value",
            ),
        ),
        ("kv/range", r#"{"key":"Zm9v","limit":1e2}"#, fine(foo, 2)),
        (
            "kv/range",
            r#"{"key":"Zm9v","limit":" 1"}"#,
            no(
                400,
                3,
                "proto: (line 1:23): invalid value for int64 field limit: \" 1\"",
            ),
        ),
        (
            "kv/range",
            r#"{"key":"Zm9v","sort_order":"UP"}"#,
            fine(foo, 2),
        ),
        (
            "kv/range",
            r#"{"key":"Zm9v","sort_order":77}"#,
            no(400, 3, "etcdserver: invalid sort option"),
        ),
        (
            "kv/range",
            r#"{"key":null}"#,
            no(400, 3, "etcdserver: key is not provided"),
        ),
        (
            "kv/range",
            r#"{"key":"Zm9v","revision":"999999"}"#,
            no(
                400,
                11,
                "etcdserver: mvcc: required revision is a future revision",
            ),
        ),
        (
            "kv/txn",
            r#"{"compare":[{"target":"MOD","key":"Zm9v","modRevision":"2","result":"EQUAL"}],"success":[{"requestPut":{"key":"Zm9v","value":"YmF6"}},{"request_range":{"key":"Zm9v"}},{"request_delete_range":{"key":"eA=="}},{"request_txn":{}}]}"#,
            fine(
                r#","succeeded":true,"responses":[{"response_put":{"header":{"revision":"3"}}},{"response_range":{"header":{"revision":"3"},"kvs":[{"key":"Zm9v","create_revision":"2","mod_revision":"3","version":"2","value":"YmF6"}],"count":"1"}},{"response_delete_range":{"header":{"revision":"3"}}},{"response_txn":{"header":{},"succeeded":true}}]"#,
                3,
            ),
        ),
        (
            "kv/txn",
            r#"{"success":[{}]}"#,
            no(400, 3, "etcdserver: key not found"),
        ),
        (
            "kv/deleterange",
            r#"{"key":"Zm9v","prev_kv":true}"#,
            fine(
                r#","deleted":"1","prev_kvs":[{"key":"Zm9v","create_revision":"2","mod_revision":"3","version":"2","value":"YmF6"}]"#,
                4,
            ),
        ),
        (
            "lease/grant",
            r#"{"TTL":"30","ID":"77"}"#,
            fine(r#","ID":"77","TTL":"30""#, 4),
        ),
        (
            "lease/grant",
            r#"{"TTL":30,"ID":77}"#,
            no(400, 9, "etcdserver: lease already exists"),
        ),
        (
            "lease/timetolive",
            r#"{"ID":79,"keys":true}"#,
            fine(r#","ID":"79","TTL":"-1""#, 4),
        ),
        ("lease/leases", "{}", fine(r#","leases":[{"ID":"77"}]"#, 4)),
        (
            "kv/lease/leases",
            "{}",
            fine(r#","leases":[{"ID":"77"}]"#, 4),
        ),
        ("kv/lease/revoke", r#"{"ID":77}"#, fine("", 4)),
        (
            "lease/revoke",
            r#"{"ID":77}"#,
            no(404, 5, "etcdserver: requested lease not found"),
        ),
        ("nothing", "{}", no(404, 5, "Not Found")),
        ("kv/range/", "{}", no(404, 5, "Not Found")),
        (
            "auth/authenticate",
            r#"{"name":"a"}"#,
            no(400, 9, "etcdserver: authentication is not enabled"),
        ),
    ];
    for (path, body, expected) in rows {
        let answer = post(&server, &format!("/v3/{path}"), body).await;
        assert_eq!(answer, expected, "{path} {body}");
    }
    let (_, members) = post(&server, "/v3beta/cluster/member/list", "{}").await;
    let expected = r#"{"header":{"cluster_id":"1","member_id":"1","raft_term":"1"},"members":[{"ID":"1","name":"portolan","clientURLs":["#;
    assert!(members.starts_with(expected), "{members}");
    let response = open(&server, ("POST", "/v3"), &[], "{}").await;
    assert_eq!(
        (
            response.status().as_u16(),
            response.headers()["location"].as_bytes()
        ),
        (307, &b"/v3/"[..])
    );
    let timeout = [("grpc-timeout", "1x")];
    let response = open(&server, ("POST", "/v3/kv/range"), &timeout, "{}").await;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, failed(3, "invalid grpc-timeout: 1x"));
}

#[tokio::test]
async fn streams_are_lines() {
    let server = Server::start().await;
    for value in ["YQ==", "Yg=="] {
        let put = format!(r#"{{"key":"aw==","value":"{value}"}}"#);
        post(&server, "/v3/kv/put", put).await;
    }
    let asked = r#"{"create_request":{"key":"aw==","start_revision":"2","prev_kv":true}} {"create_request":{"key":"eA=="}}x"#;
    let mut response = open(&server, ("POST", "/v3/watch"), &[], asked).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(
        response.headers()["grpc-metadata-content-type"],
        "application/grpc"
    );
    let told = lines(&mut response, 3).await;
    let mut told: Vec<&str> = told.lines().collect();
    told.sort_unstable();
    assert_eq!(
        told,
        [
            format!(r#"{{"result":{{{},"created":true}}}}"#, header(3)),
            format!(
                r#"{{"result":{{{},"events":[{{"kv":{{"key":"aw==","create_revision":"2","mod_revision":"2","version":"1","value":"YQ=="}}}},{{"kv":{{"key":"aw==","create_revision":"2","mod_revision":"3","version":"2","value":"Yg=="}},"prev_kv":{{"key":"aw==","create_revision":"2","mod_revision":"2","version":"1","value":"YQ=="}}}}]}}}}"#,
                header(3)
            ),
            format!(
                r#"{{"result":{{{},"watch_id":"1","created":true}}}}"#,
                header(3)
            ),
        ]
    );
    post(&server, "/v3/kv/deleterange", r#"{"key":"aw=="}"#).await;
    let gone = lines(&mut response, 1).await;
    assert!(
        gone.contains(r#""events":[{"type":"DELETE","kv":{"key":"aw==","mod_revision":"4"}"#),
        "{gone}"
    );
    // A stream that ends: one line for each renewal, those of leases that are not there included.
    post(&server, "/v3/lease/grant", r#"{"TTL":30,"ID":77}"#).await;
    let renewals = r#"{"ID":77}{"ID":78} {"ID":"x"}{"ID":77}"#;
    assert_eq!(
        post(&server, "/v3/lease/keepalive", renewals).await,
        (
            200,
            format!(
                "{{\"result\":{{{0},\"ID\":\"77\",\"TTL\":\"30\"}}}}\n{{\"result\":{{{0},\"ID\":\"78\"}}}}\n",
                header(4)
            )
        )
    );
    assert_eq!(
        post(&server, "/v3/lease/keepalive", "").await,
        (200, String::new())
    );
    assert_eq!(
        post(&server, "/v3/watch", "x").await,
        (
            400,
            failed(3, "invalid character 'x' looking for beginning of value")
        )
    );
}

#[tokio::test]
async fn hostile_bodies_are_refused() {
    let server = Server::start().await;
    let nested = |depth: usize| {
        let open = r#"{"success":[{"request_txn":"#.repeat(depth);
        format!("{open}{{}}{}", "}]}".repeat(depth))
    };
    let brackets = "[".repeat(1 << 20);
    let unknown = format!(
        r#"{{"key":"aw==","x":{}1{}}}"#,
        "[".repeat(9000),
        "]".repeat(9000)
    );
    let long = format!(r#"{{"key":"aw==","limit":{}}}"#, "9".repeat(1 << 20));
    let exponent = format!(r#"{{"key":"aw==","limit":1e{}}}"#, "9".repeat(1 << 20));
    let large = format!(r#"{{"key":"aw==","value":"{}"}}"#, "A".repeat(3 << 20));
    let huge = " ".repeat(5 << 20);
    let rows: [(&str, &str, String, u16); 12] = [
        ("deep", "kv/txn", nested(5000), 400),
        ("deeper than any text", "kv/range", brackets, 400),
        ("deep and unknown", "kv/range", unknown, 200),
        ("a long number", "kv/range", long, 400),
        ("a long exponent", "kv/range", exponent, 400),
        ("bad base64", "kv/put", r#"{"key":"a"}"#.into(), 400),
        ("more padding", "kv/put", r#"{"key":"YQ==="}"#.into(), 400),
        (
            "half a pair",
            "auth/authenticate",
            r#"{"name":"\udc00x"}"#.into(),
            400,
        ),
        ("a message too large", "kv/put", large, 429),
        ("a body too large", "kv/put", huge, 413),
        (
            "a number for a message",
            "kv/txn",
            r#"{"compare":[1]}"#.into(),
            400,
        ),
        (
            "a key twice",
            "kv/put",
            r#"{"key":"YQ==","\u006bey":"YQ=="}"#.into(),
            400,
        ),
    ];
    for (name, path, body, expected) in rows {
        let (status, answer) = post(&server, &format!("/v3/{path}"), body).await;
        let shown = &answer[..answer.len().min(200)];
        assert_eq!(status, expected, "{name}: {shown}");
    }
    let bad = b"{\"key\":\"\xff\"}".to_vec();
    assert_eq!(
        post(&server, "/v3/kv/range", bad).await,
        (
            400,
            failed(3, "proto: syntax error (line 1:8): invalid UTF-8 in string")
        )
    );
    assert_eq!(
        post(&server, "/v3/kv/range", r#"{"key":"aw=="}"#).await.0,
        200
    );
}

#[tokio::test]
async fn a_connection_goes_on_after_a_refusal_before_the_body_was_read() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Server::start().await;
    let address = server.url.trim_start_matches("http://").to_owned();
    let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    let body = format!(r#"{{"key":"{}"}}"#, "YQ".repeat(20_000));
    let request = |method: &str, path: &str, body: &str| {
        let length = body.len();
        format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    };
    let mut answers = String::new();
    for (method, path, status) in [
        ("POST", "/v3/kv/nothing", "404"),
        ("PUT", "/v3/kv/range", "501"),
        ("POST", "/v3/kv/range", "200"),
    ] {
        stream
            .write_all(request(method, path, &body).as_bytes())
            .await
            .unwrap();
        answers.clear();
        // The last bytes of every answer are its body's.
        while !answers.contains("}") {
            let mut bytes = [0; 4096];
            let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut bytes));
            let read = read.await.expect("an answer in time").unwrap();
            assert_ne!(read, 0, "{method} {path}: closed after {answers:?}");
            answers.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
        assert!(
            answers.starts_with(&format!("HTTP/1.1 {status}")),
            "{method} {path}: {answers}"
        );
    }
}
