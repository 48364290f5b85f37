//! What waits to be written to one connection.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// Bytes that may wait before no further request of the connection is taken.
const REPLIES: usize = 4 << 20;
/// Bytes that may wait when events come, which nobody can hold back: beyond that the connection is closed.
const EVENTS: usize = 16 << 20;

/// Frames in the order in which the peer gets them.
#[derive(Debug, Default)]
pub(crate) struct Out {
    queue: Mutex<Queue>,
    /// There is something to write.
    ready: Notify,
    /// There is room again.
    room: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Bytes>,
    bytes: usize,
    overflowed: bool,
    finished: bool,
}

impl Out {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a reply.
    pub(crate) fn reply(&self, frame: Bytes) {
        let mut queue = self.queue();
        queue.bytes += frame.len();
        queue.frames.push_back(frame);
        drop(queue);
        self.ready.notify_one();
    }

    /// Queues an event, or gives up the connection.
    pub(crate) fn event(&self, frame: Bytes) {
        let mut queue = self.queue();
        if queue.bytes + frame.len() > EVENTS {
            queue.overflowed = true;
        } else {
            queue.bytes += frame.len();
            queue.frames.push_back(frame);
        }
        drop(queue);
        self.ready.notify_one();
    }

    /// Nothing more comes.
    pub(crate) fn finish(&self) {
        self.queue().finished = true;
        self.ready.notify_one();
    }

    /// Waits until not too much is waiting.
    pub(crate) async fn has_room(&self) {
        loop {
            let room = self.room.notified();
            if self.queue().bytes <= REPLIES {
                return;
            }
            room.await;
        }
    }

    /// The next frames, joined into `bytes`; false when there are none any more, or too many.
    pub(crate) async fn next(&self, bytes: &mut Vec<u8>) -> bool {
        loop {
            let ready = self.ready.notified();
            {
                let mut queue = self.queue();
                if queue.overflowed {
                    return false;
                }
                while let Some(frame) = queue.frames.front() {
                    if !bytes.is_empty() && bytes.len() + frame.len() > 64 << 10 {
                        break;
                    }
                    bytes.extend_from_slice(frame);
                    queue.bytes -= frame.len();
                    queue.frames.pop_front();
                }
                if !bytes.is_empty() {
                    drop(queue);
                    self.room.notify_one();
                    return true;
                }
                if queue.finished {
                    return false;
                }
            }
            ready.await;
        }
    }

    /// Frames that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue().frames.len()
    }
}
