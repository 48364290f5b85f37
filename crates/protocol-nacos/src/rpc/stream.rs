//! The stream of a connection: set up by its first message, then pushes one way and acknowledgements the other.
//!
//! Invariants
//! - What is pushed is what is there when the connection can take it: a service that changes a hundred times while a push of it is on its
//!   way is pushed once more.
//! - A push that is not acknowledged is repeated; what has been told and is the same is not pushed again.
//! - When the stream ends the connection ends, and in one revision what it registered. When the server drains it does not: clients come
//!   back within the time of the lease, to this server or another.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use portolan_catalog::{Cause, Command, Key, Protocol, ServiceKey, Why};
use portolan_grpc::{self as grpc, Code, Messages, Status};
use portolan_listener::{Action, Caller, Resource, Response};
use prost::Message;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::app::App;
use crate::config::read::{self as configs, Reader};
use crate::read::{self, Ask, Spelled};
use crate::watch::connections::{Connection, Due, Introduced};
use crate::wire::payload::Payload;
use crate::wire::requests::{Answered, ConnectionSetup};

/// How long after a failed push the next attempt begins.
const AGAIN: Duration = Duration::from_secs(1);
/// Bytes of messages that leave together.
const TOGETHER: usize = 64 << 10;
/// What no content's sum is: the client was not told of any.
const NOT_TOLD: &str = "-";
/// How long a client has for its first message.
const SETUP: Duration = Duration::from_secs(10);

/// What this server can do, of what clients of 2.4 and later ask for.
fn abilities() -> Value {
    json!({"supportPersistentInstanceByGrpc": true, "fuzzyWatch": true})
}

/// Opens a stream.
pub(crate) async fn open(app: Arc<App>, caller: Caller, mut messages: Messages) -> Response {
    if let Err(denied) = caller.allow(Action::Watch, Resource::Public) {
        let status = Status::saying(Code::PermissionDenied, denied.to_string());
        return grpc::unary(Err::<Bytes, Status>(status));
    }
    let first = tokio::time::timeout(SETUP, messages.next::<Payload>()).await;
    let setup = match first {
        Ok(Ok(Some(payload))) if payload.kind() == "ConnectionSetupRequest" => payload,
        Ok(Ok(_)) => {
            let status = Status::new(
                Code::FailedPrecondition,
                "a stream begins with ConnectionSetupRequest",
            );
            return grpc::unary(Err::<Bytes, Status>(status));
        }
        Ok(Err(status)) => return grpc::unary(Err::<Bytes, Status>(status)),
        Err(_) => {
            let status = Status::new(
                Code::DeadlineExceeded,
                "ConnectionSetupRequest did not arrive in time",
            );
            return grpc::unary(Err::<Bytes, Status>(status));
        }
    };
    let said: ConnectionSetup = match serde_json::from_slice(setup.json()) {
        Ok(said) => said,
        Err(error) => {
            let status = Status::saying(
                Code::InvalidArgument,
                format!("ConnectionSetupRequest cannot be read: {error}"),
            );
            return grpc::unary(Err::<Bytes, Status>(status));
        }
    };
    let introduced = Introduced {
        version: said.client_version,
        client_ip: setup
            .metadata
            .map(|metadata| metadata.client_ip)
            .unwrap_or_default(),
        labels: said.labels,
    };
    let connection = Arc::new(Connection::new(
        caller.clone(),
        introduced,
        app.registry.now(),
    ));
    match app.connections.add(&connection, app.settings.connections) {
        Ok(None) => {}
        Ok(Some(before)) => end(&app, &before).await,
        Err(()) => {
            app.gauges.limited.inc();
            let status = Status::new(Code::ResourceExhausted, "too many connections");
            return grpc::unary(Err::<Bytes, Status>(status));
        }
    }
    app.gauges.connections.inc();
    let leaving = caller.clone();
    let mut stream = Box::new(Stream {
        messages,
        draining: Box::pin(async move { leaving.draining().await }),
        number: 0,
        waiting: BTreeMap::new(),
        again: BTreeMap::new(),
        asked: None,
        out: BytesMut::new(),
        gone: Gone {
            app: app.clone(),
            connection: connection.clone(),
        },
        app,
        connection,
    });
    if said.ability_table.is_some() {
        let fields = json!({"headers": {}, "abilityTable": abilities(), "module": "internal"});
        stream.ask("SetupAckRequest", &fields);
    }
    grpc::streaming(stream, |mut stream| async move {
        stream.next().await.map(|piece| (piece, stream))
    })
}

