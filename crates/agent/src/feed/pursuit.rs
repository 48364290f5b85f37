//! Following without a copy: a place in the log and nothing else, for whoever measures what servers do for many agents.

use std::io;

use super::wire::{Answer, Place, Request};

/// Bytes of entries asked for at a time, and how long a server may keep a request that it has no news for: as agents ask.
const MOST_BYTES: u32 = 1 << 20;
const WAIT_MS: u32 = 1000;

/// Where a reader without a copy stands. It asks for the first part of a whole state once, to learn the place, as an agent does that has
/// the rest on its disk.
#[derive(Clone, Debug, Default)]
pub struct Pursuit {
    /// The cluster, and the place.
    at: Option<(u64, Place)>,
}

impl Pursuit {
    /// The bytes of the next request, for the channel of the feed.
    #[must_use]
    pub fn request(&self) -> Vec<u8> {
        let request = match self.at {
            None => Request::Whole {
                index: None,
                part: 0,
            },
            Some((cluster, after)) => Request::Follow {
                cluster,
                after,
                most_bytes: MOST_BYTES,
                wait_ms: WAIT_MS,
            },
        };
        request.encode()
    }

    /// Takes an answer: how many entries it had.
    ///
    /// # Errors
    /// When the bytes are no answer.
    pub fn heard(&mut self, answer: &[u8]) -> io::Result<usize> {
        match (Answer::decode(answer)?, &mut self.at) {
            (Answer::Part { cluster, place, .. }, at) => {
                *at = Some((cluster, place));
                Ok(0)
            }
            (Answer::Entries { batches, upto, .. }, Some((_, at))) => {
                *at = upto;
                Ok(batches.len())
            }
            (Answer::Gone { .. }, at) => {
                *at = None;
                Ok(0)
            }
            _ => Ok(0),
        }
    }
}
