//! How current the copy is: when a server was last heard of, and what it knew of its leader.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portolan_environment::watch;
use portolan_registry::{Member, Publisher};
use tokio::time::Instant;

use crate::feed::wire;

/// How old an agent's copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    /// Whether a server was reached a short while ago, and knew a leader.
    pub known_leader: bool,
    /// How long ago the copy was known to be all there is; none if it never was since the agent started.
    pub age: Option<Duration>,
}

/// Without an answer for this long, servers count as gone.
const SILENCE: Duration = Duration::from_secs(3);

#[derive(Debug)]
struct Inner {
    /// When the copy was last known to be current, less what the server's own knowledge was old.
    current: Option<Instant>,
    known_leader: bool,
    heard: Option<Instant>,
    /// There was a time when no server could be reached.
    missed: bool,
    /// The members that were told of last.
    members: Vec<Member>,
}

/// What is known of the servers.
#[derive(Debug)]
pub(crate) struct Standing {
    inner: Mutex<Inner>,
    publisher: Publisher,
    /// Whether servers can be reached; changes wake who waits for it.
    reachable: watch::Sender<bool>,
}

impl Standing {
    pub(crate) fn new(publisher: Publisher) -> Standing {
        publisher.set_contact(None);
        Standing {
            publisher,
            inner: Mutex::new(Inner {
                current: None,
                known_leader: false,
                heard: None,
                missed: false,
                members: Vec::new(),
            }),
            reachable: watch::Sender::new(false),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A server answered; `current` if what it answered was all it had. Gives back the members it told of.
    pub(crate) fn heard(&self, standing: wire::Standing, current: bool) -> Vec<Member> {
        let now = Instant::now();
        let contact = standing.contact_ms.map(Duration::from_millis);
        let members: Vec<Member> = standing.members.into_iter().map(Into::into).collect();
        let mut inner = self.inner();
        inner.members.clone_from(&members);
        inner.heard = Some(now);
        inner.known_leader = contact.is_some();
        if let Some(contact) = contact.filter(|_| current) {
            inner.current = inner.current.max(now.checked_sub(contact));
        }
        let age = inner
            .current
            .map(|current| now.saturating_duration_since(current));
        drop(inner);
        self.publisher.set_contact(age);
        self.set(contact.is_some());
        members
    }

    /// No server could be reached.
    pub(crate) fn missed(&self) {
        let mut inner = self.inner();
        inner.known_leader = false;
        inner.missed = true;
        drop(inner);
        self.set(false);
    }

    /// Whether there was a time when no server could be reached.
    pub(crate) fn was_missed(&self) -> bool {
        self.inner().missed
    }

    /// The members that were heard of last, each as long ago as it is by now. Who led counts only while a server says so.
    pub(crate) fn members(&self) -> Vec<Member> {
        let known_leader = self.age().known_leader;
        let inner = self.inner();
        let told = inner.heard.map_or(Duration::ZERO, |heard| heard.elapsed());
        let mut members = inner.members.clone();
        for member in &mut members {
            member.last_contact = member.last_contact.map(|age| age + told);
            member.leader &= known_leader;
        }
        members
    }

    fn set(&self, reachable: bool) {
        self.reachable
            .send_if_modified(|before| std::mem::replace(before, reachable) != reachable);
    }

    /// Whether servers with a leader can be reached, as far as is known.
    pub(crate) fn reachable(&self) -> bool {
        *self.reachable.borrow()
    }

    /// Tells of changes of [`Standing::reachable`].
    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.reachable.subscribe()
    }

    pub(crate) fn age(&self) -> Age {
        let now = Instant::now();
        let inner = self.inner();
        let silent = |heard| now.saturating_duration_since(heard) > SILENCE;
        Age {
            known_leader: inner.known_leader && !inner.heard.is_none_or(silent),
            age: inner
                .current
                .map(|current| now.saturating_duration_since(current)),
        }
    }
}
