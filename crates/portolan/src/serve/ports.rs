//! Opening the protocols: every port is bound first, then each protocol begins; so a taken port stops the start before anybody was served.

mod nacos;

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Result, anyhow};
use portolan_access::AccessControl;
use portolan_catalog::Protocol;
use portolan_listener::{
    BindError, ServerContext, Spoken, TcpPort, Tls, bind_tcp, bind_tcp_guarded,
};
use portolan_protocol_native::{Backend, Readiness};
use portolan_registry::{Datacenters, Registry};

use super::behind::Behind;
use super::bootstrap::Own;
use super::definitions::LocalDefinitions;
use crate::config::{Config, PortId, Role, ids};

/// What the protocols are given.
pub(crate) struct Parts<'a> {
    pub(crate) config: &'a Config,
    pub(crate) context: &'a ServerContext,
    pub(crate) datacenters: &'a Datacenters,
    pub(crate) registry: &'a Registry,
    pub(crate) behind: &'a Behind,
    pub(crate) own: &'a Own,
    pub(crate) definitions: &'a LocalDefinitions,
    /// TLS of the ports that speak it.
    pub(crate) tls: Option<&'a Tls>,
    /// Access control, if it is on.
    pub(crate) access: Option<&'a AccessControl>,
    pub(crate) backend: Arc<dyn Backend>,
    /// The cluster port, if there is one, and whether it takes certificates.
    pub(crate) cluster: Option<(SocketAddr, bool)>,
}

/// The ports as they were opened, in the order in which they are announced.
pub(crate) struct Opened {
    pub(crate) ports: Vec<(PortId, SocketAddr)>,
    pub(crate) readiness: Readiness,
}

/// Opens every port of the configuration and serves on it.
pub(crate) fn open(parts: &Parts<'_>) -> Result<Opened> {
    let Parts {
        config, context, ..
    } = parts;
    let mut bound = Vec::new();
    let dns = PortId::main(Protocol::Dns);
    let nacos = nacos::bind(context, &config.listen).map_err(advised)?;
    let elsewhere = |id: &PortId| *id != dns && id.protocol != Protocol::Nacos;
    for id in ids().filter(elsewhere) {
        if let Some(address) = config.listen.of(id) {
            let port = match config.listen.speaks_tls(id) {
                true => bind_tcp_guarded(id.protocol, address),
                false => bind_tcp(context, id.protocol, address),
            };
            let mut port = port.map_err(advised)?;
            secure(parts, id, &mut port)?;
            bound.push((id, port));
        }
    }
    let mut opened: Vec<(PortId, SocketAddr)> =
        bound.iter().map(|(id, port)| (*id, port.address)).collect();
    opened.extend(nacos.iter().map(|(id, port)| (*id, port.address)));
    let mut take = |id: PortId| {
        let at = bound.iter().position(|(known, _)| *known == id)?;
        Some(bound.remove(at).1)
    };
    let encrypted = portolan_protocol_dns::Encrypted {
        tls: take(dns.over_tls()),
        https: take(PortId::https(Protocol::Dns)),
    };
    if let Some(listen) = config.listen.of(dns) {
        let options = portolan_protocol_dns::Options {
            listen,
            datacenter: config.datacenter.clone(),
            ..config.dns.clone()
        };
        let address = portolan_protocol_dns::serve(
            context,
            parts.registry,
            parts.datacenters,
            &options,
            encrypted,
        )
        .map_err(advised)?;
        opened.push((dns, address));
    } else if encrypted.tls.is_some() || encrypted.https.is_some() {
        return Err(anyhow!(
            "dns+tls and dns+https are opened beside dns: give that an address as well, such as --listen dns=127.0.0.1:8600"
        ));
    }
    let place = |id| ids().position(|known| known == id);
    opened.sort_by_key(|(id, _)| place(*id));
    // What protocols say of each other is where their main ports are.
    let addresses: Vec<(Protocol, SocketAddr)> = opened
        .iter()
        .filter(|(id, _)| id.role == Role::Main && !id.tls)
        .map(|(id, address)| (id.protocol, *address))
        .collect();
    let readiness = Readiness::new(addresses.iter().map(|(protocol, _)| *protocol));
    for (protocol, _) in &addresses {
        // Asking makes the series: they are there from the first scrape on, at zero.
        context.metrics().answers_without_decision(*protocol);
        context.metrics().panics(*protocol);
    }
    let nacos = nacos.into_iter().map(|(id, mut port)| {
        guard(&mut port, parts.access);
        secure(parts, id, &mut port).map(|()| (id, port))
    });
    let nacos = one_each(nacos.collect::<Result<Vec<_>>>()?);
    let (grpc, http): (Vec<_>, Vec<_>) =
        nacos.into_iter().partition(|(id, _)| id.role == Role::Grpc);
    let only = |ports: Vec<(PortId, TcpPort)>| ports.into_iter().next().map(|(_, port)| port);
    if let Some(http) = only(http) {
        let grpc = only(grpc);
        let ports = portolan_protocol_nacos::Ports { http, grpc };
        let settings = nacos::settings(config, parts.own, parts.access);
        portolan_protocol_nacos::serve(context, ports, parts.registry.clone(), settings)
            .map_err(advised)?;
    }
    let mut open: Vec<portolan_api::OpenPort> = opened
        .iter()
        .map(|(id, address)| portolan_api::OpenPort {
            name: id.to_string(),
            address: address.to_string(),
            certificates: config.listen.speaks_tls(*id) && config.tls.client_authorities.is_some(),
            // Whoever reaches the gateway may ask it; what a service asks for is the service's.
            tokens: parts.access.is_some() && id.role != Role::Gateway,
        })
        .collect();
    open.extend(
        parts
            .cluster
            .map(|(address, certificates)| portolan_api::OpenPort {
                name: "cluster".to_owned(),
                address: address.to_string(),
                certificates,
                tokens: false,
            }),
    );
    for (id, port) in &mut bound {
        // Consul's tokens have their own place and their own refusal.
        if id.protocol != Protocol::Consul && id.role != Role::Gateway {
            guard(port, parts.access);
        }
    }
    let mut remarks = portolan_protocol_native::Remarks::default();
    let gateway = PortId::gateway();
    if bound
        .iter()
        .any(|(id, _)| *id == gateway || *id == gateway.over_tls())
    {
        remarks.add(portolan_gateway::remarks);
    }
    for (id, port) in one_each(bound) {
        serve(parts, id, port, &addresses, &open, &readiness, &mut remarks)?;
    }
    Ok(Opened {
        ports: opened,
        readiness,
    })
}

