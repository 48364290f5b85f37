//! `/v1/kv/*`: the key-value store.

use crate::error::Failure;
use crate::read::Shown;
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::watch::Topic;
use crate::wire::{KvPair, Params};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use percent_encoding::percent_decode_str;
use portolan_catalog::{
    Command, Expect, Key, KeyRange, Keyspace, Op, Put, Record, Refusal, Revision, SessionId, State,
    Write, layout,
};
use portolan_listener::{Action, BodyError, Resource};
use std::borrow::Cow;
use std::sync::Arc;

/// Consul's keyspace.
pub(crate) const SPACE: Keyspace = Keyspace::ConsulKv;
/// The largest value, as in Consul.
pub(crate) const VALUE_BYTES: usize = 512 * 1024;

/// The key of a request: the rest of the path, percent-decoded once and otherwise as it came.
fn key_of(request: &Request) -> Result<Vec<u8>, Failure> {
    let key: Vec<u8> = percent_decode_str(request.raw("key")).collect();
    if let Some(why) = refused_key(&key) {
        return Err(Failure::bad(format!("Invalid key name: {why}")));
    }
    Ok(key)
}

/// Why a key is not taken, if so: path traversal, and spaces nobody sees.
pub(crate) fn refused_key(key: &[u8]) -> Option<&'static str> {
    if key
        .split(|byte| *byte == b'/')
        .any(|segment| segment == b"..")
    {
        return Some("a segment is \"..\"");
    }
    if key.first() == Some(&b' ') || key.last() == Some(&b' ') {
        return Some("it begins or ends with a space");
    }
    std::str::from_utf8(key)
        .is_err()
        .then_some("it is not UTF-8")
}

fn range_of(key: &[u8], recurse: bool) -> KeyRange {
    if recurse {
        KeyRange::prefix(key)
    } else {
        KeyRange::One(Key::from(key))
    }
}

/// A record as a pair; `value` false leaves the value null, as transactions show writes.
pub(crate) fn pair<'a>(key: &'a [u8], record: &Record, value: bool) -> KvPair<'a> {
    let bytes = record
        .value
        .as_ref()
        .filter(|bytes| value && !bytes.is_empty());
    KvPair {
        lock_index: record.lock.as_ref().map_or(0, |lock| lock.index),
        key: String::from_utf8_lossy(key),
        flags: record.flags,
        value: bytes.map(|bytes| STANDARD.encode(bytes)),
        session: record.holder().map(|session| session.to_string()),
        create_index: record.created.0,
        modify_index: record.modified.0,
    }
}

/// GET /v1/kv/:key
pub(crate) async fn get(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let key = key_of(&request)?;
    let params = request.params();
    let (recurse, keys) = (params.has("recurse"), params.has("keys"));
    let wide = recurse || keys;
    if wide {
        request.listed()?;
    } else {
        request.allow(
            Action::Read,
            Resource::Record {
                keyspace: SPACE.as_str(),
                key: &key,
            },
        )?;
        if key.is_empty() {
            return Err(Failure::bad("Missing key name"));
        }
    }
    let raw = params.has("raw");
    let separator = match params.get("separator") {
        "" => params.get("seperator").to_owned(),
        text => text.to_owned(),
    };
    let range = range_of(&key, wide);
    server
        .watched(&request, &Topic::Records(SPACE, range.clone()), |shown| {
            let state = shown.state;
            if keys {
                return list_keys(shown, &range, &key, &separator);
            }
            if recurse {
                let pairs: Vec<_> = state
                    .range(SPACE, &range)
                    .filter(|(key, _)| shown.sees(of_key(key)))
                    .map(|(key, record)| pair(key, record, true))
                    .collect();
                return if pairs.is_empty() {
                    Ok(absent())
                } else {
                    Reply::json(&pairs)
                };
            }
            // What was allowed when the call began may not be any more.
            request.allow(Action::Read, of_key(&key))?;
            let Some(record) = state.record(SPACE, &key) else {
                return Ok(absent());
            };
            if raw {
                return Ok(raw_value(record.bytes()));
            }
            Reply::json(&[pair(&key, record, true)])
        })
        .await
}

/// The resource of a key.
pub(crate) fn of_key(key: &[u8]) -> Resource<'_> {
    Resource::Record {
        keyspace: SPACE.as_str(),
        key,
    }
}

/// 404 without a word, which is how clients know that a key is not there.
fn absent() -> Reply {
    Reply::empty().status(StatusCode::NOT_FOUND)
}

