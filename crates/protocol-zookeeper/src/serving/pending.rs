//! Writes that were handed in and are not decided yet, in their order.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use portolan_catalog::Settled;
use portolan_listener::Busy;
use portolan_registry::Unavailable;
use tokio::time::Instant;

use crate::wire::Opcode;
use crate::write::Wanted;

pub(super) type Deciding = Pin<Box<dyn Future<Output = Result<Settled, Unavailable>> + Send>>;

/// A write and what is to be said of it.
pub(super) struct InFlight {
    pub(super) xid: i32,
    pub(super) opcode: Opcode,
    pub(super) wanted: Wanted,
    pub(super) begun: Instant,
    pub(super) deciding: Deciding,
    /// The connection is not idle meanwhile.
    pub(super) busy: Busy,
}

#[derive(Default)]
pub(super) struct Pending(VecDeque<InFlight>);

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a write, and hands it in: its first poll takes its place in the queue, so places are taken in the order of the requests.
    pub(super) async fn add(&mut self, mut write: InFlight) {
        let early = poll_fn(|context| {
            Poll::Ready(match write.deciding.as_mut().poll(context) {
                Poll::Ready(settled) => Some(settled),
                Poll::Pending => None,
            })
        })
        .await;
        if let Some(settled) = early {
            write.deciding = Box::pin(std::future::ready(settled));
        }
        self.0.push_back(write);
    }

    /// The oldest write, once it is decided. Never, when there is none.
    pub(super) async fn settled(&mut self) -> (InFlight, Result<Settled, Unavailable>) {
        let settled = poll_fn(|context| match self.0.front_mut() {
            Some(write) => write.deciding.as_mut().poll(context),
            None => Poll::Pending,
        })
        .await;
        match self.0.pop_front() {
            Some(write) => (write, settled),
            None => std::future::pending().await,
        }
    }
}
