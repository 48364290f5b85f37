//! What fuzz targets drive: everything that turns a client's bytes into requests.

use crate::frames::Frames;
use crate::wire::{Connect, Header, Opcode, Reader, Request};

/// Takes bytes as a connection would, and returns how many requests were understood.
pub fn decode(bytes: &[u8]) -> usize {
    let mut frames = Frames::new(0xf_ffff);
    frames.extend(bytes);
    let mut understood = 0;
    let mut first = true;
    while let Ok(Some(frame)) = frames.take() {
        if std::mem::take(&mut first) {
            let _connect = Connect::read(&frame);
        }
        let mut reader = Reader::new(&frame);
        let Ok(header) = Header::read(&mut reader) else {
            continue;
        };
        if let Some(opcode) = Opcode::of(header.opcode) {
            understood += usize::from(Request::read(opcode, &mut reader).is_ok());
        }
    }
    understood
}
