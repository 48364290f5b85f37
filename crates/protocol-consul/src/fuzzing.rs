//! The way in for the fuzz targets.

use serde_json::Value;

use crate::config;
use crate::filter::Filter;
use crate::wire::{
    CheckBody, Fields, NodeBody, Params, PreparedQuery, ReadOptions, ServiceBody, SessionBody,
    operations, parse_duration, print_duration,
};

/// Reads a filter expression and asks it about `row`.
pub fn filter(text: &str, row: &Value) {
    if let Ok(filter) = Filter::parse(text, &[]) {
        let _ = filter.matches(row);
    }
}

/// Reads a body as every request that takes one does.
pub fn body(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    let _ = ServiceBody::of_agent(&value);
    let _ = ServiceBody::of_catalog(&value);
    let _ = CheckBody::of(&value);
    let _ = SessionBody::of(&value);
    let _ = PreparedQuery::of(&value);
    let _ = operations(&value);
    let _ = config::judge(&value);
    if let Ok(fields) = Fields::of(&value, "fuzz") {
        let _ = NodeBody::of(&fields, "nodemeta");
    }
}

/// Reads a query string, and every duration in it: what was read is read again from its print.
pub fn query(text: &str) {
    let params = Params::parse(text);
    let _ = ReadOptions::parse(&params);
    if let Ok(nanos) = parse_duration(params.get("wait")) {
        assert_eq!(
            parse_duration(&print_duration(nanos)),
            Ok(nanos),
            "a duration survives printing"
        );
    }
}
