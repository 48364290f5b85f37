//! Keys of the history's index: bytes that sort as the rows of a table do, records by their key.
//!
//! ```text
//! table u8 · identity                     a row
//! 0x10 · its instance (length first) · check   a check, by the instance it is of
//! 0x11 · its node · 0 · check             a check of a node itself
//! 0x12 · service                          a batch that may change a reader's answer about a service
//! ```

use std::net::IpAddr;

use crate::change::{Batch, Change, Table};
use crate::endpoint::{EndpointKey, Host};
use crate::ids::{CheckKey, InstanceKey, Keyspace, NodeName, ServiceKey, SessionId};
use crate::record::KeyRange;

const INSTANCE: u8 = 1;
const ENDPOINT: u8 = 2;
const SERVICE: u8 = 3;
const NAMESPACE: u8 = 4;
const NODE: u8 = 5;
const CHECK: u8 = 6;
const SESSION: u8 = 7;
const RECORD: u8 = 8;
const CHECK_OF_INSTANCE: u8 = 0x10;
const CHECK_OF_NODE: u8 = 0x11;
const OF_SERVICE: u8 = 0x12;

/// Keys from `start` (included) to `end` (excluded; none: to the last).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first key.
    pub start: Vec<u8>,
    /// The first key behind.
    pub end: Option<Vec<u8>>,
}

impl Span {
    fn one(start: Vec<u8>) -> Span {
        let mut end = start.clone();
        end.push(0);
        Span {
            start,
            end: Some(end),
        }
    }

    fn prefix(start: Vec<u8>) -> Span {
        let mut end = start.clone();
        while let Some(last) = end.pop() {
            if last < u8::MAX {
                end.push(last + 1);
                break;
            }
        }
        Span {
            start,
            end: Some(end).filter(|end| !end.is_empty()),
        }
    }

    /// Whether a key is in.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        *self.start <= *key && self.end.as_deref().is_none_or(|end| key < end)
    }

    /// One record.
    #[must_use]
    pub fn record(space: Keyspace, key: &[u8]) -> Span {
        Span::one(record(space, key))
    }

    /// The records of a range.
    #[must_use]
    pub fn records(space: Keyspace, range: &KeyRange) -> Span {
        match range {
            KeyRange::One(key) => Span::record(space, key),
            KeyRange::Between(start, end) => Span {
                start: record(space, start),
                end: Some(record(space, end)),
            },
            KeyRange::From(start) => Span {
                start: record(space, start),
                ..Span::table(Table::Records(space))
            },
        }
    }

    /// One instance.
    #[must_use]
    pub fn instance(key: &InstanceKey) -> Span {
        Span::one(instance(key))
    }

    /// One service's row.
    #[must_use]
    pub fn service(key: &ServiceKey) -> Span {
        Span::one(text(SERVICE, service_text(key)))
    }

    /// One node's row.
    #[must_use]
    pub fn node(name: &NodeName) -> Span {
        Span::one(text(NODE, name.as_str()))
    }

    /// The endpoints of a service.
    #[must_use]
    pub fn endpoints(service: &ServiceKey) -> Span {
        let mut start = text(ENDPOINT, service_text(service));
        start.push(0);
        Span::prefix(start)
    }

    /// The checks that are or were of an instance.
    #[must_use]
    pub fn checks_of(instance: &InstanceKey) -> Span {
        Span::prefix(of_instance(instance))
    }

    /// The checks that are or were of a node itself.
    #[must_use]
    pub fn node_checks(node: &NodeName) -> Span {
        let mut start = text(CHECK_OF_NODE, node.as_str());
        start.push(0);
        Span::prefix(start)
    }

    /// The batches that may have changed an answer about a service. Its entries are batches, not rows.
    #[must_use]
    pub fn about(service: &ServiceKey) -> Span {
        Span::one(text(OF_SERVICE, service_text(service)))
    }

    /// All rows of a table.
    #[must_use]
    pub fn table(table: Table) -> Span {
        Span::prefix(match table {
            Table::Instances => vec![INSTANCE],
            Table::Endpoints => vec![ENDPOINT],
            Table::Services => vec![SERVICE],
            Table::Namespaces => vec![NAMESPACE],
            Table::Nodes => vec![NODE],
            Table::Checks => vec![CHECK],
            Table::Sessions => vec![SESSION],
            Table::Records(space) => vec![RECORD, space as u8],
        })
    }
}

/// The keyspace of a record's key and the record's own key; none for other rows.
#[must_use]
pub fn record_of(key: &[u8]) -> Option<(Keyspace, &[u8])> {
    let ([RECORD, space], key) = key.split_first_chunk::<2>()? else {
        return None;
    };
    Some((*Keyspace::ALL.get(usize::from(*space))?, key))
}

