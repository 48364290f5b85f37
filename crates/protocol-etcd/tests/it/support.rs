//! A server of our own inside of the test's process, and clients for it.

use std::{sync::Arc, time::Duration};

use portolan_catalog::{
    Protocol,
    layout::{Form, LayoutState},
};
use portolan_listener::{House, Settings as HouseSettings, bind_tcp};
use portolan_protocol_etcd::{
    Settings, serve,
    wire::etcdserverpb::{
        auth_client::AuthClient, cluster_client::ClusterClient, kv_client::KvClient,
        lease_client::LeaseClient, maintenance_client::MaintenanceClient,
        watch_client::WatchClient,
    },
};
use portolan_registry::{LocalOptions, Registry};
use tonic::transport::{Channel, Endpoint};

/// A server over a registry in memory. It goes with the test's runtime.
pub struct Server {
    pub house: House,
    pub registry: Registry,
    pub url: String,
    pub address: String,
}

impl Server {
    pub async fn start() -> Server {
        Server::with(Settings::default(), Vec::new()).await
    }

    pub async fn with_layouts() -> Server {
        let layouts = [
            ("kitex", Form::Kitex),
            ("kratos", Form::Kratos),
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
        let house = House::new(HouseSettings::default());
        let port =
            bind_tcp(&house, Protocol::Etcd, ([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = port.address.to_string();
        serve(&house, port, registry.clone(), settings);
        Server {
            house,
            registry,
            url: format!("http://{address}"),
            address,
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
            auth: AuthClient::new(channel.clone()),
            channel,
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
    pub channel: Channel,
}
