//! Pushes by UDP, for clients of 1.x that ask for a list with their port.
//!
//! A client is told of changes for ten seconds after it asked; it asks again before that. Pushes go to the address that the client asked
//! from and never to the one it names, so that nobody can have this server send to others.

use std::collections::{BTreeSet, HashMap};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use portolan_catalog::ServiceKey;
use serde::{Deserialize, Serialize};
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::lock;
use crate::app::App;
use crate::names::ServiceName;
use crate::read::{self, Ask, Hosts, Spelled};

/// How long a client is told of changes after it asked.
const FOLLOWS: Duration = Duration::from_secs(10);
/// How long an acknowledgement is waited for, before the one repetition.
const ACKNOWLEDGED_IN: Duration = Duration::from_secs(10);
/// Longer messages are packed.
const PACK_FROM: usize = 1024;
/// Longer ones, packed, are not sent: the client asks every ten seconds anyway.
const LARGEST: usize = 60 << 10;
/// Pushes that wait for their acknowledgement.
const WAITING: usize = 10_000;

/// One client of one service.
#[derive(Debug)]
struct Client {
    name: ServiceName,
    clusters: String,
    until: Instant,
    told: Option<Hosts>,
}

/// Services that changed, of those that somebody follows.
#[derive(Debug, Default)]
pub(crate) struct UdpMarks {
    followed: Mutex<BTreeSet<ServiceKey>>,
    due: Mutex<BTreeSet<ServiceKey>>,
    any: AtomicBool,
    wake: Notify,
}

impl UdpMarks {
    pub(crate) fn mark(&self, service: &ServiceKey) {
        // Hardly anybody speaks 1.x any more.
        if !self.any.load(Ordering::Acquire) || !lock(&self.followed).contains(service) {
            return;
        }
        lock(&self.due).insert(service.clone());
        self.wake.notify_one();
    }

    pub(crate) fn mark_all(&self) {
        let followed = lock(&self.followed).clone();
        lock(&self.due).extend(followed);
        self.wake.notify_one();
    }
}

/// The clients.
#[derive(Debug, Default)]
pub(crate) struct UdpPush {
    clients: Mutex<HashMap<(ServiceKey, SocketAddr), Client>>,
    pub(crate) marks: Arc<UdpMarks>,
}

/// A push that was not acknowledged yet.
struct Waiting {
    to: SocketAddr,
    bytes: Bytes,
    since: Instant,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Push<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    data: &'a str,
    last_ref_time: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Acknowledged {
    #[serde(rename = "type")]
    kind: String,
    last_ref_time: serde_json::Value,
}

impl UdpPush {
    /// Tells `to` of changes for a while, which has just been told `told`. False when there are too many clients.
    pub(crate) fn follow(
        &self,
        to: SocketAddr,
        name: &ServiceName,
        clusters: &str,
        told: Hosts,
        most: usize,
    ) -> bool {
        let mut clients = lock(&self.clients);
        let place = (name.key.clone(), to);
        if clients.len() >= most && !clients.contains_key(&place) {
            return false;
        }
        clients.insert(
            place,
            Client {
                name: name.clone(),
                clusters: clusters.to_owned(),
                until: Instant::now() + FOLLOWS,
                told: Some(told),
            },
        );
        lock(&self.marks.followed).insert(name.key.clone());
        self.marks.any.store(true, Ordering::Release);
        true
    }

    /// The clients that follow a service: where they are and how they call it.
    pub(crate) fn subscribers(&self, service: &ServiceKey) -> Vec<SocketAddr> {
        let now = Instant::now();
        let clients = lock(&self.clients);
        let all = clients
            .iter()
            .filter(|((of, _), client)| of == service && client.until > now);
        all.map(|((_, to), _)| *to).collect()
    }

    fn sweep(&self) {
        let now = Instant::now();
        let mut clients = lock(&self.clients);
        clients.retain(|_, client| client.until > now);
        let mut followed = lock(&self.marks.followed);
        *followed = clients.keys().map(|(service, _)| service.clone()).collect();
        self.marks
            .any
            .store(!followed.is_empty(), Ordering::Release);
    }

