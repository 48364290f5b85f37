//! The lease of the agent's node: as long as the agent renews it, its services are as well as their checks say.
//!
//! When it falls silent for ten seconds the leader makes the node's `serfHealth` critical, and with it everything on the node, in one
//! revision and without a word for each service. After three days the node is removed with all that is on it.

use std::sync::Arc;
use std::time::Duration;

use portolan_catalog::LeaseId;
use portolan_cluster::forward::Renewal;
use portolan_environment as environment;
use tokio::time::{Instant, sleep};

use crate::core::Core;
use crate::servers::Servers;

/// Renewed three times in the time after which it would count as failed, so that one may be lost.
const RENEWED_EVERY: Duration = Duration::from_millis(3000);
/// After a renewal that did not come through the next one follows sooner.
const AGAIN: Duration = Duration::from_millis(500);
/// How long one renewal may take.
const LIMIT: Duration = Duration::from_millis(2500);

/// Renews for ever.
pub(crate) async fn renew_always(core: Arc<Core>, servers: Arc<dyn Servers>) {
    let lease = LeaseId::Agent(core.node_name().clone());
    loop {
        let until = Instant::now() + LIMIT;
        let renewed = servers.renew(vec![lease.clone()], until).await;
        let wait = match renewed.as_deref() {
            Ok([Renewal::For(_)]) => RENEWED_EVERY,
            Ok([Renewal::Unknown]) => {
                // The servers do not know this node: it was away for too long, or they have lost it.
                core.offer_soon();
                AGAIN * 2
            }
            Ok(_) | Err(_) => AGAIN,
        };
        sleep(wait.mul_f64(0.9 + 0.2 * environment::random_fraction())).await;
    }
}
