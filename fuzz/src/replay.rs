//! A node on a disk in memory with the front ends of every protocol that writes: requests go in through its ports, then it is killed,
//! and what a restart finds on the disk must be the state it had.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use portolan_catalog::layout::{Form, LayoutState, Mode, Template};
use portolan_catalog::{
    Bootstrap, CheckFacts, CheckKey, Endpoint, Host, InstanceKey, NodeFacts, Protocol,
    Registration, ServiceKey, State, Timestamp,
};
use portolan_listener::{ServerContext, Settings, bind_tcp};
use portolan_registry::Registry;
use portolan_replica::disk::MemoryDisk;
use portolan_replica::space::SpaceOptions;
use portolan_replica::{Directory, Options, Replica};

/// A call that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// A request as it goes over the wire.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// HTTP method; `POST` for gRPC.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Content type.
    pub kind: &'static str,
    /// Body; for gRPC the message without its frame.
    pub body: Vec<u8>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Whether the server says that it was done.
    pub accepted: bool,
    /// HTTP status, or for gRPC its own.
    pub status: u16,
    /// The body, or for gRPC its message.
    pub text: String,
}

/// The node.
pub struct Node {
    disk: MemoryDisk,
    replica: Replica,
    registry: Registry,
    context: ServerContext,
    addresses: BTreeMap<Protocol, SocketAddr>,
    http: Client<HttpConnector, Full<Bytes>>,
    grpc: Client<HttpConnector, Full<Bytes>>,
}

fn layouts() -> Vec<(Arc<str>, LayoutState)> {
    let forms = [
        ("kitex", Form::Kitex),
        ("kratos", Form::Kratos),
        (
            "go-zero",
            Form::GoZero {
                key: "user.rpc".into(),
            },
        ),
        (
            "naming",
            Form::GrpcNaming {
                target: "target".into(),
            },
        ),
        ("services", Form::Template(Template::services())),
    ];
    let awake = |(name, form): (&str, Form)| {
        let state = LayoutState {
            mode: Mode::Awake,
            ..LayoutState::asleep(form)
        };
        (Arc::from(name), state)
    };
    forms.into_iter().map(awake).collect()
}

fn bootstrap() -> Bootstrap {
    let address = Host::new("127.0.0.1");
    let mut node = NodeFacts::new("n1", address.clone());
    node.id = "00000000-0000-4000-8000-000000000001".into();
    let mut service = Registration::new(
        InstanceKey::new(Protocol::Portolan, "n1/consul"),
        ServiceKey::plain("consul"),
        Endpoint::new(address, 8300),
    );
    (service.node, service.inherits_host) = (node.name.clone(), true);
    let check = CheckFacts::new(
        CheckKey::new(&node.name, "serfHealth"),
        "Serf Health Status",
    );
    Bootstrap {
        node: Arc::new(node),
        service: Arc::new(service),
        checks: vec![Arc::new(check)],
        layouts: layouts(),
    }
}

async fn start(disk: &MemoryDisk, snapshot_bytes: u64) -> (Replica, Registry) {
    let wall = Arc::new(|| {
        let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    });
    let directory = Directory::Disk(Arc::new(disk.clone()));
    let mut options = Options::new(directory, "n1", bootstrap(), wall);
    options.space = SpaceOptions {
        segment_bytes: 4 << 20,
        first_segment_bytes: 1 << 20,
        reserve_bytes: 0,
        margin_bytes: 0,
    };
    options.snapshot_bytes = snapshot_bytes;
    options.fatal = Box::new(|error| panic!("{error}"));
    Replica::start(options)
        .await
        .unwrap_or_else(|error| panic!("the node does not start: {error}"))
}

impl Node {
    /// A new node that writes a snapshot whenever its log has grown by so many bytes.
    pub async fn start(snapshot_bytes: u64) -> Node {
        let disk = MemoryDisk::new();
        let (replica, registry) = start(&disk, snapshot_bytes).await;
        let context = ServerContext::new(Settings::default());
        let mut addresses = BTreeMap::new();
        for protocol in [
            Protocol::Consul,
            Protocol::Etcd,
            Protocol::Eureka,
            Protocol::Native,
        ] {
            let port = bind_tcp(&context, protocol, ([127, 0, 0, 1], 0).into())
                .unwrap_or_else(|error| panic!("{protocol}: {error}"));
            addresses.insert(protocol, port.address);
            let registry = registry.clone();
            match protocol {
                Protocol::Consul => {
                    let settings = portolan_protocol_consul::ServerInfo {
                        node_name: "n1".into(),
                        ..Default::default()
                    };
                    portolan_protocol_consul::serve(&context, port, registry, settings);
                }
                Protocol::Etcd => {
                    let settings = portolan_protocol_etcd::Settings::default();
                    portolan_protocol_etcd::serve(&context, port, registry, settings);
                }
                Protocol::Eureka => {
                    portolan_protocol_eureka::serve(&context, port, registry, &Default::default());
                }
                _ => {
                    let settings = portolan_protocol_native::Settings {
                        version: "0".into(),
                        node: "n1".into(),
                        ports: Vec::new(),
                        open: Vec::new(),
                        readiness: portolan_protocol_native::Readiness::new([]),
                        backend: Arc::new(NoBackend),
                        dns: Default::default(),
                        remarks: Default::default(),
                    };
                    portolan_protocol_native::serve(&context, port, registry, settings);
                }
            }
        }
        Node {
            disk,
            replica,
            registry,
            context,
            addresses,
            http: Client::builder(TokioExecutor::new()).build_http(),
            grpc: Client::builder(TokioExecutor::new())
                .http2_only(true)
                .build_http(),
        }
    }

