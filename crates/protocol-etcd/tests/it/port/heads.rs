//! What is said around the messages of a call: paths, content types, deadlines, packing, time.

use std::{
    io::{Read, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Buf;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use portolan_listener::Limits;
use portolan_protocol_etcd::{Ask, Settings, Standing, wire::etcdserverpb as pb};
use portolan_registry::{LocalOptions, Registry};
use prost::Message;
use tokio::time::Instant;
use tonic::Code;

use super::{
    super::support::*,
    plain::get,
    raw::{Answer, Sent, ask, framed, plain, post},
};

const RANGE: &str = "/etcdserverpb.KV/Range";
const PUT: &str = "/etcdserverpb.KV/Put";
const WATCH: &str = "/etcdserverpb.Watch/Watch";
const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
const RANGE_STREAM: &str = "/etcdserverpb.KV/RangeStream";

type Headers = &'static [(&'static str, &'static str)];

/// The words are those of gRPC's own server for Go, which is etcd's.
#[tokio::test]
async fn what_is_wrong_with_a_head_is_said_as_grpc_says_it() {
    let server = Server::start().await;
    type Row = (
        &'static str,
        &'static str,
        Headers,
        u16,
        &'static str,
        &'static str,
    );
    let rows: &[Row] = &[
        (
            "POST",
            "/etcdserverpb.KV/Nope",
            &[],
            200,
            "12",
            "unknown method Nope for service etcdserverpb.KV",
        ),
        (
            "POST",
            "/etcdserverpb.KV/",
            &[],
            200,
            "12",
            "unknown method  for service etcdserverpb.KV",
        ),
        (
            "POST",
            "/v3barrierpb.Barrier/Wait",
            &[],
            200,
            "12",
            "unknown service v3barrierpb.Barrier",
        ),
        (
            "POST",
            "/etcdserverpb.K/Range",
            &[],
            200,
            "12",
            "unknown service etcdserverpb.K",
        ),
        ("POST", "/a/b/c", &[], 200, "12", "unknown service a/b"),
        (
            "POST",
            "/nope",
            &[],
            200,
            "12",
            "malformed method name: \"/nope\"",
        ),
        (
            "POST",
            RANGE,
            &[("content-type", "")],
            415,
            "3",
            "invalid gRPC request content-type \"\"",
        ),
        (
            "POST",
            RANGE,
            &[("content-type", "application/json")],
            415,
            "3",
            "invalid gRPC request content-type \"application/json\"",
        ),
        (
            "POST",
            RANGE,
            &[("content-type", "application/grpc-web")],
            415,
            "3",
            "invalid gRPC request content-type \"application/grpc-web\"",
        ),
        (
            "GET",
            RANGE,
            &[],
            405,
            "13",
            "Received a HEADERS frame with :method \"GET\" which should be POST",
        ),
        (
            "POST",
            RANGE,
            &[("grpc-timeout", "10x")],
            400,
            "13",
            "malformed grpc-timeout: transport: timeout unit is not recognized: \"10x\"",
        ),
        (
            "POST",
            RANGE,
            &[("grpc-timeout", "123456789S")],
            400,
            "13",
            "malformed grpc-timeout: transport: timeout string is too long: \"123456789S\"",
        ),
        (
            "POST",
            RANGE,
            &[("grpc-encoding", "snappy")],
            200,
            "12",
            "grpc: Decompressor is not installed for grpc-encoding \"snappy\"",
        ),
    ];
    for (method, path, headers, http, status, message) in rows {
        let answer = ask(
            &server.url,
            method,
            path,
            headers,
            Sent::all(plain(&one("k"))),
        )
        .await;
        assert_eq!(
            (answer.http, answer.status.as_str(), answer.message.as_str()),
            (*http, *status, *message),
            "{method} {path} {headers:?}"
        );
        assert!(
            answer.at_once && answer.kind == "application/grpc",
            "{answer:?}"
        );
    }
    for path in ["/version", "/health"] {
        let h2 = ask(
            &server.url,
            "GET",
            path,
            &[("content-type", "")],
            Sent::all(""),
        )
        .await;
        assert_eq!(h2.http, 200, "{path} is served over HTTP/2 too");
    }
    assert_eq!(
        get(&server, "POST", RANGE).await,
        (
            404,
            "text/plain; charset=utf-8".into(),
            "404 page not found\n".into()
        ),
        "there is no gRPC over HTTP/1.1"
    );
}

#[tokio::test]
async fn the_format_behind_the_content_type_is_answered_as_it_was_asked() {
    let server = Server::start().await;
    for (asked, answered) in [
        ("application/grpc", "application/grpc"),
        ("application/grpc+proto", "application/grpc+proto"),
        ("application/grpc;charset=x", "application/grpc"),
    ] {
        let headers = [("content-type", asked)];
        let answer = post(&server, RANGE, &headers, Sent::all(plain(&one("k")))).await;
        assert_eq!(
            (answer.kind.as_str(), answer.status.as_str()),
            (answered, "0")
        );
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The one message of an answer, unpacked if its flag says so, and that flag.
fn unpacked<M: Message + Default>(answer: &Answer) -> (u8, M) {
    let mut data = answer.data.clone();
    let (flag, length) = (data.get_u8(), data.get_u32() as usize);
    assert_eq!(data.len(), length);
    let mut message = data.to_vec();
    if flag == 1 {
        message.clear();
        GzDecoder::new(&data[..]).read_to_end(&mut message).unwrap();
    }
    (flag, M::decode(&message[..]).unwrap())
}

#[tokio::test]
async fn packed_messages_are_read_and_answered_packed() {
    let server = Server::start().await;
    let gzipped: Headers = &[("grpc-encoding", "gzip")];
    let value = "v".repeat(100_000);
    let packed = |message: &[u8]| Sent::all(framed(1, &gzip(message)));
    let answer = post(
        &server,
        PUT,
        gzipped,
        packed(&put("k", &value).encode_to_vec()),
    )
    .await;
    assert_eq!(
        (answer.status.as_str(), answer.encoding.as_deref()),
        ("0", Some("gzip"))
    );
    let (_, written) = unpacked::<pb::PutResponse>(&answer);
    assert_eq!(revision(&written.header), 2);
    // Announced, and sent as it is: that is allowed, and answered packed all the same.
    for body in [
        packed(&one("k").encode_to_vec()),
        Sent::all(plain(&one("k"))),
    ] {
        let answer = post(&server, RANGE, gzipped, body).await;
        let (flag, found) = unpacked::<pb::RangeResponse>(&answer);
        assert_eq!((flag, found.kvs[0].value.len()), (1, value.len()));
        assert!(answer.data.len() < 1000);
    }
    // The pieces of a stream, each by itself.
    let answer = post(
        &server,
        RANGE_STREAM,
        gzipped,
        packed(&one("k").encode_to_vec()),
    )
    .await;
    let (flag, piece) = unpacked::<pb::RangeStreamResponse>(&answer);
    assert_eq!((flag, piece.range_response.unwrap().count), (1, 1));
    let bomb = put("k", &"v".repeat(3 << 20)).encode_to_vec();
    type Row = (&'static str, Headers, Sent, &'static str, &'static str);
    let rows: [Row; 5] = [
        (
            "too large",
            gzipped,
            packed(&bomb),
            "8",
            "grpc: received message after decompression larger than max 2097152",
        ),
        (
            "no gzip",
            gzipped,
            Sent::all(framed(1, b"abc")),
            "13",
            "grpc: failed to decompress the message",
        ),
        (
            "not announced",
            &[],
            packed(b""),
            "13",
            "grpc: compressed flag set with identity or empty encoding",
        ),
        (
            "announced as nothing",
            &[("grpc-encoding", "identity")],
            packed(b""),
            "13",
            "grpc: compressed flag set with identity or empty encoding",
        ),
        (
            "another flag",
            gzipped,
            Sent::all(framed(2, b"")),
            "13",
            "grpc: received unexpected payload format 2",
        ),
    ];
    for (name, headers, body, status, message) in rows {
        let answer = post(&server, RANGE, headers, body).await;
        assert_eq!(answer.status, status, "{name}");
        assert!(answer.message.starts_with(message), "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn the_clients_deadline_ends_calls_and_streams() {
    let server = Server::start().await;
    let soon = [("grpc-timeout", "200m")];
    for (path, body) in [
        (RANGE, Sent::begun(b"")),
        (PUT, Sent::begun(b"\0\0\0\0\x09ab")),
        (RANGE_STREAM, Sent::begun(b"")),
        (WATCH, Sent::begun(b"")),
        (KEEP_ALIVE, Sent::begun(b"\0\0\0")),
    ] {
        let began = Instant::now();
        let answer = post(&server, path, &soon, body).await;
        assert_eq!(
            (answer.status.as_str(), answer.message.as_str()),
            ("4", "context deadline exceeded"),
            "{path}"
        );
        let took = began.elapsed();
        assert!(
            took >= Duration::from_millis(200) && took < Duration::from_secs(5),
            "{took:?}"
        );
    }
    let answer = post(
        &server,
        RANGE,
        &[("grpc-timeout", "99999999H")],
        Sent::all(plain(&one("k"))),
    )
    .await;
    assert_eq!(answer.status, "0", "a long time is not overstepped");
    assert_eq!(undecided(&server), 0);
}

#[tokio::test]
async fn a_message_that_does_not_end_is_not_waited_for_for_ever() {
    let registry = Registry::local(&LocalOptions::default());
    let limits = Limits {
        body_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let server = Server::within(registry, Settings::default(), limits);
    let half: &[u8] = b"\0\0\0\0\x09ab";
    for (path, begun) in [
        (RANGE, &b""[..]),
        (RANGE, half),
        (RANGE_STREAM, b""),
        ("/grpc.health.v1.Health/Watch", b""),
        (WATCH, half),
        (WATCH, b"\0\0"),
        (KEEP_ALIVE, half),
    ] {
        let answer = post(&server, path, &[], Sent::begun(begun)).await;
        assert_eq!(
            (answer.status.as_str(), answer.message.as_str()),
            ("1", "the request did not arrive in time"),
            "{path} {begun:?}"
        );
    }
    // A stream that says nothing has begun nothing.
    let mut client = server.client().await;
    let mut watching = Watching::open(&mut client).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    watching.create(watch_of("k")).await;
}

#[tokio::test]
async fn metadata_is_read_and_the_rest_of_it_ignored() {
    let server = Server::start().await;
    let (mut client, mut request) = (server.client().await, tonic::Request::new(one("k")));
    for (name, value) in [
        ("hasleader", "true"),
        ("client-api-version", "3.7"),
        ("token", "whatever"),
    ] {
        request.metadata_mut().insert(name, value.parse().unwrap());
    }
    client.kv.range(request).await.unwrap();
}

#[tokio::test]
async fn who_wants_a_leader_is_told_when_there_is_none() {
    let leads = Arc::new(AtomicBool::new(true));
    let asked = leads.clone();
    let standing = Ask::new(move || Standing {
        has_leader: asked.load(Ordering::Relaxed),
        ..Standing::default()
    });
    let settings = Settings {
        standing,
        ..Settings::default()
    };
    let server = Server::with(settings, Vec::new()).await;
    let mut client = server.client().await;
    let led = |request: pb::RangeRequest| {
        let mut request = tonic::Request::new(request);
        request
            .metadata_mut()
            .insert("hasleader", "true".parse().unwrap());
        request
    };
    let wants_leader = [("hasleader", "true")];
    let create = pb::watch_request::RequestUnion::CreateRequest(watch_of("k"));
    let create = pb::WatchRequest {
        request_union: Some(create),
    };
    let body = Sent {
        bytes: Some(plain(&create)),
        open: true,
    };
    let watching = tokio::spawn({
        let url = server.url.clone();
        async move { ask(&url, "POST", WATCH, &[("hasleader", "true")], body).await }
    });
    while server.registry.feeds() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    client.kv.range(led(one("k"))).await.unwrap();
    leads.store(false, Ordering::Relaxed);
    let no_leader = (Code::Unavailable, "etcdserver: no leader".to_owned());
    assert_eq!(failure(client.kv.range(led(one("k"))).await), no_leader);
    assert_eq!(
        get(&server, "GET", "/health").await.2,
        "{\"health\":\"false\",\"reason\":\"RAFT NO LEADER\"}\n"
    );
    assert_eq!(
        get(&server, "GET", "/health?serializable=true").await.0,
        200
    );
    let refused = post(&server, WATCH, &wants_leader, Sent::begun(b"")).await;
    assert_eq!((refused.status.as_str(), refused.at_once), ("14", true));
    // An open stream ends too, after a while.
    let ended = watching.await.unwrap();
    assert_eq!(
        (
            ended.status.as_str(),
            ended.message.as_str(),
            ended.data.is_empty()
        ),
        ("14", "etcdserver: no leader", false)
    );
}

#[tokio::test]
async fn a_version_that_is_no_text_is_refused() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let mut request = tonic::Request::new(one("k"));
    let version = http::HeaderValue::from_bytes(b"3.\xff").unwrap();
    request
        .metadata_mut()
        .as_mut()
        .insert("client-api-version", version);
    assert_eq!(
        failure(client.kv.range(request).await),
        (
            Code::InvalidArgument,
            "etcdserver: invalid client api version".into()
        )
    );
}
