//! `register`, `deregister`, `maintenance`.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use http::Method;
use portolan_api as api;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::client::{Client, Path, read};
use super::target::split;
use super::{Common, Fault, print};
use crate::config::duration;

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

/// `register`.
#[derive(Debug, Args)]
pub(crate) struct Register {
    /// The service's name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    service: String,
    /// IP address or name
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Main port
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Id within the service; host:port if absent
    #[arg(long)]
    id: Option<String>,
    /// The service's namespace
    #[arg(long)]
    namespace: Option<String>,
    /// The service's group
    #[arg(long)]
    group: Option<String>,
    /// A tag
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// An entry of the metadata
    #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = pair)]
    meta: Vec<(String, String)>,
    /// Share of the traffic; 1 is ordinary
    #[arg(long, allow_negative_numbers = true)]
    weight: Option<f64>,
    /// Region
    #[arg(long)]
    region: Option<String>,
    /// Zone
    #[arg(long)]
    zone: Option<String>,
    /// Remove it when it is not renewed for so long; registering again renews it
    #[arg(long, value_name = "TIME", value_parser = duration)]
    ttl: Option<Duration>,
    /// Stay, renew it, and deregister it on SIGINT or SIGTERM; 15s if there is no --ttl
    #[arg(long)]
    hold: bool,
    #[command(flatten)]
    common: Common,
}

impl Register {
    pub(super) async fn run(self) -> Result<(), Fault> {
        let client = self.common.client()?;
        let ttl = self.ttl.or(self.hold.then_some(Duration::from_secs(15)));
        let body = api::Register {
            service: self.service,
            namespace: self.namespace,
            group: self.group,
            id: self.id,
            host: Some(self.host),
            port: self.port,
            ports: Vec::new(),
            tags: self.tags,
            meta: self.meta.into_iter().collect::<BTreeMap<_, _>>(),
            weight: self.weight,
            region: self.region,
            zone: self.zone,
            ttl_ms: ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
        };
        // Before it is there: whoever is told to go while it registers still takes it out.
        let signals = self.hold.then(Signals::listen).transpose()?;
        let path = Path::new("/v1/register");
        let bytes = client.with_body(Method::POST, &path, &body).await?;
        let done: api::Registered = read(&bytes)?;
        if self.common.json() {
            print::json(&bytes)?;
        } else {
            print::line(&format!(
                "registered {} at revision {}",
                done.instance, done.revision
            ))?;
        }
        match signals {
            Some(signals) => hold(&client, &body, &done, signals).await,
            None => Ok(()),
        }
    }
}

/// What tells a process to go.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From here on they are noted instead of ending the process.
    fn listen() -> Result<Signals, Fault> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Fault::Failed(format!("cannot listen for signals: {error}")))
        };
        Ok(Signals {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }
}

/// Renews until interrupted or terminated, then deregisters. A server that is away is asked again; one that forgot is told again.
async fn hold(
    client: &Client,
    body: &api::Register,
    done: &api::Registered,
    mut signals: Signals,
) -> Result<(), Fault> {
    let wait =
        Duration::from_millis(done.ttl_ms.unwrap_or(15_000) / 3).max(Duration::from_millis(200));
    let renew = api::Renew {
        instance: done.instance.clone(),
    };
    loop {
        // A call to a server that does not answer does not keep the signal waiting either.
        tokio::select! {
            _ = signals.interrupt.recv() => break,
            _ = signals.terminate.recv() => break,
            () = beat(client, wait, &renew, body) => {}
        }
    }
    deregister(client, None, &done.instance, None)
        .await
        .map(|_| ())
}

/// Renews once after `wait`; registers again where the server knows the instance no longer.
async fn beat(client: &Client, wait: Duration, renew: &api::Renew, body: &api::Register) {
    tokio::time::sleep(wait).await;
    let renewed = client
        .with_body(Method::POST, &Path::new("/v1/renew"), renew)
        .await;
    let outcome = match renewed {
        Err(Fault::NotFound(_)) => {
            client
                .with_body(Method::POST, &Path::new("/v1/register"), body)
                .await
        }
        other => other,
    };
    if let Err(fault) = outcome {
        print::problem(&format!("{fault}; trying again"));
    }
}

async fn deregister(
    client: &Client,
    service: Option<&str>,
    instance: &str,
    namespace: Option<&str>,
) -> Result<bytes::Bytes, Fault> {
    let body = api::Deregister {
        instance: instance.to_owned(),
        service: service.map(str::to_owned),
        namespace: namespace.map(str::to_owned),
    };
    client
        .with_body(Method::POST, &Path::new("/v1/deregister"), &body)
        .await
}

/// `deregister`.
#[derive(Debug, Args)]
pub(crate) struct Deregister {
    /// SERVICE/ID, SERVICE/HOST:PORT, or an id as `instances` prints it
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    instance: String,
    /// The service's namespace
    #[arg(long)]
    namespace: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl Deregister {
    pub(super) async fn run(self) -> Result<(), Fault> {
        let (service, instance) = split(&self.instance);
        let bytes = deregister(
            &self.common.client()?,
            service,
            instance,
            self.namespace.as_deref(),
        )
        .await?;
        if self.common.json() {
            return print::json(&bytes);
        }
        let done: api::Deregistered = read(&bytes)?;
        print::line(&format!(
            "deregistered {} at revision {}",
            done.instance, done.revision
        ))
    }
}

/// `maintenance`.
#[derive(Debug, Subcommand)]
pub(crate) enum Maintenance {
    /// Take it out of service for readers of every protocol
    On(Switch),
    /// Take it back
    Off(Switch),
}

/// What is switched.
#[derive(Debug, Args)]
pub(crate) struct Switch {
    /// SERVICE/ID, SERVICE/HOST:PORT, or an id as `instances` prints it
    #[arg(required_unless_present = "node", conflicts_with = "node")]
    instance: Option<String>,
    /// A node, with every instance on it
    #[arg(long)]
    node: Option<String>,
    /// The service's namespace
    #[arg(long)]
    namespace: Option<String>,
    /// Why, for people
    #[arg(long, default_value = "")]
    reason: String,
    /// Let open work end
    #[arg(long)]
    drain: bool,
    #[command(flatten)]
    common: Common,
}

impl Maintenance {
    pub(super) async fn run(self) -> Result<(), Fault> {
        let (enable, switch) = match self {
            Maintenance::On(switch) => (true, switch),
            Maintenance::Off(switch) => (false, switch),
        };
        let (service, instance) = match switch.instance.as_deref().map(split) {
            Some((service, instance)) => (service, Some(instance)),
            None => (None, None),
        };
        let body = api::Maintenance {
            instance: instance.map(str::to_owned),
            service: service.map(str::to_owned),
            namespace: switch.namespace,
            node: switch.node,
            enable,
            drain: switch.drain,
            reason: switch.reason,
        };
        let client = switch.common.client()?;
        let bytes = client
            .with_body(Method::POST, &Path::new("/v1/maintenance"), &body)
            .await?;
        if switch.common.json() {
            return print::json(&bytes);
        }
        let done: api::Settled = read(&bytes)?;
        print::line(&format!(
            "maintenance {} at revision {}",
            if enable { "on" } else { "off" },
            done.revision
        ))
    }
}
