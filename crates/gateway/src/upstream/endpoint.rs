//! One endpoint: where it is, and the connections to it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use portolan_catalog::{EndpointRow, Health, Host};
use tokio::time::Instant;

use super::connect::{Http1, Http2};
use crate::figures::EndpointFigures;

/// A connection that waits for its next request.
#[derive(Debug)]
pub(crate) struct Idle {
    connection: Http1,
    since: Instant,
}

/// One endpoint of a service.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) host: Host,
    pub(crate) port: u16,
    /// `10.0.0.1:80`.
    pub(crate) address: Arc<str>,
    /// It speaks TLS.
    pub(crate) secure: Cell<bool>,
    idle: RefCell<Vec<Idle>>,
    http2: RefCell<Option<Http2>>,
    /// One connection of HTTP/2 is opened at a time.
    pub(crate) opening: tokio::sync::Mutex<()>,
    /// The catalog has it no more: what is under way ends, nothing is kept.
    gone: Cell<bool>,
    pub(crate) figures: Arc<EndpointFigures>,
}

/// What an endpoint is known by.
pub(crate) fn id(row: &EndpointRow) -> u64 {
    portolan_balance::hash(row.key.host.with_port(row.key.port).as_bytes())
}

/// An endpoint as the balancer is told of it; none for one in maintenance, or without a port.
pub(crate) fn facts(row: &EndpointRow) -> Option<portolan_balance::Endpoint> {
    let primary = row.primary();
    let weight = match row.health {
        Health::Maintenance => return None,
        Health::Warning => primary.warning_weight,
        Health::Passing | Health::Critical => primary.weight,
    };
    (row.key.port > 0).then(|| portolan_balance::Endpoint {
        id: id(row),
        weight: weight.0,
        healthy: row.health.serves(),
        distance: portolan_balance::Distance::Zone,
    })
}

impl Endpoint {
    pub(crate) fn new(row: &EndpointRow, figures: Arc<EndpointFigures>) -> Endpoint {
        Endpoint {
            host: row.key.host.clone(),
            port: row.key.port,
            address: row.key.host.with_port(row.key.port).into(),
            secure: Cell::new(false),
            idle: RefCell::default(),
            http2: RefCell::default(),
            opening: tokio::sync::Mutex::new(()),
            gone: Cell::new(false),
            figures,
        }
    }

    /// A connection of HTTP/1.1 that is ready for a request.
    pub(crate) async fn take_idle(&self) -> Option<Http1> {
        loop {
            // The last one used: the others may grow old and be closed.
            let mut idle = self.idle.borrow_mut().pop()?;
            let ready = poll_fn(|cx| Poll::Ready(idle.connection.sender.poll_ready(cx))).await;
            if let Poll::Ready(Ok(())) = ready {
                return Some(idle.connection);
            }
        }
    }

    /// Keeps a connection for the next request.
    pub(crate) fn keep(&self, connection: Http1, most: usize) {
        let mut idle = self.idle.borrow_mut();
        if !self.gone.get() && !connection.sender.is_closed() && idle.len() < most {
            let since = Instant::now();
            idle.push(Idle { connection, since });
        }
    }

    /// The connection of HTTP/2, if there is one.
    pub(crate) fn http2(&self) -> Option<Http2> {
        let mut held = self.http2.borrow_mut();
        if held.as_ref().is_some_and(|one| one.sender.is_closed()) {
            *held = None;
        }
        held.clone()
    }

    pub(crate) fn keep_http2(&self, connection: &Http2) {
        if !self.gone.get() {
            *self.http2.borrow_mut() = Some(connection.clone());
        }
    }

    /// Closes what has waited for too long.
    pub(crate) fn sweep(&self, longest: Duration) {
        let fresh =
            |idle: &Idle| idle.since.elapsed() < longest && !idle.connection.sender.is_closed();
        self.idle.borrow_mut().retain(fresh);
        let mut held = self.http2.borrow_mut();
        if held
            .as_ref()
            .is_some_and(|one| one.sender.is_closed() || one.is_unused(longest))
        {
            *held = None;
        }
    }

    /// The catalog has it no more.
    pub(crate) fn leave(&self) {
        self.gone.set(true);
        self.idle.borrow_mut().clear();
        *self.http2.borrow_mut() = None;
    }
}
