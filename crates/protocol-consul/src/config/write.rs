//! Writing config entries.
//!
//! A write changes the mark as well, and holds only if the mark is still what it was when the write was judged: what is judged together
//! cannot be changed apart by somebody else in between.

use super::entries::{Entries, Kept, SPACE, kept, key};
use super::graph;
use crate::error::Failure;
use crate::request::Request;
use crate::server::Server;
use bytes::Bytes;
use portolan_catalog::{Command, Expect, Key, KeyRange, Op, Put, Refusal, Revision, Write};
use serde_json::Value;

const MARK: &str = "config-mark";
/// How often a write is judged anew because somebody else wrote in between.
const TRIES: usize = 16;

/// What a write makes of an entry that is there, or is not. None leaves it as it is.
pub(crate) enum Change {
    Put(Value),
    Drop,
    Nothing,
}

/// Writes one entry: `decide` says what becomes of the present one, and may be asked again.
///
/// # Errors
/// What `decide` refuses; what would make chains that cannot be compiled; 500 when others write all the time.
pub(crate) async fn write(
    server: &Server,
    request: &Request,
    kind: &str,
    name: &str,
    mut decide: impl FnMut(Option<&Kept>) -> Result<Change, Failure>,
) -> Result<(), Failure> {
    let key = key(kind, name);
    for _ in 0..TRIES {
        let state = server.state_with(|_| false).await?;
        let change = decide(kept(&state, &key).as_ref())?;
        let value = match &change {
            Change::Put(value) => Some(value),
            Change::Drop => None,
            Change::Nothing => return Ok(()),
        };
        let entries = Entries::with(&state, &key, value);
        graph::check(&entries, kind, name, value).map_err(Failure::server)?;
        let mark = state.record(SPACE, MARK.as_bytes());
        let seen = mark.map(|record| record.modified);
        drop(state);
        let command = Command::Write(Write {
            then: operations(&key, value, seen)?,
            ..Write::default()
        });
        match server.propose(request, command).await?.outcome {
            Ok(_) => return Ok(()),
            Err(Refusal::Exists | Refusal::Changed(_) | Refusal::NoKey) => {}
            Err(refusal) => return Err(refusal.into()),
        }
    }
    Err(Failure::server(
        "config entries are being changed by others all the time; try again",
    ))
}

fn operations(
    key: &Key,
    value: Option<&Value>,
    seen: Option<Revision>,
) -> Result<Vec<Op>, Failure> {
    let mut mark = Put::new(SPACE, Key::from(MARK), Bytes::new());
    mark.expect = seen.map_or(Expect::Absent, Expect::Modified);
    let change = match value {
        Some(value) => {
            let bytes =
                serde_json::to_vec(value).map_err(|error| Failure::server(error.to_string()))?;
            Op::Put(Box::new(Put::new(SPACE, key.clone(), bytes.into())))
        }
        None => Op::Delete {
            space: SPACE,
            range: KeyRange::One(key.clone()),
            expect: Expect::Any,
        },
    };
    Ok(vec![Op::Put(Box::new(mark)), change])
}
