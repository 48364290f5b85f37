//! The client library against the running server: what it registers and discovers, what it keeps when servers go, and requests that no
//! change of the instances makes fail.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use ::http::{Request, StatusCode};
use axum::Router;
use axum::routing::any;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use portolan_client::{
    Budget, Client, Discovery, Endpoint, Fallback, Http, Policy, Register, Registration, Service,
    Settings, Source,
};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{Server, http};
use crate::need_binary;

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(30);

fn client(server: &Server) -> Client {
    let address = server.address("native");
    Client::builder()
        .server(&format!("http://{address}"))
        .build()
        .unwrap()
}

fn instance(address: SocketAddr, ttl_ms: u64) -> Register {
    Register {
        service: "web".to_owned(),
        host: Some(address.ip().to_string()),
        port: address.port(),
        ttl_ms: Some(ttl_ms),
        ..Register::default()
    }
}

/// Waits until the endpoints are so many.
async fn wait_for(discovery: &mut Discovery, endpoints: usize) {
    let wait = async {
        while discovery.listing().endpoints.len() != endpoints {
            discovery.changed().await;
        }
    };
    let seen = timeout(SOON, wait).await;
    seen.unwrap_or_else(|_| panic!("not {endpoints} endpoints: {:?}", discovery.listing()));
}

/// An instance of a service that says its own address.
struct Backend {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Backend {
    async fn start(status: StatusCode) -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = move || async move { (status, address.to_string()) };
        let router = Router::new().fallback(any(answer));
        let (stop, stopped) = oneshot::channel();
        let serve = axum::serve(listener, router).with_graceful_shutdown(async {
            let _ = stopped.await;
        });
        let ended = tokio::spawn(async move { serve.await.unwrap() });
        Backend {
            address,
            stop,
            ended,
        }
    }

    /// It stops to accept and ends what is under way.
    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.ended.await.unwrap();
    }
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).body(Full::default()).unwrap()
}

async fn text(
    service: &portolan_client::Balanced<Http>,
    request: Request<Full<Bytes>>,
) -> (StatusCode, String) {
    let answer = service.send(request).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[test]
fn what_is_registered_is_renewed_and_goes_with_its_handle() {
    need_binary!();
    let server = Server::start();
    runtime().block_on(async {
        let client = client(&server);
        let address: SocketAddr = "10.1.1.1:80".parse().unwrap();
        let registration = client.register(instance(address, 1_000)).await.unwrap();
        assert_eq!(
            registration.instance().as_deref(),
            Some("native:web/10.1.1.1:80")
        );
        let mut discovery = client.discover(&Service::new("web"));
        assert!(discovery.known(SOON).await);
        wait_for(&mut discovery, 1).await;
        assert_eq!(discovery.listing().source, Source::Server);
        // Three times its lease, during which nobody may miss it.
        let missed = timeout(Duration::from_secs(3), discovery.changed()).await;
        assert!(missed.is_err(), "{missed:?}");
        // The servers forget it: it comes back.
        let forget = r#"{"instance":"native:web/10.1.1.1:80"}"#;
        let reply = http::call(
            server.address("native"),
            "POST",
            "/v1/deregister",
            Some(forget),
        )
        .unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        wait_for(&mut discovery, 0).await;
        wait_for(&mut discovery, 1).await;
        drop(registration);
        wait_for(&mut discovery, 0).await;
        // What is no instance is refused at once.
        let nameless = Register {
            port: 80,
            ..Register::default()
        };
        let refused = client.register(nameless).await.unwrap_err();
        assert!(refused.to_string().contains("needs a service"), "{refused}");
        let kept = client.register(instance(address, 60_000)).await.unwrap();
        wait_for(&mut discovery, 1).await;
        client.deregister_all().await;
        wait_for(&mut discovery, 0).await;
        assert!(client.register(instance(address, 1_000)).await.is_err());
        drop(kept);
    });
}

#[test]
fn what_was_discovered_outlives_servers_and_processes() {
    need_binary!();
    let mut server = Server::start();
    let cache = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let native = server.address("native");
        // The first one is not there: the second is asked.
        let build = || {
            let builder = Client::builder().server("http://127.0.0.1:1");
            let builder = builder.server(&native.to_string()).cache(cache.path());
            builder.build().unwrap()
        };
        let first = build();
        let address: SocketAddr = "[::1]:80".parse().unwrap();
        let registration = first.register(instance(address, 600_000)).await.unwrap();
        let service = Service::new("web");
        let mut discovery = first.discover(&service);
        wait_for(&mut discovery, 1).await;
        assert_eq!(discovery.lost(), None);
        server.kill();
        let waited = Instant::now();
        while discovery.lost().is_none() {
            assert!(waited.elapsed() < SOON);
            sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(discovery.listing().endpoints[0].authority(), "[::1]:80");
        // Another process, which no server tells anything.
        let second = build();
        let mut from_disk = second.discover(&service);
        assert!(from_disk.known(SOON).await);
        let listing = from_disk.listing();
        assert_eq!((listing.source, listing.endpoints.len()), (Source::Disk, 1));
        // One that may register before any server is there.
        let other: SocketAddr = "10.1.1.2:80".parse().unwrap();
        let mut late = second.register(instance(other, 600_000)).await.unwrap();
        assert_eq!(late.instance(), None);
        server.start_again();
        assert!(late.taken().await.is_ok());
        wait_for(&mut discovery, 2).await;
        wait_for(&mut from_disk, 2).await;
        assert_eq!(from_disk.listing().source, Source::Server);
        assert_eq!(discovery.lost(), None);
        registration.deregister().await.unwrap();
        late.deregister().await.unwrap();
        wait_for(&mut discovery, 0).await;
    });
}

