//! What is owned, as the data directory keeps it: the commands that would make it, behind a magic and before a checksum.
//!
//! ```text
//! magic "PORTOWND" · version u8 · length u32 of the node's name · name · length u32 and bytes of a batch of entries · length u32 and
//! bytes of a batch of removals · crc32c u32 of all before
//! ```

use std::io;
use std::sync::Arc;

use portolan_catalog::stored::{self, LEVEL};
use portolan_catalog::{
    AdminTarget, Cause, Check, Command, Entry, NewCheck, NodeName, PutCheck, Register, Revision,
    Target, Timestamp, Why,
};

use super::{Owned, OwnedInstance};

const MAGIC: &[u8; 8] = b"PORTOWND";
const VERSION: u8 = 1;

/// The bytes of the file.
///
/// # Errors
/// When something is owned that is too long to be read again; such a thing is not accepted in the first place.
pub(crate) fn encode(owned: &Owned) -> io::Result<Vec<u8>> {
    let (mut kept, mut removed) = (Vec::new(), Vec::new());
    for instance in owned.instances.values() {
        let mut register = Register::new((*instance.facts).clone());
        register.admin.clone_from(&instance.admin);
        put(Command::Register(Box::new(register)), &mut kept)?;
    }
    for check in owned.checks.values() {
        let check = NewCheck {
            facts: check.facts.clone(),
            status: check.status,
            output: check.output.clone(),
            reported: check.reported,
        };
        let check = PutCheck {
            check,
            expect: None,
        };
        put(Command::PutCheck(Box::new(check)), &mut kept)?;
    }
    for key in &owned.administered {
        let target = AdminTarget::Instance(key.clone());
        put_admin(target, None, &mut kept)?;
    }
    if let Some(admin) = &owned.node_admin {
        let target = AdminTarget::Node(owned.node.clone());
        put_admin(target, admin.clone(), &mut kept)?;
    }
    for key in &owned.gone_instances {
        let target = Target::Instance(key.clone());
        let expect = None;
        put(Command::Deregister { target, expect }, &mut removed)?;
    }
    for key in &owned.gone_checks {
        let (key, expect) = (key.clone(), None);
        put(Command::DropCheck { key, expect }, &mut removed)?;
    }
    let mut bytes = MAGIC.to_vec();
    bytes.push(VERSION);
    for part in [owned.node.as_str().as_bytes(), &kept, &removed] {
        let length = u32::try_from(part.len())
            .map_err(|_| io::Error::other("more is owned than a file can hold"))?;
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(part);
    }
    let sum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    Ok(bytes)
}

fn put_admin(
    target: AdminTarget,
    admin: Option<Arc<portolan_catalog::Admin>>,
    batch: &mut Vec<u8>,
) -> io::Result<()> {
    let command = Command::SetAdmin {
        target,
        admin,
        declared: None,
    };
    put(command, batch)
}

fn put(command: Command, batch: &mut Vec<u8>) -> io::Result<()> {
    let entry = Entry {
        at: Timestamp::default(),
        cause: Arc::new(Cause::own(Why::Start)),
        command,
    };
    stored::encode_entry(&entry, LEVEL, batch)
        .map_err(|refusal| io::Error::other(format!("it cannot be written down: {refusal:?}")))
}

/// What a file says is owned.
///
/// # Errors
/// When the bytes are not such a file, whole and sound.
pub(crate) fn decode(bytes: &[u8]) -> io::Result<Owned> {
    let damaged = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let (body, sum) = bytes
        .split_last_chunk::<4>()
        .ok_or_else(|| damaged("it is too short"))?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*sum) {
        return Err(damaged("its checksum does not match"));
    }
    let mut rest = body
        .strip_prefix(MAGIC)
        .ok_or_else(|| damaged("it is another kind of file"))?;
    match rest.split_first() {
        Some((&VERSION, after)) => rest = after,
        _ => return Err(damaged("it was written by a later version")),
    }
    let mut parts = [&[][..]; 3];
    for part in &mut parts {
        let (length, after) = rest
            .split_first_chunk::<4>()
            .ok_or_else(|| damaged("it ends too early"))?;
        (*part, rest) = after
            .split_at_checked(u32::from_le_bytes(*length) as usize)
            .ok_or_else(|| damaged("it ends too early"))?;
    }
    let node = std::str::from_utf8(parts[0]).map_err(|_| damaged("the node's name is no text"))?;
    let mut owned = Owned::new(NodeName::new(node));
    for part in &parts[1..] {
        let entries = stored::decode_entries(part).map_err(|error| damaged(&error.to_string()))?;
        for entry in entries {
            take(&mut owned, entry.command).ok_or_else(|| damaged("it holds something else"))?;
        }
    }
    Ok(owned)
}

fn take(owned: &mut Owned, command: Command) -> Option<()> {
    match command {
        Command::Register(register) => {
            let instance = OwnedInstance {
                facts: register.facts.clone(),
                admin: register.admin,
            };
            owned.instances.insert(register.facts.key.clone(), instance);
        }
        Command::PutCheck(put) => {
            let check = Check {
                facts: put.check.facts,
                status: put.check.status,
                reported: put.check.reported,
                since: Timestamp::default(),
                output: put.check.output,
                created: Revision(0),
                modified: Revision(0),
            };
            owned.checks.insert(check.key.clone(), Arc::new(check));
        }
        Command::SetAdmin {
            target: AdminTarget::Instance(key),
            ..
        } => {
            owned.administered.insert(key);
        }
        Command::SetAdmin {
            target: AdminTarget::Node(_),
            admin,
            ..
        } => owned.node_admin = Some(admin),
        Command::Deregister {
            target: Target::Instance(key),
            ..
        } => {
            owned.gone_instances.insert(key);
        }
        Command::DropCheck { key, .. } => {
            owned.gone_checks.insert(key);
        }
        _ => return None,
    }
    Some(())
}
