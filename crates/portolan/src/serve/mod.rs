//! `portolan serve`: from a configuration to open ports, and back to an empty process.

mod access;
mod agent;
mod behind;
mod bootstrap;
mod cluster;
mod cluster_figures;
mod consents;
mod datacenters;
mod declaration;
mod definitions;
mod figures;
mod hosts;
mod logging;
mod ports;
mod process;
mod scripts;
mod servers;
mod tls;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use portolan_catalog::{NodeName, Timestamp};
use portolan_environment::Channel;
use portolan_listener::ServerContext;
use portolan_registry::{Registry, WallClock};
use portolan_replica::disk::RealDisk;
use portolan_replica::{GuardOptions, Options, Replica, identity};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Config, PortId};
use behind::Behind;
use bootstrap::Own;
use cluster::ClusterPort;
use datacenters::Followers;
use declaration::Declaration;
use definitions::LocalDefinitions;
use hosts::Hosts;
use logging::Lines;

/// Time to close the log after the last request has ended.
const STOP: Duration = Duration::from_secs(20);

/// How old what is known of the hosts file may be when a name is asked for that nothing else allows.
const HOSTS_AGE: Duration = Duration::from_secs(1);

/// Runs a server until it is asked to stop, for the process to end with the code.
pub(crate) fn exit(config: &Config) -> ExitCode {
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("portolan: {error:#}");
            ExitCode::from(1)
        }
    }
}