#[test]
fn requests_go_to_all_and_around_what_is_broken() {
    need_binary!();
    let server = Server::start();
    runtime().block_on(async {
        let client = client(&server);
        let service = Service::new("web");
        let empty = Settings {
            fallback: Some(Fallback::new(|| {
                ::http::Response::new(Bytes::from_static(b"later"))
            })),
            ..Settings::default()
        };
        let degraded = client.http(&service, empty);
        assert_eq!(
            text(&degraded, get("/")).await,
            (StatusCode::OK, "later".to_owned())
        );
        let nothing = client.http(&service, Settings::default());
        let error = nothing.send(get("/")).await.unwrap_err();
        assert_eq!(error.to_string(), "no endpoint of web may be asked");
        let mut backends = Vec::new();
        let mut kept = Vec::new();
        for _ in 0..3 {
            let backend = Backend::start(StatusCode::OK).await;
            kept.push(
                client
                    .register(instance(backend.address, 60_000))
                    .await
                    .unwrap(),
            );
            backends.push(backend);
        }
        let unwell = Backend::start(StatusCode::SERVICE_UNAVAILABLE).await;
        kept.push(
            client
                .register(instance(unwell.address, 60_000))
                .await
                .unwrap(),
        );
        let mut discovery = client.discover(&service);
        wait_for(&mut discovery, 4).await;
        let plenty = Budget {
            floor: 1000,
            ..Budget::default()
        };
        let settings = || Settings {
            policy: Policy::RoundRobin,
            outlier: None,
            budget: plenty,
            ..Settings::default()
        };
        let balanced = client.http(&service, settings());
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..40 {
            let (status, from) = text(&balanced, get("/where")).await;
            assert_eq!(status, StatusCode::OK);
            *seen.entry(from).or_default() += 1;
        }
        assert_eq!(seen.len(), 3, "all that are well, and only they: {seen:?}");
        assert!(seen.values().all(|count| *count >= 10), "{seen:?}");
        // What may not be sent twice is not, whatever comes back.
        let mut unwell_said = 0;
        for _ in 0..8 {
            let post = Request::post("/").body(Full::from("x")).unwrap();
            let (status, _) = text(&balanced, post).await;
            unwell_said += u32::from(status == StatusCode::SERVICE_UNAVAILABLE);
        }
        assert_eq!(unwell_said, 2);
        // One goes without a word: nothing of a request was sent there, so even a POST goes elsewhere.
        let gone = backends.pop().unwrap();
        let place = gone.address.to_string();
        gone.stop().await;
        let fresh = client.http(&service, settings());
        for number in 0..12 {
            let post = Request::post(format!("/{number}"))
                .body(Full::from("x"))
                .unwrap();
            let (_, from) = text(&fresh, post).await;
            assert_ne!(from, place);
        }
        // By key: the same endpoint each time.
        let by_key = client.http(
            &service,
            Settings {
                policy: Policy::Maglev,
                ..settings()
            },
        );
        let mut places = Vec::new();
        for _ in 0..5 {
            let answer = by_key.send_keyed(Some(b"alice"), get("/")).await.unwrap();
            places.push(answer.into_body().collect().await.unwrap().to_bytes());
        }
        places.dedup();
        assert_eq!(places.len(), 1);
    });
}

