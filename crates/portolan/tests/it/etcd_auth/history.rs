//! A random history, played to two servers call by call.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::calls::{self, Call, USERS};
use super::side::Side;
use crate::etcd_differential::Random;

/// How often an answer of each kind was given: a history in which nobody may do anything compares nothing.
pub type Tally = BTreeMap<&'static str, usize>;

/// Plays it. The first difference ends it.
pub async fn run(
    (real, own): (SocketAddr, SocketAddr),
    seed: u64,
    operations: usize,
) -> Result<Tally, String> {
    let mut sides = [Side::connect(real).await?, Side::connect(own).await?];
    let mut random = Random::new(seed);
    let mut tally = Tally::new();
    for (user, call) in beginning() {
        both(&mut sides, user, &call, &mut tally).await?;
    }
    for number in 0..operations {
        let user = match random.chance(6) {
            true => "nobody",
            false => USERS[random.below(USERS.len())],
        };
        let manages = user == "root" && random.chance(80);
        let call = calls::next(&mut random, manages);
        let said = both(&mut sides, user, &call, &mut tally)
            .await
            .map_err(|why| format!("operation {number} of seed {seed}: {why}"))?;
        // Whoever was refused for a token gets another one, most of the time.
        if said.contains("invalid auth token") && random.chance(70) {
            for password in ["first", "second"] {
                let login = Call::Login(user, password);
                both(&mut sides, user, &login, &mut tally).await?;
            }
        }
        // Streams that a client drops count against a bound that this server has for each connection.
        if number % 1000 == 999 {
            for side in &mut sides {
                side.reconnect().await?;
            }
        }
        // Authentication is not off for long.
        if number % 20 == 0 {
            both(&mut sides, "root", &Call::Enable, &mut tally).await?;
        }
    }
    for kind in [
        "done",
        "permission denied",
        "invalid auth token",
        "user name is empty",
    ] {
        if operations >= 500 && tally.get(kind).copied().unwrap_or_default() < operations / 100 {
            return Err(format!("too few answers of the kind {kind:?}: {tally:?}"));
        }
    }
    Ok(tally)
}

/// What both say to a call.
async fn both(
    sides: &mut [Side; 2],
    user: &'static str,
    call: &Call,
    tally: &mut Tally,
) -> Result<String, String> {
    let [real, own] = sides;
    let (expected, found) = tokio::join!(real.answer(user, call), own.answer(user, call));
    if expected != found {
        return Err(format!(
            "{user} asks {call:?}\n etcd: {expected}\n here: {found}"
        ));
    }
    let kinds = [
        "permission denied",
        "invalid auth token",
        "user name is empty",
    ];
    let kind = kinds.into_iter().find(|kind| expected.contains(kind));
    let kind = kind.unwrap_or(match expected.contains("etcdserver: ") {
        true => "another refusal",
        false => "done",
    });
    *tally.entry(kind).or_default() += 1;
    Ok(expected)
}

/// Users with a role each, before authentication is on. One user never gets a token.
fn beginning() -> Vec<(&'static str, Call)> {
    let mut calls = Vec::new();
    for user in USERS {
        calls.push(Call::UserAdd(user, "first"));
    }
    calls.push(Call::UserGrant("root", "root"));
    for (role, user, kind, key, end) in [
        ("r1", "ann", 0, "a", "d"),
        ("r2", "bob", 2, "c", "e"),
        ("r3", "eve", 1, "e", "\0"),
    ] {
        calls.push(Call::RoleAdd(role));
        calls.push(Call::RoleGrant(role, kind, key.into(), end.into()));
        calls.push(Call::UserGrant(user, role));
    }
    calls.push(Call::Enable);
    for user in ["root", "ann", "bob", "eve"] {
        calls.push(Call::Login(user, "first"));
    }
    calls.into_iter().map(|call| ("root", call)).collect()
}
