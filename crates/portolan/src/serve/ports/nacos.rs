//! Nacos' two ports: clients know the first and look for the other a thousand above.

use std::io::ErrorKind;
use std::net::SocketAddr;

use portolan_catalog::{NodeName, Protocol};
use portolan_listener::{BindError, ServerContext, bind_tcp, bind_tcp_guarded};
use portolan_protocol_nacos::{Ports, Settings};

use super::Own;
use crate::config::{Config, GRPC_ABOVE, Listen, PortId, Role};

/// How often a free pair is looked for.
const ATTEMPTS: usize = 64;

const HTTP: PortId = PortId::main(Protocol::Nacos);
const GRPC: PortId = PortId {
    protocol: Protocol::Nacos,
    role: Role::Grpc,
};

/// Opens the ports that are on. Where the first takes any free one, the second is the one above that.
pub(super) fn bind(context: &ServerContext, listen: &Listen) -> Result<Option<Ports>, BindError> {
    let open = |address| match listen.speaks_tls(HTTP) {
        true => bind_tcp_guarded(Protocol::Nacos, address),
        false => bind_tcp(context, Protocol::Nacos, address),
    };
    let Some(address) = listen.of(HTTP) else {
        return Ok(None);
    };
    let mut attempt = 1;
    loop {
        let http = open(address)?;
        let beside = match listen.of(GRPC) {
            None => return Ok(Some(Ports { http, grpc: None })),
            Some(given) if !listen.follows(GRPC) => given,
            Some(_) => match http.address.port().checked_add(GRPC_ABOVE) {
                Some(port) => SocketAddr::new(address.ip(), port),
                None => continue,
            },
        };
        match open(beside) {
            Ok(grpc) => {
                let grpc = Some(grpc);
                return Ok(Some(Ports { http, grpc }));
            }
            Err(BindError::Os { source, .. })
                if address.port() == 0
                    && attempt < ATTEMPTS
                    && source.kind() == ErrorKind::AddrInUse =>
            {
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Where they are.
pub(super) fn addresses(ports: &Ports) -> Vec<(PortId, SocketAddr)> {
    let grpc = ports.grpc.as_ref().map(|port| (GRPC, port.address));
    [(HTTP, ports.http.address)]
        .into_iter()
        .chain(grpc)
        .collect()
}

pub(super) fn settings(config: &Config, own: &Own) -> Settings {
    Settings {
        node: NodeName::new(&own.name),
        ..config.nacos.clone()
    }
}
