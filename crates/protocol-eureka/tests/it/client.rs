//! A server and the smallest HTTP client: one connection per request, every byte of the answer.

use std::io::Read;
use std::sync::Arc;

use portolan_catalog::{
    Cause, Command, Endpoint, Host, InstanceKey, Protocol, Register, Registration, ServiceKey,
};
use portolan_listener::{ServerContext, Settings, bind_tcp};
use portolan_protocol_eureka::wire::{
    Applications, Format, Instance, decode_applications, decode_instance,
};
use portolan_registry::{LocalOptions, Registry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const JSON: (&str, &str) = ("Accept", "application/json");
pub(crate) const SEND_JSON: (&str, &str) = ("Content-Type", "application/json");

pub(crate) struct Server {
    pub(crate) context: ServerContext,
    pub(crate) registry: Registry,
    pub(crate) address: std::net::SocketAddr,
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
        let body = match self.header("content-encoding") {
            Some("gzip") => {
                let mut out = Vec::new();
                flate2::read::GzDecoder::new(&self.body[..])
                    .read_to_end(&mut out)
                    .unwrap();
                out
            }
            _ => self.body.clone(),
        };
        String::from_utf8(body).unwrap()
    }

    pub(crate) fn instance(&self) -> Instance {
        assert_eq!(self.status, 200, "{}", self.text());
        decode_instance(self.format(), self.text().as_bytes()).unwrap()
    }

    pub(crate) fn list(&self) -> Applications {
        assert_eq!(self.status, 200, "{}", self.text());
        decode_applications(self.format(), self.text().as_bytes(), usize::MAX).unwrap()
    }

    fn format(&self) -> Format {
        match self.header("content-type") {
            Some("application/json") => Format::Json,
            Some("application/xml") => Format::Xml,
            other => panic!("content type {other:?}"),
        }
    }
}

impl Server {
    pub(crate) async fn start() -> Server {
        let context = ServerContext::new(Settings::default());
        let registry = Registry::local(&LocalOptions::default());
        let port = bind_tcp(&context, Protocol::Eureka, "127.0.0.1:0".parse().unwrap()).unwrap();
        let address = port.address;
        portolan_protocol_eureka::serve(&context, port, registry.clone(), &Default::default());
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
        body: &[u8],
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
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        let mut raw = Vec::new();
        stream.read_to_end(&mut raw).await.unwrap();
        assert_eq!(
            self.context
                .metrics()
                .answers_without_decision(Protocol::Eureka),
            0,
            "{method} {path} was answered without a decision"
        );
        parse(&raw)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[JSON], b"").await
    }

    pub(crate) async fn put(&self, path: &str) -> u16 {
        self.send("PUT", path, &[], b"").await.status
    }

    pub(crate) async fn delete(&self, path: &str) -> u16 {
        self.send("DELETE", path, &[], b"").await.status
    }

    pub(crate) async fn register(&self, app: &str, body: &str) -> Answer {
        let path = format!("/eureka/apps/{app}");
        self.send("POST", &path, &[SEND_JSON], body.as_bytes())
            .await
    }

    /// Registers `10.0.0.{n}:{port}` as `h{n}:{app}:{port}` with further fields; panics unless that worked.
    pub(crate) async fn up(&self, app: &str, n: u8, fields: &str) {
        let answer = self.register(app, &instance(app, n, fields)).await;
        assert_eq!(
            (answer.status, answer.body.len()),
            (204, 0),
            "{}",
            answer.text()
        );
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

/// A registration's JSON; `fields` begins with a comma or is empty.
pub(crate) fn instance(app: &str, n: u8, fields: &str) -> String {
    format!(
        r#"{{"instance":{{"instanceId":"h{n}:{lower}:8080","hostName":"h{n}","app":"{app}","ipAddr":"10.0.0.{n}",
        "vipAddress":"{lower}","port":{{"$":8080,"@enabled":"true"}},"dataCenterInfo":{{"@class":
        "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"MyOwn"}}{fields}}}}}"#,
        lower = app.to_ascii_lowercase()
    )
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
