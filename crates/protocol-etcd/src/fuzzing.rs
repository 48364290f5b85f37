//! The way in for the fuzz targets.

use prost::Message;

use crate::check;
use crate::gateway;
use crate::wire::etcdserverpb as pb;

/// Decodes a message of the kind that the first byte chooses and looks at it as the server does before anything else.
pub fn request(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    match kind % 8 {
        0 => drop(pb::RangeRequest::decode(rest).map(|request| check::range(&request))),
        1 => drop(pb::PutRequest::decode(rest).map(|request| check::put(&request))),
        2 => drop(pb::DeleteRangeRequest::decode(rest).map(|request| check::delete(&request))),
        3 => drop(pb::TxnRequest::decode(rest).map(|request| check::txn(&request))),
        4 => drop(pb::WatchRequest::decode(rest)),
        5 => drop(pb::LeaseGrantRequest::decode(rest)),
        6 => drop(pb::CompactionRequest::decode(rest)),
        _ => drop(pb::LeaseKeepAliveRequest::decode(rest)),
    }
}

/// Reads a body of the JSON gateway as the message that the first byte chooses, and writes it again.
pub fn json(bytes: &[u8]) {
    if let Some((choice, text)) = bytes.split_first() {
        gateway::fuzz(*choice, text);
    }
}
