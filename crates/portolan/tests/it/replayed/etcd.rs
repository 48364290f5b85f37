//! Requests of etcd's services.

use prost::Message;

use portolan_protocol_etcd::wire::etcdserverpb as pb;
use portolan_protocol_etcd::wire::etcdserverpb::request_op::Request;

use super::dice::Dice;
use super::{Asked, Known};
use crate::corpus::targets::replay::Call;

/// Bytes of a value with which a request just keeps within etcd's limit.
const VALUE: usize = 1_500_000;

fn asked(as_what: &'static str, method: &str, message: &impl Message) -> Asked {
    let call = Call {
        method: "POST".into(),
        target: format!("/etcdserverpb.{method}"),
        kind: "application/grpc",
        body: message.encode_to_vec(),
    };
    Asked { as_what, call }
}

pub(super) fn request(dice: &mut Dice, known: &Known) -> Asked {
    match dice.below(32) {
        0..14 => asked("put", "KV/Put", &put(dice)),
        14..17 => asked("delete", "KV/DeleteRange", &delete(dice)),
        17..25 => {
            let depth = dice.pick(&[1, 1, 1, 2, 3, 5]);
            asked("txn", "KV/Txn", &txn(dice, known, depth))
        }
        25 => {
            let depth = dice.pick(&[10, 32, 33, 40, 49, 50, 51, 52, 60]);
            asked("deep txn", "KV/Txn", &deep(dice, known, depth))
        }
        26 => {
            let revision = dice.revision(known.revision) as i64;
            let physical = dice.one_in(2);
            asked(
                "compact",
                "KV/Compact",
                &pb::CompactionRequest { revision, physical },
            )
        }
        27..30 => {
            let grant = pb::LeaseGrantRequest {
                ttl: dice.pick(&[60, 600, 3600, 9_000_000_000, 9_000_000_001, 0, -1, i64::MAX]),
                id: lease(dice),
            };
            asked("grant", "Lease/LeaseGrant", &grant)
        }
        30 => asked(
            "revoke",
            "Lease/LeaseRevoke",
            &pb::LeaseRevokeRequest { id: lease(dice) },
        ),
        _ => {
            let alarm = pb::AlarmRequest {
                // An alarm refuses most of what follows until it is lifted.
                action: if dice.one_in(12) {
                    1
                } else {
                    dice.pick(&[0, 2, 2, 2, 3])
                },
                member_id: dice.pick(&[0, 0, 0, 1, u64::MAX]),
                alarm: dice.pick(&[1, 1, 1, 2, 3]),
            };
            asked("alarm", "Maintenance/Alarm", &alarm)
        }
    }
}

fn lease(dice: &mut Dice) -> i64 {
    dice.pick(&[0, 7, 77, 78, 79, 80, i64::MAX, -1])
}

/// A key: of a framework, or any bytes.
fn key(dice: &mut Dice) -> Vec<u8> {
    let name = dice.name();
    let (host, port) = (dice.host(), dice.port());
    match dice.below(16) {
        0 => format!("kitex/registry-etcd/{name}/{host}:{port}").into_bytes(),
        1 => format!("/microservices/{name}/{}", dice.text()).into_bytes(),
        2 => format!("user.rpc/{}", dice.below(5)).into_bytes(),
        3 => format!("target/{host}:{port}").into_bytes(),
        4 => format!("/services/{name}/{host}:{port}").into_bytes(),
        5 => vec![0, 0xff, b'/', dice.below(3) as u8],
        6 => b"k".repeat(dice.pick(&[1, 2, 4095, 4096, 4097])),
        7 => Vec::new(),
        _ => format!("k/{}", dice.below(40)).into_bytes(),
    }
}

fn end(dice: &mut Dice) -> Vec<u8> {
    dice.pick(&[&b""[..], b"", b"", b"\0", b"k0", b"zzz", b"a", b"\xff\xff"])
        .to_vec()
}

