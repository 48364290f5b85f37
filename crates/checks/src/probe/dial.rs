//! Connecting to what a check names, and refusing what no check may reach.
//!
//! Check definitions come from clients, so a check is a way to make this server send requests. Link-local addresses
//! are where clouds keep instance credentials; they are refused after resolving, so that a name cannot hide one.

#![allow(
    clippy::disallowed_methods,
    reason = "a probe reaches out to what it checks"
)]

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use tokio::net::TcpStream;

/// Why nothing was connected. `Display` is Go's wording, which people's alerts match.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("dial tcp: address {0}: missing port in address")]
    NoPort(String),
    #[error("dial tcp: lookup {host}: {why}")]
    Lookup { host: String, why: String },
    #[error("dial tcp {0}: refused: link-local and metadata addresses are not probed")]
    Forbidden(SocketAddr),
    #[error("dial tcp {address}: connect: {}", words(.source))]
    Connect {
        address: SocketAddr,
        source: io::Error,
    },
}

/// The system's error without its number, as Go prints it.
pub(crate) fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset by peer".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "connection timed out".to_owned(),
        _ => error.to_string(),
    }
}

/// Where clouds keep what only the machine itself may read.
pub(crate) fn forbidden(ip: IpAddr) -> bool {
    const EC2: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => ip.is_link_local(),
            None => ip == EC2 || ip.is_unicast_link_local(),
        },
    }
}

/// Every address behind `host:port` that may be probed, never none.
pub(crate) async fn resolve(target: &str) -> Result<Vec<SocketAddr>, DialError> {
    if target
        .rsplit_once(':')
        .is_none_or(|(_, port)| port.parse::<u16>().is_err())
    {
        return Err(DialError::NoPort(target.to_owned()));
    }
    let lookup = |why: String| DialError::Lookup {
        host: target
            .rsplit_once(':')
            .map_or(target, |(host, _)| host)
            .to_owned(),
        why,
    };
    let found = tokio::net::lookup_host(target)
        .await
        .map_err(|e| lookup(e.to_string()))?;
    let (refused, allowed): (Vec<_>, Vec<_>) = found.partition(|address| forbidden(address.ip()));
    match (allowed.is_empty(), refused.first()) {
        (false, _) => Ok(allowed),
        (true, Some(address)) => Err(DialError::Forbidden(*address)),
        (true, None) => Err(lookup("no such host".to_owned())),
    }
}

/// Connects to the first address behind `host:port` that takes a connection.
pub(crate) async fn dial(target: &str) -> Result<TcpStream, DialError> {
    let mut last = None;
    for address in resolve(target).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // A short exchange gains from it; a socket that refuses still works.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(source) => last = Some(DialError::Connect { address, source }),
        }
    }
    Err(last.unwrap_or_else(|| DialError::NoPort(target.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_addresses_are_forbidden() {
        let rows = [
            ("169.254.169.254", true),
            ("169.254.0.1", true),
            ("::ffff:169.254.169.254", true),
            ("fd00:ec2::254", true),
            ("fe80::1", true),
            ("127.0.0.1", false),
            ("10.0.0.1", false),
            ("fd00:ec2::1", false),
            ("::1", false),
        ];
        for (ip, expected) in rows {
            assert_eq!(forbidden(ip.parse().unwrap()), expected, "{ip}");
        }
    }

    #[tokio::test]
    async fn targets_are_resolved_or_refused_in_words() {
        assert!(resolve("127.0.0.1:80").await.is_ok());
        assert!(resolve("[::1]:80").await.is_ok());
        let rows = [
            (
                "127.0.0.1",
                "dial tcp: address 127.0.0.1: missing port in address",
            ),
            (
                "169.254.169.254:80",
                "dial tcp 169.254.169.254:80: refused: link-local and metadata addresses are not probed",
            ),
        ];
        for (target, expected) in rows {
            assert_eq!(resolve(target).await.unwrap_err().to_string(), expected);
        }
    }
}