#[test]
fn instances_are_replaced_and_no_request_fails() {
    need_binary!();
    let server = Server::start();
    runtime().block_on(async {
        let client = client(&server);
        let mut running: Vec<(Backend, Registration)> = Vec::new();
        for _ in 0..5 {
            let backend = Backend::start(StatusCode::OK).await;
            let registration = client
                .register(instance(backend.address, 60_000))
                .await
                .unwrap();
            running.push((backend, registration));
        }
        let caller = self::client(&server);
        let service = Service::new("web");
        let mut discovery = caller.discover(&service);
        wait_for(&mut discovery, 5).await;
        let balanced = caller.http(&service, Settings::default());
        let over = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicU32::new(0));
        let callers: Vec<_> = (0..8)
            .map(|_| {
                let (balanced, over, done) = (balanced.clone(), over.clone(), done.clone());
                tokio::spawn(async move {
                    while !over.load(Ordering::Relaxed) {
                        let post = Request::post("/").body(Full::from("x")).unwrap();
                        let (status, _) = text(&balanced, post).await;
                        assert_eq!(status, StatusCode::OK);
                        done.fetch_add(1, Ordering::Relaxed);
                        sleep(Duration::from_millis(5)).await;
                    }
                })
            })
            .collect();
        for round in 1..=10 {
            let new = Backend::start(StatusCode::OK).await;
            let registration = client
                .register(instance(new.address, 60_000))
                .await
                .unwrap();
            running.push((new, registration));
            let (old, registration) = running.remove(0);
            registration.deregister().await.unwrap();
            // It answers until those who call have heard of it and have what they asked for.
            let is_old = |endpoint: &&Endpoint| endpoint.authority() == old.address.to_string();
            let listing = loop {
                let listing = discovery.listing();
                match listing.endpoints.iter().find(is_old) {
                    Some(_) => timeout(SOON, discovery.changed()).await.unwrap(),
                    None => break listing,
                };
            };
            let mut endpoint = listing.endpoints[0].clone();
            endpoint.port = old.address.port();
            let waited = Instant::now();
            while balanced.in_flight(&endpoint) > 0 {
                assert!(waited.elapsed() < SOON);
                sleep(Duration::from_millis(1)).await;
            }
            old.stop().await;
            while done.load(Ordering::Relaxed) < round * 10 {
                assert!(waited.elapsed() < SOON, "{done:?}");
                sleep(Duration::from_millis(1)).await;
            }
        }
        over.store(true, Ordering::Relaxed);
        for caller in callers {
            caller.await.unwrap();
        }
    });
}

#[test]
fn calls_of_grpc_are_balanced_one_by_one() {
    need_binary!();
    let server = Server::start();
    runtime().block_on(async {
        let client = client(&server);
        let mut kept = Vec::new();
        let mut servers = Vec::new();
        for _ in 0..2 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (_, health) = tonic_health::server::health_reporter();
            let calls = Arc::new(AtomicU32::new(0));
            let counted = calls.clone();
            let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
            let counting = move |request| {
                counted.fetch_add(1, Ordering::Relaxed);
                Ok::<_, tonic::Status>(request)
            };
            let service = tonic::service::interceptor::InterceptedService::new(health, counting);
            let router = tonic::transport::Server::builder().add_service(service);
            let task = tokio::spawn(router.serve_with_incoming(incoming));
            kept.push(client.register(instance(address, 60_000)).await.unwrap());
            servers.push((task, calls));
        }
        let service = Service::new("web");
        let mut discovery = client.discover(&service);
        wait_for(&mut discovery, 2).await;
        let settings = Settings {
            policy: Policy::RoundRobin,
            ..Settings::default()
        };
        let mut health = HealthClient::new(client.grpc(&service, settings));
        for _ in 0..10 {
            let answer = health.check(HealthCheckRequest::default()).await.unwrap();
            assert_eq!(answer.into_inner().status, 1);
        }
        let counts: Vec<u32> = servers
            .iter()
            .map(|(_, calls)| calls.load(Ordering::Relaxed))
            .collect();
        assert_eq!(counts, [5, 5]);
        let (gone, _) = servers.remove(0);
        gone.abort();
        for _ in 0..10 {
            // A connection that was there breaks once; what is begun afterwards goes elsewhere.
            let answer = health.check(HealthCheckRequest::default()).await;
            if let Err(status) = answer {
                assert_eq!(status.code(), tonic::Code::Unavailable, "{status}");
            }
        }
        for _ in 0..10 {
            health.check(HealthCheckRequest::default()).await.unwrap();
        }
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}
