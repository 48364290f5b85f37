//! What can be plugged into a server and its ports: a policy, an authenticator, a handshake, limits, upgrades.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{AUTHORIZATION, CONNECTION, HeaderValue, UPGRADE};
use http::{HeaderMap, StatusCode};
use hyper_util::rt::TokioIo;
use portolan_catalog::{Protocol, Why};
use portolan_listener::{
    Action, Authenticator, BoxFuture, Caller, Credentials, Decision, Handshake, HttpOptions,
    Limits, Policy, PortOptions, Principal, Request, Resource, Response, Secured, StreamConnection,
    StreamOptions, Unauthenticated, bind_tcp, serve_stream, text,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{
    LOOPBACK, PATIENCE, context, hello, read, request, rest, serve, serve_on, until,
};

/// Lets each read the service of its own name.
#[derive(Debug)]
struct OwnName;

impl Policy for OwnName {
    fn decide(&self, principal: &Principal, action: Action, resource: Resource<'_>) -> Decision {
        match (principal.name(), action, resource) {
            (Some(own), Action::Read, Resource::Service { name, .. }) if own == name => {
                Decision::Allow
            }
            _ => Decision::Deny,
        }
    }
}

/// Believes `Authorization: NAME`, and whom a handshake found; nobody is called `nobody`.
#[derive(Debug)]
struct ByName;

impl Authenticator for ByName {
    fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Principal, Unauthenticated> {
        let name = credentials
            .headers
            .and_then(|headers: &HeaderMap| headers.get(AUTHORIZATION))
            .and_then(|value| value.to_str().ok());
        match name {
            Some("nobody") => Err(Unauthenticated {
                text: "no such name: 100%".into(),
                challenge: Some(HeaderValue::from_static("Name")),
            }),
            Some(name) => Ok(Principal::Named(name.into())),
            None => Ok(credentials.connection.clone()),
        }
    }
}

/// A connection begins with one byte, the length of a name, and the name.
#[derive(Debug)]
struct SaysItsName;

impl Handshake for SaysItsName {
    fn handshake(&self, mut socket: TcpStream, _: SocketAddr) -> BoxFuture<io::Result<Secured>> {
        Box::pin(async move {
            let mut name = vec![0; usize::from(socket.read_u8().await?)];
            socket.read_exact(&mut name).await?;
            let name = String::from_utf8(name).map_err(io::Error::other)?;
            assert!(name != "panic", "a handshake that panics");
            Ok(Secured {
                stream: Box::new(socket),
                principal: Principal::Named(name.into()),
                certificate: None,
            })
        })
    }
}

/// Reads the service in the path.
async fn service(request: Request) -> Response {
    let caller = Caller::of(&request);
    let name = &request.uri().path()[1..];
    let resource = Resource::Service {
        namespace: "",
        name,
    };
    match caller.allow(Action::Read, resource) {
        Ok(()) => {
            let cause = caller.cause(Why::Call);
            let principal = cause.principal.as_deref().unwrap_or("nobody");
            text(StatusCode::OK, format!("by {principal}\n"))
        }
        Err(denied) => text(StatusCode::FORBIDDEN, format!("{denied}\n")),
    }
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}connection: close\r\n\r\n")
}

#[tokio::test]
async fn a_policy_decides_for_every_port_until_it_is_replaced() {
    let server = serve(Limits::default(), service);
    assert!(server.get("/web").await.ends_with("by nobody\n"));
    server.context.set_policy(Some(Arc::new(OwnName)));
    let answer = server.get("/web").await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(
        answer.ends_with("anonymous may not read service \"web\"\n"),
        "{answer}"
    );
    server.context.set_policy(None);
    assert!(server.get("/web").await.ends_with("by nobody\n"));
    assert_eq!(server.undecided(), 0);
}

#[tokio::test]
async fn an_authenticator_says_who_asks() {
    let port = PortOptions {
        authenticator: Some(Arc::new(ByName)),
        ..PortOptions::default()
    };
    let server = serve_on(Limits::default(), port, HttpOptions::default(), service);
    server.context.set_policy(Some(Arc::new(OwnName)));
    let rows = [
        ("/web", "authorization: web\r\n", "200", "by web\n"),
        (
            "/db",
            "authorization: web\r\n",
            "403",
            "web may not read service \"db\"\n",
        ),
        (
            "/web",
            "",
            "403",
            "anonymous may not read service \"web\"\n",
        ),
        (
            "/web",
            "authorization: nobody\r\n",
            "401",
            "no such name: 100%\n",
        ),
    ];
    for (path, headers, status, body) in rows {
        let answer = server.raw(get(path, headers)).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
        assert!(answer.ends_with(body), "{answer}");
        assert_eq!(answer.contains("www-authenticate: Name"), status == "401");
    }
    // Each request for itself, also on one connection, and gRPC in its own words.
    let (mut sender, _connection) = server.http2().await;
    for (name, body) in [
        ("web", "by web\n"),
        ("db", "db may not read service \"web\"\n"),
    ] {
        let mut asked = request(server.address, "/web");
        asked
            .headers_mut()
            .insert(AUTHORIZATION, HeaderValue::from_static(name));
        assert_eq!(
            read(sender.send_request(asked).await.unwrap()).await.1,
            body
        );
    }
    let mut call = request(server.address, "/etcdserverpb.KV/Range");
    for (name, value) in [
        ("content-type", "application/grpc"),
        ("authorization", "nobody"),
    ] {
        call.headers_mut().insert(name, value.parse().unwrap());
    }
    let answer = sender.send_request(call).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["grpc-status"], "16");
    assert_eq!(answer.headers()["grpc-message"], "no such name: 100%25");
    let refused = ["\"authentication\""];
    assert_eq!(server.metric("portolan_limited_total", &refused), 2.0);
    assert_eq!(server.undecided(), 0);
}