    /// The handle.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Sends a request to the port of `protocol`; `None` if it is none that HTTP can carry.
    pub async fn send(&self, protocol: Protocol, call: &Call) -> Option<Answer> {
        let address = self.addresses[&protocol];
        let uri: http::Uri = format!("http://{address}{}", call.target).parse().ok()?;
        let mut request = http::Request::builder()
            .method(call.method.as_str())
            .uri(uri);
        let (client, body) = if protocol == Protocol::Etcd {
            request = request
                .header("content-type", "application/grpc")
                .header("te", "trailers");
            let mut framed = vec![0];
            framed.extend_from_slice(&u32::try_from(call.body.len()).ok()?.to_be_bytes());
            framed.extend_from_slice(&call.body);
            (&self.grpc, framed)
        } else {
            if !call.kind.is_empty() {
                request = request.header("content-type", call.kind);
            }
            (&self.http, call.body.clone())
        };
        let request = request.body(Full::from(body)).ok()?;
        let exchange = async {
            let (head, body) = client.request(request).await.ok()?.into_parts();
            let body = body.collect().await.ok()?;
            let trailers = body.trailers().cloned();
            Some((head, trailers, body.to_bytes()))
        };
        let answered = tokio::time::timeout(PATIENCE, exchange).await;
        let (head, trailers, body) =
            answered.unwrap_or_else(|_| panic!("no answer within {PATIENCE:?} to {call:?}"))?;
        if protocol != Protocol::Etcd {
            return Some(Answer {
                accepted: head.status.is_success(),
                status: head.status.as_u16(),
                text: String::from_utf8_lossy(&body).into_owned(),
            });
        }
        let of = |name: &str| {
            let trailer = trailers.as_ref().and_then(|map| map.get(name));
            let value = trailer.or_else(|| head.headers.get(name))?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let status = of("grpc-status")?.parse().ok()?;
        Some(Answer {
            accepted: status == 0,
            status,
            text: of("grpc-message").unwrap_or_default(),
        })
    }

    /// Kills a copy of the node as it is now and starts it again.
    ///
    /// # Panics
    /// When it does not start, or when its state is not what it was.
    pub async fn replayed(&self) {
        // The node may do something by itself in the meantime, such as to let a lease run out: then once more.
        for _ in 0..20 {
            let Ok(before) = self.registry.linearized().await else {
                panic!("the node ended");
            };
            let disk = self.disk.duplicate();
            if !Arc::ptr_eq(&before, &self.registry.snapshot()) {
                continue;
            }
            let (replica, registry) = start(&disk, u64::MAX).await;
            let after = registry.snapshot();
            let same = whole(&before) == whole(&after);
            let went_on = before.last_at() != after.last_at();
            replica.shutdown().await;
            if same {
                return;
            }
            assert!(
                went_on,
                "the state after the restart differs at revision {}: {}",
                before.revision(),
                difference(&whole(&before), &whole(&after)),
            );
        }
        panic!("the node is never at rest");
    }

    /// Ends it.
    pub async fn stop(self) {
        self.context.finish().await;
        self.replica.shutdown().await;
    }
}

/// A node that lives as long as the process, and what it runs on. A new one takes its place now and then, so that its log stays short.
struct Kept {
    runtime: tokio::runtime::Runtime,
    node: Option<Node>,
    runs: u32,
}

/// Runs between two nodes.
const RUNS: u32 = 64;

static KEPT: Mutex<Option<Kept>> = Mutex::new(None);

/// Sends requests to a node that lives on, kills a copy of it and starts that again.
///
/// # Panics
/// As [`Node::replayed`].
pub fn run(protocol: Protocol, calls: &[Call]) {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let Kept {
        runtime,
        node,
        runs,
    } = kept.get_or_insert_with(|| Kept {
        runtime: tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime"),
        node: None,
        runs: 0,
    });
    *runs += 1;
    runtime.block_on(async {
        if *runs % RUNS == 0
            && let Some(old) = node.take()
        {
            old.stop().await;
        }
        if node.is_none() {
            *node = Some(Node::start(64 << 10).await);
        }
        let Some(node) = node else { return };
        for call in calls {
            node.send(protocol, call).await;
        }
        node.replayed().await;
    });
}

/// Every field, private ones, indexes and history included.
fn whole(state: &State) -> String {
    format!("{state:?}")
}

/// Where two texts part.
fn difference(one: &str, other: &str) -> String {
    let at = one
        .bytes()
        .zip(other.bytes())
        .position(|(one, other)| one != other)
        .unwrap_or_else(|| one.len().min(other.len()));
    let around = |text: &str| {
        let bytes = &text.as_bytes()[at.saturating_sub(300)..text.len().min(at + 100)];
        String::from_utf8_lossy(bytes).into_owned()
    };
    format!("before\n{}\nafter\n{}", around(one), around(other))
}

#[derive(Debug)]
struct NoBackend;

impl portolan_registry::SnapshotFiles for NoBackend {
    fn write(&self, _: &State, _: &mut dyn std::io::Write) -> std::io::Result<u64> {
        Err(std::io::Error::other("there are no snapshots here"))
    }

    fn read(&self, _: &[u8]) -> Result<portolan_registry::SnapshotParts, String> {
        Err("there are no snapshots here".to_owned())
    }
}

impl portolan_protocol_native::Backend for NoBackend {
    fn standing(&self) -> portolan_protocol_native::Standing {
        portolan_protocol_native::Standing::default()
    }
}