/// Puts each port for TLS beside the plain one, so that a protocol begins once and not once for each.
fn one_each(bound: Vec<(PortId, TcpPort)>) -> Vec<(PortId, TcpPort)> {
    let mut each: Vec<(PortId, TcpPort)> = Vec::new();
    for (id, port) in bound {
        let plain = each.iter_mut().find(|(plain, _)| plain.over_tls() == id);
        match plain.filter(|_| id.tls) {
            Some((_, plain)) => plain.beside = Some(Box::new(port)),
            None => each.push((id, port)),
        }
    }
    each
}

/// Has a port speak TLS, if it is one of those.
fn secure(parts: &Parts<'_>, id: PortId, port: &mut TcpPort) -> Result<()> {
    if !parts.config.listen.speaks_tls(id) {
        return Ok(());
    }
    let tls = parts
        .tls
        .ok_or_else(|| anyhow!("port {id} is to speak TLS without a certificate"))?;
    let spoken = match id.protocol {
        Protocol::Consul | Protocol::Eureka => Spoken::Http1,
        Protocol::ZooKeeper => Spoken::Other,
        Protocol::Dns if id.role == Role::Main => Spoken::Dns,
        _ => Spoken::Http2,
    };
    port.options.handshake = Some(tls.handshake(spoken));
    Ok(())
}

/// Has whoever comes through a port show a token.
fn guard(port: &mut TcpPort, access: Option<&AccessControl>) {
    if let Some(access) = access {
        port.options.authenticator = Some(Arc::new(access.clone()));
    }
}

