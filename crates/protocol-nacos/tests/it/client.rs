//! A server, the smallest HTTP client (one connection per request), and a gRPC client that is one HTTP/2 connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use portolan_catalog::{
    Cause, Command, Endpoint, Host, InstanceKey, Protocol, Register, Registration, ServiceKey,
};
use portolan_listener::{ServerContext, Settings as ListenerSettings, bind_tcp};
use portolan_protocol_nacos::wire::payload::Payload;
use portolan_protocol_nacos::{Ports, Settings};
use portolan_registry::{LocalOptions, Registry};
use prost::Message;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Long enough for a machine that has much else to do.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) context: ServerContext,
    pub(crate) registry: Registry,
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }
}

impl Server {
    pub(crate) async fn start() -> Server {
        Server::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Server {
        let context = ServerContext::new(ListenerSettings::default());
        let registry = Registry::local(&LocalOptions::default());
        let bind = || bind_tcp(&context, Protocol::Nacos, "127.0.0.1:0".parse().unwrap()).unwrap();
        let ports = Ports {
            http: bind(),
            grpc: Some(bind()),
        };
        let (http, grpc) = (ports.http.address, ports.grpc.as_ref().unwrap().address);
        portolan_protocol_nacos::serve(&context, ports, registry.clone(), settings).unwrap();
        Server {
            context,
            registry,
            http,
            grpc,
        }
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut stream = TcpStream::connect(self.http).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut raw = Vec::new();
        stream.read_to_end(&mut raw).await.unwrap();
        self.all_decided(&format!("{method} {path}"));
        parse(&raw)
    }

    pub(crate) fn all_decided(&self, what: &str) {
        let metrics = self.context.metrics();
        assert_eq!(
            metrics.answers_without_decision(Protocol::Nacos),
            0,
            "{what} was answered without a decision"
        );
        assert_eq!(metrics.panics(Protocol::Nacos), 0, "{what} panicked");
    }

    /// `call("POST /nacos/v1/ns/instance?ip=...")`
    pub(crate) async fn call(&self, line: &str) -> Answer {
        let (method, path) = line.split_once(' ').unwrap();
        self.send(method, path, &[], "").await
    }

    /// A call that must be answered with 200; its body.
    pub(crate) async fn fine(&self, line: &str) -> String {
        let answer = self.call(line).await;
        assert_eq!(answer.status, 200, "{line}: {}", answer.text());
        answer.text()
    }

    pub(crate) async fn json(&self, line: &str) -> Value {
        let text = self.fine(line).await;
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{line}: {text}"))
    }

    /// What v1 lists of a service: `ip:port` and whether healthy.
    pub(crate) async fn hosts(&self, query: &str) -> Vec<(String, bool)> {
        let info = self
            .json(&format!("GET /nacos/v1/ns/instance/list?{query}"))
            .await;
        hosts_of(&info)
    }

    /// Waits until `see` is satisfied with what v1 lists.
    pub(crate) async fn until(&self, query: &str, expected: &[(&str, bool)]) {
        let end = tokio::time::Instant::now() + SOON;
        loop {
            let hosts = self.hosts(query).await;
            let same = hosts
                .iter()
                .map(|(host, healthy)| (host.as_str(), *healthy));
            if same.eq(expected.iter().copied()) {
                return;
            }
            assert!(
                tokio::time::Instant::now() < end,
                "{query}: {hosts:?}, expected {expected:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What another protocol registers.
    pub(crate) async fn foreign(&self, service: &str, host: &str, port: u16) -> InstanceKey {
        let key = InstanceKey::new(Protocol::Native, format!("{service}-{host}-{port}"));
        let service = ServiceKey::plain(service);
        let mut facts =
            Registration::new(key.clone(), service, Endpoint::new(Host::new(host), port));
        facts.tags = vec![Arc::from("blue"), Arc::from("a,b")].into();
        self.apply(Command::Register(Box::new(Register::new(facts))))
            .await;
        key
    }

    pub(crate) async fn apply(&self, command: Command) {
        let cause = Cause::call(Protocol::Native, None);
        let settled = self.registry.propose(cause, command).await.unwrap();
        settled.outcome.unwrap();
    }
}

pub(crate) fn hosts_of(info: &Value) -> Vec<(String, bool)> {
    let hosts = info["hosts"].as_array().unwrap_or_else(|| panic!("{info}"));
    hosts
        .iter()
        .map(|host| {
            let address = format!("{}:{}", host["ip"].as_str().unwrap(), host["port"]);
            (address, host["healthy"].as_bool().unwrap())
        })
        .collect()
}

fn parse(raw: &[u8]) -> Answer {
    let end = raw
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .expect("a head");
    let head = std::str::from_utf8(&raw[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_owned(), value.trim().to_owned())
    });
    Answer {
        status,
        headers: headers.collect(),
        body: raw[end + 4..].to_vec(),
    }
}

/// One HTTP/2 connection of a client.
pub(crate) struct Rpc {
    sender: h2::client::SendRequest<Bytes>,
    connection: tokio::task::JoinHandle<()>,
}

/// The stream of a connection.
pub(crate) struct Pushes {
    send: h2::SendStream<Bytes>,
    receive: h2::RecvStream,
    buffer: BytesMut,
}

fn frame(payload: &Payload) -> Bytes {
    prefixed(&payload.encode_to_vec())
}

/// Flag and length in front of a message.
fn prefixed(message: &[u8]) -> Bytes {
    let mut out = vec![0];
    out.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    out.extend_from_slice(message);
    out.into()
}

fn take(buffer: &mut BytesMut) -> Option<Payload> {
    let length = buffer.get(1..5)?;
    let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
    if buffer.len() < 5 + length {
        return None;
    }
    let message = buffer.split_to(5 + length).freeze();
    Some(Payload::decode(message.slice(5..)).unwrap())
}

impl Rpc {
    pub(crate) async fn connect(server: &Server) -> Rpc {
        let stream = TcpStream::connect(server.grpc).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        Rpc { sender, connection }
    }

    async fn open(&self, path: &str) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
        let request = http::Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        let mut sender = self.sender.clone().ready().await.unwrap();
        sender.send_request(request, false).unwrap()
    }

    /// A call; the answer's type and fields.
    pub(crate) async fn call(&self, kind: &str, fields: Value) -> (String, Value) {
        self.raw(Payload::new(kind, fields.to_string())).await
    }

    pub(crate) async fn raw(&self, payload: Payload) -> (String, Value) {
        let (response, mut send) = self.open("/Request/request").await;
        send.send_data(frame(&payload), true).unwrap();
        let response = timeout(SOON, response).await.unwrap().unwrap();
        assert_eq!(response.status(), 200);
        let status = response.headers().get("grpc-status").cloned();
        let mut body = response.into_body();
        let mut buffer = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            let _ = body.flow_control().release_capacity(data.len());
            buffer.extend_from_slice(&data);
        }
        let payload = take(&mut buffer).unwrap_or_else(|| panic!("no answer, status {status:?}"));
        assert!(payload.body.as_ref().unwrap().type_url.is_empty());
        let json = serde_json::from_slice(payload.json()).unwrap();
        (payload.kind().to_owned(), json)
    }

    /// A call that must succeed; its fields.
    pub(crate) async fn fine(&self, kind: &str, fields: Value) -> Value {
        let (answered, json) = self.call(kind, fields).await;
        let wanted = kind.strip_suffix("Request").unwrap();
        let fits = answered.starts_with(wanted)
            || answered
                == format!(
                    "Query{}Response",
                    wanted.strip_suffix("Query").unwrap_or_default()
                )
            || kind == "PersistentInstanceRequest" && answered == "InstanceResponse"
            || kind == "ConfigBatchListenRequest" && answered == "ConfigChangeBatchListenResponse";
        assert!(
            fits && json["resultCode"] == 200,
            "{kind}: {answered} {json}"
        );
        json
    }

    /// Sets the connection up as a client of 2.x does; with abilities one of 3.x.
    pub(crate) async fn setup(&self, abilities: Option<Value>) -> Pushes {
        let (response, mut send) = self.open("/BiRequestStream/requestBiStream").await;
        let mut fields = json!({
            "headers": {}, "clientVersion": "Nacos-Test:v2.5.1", "tenant": "",
            "labels": {"source": "sdk", "module": "naming", "AppName": "test"}, "module": "internal",
        });
        if let Some(abilities) = abilities {
            fields["abilityTable"] = abilities;
        }
        let setup = Payload::new("ConnectionSetupRequest", fields.to_string());
        send.send_data(frame(&setup), false).unwrap();
        let response = timeout(SOON, response).await.unwrap().unwrap();
        assert_eq!(response.status(), 200);
        let status = response.headers().get("grpc-status");
        assert!(status.is_none(), "{:?}", response.headers());
        Pushes {
            send,
            receive: response.into_body(),
            buffer: BytesMut::new(),
        }
    }

    /// Ends the TCP connection as a killed process does.
    pub(crate) fn kill(self) {
        self.connection.abort();
    }
}

impl Pushes {
    /// The next request of the server; none when nothing comes in time, or ever.
    pub(crate) async fn next_within(&mut self, time: Duration) -> Option<(String, Value)> {
        let next = async {
            loop {
                if let Some(payload) = take(&mut self.buffer) {
                    let json = serde_json::from_slice(payload.json()).unwrap();
                    return Some((payload.kind().to_owned(), json));
                }
                let data = self.receive.data().await?.ok()?;
                let _ = self.receive.flow_control().release_capacity(data.len());
                self.buffer.extend_from_slice(&data);
            }
        };
        timeout(time, next).await.ok().flatten()
    }

