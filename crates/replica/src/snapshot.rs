//! Snapshot files: a whole state at one place of the log, in one file with a checksum.
//!
//! ```text
//! magic "PORTSNAP" · version u32 · one lz4 frame · crc32c u32 of all before · length u64 of all before · "PSEN"
//! inside the frame: records, each a length u32 and its bytes; a length of zero ends them
//! first record: the head, postcard behind a version byte; the others are those of the catalog
//! ```

mod directory;

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use lz4_flex::frame::{FrameDecoder, FrameEncoder, FrameInfo};
use portolan_catalog::stored;
use portolan_catalog::{Batch, State};

use crate::disk::{DiskFile, FileReader, read_exact_at};
use crate::log::Position;

pub use directory::SnapshotFile;
pub(crate) use directory::Snapshots;

const MAGIC: &[u8; 8] = b"PORTSNAP";
const VERSION: u32 = 1;
const END: &[u8; 4] = b"PSEN";
const TRAILER: u64 = 16;
const HEAD_VERSION: u8 = 1;
/// No record is longer: a damaged length must not ask for all memory.
const LONGEST: u32 = 1 << 30;
const BUFFER: usize = 256 << 10;

/// What a snapshot is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Cluster it was taken in; 0 in a file that never knew one.
    pub cluster_id: u64,
    /// Last entry in it.
    pub last: Option<Position>,
    /// Where the membership was decided.
    pub membership_at: Option<Position>,
    /// The membership, encoded by the consensus module.
    pub membership: Vec<u8>,
    /// Revision of the state.
    pub revision: u64,
    /// Replicated time of the state, milliseconds since the epoch.
    pub at_ms: u64,
}

