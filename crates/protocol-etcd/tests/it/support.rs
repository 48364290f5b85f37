//! A server of our own inside of the test's process, and clients for it.

use std::{sync::Arc, time::Duration};

use pb::watch_request::RequestUnion;
use portolan_catalog::{
    Protocol,
    layout::{Form, LayoutState, Template},
};
use portolan_listener::{Limits, ServerContext, Settings as ListenerSettings, bind_tcp};
use portolan_protocol_etcd::{
    Settings, serve,
    wire::etcdserverpb::{
        auth_client::AuthClient, cluster_client::ClusterClient, kv_client::KvClient,
        lease_client::LeaseClient, maintenance_client::MaintenanceClient,
        watch_client::WatchClient,
    },
    wire::{etcdserverpb as pb, mvccpb},
};
use portolan_registry::{LocalOptions, Registry};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Streaming,
    transport::{Channel, Endpoint},
};

use super::differential::prefix_end;

/// A server over a registry in memory. It goes with the test's runtime.
pub struct Server {
    pub context: ServerContext,
    pub registry: Registry,
    pub url: String,
}

impl Server {
    pub async fn start() -> Server {
        Server::with(Settings::default(), Vec::new()).await
    }

    pub async fn with_layouts() -> Server {
        let layouts = [
            ("kitex", Form::Kitex),
            ("kratos", Form::Kratos),
            ("services", Form::Template(Template::services())),
            (
                "go-zero",
                Form::GoZero {
                    key: "user.rpc".into(),
                },
            ),
        ];
        Server::with(
            Settings::default(),
            layouts
                .into_iter()
                .map(|(name, form)| (Arc::from(name), LayoutState::asleep(form)))
                .collect(),
        )
        .await
    }

    pub async fn with(settings: Settings, layouts: Vec<(Arc<str>, LayoutState)>) -> Server {
        let registry = Registry::local(&LocalOptions {
            layouts,
            ..LocalOptions::default()
        });
        Server::over(registry, settings)
    }

    pub fn over(registry: Registry, settings: Settings) -> Server {
        Server::within(registry, settings, Limits::default())
    }

    pub fn within(registry: Registry, settings: Settings, limits: Limits) -> Server {
        let context = ServerContext::new(ListenerSettings {
            limits,
            ..ListenerSettings::default()
        });
        let port =
            bind_tcp(&context, Protocol::Etcd, ([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = port.address.to_string();
        serve(&context, port, registry.clone(), settings);
        Server {
            context,
            registry,
            url: format!("http://{address}"),
        }
    }

    pub async fn channel(&self) -> Channel {
        Endpoint::from_shared(self.url.clone())
            .unwrap()
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(5))
            .connect()
            .await
            .expect("a connection")
    }

    pub async fn client(&self) -> Client {
        let channel = self.channel().await;
        Client {
            kv: KvClient::new(channel.clone())
                .max_decoding_message_size(64 << 20)
                .max_encoding_message_size(64 << 20),
            lease: LeaseClient::new(channel.clone()),
            watch: WatchClient::new(channel.clone()).max_decoding_message_size(64 << 20),
            cluster: ClusterClient::new(channel.clone()),
            maintenance: MaintenanceClient::new(channel.clone()),
            auth: AuthClient::new(channel),
        }
    }
}

/// All services over one connection.
pub struct Client {
    pub kv: KvClient<Channel>,
    pub lease: LeaseClient<Channel>,
    pub watch: WatchClient<Channel>,
    pub cluster: ClusterClient<Channel>,
    pub maintenance: MaintenanceClient<Channel>,
    pub auth: AuthClient<Channel>,
}

impl Client {
    pub async fn put(&mut self, key: &str, value: &str) -> pb::PutResponse {
        self.kv.put(put(key, value)).reply().await
    }
}

/// An answer that is taken for granted: `client.kv.range(one("k")).reply().await`.
pub trait Call<T> {
    async fn reply(self) -> T;
}

impl<T, F: Future<Output = Result<tonic::Response<T>, tonic::Status>>> Call<T> for F {
    async fn reply(self) -> T {
        self.await.expect("an answer").into_inner()
    }
}

/// A put of `value` under `key`.
pub fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    }
}

