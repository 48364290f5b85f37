//! The servers of the cluster in the keyspace `settings`: where each gives its clients what, so that any of them can tell.
//!
//! Every server writes its own record, `servers/<id>`; the leader removes those of servers that are gone.

use std::collections::BTreeMap;

use crate::{Key, Keyspace, Op, Put, State, Write};

/// What the keys of these settings begin with.
pub const PREFIX: &str = "servers/";

/// One server. Printed as lines of `name value`; what is not known is left out when it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerRecord {
    /// Its Raft id.
    pub node: u64,
    /// Its name.
    pub name: String,
    /// `IP:PORT` of each protocol's main port, by the protocol's name, and of `cluster`.
    pub addresses: BTreeMap<String, String>,
}

/// The key of a server's record.
#[must_use]
pub fn key(node: u64) -> String {
    format!("{PREFIX}{node:016x}")
}

impl ServerRecord {
    /// The record's value.
    #[must_use]
    pub fn print(&self) -> String {
        let mut text = format!("name {}\n", self.name);
        for (protocol, address) in &self.addresses {
            text.push_str(&format!("{protocol} {address}\n"));
        }
        text
    }

    /// Reads a record.
    #[must_use]
    pub fn parse(key: &[u8], value: &[u8]) -> Option<ServerRecord> {
        let hex = std::str::from_utf8(key).ok()?.strip_prefix(PREFIX)?;
        let mut record = ServerRecord {
            node: u64::from_str_radix(hex, 16).ok()?,
            ..ServerRecord::default()
        };
        for line in std::str::from_utf8(value).ok()?.lines() {
            match line.split_once(' ')? {
                ("name", name) => record.name = name.to_owned(),
                (protocol, address) => {
                    let addresses = &mut record.addresses;
                    addresses.insert(protocol.to_owned(), address.to_owned());
                }
            }
        }
        Some(record)
    }

    /// Writes it.
    #[must_use]
    pub fn write(&self) -> Write {
        let key = Key::from(key(self.node).as_str());
        let put = Put::new(Keyspace::Settings, key, self.print().into_bytes().into());
        Write::one(Op::Put(Box::new(put)))
    }
}

/// The record of one server.
#[must_use]
pub fn of(state: &State, node: u64) -> Option<ServerRecord> {
    let key = key(node);
    let record = state.record(Keyspace::Settings, key.as_bytes())?;
    ServerRecord::parse(key.as_bytes(), &record.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = ServerRecord {
            node: 255,
            name: "n 1".to_owned(),
            addresses: [("etcd".to_owned(), "10.0.0.1:2379".to_owned())].into(),
        };
        let key = key(255);
        assert_eq!(key, "servers/00000000000000ff");
        let value = record.print();
        assert_eq!(
            ServerRecord::parse(key.as_bytes(), value.as_bytes()),
            Some(record)
        );
        assert_eq!(ServerRecord::parse(b"servers/x", b""), None);
        assert_eq!(ServerRecord::parse(b"guard", b""), None);
    }
}