/// Whether a key is that of a row: other keys find rows or batches by something else.
#[must_use]
pub fn is_row(key: &[u8]) -> bool {
    key.first().is_some_and(|table| *table < CHECK_OF_INSTANCE)
}

/// Gives every key under which a batch is found, in no order: with the number of the change, or none for the batch itself.
pub fn keys(batch: &Batch, mut each: impl FnMut(&[u8], Option<usize>)) {
    for (number, change) in batch.changes.iter().enumerate() {
        if let Some(key) = row(change) {
            each(&key, Some(number));
        }
        if let Change::Check { before, after } = change {
            let owners = [before, after].map(|check| {
                check.as_ref().map(|check| match &check.instance {
                    Some(instance) => check_of_instance(instance, &check.key),
                    None => check_of_node(&check.key),
                })
            });
            let [was, is] = owners;
            if was != is
                && let Some(was) = &was
            {
                each(was, Some(number));
            }
            if let Some(is) = &is {
                each(is, Some(number));
            }
        }
    }
    for service in &batch.services {
        each(&text(OF_SERVICE, service_text(service)), None);
    }
}

/// The key of the row that a change is of; `None` only for a change without sides, which does not exist.
#[must_use]
pub fn row(change: &Change) -> Option<Vec<u8>> {
    macro_rules! row {
        ($before:ident, $after:ident) => {
            $after.as_ref().or($before.as_ref())?
        };
    }
    Some(match change {
        Change::Instance { before, after } => instance(&row!(before, after).key),
        Change::Endpoint { before, after } => endpoint(&row!(before, after).key),
        Change::Service { before, after } => text(SERVICE, service_text(&row!(before, after).key)),
        Change::Namespace { before, after } => text(NAMESPACE, &row!(before, after).name),
        Change::Node { before, after } => text(NODE, row!(before, after).name.as_str()),
        Change::Check { before, after } => text(CHECK, check_text(&row!(before, after).key)),
        Change::Session { before, after } => session(&row!(before, after).id),
        Change::Record { space, key, .. } => record(*space, key),
    })
}

fn service_text(key: &ServiceKey) -> &str {
    key.as_joined()
}

fn check_text(key: &CheckKey) -> &str {
    key.as_joined()
}

fn text(table: u8, text: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + text.len());
    key.push(table);
    key.extend_from_slice(text.as_bytes());
    key
}

fn record(space: Keyspace, key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(2 + key.len());
    bytes.extend_from_slice(&[RECORD, space as u8]);
    bytes.extend_from_slice(key);
    bytes
}

fn session(id: &SessionId) -> Vec<u8> {
    let mut key = vec![SESSION];
    key.extend_from_slice(&id.0);
    key
}

fn instance(key: &InstanceKey) -> Vec<u8> {
    let mut bytes = vec![INSTANCE, key.origin as u8];
    bytes.extend_from_slice(key.id.as_bytes());
    bytes
}

fn of_instance(key: &InstanceKey) -> Vec<u8> {
    let mut bytes = vec![CHECK_OF_INSTANCE, key.origin as u8];
    bytes.extend_from_slice(&(key.id.len() as u64).to_be_bytes());
    bytes.extend_from_slice(key.id.as_bytes());
    bytes
}

fn check_of_instance(instance: &InstanceKey, check: &CheckKey) -> Vec<u8> {
    let mut key = of_instance(instance);
    key.extend_from_slice(check_text(check).as_bytes());
    key
}

fn check_of_node(check: &CheckKey) -> Vec<u8> {
    text(CHECK_OF_NODE, check_text(check))
}

fn endpoint(key: &EndpointKey) -> Vec<u8> {
    let mut bytes = text(ENDPOINT, service_text(&key.service));
    bytes.push(0);
    match &key.host {
        Host::Ip(IpAddr::V4(ip)) => {
            bytes.push(4);
            bytes.extend_from_slice(&ip.octets());
        }
        Host::Ip(IpAddr::V6(ip)) => {
            bytes.push(6);
            bytes.extend_from_slice(&ip.octets());
        }
        Host::Name(name) => {
            bytes.push(7);
            bytes.extend_from_slice(&(name.len() as u64).to_be_bytes());
            bytes.extend_from_slice(name.as_bytes());
        }
    }
    bytes.extend_from_slice(&key.port.to_be_bytes());
    if let Some(sole) = &key.sole {
        bytes.push(sole.origin as u8);
        bytes.extend_from_slice(sole.id.as_bytes());
    }
    bytes
}