fn put(dice: &mut Dice) -> pb::PutRequest {
    let mut put = pb::PutRequest {
        key: key(dice).into(),
        value: dice.bytes(VALUE).into(),
        prev_kv: dice.one_in(3),
        ..Default::default()
    };
    if dice.one_in(3) {
        put.lease = lease(dice);
    }
    if dice.one_in(12) {
        put.value = Default::default();
        put.ignore_value = true;
    }
    if dice.one_in(12) {
        put.lease = 0;
        put.ignore_lease = true;
    }
    put
}

fn delete(dice: &mut Dice) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: key(dice).into(),
        range_end: end(dice).into(),
        prev_kv: dice.one_in(3),
    }
}

fn range(dice: &mut Dice, known: &Known) -> pb::RangeRequest {
    pb::RangeRequest {
        key: key(dice).into(),
        range_end: end(dice).into(),
        limit: dice.pick(&[0, 1, 2, -1]),
        revision: if dice.one_in(4) {
            dice.revision(known.revision) as i64
        } else {
            0
        },
        sort_order: dice.below(4) as i32,
        sort_target: dice.below(6) as i32,
        count_only: dice.one_in(4),
        keys_only: dice.one_in(4),
        ..Default::default()
    }
}

fn compare(dice: &mut Dice, known: &Known) -> pb::Compare {
    use pb::compare::TargetUnion;
    let number = dice.revision(known.revision) as i64;
    let union = match dice.below(6) {
        0 => TargetUnion::Version(number),
        1 => TargetUnion::CreateRevision(number),
        2 => TargetUnion::ModRevision(number),
        3 => TargetUnion::Value(dice.bytes(100).into()),
        _ => TargetUnion::Lease(lease(dice)),
    };
    pb::Compare {
        result: dice.below(4) as i32,
        target: dice.below(5) as i32,
        key: key(dice).into(),
        range_end: end(dice).into(),
        target_union: (!dice.one_in(10)).then_some(union),
    }
}

fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp {
        request: Some(request),
    }
}

/// A transaction with others inside, as deep as said at most.
fn txn(dice: &mut Dice, known: &Known, depth: usize) -> pb::TxnRequest {
    let branch = |dice: &mut Dice| -> Vec<pb::RequestOp> {
        let count = if depth == 1 && dice.one_in(60) {
            128
        } else {
            dice.below(4)
        };
        (0..count)
            .map(|_| match dice.below(if depth > 1 { 9 } else { 6 }) {
                0..3 => op(Request::RequestPut(put(dice))),
                3 => op(Request::RequestDeleteRange(delete(dice))),
                4 | 5 => op(Request::RequestRange(range(dice, known))),
                _ => op(Request::RequestTxn(txn(dice, known, depth - 1))),
            })
            .collect()
    };
    let compares = dice.pick(&[0, 0, 1, 2]);
    pb::TxnRequest {
        compare: (0..compares).map(|_| compare(dice, known)).collect(),
        success: branch(dice),
        failure: branch(dice),
    }
}

/// Transactions in each other's `success` or `failure`, with a put or nothing in the innermost.
fn deep(dice: &mut Dice, known: &Known, depth: usize) -> pb::TxnRequest {
    let mut txn = pb::TxnRequest::default();
    if !dice.one_in(3) {
        let mut put = put(dice);
        put.key = b"deep".to_vec().into();
        (put.ignore_value, put.ignore_lease, put.lease) = (false, false, 0);
        txn.success.push(op(Request::RequestPut(put)));
    }
    for _ in 1..depth {
        let inner = op(Request::RequestTxn(std::mem::take(&mut txn)));
        if dice.one_in(4) {
            let key = b"absent".to_vec().into();
            let target_union = Some(pb::compare::TargetUnion::Version(known.revision as i64 + 1));
            txn.compare.push(pb::Compare {
                key,
                target_union,
                ..Default::default()
            });
            txn.failure.push(inner);
        } else {
            txn.success.push(inner);
        }
    }
    txn
}