/// Runs a server until it is asked to stop.
fn run(config: &Config) -> Result<()> {
    let lines =
        logging::start(&config.log).map_err(|error| anyhow::anyhow!("configuration: {error}"))?;
    raise_open_files();
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let threads = match config.worker_threads {
        0 => cores.max(2),
        some => some,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("portolan-worker")
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(serve(config, &lines));
    // Blocking work that is left (a stuck disk) must not hold the process.
    runtime.shutdown_timeout(Duration::from_millis(500));
    lines.flush(Duration::from_secs(1));
    result
}

async fn serve(config: &Config, lines: &Lines) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let name = node_name(config)?;
    tracing::info!(
        version = crate::version(),
        node = name,
        data_dir = %config.data_dir.display(),
        "starting"
    );
    let mut port = match config.cluster.agent {
        true => None,
        false => Some(ClusterPort::open(config, &name).await?),
    };
    let starting = async {
        match &mut port {
            Some(port) => start(config, &name, port).await,
            None => agent::start(config, &name).await,
        }
    };
    // A server that waits for others can be told to give up.
    let started = tokio::select! {
        started = starting => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let (behind, registry, own) = started;
    if let Behind::Agent(..) = &behind {
        // A server has a task of its own for it.
        tokio::spawn(registry.deliver_changes());
    }
    let definitions = LocalDefinitions::new(config, &registry, &own);
    let defined = definitions.read()?;
    let declaration = Declaration {
        registry: registry.clone(),
        agent: config.cluster.agent,
        own: own.clone(),
        layouts: config.layouts.clone(),
        scripts: config.checks.scripts.clone(),
        definitions: definitions.clone(),
        defined,
    };
    tokio::select! {
        declared = declaration.declare() => declared?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    }
    let hosts = Hosts::new("/etc/hosts", host_name(), HOSTS_AGE);
    let context = ServerContext::new(portolan_listener::Settings {
        limits: config.limits.clone(),
        insecure_listen: config.insecure_listen,
        guarded: config.access.guards(),
        node_name: name,
        allowed_hosts: config.allowed_hosts.clone(),
        zones: zones(config),
        local_names: Some(Arc::new(move |name| hosts.contain(name))),
    });
    let tls = tls::open(&config.tls)?;
    let access = access::start(config, &context, &registry, &own);
    let stats = match &behind {
        Behind::Server(replica) => replica.stats().clone(),
        // It has no log and no snapshots: these stand at zero.
        Behind::Agent(..) => Arc::default(),
    };
    figures::publish(context.metrics(), config, &registry, &stats, lines);
    agent::publish(context.metrics(), &behind);
    let tcp = match &behind {
        Behind::Server(_) => port.as_ref().and_then(ClusterPort::tcp).cloned(),
        Behind::Agent(_, tcp) => Some(tcp.clone()),
    };
    cluster_figures::publish(
        context.metrics(),
        &registry,
        tcp.as_ref(),
        config.cluster.connections,
    );
    process::publish(context.metrics());
    let followers = Followers::begin(config, &own.name, behind.node_id())?;
    followers.publish(context.metrics());
    let opened = ports::open(&ports::Parts {
        config,
        datacenters: &followers.known,
        context: &context,
        registry: &registry,
        behind: &behind,
        own: &own,
        definitions: &definitions,
        tls: tls.as_ref(),
        access: access.as_ref(),
        backend: Arc::new(behind.downgrade()),
        cluster: port
            .as_ref()
            .and_then(ClusterPort::address)
            .map(|address| (address, config.cluster.certificate.is_some())),
    });
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) => {
            context.finish().await;
            behind.shutdown().await;
            return Err(error);
        }
    };
    let checks = scripts::start(
        config,
        &registry,
        &own,
        context.metrics(),
        definitions.scripts(),
    );
    tokio::spawn(crate::memory::give_back());
    tokio::spawn(consents::remind(config.consents.clone()));
    if let Some(port) = &port {
        tokio::spawn(servers::keep(
            registry.clone(),
            own.clone(),
            opened.ports.clone(),
            port.address(),
        ));
    }
    opened.readiness.ready();
    announce(&opened.ports);
    if opened.ports.is_empty() {
        tracing::warn!("every protocol is off: nobody can reach this server");
    }
    let ports: Vec<String> = opened
        .ports
        .iter()
        .map(|(id, address)| format!("{id}={address}"))
        .collect();
    tracing::info!(
        revision = registry.snapshot().revision().0,
        ports = ports.join(" "),
        "ready"
    );
    // A terminal that goes takes along what was started in it; elsewhere the signal is how others are told to read their files again.
    let in_terminal = std::io::stdin().is_terminal();
    let asked = loop {
        tokio::select! {
            _ = terminate.recv() => break "SIGTERM",
            _ = interrupt.recv() => break "SIGINT",
            () = behind.left() => break "leave",
            _ = hangup.recv() => {
                if in_terminal {
                    break "SIGHUP";
                }
                definitions.reload("SIGHUP").await.unwrap_or_default();
                tls::read_again(&config.tls, tls.as_ref()).await;
            }
        }
    };
    tracing::info!(signal = asked, "stopping");
    opened.readiness.leaving();
    // Others decide from now on; what is asked here meanwhile goes to them.
    behind.hand_over().await;
    let stop = async {
        checks.finish().await;
        if !context.finish().await {
            tracing::warn!("some requests did not end in time and were cut");
        }
        behind.shutdown().await;
        if let Some(tcp) = &tcp {
            tcp.close();
        }
        followers.finish().await;
    };
    let patience = config.limits.drain_timeout + STOP;
    tokio::select! {
        () = stop => {}
        () = tokio::time::sleep(patience) => tracing::error!("the log could not be closed in time; the next start takes it up from what is on the disk"),
        _ = terminate.recv() => tracing::warn!("asked a second time, stopping at once"),
        _ = interrupt.recv() => tracing::warn!("asked a second time, stopping at once"),
    }
    tracing::info!("stopped");
    Ok(())
}

