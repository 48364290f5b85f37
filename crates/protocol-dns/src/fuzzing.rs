//! The way in for the fuzz targets.

use crate::https::in_query;
use crate::wire::{Decoded, HEADER, Labels, decode, exercise_response};

/// Decodes one message, and reads its name as the schemes do; the same bytes as what a recursor said.
pub fn message(packet: &[u8]) {
    exercise_response(packet);
    if let Decoded::Query(query) = decode(packet) {
        let mut text = [0; 256];
        let end = query.end();
        assert!(end <= packet.len(), "a question ends inside its packet");
        if let Some(labels) = Labels::read(&packet[HEADER..end - 4], &mut text) {
            for index in 0..labels.len() {
                assert!(labels.get(index).len() < 64, "a label is short");
            }
        }
    }
}

/// Decodes the query part of a URL as DNS over HTTPS has it, and the message in it.
pub fn https_query(bytes: &[u8]) {
    let Ok(query) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(packet) = in_query(query) {
        message(&packet);
    }
}
