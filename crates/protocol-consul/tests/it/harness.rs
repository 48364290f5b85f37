//! A server in this process over a local registry, and the smallest HTTP client that shows everything.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use portolan_access::AccessControl;
use portolan_catalog::{Cause, Command, Done, Host, Protocol, Settled};
use portolan_listener::{Limits, ServerContext, bind_tcp};
use portolan_protocol_consul::{ServerInfo, serve};
use portolan_registry::{Datacenters, LocalOptions, Registry};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A running server.
pub struct World {
    pub registry: Registry,
    pub context: ServerContext,
    pub address: SocketAddr,
}

/// An answer, all of it.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; fails with the whole answer otherwise.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }

    pub fn index(&self) -> u64 {
        self.headers["x-consul-index"].parse().expect("an index")
    }

    /// Checks status and exact text.
    pub fn is(&self, status: u16, text: &str) {
        assert_eq!((self.status, self.text().as_str()), (status, text));
    }

    /// Checks status and a part of the text.
    pub fn says(&self, status: u16, part: &str) {
        assert!(
            self.status == status && self.text().contains(part),
            "{} {}",
            self.status,
            self.text()
        );
    }
}

impl World {
    pub async fn new() -> Self {
        Self::started(Datacenters::default(), |_| None).await
    }

    /// One that knows other datacenters.
    pub async fn knowing(datacenters: Datacenters) -> Self {
        Self::started(datacenters, |_| None).await
    }

    /// With access control, which is a policy of its ports as well.
    pub async fn guarded(access: impl FnOnce(&Registry) -> AccessControl) -> Self {
        Self::started(Datacenters::default(), |registry| Some(access(registry))).await
    }

    async fn started(
        datacenters: Datacenters,
        access: impl FnOnce(&Registry) -> Option<AccessControl>,
    ) -> Self {
        let registry = Registry::local(&LocalOptions {
            address: Host::new("127.0.0.1"),
            ..LocalOptions::default()
        });
        let limits = Limits {
            drain_timeout: Duration::from_secs(2),
            ..Limits::default()
        };
        let context = ServerContext::new(portolan_listener::Settings {
            limits,
            ..portolan_listener::Settings::default()
        });
        let port =
            bind_tcp(&context, Protocol::Consul, ([127, 0, 0, 1], 0).into()).expect("a port");
        let address = port.address;
        let settings = ServerInfo {
            node_name: "n1".into(),
            datacenters,
            node_id: "00000000-0000-4000-8000-000000000001".into(),
            access: access(&registry),
            ..ServerInfo::default()
        };
        if let Some(access) = settings.access.clone() {
            context.set_policy(Some(std::sync::Arc::new(access)));
        }
        serve(&context, port, registry.clone(), settings);
        Self {
            registry,
            context,
            address,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"").await
    }

    pub async fn put(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.send("PUT", path, &[], body.as_ref()).await
    }

    pub async fn put_json(&self, path: &str, body: &Value) -> Answer {
        self.put(path, body.to_string()).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], b"").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[], body.to_string().as_bytes())
            .await
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        send(self.address, method, path, headers, body).await
    }

    /// Registers a service and expects it to work.
    pub async fn register(&self, body: &Value) {
        self.put_json("/v1/agent/service/register", body)
            .await
            .is(200, "");
    }

    /// A query that runs beside the test.
    pub fn background(&self, path: &str) -> tokio::task::JoinHandle<Answer> {
        let (address, path) = (self.address, path.to_owned());
        tokio::spawn(async move { send(address, "GET", &path, &[], b"").await })
    }

    /// Waits until so many queries wait for news.
    pub async fn waiting(&self, count: u64) {
        for _ in 0..1000 {
            if self.registry.feeds() == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{} queries wait, not {count}", self.registry.feeds());
    }

    pub async fn propose(&self, command: Command) -> Done {
        let Settled { outcome, .. } = self
            .registry
            .propose(Cause::call(Protocol::Eureka, None), command)
            .await
            .expect("an answer");
        outcome.expect("no refusal")
    }

    pub fn revision(&self) -> u64 {
        self.registry.snapshot().revision().0
    }
}

/// One request on a connection of its own.
pub async fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut stream = TcpStream::connect(address).await.expect("connect");
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await.expect("write");
    // A refused body may be answered before all of it was taken.
    let _refused = stream.write_all(body).await;
    let mut bytes = Vec::new();
    let _reset = stream.read_to_end(&mut bytes).await;
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("a head");
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok())
        .expect("a status");
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Answer {
        status,
        headers,
        body: bytes[end + 4..].to_vec(),
    }
}

/// The ids of a list's rows under a path like `Service.ID`.
pub fn pluck(rows: &Value, path: &str) -> Vec<String> {
    rows.as_array()
        .expect("a list")
        .iter()
        .map(|row| {
            let value = path.split('.').fold(row, |value, part| &value[part]);
            value
                .as_str()
                .unwrap_or_else(|| panic!("{path} in {row}"))
                .to_owned()
        })
        .collect()
}
