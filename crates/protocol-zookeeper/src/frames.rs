//! Frames off a socket: a length of four bytes, and what it counts.

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes asked of the socket at a time.
const CHUNK: usize = 16 << 10;

/// Why a connection ends without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// The frames of one connection, as they arrive.
#[derive(Debug)]
pub struct Frames {
    bytes: BytesMut,
    most: usize,
}

impl Frames {
    /// Frames of at most so many bytes, the length not counted.
    pub fn new(most: usize) -> Frames {
        Frames {
            bytes: BytesMut::new(),
            most,
        }
    }

    /// Adds bytes, as the socket would.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The four bytes that a connection begins with, without taking them.
    pub(crate) fn word(&self) -> Option<[u8; 4]> {
        self.bytes.first_chunk().copied()
    }

    /// The next frame, if all of it is here.
    ///
    /// # Errors
    /// When its length is negative or beyond the bound: nothing that follows can be understood.
    pub fn take(&mut self) -> Result<Option<Bytes>, TooLong> {
        let Some(length) = self.word().map(i32::from_be_bytes) else {
            return Ok(None);
        };
        let length = usize::try_from(length).map_err(|_| TooLong)?;
        if length > self.most {
            return Err(TooLong);
        }
        if self.bytes.len() < 4 + length {
            return Ok(None);
        }
        self.bytes.advance(4);
        Ok(Some(self.bytes.split_to(length).freeze()))
    }

    /// Waits for more; false when nothing more comes. Nothing is lost when this is given up.
    pub(crate) async fn fill(&mut self, from: &mut (impl AsyncRead + Unpin)) -> bool {
        self.bytes.reserve(CHUNK);
        matches!(from.read_buf(&mut self.bytes).await, Ok(1..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_whole_or_not_at_all() {
        let mut frames = Frames::new(8);
        frames.extend(&[0, 0, 0]);
        assert_eq!(frames.take(), Ok(None));
        frames.extend(&[2, 7]);
        assert_eq!(frames.take(), Ok(None));
        frames.extend(&[8, 0, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(frames.take(), Ok(Some(Bytes::from_static(&[7, 8]))));
        assert_eq!(frames.take(), Ok(Some(Bytes::new())));
        assert_eq!(frames.take(), Err(TooLong));
        for length in [-1, i32::MIN, i32::MAX] {
            let mut frames = Frames::new(8);
            frames.extend(&i32::to_be_bytes(length));
            assert_eq!(frames.take(), Err(TooLong), "{length}");
        }
    }
}