    pub(crate) async fn next(&mut self, kind: &str) -> Value {
        let (got, json) = self
            .next_within(SOON)
            .await
            .unwrap_or_else(|| panic!("no {kind}"));
        assert_eq!(got, kind, "{json}");
        json
    }

    /// The next push of a service, acknowledged.
    pub(crate) async fn service(&mut self) -> Value {
        let push = self.next("NotifySubscriberRequest").await;
        self.acknowledge(&push, "NotifySubscriberResponse");
        push["serviceInfo"].clone()
    }

    pub(crate) fn acknowledge(&mut self, push: &Value, kind: &str) {
        let id = &push["requestId"];
        assert!(id.is_string(), "{push}");
        self.say(
            kind,
            json!({"resultCode": 200, "errorCode": 0, "requestId": id, "success": true}),
        );
    }

    pub(crate) fn say(&mut self, kind: &str, fields: Value) {
        let payload = Payload::new(kind, fields.to_string());
        self.send.send_data(frame(&payload), false).unwrap();
    }

    /// Nothing comes for a while.
    pub(crate) async fn quiet(&mut self) {
        let got = self.next_within(Duration::from_millis(300)).await;
        assert!(got.is_none(), "{got:?}");
    }

    /// Whether the server has ended the stream.
    pub(crate) async fn ended(&mut self) -> bool {
        let end = async {
            while let Some(Ok(data)) = self.receive.data().await {
                let _ = self.receive.flow_control().release_capacity(data.len());
            }
        };
        timeout(SOON, end).await.is_ok()
    }
}