impl Head {
    /// Index of the last entry in it; 0 without one.
    pub(crate) fn index(&self) -> u64 {
        self.last.map_or(0, |last| last.index)
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
struct HeadTwin {
    cluster_id: u64,
    last: Option<(u64, u64)>,
    membership_at: Option<(u64, u64)>,
    membership: Vec<u8>,
    revision: u64,
    at_ms: u64,
}

/// Why a snapshot cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It is not a whole, sound snapshot.
    #[error("snapshot \"{name}\" is damaged: {what}; use another one")]
    Damaged {
        /// The file.
        name: String,
        /// What does not fit.
        what: String,
    },
    /// The system refused.
    #[error("cannot {doing} snapshot \"{name}\"")]
    Io {
        /// The file.
        name: String,
        /// What was tried.
        doing: &'static str,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// Writes a state as a snapshot; gives back the number of bytes.
///
/// # Errors
/// Those of the writer.
pub fn write(state: &State, head: &Head, to: impl Write) -> io::Result<u64> {
    let mut summed = Summed::new(BufWriter::with_capacity(BUFFER, to));
    summed.write_all(MAGIC)?;
    summed.write_all(&VERSION.to_le_bytes())?;
    let frame = FrameInfo::new().block_size(lz4_flex::frame::BlockSize::Max256KB);
    let mut encoder = FrameEncoder::with_frame_info(frame, summed);
    write_record(&mut encoder, &encode_head(head))?;
    stored::snapshot(state, |record| write_record(&mut encoder, record))?;
    encoder.write_all(&0u32.to_le_bytes())?;
    let mut summed = encoder.finish().map_err(io::Error::from)?;
    let (sum, length) = (summed.sum, summed.length);
    summed.write_all(&sum.to_le_bytes())?;
    summed.write_all(&length.to_le_bytes())?;
    summed.write_all(END)?;
    summed.flush()?;
    Ok(summed.length)
}

fn write_record(to: &mut impl Write, record: &[u8]) -> io::Result<()> {
    let length = u32::try_from(record.len())
        .ok()
        .filter(|length| (1..=LONGEST).contains(length))
        .ok_or_else(|| io::Error::other("a snapshot record is too long"))?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(record)
}

/// Reads a snapshot of `length` bytes and checks all of it. `earlier` gets the batches that led to its state, which only a snapshot of
/// an earlier version has.
///
/// # Errors
/// What is wrong with it, in words, or the reader's error.
pub fn read(
    from: impl Read,
    length: u64,
    mut earlier: impl FnMut(Vec<Arc<Batch>>),
) -> Result<(Head, State), ReadError> {
    let mut restore = stored::Restore::new();
    let head = scan(from, length, |record| {
        restore
            .record(record)
            .map_err(|error| ReadError::Damaged(error.to_string()))?;
        let batches = restore.take_batches();
        if !batches.is_empty() {
            earlier(batches);
        }
        Ok(())
    })?;
    let state = restore
        .finish()
        .map_err(|error| ReadError::Damaged(error.to_string()))?;
    Ok((head, state))
}

/// Reads a snapshot as parts of about `part` bytes that can be handed in one after the other, see
/// [`RestorePart::records`](portolan_catalog::RestorePart::records). All of it is checked, also that it is a state.
///
/// # Errors
/// As [`read`].
pub fn read_parts(
    from: impl Read,
    length: u64,
    part: usize,
) -> Result<(Head, Vec<Bytes>), ReadError> {
    let mut restore = stored::Restore::new();
    let (mut parts, mut open) = (Vec::new(), Vec::new());
    let head = scan(from, length, |record| {
        restore
            .record(record)
            .map_err(|error| ReadError::Damaged(error.to_string()))?;
        restore.take_batches();
        let size = u32::try_from(record.len()).unwrap_or(LONGEST);
        open.extend_from_slice(&size.to_le_bytes());
        open.extend_from_slice(record);
        if open.len() >= part {
            parts.push(Bytes::from(std::mem::take(&mut open)));
        }
        Ok(())
    })?;
    restore
        .finish()
        .map_err(|error| ReadError::Damaged(error.to_string()))?;
    if !open.is_empty() {
        parts.push(open.into());
    }
    Ok((head, parts))
}

/// Checks a snapshot and gives its head, without building its state.
///
/// # Errors
/// As [`read`].
pub fn check(from: impl Read, length: u64) -> Result<Head, ReadError> {
    scan(from, length, |_| Ok(()))
}

/// Why bytes are not a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// They are something else, or were damaged.
    #[error("{0}")]
    Damaged(String),
    /// They could not be read.
    #[error("reading failed")]
    Io(#[from] io::Error),
}

fn scan(
    from: impl Read,
    length: u64,
    mut each: impl FnMut(&[u8]) -> Result<(), ReadError>,
) -> Result<Head, ReadError> {
    let damaged = |what: &str| ReadError::Damaged(what.to_owned());
    let body = length
        .checked_sub(TRAILER)
        .ok_or_else(|| damaged("it is too short"))?;
    let mut from = BufReader::with_capacity(BUFFER, from);
    let mut summed = Summed::new((&mut from).take(body));
    let mut start = [0; 12];
    cut_short(summed.read_exact(&mut start))?;
    if &start[..8] != MAGIC {
        return Err(damaged("it does not begin like a snapshot"));
    }
    let version = crate::log::frame::u32_at(&start, 8);
    if version != VERSION {
        return Err(ReadError::Damaged(format!(
            "it has format {version}, this version reads format {VERSION}"
        )));
    }
    let mut decoder = FrameDecoder::new(summed);
    let mut head = None;
    let mut record = Vec::new();
    loop {
        let mut size = [0; 4];
        cut_short(decoder.read_exact(&mut size))?;
        let size = u32::from_le_bytes(size);
        if size == 0 {
            break;
        }
        if size > LONGEST {
            return Err(damaged("a record has an impossible length"));
        }
        record.clear();
        cut_short(
            (&mut decoder)
                .take(u64::from(size))
                .read_to_end(&mut record),
        )?;
        if record.len() != size as usize {
            return Err(damaged("it ends inside a record"));
        }
        match head {
            None => head = Some(decode_head(&record).ok_or_else(|| damaged("its head is bad"))?),
            Some(_) => each(&record)?,
        }
    }
    // The frame's own end mark, and whatever else belongs to the checksum.
    let mut more = [0; 1];
    if cut_short(decoder.read(&mut more))? != 0 {
        return Err(damaged("there is something after the last record"));
    }
    let mut summed = decoder.into_inner();
    cut_short(io::copy(&mut summed, &mut io::sink()))?;
    let (sum, counted) = (summed.sum, summed.length);
    let mut trailer = [0; TRAILER as usize];
    cut_short(from.read_exact(&mut trailer))?;
    if crate::log::frame::u32_at(&trailer, 0) != sum
        || crate::log::frame::u64_at(&trailer, 4) != counted
        || &trailer[12..] != END
    {
        return Err(damaged("its checksum does not match"));
    }
    head.ok_or_else(|| damaged("it is empty"))
}

/// Data that the decoder refuses is damage, not a failing disk.
fn cut_short<T>(result: io::Result<T>) -> Result<T, ReadError> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => ReadError::Damaged("it ends too early".to_owned()),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other
            if error.raw_os_error().is_none() =>
        {
            ReadError::Damaged(error.to_string())
        }
        _ => ReadError::Io(error),
    })
}

