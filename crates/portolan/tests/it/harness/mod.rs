//! What every suite stands on: the server as a process, clients over the wire, waiting for conditions, counting cells.

pub mod clients;
pub mod etcd;
pub mod eureka;
pub mod http;
pub mod network;
pub mod real_etcd;
pub mod server;
pub mod tally;
pub mod xds;

use std::fmt::Debug;
use std::time::{Duration, Instant};

pub use clients::Driver;
pub use real_etcd::RealEtcd;
pub use server::Server;

/// Asks `look` again and again until it answers `Ok`, for at most `limit`. No sleeping for luck: the condition decides.
pub fn eventually<T>(
    limit: Duration,
    mut look: impl FnMut() -> Result<T, String>,
) -> Result<T, String> {
    let deadline = Instant::now() + limit;
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(why) if Instant::now() >= deadline => {
                return Err(format!("{why} (waited {limit:?})"));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// An error text unless both are equal.
pub fn same<T: PartialEq + Debug + ?Sized>(found: &T, expected: &T) -> Result<(), String> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("expected {expected:?}, found {found:?}"))
    }
}

/// A number that differs between two runs on one machine, for names that must not meet.
pub fn unique() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
