//! `Read` and `Write` over a [`DiskFile`], for snapshots.

use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

use super::DiskFile;

/// Writes from the beginning of a file on.
#[derive(Debug)]
pub struct FileWriter {
    file: Arc<dyn DiskFile>,
    offset: u64,
}

impl FileWriter {
    /// Begins at the first byte.
    #[must_use]
    pub fn new(file: Arc<dyn DiskFile>) -> Self {
        FileWriter { file, offset: 0 }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.offset
    }
}

impl Write for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file
            .write_at(self.offset, &mut [IoSlice::new(bytes)])?;
        self.offset += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads from the beginning of a file on.
#[derive(Debug)]
pub struct FileReader {
    file: Arc<dyn DiskFile>,
    offset: u64,
}

impl FileReader {
    /// Begins at the first byte.
    #[must_use]
    pub fn new(file: Arc<dyn DiskFile>) -> Self {
        FileReader { file, offset: 0 }
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(self.offset, buffer)?;
        self.offset += count as u64;
        Ok(count)
    }
}
