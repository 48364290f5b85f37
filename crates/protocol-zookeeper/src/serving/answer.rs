//! One request after the other: what is done for it, and its reply.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use portolan_catalog::{Cause, Command, Op, Revision, State, TreeWrite, Why};
use portolan_listener::{Busy, Caller};
use portolan_registry::{Renewed, Unavailable};
use tokio::time::Instant;

use super::pending::{InFlight, Pending};
use super::renewal::Renewal;
use crate::acl;
use crate::app::App;
use crate::connection::Connection;
use crate::error::{Code, Undecided};
use crate::path;
use crate::read::{self, zxid};
use crate::routes::{node, of, touched};
use crate::session;
use crate::watch::{Kind, Table};
use crate::wire::replies::{Event, bare, notification};
use crate::wire::{Header, Lists, Opcode, Reader, Request, Writer};
use crate::write::{self, Asking, Wanted};

/// Whether the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Go,
    Close,
}

/// The requests of one connection.
pub(super) struct Answering {
    pub(super) app: Arc<App>,
    pub(super) connection: Arc<Connection>,
    pub(super) caller: Caller,
    cause: Arc<Cause>,
    renewal: Renewal,
}

impl Answering {
    pub(super) fn new(app: Arc<App>, connection: Arc<Connection>, caller: Caller) -> Answering {
        Answering {
            cause: caller.call_cause(),
            renewal: Renewal::default(),
            app,
            connection,
            caller,
        }
    }

    /// Takes one request.
    pub(super) async fn take(&mut self, frame: Bytes, pending: &mut Pending, busy: Busy) -> Next {
        let begun = Instant::now();
        let mut reader = Reader::new(&frame);
        let Ok(header) = Header::read(&mut reader) else {
            return Next::Close;
        };
        self.app.counts.received.fetch_add(1, Ordering::Relaxed);
        self.connection
            .counts
            .received
            .fetch_add(1, Ordering::Relaxed);
        self.connection.out.has_room().await;
        let opcode = Opcode::of(header.opcode).filter(|opcode| *opcode != Opcode::Check);
        let Some(opcode) = opcode else {
            if self.finish_all(pending).await == Next::Go {
                self.connection
                    .out
                    .reply(bare(header.xid, -1, Code::Unimplemented as i32));
            }
            return Next::Close;
        };
        let xid = header.xid;
        self.connection
            .counts
            .opcode
            .store(opcode as i64, Ordering::Relaxed);
        self.connection
            .counts
            .xid
            .store(i64::from(xid), Ordering::Relaxed);
        if self.touch().await == Next::Close {
            return Next::Close;
        }
        self.caller.renew(self.connection.peer);
        let Ok(request) = Request::read(opcode, &mut reader) else {
            // Nobody is told anything but that.
            let _public = self.caller.allow(crate::routes::action(opcode), node(""));
            self.caller.answered();
            return self
                .answer_with(pending, xid, opcode, begun, Code::Marshalling)
                .await;
        };
        let denied = self.denied(opcode, &request);
        self.caller.answered();
        match (&request, denied) {
            (Request::Multi(all), Some(index)) => {
                let count = all.len();
                if self.finish_all(pending).await == Next::Close {
                    return Next::Close;
                }
                let now = self.app.registry.snapshot().revision();
                let frame = write::many_failed(xid, zxid(now), count, index, Code::NoAuth);
                self.reply(opcode, begun, frame, false);
                return Next::Go;
            }
            (_, Some(_)) => {
                return self
                    .answer_with(pending, xid, opcode, begun, Code::NoAuth)
                    .await;
            }
            (_, None) => {}
        }
        match request {
            Request::Create { .. }
            | Request::Versioned { .. }
            | Request::SetData { .. }
            | Request::SetAcl { .. } => {
                let prepared = self.prepare(&request);
                match prepared {
                    Ok(op) => {
                        let deciding = self.propose(vec![op]);
                        pending
                            .add(InFlight {
                                xid,
                                opcode,
                                wanted: Wanted::One(opcode),
                                begun,
                                deciding,
                                busy,
                            })
                            .await;
                        Next::Go
                    }
                    Err(code) => self.answer_with(pending, xid, opcode, begun, code).await,
                }
            }
            Request::Multi(all) => {
                if all.is_empty() {
                    return self
                        .read(pending, xid, opcode, begun, Request::MultiRead(all))
                        .await;
                }
                let (ops, early) = self.prepare_many(&all);
                let opcodes = all.iter().map(of).collect();
                let deciding = self.propose(ops);
                pending
                    .add(InFlight {
                        xid,
                        opcode,
                        wanted: Wanted::Many(opcodes, early),
                        begun,
                        deciding,
                        busy,
                    })
                    .await;
                Next::Go
            }
            Request::Plain(Opcode::CloseSession) => {
                if self.finish_all(pending).await == Next::Close {
                    return Next::Close;
                }
                self.close_session(xid, begun).await
            }
            // Members are not changed through this protocol.
            Request::Plain(Opcode::Reconfig) => {
                self.answer_with(pending, xid, opcode, begun, Code::Unimplemented)
                    .await
            }
            Request::Auth {
                scheme,
                credentials,
            } => {
                if self.finish_all(pending).await == Next::Close {
                    return Next::Close;
                }
                let peer = self.connection.peer;
                let certificate = self.connection.certificate.as_ref();
                match acl::authenticate(&scheme, &credentials, peer, certificate) {
                    Some(identity) => {
                        self.connection.is_also(identity);
                        self.reply(opcode, begun, bare(xid, 0, 0), true);
                        Next::Go
                    }
                    None => {
                        let code = Code::AuthFailed as i32;
                        self.reply(opcode, begun, bare(xid, 0, code), false);
                        Next::Close
                    }
                }
            }
            Request::Watch { .. } | Request::SetWatches { .. } => {
                self.watch(pending, xid, opcode, begun, request).await
            }
            Request::Read { .. }
            | Request::OfPath { .. }
            | Request::MultiRead(_)
            | Request::Plain(_) => self.read(pending, xid, opcode, begun, request).await,
        }
    }