/// Opens the data directory and waits until the state is what it was.
async fn start(
    config: &Config,
    name: &str,
    port: &mut ClusterPort,
) -> Result<(Behind, Registry, Own)> {
    if portolan_agent::is_agents_directory(&config.data_dir) {
        return Err(anyhow::anyhow!(
            "data directory \"{}\" is an agent's; pass --agent, or choose another --data-dir",
            config.data_dir.display()
        ));
    }
    let mut own = Own {
        name: name.to_owned(),
        id: config.node_id.clone().unwrap_or_else(new_uuid).into(),
        address: ports::advertised(config),
        meta: config.node_meta.clone(),
    };
    let wall: WallClock = Arc::new(wall_clock);
    let directory = port.directory(config);
    let mut options = Options::new(directory, name, own.bootstrap(&config.layouts), wall);
    options.retention = config.retention;
    options.guard = GuardOptions {
        share: config.guard.share,
        least: config.guard.least,
        service_share: config.guard.service_share,
        service_least: config.guard.service_least,
    };
    options.space.segment_bytes = config.storage.segment_bytes;
    options.space.reserve_bytes = config.storage.reserve_bytes;
    options.version = crate::version().to_owned();
    options.snapshot_bytes = config.storage.snapshot_bytes;
    options.limits = portolan_registry::Limits {
        queue: config.storage.queue.max(1),
        queue_wait: config.storage.queue_wait,
        decision: config.storage.decision_timeout,
    };
    options.fatal = Box::new(|error| {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(error) = source {
            let cause = error.to_string();
            if !text.contains(&cause) {
                text = format!("{text}: {cause}");
            }
            source = error.source();
        }
        if error.unreadable().is_none() {
            text.push_str(
                "; the server stops so that nothing is acknowledged that is not on the disk",
            );
        }
        die(format!("fatal: {text}"));
    });
    port.prepare(config, &mut options).await?;
    let (replica, registry) = Replica::start(options).await.map_err(in_full)?;
    port.begun()?;
    if let Some(tcp) = port.tcp() {
        let feed = portolan_agent::FeedServer::new(registry.clone());
        portolan_environment::Transport::serve(tcp, Channel::Feed, Arc::new(feed));
    }
    if registry.members().len() != 1 {
        settle_in(&registry).await;
    }
    if config.node_id.is_none()
        && let Some(node) = registry.snapshot().node(&NodeName::new(name))
        && !node.id.is_empty()
    {
        own.id = node.id.clone();
    }
    Ok((Behind::Server(Arc::new(replica)), registry, own))
}

/// How long a member of a cluster waits for a leader before it serves what it has.
const SETTLING: Duration = Duration::from_secs(10);

/// Waits until this server has what the cluster has, or nobody leads it for a while.
async fn settle_in(registry: &Registry) {
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < SETTLING {
        let told = registry.linearized();
        if let Ok(Ok(_)) = tokio::time::timeout(SETTLING, told).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tracing::warn!(
        "the cluster has no leader: this server answers what it knows, and nothing can be written until a majority is there"
    );
}

/// Every connection is an open file: takes as many as the system allows this process.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit on open files could not be raised");
    }
}

/// The error with everything that led to it.
fn in_full(error: impl std::error::Error + Send + Sync + 'static) -> anyhow::Error {
    anyhow::Error::new(error)
}

/// Ends the process at once with a message. Does not wait for a reader of stderr that takes nothing.
fn die(message: String) {
    let told = std::thread::spawn(move || {
        // There is nobody else to tell.
        let _written = writeln!(std::io::stderr(), "portolan: {message}");
    });
    let begun = std::time::Instant::now();
    while !told.is_finished() && begun.elapsed() < Duration::from_millis(500) {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::process::exit(1);
}

/// The domains that DNS answers: names in them are this server's own, whoever asks for them.
fn zones(config: &Config) -> Vec<String> {
    let dns = &config.dns;
    [&dns.domain, &dns.cluster_domain]
        .into_iter()
        .chain(&dns.alt_domain)
        .cloned()
        .collect()
}

fn announce(ports: &[(PortId, SocketAddr)]) {
    let mut text = String::new();
    for (id, address) in ports {
        text.push_str(&format!("listening {id} {address}\n"));
    }
    text.push_str("ready\n");
    let mut out = std::io::stdout().lock();
    // A closed stdout is no reason to stop serving.
    let _written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The configured name, or the one the data directory belongs to, or the host's.
fn node_name(config: &Config) -> Result<String> {
    if let Some(name) = &config.node_name {
        return Ok(name.clone());
    }
    if !config.in_memory && Path::new(&config.data_dir).is_dir() {
        let disk = RealDisk::open(&config.data_dir).with_context(|| {
            format!(
                "cannot open data directory \"{}\"",
                config.data_dir.display()
            )
        })?;
        if let Some(found) = identity::read(&disk)? {
            return Ok(found.node_name);
        }
    }
    Ok(host_name().unwrap_or_else(|| "portolan".into()))
}

/// The host's name, if it is one that a node can have.
pub(crate) fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"))
        .ok()?;
    let name = name.trim();
    let good = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    (good && !name.to_ascii_lowercase().ends_with(".virtual")).then(|| name.to_owned())
}

/// A random number.
pub(crate) fn fresh_number() -> u64 {
    portolan_environment::random_u64()
}

/// A random UUID, version 4.
fn new_uuid() -> String {
    uuid::Uuid::from_bytes(portolan_environment::uuid()).to_string()
}

fn wall_clock() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
