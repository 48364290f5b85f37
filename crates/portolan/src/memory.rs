//! The allocator, and what an idle server has to remind it of.

use std::hint::black_box;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often memory is given back.
const ROUND: Duration = Duration::from_secs(2);
/// Larger than any block that the allocator keeps for a next time.
const LARGE: usize = 4 << 20;

/// Has freed memory given back to the system, until it is dropped.
///
/// mimalloc gives pages back a second after they were freed, but looks for such pages only when another one is freed. A server that
/// has just read a large catalog and waits would go on holding what the reading took, about a third of all its memory.
pub(crate) async fn give_back() {
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        // Never written to, so it takes no memory of its own.
        drop(black_box(Vec::<u8>::with_capacity(LARGE)));
    }
}