    /// Any request keeps the session. One that is over has no connection any more. Where another server decides, reads do not wait for it.
    async fn touch(&self) -> Next {
        let lease = session::lease(self.connection.session);
        let registry = &self.app.registry;
        match registry.renew_here(&lease).await {
            Ok(Renewed::Unknown) => Next::Close,
            Ok(Renewed::For(_)) => Next::Go,
            Err(_) if registry.read(|state| state.lease(&lease).is_none()) => Next::Close,
            Err(_) => {
                self.renewal.want(registry, &self.connection);
                Next::Go
            }
        }
    }

    /// The first thing in a request that the policy does not let the caller do.
    fn denied(&self, opcode: Opcode, request: &Request) -> Option<usize> {
        let touched = touched(opcode, request);
        if touched.is_empty() {
            let own = portolan_listener::Resource::Session("");
            let denied = self.caller.allow(crate::routes::action(opcode), own);
            return denied.is_err().then_some(0);
        }
        // All are asked for: which one is refused must not depend on those before it.
        let answers: Vec<bool> = touched
            .into_iter()
            .map(|(action, path)| self.caller.allow(action, node(path)).is_ok())
            .collect();
        answers.iter().position(|allowed| !allowed)
    }

    fn prepare(&self, request: &Request) -> Result<Op, Code> {
        let who = self.connection.who();
        self.app.registry.read(|state| {
            let asking = Asking {
                state,
                who: &who,
                session: self.connection.session,
            };
            write::prepare(request, &asking)
        })
    }

    /// The operations of a transaction up to the first that cannot be one, and that one's place and code. Something that is always refused
    /// takes its place, so that one before it that fails is still the first.
    fn prepare_many(&self, all: &[Request]) -> (Vec<Op>, Option<(usize, Code)>) {
        let mut ops = Vec::with_capacity(all.len());
        for (index, request) in all.iter().enumerate() {
            match self.prepare(request) {
                Ok(op) => ops.push(op),
                Err(code) => {
                    ops.push(Op::Nested(portolan_catalog::Write::default()));
                    return (ops, Some((index, code)));
                }
            }
        }
        (ops, None)
    }