/// The bytes themselves, so labelled that no browser runs them.
fn raw_value(value: Bytes) -> Reply {
    let mut reply = Reply::empty()
        .header(CONTENT_TYPE, HeaderValue::from_static("text/plain"))
        .header(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    reply.body = value;
    reply
}

/// The keys under a prefix, each group up to and including the first separator after the prefix once.
fn list_keys(
    shown: Shown<'_>,
    range: &KeyRange,
    prefix: &[u8],
    separator: &str,
) -> Result<Reply, Failure> {
    let mut keys: Vec<Cow<'_, str>> = Vec::new();
    for (key, _) in shown.state.range(SPACE, range) {
        if !shown.sees(of_key(key)) {
            continue;
        }
        let shown: &[u8] = match find(&key[prefix.len()..], separator.as_bytes()) {
            Some(at) => &key[..prefix.len() + at + separator.len()],
            None => key,
        };
        let shown = String::from_utf8_lossy(shown);
        if keys.last() != Some(&shown) {
            keys.push(shown);
        }
    }
    if keys.is_empty() && !prefix.is_empty() {
        Ok(absent())
    } else {
        Reply::json(&keys)
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        None
    } else {
        text.windows(part.len()).position(|window| window == part)
    }
}

/// PUT /v1/kv/:key
pub(crate) async fn put(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    let key = key_of(&request)?;
    request.allow(
        Action::Write,
        Resource::Record {
            keyspace: SPACE.as_str(),
            key: &key,
        },
    )?;
    if key.is_empty() {
        return Err(Failure::bad("Missing key name"));
    }
    let value = match request.body(VALUE_BYTES).await {
        Ok(value) => value,
        Err(BodyError::TooLarge { .. } | BodyError::UnpacksTooLarge { .. }) => {
            let size = request.announced().unwrap_or(VALUE_BYTES as u64 + 1);
            return Err(Failure::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "Request body({size} bytes) too large, max size: {VALUE_BYTES} bytes. \
                     See https://developer.hashicorp.com/docs/agent/config/config-files#kv_max_value_size."
                ),
            ));
        }
        Err(other) => return Err(other.into()),
    };
    let params = request.params();
    let op = with_instances(&server.snapshot(), put_op(&params, &key, value)?);
    let settled = server
        .propose(&request, Command::Write(Write::one(op)))
        .await?;
    match settled.outcome {
        Ok(_) => Ok(Reply::truth(true)),
        Err(refusal) => refused(refusal),
    }
}

fn put_op(params: &Params<'_>, key: &[u8], value: Bytes) -> Result<Op, Failure> {
    params.at_most_one_of(&["cas", "acquire", "release"])?;
    // Kept bytes must not keep a read buffer alive.
    let mut put = Put::new(SPACE, Key::from(key), Bytes::copy_from_slice(&value));
    put.quiet = true;
    put.flags = params
        .number("flags")
        .map_err(Failure::server)?
        .unwrap_or(0);
    if let Some(index) = params.number("cas").map_err(Failure::server)? {
        put.expect = cas(index);
        return Ok(Op::Put(Box::new(put)));
    }
    if params.has("acquire") {
        return Ok(Op::Acquire {
            session: session(params.get("acquire"))?,
            put: Box::new(put),
        });
    }
    if params.has("release") {
        return Ok(Op::Release {
            session: session(params.get("release"))?,
            put: Box::new(put),
        });
    }
    Ok(Op::Put(Box::new(put)))
}

/// The operation with the instances that layouts of this keyspace see in what it puts.
pub(crate) fn with_instances(state: &State, mut op: Op) -> Op {
    if let Op::Put(put) | Op::Acquire { put, .. } | Op::Release { put, .. } = &mut op {
        let value = put.value.as_deref().unwrap_or_default();
        let found = layout::recognise(state.layouts(), put.space, &put.key, value);
        put.recognised = found
            .into_iter()
            .filter(|(_, facts)| !state.is_own_service(&facts.service))
            .map(|(_, facts)| Arc::new(facts))
            .collect();
    }
    op
}

/// 0 creates only, anything else must be the key's ModifyIndex.
pub(crate) fn cas(index: u64) -> Expect {
    if index == 0 {
        Expect::Absent
    } else {
        Expect::Modified(Revision(index))
    }
}

/// A session id, which need not exist.
fn session(text: &str) -> Result<SessionId, Failure> {
    if text.is_empty() {
        return Err(Failure::server("missing session"));
    }
    SessionId::parse(text).ok_or_else(|| Failure::server(format!("invalid session {text:?}")))
}

/// A refused write is `false`, unless the session itself is wrong.
fn refused(refusal: Refusal) -> Result<Reply, Failure> {
    match refusal {
        Refusal::Changed(_)
        | Refusal::Exists
        | Refusal::NoKey
        | Refusal::Locked
        | Refusal::BadVersion => Ok(Reply::truth(false)),
        Refusal::Ops(mut failed) if !failed.is_empty() => refused(failed.swap_remove(0).1),
        other => Err(other.into()),
    }
}

/// DELETE /v1/kv/:key
pub(crate) async fn delete(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let key = key_of(&request)?;
    let params = request.params();
    let recurse = params.has("recurse");
    if recurse {
        request.allow(
            Action::Write,
            Resource::Prefix {
                keyspace: SPACE.as_str(),
                prefix: &key,
            },
        )?;
    } else {
        request.allow(
            Action::Write,
            Resource::Record {
                keyspace: SPACE.as_str(),
                key: &key,
            },
        )?;
        if key.is_empty() {
            return Err(Failure::bad("Missing key name"));
        }
    }
    params.at_most_one_of(&["recurse", "cas"])?;
    let cas = params.number("cas").map_err(Failure::server)?;
    let expect = cas.map_or(Expect::Any, |index| Expect::Modified(Revision(index)));
    let op = Op::Delete {
        space: SPACE,
        range: range_of(&key, recurse),
        expect,
    };
    match server
        .propose(&request, Command::Write(Write::one(op)))
        .await?
        .outcome
    {
        // A key that is not there is deleted, whatever its index should have been.
        Ok(_) | Err(Refusal::NoKey) => Ok(Reply::truth(true)),
        Err(Refusal::Ops(failed)) if failed.iter().all(|(_, why)| *why == Refusal::NoKey) => {
            Ok(Reply::truth(true))
        }
        Err(refusal) => refused(refusal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_as_they_come_but_for_traversal_and_hidden_spaces() {
        for key in ["a b", "a//b", "a:b", "a/.../b", "\u{e4}.json", "a/"] {
            assert_eq!(refused_key(key.as_bytes()), None, "{key}");
        }
        for key in ["a/../b", "..", " a", "a "] {
            assert!(refused_key(key.as_bytes()).is_some(), "{key}");
        }
        assert!(refused_key(b"\xff").is_some());
    }
}
