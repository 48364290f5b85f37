//! A server inside of the test's process, and streams to it.

use std::collections::BTreeMap;
use std::time::Duration;

use portolan_catalog::{
    Cause, Command, Endpoint, Host, InstanceKey, NodeName, Protocol, Register, Registration,
    ServiceKey, Why,
};
use portolan_listener::{ServerContext, Settings as ListenerSettings, bind_tcp};
use portolan_protocol_xds::wire::core::{Locality, Node};
use portolan_protocol_xds::wire::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Status,
};
use portolan_protocol_xds::wire::endpoint::ClusterLoadAssignment;
use portolan_protocol_xds::wire::{ASSIGNMENT, Any, ROUTES};
use portolan_protocol_xds::{Remarks, Settings, serve};
use portolan_registry::{LocalOptions, Registry};
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint as Uri};
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

pub const ADS: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
pub const ADS_DELTA: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// A server with the service `fence`. It goes with the test's runtime.
pub struct Server {
    pub context: ServerContext,
    pub registry: Registry,
    pub remarks: Remarks,
    pub url: String,
}

impl Server {
    pub async fn start() -> Server {
        Server::with(Settings::default()).await
    }

    pub async fn with(settings: Settings) -> Server {
        let context = ServerContext::new(ListenerSettings::default());
        let registry = Registry::local(&LocalOptions::default());
        let port = bind_tcp(&context, Protocol::Xds, ([127, 0, 0, 1], 0).into()).unwrap();
        let url = format!("http://{}", port.address);
        let (_, remarks) = serve(&context, port, registry.clone(), settings);
        let server = Server {
            context,
            registry,
            remarks,
            url,
        };
        server.register(instance("fence", "10.255.0.1", 1)).await;
        server
    }

    /// Does what it is told, and returns the revision.
    pub async fn command(&self, command: Command) -> u64 {
        let settled = self.registry.propose(Cause::own(Why::Start), command).await;
        let settled = settled.unwrap();
        settled.outcome.unwrap();
        settled.revision.0
    }

    pub async fn register(&self, facts: Registration) -> u64 {
        self.command(Command::Register(Box::new(Register::new(facts))))
            .await
    }

    pub async fn deregister(&self, name: &str, host: &str, port: u16) -> u64 {
        self.command(Command::Deregister {
            target: portolan_catalog::Target::Instance(key(name, host, port)),
            expect: None,
        })
        .await
    }

    /// Has an empty service be no service any more, as the leader does after a while.
    pub async fn forget(&self, name: &str) -> u64 {
        self.command(Command::Forget {
            service: ServiceKey::plain(name),
            protocol: None,
        })
        .await
    }

    pub async fn channel(&self) -> Channel {
        let uri = Uri::from_shared(self.url.clone()).unwrap();
        uri.connect().await.unwrap()
    }

    pub async fn world(&self, node: Node) -> World {
        self.world_at(ADS, node).await
    }

    pub async fn world_at(&self, path: &'static str, node: Node) -> World {
        let (asks, received) = mpsc::channel(64);
        let answers = open(self.channel().await, path, received).await;
        World {
            asks,
            answers: answers.unwrap(),
            node: Some(node),
            fences: Vec::new(),
            fence_nonce: String::new(),
        }
    }

    pub async fn delta(&self, node: Node) -> Delta {
        let (asks, received) = mpsc::channel(64);
        let answers = open(self.channel().await, ADS_DELTA, received).await;
        Delta {
            asks,
            answers: answers.unwrap(),
            node: Some(node),
        }
    }
}

/// Opens a stream; the answer's head comes before anything is asked.
pub async fn open<A, B>(
    channel: Channel,
    path: &'static str,
    asks: mpsc::Receiver<A>,
) -> Result<Streaming<B>, tonic::Status>
where
    A: Message + Default + 'static,
    B: Message + Default + 'static,
{
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.unwrap();
    let codec = ProstCodec::<A, B>::default();
    let request = Request::new(ReceiverStream::new(asks));
    let response = grpc
        .streaming(request, path.parse().unwrap(), codec)
        .await?;
    Ok(response.into_inner())
}

pub fn key(name: &str, host: &str, port: u16) -> InstanceKey {
    InstanceKey::consul(&NodeName::new("n1"), &format!("{name}-{host}-{port}"))
}

pub fn instance(name: &str, host: &str, port: u16) -> Registration {
    let mut facts = Registration::new(
        key(name, host, port),
        ServiceKey::plain(name),
        Endpoint::new(Host::new(host), port),
    );
    facts.node = NodeName::new("n1");
    facts
}

pub fn node(agent: &str, region: &str) -> Node {
    Node {
        id: "test".to_owned(),
        user_agent_name: agent.to_owned(),
        locality: Some(Locality {
            region: region.to_owned(),
            ..Locality::default()
        }),
        ..Node::default()
    }
}

pub fn grpc() -> Node {
    node("gRPC Go", "")
}

pub fn envoy() -> Node {
    node("envoy", "")
}