    /// What is to be sent now.
    fn due(&self, app: &App) -> Vec<(SocketAddr, String)> {
        let due = std::mem::take(&mut *lock(&self.marks.due));
        let now = Instant::now();
        let mut out = Vec::new();
        let mut clients = lock(&self.clients);
        for ((service, to), client) in clients.iter_mut() {
            if !due.contains(service) || client.until <= now {
                continue;
            }
            let ask = Ask {
                clusters: &client.clusters,
                disabled: true,
                ..Ask::default()
            };
            let hosts = read::hosts(&app.registry, &client.name, ask);
            if client.told.as_ref() == Some(&hosts) {
                continue;
            }
            let mut info = Vec::new();
            let changed_ms = read::last_change(&app.registry, service);
            read::append_info(
                &mut info,
                &client.name,
                Spelled::Grouped,
                &client.clusters,
                &hosts,
                changed_ms,
            );
            client.told = Some(hosts);
            out.push((*to, String::from_utf8_lossy(&info).into_owned()));
        }
        out
    }
}

/// Sends what changes until the server drains.
pub(crate) async fn run(app: Arc<App>, socket: UdpSocket) {
    let mut waiting: HashMap<u64, Waiting> = HashMap::new();
    let mut number = app.registry.now().0.saturating_mul(1_000);
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut buffer = vec![0; 2048];
    loop {
        tokio::select! {
            () = app.udp.marks.wake.notified() => {
                for (to, info) in app.udp.due(&app) {
                    number += 1;
                    let push = Push { kind: "dom", data: &info, last_ref_time: number };
                    let bytes = packed(serde_json::to_vec(&push).unwrap_or_default());
                    if bytes.len() > LARGEST {
                        continue;
                    }
                    send(&socket, &bytes, to).await;
                    app.gauges.udp_pushes.inc();
                    if waiting.len() < WAITING {
                        waiting.insert(number, Waiting { to, bytes, since: Instant::now() });
                    }
                }
            }
            _ = tick.tick() => {
                app.udp.sweep();
                let late: Vec<u64> = waiting
                    .iter()
                    .filter(|(_, push)| push.since.elapsed() >= ACKNOWLEDGED_IN)
                    .map(|(number, _)| *number)
                    .collect();
                for number in late {
                    if let Some(push) = waiting.remove(&number) {
                        send(&socket, &push.bytes, push.to).await;
                    }
                }
            }
            received = socket.recv_from(&mut buffer) => {
                if let Ok((length, from)) = received
                    && let Some(number) = acknowledged(&buffer[..length])
                    && waiting.get(&number).is_some_and(|push| push.to.ip() == from.ip())
                {
                    waiting.remove(&number);
                }
            }
        }
    }
}

/// The number of the push that a datagram acknowledges.
pub(crate) fn acknowledged(datagram: &[u8]) -> Option<u64> {
    let it: Acknowledged = serde_json::from_slice(datagram).ok()?;
    if it.kind != "push-ack" {
        return None;
    }
    match it.last_ref_time {
        serde_json::Value::String(text) => text.parse().ok(),
        serde_json::Value::Number(number) => number.as_u64(),
        _ => None,
    }
}

fn packed(plain: Vec<u8>) -> Bytes {
    if plain.len() < PACK_FROM {
        return plain.into();
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to a `Vec` does not fail.
    let _ = encoder.write_all(&plain);
    encoder.finish().unwrap_or_default().into()
}

async fn send(socket: &UdpSocket, bytes: &Bytes, to: SocketAddr) {
    if let Err(error) = socket.send_to(bytes, to).await {
        tracing::debug!(%to, %error, "a push by UDP was not sent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements() {
        let rows = [
            (
                r#"{"type":"push-ack","lastRefTime":"12","data":""}"#,
                Some(12),
            ),
            (r#"{"type":"push-ack","lastRefTime":12}"#, Some(12)),
            (r#"{"type":"dom","lastRefTime":"12"}"#, None),
            ("", None),
            (r#"{"type":"push-ack"}"#, None),
        ];
        for (text, expected) in rows {
            assert_eq!(acknowledged(text.as_bytes()), expected, "{text}");
        }
    }
}
