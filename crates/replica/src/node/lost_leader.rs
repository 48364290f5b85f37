//! A dead leader is replaced at once: its connections break, everybody sees it, and a majority need not wait until its lease is over.
//!
//! Each server that does not lead holds a question open at the one that does. When the connection breaks and cannot be made again, it asks
//! the others; when with them a majority has lost the leader, the one that has come furthest stands for election. A leader that is merely
//! slow breaks no connection, and is waited for as ever.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use portolan_cluster::forward::Leader;
use portolan_cluster::members::{Request, Response, ask};
use tokio::time::{Instant, sleep, timeout};

use super::members::Members;

/// How long one question is held open.
const HOLDING: Duration = Duration::from_secs(30);
/// How long the leader may take to answer when its connection broke.
const AGAIN: Duration = Duration::from_millis(200);
/// How long the others may take.
const LIMIT: Duration = Duration::from_millis(150);
/// The others may see it a little later.
const LOOK: Duration = Duration::from_millis(15);
/// After this an election by timeout comes anyway.
const TOO_LATE: Duration = Duration::from_millis(1500);

/// Watches the connection to the leader for ever.
pub(crate) async fn watch(members: Arc<Members>) {
    let mut leader = members.leader.clone();
    loop {
        let now = leader.borrow_and_update().clone();
        let Some(now) = now.filter(|now| now.node != members.own.node && !now.address.is_empty())
        else {
            if leader.changed().await.is_err() {
                return;
            }
            continue;
        };
        let transport = members.transport.as_ref();
        let holding = ask(transport, now.node, &now.address, &Request::Hold, HOLDING);
        let held = tokio::select! {
            biased;
            held = holding => held,
            changed = leader.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        match held {
            // It leads no more and we will be told, or nothing happened for a while.
            Ok(_) => sleep(LOOK).await,
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {}
            Err(_) => replace(&members, &now).await,
        }
    }
}

/// The connection broke. Returns when there is another leader, when this one is there again, or when it takes too long.
async fn replace(members: &Members, lost: &Leader) {
    let term = members.raft.status().term;
    let until = Instant::now() + TOO_LATE;
    let current = || {
        let leader = members.leader.borrow().clone();
        leader.as_ref() == Some(lost) && members.raft.status().term == term
    };
    while current() && Instant::now() < until {
        if reaches(members, lost).await {
            members.broken.note(0, 0);
            return;
        }
        members.broken.note(lost.node, term);
        if votes(members, lost, term).await == Some(true) && current() {
            tracing::info!(
                lost = lost.node,
                term,
                "the connections to the leader broke: standing for election"
            );
            if let Err(why) = members.raft.elect().await {
                tracing::debug!(why, "no election");
            }
            let mut leader = members.leader.clone();
            // Another leader, or a look again.
            let _told = timeout(TOO_LATE, leader.changed()).await;
            return;
        }
        sleep(LOOK).await;
    }
    sleep(LOOK).await;
}

async fn reaches(members: &Members, leader: &Leader) -> bool {
    let request = Request::Broken { leader: 0, term: 0 };
    let transport = members.transport.as_ref();
    let answer = ask(transport, leader.node, &leader.address, &request, AGAIN).await;
    match answer {
        Ok(_) => true,
        // Silence is no sign of death.
        Err(error) => error.kind() == std::io::ErrorKind::TimedOut,
    }
}

/// Whether this server should stand: a majority has lost the leader, and nobody of it has come further. None when there is no majority.
async fn votes(members: &Members, lost: &Leader, term: u64) -> Option<bool> {
    let voters: Vec<_> = members
        .raft
        .membership()
        .into_iter()
        .filter(|member| member.voter)
        .collect();
    let own = members.own.node;
    if !voters.iter().any(|member| member.node == own) {
        return Some(false);
    }
    let request = Request::Broken {
        leader: lost.node,
        term,
    };
    let others = voters
        .iter()
        .filter(|member| member.node != own && member.node != lost.node);
    let asking = others.map(|member| async {
        let transport = members.transport.as_ref();
        let answer = ask(transport, member.node, &member.address, &request, LIMIT).await;
        match answer {
            Ok(Response::Broken { broken: true, last }) => Some((last, member.node)),
            _ => None,
        }
    });
    let agreeing: Vec<_> = join_all(asking).await.into_iter().flatten().collect();
    if agreeing.len() + 1 < voters.len() / 2 + 1 {
        return None;
    }
    let last = members.last_entry();
    // The furthest one, of equals the one with the smallest id.
    let first = agreeing
        .iter()
        .all(|(theirs, node)| (last, std::cmp::Reverse(own)) > (*theirs, std::cmp::Reverse(*node)));
    Some(first)
}
