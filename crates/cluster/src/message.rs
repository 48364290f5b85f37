//! How messages of this crate become bytes: a version byte, then postcard.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

const VERSION: u8 = 1;

/// The bytes of a message.
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    // Writing numbers and bytes into memory cannot fail.
    postcard::to_extend(message, vec![VERSION]).unwrap_or_default()
}

/// Reads a message.
///
/// # Errors
/// `InvalidData` when the bytes are not one of this version.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    match bytes.split_first() {
        Some((&VERSION, rest)) => postcard::from_bytes(rest)
            .map_err(|_| wrong("a message of a server cannot be read".to_owned())),
        Some((version, _)) => Err(wrong(format!(
            "a server speaks version {version} of the messages, this one speaks {VERSION}"
        ))),
        None => Err(wrong("a message of a server is empty".to_owned())),
    }
}
