//! Addresses and ports that Services get: which ones, and which are kept for those who ask for one by name.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A range of addresses, `10.96.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceRange {
    network: IpAddr,
    prefix: u8,
}

impl Default for ServiceRange {
    fn default() -> ServiceRange {
        ServiceRange {
            network: IpAddr::V4(Ipv4Addr::new(10, 96, 0, 0)),
            prefix: 16,
        }
    }
}

impl fmt::Display for ServiceRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl FromStr for ServiceRange {
    type Err = String;

    /// # Errors
    /// What would do: `IP/PREFIX` with room for at least four addresses, of which the last bits are zero.
    fn from_str(text: &str) -> Result<ServiceRange, String> {
        let wrong = || format!("{text:?} is not a range of addresses, such as 10.96.0.0/16");
        let (network, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let network: IpAddr = network.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        let bits = if network.is_ipv4() { 32 } else { 128 };
        if prefix > bits - 2 || prefix < 8 {
            return Err(format!(
                "{text:?}: the prefix is at least 8 and at most {}",
                bits - 2
            ));
        }
        let range = ServiceRange { network, prefix };
        match range.number() & (range.size() - 1) == 0 {
            true => Ok(range),
            false => Err(format!("{text:?} has bits after its prefix")),
        }
    }
}

impl ServiceRange {
    fn number(self) -> u128 {
        match self.network {
            IpAddr::V4(ip) => u32::from(ip).into(),
            IpAddr::V6(ip) => ip.into(),
        }
    }

    /// Addresses in it; of large ranges of IPv6 as many as the API server uses.
    fn size(self) -> u128 {
        let bits = if self.network.is_ipv4() { 32 } else { 128 };
        1 << (bits - self.prefix).min(64)
    }

    fn at(self, offset: u128) -> IpAddr {
        let number = self.number() + offset;
        match self.network {
            IpAddr::V4(_) => Ipv4Addr::from(number as u32).into(),
            IpAddr::V6(_) => Ipv6Addr::from(number).into(),
        }
    }

    /// The first address, which is the API server's own.
    pub(crate) fn first(self) -> IpAddr {
        self.at(1)
    }

    /// Whether an address can be a Service's: neither the network's own nor, of IPv4, the last one.
    pub(crate) fn contains(self, ip: IpAddr) -> bool {
        let number: u128 = match ip {
            IpAddr::V4(ip) => u32::from(ip).into(),
            IpAddr::V6(ip) => ip.into(),
        };
        let same = ip.is_ipv4() == self.network.is_ipv4();
        let Some(offset) = number.checked_sub(self.number()) else {
            return false;
        };
        same && offset > 0 && offset < self.usable() + 1
    }

    fn usable(self) -> u128 {
        self.size() - if self.network.is_ipv4() { 2 } else { 1 }
    }

    /// `IPv4` or `IPv6`.
    pub(crate) fn family(self) -> &'static str {
        if self.network.is_ipv4() {
            "IPv4"
        } else {
            "IPv6"
        }
    }

    /// The addresses to try for a Service, from `start` on round the range: those of the upper band first, as the lower one is kept
    /// for who asks for an address.
    pub(crate) fn candidates(self, start: u64) -> impl Iterator<Item = IpAddr> {
        let usable = self.usable();
        let kept = match usable {
            0..=16 => 0,
            usable => (usable / 16).clamp(16, 256),
        };
        let upper = usable - kept;
        let above = (0..upper).map(move |n| kept + (u128::from(start) + n) % upper);
        above.chain(0..kept).map(move |offset| self.at(offset + 1))
    }
}

/// A range of ports, `30000-32767`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

impl Default for PortRange {
    fn default() -> PortRange {
        PortRange {
            first: 30_000,
            last: 32_767,
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for PortRange {
    type Err = String;

    /// # Errors
    /// What would do: `FIRST-LAST`.
    fn from_str(text: &str) -> Result<PortRange, String> {
        let wrong = || format!("{text:?} is not a range of ports, such as 30000-32767");
        let (first, last) = text.split_once('-').ok_or_else(wrong)?;
        let number = |text: &str| text.trim().parse::<u16>().map_err(|_| wrong());
        let (first, last) = (number(first)?, number(last)?);
        match 0 < first && first <= last {
            true => Ok(PortRange { first, last }),
            false => Err(wrong()),
        }
    }
}

/// Both ranges.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ranges {
    pub(crate) addresses: ServiceRange,
    pub(crate) ports: PortRange,
}

impl Ranges {
    /// The node ports to try, from `start` on: those of the upper band first.
    pub(crate) fn port_candidates(&self, start: u64) -> impl Iterator<Item = u16> + use<> {
        let (first, last) = (u64::from(self.ports.first), u64::from(self.ports.last));
        let size = last.saturating_sub(first) + 1;
        let kept = match size {
            0..=32 => 0,
            size => (size / 32).clamp(16, 128),
        };
        let upper = size - kept;
        let above = (0..upper).map(move |n| kept + (start % upper + n) % upper);
        above
            .chain(0..kept)
            .filter_map(move |offset| u16::try_from(first + offset).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_keep_their_lower_band_for_who_asks() {
        let range = ServiceRange::default();
        assert_eq!(range.to_string(), "10.96.0.0/16");
        assert_eq!(range.first().to_string(), "10.96.0.1");
        assert!(range.contains("10.96.255.254".parse().unwrap()));
        for outside in ["10.96.0.0", "10.96.255.255", "10.97.0.1", "::1"] {
            assert!(!range.contains(outside.parse().unwrap()), "{outside}");
        }
        let all: Vec<IpAddr> = range.candidates(7).collect();
        assert_eq!(all.len(), 65_534);
        assert_eq!(all[0].to_string(), "10.96.1.8");
        assert_eq!(all.last().unwrap().to_string(), "10.96.1.0");
        let small: ServiceRange = "10.0.0.0/29".parse().unwrap();
        assert_eq!(small.candidates(0).count(), 6);
        for bad in ["x", "10.0.0.0", "10.0.0.1/24", "10.0.0.0/31", "fd00::/127"] {
            assert!(bad.parse::<ServiceRange>().is_err(), "{bad}");
        }
        let ports = Ranges {
            addresses: range,
            ports: PortRange::default(),
        };
        let all: Vec<u16> = ports.port_candidates(0).collect();
        assert_eq!("30000-32767".parse(), Ok(PortRange::default()));
        assert!("5".parse::<PortRange>().is_err() && "9-8".parse::<PortRange>().is_err());
        assert_eq!(
            (all[0], all.len(), all[all.len() - 1]),
            (30_086, 2768, 30_085)
        );
    }
}
