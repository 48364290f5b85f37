//! What may be plugged into one port.

use std::sync::Arc;

use crate::authenticator::Authenticator;
use crate::limits::Limits;
use crate::transport::Handshake;

/// How a port differs from the others, whatever its protocol: set in [`TcpPort::options`](crate::TcpPort::options) before it is served. The default is a port as the server's settings have it: bare sockets,
/// everybody anonymous, no upgrades.
#[derive(Clone, Debug, Default)]
pub struct PortOptions {
    /// The port's own bounds, if not those of the server.
    pub limits: Option<Limits>,
    /// What is done to a connection before anything is read from it.
    pub handshake: Option<Arc<dyn Handshake>>,
    /// Strangers may reach the port: what is plugged in asks them who they are.
    pub guarded: bool,
    /// Who tells who asks.
    pub authenticator: Option<Arc<dyn Authenticator>>,
    /// HTTP: handlers may answer 101 (or 200 to CONNECT) and take the connection with `hyper::upgrade::on`. A connection so taken counts
    /// no longer against the port's limits.
    pub upgrades: bool,
}
