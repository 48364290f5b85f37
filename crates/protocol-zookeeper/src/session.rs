//! Sessions: leases of the catalog, with a password that every server can check.

use std::time::Duration;

use bytes::Bytes;
use portolan_catalog::{
    Cause, Command, Done, Expect, Key, Keyspace, LeaseId, Op, Put, Refusal, Terms, Why, Write,
};
use portolan_registry::{Registry, Renewed, Unavailable};
use sha2::{Digest, Sha256};

use crate::read::FOREIGN;
use crate::wire::Connect;

/// ZooKeeper's `tickTime`, ms.
pub(crate) const TICK_MS: i32 = 2000;
/// Where the secret of the cluster's passwords is kept.
const SECRET: &str = "zookeeper/session-secret";

/// What a client gets: the least is two ticks, the most twenty.
pub(crate) fn negotiated(asked: i32) -> i32 {
    asked.clamp(2 * TICK_MS, 20 * TICK_MS)
}

/// A session that a connection may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) id: i64,
    pub(crate) timeout: i32,
    pub(crate) password: [u8; 16],
}

/// What became of a wish for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// It is there.
    Granted(Session),
    /// There is no such session, or the password is not its.
    Over,
}

/// The lease of a session.
pub(crate) fn lease(id: i64) -> LeaseId {
    LeaseId::ZooKeeper(id)
}

/// The secret, made when there is none yet.
async fn secret(registry: &Registry) -> Result<Bytes, Unavailable> {
    let key = Key::from(SECRET);
    let known = |registry: &Registry| {
        registry.read(|state| {
            let record = state.record(Keyspace::Settings, &key)?;
            record.value.clone()
        })
    };
    if let Some(secret) = known(registry) {
        return Ok(secret);
    }
    let fresh: [u8; 32] = portolan_environment::random_bytes();
    let put = Put {
        expect: Expect::Absent,
        ..Put::new(
            Keyspace::Settings,
            key.clone(),
            Bytes::copy_from_slice(&fresh),
        )
    };
    let command = Command::Write(Write::one(Op::Put(Box::new(put))));
    // Whoever was first has made it.
    registry.propose(Cause::own(Why::Start), command).await?;
    known(registry).ok_or(Unavailable::NoLeader)
}

fn password(secret: &[u8], id: i64) -> [u8; 16] {
    let digest = Sha256::new()
        .chain_update(secret)
        .chain_update(id.to_be_bytes())
        .finalize();
    let mut password = [0; 16];
    password.copy_from_slice(&digest[..16]);
    password
}

/// Whether two passwords are equal, in a time that does not tell where they differ.
fn equal(given: &[u8], right: &[u8; 16]) -> bool {
    let differences = given.iter().zip(right).fold(0, |d, (a, b)| d | (a ^ b));
    given.len() == right.len() && differences == 0
}

/// A session for a client that has just connected: a new one, or the one it had.
pub(crate) async fn take_up(
    registry: &Registry,
    cause: std::sync::Arc<Cause>,
    connect: &Connect,
) -> Result<Wish, Unavailable> {
    let timeout = negotiated(connect.timeout);
    let secret = secret(registry).await?;
    if connect.session != 0 {
        return again(registry, cause, connect, timeout, &secret).await;
    }
    loop {
        // Positive, never zero, and never the one that stands for other protocols.
        let id = (portolan_environment::random_u64() >> 8 | 1 << 56) as i64;
        debug_assert_ne!(id, FOREIGN);
        let command = Command::Grant {
            lease: lease(id),
            terms: Some(terms(timeout)),
            session: None,
        };
        let settled = registry.propose(cause.clone(), command).await?;
        match settled.outcome {
            Ok(Done::Granted { .. }) => {
                return Ok(Wish::Granted(Session {
                    id,
                    timeout,
                    password: password(&secret, id),
                }));
            }
            Err(Refusal::LeaseExists) => {}
            _ => return Err(Unavailable::Busy),
        }
    }
}

/// The password is looked at before anything else: whoever only knows an id changes nothing.
async fn again(
    registry: &Registry,
    cause: std::sync::Arc<Cause>,
    connect: &Connect,
    timeout: i32,
    secret: &[u8],
) -> Result<Wish, Unavailable> {
    let right = password(secret, connect.session);
    if !equal(&connect.password, &right) {
        return Ok(Wish::Over);
    }
    let lease = lease(connect.session);
    let state = registry.linearized().await?;
    let Some(present) = state.lease(&lease).map(|lease| lease.terms.clone()) else {
        return Ok(Wish::Over);
    };
    if present != terms(timeout) {
        let command = Command::Retime {
            lease,
            terms: terms(timeout),
        };
        let settled = registry.propose(cause, command).await?;
        if settled.outcome.is_err() {
            return Ok(Wish::Over);
        }
    } else if registry.renew(&lease).await? == Renewed::Unknown {
        return Ok(Wish::Over);
    }
    Ok(Wish::Granted(Session {
        id: connect.session,
        timeout,
        password: right,
    }))
}

/// Strictly the timeout, and no guard: whoever holds a lock by an ephemeral must be able to count on its end.
fn terms(timeout: i32) -> Terms {
    Terms::strict(u64::from(timeout.unsigned_abs()))
}

/// How long a connection may be silent before somebody looks whether its session is still there.
pub(crate) fn patience(timeout: i32) -> Duration {
    Duration::from_millis(u64::from(timeout.unsigned_abs()) + 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_between_two_ticks_and_twenty() {
        let rows = [
            (i32::MIN, 4000),
            (-1, 4000),
            (0, 4000),
            (4000, 4000),
            (10_000, 10_000),
            (40_000, 40_000),
            (i32::MAX, 40_000),
        ];
        for (asked, got) in rows {
            assert_eq!(negotiated(asked), got, "{asked}");
        }
    }

    #[test]
    fn a_password_is_of_its_session_and_cluster() {
        let one = password(b"secret", 1);
        assert_ne!(one, password(b"secret", 2));
        assert_ne!(one, password(b"other", 1));
        assert!(equal(&one, &one));
        assert!(!equal(&one[..15], &one));
        assert!(!equal(&[0; 16], &one));
        assert!(!equal(&[], &one));
    }
}
