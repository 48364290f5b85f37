//! Consul's snapshot archive: a gzip file around a tar of `metadata.json`, `state.bin` and `SHA256SUMS`.
//!
//! Promises: what was packed is unpacked; anything else is refused with a sentence, Consul's own where it has one, and never takes more
//! memory than was allowed. Deliberately absent: what is in a state, and files.
//!
//! Start with [`pack`] and [`unpack`].

use std::fmt::Write as _;
use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What a gzip file begins with.
pub const GZIP: [u8; 2] = [0x1f, 0x8b];
/// More no archive of ours has, nor one of Consul's.
const SMALL: u64 = 1 << 20;

const METADATA: &str = "metadata.json";
const STATE: &str = "state.bin";
const SUMS: &str = "SHA256SUMS";

/// What `metadata.json` says, in the words of Consul's Raft library.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Metadata {
    /// Of the format: 1.
    pub version: u32,
    /// `term-index-milliseconds`.
    #[serde(rename = "ID")]
    pub id: String,
    /// The index the state is of.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// The members in an older encoding; none.
    pub peers: Option<String>,
    /// The members.
    pub configuration: Configuration,
    /// Where they were decided.
    pub configuration_index: u64,
    /// Bytes of the state.
    pub size: u64,
}

/// The members of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Configuration {
    /// One for each.
    pub servers: Vec<Server>,
}

/// A member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Server {
    /// 0: it votes.
    pub suffrage: u8,
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// `IP:PORT` of its cluster port.
    pub address: String,
}

/// Why bytes are not an archive, in Consul's words where it has some.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// It is no gzip, or a damaged one.
    #[error("failed to decompress snapshot: {0}")]
    Gzip(String),
    /// The tar inside ends early, is none, or holds something else.
    #[error("failed to read snapshot file: {0}")]
    Tar(String),
    /// What was summed is something else.
    #[error("failed checking integrity of snapshot: {0}")]
    Sums(String),
}

/// Packs a state. `metadata.size` is filled in.
///
/// # Errors
/// Those of the writer.
pub fn pack(mut metadata: Metadata, state: &[u8], to: impl Write) -> io::Result<()> {
    metadata.size = state.len() as u64;
    let metadata = serde_json::to_vec(&metadata)?;
    let mut sums = String::new();
    // What is packed is compressed already where it is large.
    let mut tar = tar::Builder::new(GzEncoder::new(to, Compression::fast()));
    for (name, bytes) in [(METADATA, &metadata[..]), (STATE, state)] {
        add(&mut tar, name, bytes)?;
        // Writing into a string cannot fail.
        let _written = writeln!(sums, "{}  {name}", sum(bytes));
    }
    add(&mut tar, SUMS, sums.as_bytes())?;
    tar.into_inner()?.finish()?.flush()
}

fn add(tar: &mut tar::Builder<impl Write>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut head = tar::Header::new_gnu();
    head.set_size(bytes.len() as u64);
    head.set_mode(0o600);
    tar.append_data(&mut head, name, bytes)
}

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _written = write!(text, "{byte:02x}");
            text
        })
}

/// Unpacks an archive whose state has at most `most` bytes, and checks all of it.
///
/// # Errors
/// See [`Damaged`].
pub fn unpack(archive: &[u8], most: u64) -> Result<(Metadata, Vec<u8>), Damaged> {
    match archive {
        [] => return Err(Damaged::Gzip("EOF".to_owned())),
        [a, b, ..] if [*a, *b] == GZIP => {}
        _ => return Err(Damaged::Gzip("gzip: invalid header".to_owned())),
    }
    let unread = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Damaged::Tar("unexpected EOF".to_owned()),
        _ => Damaged::Tar(error.to_string()),
    };
    // One byte more than is allowed tells that there is more; heads and padding of three files are little.
    let mut tar = tar::Archive::new(MultiGzDecoder::new(archive).take(most.saturating_add(SMALL)));
    let (mut metadata, mut state, mut sums) = (None, None, None);
    for entry in tar.entries().map_err(unread)? {
        let mut entry = entry.map_err(unread)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let (into, most) = match name.as_str() {
            METADATA => (&mut metadata, SMALL),
            STATE => (&mut state, most),
            SUMS => (&mut sums, SMALL),
            other => {
                return Err(Damaged::Tar(format!(
                    "unexpected file {other:?} in snapshot"
                )));
            }
        };
        if entry.size() > most {
            return Err(Damaged::Tar(format!(
                "{name} has {} bytes, at most {most} are read",
                entry.size()
            )));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(unread)?;
        if bytes.len() as u64 != entry.size() {
            return Err(Damaged::Tar("unexpected EOF".to_owned()));
        }
        *into = Some(bytes);
    }
    // A tar ends before the gzip does, whose sum is over all of it.
    let mut rest = tar.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(unread)?;
    if rest.limit() == 0 {
        return Err(Damaged::Tar("it is too long".to_owned()));
    }
    let missing = |name: &str| Damaged::Sums(format!("file {name:?} is missing"));
    let metadata = metadata.ok_or_else(|| missing(METADATA))?;
    let state = state.ok_or_else(|| missing(STATE))?;
    let sums = sums.ok_or_else(|| missing(SUMS))?;
    check(&sums, [(METADATA, &metadata), (STATE, &state)])?;
    let decoded: Metadata = serde_json::from_slice(&metadata)
        .map_err(|error| Damaged::Tar(format!("failed to decode snapshot metadata: {error}")))?;
    Ok((decoded, state))
}

