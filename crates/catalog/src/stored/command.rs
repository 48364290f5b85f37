//! Commands, their causes and their operations.

use super::codec::{Damaged, Reader, Stored, Writer};
use crate::command::{
    AdminTarget, Bootstrap, Command, Comparand, Compare, Expect, NewCheck, Op, Put, PutCheck, Read,
    Register, Relation, RestorePart, Target, TreeWrite, Write,
};
use crate::entry::{Cause, Entry, Why};

stored_struct!(Entry { at, cause, command });
stored_struct!(Cause {
    principal,
    protocol,
    peer,
    why
});
stored_enum!(Why {
    0 => Call,
    1 => Silence { since },
    2 => Probe,
    3 => Reaped { check },
    4 => Guard,
    5 => Disconnected,
    6 => Mirror,
    7 => Layout,
    8 => Housekeeping,
    9 => Start,
});

stored_enum!(Command {
    0 => Bootstrap(bootstrap),
    1 => Register(register),
    2 => RegisterSet { lease, service, instances },
    3 => Deregister { target, expect },
    4 => SetAdmin { target, admin, declared },
    5 => Declare { service, spelling, protocol, settings, ephemeral, create_only },
    6 => Forget { service, protocol },
    7 => DeclareNamespace { name, title, description, protocol },
    8 => ForgetNamespace { name, protocol },
    9 => PutNode { node, terms, expect },
    10 => DropNode { name, expect },
    11 => PutCheck(put),
    12 => DropCheck { key, expect },
    13 => Report { check, status, output },
    14 => Grant { lease, terms, session },
    15 => Revoke { lease },
    16 => Lapse { lease, stage, generation },
    17 => Revive { lease },
    18 => Write(write),
    19 => Compact { space, revision },
    20 => Wake { layout },
    21 => SetLayout { layout, state },
    22 => RaiseLevel { level },
    23 => Tree(write),
    24 => Retime { lease, terms },
    25 => Restore(part),
});

stored_struct!(Bootstrap {
    node,
    service,
    checks,
    layouts
});
stored_struct!(Register {
    facts,
    terms,
    checks,
    replace_checks,
    expect,
    admin
});
stored_struct!(NewCheck {
    facts,
    status,
    output,
    reported
});
stored_struct!(PutCheck { check, expect });
stored_struct!(RestorePart {
    attempt,
    part,
    last,
    records
});
stored_enum!(Target { 0 => Instance(key), 1 => Endpoint(key) });
stored_enum!(AdminTarget { 0 => Instance(key), 1 => Node(name) });
stored_struct!(Write {
    when,
    then,
    or_else,
    report_all
});
stored_struct!(TreeWrite { who, session, ops });
stored_enum!(Comparand { 0 => Version(v), 1 => Created(v), 2 => Modified(v), 3 => Value(v), 4 => Lease(v) });
stored_enum!(Relation { 0 => Equal, 1 => Greater, 2 => Less, 3 => NotEqual });
stored_struct!(Compare {
    space,
    range,
    relation,
    comparand
});
stored_enum!(Expect { 0 => Any, 1 => Absent, 2 => Present, 3 => Modified(at), 4 => Version(v), 5 => HeldBy(session) });
stored_struct!(Put {
    space,
    key,
    value,
    flags,
    lease,
    keep_value,
    keep_lease,
    quiet,
    expect,
    recognised,
    extension,
    create,
    sequential,
});
stored_struct!(Read {
    space,
    range,
    at,
    limit,
    count_only
});

impl Stored for Op {
    fn put(&self, w: &mut Writer) {
        match self {
            Op::Put(put) => {
                w.byte(0);
                put.put(w);
            }
            Op::Delete {
                space,
                range,
                expect,
            } => {
                w.byte(1);
                space.put(w);
                range.put(w);
                expect.put(w);
            }
            Op::Acquire { put, session } => {
                w.byte(2);
                put.put(w);
                session.put(w);
            }
            Op::Release { put, session } => {
                w.byte(3);
                put.put(w);
                session.put(w);
            }
            Op::Read(read) => {
                w.byte(4);
                read.put(w);
            }
            Op::Check { space, key, expect } => {
                w.byte(5);
                space.put(w);
                key.put(w);
                expect.put(w);
            }
            Op::Nested(write) => {
                w.byte(6);
                w.deeper(|w| write.put(w));
            }
            Op::Command(command) => {
                w.byte(7);
                command.put(w);
            }
            Op::SetAcl { key, acl, version } => {
                w.byte(8);
                key.put(w);
                acl.put(w);
                version.put(w);
            }
        }
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(match r.byte()? {
            0 => Op::Put(Stored::get(r)?),
            1 => Op::Delete {
                space: Stored::get(r)?,
                range: Stored::get(r)?,
                expect: Stored::get(r)?,
            },
            2 => Op::Acquire {
                put: Stored::get(r)?,
                session: Stored::get(r)?,
            },
            3 => Op::Release {
                put: Stored::get(r)?,
                session: Stored::get(r)?,
            },
            4 => Op::Read(Stored::get(r)?),
            5 => Op::Check {
                space: Stored::get(r)?,
                key: Stored::get(r)?,
                expect: Stored::get(r)?,
            },
            6 => Op::Nested(r.deeper(Write::get)?),
            7 => Op::Command(Stored::get(r)?),
            8 => Op::SetAcl {
                key: Stored::get(r)?,
                acl: Stored::get(r)?,
                version: Stored::get(r)?,
            },
            tag => return Err(r.unknown("operation", u64::from(tag))),
        })
    }
}
