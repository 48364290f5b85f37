//! What is asked in a random history.

use bytes::Bytes;
use portolan_protocol_etcd::wire::etcdserverpb as pb;
use portolan_protocol_etcd::wire::etcdserverpb::{
    compare::{CompareResult, CompareTarget, TargetUnion},
    request_op::Request as Op,
};

use crate::etcd_differential::Random;

/// Users; the first manages. One of them comes and goes.
pub const USERS: [&str; 5] = ["root", "ann", "bob", "eve", "dan"];
/// Roles besides `root`.
const ROLES: [&str; 4] = ["r1", "r2", "r3", "root"];
const PASSWORDS: [&str; 2] = ["first", "second"];

/// One call.
#[derive(Clone, Debug)]
pub enum Call {
    Range(pb::RangeRequest),
    Put(pb::PutRequest),
    Delete(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compact,
    Watch(pb::WatchCreateRequest),
    Grant(i64),
    Revoke(i64),
    TimeToLive(i64, bool),
    Leases,
    KeepAlive(i64),
    Status,
    Alarms,
    Disarm,
    Hash,
    Members,
    Login(&'static str, &'static str),
    UserAdd(&'static str, &'static str),
    UserDelete(&'static str),
    UserPassword(&'static str, &'static str),
    UserGrant(&'static str, &'static str),
    UserRevoke(&'static str, &'static str),
    UserGet(&'static str),
    UserList,
    RoleAdd(&'static str),
    RoleDelete(&'static str),
    RoleGrant(&'static str, i32, Bytes, Bytes),
    RoleRevoke(&'static str, Bytes, Bytes),
    RoleGet(&'static str),
    RoleList,
    AuthStatus,
    Enable,
    Disable,
}

fn one<const N: usize>(random: &mut Random, of: [&'static str; N]) -> &'static str {
    of[random.below(N)]
}

/// A key of few.
fn key(random: &mut Random) -> Bytes {
    let first = *random.pick(b"abcdef");
    match random.below(3) {
        0 => Bytes::copy_from_slice(&[first]),
        _ => Bytes::copy_from_slice(&[first, *random.pick(b"123")]),
    }
}

/// One key, an interval, all from a key on. What etcd says of who may read an empty interval depends on the shape of its tree of
/// permissions, so none is asked for.
fn range(random: &mut Random) -> (Bytes, Bytes) {
    let (key, end) = any_range(random);
    match end.is_empty() || key < end || end[..] == *b"\0" {
        true => (key, end),
        false => (key, Bytes::new()),
    }
}

/// As [`range`], with intervals that are empty, which permissions must not have.
fn any_range(random: &mut Random) -> (Bytes, Bytes) {
    let from = key(random);
    let end = match random.below(10) {
        0..5 => Bytes::new(),
        5 => Bytes::from_static(b"\0"),
        6 => Bytes::copy_from_slice(&[from[0] + 1]),
        _ => key(random),
    };
    (from, end)
}

fn put(random: &mut Random) -> pb::PutRequest {
    pb::PutRequest {
        key: key(random),
        value: Bytes::copy_from_slice(&[*random.pick(b"xyz")]),
        lease: if random.chance(20) {
            random.within(1, 4)
        } else {
            0
        },
        prev_kv: random.chance(30),
        ..Default::default()
    }
}

fn read(random: &mut Random) -> pb::RangeRequest {
    let (key, range_end) = range(random);
    pb::RangeRequest {
        key,
        range_end,
        serializable: random.chance(30),
        limit: if random.chance(20) { 2 } else { 0 },
        ..Default::default()
    }
}

fn delete(random: &mut Random) -> pb::DeleteRangeRequest {
    let (key, range_end) = range(random);
    pb::DeleteRangeRequest {
        key,
        range_end,
        prev_kv: random.chance(30),
    }
}

fn txn(random: &mut Random, depth: usize) -> pb::TxnRequest {
    let compare = |random: &mut Random| {
        let (key, range_end) = range(random);
        pb::Compare {
            result: CompareResult::Greater as i32,
            target: CompareTarget::Version as i32,
            key,
            range_end,
            target_union: Some(TargetUnion::Version(0)),
        }
    };
    let op = |random: &mut Random| pb::RequestOp {
        request: Some(match random.below(if depth == 0 { 3 } else { 4 }) {
            0 => Op::RequestRange(read(random)),
            1 => Op::RequestPut(put(random)),
            2 => Op::RequestDeleteRange(delete(random)),
            _ => Op::RequestTxn(txn(random, depth - 1)),
        }),
    };
    let ops = |random: &mut Random| (0..random.below(3)).map(|_| op(random)).collect();
    let compare = (0..random.below(3)).map(|_| compare(random)).collect();
    let (success, failure) = (ops(random), ops(random));
    pb::TxnRequest {
        compare,
        success,
        failure,
    }
}

/// The next call. What manages is asked for seldom by whoever may not, and often enough that rights change all the time.
pub fn next(random: &mut Random, manages: bool) -> Call {
    if !manages || random.chance(25) {
        return ordinary(random);
    }
    let user = USERS[1 + random.below(USERS.len() - 1)];
    let role = one(random, ROLES);
    match random.below(100) {
        0..3 => Call::UserAdd(user, one(random, PASSWORDS)),
        3..6 => Call::UserDelete(user),
        6..8 => Call::UserPassword(user, one(random, PASSWORDS)),
        8..28 => Call::UserGrant(user, role),
        28..40 => Call::UserRevoke(one(random, USERS), role),
        40..45 => Call::RoleAdd(role),
        45..48 => Call::RoleDelete(role),
        48..78 => {
            let (key, end) = any_range(random);
            Call::RoleGrant(role, random.within(0, 2) as i32, key, end)
        }
        78..88 => {
            let (key, end) = range(random);
            Call::RoleRevoke(role, key, end)
        }
        88..92 => Call::UserGet(one(random, USERS)),
        92..96 => Call::RoleGet(role),
        96 => Call::UserList,
        97 => Call::RoleList,
        98 if random.chance(15) => Call::Disable,
        _ => Call::Enable,
    }
}

fn ordinary(random: &mut Random) -> Call {
    let lease = random.within(1, 4);
    match random.below(100) {
        0..25 => Call::Range(read(random)),
        25..45 => Call::Put(put(random)),
        45..52 => Call::Delete(delete(random)),
        52..67 => Call::Txn(txn(random, 2)),
        67..71 => {
            let (key, range_end) = range(random);
            Call::Watch(pb::WatchCreateRequest {
                key,
                range_end,
                ..Default::default()
            })
        }
        71..74 => Call::Grant(lease),
        74..76 => Call::Revoke(lease),
        76..79 => Call::TimeToLive(lease, random.chance(70)),
        79..81 => Call::Leases,
        81..84 => Call::KeepAlive(lease),
        84 => Call::Compact,
        85 => Call::Status,
        86 => Call::Alarms,
        87 => Call::Disarm,
        88 => Call::Hash,
        89 => Call::Members,
        90..92 => Call::UserGet(one(random, USERS)),
        92..94 => Call::RoleGet(one(random, ROLES)),
        94 => Call::UserList,
        95 => Call::UserGrant(one(random, USERS), one(random, ROLES)),
        96 => Call::AuthStatus,
        _ => Call::Login(one(random, USERS), one(random, PASSWORDS)),
    }
}
