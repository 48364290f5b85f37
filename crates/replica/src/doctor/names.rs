//! What bytes of the log are about, as far as can be told.

use portolan_catalog::stored;
use portolan_catalog::{AdminTarget, Command, Op, Target};

/// Texts and keys that are told at most.
const TOLD: usize = 20;
/// Letters that make a text of bytes that cannot be read otherwise.
const TEXT: usize = 3;

/// Keys, instances and texts in what was a batch of commands, and how many commands of it can be read.
pub(super) fn of_batch(bytes: &[u8], names: &mut Vec<String>) -> u64 {
    let (readable, damaged) = stored::decode_readable(bytes);
    for entry in &readable {
        name_touched(&entry.command, names);
    }
    if damaged.is_some() {
        texts(bytes, names);
    }
    readable.len() as u64
}

/// Adds what a command is about.
fn name_touched(command: &Command, names: &mut Vec<String>) {
    match command {
        Command::Write(write) => name_written(&mut write.then.iter().chain(&write.or_else), names),
        Command::Tree(write) => name_written(&mut write.ops.iter(), names),
        Command::Register(register) => add(names, register.facts.key.to_string()),
        Command::Deregister { target, .. } => match target {
            Target::Instance(key) => add(names, key.to_string()),
            Target::Endpoint(key) => add(names, format!("{key:?}")),
        },
        Command::SetAdmin { target, .. } => match target {
            AdminTarget::Instance(key) => add(names, key.to_string()),
            AdminTarget::Node(name) => add(names, name.to_string()),
        },
        Command::PutCheck(put) => add(names, format!("{:?}", put.check.facts.key)),
        Command::PutNode { node, .. } => add(names, node.name.to_string()),
        Command::DropNode { name, .. } => add(names, name.to_string()),
        Command::Grant { lease, .. } | Command::Revoke { lease } => {
            add(names, format!("{lease:?}"))
        }
        other => add(names, format!("{other:?}").chars().take(80).collect()),
    }
}

fn name_written(ops: &mut dyn Iterator<Item = &Op>, names: &mut Vec<String>) {
    for op in ops {
        let key = match op {
            Op::Put(put) | Op::Acquire { put, .. } | Op::Release { put, .. } => &put.key,
            Op::Delete { range, .. } => range.start(),
            Op::SetAcl { key, .. } => key,
            Op::Check { .. } | Op::Read(_) => continue,
            Op::Nested(write) => {
                name_written(&mut write.then.iter().chain(&write.or_else), names);
                continue;
            }
            Op::Command(command) => {
                name_touched(command, names);
                continue;
            }
        };
        add(names, String::from_utf8_lossy(key).into_owned());
    }
}

/// Adds the texts that stand in bytes.
pub(super) fn texts(bytes: &[u8], names: &mut Vec<String>) {
    for run in bytes.split(|byte| !(b' '..=b'~').contains(byte)) {
        if run.len() >= TEXT {
            add(
                names,
                String::from_utf8_lossy(run).chars().take(80).collect(),
            );
        }
    }
}

fn add(names: &mut Vec<String>, name: String) {
    if names.len() < TOLD && !names.contains(&name) {
        names.push(name);
    }
}
