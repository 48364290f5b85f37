//! Keeping a session where another server decides: requests are answered at once, and the one that decides is told beside them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portolan_registry::{Registry, Renewed};

use crate::connection::Connection;
use crate::session;

/// How often it is told at most. The last request of a burst is always followed by a renewal, so a session lives no shorter for it.
const EVERY: Duration = Duration::from_millis(500);

/// One connection's renewals elsewhere.
#[derive(Debug, Default)]
pub(super) struct Renewal(Arc<Asked>);

#[derive(Debug, Default)]
struct Asked {
    /// Something was asked since the last renewal.
    wanted: AtomicBool,
    /// A task is at it.
    running: AtomicBool,
}

impl Renewal {
    /// Has the session renewed soon; a session that turns out to be over takes its connection along.
    pub(super) fn want(&self, registry: &Registry, connection: &Arc<Connection>) {
        self.0.wanted.store(true, Ordering::SeqCst);
        if self.0.running.swap(true, Ordering::SeqCst) {
            return;
        }
        let (asked, registry) = (self.0.clone(), registry.clone());
        let connection = Arc::downgrade(connection);
        tokio::spawn(async move {
            loop {
                asked.wanted.store(false, Ordering::SeqCst);
                let Some(lease) = connection.upgrade().map(|c| session::lease(c.session)) else {
                    return;
                };
                // Nobody decides: nothing ends either, and the next request asks again.
                if registry.renew(&lease).await == Ok(Renewed::Unknown) {
                    if let Some(connection) = connection.upgrade() {
                        connection.close();
                    }
                    return;
                }
                tokio::time::sleep(EVERY).await;
                if asked.wanted.load(Ordering::SeqCst) {
                    continue;
                }
                asked.running.store(false, Ordering::SeqCst);
                let late = asked.wanted.load(Ordering::SeqCst);
                if !late || asked.running.swap(true, Ordering::SeqCst) {
                    return;
                }
            }
        });
    }
}
