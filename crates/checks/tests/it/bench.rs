//! A registry, a runner without jitter, and servers with prepared answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use portolan_catalog::{
    Cause, Check, CheckFacts, CheckKey, Command, NewCheck, NodeName, Probe, Protocol, PutCheck,
    Status, Table,
};
use portolan_checks::{Meters, Runner, Settings, start};
use portolan_registry::{LocalOptions, Registry, Selector};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

pub(crate) struct Bench {
    pub(crate) registry: Registry,
    pub(crate) meters: Meters,
    pub(crate) runner: Runner,
}

pub(crate) fn node() -> NodeName {
    NodeName::new("n1")
}

pub(crate) fn settings() -> Settings {
    let mut settings = Settings::new(node());
    settings.jitter = Arc::new(|| 0.0);
    settings
}

/// A check of the node, run by it every second.
pub(crate) fn check(id: &str, probe: Probe) -> CheckFacts {
    let mut facts = CheckFacts::new(CheckKey::new(&node(), id), id);
    facts.probe = probe;
    facts.interval_ms = 1000;
    facts.timeout_ms = 2000;
    facts.owner = Some(node());
    facts
}

pub(crate) fn http_probe(url: &str) -> Probe {
    Probe::Http {
        url: url.into(),
        method: Arc::default(),
        headers: Arc::default(),
        body: Arc::default(),
        disable_redirects: false,
        tls: Default::default(),
    }
}

pub(crate) fn put(facts: CheckFacts) -> Command {
    let check = NewCheck {
        facts: Arc::new(facts),
        status: Status::Critical,
        output: Arc::default(),
        reported: false,
    };
    Command::PutCheck(Box::new(PutCheck {
        check,
        expect: None,
    }))
}

impl Bench {
    pub(crate) fn start() -> Bench {
        Bench::with(settings())
    }

    pub(crate) fn with(settings: Settings) -> Bench {
        let registry = Registry::local(&LocalOptions::default());
        let meters = Meters::default();
        let runner = start(registry.clone(), settings, meters.clone());
        Bench {
            registry,
            meters,
            runner,
        }
    }

    pub(crate) async fn apply(&self, command: Command) {
        let cause = Cause::call(Protocol::Consul, None);
        let settled = self.registry.propose(cause, command).await.unwrap();
        settled.outcome.unwrap();
    }

    /// Waits until a check satisfies `wanted`.
    pub(crate) async fn until(&self, id: &str, wanted: impl Fn(&Check) -> bool) -> Arc<Check> {
        let key = CheckKey::new(&node(), id);
        let from = self.registry.snapshot();
        let selector = vec![Selector::Table(Table::Checks)];
        let mut feed = self.registry.follow(selector, from.revision()).unwrap();
        let wait = async {
            loop {
                let state = self.registry.snapshot();
                if let Some(check) = state.check(&key).filter(|check| wanted(check)) {
                    return check.clone();
                }
                feed.next().await.unwrap();
            }
        };
        match tokio::time::timeout(Duration::from_secs(15), wait).await {
            Ok(check) => check,
            Err(_) => panic!("check {id} is {:?}", self.registry.snapshot().check(&key)),
        }
    }

    /// Registers a check and waits for its first result.
    pub(crate) async fn result(&self, facts: CheckFacts) -> (Status, String) {
        let id = facts.key.id().to_owned();
        self.apply(put(facts)).await;
        let row = self.until(&id, |check| check.reported).await;
        (row.status, row.output.to_string())
    }
}

/// A web server: `answer` makes the whole answer from the whole head of a request. Counts its connections.
pub(crate) struct Web {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) seen: Arc<AtomicUsize>,
    pub(crate) open: Arc<AtomicUsize>,
}

impl Web {
    pub(crate) async fn start(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counts, opens) = (seen.clone(), open.clone());
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counts.fetch_add(1, Ordering::SeqCst);
                opens.fetch_add(1, Ordering::SeqCst);
                let (answer, opens) = (answer.clone(), opens.clone());
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    let mut buffer = [0; 4096];
                    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                        request.extend_from_slice(&buffer[..count]);
                        if let Some(end) = request.windows(4).position(|w| w == b"\r\n\r\n") {
                            let head =
                                String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
                            let length = head.split("content-length: ").nth(1);
                            let length: usize = length
                                .map_or(0, |l| l.split("\r\n").next().unwrap().parse().unwrap());
                            if request.len() < end + 4 + length {
                                continue;
                            }
                            let text = answer(&String::from_utf8_lossy(&request));
                            if text.is_empty() {
                                // Silence, until the other side leaves.
                                continue;
                            }
                            let _ = stream.write_all(text.as_bytes()).await;
                            break;
                        }
                    }
                    opens.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Web {
            address,
            seen,
            open,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

pub(crate) fn reply(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// A port nobody listens on.
pub(crate) async fn closed_port() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}
