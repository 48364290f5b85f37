//! The same seeded calls of naming and configuration, over HTTP and gRPC, against this server and against r-nacos: what is asked afterwards
//! must be the same, and so what subscribers were told last.
//!
//! `PORTOLAN_RNACOS` names the program (`cargo install rnacos --locked --version 0.8.8`), `PORTOLAN_SEED` and `PORTOLAN_STEPS` the run.
//!
//! Left out, because r-nacos 0.8.8 differs from the real server there: clusters of one address (it knows an instance by address alone);
//! light beats of what is not there (it registers it, the others answer 20404); a registration with other weight or metadata than before
//! (it keeps some of the old); deregistration over gRPC (500 for what is not there, and it may stay); services without instances. For a
//! few seconds after its start it may lose what it acknowledged, so it is asked until it does not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portolan_protocol_nacos::wire::payload::Payload;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

use crate::harness::server::free_pair;
use crate::harness::{Server, etcd, eventually, http, same, tally};
use crate::need_binary;

/// Calls, if nobody says otherwise.
const STEPS: usize = 20_000;
/// Time until the peer keeps what it acknowledges.
const SETTLED: Duration = Duration::from_secs(30);
/// Calls after which everything that HTTP registered beats: nothing falls silent.
const BEATS: u64 = 500;
const CONNECTIONS: usize = 3;
const SERVICES: u32 = 5;
const CONFIGS: u32 = 6;

