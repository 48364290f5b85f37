//! Addresses of recursors as people write them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// The address of a server that answers for all names: `IP`, or `IP:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recursor(pub SocketAddr);

impl FromStr for Recursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let address = text
            .parse::<IpAddr>()
            .map(|ip| SocketAddr::new(ip, 53))
            .or_else(|_| text.parse())
            .map_err(|_| {
                format!("{text:?} is not an address of a DNS server; write 10.0.0.2, 10.0.0.2:53 or [fd00::2]:53")
            })?;
        if address.ip().is_unspecified() || address.port() == 0 {
            return Err(format!("{text:?} is no address that can be asked"));
        }
        Ok(Self(address))
    }
}

impl fmt::Display for Recursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recursors_are_read() {
        for (text, expected) in [
            ("10.0.0.2", Ok("10.0.0.2:53")),
            (" 10.0.0.2:5353", Ok("10.0.0.2:5353")),
            ("fd00::2", Ok("[fd00::2]:53")),
            ("[fd00::2]:54", Ok("[fd00::2]:54")),
            ("dns.example.com", Err("is not an address of a DNS server")),
            ("0.0.0.0", Err("no address that can be asked")),
            ("10.0.0.2:0", Err("no address that can be asked")),
        ] {
            match (text.parse::<Recursor>(), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found.to_string(), expected),
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }
}
