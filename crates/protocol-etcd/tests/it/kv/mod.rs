//! Ranges, puts, deletes, transactions and compaction.

mod range;
mod refusals;
mod txn;
mod write;

use pb::request_op::Request as Op;
use portolan_protocol_etcd::wire::etcdserverpb as pb;

use super::support::*;

async fn filled(keys: &[&str]) -> (Server, Client) {
    let server = Server::start().await;
    let mut client = server.client().await;
    for key in keys {
        client.put(key, key).await;
    }
    (server, client)
}

fn op(request: Op) -> pb::RequestOp {
    pb::RequestOp {
        request: Some(request),
    }
}

fn txn(success: Vec<Op>) -> pb::TxnRequest {
    pb::TxnRequest {
        success: success.into_iter().map(op).collect(),
        ..Default::default()
    }
}