#[tokio::test]
async fn a_handshake_comes_before_http() {
    let port = PortOptions {
        handshake: Some(Arc::new(SaysItsName)),
        ..PortOptions::default()
    };
    let limits = Limits {
        header_timeout: crate::support::ms(300),
        ..Limits::default()
    };
    let server = serve_on(limits, port, HttpOptions::default(), service);
    server.context.set_policy(Some(Arc::new(OwnName)));
    let answer = server.raw(format!("\x03web{}", get("/web", ""))).await;
    assert!(answer.ends_with("by web\n"), "{answer}");
    // What fails, panics or takes too long ends that connection only.
    assert_eq!(server.raw("\x01\u{0080}").await, "");
    assert_eq!(server.raw("\x05panic").await, "");
    assert_eq!(server.panics(), 1);
    assert_eq!(server.raw("\x05pan").await, "");
    for limit in ["\"handshake\"", "\"header_timeout\""] {
        let counted = server.metric("portolan_limited_total", &[limit]);
        assert_eq!(counted, 1.0, "{limit}");
    }
    let answer = server.raw(format!("\x03web{}", get("/web", ""))).await;
    assert!(answer.ends_with("by web\n"), "{answer}");
}

#[tokio::test]
async fn streams_without_http_know_their_principal() {
    async fn say(mut connection: StreamConnection) {
        let busy = connection.busy();
        let mut caller = connection.caller.clone();
        for _ in 0..2 {
            let resource = Resource::Service {
                namespace: "",
                name: "web",
            };
            let allowed = caller.allow(Action::Read, resource).is_ok();
            caller.answered();
            let line = format!("{} {allowed}\n", caller.principal());
            connection.stream.write_all(line.as_bytes()).await.unwrap();
            caller.renew(caller.peer());
        }
        let other = caller.identified(Principal::Named("web".into()));
        assert_eq!(other.principal().name(), Some("web"));
        drop(busy);
    }
    #[derive(Debug)]
    struct NoDb;
    impl Authenticator for NoDb {
        fn authenticate(&self, asked: &Credentials<'_>) -> Result<Principal, Unauthenticated> {
            assert!(asked.headers.is_none() && asked.uri.is_none());
            match asked.connection.name() {
                Some("db") => Err(Unauthenticated {
                    text: "not the database".into(),
                    challenge: None,
                }),
                _ => Ok(asked.connection.clone()),
            }
        }
    }
    let context = context(Limits::default());
    context.set_policy(Some(Arc::new(OwnName)));
    let mut port = bind_tcp(&context, Protocol::Dns, LOOPBACK.parse().unwrap()).unwrap();
    port.options = PortOptions {
        handshake: Some(Arc::new(SaysItsName)),
        authenticator: Some(Arc::new(NoDb)),
        ..PortOptions::default()
    };
    let address = port.address;
    serve_stream(&context, port, StreamOptions::default(), say);
    for (hello, said) in [
        ("\x03web", "web true\nweb true\n"),
        ("\x05other", "other false\nother false\n"),
        ("\x02db", ""),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(hello.as_bytes()).await.unwrap();
        assert_eq!(rest(&mut stream).await, said);
    }
}

#[tokio::test]
async fn a_port_has_limits_of_its_own() {
    let port = PortOptions {
        limits: Some(Limits {
            connections: 1,
            body_bytes: 10,
            ..Limits::default()
        }),
        ..PortOptions::default()
    };
    let server = serve_on(Limits::default(), port, HttpOptions::default(), hello);
    let large = "PUT / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 11\r\nconnection: close\r\n\r\nhello world";
    let answer = server.raw(large).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let held = server.connect().await;
    let one = ["\"connections\""];
    until("the first connection is held", || {
        server.metric("portolan_limit_used", &one) == 1.0
    })
    .await;
    let answer = server.get("/").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    drop(held);
}

#[tokio::test]
async fn a_connection_can_be_handed_over_where_that_is_allowed() {
    async fn echo(mut request: Request) -> Response {
        let caller = Caller::of(&request);
        caller.allow(Action::Read, Resource::Public).unwrap();
        let upgrade = hyper::upgrade::on(&mut *request);
        caller.context().spawn(Protocol::Consul, async move {
            if let Ok(upgraded) = upgrade.await {
                let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
                let _ = tokio::io::copy(&mut read, &mut write).await;
            }
        });
        let mut response = Response::default();
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("echo"));
        response
    }
    for upgrades in [true, false] {
        let port = PortOptions {
            upgrades,
            ..PortOptions::default()
        };
        let server = serve_on(Limits::default(), port, HttpOptions::default(), echo);
        let mut stream = server.connect().await;
        let head =
            "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let byte = timeout(PATIENCE, stream.read_u8()).await.unwrap();
            let Ok(byte) = byte else { break };
            answer.push(byte);
        }
        if upgrades {
            assert!(answer.starts_with(b"HTTP/1.1 101"));
            stream.write_all(b"ping").await.unwrap();
            let mut back = [0; 4];
            let read = timeout(PATIENCE, stream.read_exact(&mut back)).await;
            read.unwrap().unwrap();
            assert_eq!(&back, b"ping");
        } else {
            // hyper has nobody to hand it to, and ends it.
            let mut left = Vec::new();
            let ended = timeout(PATIENCE, stream.read_to_end(&mut left)).await;
            assert!(ended.is_ok(), "the connection ends");
        }
    }
}
