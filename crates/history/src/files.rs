//! Where chunks are kept: named files that are written once and then only read.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// A file that does not change any more. It can be read for as long as it is held, also after it was removed.
pub trait File: Send + Sync + fmt::Debug {
    /// Reads up to `buffer.len()` bytes; fewer only at the end of the file.
    ///
    /// # Errors
    /// Any error of the system.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Length in bytes.
    ///
    /// # Errors
    /// Any error of the system.
    fn length(&self) -> io::Result<u64>;
}

/// A file and its name.
pub type Named = (String, Arc<dyn File>);

/// A set of such files.
pub trait Files: Send + Sync + fmt::Debug {
    /// Writes a file. When this returns, the file is durable under its name; when it fails or the process ends meanwhile, there is no
    /// file of that name, or the one that was there before.
    ///
    /// # Errors
    /// `StorageFull`, after which the file's space was given back, and any other error of the system.
    fn create(
        &self,
        name: &str,
        fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Arc<dyn File>>;

    /// Removes a file. May be forgotten by a crash.
    ///
    /// # Errors
    /// Any error of the system.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// All files, by name.
    ///
    /// # Errors
    /// Any error of the system.
    fn list(&self) -> io::Result<Vec<Named>>;

    /// Bytes that can still be written.
    ///
    /// # Errors
    /// Any error of the system.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// Files in memory, for a registry without a disk. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryFiles(Arc<Mutex<BTreeMap<String, Arc<MemoryFile>>>>);

#[derive(Debug)]
struct MemoryFile(Vec<u8>);

impl MemoryFiles {
    fn files(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<MemoryFile>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names and lengths.
    #[must_use]
    pub fn lengths(&self) -> Vec<(String, usize)> {
        let files = self.files();
        files
            .iter()
            .map(|(name, file)| (name.clone(), file.0.len()))
            .collect()
    }

    /// Changes a file's bytes, as a failing disk would.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut files = self.files();
        if let Some(file) = files.get(name) {
            let mut bytes = file.0.clone();
            change(&mut bytes);
            files.insert(name.to_owned(), Arc::new(MemoryFile(bytes)));
        }
    }
}

impl File for MemoryFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.0.get(start..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}

impl Files for MemoryFiles {
    fn create(
        &self,
        name: &str,
        fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Arc<dyn File>> {
        let mut bytes = Vec::new();
        fill(&mut bytes)?;
        let file = Arc::new(MemoryFile(bytes));
        self.files().insert(name.to_owned(), file.clone());
        Ok(file)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match self.files().remove(name) {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn list(&self) -> io::Result<Vec<Named>> {
        let files = self.files();
        Ok(files
            .iter()
            .map(|(name, file)| (name.clone(), file.clone() as Arc<dyn File>))
            .collect())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}