    fn propose(&self, ops: Vec<Op>) -> super::pending::Deciding {
        let command = Command::Tree(TreeWrite {
            who: Some(self.connection.who()),
            session: Some(self.connection.session),
            ops,
        });
        let (registry, cause) = (self.app.registry.clone(), self.cause.clone());
        self.app.counts.outstanding.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move { registry.propose(cause, command).await })
    }

    /// Answers everything that was asked before.
    async fn finish_all(&self, pending: &mut Pending) -> Next {
        while !pending.is_empty() {
            let (write, settled) = pending.settled().await;
            if self.settle(write, settled).await == Next::Close {
                return Next::Close;
            }
        }
        Next::Go
    }

    /// A write was decided, or not.
    pub(super) async fn settle(
        &self,
        write: InFlight,
        settled: Result<portolan_catalog::Settled, Unavailable>,
    ) -> Next {
        self.app.counts.outstanding.fetch_sub(1, Ordering::Relaxed);
        let InFlight {
            xid,
            opcode,
            wanted,
            begun,
            busy: _busy,
            ..
        } = write;
        match settled {
            Ok(settled) => {
                let revision = settled.revision;
                let frame = write::reply(xid, zxid(revision), &wanted, &settled);
                let is_ok = settled.outcome.is_ok();
                self.reply_after(revision, opcode, begun, frame, is_ok)
                    .await;
                Next::Go
            }
            // It was not done and will not be: the client may go on here.
            Err(Unavailable::Full | Unavailable::Busy) => {
                let now = self.app.registry.snapshot().revision();
                let frame = bare(xid, zxid(now), Code::SystemError as i32);
                self.reply_after(now, opcode, begun, frame, false).await;
                Next::Go
            }
            Err(unavailable) => {
                let Undecided = Undecided::from(unavailable);
                Next::Close
            }
        }
    }

    /// Queues a reply after the events up to its revision; whoever else watches has them queued as well by then.
    async fn reply_after(
        &self,
        revision: Revision,
        opcode: Opcode,
        begun: Instant,
        frame: Bytes,
        is_ok: bool,
    ) {
        if self.app.watches.any() {
            let _held = self.app.watches.up_to(revision).await;
            self.reply(opcode, begun, frame, is_ok);
        } else {
            self.reply(opcode, begun, frame, is_ok);
        }
    }

    /// Queues a reply, and counts it.
    fn reply(&self, opcode: Opcode, begun: Instant, frame: Bytes, is_ok: bool) {
        let took = begun.elapsed();
        if let Some(zxid) = frame.get(8..16).and_then(|zxid| zxid.try_into().ok()) {
            let zxid = i64::from_be_bytes(zxid);
            self.connection.counts.zxid.store(zxid, Ordering::Relaxed);
        }
        self.connection.out.reply(frame);
        self.app.counts.sent.fetch_add(1, Ordering::Relaxed);
        self.connection.counts.sent.fetch_add(1, Ordering::Relaxed);
        self.app.counts.latency.note(took);
        self.connection.counts.latency.note(took);
        if let Some(meter) = self.app.routes.meter(opcode) {
            meter.answered_plain(is_ok, took);
        }
    }

    async fn answer_with(
        &self,
        pending: &mut Pending,
        xid: i32,
        opcode: Opcode,
        begun: Instant,
        code: Code,
    ) -> Next {
        if self.finish_all(pending).await == Next::Close {
            return Next::Close;
        }
        let now = self.app.registry.snapshot().revision();
        let frame = bare(xid, zxid(now), code as i32);
        self.reply_after(now, opcode, begun, frame, false).await;
        Next::Go
    }

    async fn read(
        &self,
        pending: &mut Pending,
        xid: i32,
        opcode: Opcode,
        begun: Instant,
        request: Request,
    ) -> Next {
        if self.finish_all(pending).await == Next::Close {
            return Next::Close;
        }
        let mut watches = false;
        match &request {
            Request::Read {
                opcode,
                path,
                watch,
            } => {
                let children = matches!(opcode, Opcode::GetChildren | Opcode::GetChildren2);
                self.app.wake(path, children).await;
                watches = *watch;
            }
            Request::MultiRead(all) => {
                for request in all {
                    if let Request::Read { opcode, path, .. } = request {
                        self.app.wake(path, *opcode == Opcode::GetChildren).await;
                    }
                }
            }
            Request::OfPath {
                opcode: Opcode::Sync,
                ..
            } if self.app.registry.linearized().await.is_err() => {
                return Next::Close;
            }
            _ => {}
        }
        if watches || self.connection.is_watching() {
            let (mut held, state) = self.app.watches.caught_up().await;
            let (frame, code) = self.frame(&state, xid, &request);
            if let Request::Read { opcode, path, .. } = &request
                && watches
            {
                let kind = match (opcode, code) {
                    (Opcode::Exists, None | Some(Code::NoNode)) => Some(Kind::Data),
                    (Opcode::GetData, None) => Some(Kind::Data),
                    (Opcode::GetChildren | Opcode::GetChildren2, None) => Some(Kind::Child),
                    _ => None,
                };
                if let Some(kind) = kind {
                    let table = &mut held.inner.table;
                    table.register(&self.connection, path, kind, state.revision());
                }
            }
            self.reply(opcode, begun, frame, code.is_none());
        } else {
            let state = self.app.registry.snapshot();
            let (frame, code) = self.frame(&state, xid, &request);
            self.reply(opcode, begun, frame, code.is_none());
        }
        Next::Go
    }

    fn frame(&self, state: &State, xid: i32, request: &Request) -> (Bytes, Option<Code>) {
        let now = zxid(state.revision());
        let mut writer = Writer::default();
        let shown = match request {
            Request::Plain(Opcode::Sasl) => 0,
            _ => now,
        };
        writer.header(xid, shown, 0);
        let who = self.connection.who();
        let answered = read::answer(state, request, &who, self.connection.session, &mut writer);
        match answered {
            Ok(()) => (writer.finish(), None),
            Err(code) => (bare(xid, now, code as i32), Some(code)),
        }
    }

    async fn close_session(&self, xid: i32, begun: Instant) -> Next {
        let command = Command::Revoke {
            lease: session::lease(self.connection.session),
        };
        let cause = Arc::new(self.caller.cause(Why::Call));
        if let Ok(settled) = self.app.registry.propose(cause, command).await {
            let revision = settled.revision;
            let frame = bare(xid, zxid(revision), 0);
            self.reply_after(revision, Opcode::CloseSession, begun, frame, true)
                .await;
        }
        Next::Close
    }

    async fn watch(
        &self,
        pending: &mut Pending,
        xid: i32,
        opcode: Opcode,
        begun: Instant,
        request: Request,
    ) -> Next {
        if self.finish_all(pending).await == Next::Close {
            return Next::Close;
        }
        if let Request::Watch {
            opcode: Opcode::AddWatch,
            path,
            ..
        } = &request
        {
            self.app.wake(path, true).await;
        }
        let (mut held, state) = self.app.watches.caught_up().await;
        let table = &mut held.inner.table;
        let now = zxid(state.revision());
        let mut writer = Writer::default();
        writer.header(xid, now, 0);
        let id = self.connection.id;
        let mut code = None;
        match &request {
            Request::Watch { opcode, path, kind } => match opcode {
                Opcode::AddWatch => {
                    let kind = match kind {
                        0 => Kind::Persistent,
                        _ => Kind::Recursive,
                    };
                    table.register(&self.connection, path, kind, state.revision());
                    writer.int(0);
                }
                Opcode::CheckWatches if table.has(id, path, Kind::meant(*kind)) => {}
                Opcode::RemoveWatches if table.remove(id, path, Kind::meant(*kind)) => {}
                _ => code = Some(Code::NoWatcher),
            },
            Request::SetWatches { since, lists } => {
                self.watch_again(&state, table, *since, lists);
            }
            _ => code = Some(Code::Marshalling),
        }
        let frame = match code {
            None => writer.finish(),
            Some(code) => bare(xid, now, code as i32),
        };
        self.reply(opcode, begun, frame, code.is_none());
        Next::Go
    }

    /// What a client watched on an earlier connection: it is told what happened since, or watches on.
    fn watch_again(&self, state: &State, table: &mut Table, since: i64, lists: &Lists) {
        let record = |path: &str| path::key(path).and_then(|key| Some((state.znode(&key)?, key)));
        let now = state.revision();
        let told = |event: Event, path: &str| {
            self.connection.out.event(notification(event, -1, path));
        };
        for path in &lists.data {
            match record(path) {
                None => told(Event::NodeDeleted, path),
                Some((record, _)) if zxid(record.modified) > since => {
                    told(Event::NodeDataChanged, path);
                }
                Some(_) => table.register(&self.connection, path, Kind::Data, now),
            }
        }
        for path in &lists.exist {
            match record(path) {
                Some(_) => told(Event::NodeCreated, path),
                None => table.register(&self.connection, path, Kind::Data, now),
            }
        }
        for path in &lists.child {
            match record(path) {
                None => told(Event::NodeDeleted, path),
                Some((record, key)) if read::stat(&key, &record).pzxid > since => {
                    told(Event::NodeChildrenChanged, path);
                }
                Some(_) => table.register(&self.connection, path, Kind::Child, now),
            }
        }
        for path in &lists.persistent {
            table.register(&self.connection, path, Kind::Persistent, now);
        }
        for path in &lists.recursive {
            table.register(&self.connection, path, Kind::Recursive, now);
        }
    }
}