/// The peer as a process.
struct Peer {
    child: Child,
    http: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Peer {
    fn start(program: &str) -> Peer {
        let http = free_pair();
        let folder = tempfile::tempdir().unwrap();
        let port = |more: u16| (http.port() + more).to_string();
        let child = Command::new(program)
            .env("RNACOS_HTTP_PORT", port(0))
            .env("RNACOS_GRPC_PORT", port(1000))
            .env("RNACOS_HTTP_CONSOLE_PORT", "0")
            .env("RNACOS_CONFIG_DB_DIR", folder.path().join("db"))
            .env("RUST_LOG", "error")
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("r-nacos starts");
        let peer = Peer {
            child,
            http,
            _folder: folder,
        };
        eventually(Duration::from_secs(30), || {
            http::call(http, "GET", "/nacos/v1/ns/operator/metrics", None).map(drop)
        })
        .unwrap();
        // A published configuration that can be read.
        let warm = "/nacos/v1/cs/configs?dataId=warm&group=w";
        eventually(SETTLED, || {
            http::call(http, "POST", &format!("{warm}&content=x"), None)?;
            std::thread::sleep(Duration::from_millis(500));
            let read = http::call(http, "GET", warm, None)?;
            same(&json!(read.status), &json!(200))
        })
        .unwrap();
        peer
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One connection of a client: calls, and what its stream was told last of each service.
struct Connection {
    channel: Channel,
    told: Arc<Mutex<BTreeMap<String, Value>>>,
}

type Codec = tonic_prost::ProstCodec<Payload, Payload>;

impl Connection {
    async fn open(address: SocketAddr) -> Connection {
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .connect()
            .await
            .unwrap_or_else(|error| panic!("{address}: {error}"));
        let connection = Connection {
            channel,
            told: Arc::default(),
        };
        connection.call("ServerCheckRequest", json!({})).await;
        let (send, receive) = mpsc::channel(64);
        let setup = json!({
            "clientVersion": "Nacos-Java-Client:v2.5.1", "tenant": "", "labels": {"source": "sdk", "module": "naming"},
        });
        send.send(Payload::new("ConnectionSetupRequest", setup.to_string()))
            .await
            .unwrap();
        let mut grpc = tonic::client::Grpc::new(connection.channel.clone());
        grpc.ready().await.unwrap();
        let path = "/BiRequestStream/requestBiStream".parse().unwrap();
        let told = connection.told.clone();
        // r-nacos answers the stream only when there is something to say.
        tokio::spawn(async move {
            let request = tonic::Request::new(ReceiverStream::new(receive));
            let Ok(response) = grpc.streaming(request, path, Codec::default()).await else {
                return;
            };
            let mut pushes = response.into_inner();
            while let Some(Ok(payload)) = pushes.next().await {
                let json: Value = serde_json::from_slice(payload.json()).unwrap_or_default();
                let answer = payload.kind().replace("Request", "Response");
                if payload.kind() == "NotifySubscriberRequest" {
                    let info = &json["serviceInfo"];
                    let name = info["name"].as_str().unwrap_or_default();
                    let name = name.rsplit("@@").next().unwrap_or_default().to_owned();
                    told.lock().unwrap().insert(name, hosts(info));
                }
                let ack =
                    json!({ "resultCode": 200, "errorCode": 0, "requestId": json["requestId"] });
                if send
                    .send(Payload::new(&answer, ack.to_string()))
                    .await
                    .is_err()
                {
                    return;
                }
            }
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        connection
    }

    async fn call(&self, kind: &str, fields: Value) -> Value {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let request = tonic::Request::new(Payload::new(kind, fields.to_string()));
        let path = "/Request/request".parse().unwrap();
        let answer = grpc.unary(request, path, Codec::default()).await;
        let answer = answer
            .unwrap_or_else(|status| panic!("{kind}: {status}"))
            .into_inner();
        serde_json::from_slice(answer.json()).unwrap_or_default()
    }
}

/// What of a service has to be the same on both sides.
fn hosts(info: &Value) -> Value {
    let hosts = info["hosts"].as_array().cloned().unwrap_or_default();
    let mut all: Vec<(String, Value)> = hosts
        .iter()
        .map(|host| {
            let address = format!(
                "{}:{}",
                host["ip"].as_str().unwrap_or_default(),
                host["port"]
            );
            let rest = json!([
                host["weight"],
                host["healthy"],
                host["enabled"],
                host["clusterName"],
                host["metadata"],
                host["ephemeral"],
            ]);
            (address, rest)
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    json!(all)
}

/// One of the two servers, with the clients' connections to it.
struct Subject {
    http: SocketAddr,
    connections: Vec<Connection>,
}

impl Subject {
    async fn new(http: SocketAddr) -> Subject {
        let grpc = SocketAddr::new(http.ip(), http.port() + 1000);
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(Connection::open(grpc).await);
        }
        Subject { http, connections }
    }

    /// Does a step; what has to be the same.
    async fn run(&self, step: &Step) -> Value {
        match step {
            Step::Http(method, path) => {
                let reply = http::call(self.http, method, path, None)
                    .unwrap_or_else(|why| panic!("{method} {path}: {why}"));
                json!([reply.status, reply.text()])
            }
            Step::Hosts(path) => {
                let info =
                    http::get_json(self.http, path).unwrap_or_else(|why| panic!("{path}: {why}"));
                hosts(&info)
            }
            Step::Beat(path) => {
                let reply = http::call(self.http, "PUT", path, None)
                    .unwrap_or_else(|why| panic!("{path}: {why}"));
                let beat: Value = serde_json::from_str(&reply.text()).unwrap_or_default();
                json!([
                    beat["code"],
                    beat["clientBeatInterval"],
                    beat["lightBeatEnabled"]
                ])
            }
            Step::Page(path) => {
                let page =
                    http::get_json(self.http, path).unwrap_or_else(|why| panic!("{path}: {why}"));
                let items = page["pageItems"].as_array().cloned().unwrap_or_default();
                let items: Vec<Value> = items
                    .iter()
                    .map(|item| json!([item["dataId"], item["group"], item["content"]]))
                    .collect();
                json!([page["totalCount"], items])
            }
            Step::Call(at, kind, fields) => {
                let answer = self.connections[*at].call(kind, fields.clone()).await;
                match *kind {
                    "ServiceQueryRequest" | "SubscribeServiceRequest" => {
                        hosts(&answer["serviceInfo"])
                    }
                    "ConfigQueryRequest" if answer["resultCode"] == 200 => {
                        json!([answer["content"], answer["md5"]])
                    }
                    _ => answer["resultCode"].clone(),
                }
            }
        }
    }

    fn told(&self, at: usize, service: &str) -> Value {
        let told = self.connections[at].told.lock().unwrap();
        told.get(service).cloned().unwrap_or(Value::Null)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Http(&'static str, String),
    Hosts(String),
    Beat(String),
    Page(String),
    Call(usize, &'static str, Value),
}

fn named(service: &str) -> Value {
    json!({ "namespace": "public", "serviceName": service, "groupName": "DEFAULT_GROUP" })
}

fn beat(service: &str, address: &str) -> String {
    format!("/nacos/v1/ns/instance/beat?serviceName={service}&{address}")
}

fn with(mut fields: Value, more: Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        fields[key] = value.clone();
    }
    fields
}

/// The next call. `known`: addresses that HTTP registered.
fn step(dice: &mut StdRng, known: &mut BTreeSet<(String, String)>) -> Step {
    let service = format!("s{}", dice.random_range(0..SERVICES));
    let connection = dice.random_range(0..CONNECTIONS);
    let data = dice.random_range(0..CONFIGS);
    let config = format!("dataId=d{data}&group=g");
    let address = format!(
        "ip=10.0.0.{}&port={}",
        dice.random_range(1..4),
        dice.random_range(80..83)
    );
    match dice.random_range(0..100) {
        0..16 => {
            known.insert((service.clone(), address.clone()));
            Step::Http(
                "POST",
                format!(
                    "/nacos/v1/ns/instance?serviceName={service}&{address}&weight=2&metadata=%7B%22v%22:%222%22%7D"
                ),
            )
        }
        16..28 => {
            known.remove(&(service.clone(), address.clone()));
            Step::Http(
                "DELETE",
                format!("/nacos/v1/ns/instance?serviceName={service}&{address}"),
            )
        }
        28..34 => {
            let known: Vec<&(String, String)> = known.iter().collect();
            match known.get(dice.random_range(0..known.len().max(1))) {
                Some((service, address)) => Step::Beat(beat(service, address)),
                None => Step::Hosts(format!("/nacos/v1/ns/instance/list?serviceName={service}")),
            }
        }
        34..46 => Step::Hosts(format!("/nacos/v1/ns/instance/list?serviceName={service}")),
        46..56 => {
            let instance = json!({
                "ip": format!("10.1.{connection}.1"), "port": 90, "weight": 2.0,
                "healthy": true, "enabled": true, "ephemeral": true, "clusterName": "DEFAULT",
                "metadata": { "v": "2" },
            });
            let more = json!({ "type": "registerInstance", "instance": instance });
            Step::Call(connection, "InstanceRequest", with(named(&service), more))
        }
        56..62 => Step::Hosts(format!(
            "/nacos/v1/ns/instance/list?serviceName={service}&healthyOnly=true"
        )),
        62..68 => Step::Call(
            connection,
            "ServiceQueryRequest",
            with(
                named(&service),
                json!({ "cluster": "", "healthyOnly": false, "udpPort": 0 }),
            ),
        ),
        68..72 => Step::Call(
            connection,
            "SubscribeServiceRequest",
            with(
                named(&service),
                json!({ "subscribe": true, "clusters": "" }),
            ),
        ),
        72..79 => Step::Http(
            "POST",
            format!(
                "/nacos/v1/cs/configs?{config}&content=c{}",
                dice.random_range(0..5)
            ),
        ),
        79..83 => Step::Http("DELETE", format!("/nacos/v1/cs/configs?{config}")),
        83..89 => Step::Http("GET", format!("/nacos/v1/cs/configs?{config}")),
        89..92 => Step::Page(
            "/nacos/v1/cs/configs?search=accurate&dataId=&group=g&pageNo=1&pageSize=50".into(),
        ),
        92..95 => {
            let fields = json!({
                "dataId": format!("d{data}"), "group": "g", "tenant": "",
                "content": format!("c{}", dice.random_range(0..5)), "additionMap": {},
            });
            Step::Call(connection, "ConfigPublishRequest", fields)
        }
        95..98 => {
            let fields = json!({ "dataId": format!("d{data}"), "group": "g", "tenant": "" });
            Step::Call(connection, "ConfigQueryRequest", fields)
        }
        _ => {
            let fields = json!({ "dataId": format!("d{data}"), "group": "g", "tenant": "" });
            Step::Call(connection, "ConfigRemoveRequest", fields)
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// What is asked is the same after every call, and what subscribers were told is the same in the end.
#[test]
fn answers_are_those_of_r_nacos() {
    need_binary!();
    let Some(program) = std::env::var_os("PORTOLAN_RNACOS") else {
        return tally::skip_test("soak: r-nacos", "PORTOLAN_RNACOS is not set", 1);
    };
    let (seed, steps) = (
        number("PORTOLAN_SEED", 1),
        number("PORTOLAN_STEPS", STEPS as u64),
    );
    let server = Server::start();
    let peer = Peer::start(&program.to_string_lossy());
    etcd::runtime().block_on(async {
        let (ours, theirs) = (
            Subject::new(server.address("nacos")).await,
            Subject::new(peer.http).await,
        );
        let mut dice = StdRng::seed_from_u64(seed);
        let (mut known, mut subscribed) = (BTreeSet::new(), BTreeSet::new());
        let mut counted: BTreeMap<String, usize> = BTreeMap::new();
        let begun = Instant::now();
        for at in 0..steps {
            let step = step(&mut dice, &mut known);
            let kind = match &step {
                Step::Http(method, path) => {
                    format!("{method} {}", path.split('?').next().unwrap_or_default())
                }
                Step::Hosts(_) => "list".into(),
                Step::Beat(_) => "beat".into(),
                Step::Page(_) => "search".into(),
                Step::Call(connection, kind, fields) => {
                    if *kind == "SubscribeServiceRequest" {
                        let service = fields["serviceName"].as_str().unwrap_or_default();
                        subscribed.insert((*connection, service.to_owned()));
                    }
                    (*kind).to_owned()
                }
            };
            *counted.entry(kind).or_default() += 1;
            if at % BEATS == 0 {
                for (service, address) in &known {
                    let beat = Step::Beat(beat(service, address));
                    assert_eq!(ours.run(&beat).await, theirs.run(&beat).await, "{beat:?}");
                }
            }
            let (own, other) = (ours.run(&step).await, theirs.run(&step).await);
            assert_eq!(own, other, "seed {seed}, step {at}: {step:?}: ours first");
        }
        // Whoever subscribed has been told what there is.
        for (connection, service) in &subscribed {
            let list = Step::Hosts(format!("/nacos/v1/ns/instance/list?serviceName={service}"));
            for subject in [&ours, &theirs] {
                let now = subject.run(&list).await;
                let told = || match subject.told(*connection, service) {
                    // Never told: nothing changed since it subscribed.
                    Value::Null => Ok(()),
                    told => same(&told, &now),
                };
                let end = Instant::now() + Duration::from_secs(10);
                while told().is_err() && Instant::now() < end {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                told().unwrap_or_else(|why| panic!("{service} at {}: {why}", subject.http));
            }
        }
        println!(
            "{steps} calls of seed {seed} in {:?}, {} subscriptions: {counted:?}",
            begun.elapsed(),
            subscribed.len()
        );
    });
}
