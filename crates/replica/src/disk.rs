//! The disk as the replica sees it: one flat directory of files.
//!
//! Everything that must survive goes through [`Disk`] and [`DiskFile`], so that a test or a simulation can lose unsynced bytes, tear
//! a write, fill the disk or fail any call. [`RealDisk`] is the operating system, [`MemoryDisk`] the fault injector.
//!
//! Rules every implementation keeps
//! - Written bytes are durable after [`DiskFile::sync_data`] of that file, names after [`Disk::sync_directory`].
//! - A rename replaces an existing file.

mod memory;
mod real;
mod stream;

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;

pub use memory::{Crash, MemoryDisk};
pub use real::RealDisk;
pub use stream::{FileReader, FileWriter};

/// An open file, written at offsets. Shared between threads.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Writes all parts one after the other beginning at `offset`; a file grows as needed.
    ///
    /// # Errors
    /// Any error of the system; the range is then undefined.
    fn write_at(&self, offset: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()>;

    /// Reads up to `buffer.len()` bytes; fewer only at the end of the file.
    ///
    /// # Errors
    /// Any error of the system.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Makes the file's bytes and length durable.
    ///
    /// # Errors
    /// Any error; the bytes written since the last success may be lost, and a second try proves nothing.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes sure that the first `length` bytes have space on the disk; the content of new ones is zero.
    ///
    /// # Errors
    /// `StorageFull`, and any other error of the system.
    fn allocate(&self, length: u64) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    /// Any error of the system.
    fn length(&self) -> io::Result<u64>;
}

/// How [`Disk::open`] treats a missing or present file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Must exist; read only.
    Read,
    /// Must exist; read and write.
    Write,
    /// Created, or emptied if present; read and write.
    Create,
}

/// A flat directory.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens a file by name.
    ///
    /// # Errors
    /// `NotFound` for a missing file unless the mode creates it, and any other error of the system.
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames a file, replacing the target.
    ///
    /// # Errors
    /// Any error of the system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound`, and any other error of the system.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Names of all files, in ascending order.
    ///
    /// # Errors
    /// Any error of the system.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    /// Any error of the system.
    fn sync_directory(&self) -> io::Result<()>;

    /// Bytes that an unprivileged process can still write.
    ///
    /// # Errors
    /// Any error of the system.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Where this is, for messages.
    fn place(&self) -> String;
}

/// Whether an error means that the disk, or this user's share of it, is full.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Reads a whole file.
///
/// # Errors
/// Any error of the system.
pub fn read_whole(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let length = file.length()?;
    let length = usize::try_from(length).map_err(|_| io::Error::other("file too long to read"))?;
    let mut bytes = vec![0; length];
    read_exact_at(file, 0, &mut bytes)?;
    Ok(bytes)
}

/// Fills the buffer or fails with `UnexpectedEof`.
pub(crate) fn read_exact_at(file: &dyn DiskFile, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(offset + done as u64, &mut buffer[done..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => done += count,
        }
    }
    Ok(())
}

/// Replaces a small file so that after a crash either the old or the new content is there: temporary name, sync, rename, directory
/// sync.
///
/// # Errors
/// Any error of the system; the old content is still there then.
pub fn replace(disk: &dyn Disk, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = format!("{name}.tmp");
    let file = disk.open(&temporary, OpenMode::Create)?;
    file.write_at(0, &mut [IoSlice::new(bytes)])?;
    file.sync_data()?;
    disk.rename(&temporary, name)?;
    disk.sync_directory()
}