/// What a connection leaves behind: nothing.
struct Gone {
    app: Arc<App>,
    connection: Arc<Connection>,
}

impl Drop for Gone {
    fn drop(&mut self) {
        let (app, connection) = (self.app.clone(), self.connection.clone());
        app.gauges.connections.dec();
        app.connections.remove(&connection);
        if connection.caller.context().is_draining() {
            return;
        }
        let context = connection.caller.context().clone();
        context.spawn(Protocol::Nacos, async move { end(&app, &connection).await });
    }
}

/// Ends what a connection follows and what it registered.
async fn end(app: &App, connection: &Connection) {
    app.hub.leave_all(connection);
    let (services, listens) = connection.with(|held| {
        let all = (held.services.len(), held.configs.len());
        held.services.clear();
        held.configs.clear();
        all
    });
    app.gauges.subscriptions.dec_by(services as i64);
    app.gauges.listens.dec_by(listens as i64);
    end_lease(app, connection).await;
}

/// Ends the lease of a connection, if it ever had one. When nobody can decide that now, nobody renews it either, and it runs out.
pub(crate) async fn end_lease(app: &App, connection: &Connection) {
    if !connection.has_registered() {
        return;
    }
    let mut cause: Cause = connection.caller.cause(Why::Call);
    cause.protocol = Protocol::Nacos;
    let revoked = app
        .registry
        .propose(
            cause,
            Command::Revoke {
                lease: connection.lease(),
            },
        )
        .await;
    if let Err(error) = revoked {
        tracing::warn!(connection = connection.id, %error, "what a closed connection registered stays until its lease is over");
    }
}

/// What a push was about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum About {
    Service(ServiceKey),
    Config(Key),
}

struct Stream {
    app: Arc<App>,
    connection: Arc<Connection>,
    messages: Messages,
    draining: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Of the last request of the server.
    number: u64,
    /// Pushes that were not acknowledged yet, by their number.
    waiting: BTreeMap<u64, (About, Instant)>,
    /// Pushes that are to be repeated, by their time and number.
    again: BTreeMap<(Instant, u64), About>,
    /// Since when the client has been asked for a sign of life.
    asked: Option<Instant>,
    /// Messages that have not left yet.
    out: BytesMut,
    /// Ends the connection when the stream does, however that comes about.
    #[allow(dead_code)]
    gone: Gone,
}

