//! What a node takes from outside: randomness, the wall clock, threads, blocking work and other servers.
//!
//! Promises
//! - Whatever a node does follows from its disk, its messages and what it got from here: two runs with equal ones are equal.
//! - Where nothing was entered, everything is the operating system's, at no cost worth a thought.
//!
//! Monotonic time, timers and tasks are tokio's, and so those of the runtime that the caller runs on: a simulation pauses that runtime and
//! steps it. The disk is a trait of `portolan-replica`. `clippy.toml` refuses the ways around this crate.
//!
//! Deliberately absent: a runtime of its own, and sockets of listeners and probes.
//!
//! Start reading at [`Environment`].

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod mutation;
mod transport;
pub mod watch;
mod work;

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rand::rngs::{StdRng, ThreadRng};
use rand::{Rng, RngExt, SeedableRng};

#[cfg(portolan_mutations)]
pub use mutation::mutate;
pub use mutation::mutated;
pub use transport::{ANYBODY, Answer, Channel, NoPeers, Peer, Transport};
pub use work::{Dedicated, blocking, dedicate, thread};

/// The outside of a node in a simulation. The operating system's is what there is when none was entered.
pub trait Environment: fmt::Debug + Send + Sync {
    /// Fills `bytes` with random ones.
    fn fill(&self, bytes: &mut [u8]);

    /// Milliseconds since 1970 by the wall clock, which may jump.
    fn wall_ms(&self) -> u64;
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<dyn Environment>>> = const { RefCell::new(None) };
}

/// Has this thread's draws, clock readings and work go to `environment` until the guard is dropped. A simulation enters a node's each time
/// it steps the node's runtime.
#[must_use = "the environment is left when this is dropped"]
pub fn enter(environment: Arc<dyn Environment>) -> Entered {
    let before = CURRENT.with(|current| current.borrow_mut().replace(environment));
    Entered {
        before,
        here: PhantomData,
    }
}

/// Leaves the environment when dropped.
#[derive(Debug)]
pub struct Entered {
    before: Option<Arc<dyn Environment>>,
    /// It belongs to its thread.
    here: PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.before.take();
        CURRENT.with(|current| *current.borrow_mut() = before);
    }
}

fn current() -> Option<Arc<dyn Environment>> {
    CURRENT.with(|current| current.borrow().clone())
}

/// Whether this thread is inside a simulation.
#[must_use]
pub fn simulated() -> bool {
    CURRENT.with(|current| current.borrow().is_some())
}

/// Fills `bytes` with random ones, good enough for identifiers that nobody may guess.
pub fn fill(bytes: &mut [u8]) {
    match current() {
        Some(environment) => environment.fill(bytes),
        None => system_generator().fill_bytes(bytes),
    }
}

/// Random bytes, for identifiers.
#[must_use]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

/// A random number.
#[must_use]
pub fn random_u64() -> u64 {
    u64::from_le_bytes(random_bytes())
}

/// The bytes of a random UUID, version 4 of RFC 9562.
#[must_use]
pub fn uuid() -> [u8; 16] {
    let mut bytes: [u8; 16] = random_bytes();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

/// A random number from 0 up to, not including, 1.
#[must_use]
pub fn random_fraction() -> f64 {
    // The 53 bits that a double holds.
    (random_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// A generator, begun with a random seed: for shuffles and for many draws in a row.
#[must_use]
pub fn generator() -> StdRng {
    match current() {
        Some(_) => StdRng::from_seed(random_bytes()),
        None => StdRng::from_seed(system_generator().random()),
    }
}

/// Milliseconds since 1970 by the wall clock, which may jump: for display and for times that are written down, never for waiting.
#[must_use]
pub fn wall_ms() -> u64 {
    match current() {
        Some(environment) => environment.wall_ms(),
        None => system_ms(),
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "this is where random numbers come from"
)]
fn system_generator() -> ThreadRng {
    rand::rng()
}

#[allow(
    clippy::disallowed_methods,
    reason = "this is where the wall clock comes from"
)]
fn system_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |passed| {
            u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
        })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Debug)]
    struct Counting(Mutex<u8>);

    impl Environment for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            let mut next = self.0.lock().unwrap();
            for byte in bytes {
                *byte = *next;
                *next = next.wrapping_add(1);
            }
        }

        fn wall_ms(&self) -> u64 {
            7
        }
    }

    #[test]
    fn an_entered_environment_decides_and_is_left_again() {
        assert!(!simulated());
        let outer: Arc<dyn Environment> = Arc::new(Counting(Mutex::new(0)));
        {
            let _entered = enter(outer.clone());
            assert!(simulated());
            assert_eq!(random_bytes(), [0, 1, 2, 3]);
            {
                let _inner = enter(Arc::new(Counting(Mutex::new(100))));
                assert_eq!(random_bytes(), [100, 101]);
            }
            assert_eq!(random_bytes(), [4]);
            assert_eq!(wall_ms(), 7);
        }
        assert!(!simulated());
        assert!(wall_ms() > 1_700_000_000_000);
        assert_ne!(random_u64(), random_u64());
        let id = uuid();
        assert_eq!((id[6] >> 4, id[8] >> 6), (4, 2));
        let fraction = random_fraction();
        assert!((0.0..1.0).contains(&fraction));
    }
}
