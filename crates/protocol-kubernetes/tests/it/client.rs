//! A server, and the smallest HTTP client: one connection per request.

use std::net::SocketAddr;
use std::time::Duration;

use portolan_catalog::{Cause, Command, Protocol};
use portolan_listener::{ServerContext, Settings as ListenerSettings, bind_tcp};
use portolan_protocol_kubernetes::Settings;
use portolan_registry::{LocalOptions, Registry};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Long enough for a machine that has much else to do.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) context: ServerContext,
    pub(crate) registry: Registry,
    pub(crate) address: SocketAddr,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }

    /// The body of an answer with this status.
    pub(crate) fn ok(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// Status and reason of a refusal.
    pub(crate) fn refused(&self) -> (u16, String) {
        let status = self.json();
        assert_eq!(status["kind"], "Status", "{status}");
        assert_eq!(status["status"], "Failure", "{status}");
        (
            self.status,
            status["reason"].as_str().unwrap_or_default().to_owned(),
        )
    }

    pub(crate) fn message(&self) -> String {
        self.json()["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

impl Server {
    pub(crate) async fn start() -> Server {
        Server::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Server {
        let context = ServerContext::new(ListenerSettings::default());
        let registry = Registry::local(&LocalOptions::default());
        let address = "127.0.0.1:0".parse().unwrap();
        let port = bind_tcp(&context, Protocol::Kubernetes, address).unwrap();
        let address = port.address;
        portolan_protocol_kubernetes::serve(&context, port, registry.clone(), settings);
        Server {
            context,
            registry,
            address,
        }
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut stream = self.request(method, path, headers, body).await;
        let mut raw = Vec::new();
        timeout(SOON, stream.read_to_end(&mut raw))
            .await
            .unwrap()
            .unwrap();
        self.all_decided(&format!("{method} {path}"));
        parse(&raw)
    }

    async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> TcpStream {
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        stream
    }

    pub(crate) fn all_decided(&self, what: &str) {
        let metrics = self.context.metrics();
        let undecided = metrics.answers_without_decision(Protocol::Kubernetes);
        assert_eq!(undecided, 0, "{what} was answered without a decision");
        assert_eq!(metrics.panics(Protocol::Kubernetes), 0, "{what} panicked");
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(
            "POST",
            path,
            &[("Content-Type", "application/json")],
            &body.to_string(),
        )
        .await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(
            "PUT",
            path,
            &[("Content-Type", "application/json")],
            &body.to_string(),
        )
        .await
    }

    pub(crate) async fn patch(&self, path: &str, kind: &str, body: Value) -> Answer {
        let media = format!("application/{kind}+json");
        self.send(
            "PATCH",
            path,
            &[("Content-Type", &media)],
            &body.to_string(),
        )
        .await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], "").await
    }

    /// Another protocol's command.
    pub(crate) async fn command(&self, command: Command) {
        let settled = self
            .registry
            .propose(Cause::call(Protocol::Consul, None), command)
            .await
            .unwrap();
        settled.outcome.unwrap();
    }

    /// Asks until the answer is as it should be.
    pub(crate) async fn until(&self, path: &str, fits: impl Fn(&Answer) -> bool) -> Value {
        let asked = async {
            loop {
                let answer = self.get(path).await;
                if fits(&answer) {
                    return answer;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        match timeout(SOON, asked).await {
            Ok(answer) => answer.json(),
            Err(_) => panic!("{path}: {}", self.get(path).await.text()),
        }
    }

    pub(crate) async fn watch(&self, path: &str) -> Watch {
        let mut reader = BufReader::new(self.request("GET", path, &[], "").await);
        let mut status = String::new();
        reader.read_line(&mut status).await.unwrap();
        assert!(status.contains(" 200 "), "{status}");
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).await.unwrap();
            if line.trim().is_empty() {
                break;
            }
        }
        Watch(reader)
    }
}

/// A watch that is open: lines in chunks.
pub(crate) struct Watch(BufReader<TcpStream>);

impl Watch {
    async fn line(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).await.unwrap() == 0 {
                return None;
            }
            if line.starts_with('{') {
                return Some(serde_json::from_str(&line).unwrap());
            }
            if line.trim() == "0" {
                return None;
            }
        }
    }

    /// The next event: its type and its object.
    pub(crate) async fn next(&mut self) -> (String, Value) {
        let event = timeout(SOON, self.line()).await.expect("an event in time");
        let mut event = event.expect("an event before the end");
        (
            event["type"].as_str().unwrap().to_owned(),
            event["object"].take(),
        )
    }

    /// The next event as `TYPE name`.
    pub(crate) async fn word(&mut self) -> String {
        let (word, object) = self.next().await;
        format!(
            "{word} {}",
            object["metadata"]["name"].as_str().unwrap_or_default()
        )
    }

    /// Whether it ends.
    pub(crate) async fn ends(&mut self) -> bool {
        matches!(timeout(SOON, self.line()).await, Ok(None))
    }
}

fn parse(raw: &[u8]) -> Answer {
    let at = raw
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("a head");
    let head = String::from_utf8(raw[..at].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut body = raw[at + 4..].to_vec();
    if head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked")
    {
        body = unchunked(&body);
    }
    Answer { status, head, body }
}

fn unchunked(mut raw: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(at) = raw.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&raw[..at]).unwrap(), 16).unwrap();
        if size == 0 {
            break;
        }
        body.extend_from_slice(&raw[at + 2..at + 2 + size]);
        raw = &raw[at + 4 + size..];
    }
    body
}

/// The path of a namespace's services.
pub(crate) const SERVICES: &str = "/api/v1/namespaces/default/services";

/// A Service with one port.
pub(crate) fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
    })
}

/// A pod that its labels select for the Service of the same name.
pub(crate) fn pod(name: &str, app: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"app": app}},
        "spec": {"containers": [{"name": "main", "image": "web:1", "ports": [{"name": "http", "containerPort": 8080}]}]},
    })
}

impl Server {
    /// Makes a pod that runs at an address.
    pub(crate) async fn run_pod(&self, name: &str, app: &str, ip: &str, ready: bool) {
        let pods = "/api/v1/namespaces/default/pods";
        self.post(pods, pod(name, app)).await.ok(201);
        self.set_pod(name, ip, ready).await;
    }

    pub(crate) async fn set_pod(&self, name: &str, ip: &str, ready: bool) {
        let status = if ready { "True" } else { "False" };
        let status = json!({"status": {
            "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": status}],
        }});
        let path = format!("/api/v1/namespaces/default/pods/{name}/status");
        self.patch(&path, "merge-patch", status).await.ok(200);
    }
}
