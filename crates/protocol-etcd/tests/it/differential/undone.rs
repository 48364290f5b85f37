//! Transactions that undo what they do.

use bytes::Bytes;
use portolan_protocol_etcd::wire::etcdserverpb as pb;

/// Whether a put and a delete of one key stand where etcd does not look for such pairs: an interval without end, or in different nested
/// transactions.
pub fn undoes_itself(txn: &pb::TxnRequest) -> bool {
    [&txn.success, &txn.failure].into_iter().any(|ops| {
        let (mut puts, mut deletes) = (Vec::new(), Vec::new());
        gather(ops, 0, &mut 0, &mut puts, &mut deletes);
        deletes.iter().any(|(list, from, to)| {
            let within = |key: &Bytes| {
                key >= from && (to == "\0" || if to.is_empty() { key == from } else { key < to })
            };
            puts.iter()
                .any(|(other, key)| within(key) && (to == "\0" || list != other))
        })
    })
}

/// Puts and deletes at all depths, each with the number of the list it is in.
fn gather(
    ops: &[pb::RequestOp],
    list: usize,
    lists: &mut usize,
    puts: &mut Vec<(usize, Bytes)>,
    deletes: &mut Vec<(usize, Bytes, Bytes)>,
) {
    for op in ops {
        match &op.request {
            Some(pb::request_op::Request::RequestPut(put)) => puts.push((list, put.key.clone())),
            Some(pb::request_op::Request::RequestDeleteRange(delete)) => {
                deletes.push((list, delete.key.clone(), delete.range_end.clone()))
            }
            Some(pb::request_op::Request::RequestTxn(txn)) => {
                for ops in [&txn.success, &txn.failure] {
                    *lists += 1;
                    gather(ops, *lists, lists, puts, deletes);
                }
            }
            _ => {}
        }
    }
}