fn serve(
    parts: &Parts<'_>,
    id: PortId,
    port: TcpPort,
    addresses: &[(Protocol, SocketAddr)],
    open: &[portolan_api::OpenPort],
    readiness: &Readiness,
    remarks: &mut portolan_protocol_native::Remarks,
) -> Result<()> {
    let (context, registry) = (parts.context, parts.registry.clone());
    if id.role == Role::Grpc {
        return Err(anyhow!("port {id} is not built into this version"));
    }
    if id.role == Role::Gateway {
        let settings = parts.config.gateway.clone();
        return portolan_gateway::serve(context, port, registry, settings).map_err(|error| {
            anyhow!(
                "cannot serve the gateway: {error}; is the folder of --gateway-access-log there?"
            )
        });
    }
    match id.protocol {
        Protocol::Consul => {
            let settings = consul(parts, addresses);
            portolan_protocol_consul::serve(context, port, registry, settings);
        }
        Protocol::Etcd => {
            let settings = etcd(parts, port.address);
            portolan_protocol_etcd::serve(context, port, registry, settings);
        }
        Protocol::ZooKeeper => {
            portolan_protocol_zookeeper::serve(context, port, registry, zookeeper(parts));
        }
        Protocol::Eureka => {
            portolan_protocol_eureka::serve(context, port, registry, &parts.config.eureka);
        }
        Protocol::Kubernetes => {
            // Where clients reach it from elsewhere; a port of this machine alone is what it is.
            let here = port.address.ip().is_unspecified();
            let settings = portolan_protocol_kubernetes::Settings {
                advertise: here.then_some(parts.own.address),
                ..parts.config.kubernetes.clone()
            };
            portolan_protocol_kubernetes::serve(context, port, registry, settings);
        }
        Protocol::Xds => {
            let settings = portolan_protocol_xds::Settings {
                node: parts.own.name.as_str().into(),
                datacenter: parts.config.datacenter.as_str().into(),
                cluster_zone: parts.config.dns.cluster_domain.as_str().into(),
                domain: parts.config.dns.domain.as_str().into(),
                ..parts.config.xds.clone()
            };
            let (_, of) = portolan_protocol_xds::serve(context, port, registry, settings);
            remarks.add(move |state, service| of.of(state, service));
        }
        Protocol::Native => {
            let settings = portolan_protocol_native::Settings {
                version: crate::version().into(),
                node: parts.own.name.as_str().into(),
                ports: addresses.to_vec(),
                open: open.to_vec(),
                readiness: readiness.clone(),
                backend: parts.backend.clone(),
                dns: portolan_protocol_native::Dns {
                    domain: parts.config.dns.domain.as_str().into(),
                    only_passing: parts.config.dns.only_passing,
                },
                remarks: std::mem::take(remarks),
            };
            portolan_protocol_native::serve(context, port, registry, settings);
        }
        other => return Err(anyhow!("protocol {other} is not built into this version")),
    }
    Ok(())
}

fn consul(
    parts: &Parts<'_>,
    addresses: &[(Protocol, SocketAddr)],
) -> portolan_protocol_consul::ServerInfo {
    let port = |wanted| {
        addresses
            .iter()
            .find(|(protocol, _)| *protocol == wanted)
            .map_or(0, |(_, address)| address.port())
    };
    let behind = parts.behind.downgrade();
    portolan_protocol_consul::ServerInfo {
        access: parts.access.cloned(),
        connect: parts.config.connect.clone(),
        datacenter: parts.config.datacenter.as_str().into(),
        datacenters: parts.datacenters.clone(),
        node_name: parts.own.name.as_str().into(),
        node_id: parts.own.id.clone(),
        advertise: parts.own.address,
        log_level: parts.config.log.level.consul_level().into(),
        local_scripts: parts.config.enable_local_script_checks,
        reload: parts.definitions.on_call(),
        ports: portolan_protocol_consul::Ports {
            http: port(Protocol::Consul),
            dns: port(Protocol::Dns),
            grpc: port(Protocol::Xds),
            ..portolan_protocol_consul::Ports::default()
        },
        snapshots: Some(portolan_protocol_consul::Snapshots {
            files: parts.backend.clone(),
            term: portolan_protocol_consul::Term::new(move || {
                behind.status().map_or(0, |status| status.term)
            }),
        }),
        ..portolan_protocol_consul::ServerInfo::default()
    }
}

