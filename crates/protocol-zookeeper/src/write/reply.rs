//! The reply to a write that was decided.

use bytes::Bytes;
use portolan_catalog::{Done, OpDone, Refusal, Settled};

use crate::error::{Code, refused};
use crate::read::stat;
use crate::wire::replies::bare;
use crate::wire::{Opcode, Writer};

/// What a reply is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The result of one operation.
    One(Opcode),
    /// The results of several; where one of them was refused before it was proposed, its place and the code.
    Many(Vec<Opcode>, Option<(usize, Code)>),
}

/// The frame that answers, and whether the session turned out to be over.
pub(crate) fn reply(xid: i32, zxid: i64, wanted: &Wanted, settled: &Settled) -> Bytes {
    let failed = match &settled.outcome {
        Ok(Done::Written(written)) => {
            let mut writer = Writer::default();
            writer.header(xid, zxid, 0);
            match wanted {
                Wanted::One(opcode) => {
                    if let [done] = &written.results[..] {
                        result(*opcode, done, &mut writer);
                    }
                }
                Wanted::Many(opcodes, _) => {
                    for (opcode, done) in opcodes.iter().zip(&written.results) {
                        // Only the plain create is answered as such.
                        let shown = match opcode {
                            Opcode::CreateContainer | Opcode::CreateTtl => Opcode::Create2,
                            other => *other,
                        };
                        writer.multi_header(shown as i32, false, 0);
                        result(*opcode, done, &mut writer);
                    }
                    writer.multi_end();
                }
            }
            return writer.finish();
        }
        Ok(_) => (0, Code::SystemError),
        Err(refusal) => refused(refusal),
    };
    match wanted {
        Wanted::Many(opcodes, early) if settled.outcome != Err(Refusal::NoLease) => {
            let (index, code) = match early {
                Some((index, code)) if *index == failed.0 => (*index, *code),
                _ => failed,
            };
            many_failed(xid, zxid, opcodes.len(), index, code)
        }
        Wanted::One(_) | Wanted::Many(..) => bare(xid, zxid, failed.1 as i32),
    }
}

/// The results of a transaction that was not done because of one of its operations.
pub(crate) fn many_failed(xid: i32, zxid: i64, count: usize, failed: usize, code: Code) -> Bytes {
    let mut writer = Writer::default();
    writer.header(xid, zxid, 0);
    for index in 0..count {
        let code = match index.cmp(&failed) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Equal => code as i32,
            std::cmp::Ordering::Greater => Code::RuntimeInconsistency as i32,
        };
        writer.multi_header(-1, false, code);
        writer.int(code);
    }
    writer.multi_end();
    writer.finish()
}

fn result(opcode: Opcode, done: &OpDone, writer: &mut Writer) {
    let OpDone::Put { key, after, .. } = done else {
        return;
    };
    match opcode {
        Opcode::Create => {
            writer.text(&key.znode_path());
        }
        Opcode::Create2 | Opcode::CreateContainer | Opcode::CreateTtl => {
            writer.text(&key.znode_path()).stat(&stat(key, after));
        }
        _ => {
            writer.stat(&stat(key, after));
        }
    }
}
