//! Taking over what a peer has when this server starts: whatever it lists is registered here, as if the peer had told of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use http::StatusCode;
use portolan_catalog::{Cause, Why};
use portolan_registry::Registry;
use tokio::time::sleep;

use super::client::{Client, Failed};
use super::{LENT_BY, Peers, lender};
use crate::wire::{Applications, Format, Instance, decode_applications};
use crate::write::Writer;

/// Tries, and the time between them; the original's.
const TRIES: u32 = 5;
const AGAIN: Duration = Duration::from_secs(30);
/// Registrations under way at a time.
const TOGETHER: usize = 64;

/// Asks the peers one after the other until one has something, and then lets lists out.
pub(crate) async fn run(peers: Arc<Peers>, registry: Registry) {
    for attempt in 0..TRIES {
        if attempt > 0 {
            sleep(AGAIN).await;
        }
        let mut answered = false;
        for outbox in &peers.each {
            match list(&mut Client::new(outbox.url().clone())).await {
                Ok(list) => {
                    answered = true;
                    let instances = list.applications.into_iter().flat_map(|app| app.instances);
                    let taken = take(&registry, instances.collect()).await;
                    if taken > 0 {
                        tracing::info!(peer = %outbox.url(), instances = taken, "the peer's registry is taken over");
                        peers.taking_over.store(false, Ordering::Release);
                        return;
                    }
                }
                Err(why) => {
                    tracing::warn!(peer = %outbox.url(), why, attempt, "the peer's registry cannot be taken over");
                }
            }
        }
        if answered {
            break;
        }
    }
    peers.taking_over.store(false, Ordering::Release);
}

async fn list(client: &mut Client) -> Result<Applications, String> {
    match client.applications().await {
        Ok((StatusCode::OK, body)) => {
            decode_applications(Format::Json, &body, usize::MAX).map_err(|error| error.to_string())
        }
        // It has nothing itself yet.
        Ok((StatusCode::FORBIDDEN, _)) => Ok(Applications::default()),
        Ok((status, _)) => Err(format!("it answered {status}")),
        Err(Failed::Slow) => Err("it did not answer in time".to_owned()),
        Err(Failed::Unreachable(why)) => Err(why),
    }
}

async fn take(registry: &Registry, instances: Vec<Instance>) -> usize {
    let own = lender(registry);
    let wanted = instances.into_iter().filter(|it| {
        it.metadata.get(LENT_BY) != Some(&own) && it.check_registration(&it.app).is_ok()
    });
    let each = wanted.map(|it| async move {
        let writer = Writer {
            registry,
            cause: Cause::own(Why::Start),
            now: registry.now(),
        };
        match writer.register(&it).await {
            Ok(()) => 1,
            Err(problem) => {
                tracing::warn!(app = it.app, id = it.effective_id(), %problem, "an instance of the peer cannot be taken over");
                0
            }
        }
    });
    let taken = stream::iter(each).buffer_unordered(TOGETHER);
    taken.fold(0, |sum, one| async move { sum + one }).await
}
