//! A stream: requests in, responses out, for as long as the client stays.
//!
//! Invariants
//! - What has not changed is not sent, unless the client asked for it again.
//! - Clusters come before their assignments, and both before the listeners and routes that point there; what is gone is taken away in the
//!   opposite order, and a cluster only after the client has answered for the routes.
//! - A response that was refused is not repeated; the next one differs.
//! - The first change after a pause goes at once; under a steady stream of changes a push holds all of those since the last.
//! - A client that does not read costs one note for each service that it follows: responses are made when the connection takes them.

pub(crate) mod ask;
mod follows;
pub(crate) mod hub;
pub(crate) mod member;
pub(crate) mod subscription;
mod tell;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use portolan_catalog::State;
use portolan_grpc::{Messages, Status};
use portolan_listener::{Action, Caller, Resource as Asked, Response};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use crate::app::App;
use crate::client::Client;
use crate::error::{STOPPED, TOO_MANY_NAMES, TOO_MANY_STREAMS, denied, mistyped};
use crate::kind::Kind;
use crate::wire::discovery;

use ask::{Ask, Form, Wanted};
use follows::{Follows, Named};
use member::{Member, Refusal};
use subscription::Subscription;

/// Opens a stream; `only` is the one kind that it is about, if it is.
pub(crate) async fn open(
    app: Arc<App>,
    caller: Caller,
    messages: Messages,
    form: Form,
    only: Option<Kind>,
) -> Response {
    // What is in it is asked for resource by resource.
    if let Err(refused) = caller.allow(Action::Watch, Asked::Public) {
        return portolan_grpc::unary(Err(denied(&refused)));
    }
    let Some(member) = app.hub.join(caller.peer(), app.settings.streams) else {
        app.figures.limited.inc();
        return portolan_grpc::unary(Err(TOO_MANY_STREAMS));
    };
    app.figures.streams.inc();
    let leaving = caller.clone();
    let stream = Box::new(Stream {
        app,
        draining: Box::pin(async move { leaving.draining().await }),
        caller,
        messages,
        form,
        only,
        member,
        client: None,
        kinds: Default::default(),
        follows: Follows::default(),
        follows_everything: false,
        nonce: 0,
        due: false,
        pushed: None,
        out: VecDeque::new(),
    });
    portolan_grpc::streaming(stream, |mut stream| async move {
        stream.next().await.map(|piece| (piece, stream))
    })
}

struct Stream {
    app: Arc<App>,
    caller: Caller,
    messages: Messages,
    draining: Pin<Box<dyn Future<Output = ()> + Send>>,
    form: Form,
    only: Option<Kind>,
    member: Arc<Member>,
    /// Known from the first request on.
    client: Option<Client>,
    kinds: [Subscription; 4],
    follows: Follows,
    follows_everything: bool,
    nonce: u64,
    /// There is news that was not looked at.
    due: bool,
    /// When news was pushed last.
    pushed: Option<Instant>,
    /// Responses that have not left yet.
    out: VecDeque<Bytes>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.app.figures.streams.dec();
        self.app.figures.names.dec_by(self.names() as i64);
        self.app.hub.leave(&self.member, self.follows.services());
    }
}