impl Stream {
    /// The next piece of the answer: as many messages as are there and leave well together.
    async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        loop {
            if self.connection.is_lost() {
                let status = Status::new(
                    Code::Unavailable,
                    "the registrations of this connection are lost; connect again",
                );
                return Some(Err(status));
            }
            self.repeat();
            self.push();
            if !self.out.is_empty() {
                return Some(Ok(self.out.split().freeze()));
            }
            let wake = self.wakes_at();
            tokio::select! {
                message = self.messages.next::<Payload>() => match message {
                    Ok(Some(payload)) => self.take(&payload),
                    Ok(None) => return None,
                    Err(status) => return Some(Err(status)),
                },
                () = self.connection.woken() => {}
                () = sleep_until(wake) => {
                    if self.silent() {
                        let status = Status::new(Code::Unavailable, "the client gave no sign of life");
                        return Some(Err(status));
                    }
                }
                () = self.draining.as_mut() => {
                    return Some(Err(Status::new(Code::Unavailable, "the server is stopping")));
                }
            }
        }
    }

    /// The earliest time at which there is something to do.
    fn wakes_at(&self) -> Instant {
        let timeout = self.app.settings.push_timeout;
        let late = self
            .waiting
            .values()
            .map(|(_, since)| *since + timeout)
            .min();
        let again = self.again.keys().next().map(|(at, _)| *at);
        let idle = match self.asked {
            Some(asked) => asked + self.app.settings.idle_timeout / 4,
            None => self.connection.seen() + self.app.settings.idle_timeout,
        };
        [late, again].into_iter().flatten().fold(idle, Instant::min)
    }

    /// Looks after a client that has been silent for long; true when that lasted too long.
    fn silent(&mut self) -> bool {
        let (now, seen) = (Instant::now(), self.connection.seen());
        let idle = self.app.settings.idle_timeout;
        match self.asked {
            Some(asked) if seen > asked => self.asked = None,
            Some(asked) => return now >= asked + idle / 4,
            None if now >= seen + idle => {
                self.asked = Some(now);
                self.ask(
                    "ClientDetectionRequest",
                    &json!({"headers": {}, "module": "internal"}),
                );
            }
            None => {}
        }
        false
    }

    /// Appends a request of the server's.
    fn ask(&mut self, kind: &str, fields: &Value) -> u64 {
        self.number += 1;
        let text = fields.to_string();
        let inner = text.trim_end().strip_suffix('}').unwrap_or_default();
        let body = format!("{inner},\"requestId\":\"{}\"}}", self.number);
        self.send(&Payload::new(kind, body));
        self.number
    }

    fn send(&mut self, payload: &Payload) {
        let length = payload.encoded_len();
        grpc::frame_into(&mut self.out, length, |out| payload.encode_raw(out));
    }

    /// Takes a message of the client: an acknowledgement, or nothing of interest.
    fn take(&mut self, payload: &Payload) {
        self.connection.touch();
        let Ok(answer) = serde_json::from_slice::<Answered>(payload.json()) else {
            return;
        };
        let Ok(number) = answer.request_id.parse::<u64>() else {
            return;
        };
        if let Some((about, _)) = self.waiting.remove(&number) {
            let taken = matches!(answer.result_code, 0 | 200);
            self.settled(about, number, taken);
        }
    }

    /// A push was acknowledged, or has to be repeated.
    fn settled(&mut self, about: About, number: u64, taken: bool) {
        self.connection.with(|held| match &about {
            About::Service(service) => {
                if let Some(subscription) = held.services.get_mut(service) {
                    subscription.under_way = !taken;
                    // Told again whatever it is now.
                    if !taken {
                        subscription.told = None;
                    }
                }
            }
            About::Config(key) => {
                if let Some(listen) = held.configs.get_mut(key) {
                    listen.under_way = !taken;
                    if !taken {
                        listen.md5 = NOT_TOLD.to_owned();
                    }
                }
            }
        });
        if taken {
            // It may have changed while it was under way.
            self.due(about);
        } else {
            self.app.gauges.repeated.inc();
            self.again.insert((Instant::now() + AGAIN, number), about);
        }
    }

    fn due(&self, about: About) {
        self.connection.mark(match about {
            About::Service(service) => Due::Service(service),
            About::Config(key) => Due::Config(key),
        });
    }

    /// Takes back pushes that were not acknowledged in time, and marks those whose time to be repeated has come.
    fn repeat(&mut self) {
        let now = Instant::now();
        let timeout = self.app.settings.push_timeout;
        let late: Vec<u64> = self
            .waiting
            .iter()
            .filter(|(_, (_, since))| now >= *since + timeout)
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            if let Some((about, _)) = self.waiting.remove(&number) {
                self.settled(about, number, false);
            }
        }
        while let Some(entry) = self.again.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let about = entry.remove();
            self.connection.with(|held| match &about {
                About::Service(service) => {
                    if let Some(subscription) = held.services.get_mut(service) {
                        subscription.under_way = false;
                    }
                }
                About::Config(key) => {
                    if let Some(listen) = held.configs.get_mut(key) {
                        listen.under_way = false;
                    }
                }
            });
            self.due(about);
        }
    }

    /// Encodes what is due, until enough is.
    fn push(&mut self) {
        while self.out.len() < TOGETHER {
            let Some(due) = self.connection.with(|held| held.due.pop_first()) else {
                return;
            };
            match due {
                Due::Service(service) => self.push_service(&service),
                Due::Config(key) => self.push_config(&key),
                Due::Patterns => {
                    let state = self.app.registry.snapshot();
                    let messages = self.connection.with(|held| held.patterns.messages(&state));
                    for (kind, fields) in messages {
                        self.ask(kind, &fields);
                    }
                }
            }
        }
    }

    fn push_service(&mut self, service: &ServiceKey) {
        let wanted = self.connection.with(|held| {
            let subscription = held.services.get(service).filter(|it| !it.under_way)?;
            Some((
                subscription.name.clone(),
                subscription.clusters.clone(),
                subscription.told.clone(),
            ))
        });
        let Some((name, clusters, told)) = wanted else {
            return;
        };
        let ask = Ask {
            clusters: &clusters,
            disabled: true,
            ..Ask::default()
        };
        let hosts = read::hosts(&self.app.registry, &name, ask);
        if told.as_ref() == Some(&hosts) {
            return;
        }
        self.number += 1;
        let mut body = Vec::with_capacity(hosts.json.len() + 512);
        body.extend_from_slice(
            format!(
                "{{\"headers\":{{}},\"requestId\":\"{}\",\"serviceInfo\":",
                self.number
            )
            .as_bytes(),
        );
        let changed_ms = read::last_change(&self.app.registry, service);
        read::append_info(
            &mut body,
            &name,
            Spelled::Plain,
            &clusters,
            &hosts,
            changed_ms,
        );
        body.extend_from_slice(b",\"module\":\"naming\"}");
        self.send(&Payload::new("NotifySubscriberRequest", body));
        self.app.gauges.pushes.inc();
        self.waiting.insert(
            self.number,
            (About::Service(service.clone()), Instant::now()),
        );
        self.connection.with(|held| {
            if let Some(subscription) = held.services.get_mut(service) {
                (subscription.told, subscription.under_way) = (Some(hosts), true);
            }
        });
    }

    fn push_config(&mut self, key: &Key) {
        let wanted = self
            .connection
            .with(|held| held.configs.get(key).filter(|it| !it.under_way).cloned());
        let Some(listen) = wanted else {
            return;
        };
        let ip = self.connection.ip();
        let tag = self.connection.introduced.labels.get("Vipserver-Tag");
        let reader = Reader {
            ip: &ip,
            tag: tag.map_or("", String::as_str),
        };
        let md5 = configs::md5_for(&self.app.registry.snapshot(), &listen.key, reader);
        if md5 == listen.md5 {
            return;
        }
        let mut fields = json!({
            "headers": {}, "dataId": listen.key.data_id, "group": listen.key.group, "module": "config",
        });
        // As the client spells it: those of 3.x look for what they listen to under `public`, older ones under nothing.
        if !listen.tenant.is_empty() {
            fields["tenant"] = listen.tenant.as_str().into();
        }
        let number = self.ask("ConfigChangeNotifyRequest", &fields);
        self.app.gauges.pushes.inc();
        self.waiting
            .insert(number, (About::Config(key.clone()), Instant::now()));
        self.connection.with(|held| {
            if let Some(listen) = held.configs.get_mut(key) {
                (listen.md5, listen.under_way) = (md5, true);
            }
        });
    }
}