fn words(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

pub fn refusal(text: &str) -> Option<Status> {
    Some(Status {
        code: 3,
        message: text.to_owned(),
    })
}

/// A stream about the state of the world.
pub struct World {
    pub asks: mpsc::Sender<DiscoveryRequest>,
    pub answers: Streaming<DiscoveryResponse>,
    /// Said once.
    node: Option<Node>,
    fences: Vec<String>,
    fence_nonce: String,
}

impl World {
    pub async fn send(&mut self, mut request: DiscoveryRequest) {
        request.node = self.node.take();
        self.asks.send(request).await.unwrap();
    }

    /// The first request of a kind.
    pub async fn ask(&mut self, type_url: &str, names: &[&str]) {
        self.send(DiscoveryRequest {
            type_url: type_url.to_owned(),
            resource_names: words(names),
            ..DiscoveryRequest::default()
        })
        .await;
    }

    /// Accepts a response, and says again what is wanted.
    pub async fn accept(&mut self, response: &DiscoveryResponse, names: &[&str]) {
        self.answer(response, names, None).await;
    }

    /// Answers a response.
    pub async fn answer(
        &mut self,
        response: &DiscoveryResponse,
        names: &[&str],
        error: Option<Status>,
    ) {
        self.send(DiscoveryRequest {
            version_info: response.version_info.clone(),
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            resource_names: words(names),
            error_detail: error,
            ..DiscoveryRequest::default()
        })
        .await;
    }

    pub async fn next(&mut self) -> DiscoveryResponse {
        let answer = timeout(PATIENCE, self.answers.message()).await;
        answer.expect("a response in time").unwrap().expect("more")
    }

    /// The next response, which is of this kind.
    pub async fn of(&mut self, type_url: &str) -> DiscoveryResponse {
        let response = self.next().await;
        assert_eq!(response.type_url, type_url, "{response:?}");
        assert!(!response.nonce.is_empty() && !response.version_info.is_empty());
        assert!(
            response
                .resources
                .iter()
                .all(|any| any.type_url == type_url)
        );
        response
    }

    /// Asks for one thing and accepts the answer.
    pub async fn get(&mut self, type_url: &str, names: &[&str]) -> DiscoveryResponse {
        self.ask(type_url, names).await;
        let response = self.of(type_url).await;
        self.accept(&response, names).await;
        response
    }

    /// Nothing was sent for what was asked until now: what is asked next is answered next.
    pub async fn quiet(&mut self) {
        self.fences.push(format!("fence:{}", self.fences.len() + 1));
        let names = self.fences.clone();
        self.send(DiscoveryRequest {
            type_url: ROUTES.to_owned(),
            response_nonce: self.fence_nonce.clone(),
            resource_names: names,
            ..DiscoveryRequest::default()
        })
        .await;
        let response = self.of(ROUTES).await;
        let names = self.fences.clone();
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        self.accept(&response, &names).await;
        self.fence_nonce = response.nonce;
    }

    /// The status with which the stream ends.
    pub async fn end(&mut self) -> tonic::Status {
        loop {
            let answer = timeout(PATIENCE, self.answers.message()).await;
            match answer.expect("an end in time") {
                Ok(Some(_)) => {}
                Ok(None) => return tonic::Status::ok(""),
                Err(status) => return status,
            }
        }
    }
}

/// A stream of differences.
pub struct Delta {
    asks: mpsc::Sender<DeltaDiscoveryRequest>,
    answers: Streaming<DeltaDiscoveryResponse>,
    node: Option<Node>,
}

impl Delta {
    pub async fn send(&mut self, mut request: DeltaDiscoveryRequest) {
        request.node = self.node.take();
        self.asks.send(request).await.unwrap();
    }

    pub async fn ask(&mut self, type_url: &str, more: &[&str], less: &[&str]) {
        self.send(DeltaDiscoveryRequest {
            type_url: type_url.to_owned(),
            resource_names_subscribe: words(more),
            resource_names_unsubscribe: words(less),
            ..DeltaDiscoveryRequest::default()
        })
        .await;
    }

    /// As a client that comes back.
    pub async fn ask_again(&mut self, type_url: &str, more: &[&str], has: &[(&str, &str)]) {
        let pairs = has
            .iter()
            .map(|(name, version)| (name.to_string(), version.to_string()));
        self.send(DeltaDiscoveryRequest {
            type_url: type_url.to_owned(),
            resource_names_subscribe: words(more),
            initial_resource_versions: pairs.collect(),
            ..DeltaDiscoveryRequest::default()
        })
        .await;
    }

    /// The next response, which is of this kind, accepted.
    pub async fn of(&mut self, type_url: &str) -> DeltaDiscoveryResponse {
        let answer = timeout(PATIENCE, self.answers.message()).await;
        let response = answer.expect("a response in time").unwrap().expect("more");
        assert_eq!(response.type_url, type_url, "{response:?}");
        self.send(DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        })
        .await;
        response
    }
}

/// Names in a response, in its order, and what is gone.
pub fn names(response: &DeltaDiscoveryResponse) -> (Vec<&str>, Vec<&str>) {
    let there = response.resources.iter().map(|one| &*one.name);
    let gone = response.removed_resources.iter().map(|name| &**name);
    (there.collect(), gone.collect())
}

pub fn unpack<M: Message + Default>(any: &Any) -> M {
    M::decode(any.value.clone()).unwrap()
}

/// Per cluster, its instances as `address:port status`.
pub fn assigned(response: &DiscoveryResponse) -> BTreeMap<String, Vec<String>> {
    assert_eq!(response.type_url, ASSIGNMENT);
    let all = response
        .resources
        .iter()
        .map(unpack::<ClusterLoadAssignment>);
    all.map(|one| (one.cluster_name.clone(), endpoints(&one)))
        .collect()
}

pub fn endpoints(assignment: &ClusterLoadAssignment) -> Vec<String> {
    let all = assignment
        .endpoints
        .iter()
        .flat_map(|place| &place.lb_endpoints);
    all.map(|one| {
        let address = one.endpoint.as_ref().unwrap().address.as_ref().unwrap();
        let socket = address.socket_address.as_ref().unwrap();
        let status = format!("{:?}", one.health_status()).to_uppercase();
        format!("{}:{} {status}", socket.address, socket.port_value)
    })
    .collect()
}