impl Stream {
    async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        loop {
            if let Some(frame) = self.out.pop_front() {
                return Some(Ok(frame));
            }
            let now = Instant::now();
            let not_before = self
                .pushed
                .map_or(now, |pushed| pushed + self.app.settings.pause);
            if self.due && not_before <= now {
                self.pushed = Some(now);
                self.push();
                continue;
            }
            tokio::select! {
                asked = ask::next(&mut self.messages, self.form) => match asked {
                    Ok(Some(asked)) => {
                        if let Err(status) = self.take(asked) {
                            return Some(Err(status));
                        }
                    }
                    Ok(None) => return None,
                    Err(status) => return Some(Err(status)),
                },
                () = self.member.woken(), if !self.due => self.due = true,
                () = sleep_until(not_before), if self.due => {}
                () = self.draining.as_mut() => return Some(Err(STOPPED)),
            }
        }
    }

    /// Takes a request in and answers it.
    fn take(&mut self, mut asked: Ask) -> Result<(), Status> {
        if let Some(only) = self.only {
            if asked.type_url.is_empty() {
                only.type_url().clone_into(&mut asked.type_url);
            } else if asked.type_url != only.type_url() {
                return Err(mistyped(&asked.type_url, only.type_url()));
            }
        }
        let Some(kind) = Kind::of(&asked.type_url) else {
            // Ending the stream would take the other kinds along; clients give up waiting by themselves.
            self.app.figures.unknown();
            let kind = &asked.type_url;
            debug!(peer = %self.member.peer, kind, "a type that is not served was asked for over xDS");
            return Ok(());
        };
        if self.client.is_none() {
            let client = Client::of(asked.node.as_ref(), is_for_everything(kind, &asked.wanted));
            let _ = self.member.client.set(client.clone());
            self.client = Some(client);
        }
        let nonce = std::mem::take(&mut asked.nonce);
        let latest = !nonce.is_empty() && nonce == self.kinds[kind as usize].nonce.to_string();
        if !nonce.is_empty() {
            self.hear_answer(kind, latest, asked.error.take());
        }
        if !latest && !nonce.is_empty() && self.form == Form::World {
            // It crossed with a newer response, which the client is about to answer, saying again what it wants.
            self.app.figures.stale.inc();
            return Ok(());
        }
        let before = self.names();
        let turned = self.kinds[kind as usize].want(kind, asked.wanted);
        let names = self.names();
        self.app.figures.names.inc_by(names as i64 - before as i64);
        if names > self.app.settings.names {
            self.app.figures.limited.inc();
            return Err(TOO_MANY_NAMES);
        }
        for name in turned.off {
            let named = (kind, name);
            self.follows.remove(&self.app.hub, &self.member, &named);
        }
        // Followed first, and read afterwards.
        let state = self.app.registry.snapshot();
        for name in turned.on {
            self.follow(&state, &(kind, name));
        }
        self.follow_everything();
        // News waits for its time, however fast a client answers.
        self.settle();
        Ok(())
    }

    /// What a client says to a response.
    fn hear_answer(&mut self, kind: Kind, latest: bool, error: Option<discovery::Status>) {
        self.app.figures.answered(kind, error.is_some(), 1);
        let subscription = &mut self.kinds[kind as usize];
        if latest {
            subscription.answered = true;
        }
        let Some(error) = error else {
            if latest {
                self.member.answered(kind, None);
            }
            return;
        };
        let client = self.client.as_ref();
        warn!(
            peer = %self.member.peer,
            node = client.map_or("", |client| &client.id),
            agent = client.map_or("", |client| &client.agent),
            kind = kind.short(),
            version = subscription.version.0,
            reason = error.message,
            "a client refused what it was sent over xDS, and goes on with what it had"
        );
        let refusal = Refusal {
            version: subscription.version.to_string(),
            reason: error.message,
            at: self.app.registry.now(),
        };
        self.member.answered(kind, Some(refusal));
    }

    /// Names that are asked for, of all kinds.
    fn names(&self) -> usize {
        self.kinds.iter().map(|kind| kind.names.len()).sum()
    }

    fn follow(&mut self, state: &State, named: &Named) {
        let Some(client) = &self.client else { return };
        let (kind, name) = named;
        if let Some(meaning) = self.app.reader.meaning(state, client, *kind, name) {
            self.follows
                .set(&self.app.hub, &self.member, named, meaning);
        }
    }
}

/// Whether a first request is for everything.
fn is_for_everything(kind: Kind, wanted: &Wanted) -> bool {
    let by_name = match wanted {
        Wanted::Exactly(names) => names,
        Wanted::Also { more, .. } => more,
    };
    kind.is_whole() && (by_name.is_empty() || by_name.iter().any(|name| name == "*"))
}