fn pair(position: Option<Position>) -> Option<(u64, u64)> {
    position.map(|position| (position.term, position.index))
}

fn unpair(pair: Option<(u64, u64)>) -> Option<Position> {
    pair.map(|(term, index)| Position { term, index })
}

fn encode_head(head: &Head) -> Vec<u8> {
    let twin = HeadTwin {
        cluster_id: head.cluster_id,
        last: pair(head.last),
        membership_at: pair(head.membership_at),
        membership: head.membership.clone(),
        revision: head.revision,
        at_ms: head.at_ms,
    };
    // Writing numbers and bytes into memory cannot fail.
    postcard::to_extend(&twin, vec![HEAD_VERSION]).unwrap_or_default()
}

fn decode_head(bytes: &[u8]) -> Option<Head> {
    let (version, rest) = bytes.split_first()?;
    if *version != HEAD_VERSION {
        return None;
    }
    let twin: HeadTwin = postcard::from_bytes(rest).ok()?;
    Some(Head {
        cluster_id: twin.cluster_id,
        last: unpair(twin.last),
        membership_at: unpair(twin.membership_at),
        membership: twin.membership,
        revision: twin.revision,
        at_ms: twin.at_ms,
    })
}

/// Passes bytes on and keeps their checksum and number.
struct Summed<T> {
    inner: T,
    sum: u32,
    length: u64,
}

impl<T> Summed<T> {
    fn new(inner: T) -> Self {
        Summed {
            inner,
            sum: 0,
            length: 0,
        }
    }

    fn note(&mut self, bytes: &[u8]) {
        self.sum = crc32c::crc32c_append(self.sum, bytes);
        self.length += bytes.len() as u64;
    }
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.note(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.note(&buffer[..count]);
        Ok(count)
    }
}

/// The head of a file without reading the rest.
fn read_head(file: Arc<dyn DiskFile>, length: u64) -> Result<Head, ReadError> {
    let mut end = [0; 4];
    if length < TRAILER {
        return Err(ReadError::Damaged("it is too short".to_owned()));
    }
    read_exact_at(file.as_ref(), length - 4, &mut end)?;
    if &end != END {
        return Err(ReadError::Damaged("it ends too early".to_owned()));
    }
    let mut head = None;
    let stop = scan_first(FileReader::new(file), &mut head);
    match (head, stop) {
        (Some(head), _) => Ok(head),
        (None, Err(error)) => Err(error),
        (None, Ok(())) => Err(ReadError::Damaged("it is empty".to_owned())),
    }
}

fn scan_first(from: impl Read, head: &mut Option<Head>) -> Result<(), ReadError> {
    let mut from = BufReader::new(from);
    let mut start = [0; 12];
    cut_short(from.read_exact(&mut start))?;
    if &start[..8] != MAGIC || crate::log::frame::u32_at(&start, 8) != VERSION {
        return Err(ReadError::Damaged(
            "it does not begin like a snapshot of this version".to_owned(),
        ));
    }
    let mut decoder = FrameDecoder::new(from);
    let mut size = [0; 4];
    cut_short(decoder.read_exact(&mut size))?;
    let mut record = Vec::new();
    cut_short(
        decoder
            .take(u64::from(u32::from_le_bytes(size).min(LONGEST)))
            .read_to_end(&mut record),
    )?;
    *head = decode_head(&record);
    Ok(())
}
