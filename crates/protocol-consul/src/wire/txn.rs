//! The operations of `/v1/txn`, decoded but not yet judged.

use super::fields::{Fields, Malformed};
use super::requests::{CheckBody, NodeBody, ServiceBody};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// One operation of a transaction.
#[derive(Debug)]
pub(crate) enum Operation {
    Kv(KvOperation),
    Node {
        verb: String,
        index: u64,
        node: NodeBody,
    },
    Service {
        verb: String,
        node: String,
        index: u64,
        service: Box<ServiceBody>,
    },
    Check {
        verb: String,
        index: u64,
        check: Box<CheckBody>,
    },
}

#[derive(Debug)]
pub(crate) struct KvOperation {
    pub(crate) verb: String,
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
    pub(crate) flags: u64,
    pub(crate) index: u64,
    pub(crate) session: String,
}

/// Reads the list of operations.
pub(crate) fn operations(body: &Value) -> Result<Vec<Operation>, Malformed> {
    let Value::Array(items) = body else {
        return Err(Malformed(
            "a transaction is a list of operations".to_owned(),
        ));
    };
    items.iter().map(operation).collect()
}

fn operation(value: &Value) -> Result<Operation, Malformed> {
    let fields = Fields::of(value, "operation")?;
    if let Some(kv) = fields.object("kv")? {
        let value = match kv.text("value")? {
            text if text.is_empty() => Vec::new(),
            text => STANDARD
                .decode(&text)
                .map_err(|error| Malformed(format!("failed to decode value: {error}")))?,
        };
        return Ok(Operation::Kv(KvOperation {
            verb: kv.text("verb")?,
            key: kv.text("key")?,
            value,
            flags: kv.unsigned("flags")?,
            index: kv.unsigned("index")?,
            session: kv.text("session")?,
        }));
    }
    if let Some(node) = fields.object("node")? {
        let inner = node.object("node")?.unwrap_or_default();
        let index = inner.unsigned("modifyindex")?;
        return Ok(Operation::Node {
            verb: node.text("verb")?,
            index,
            node: NodeBody::of(&inner, "meta")?,
        });
    }
    if let Some(service) = fields.object("service")? {
        let inner = service.get("service").unwrap_or(&Value::Null);
        let index = Fields::of(inner, "Service")?.unsigned("modifyindex")?;
        return Ok(Operation::Service {
            verb: service.text("verb")?,
            node: service.text("node")?,
            index,
            service: Box::new(ServiceBody::of_catalog(inner)?),
        });
    }
    if let Some(check) = fields.object("check")? {
        let inner = check.get("check").unwrap_or(&Value::Null);
        let index = Fields::of(inner, "Check")?.unsigned("modifyindex")?;
        let body = CheckBody::of(inner)?.unwrap_or_default();
        return Ok(Operation::Check {
            verb: check.text("verb")?,
            index,
            check: Box::new(body),
        });
    }
    Err(Malformed(
        "an operation has none of KV, Node, Service and Check".to_owned(),
    ))
}