fn check(sums: &[u8], files: [(&str, &Vec<u8>); 2]) -> Result<(), Damaged> {
    let lines = String::from_utf8_lossy(sums);
    for (name, bytes) in files {
        let said = lines
            .lines()
            .filter_map(|line| line.split_once("  "))
            .find(|(_, file)| *file == name);
        match said {
            None => return Err(Damaged::Sums(format!("list missing hash for {name:?}"))),
            Some((said, _)) if said != sum(bytes) => {
                return Err(Damaged::Sums(format!("hash check failed for {name:?}")));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(state: &[u8]) -> Vec<u8> {
        let metadata = Metadata {
            version: 1,
            id: "2-7-1700000000000".to_owned(),
            index: 7,
            term: 2,
            ..Metadata::default()
        };
        let mut archive = Vec::new();
        pack(metadata, state, &mut archive).unwrap();
        archive
    }

    fn why(archive: &[u8]) -> String {
        unpack(archive, 1 << 20).unwrap_err().to_string()
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        for state in [&b""[..], b"state", &[7; 100_000]] {
            let (metadata, read) = unpack(&packed(state), 1 << 20).unwrap();
            assert_eq!(read, state);
            assert_eq!(metadata.size, state.len() as u64);
            assert_eq!((metadata.index, metadata.term), (7, 2));
        }
    }

    #[test]
    fn everything_else_is_refused_with_a_sentence() {
        assert_eq!(why(b""), "failed to decompress snapshot: EOF");
        let text = "failed to decompress snapshot: gzip: invalid header";
        assert_eq!(why(b"{\"garbage\": 1}"), text);
        let whole = packed(&(0..=255).cycle().take(5000).collect::<Vec<u8>>());
        for length in 2..whole.len() {
            assert!(unpack(&whole[..length], 1 << 20).is_err(), "{length} bytes");
        }
        let good = unpack(&whole, 1 << 20);
        for at in 10..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            // A reference to other zeros among zeros says the same.
            let read = unpack(&changed, 1 << 20);
            assert!(read.is_err() || read == good, "byte {at}");
        }
        assert!(why(&packed(&vec![0; (1 << 20) + 1])).contains("at most 1048576 are read"));
        // A tar of other files, and one whose sums are those of another.
        let tar = |files: &[(&str, &[u8])]| {
            let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
            for (name, bytes) in files {
                add(&mut tar, name, bytes).unwrap();
            }
            tar.into_inner().unwrap().finish().unwrap()
        };
        assert!(why(&tar(&[("x", b"")])).ends_with("unexpected file \"x\" in snapshot"));
        let files: [(&str, &[u8]); 3] = [(METADATA, b"{}"), (STATE, b"s"), (SUMS, b"")];
        assert!(why(&tar(&files[..2])).contains("\"SHA256SUMS\" is missing"));
        assert!(why(&tar(&files)).contains("list missing hash for \"metadata.json\""));
        let sums = format!("{}  {METADATA}\n{}  {STATE}\n", sum(b"{}"), sum(b"other"));
        let wrong = tar(&[files[0], files[1], (SUMS, sums.as_bytes())]);
        assert!(why(&wrong).contains("hash check failed for \"state.bin\""));
    }
}
