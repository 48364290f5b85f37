//! A connection with a session, as the rest of the port knows it: the table of watches, four-letter words, the connection that takes its
//! session over.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use portolan_catalog::{Identity, Timestamp};
use portolan_listener::{Action, Caller};
use tokio_util::sync::CancellationToken;

use crate::acl;
use crate::counts::Latencies;
use crate::out::Out;
use crate::routes::node;
use crate::session::Session;

/// What others need to know of a connection with a session.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: u64,
    pub(crate) peer: SocketAddr,
    pub(crate) session: i64,
    pub(crate) timeout: i32,
    pub(crate) out: Out,
    pub(crate) counts: OwnCounts,
    /// Who asks for what it is told.
    caller: Caller,
    who: Mutex<Arc<[Identity]>>,
    /// Whom the client's certificate names.
    pub(crate) certificate: Option<Identity>,
    watching: AtomicBool,
    closing: CancellationToken,
}

/// What `cons` shows.
#[derive(Debug)]
pub(crate) struct OwnCounts {
    pub(crate) since_ms: u64,
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) opcode: AtomicI64,
    pub(crate) xid: AtomicI64,
    pub(crate) zxid: AtomicI64,
    pub(crate) latency: Latencies,
}

impl Connection {
    /// A connection that has just got its session.
    pub(crate) fn new(
        id: u64,
        caller: Caller,
        certificate: Option<Identity>,
        session: &Session,
        now: Timestamp,
    ) -> Connection {
        let peer = caller.peer();
        Connection {
            id,
            peer,
            caller,
            session: session.id,
            timeout: session.timeout,
            out: Out::default(),
            counts: OwnCounts {
                since_ms: now.0,
                received: AtomicU64::new(1),
                sent: AtomicU64::new(1),
                opcode: AtomicI64::new(0),
                xid: AtomicI64::new(0),
                zxid: AtomicI64::new(0),
                latency: Latencies::default(),
            },
            who: Mutex::new(
                std::iter::once(acl::of_peer(peer))
                    .chain(certificate.clone())
                    .collect(),
            ),
            certificate,
            watching: AtomicBool::new(false),
            closing: CancellationToken::new(),
        }
    }

    /// Everybody that the client is.
    pub(crate) fn who(&self) -> Arc<[Identity]> {
        self.who
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether the server's policy lets it be told of a node.
    pub(crate) fn may_watch(&self, path: &str) -> bool {
        self.caller.allow(Action::Watch, node(path)).is_ok()
    }

    /// The client is somebody more.
    pub(crate) fn is_also(&self, identity: Identity) {
        let mut who = self.who.lock().unwrap_or_else(PoisonError::into_inner);
        if !who.contains(&identity) {
            *who = who.iter().cloned().chain([identity]).collect();
        }
    }

    pub(crate) fn watches(&self) {
        self.watching.store(true, Ordering::Release);
    }

    /// Whether it ever watched anything.
    pub(crate) fn is_watching(&self) -> bool {
        self.watching.load(Ordering::Acquire)
    }

    /// Ends it from outside.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }

    /// Resolves when it is ended from outside.
    pub(crate) async fn closed(&self) {
        self.closing.cancelled().await;
    }
}
