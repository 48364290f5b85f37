//! Transactions: comparisons, and operations nested in one another.

use bytes::Bytes;
use portolan_protocol_etcd::wire::etcdserverpb as pb;

use super::{FIRST_TOKEN, Generator};

impl Generator {
    fn compare(&mut self) -> pb::Compare {
        use pb::compare::TargetUnion;
        let (mut key, mut range_end) = (self.key(), Bytes::new());
        if self.random.chance(15) {
            (key, range_end) = self.interval();
        }
        let target = self.random.below(5) as i32;
        let number = match target {
            0 => self.random.within(0, 4),
            4 => {
                if self.random.chance(50) {
                    0
                } else {
                    self.lease_or_unknown()
                }
            }
            _ => {
                if self.random.chance(40) {
                    0
                } else {
                    self.random.within(self.revision - 40, self.revision)
                }
            }
        };
        let union = match target {
            0 => TargetUnion::Version(number),
            1 => TargetUnion::CreateRevision(number),
            2 => TargetUnion::ModRevision(number),
            3 => TargetUnion::Value(self.value()),
            _ => TargetUnion::Lease(number),
        };
        let mut compare = pb::Compare {
            result: self.random.below(4) as i32,
            target,
            key,
            range_end,
            target_union: Some(union),
        };
        if target == 4 && number >= FIRST_TOKEN {
            // Ids that the servers chose are the same or not; which is greater says nothing.
            compare.result = *self.random.pick(&[0, 3]);
        }
        match self.random.below(100) {
            0..4 => compare.target_union = None,
            // The union need not be the one that the target asks for.
            4..8 => compare.target = self.random.below(5) as i32,
            8..9 => compare.result = 9,
            9..10 => compare.target = 9,
            _ => {}
        }
        compare
    }

    fn ops(&mut self, depth: usize) -> Vec<pb::RequestOp> {
        use pb::request_op::Request as R;
        let many = self.random.below(if depth == 0 { 5 } else { 3 });
        let read_only = self.random.chance(20);
        (0..many)
            .map(|_| {
                let request = match self.random.below(100) {
                    0..35 => R::RequestRange(self.range()),
                    _ if read_only => R::RequestRange(self.range()),
                    35..70 => R::RequestPut(self.put()),
                    70..85 => R::RequestDeleteRange(self.delete()),
                    _ if depth < 3 => R::RequestTxn(self.txn(depth + 1)),
                    _ => R::RequestRange(self.range()),
                };
                pb::RequestOp {
                    request: if self.random.below(400) == 0 {
                        None
                    } else {
                        Some(request)
                    },
                }
            })
            .collect()
    }

    pub(super) fn txn(&mut self, depth: usize) -> pb::TxnRequest {
        let many = self.random.below(if depth == 0 { 4 } else { 2 });
        let mut txn = pb::TxnRequest {
            compare: (0..many).map(|_| self.compare()).collect(),
            success: self.ops(depth),
            failure: self.ops(depth),
        };
        if self.random.below(300) == 0 {
            // Past the limit of 128, or using up what a nested transaction may have.
            let many = *self.random.pick(&[126, 128, 129]);
            txn.compare = (0..many).map(|_| self.compare()).collect();
        }
        if depth == 0 && self.random.chance(12) {
            self.put_and_delete(&mut txn);
        }
        if depth == 0 && deletes(&txn) {
            // etcd 3.7.3 ends with a panic when a put is to keep what the same transaction has deleted.
            keep_nothing(&mut txn);
        }
        txn
    }

    /// Adds a put and deletes of one key where etcd does not look for such pairs: deletes without an end, and nested transactions.
    fn put_and_delete(&mut self, txn: &mut pb::TxnRequest) {
        use pb::request_op::Request as R;
        let endless = self.random.chance(50);
        let key = if endless {
            Bytes::from_static(if self.random.chance(50) {
                b"\xff"
            } else {
                b"\xff\xff"
            })
        } else {
            self.key()
        };
        let put = pb::PutRequest {
            key: key.clone(),
            ..self.put()
        };
        let ops = [
            R::RequestDeleteRange(self.delete_of(&key, endless)),
            R::RequestPut(put),
            R::RequestRange(self.range()),
            R::RequestDeleteRange(self.delete_of(&key, endless)),
        ];
        let first = usize::from(!endless || self.random.chance(50));
        for op in &ops[first..] {
            let mut op = pb::RequestOp {
                request: Some(op.clone()),
            };
            if !endless || self.random.chance(30) {
                let nested = pb::TxnRequest {
                    success: vec![op],
                    ..Default::default()
                };
                op = pb::RequestOp {
                    request: Some(R::RequestTxn(nested)),
                };
            }
            txn.success.push(op.clone());
            txn.failure.push(op);
        }
    }

    fn delete_of(&mut self, key: &Bytes, endless: bool) -> pb::DeleteRangeRequest {
        pb::DeleteRangeRequest {
            key: key.clone(),
            range_end: Bytes::from_static(if endless { b"\0" } else { b"" }),
            prev_kv: self.random.chance(40),
        }
    }
}

/// Whether something is deleted at any depth.
fn deletes(txn: &pb::TxnRequest) -> bool {
    use pb::request_op::Request as R;
    txn.success
        .iter()
        .chain(&txn.failure)
        .any(|op| match &op.request {
            Some(R::RequestDeleteRange(_)) => true,
            Some(R::RequestTxn(txn)) => deletes(txn),
            _ => false,
        })
}

/// Lets no put keep a value or a lease.
fn keep_nothing(txn: &mut pb::TxnRequest) {
    use pb::request_op::Request as R;
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        match &mut op.request {
            Some(R::RequestPut(put)) => (put.ignore_value, put.ignore_lease) = (false, false),
            Some(R::RequestTxn(txn)) => keep_nothing(txn),
            _ => {}
        }
    }
}
