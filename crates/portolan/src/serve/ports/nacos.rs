//! Nacos' two ports: clients know the first and look for the other a thousand above.

use std::io::ErrorKind;
use std::net::SocketAddr;

use portolan_access::AccessControl;
use portolan_catalog::{NodeName, Protocol};
use portolan_listener::{BindError, ServerContext, TcpPort, bind_tcp, bind_tcp_guarded};
use portolan_protocol_nacos::Settings;

use super::Own;
use crate::config::{Config, GRPC_ABOVE, Listen, PortId};

/// How often a free pair is looked for.
const ATTEMPTS: usize = 64;

const HTTP: PortId = PortId::main(Protocol::Nacos);
const GRPC: PortId = PortId::grpc(Protocol::Nacos);

/// The ports that are on, each with its name.
type Bound = Vec<(PortId, TcpPort)>;

/// Opens the ports that are on: the plain pair, and the pair for TLS.
pub(super) fn bind(context: &ServerContext, listen: &Listen) -> Result<Bound, BindError> {
    let mut bound = pair(context, listen, HTTP, GRPC)?;
    bound.extend(pair(context, listen, HTTP.over_tls(), GRPC.over_tls())?);
    Ok(bound)
}

/// Opens one pair. Where the first takes any free port, the second is the one above that.
fn pair(
    context: &ServerContext,
    listen: &Listen,
    main: PortId,
    grpc: PortId,
) -> Result<Bound, BindError> {
    let open = |id, address| match listen.speaks_tls(id) {
        true => bind_tcp_guarded(Protocol::Nacos, address),
        false => bind_tcp(context, Protocol::Nacos, address),
    };
    let Some(address) = listen.of(main) else {
        // gRPC is nothing without the other.
        return Ok(Vec::new());
    };
    let mut attempt = 1;
    loop {
        let http = open(main, address)?;
        let beside = match listen.of(grpc) {
            None => return Ok(vec![(main, http)]),
            Some(given) if !listen.follows(grpc) => given,
            Some(_) => match http.address.port().checked_add(GRPC_ABOVE) {
                Some(port) => SocketAddr::new(address.ip(), port),
                None => continue,
            },
        };
        match open(grpc, beside) {
            Ok(beside) => return Ok(vec![(main, http), (grpc, beside)]),
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

pub(super) fn settings(config: &Config, own: &Own, access: Option<&AccessControl>) -> Settings {
    Settings {
        node: NodeName::new(&own.name),
        access: access.cloned(),
        ..config.nacos.clone()
    }
}
