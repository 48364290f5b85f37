//! A client that holds leases, one after the other, each with a key that hangs on it: renews for a while, then revokes or falls silent.

use bytes::Bytes;
use portolan_catalog::{Command, Key, Keyspace, LeaseId, Op, Put, Terms, Write};
use portolan_registry::Renewed;

use super::{Desk, Heard, draw, sleep_ms};
use crate::front::{Ask, Told};
use crate::history::{LeaseEvent, LeaseStory};

pub(super) async fn run(desk: Desk, number: u64) {
    let mut server = desk.any_server();
    for epoch in 0.. {
        if desk.world.quiet() {
            return;
        }
        let id = i64::try_from(number * 1_000_000 + epoch).unwrap_or(i64::MAX);
        let mut holder = Holder {
            place: {
                let mut history = desk.world.history();
                history.leases.push(LeaseStory {
                    key: format!("lease/{id}"),
                    events: Vec::new(),
                });
                history.leases.len() - 1
            },
            desk: desk.clone(),
            lease: LeaseId::Etcd(id),
            key: format!("lease/{id}"),
            server,
        };
        holder.hold().await;
        let at = desk.world.now();
        holder.note(LeaseEvent::Left { at });
        server = holder.server;
        sleep_ms(draw(50, 400)).await;
    }
}

struct Holder {
    desk: Desk,
    lease: LeaseId,
    key: String,
    /// Its story's place.
    place: usize,
    server: u64,
}

impl Holder {
    fn note(&self, event: LeaseEvent) {
        if let Some(story) = self.desk.world.history().leases.get_mut(self.place) {
            story.events.push(event);
        }
    }

    async fn hold(&mut self) {
        let ttl_ms = draw(1_500, 6_000);
        let asked = self.desk.world.now();
        let grant = Command::Grant {
            lease: self.lease.clone(),
            terms: Some(Terms::strict(ttl_ms)),
            session: None,
        };
        // A grant whose outcome is unknown is never renewed: the lease lapses, if there is one.
        if !matches!(self.propose(grant).await, Told::Settled(Ok(settled)) if settled.outcome.is_ok())
        {
            return self.move_on().await;
        }
        self.note(LeaseEvent::Granted { asked, ttl_ms });
        let mut put = Put::new(
            Keyspace::Etcd,
            Key::from(self.key.as_str()),
            Bytes::from_static(b"held"),
        );
        put.lease = Some(self.lease.clone());
        let attach = Command::Write(Write::one(Op::Put(Box::new(put))));
        match self.propose(attach).await {
            Told::Settled(Ok(settled)) if settled.outcome.is_ok() => {
                self.note(LeaseEvent::Attached);
            }
            _ => return self.move_on().await,
        }
        // Half of them for as long as clients work.
        let renewals = match draw(0, 1) {
            0 => u64::MAX,
            _ => draw(0, 12),
        };
        for _ in 0..renewals {
            sleep_ms(ttl_ms / 4 + draw(0, ttl_ms / 8)).await;
            if self.desk.world.quiet() {
                return;
            }
            if !self.renew(ttl_ms).await {
                return;
            }
        }
        if draw(0, 2) == 0 {
            self.note(LeaseEvent::Revoked);
            let lease = self.lease.clone();
            let _whatever = self.propose(Command::Revoke { lease }).await;
        }
    }

    /// Renews at whoever does it; false when the lease is given up.
    async fn renew(&mut self, ttl_ms: u64) -> bool {
        let began = self.desk.world.now();
        while self.desk.world.now() < began + ttl_ms && !self.desk.world.quiet() {
            let asked = self.desk.world.now();
            let lease = self.lease.clone();
            match self.desk.ask(self.server, Ask::Renew(lease)).await {
                Heard::Told(Told::Renewed(Ok(Renewed::For(_)))) => {
                    self.note(LeaseEvent::Renewed { asked });
                    return true;
                }
                Heard::Told(Told::Renewed(Ok(Renewed::Unknown))) => {
                    let answered = self.desk.world.now();
                    self.note(LeaseEvent::Gone {
                        asked,
                        answered,
                        server: self.server,
                    });
                    return false;
                }
                _ => self.move_on().await,
            }
        }
        false
    }

    async fn propose(&mut self, command: Command) -> Told {
        for _ in 0..2 * self.desk.servers {
            let heard = self
                .desk
                .ask(self.server, Ask::Propose(Box::new(command.clone())));
            match heard.await {
                Heard::Told(Told::Settled(Err(portolan_registry::Unavailable::NoLeader)))
                | Heard::Told(Told::Refused) => self.move_on().await,
                Heard::Told(told) => return told,
                Heard::Nothing => break,
            }
        }
        Told::Refused
    }

    async fn move_on(&mut self) {
        self.server = self.desk.next_server(self.server);
        sleep_ms(draw(5, 80)).await;
    }
}
