//! What ends a connection from outside.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use portolan_listener::Limits;

use crate::wire::guard::Shared;

/// One connection, as its thread watches over it.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) shared: Arc<Shared>,
    closing: Cell<bool>,
    aborting: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// Seconds for which it has been so.
    in_head: Cell<u64>,
    idle: Cell<u64>,
    blocked: Cell<u64>,
}

fn count(seconds: &Cell<u64>, still: bool) -> u64 {
    seconds.set(if still { seconds.get() + 1 } else { 0 });
    seconds.get()
}

impl Control {
    pub(crate) fn new(shared: Arc<Shared>) -> Rc<Control> {
        Rc::new(Control {
            shared,
            closing: Cell::default(),
            aborting: Cell::default(),
            waker: RefCell::default(),
            in_head: Cell::default(),
            idle: Cell::default(),
            blocked: Cell::default(),
        })
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// No further request is read; those under way are answered.
    pub(crate) fn close(&self) {
        if !self.closing.replace(true) {
            self.wake();
        }
    }

    /// Ends at once.
    pub(crate) fn abort(&self) {
        if !self.aborting.replace(true) {
            self.wake();
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    pub(crate) fn is_aborting(&self) -> bool {
        self.aborting.get()
    }

    /// To be woken by an order.
    pub(crate) fn listen(&self, waker: &Waker) {
        let mut held = self.waker.borrow_mut();
        if !held.as_ref().is_some_and(|held| held.will_wake(waker)) {
            *held = Some(waker.clone());
        }
    }

    /// Called once a second: gives the orders that are due.
    pub(crate) fn tick(&self, limits: &Limits) {
        let shared = &*self.shared;
        if shared.is_tunnel() {
            return;
        }
        let resting = shared.in_flight() == 0;
        let in_head = count(&self.in_head, resting && shared.in_head());
        let idle = count(&self.idle, resting && !shared.in_head());
        let blocked = count(&self.blocked, shared.is_blocked());
        if in_head > limits.header_timeout.as_secs() || blocked > limits.write_timeout.as_secs() {
            self.abort();
        } else if idle > limits.idle_timeout.as_secs() {
            self.close();
        }
    }
}