fn etcd(parts: &Parts<'_>, listening: SocketAddr) -> portolan_protocol_etcd::Settings {
    let reachable = SocketAddr::new(parts.own.address, listening.port());
    let tls = parts.config.listen.speaks_tls(PortId::main(Protocol::Etcd));
    let scheme = if tls { "https" } else { "http" };
    let client_urls = match listening.ip().is_unspecified() {
        true if !parts.own.address.is_loopback() => vec![format!("{scheme}://{reachable}")],
        false if tls => vec![format!("https://{listening}")],
        _ => Vec::new(),
    };
    let behind = parts.behind.downgrade();
    let defragmented = behind.clone();
    portolan_protocol_etcd::Settings {
        cluster_id: parts.behind.cluster_id(),
        member_id: parts.behind.node_id(),
        member_name: parts.own.name.clone(),
        client_urls,
        request_bytes: parts.config.etcd.request_bytes,
        quota_bytes: parts.config.etcd.quota_bytes,
        defragment: portolan_protocol_etcd::Defragment::new(move || {
            let work = defragmented.compact_storage();
            async move {
                match work {
                    Some(work) => work.await,
                    None => Ok(()),
                }
            }
        }),
        progress_interval: parts.config.etcd.progress_interval,
        tokens: portolan_protocol_etcd::TokenKind::Simple {
            ttl: parts.config.etcd.token_ttl,
        },
        password_cost: parts.config.etcd.password_cost,
        standing: portolan_protocol_etcd::Ask::new(move || {
            let Some(status) = behind.status() else {
                return portolan_protocol_etcd::Standing::default();
            };
            portolan_protocol_etcd::Standing {
                term: status.term,
                has_leader: status.leader.is_some(),
                is_leader: status.leader == Some(status.node_id),
                committed: status.last_index,
                applied: status.applied_index,
                bytes: status.log_bytes + status.snapshot_bytes,
                disk_full: status.disk_full,
            }
        }),
        ..portolan_protocol_etcd::Settings::default()
    }
}

fn zookeeper(parts: &Parts<'_>) -> portolan_protocol_zookeeper::Settings {
    use portolan_protocol_zookeeper::{Ask, Mode, Settings};
    let behind = parts.behind.downgrade();
    let (own, registry) = (&parts.config.zookeeper, parts.registry.clone());
    Settings {
        connections_per_address: own.connections_per_address,
        frame_bytes: own.frame_bytes,
        words: own.words.clone(),
        node: parts.own.name.clone(),
        mode: Ask::new(move || {
            let Some(status) = behind.status() else {
                return Mode::Lost;
            };
            match status.leader {
                None => Mode::Lost,
                Some(_) if registry.voters() <= 1 && !registry.is_copy() => Mode::Standalone,
                Some(leader) if leader == status.node_id => Mode::Leader,
                Some(_) => Mode::Follower,
            }
        }),
    }
}

/// The address of this server's node.
pub(crate) fn advertised(config: &Config) -> IpAddr {
    let consul = config.listen.of(PortId::main(Protocol::Consul));
    let listening = consul
        .map(|address| address.ip())
        .filter(|ip| !ip.is_unspecified());
    config
        .advertise
        .or(listening)
        .unwrap_or(IpAddr::from([127, 0, 0, 1]))
}

/// Why a port was not opened, and what to do.
fn advised(error: BindError) -> anyhow::Error {
    let BindError::Os {
        protocol, source, ..
    } = &error
    else {
        return error.into();
    };
    let advice = match source.kind() {
        ErrorKind::AddrInUse => format!(
            "another process has it: stop that one, or pass --listen {protocol}=ADDR (port 0 takes any free one) or --listen {protocol}=off"
        ),
        ErrorKind::PermissionDenied => {
            "ports below 1024 need a privilege (CAP_NET_BIND_SERVICE); pass a higher one".into()
        }
        ErrorKind::AddrNotAvailable => "this machine has no such address".into(),
        _ => format!("--listen {protocol}=ADDR chooses another"),
    };
    anyhow!("{error}: {source}; {advice}")
}