/// Everything that begins with `prefix`.
pub fn prefix(prefix: &str) -> pb::RangeRequest {
    pb::RangeRequest {
        key: prefix.to_owned().into(),
        range_end: prefix_end(prefix.as_bytes()),
        ..Default::default()
    }
}

/// One key.
pub fn one(key: &str) -> pb::RangeRequest {
    pb::RangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    }
}

/// One key, to be deleted.
pub fn gone(key: &str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    }
}

/// Keys and values of an answer.
pub fn pairs(kvs: &[mvccpb::KeyValue]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    kvs.iter()
        .map(|kv| (text(&kv.key), text(&kv.value)))
        .collect()
}

/// Keys of an answer.
pub fn key_names(kvs: &[mvccpb::KeyValue]) -> Vec<String> {
    pairs(kvs).into_iter().map(|(key, _)| key).collect()
}

/// Code and text of the answer that was not given.
pub fn failure<T: std::fmt::Debug>(answer: Result<T, tonic::Status>) -> (tonic::Code, String) {
    let status = answer.expect_err("a failure");
    (status.code(), status.message().to_owned())
}

/// The revision of an answer's header.
pub fn revision(header: &Option<pb::ResponseHeader>) -> i64 {
    header.as_ref().expect("a header").revision
}

/// Answers that were given without asking whether they may be.
pub fn undecided(server: &Server) -> u64 {
    let metrics = server.context.metrics();
    metrics.answers_without_decision(Protocol::Etcd)
}

/// A watch stream.
pub struct Watching {
    requests: mpsc::Sender<pb::WatchRequest>,
    answers: Streaming<pb::WatchResponse>,
}

impl Watching {
    pub async fn open(client: &mut Client) -> Watching {
        let (requests, receiver) = mpsc::channel(64);
        let answers = client
            .watch
            .watch(ReceiverStream::new(receiver))
            .await
            .expect("a stream")
            .into_inner();
        Watching { requests, answers }
    }

    /// Opens a stream with the metadata of `like`.
    pub async fn open_by(client: &mut Client, like: tonic::Request<()>) -> Watching {
        let (requests, receiver) = mpsc::channel(64);
        let (metadata, extensions, ()) = like.into_parts();
        let stream = ReceiverStream::new(receiver);
        let request = tonic::Request::from_parts(metadata, extensions, stream);
        let answers = client.watch.watch(request).await.expect("a stream");
        Watching {
            requests,
            answers: answers.into_inner(),
        }
    }

    pub async fn ask(&self, request: RequestUnion) {
        self.requests
            .send(pb::WatchRequest {
                request_union: Some(request),
            })
            .await
            .unwrap();
    }

    /// Creates a watcher and gives the answer.
    pub async fn create(&mut self, request: pb::WatchCreateRequest) -> pb::WatchResponse {
        self.ask(RequestUnion::CreateRequest(request)).await;
        let answer = self.next().await;
        assert!(answer.created, "{answer:?}");
        answer
    }

    pub async fn next(&mut self) -> pb::WatchResponse {
        let answer = tokio::time::timeout(Duration::from_secs(5), self.answers.message())
            .await
            .expect("an answer in time");
        answer.expect("no failure").expect("no end")
    }

    /// Nothing comes for a while.
    pub async fn is_quiet(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(100), self.answers.message())
            .await
            .is_err()
    }
}

/// A watch of everything that begins with `prefix`.
pub fn watch_of(prefix: &str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest {
        key: prefix.to_owned().into(),
        range_end: prefix_end(prefix.as_bytes()),
        ..Default::default()
    }
}

/// Events as `(is a delete, key, value, revision)`.
pub fn told(response: &pb::WatchResponse) -> Vec<(bool, String, String, i64)> {
    let tell = |event: &mvccpb::Event| {
        let kv = event.kv.clone().unwrap_or_default();
        let (key, value) = pairs(std::slice::from_ref(&kv)).remove(0);
        (event.r#type == 1, key, value, kv.mod_revision)
    };
    response.events.iter().map(tell).collect()
}
