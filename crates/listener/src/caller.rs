//! One request's caller: who asks, through which protocol, and whether anybody decided that they may.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use portolan_catalog::{Cause, Protocol, Why};
use tracing::error;

use crate::access::{Action, Decision, Denied, Principal, Resource};
use crate::meter::Meter;
use crate::server_context::ServerContext;

/// The caller of one request or message. HTTP requests carry it in their extensions ([`Caller::of`]); cloning is a pointer copy.
#[derive(Clone, Debug)]
pub struct Caller {
    inner: Arc<Inner>,
}

/// Where requests come in. One for each connection: its callers count references that no other connection touches.
#[derive(Debug)]
pub(crate) struct ConnectionContext {
    pub(crate) context: ServerContext,
    pub(crate) protocol: Protocol,
    /// Whom the handshake found, or the authenticator of a port without HTTP.
    pub(crate) principal: Principal,
    /// The cause of the first caller's calls.
    call: OnceLock<Arc<Cause>>,
}

impl ConnectionContext {
    pub(crate) fn new(
        context: ServerContext,
        protocol: Protocol,
        principal: Principal,
    ) -> ConnectionContext {
        ConnectionContext {
            context,
            protocol,
            principal,
            call: OnceLock::new(),
        }
    }
}

#[derive(Debug)]
struct Inner {
    connection: Arc<ConnectionContext>,
    peer: SocketAddr,
    principal: Principal,
    decided: AtomicBool,
    /// The caller of the same message by whom the port knows it: what is decided for this one is decided for that one.
    first: Option<Caller>,
    meter: OnceLock<Meter>,
}

impl Caller {
    pub(crate) fn new(
        connection: Arc<ConnectionContext>,
        peer: SocketAddr,
        principal: Principal,
    ) -> Caller {
        Caller {
            inner: Arc::new(Inner {
                connection,
                peer,
                principal,
                decided: AtomicBool::new(false),
                first: None,
                meter: OnceLock::new(),
            }),
        }
    }

    /// The caller of a request that came through [`serve_http`](crate::serve_http).
    ///
    /// # Panics
    /// When `request` did not come through a port. Tests that build their own requests insert [`ServerContext::caller`] first.
    pub fn of<B>(request: &http::Request<B>) -> Caller {
        Caller::in_extensions(request.extensions())
    }

    /// As [`Caller::of`], for frameworks that hand out the extensions alone.
    pub fn in_extensions(extensions: &http::Extensions) -> Caller {
        match extensions.get::<Caller>() {
            Some(caller) => caller.clone(),
            None => panic!("a request reached a handler without passing a port"),
        }
    }

    /// The protocol spoken.
    pub fn protocol(&self) -> Protocol {
        self.inner.connection.protocol
    }

    /// The other end of the connection; forwarding headers are not believed.
    pub fn peer(&self) -> SocketAddr {
        self.inner.peer
    }

    /// Who asks.
    pub fn principal(&self) -> &Principal {
        &self.inner.principal
    }

    /// The server this request came into.
    pub fn context(&self) -> &ServerContext {
        &self.inner.connection.context
    }

    /// Asks whether the caller may do `action` to `resource`, and remembers that it was asked.
    ///
    /// Every handler calls this before it answers, also before it answers that something does not exist.
    pub fn allow(&self, action: Action, resource: Resource<'_>) -> Result<(), Denied> {
        self.remember();
        let context = &self.inner.connection.context;
        match context.decide(&self.inner.principal, action, resource) {
            Decision::Allow => Ok(()),
            Decision::Deny => Err(Denied {
                principal: self.inner.principal.clone(),
                action,
                resource: resource.to_string(),
                explanation: context.explain(&self.inner.principal, action, resource),
            }),
        }
    }

    fn remember(&self) {
        self.inner.decided.store(true, Ordering::Relaxed);
        if let Some(first) = &self.inner.first {
            first.remember();
        }
    }

    /// As [`Caller::allow`], for one item of a list: makes no words of a denial.
    pub fn may(&self, action: Action, resource: Resource<'_>) -> bool {
        self.remember();
        let context = &self.inner.connection.context;
        context.decide(&self.inner.principal, action, resource) == Decision::Allow
    }

    /// Whether there may be something that the caller may not do: the items of a list then have to be asked for one by one, with
    /// [`Caller::may`]. Is no decision by itself.
    pub fn restricted(&self) -> bool {
        let context = &self.inner.connection.context;
        context.restricts(&self.inner.principal)
    }

    /// Whether [`Caller::allow`] was asked for this request.
    pub fn decided(&self) -> bool {
        self.inner.decided.load(Ordering::Relaxed)
    }

    /// The cause of what this caller does, to propose a command with: `caller.cause(Why::Call)`.
    pub fn cause(&self, why: Why) -> Cause {
        Cause {
            principal: self.inner.principal.name().map(Into::into),
            protocol: self.inner.connection.protocol,
            peer: Some(self.inner.peer),
            why,
        }
    }

    /// The cause of what this caller calls for: one value for all calls of a connection by one principal, so that neither a call nor the
    /// history makes its own.
    pub fn call_cause(&self) -> Arc<Cause> {
        let first = self
            .inner
            .connection
            .call
            .get_or_init(|| Arc::new(self.cause(Why::Call)));
        let same = first.principal.as_deref() == self.inner.principal.name()
            && first.peer == Some(self.inner.peer);
        if same {
            first.clone()
        } else {
            Arc::new(self.cause(Why::Call))
        }
    }

    /// Says which route this request took, once; its count and latency go to `meter`. A [`Router`](crate::Router) does it by itself.
    pub fn measure(&self, meter: &Meter) {
        let _ = self.inner.meter.set(*meter);
    }

    pub(crate) fn meter(&self) -> Option<&Meter> {
        self.inner.meter.get()
    }

    /// Ends this request's account: an answer without a decision is counted and logged. HTTP ports call it; a protocol on
    /// [`serve_stream`](crate::serve_stream) or UDP calls it once per message answered.
    pub fn answered(&self) {
        if !self.decided() {
            self.inner
                .connection
                .context
                .metrics()
                .undecided(self.inner.connection.protocol);
            error!(
                protocol = %self.inner.connection.protocol,
                route = self.meter().map_or("unrouted", Meter::route),
                "a request was answered without asking whether it may be"
            );
        }
    }

    /// The same message asked by somebody else: for protocols whose messages say who sends them.
    #[must_use]
    pub fn identified(self, principal: Principal) -> Caller {
        Caller {
            inner: Arc::new(Inner {
                connection: self.inner.connection.clone(),
                peer: self.inner.peer,
                principal,
                decided: AtomicBool::new(false),
                meter: OnceLock::new(),
                first: Some(self),
            }),
        }
    }

    /// Makes this the caller of a fresh message from `peer`, of whom the connection is known to be, reusing the allocation when nobody else holds it: a datagram
    /// worker keeps one caller for ever.
    pub fn renew(&mut self, peer: SocketAddr) {
        match Arc::get_mut(&mut self.inner) {
            Some(inner) => {
                inner.peer = peer;
                inner.principal.clone_from(&inner.connection.principal);
                *inner.decided.get_mut() = false;
                inner.meter = OnceLock::new();
            }
            None => {
                let connection = self.inner.connection.clone();
                let principal = connection.principal.clone();
                *self = Caller::new(connection, peer, principal);
            }
        }
    }

    /// Resolves when the server is going down: end long polls and streams now, with the protocol's own goodbye.
    pub async fn draining(&self) {
        self.inner.connection.context.draining().await;
    }
}
