//! The operating system's disk.

#![allow(
    clippy::disallowed_methods,
    reason = "this is the disk of a real server"
)]

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Disk, DiskFile, OpenMode};

/// A directory of the file system.
#[derive(Debug)]
pub struct RealDisk {
    path: PathBuf,
    directory: File,
}

impl RealDisk {
    /// Opens the directory, creating it (mode 0700) and its parents if missing.
    ///
    /// # Errors
    /// Any error of the system.
    pub fn open(path: &Path) -> io::Result<RealDisk> {
        create_directories(path, &mut |parent| File::open(parent)?.sync_all())?;
        Ok(RealDisk {
            path: path.to_owned(),
            directory: File::open(path)?,
        })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Creates a directory and what is missing above it, each name made durable by `sync` of the directory that holds it: after a power loss a
/// directory that was acknowledged into must not be gone.
fn create_directories(
    path: &Path,
    sync: &mut dyn FnMut(&Path) -> io::Result<()>,
) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => return Err(io::ErrorKind::NotFound.into()),
    };
    create_directories(parent, sync)?;
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    sync(parent)
}

impl Disk for RealDisk {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::Write => {
                options.write(true);
            }
            OpenMode::Create => {
                use std::os::unix::fs::OpenOptionsExt;
                options.write(true).create(true).truncate(true).mode(0o600);
            }
        }
        Ok(Arc::new(RealFile(options.open(self.path.join(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.directory.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let figures = rustix::fs::fstatvfs(&self.directory)?;
        Ok(figures.f_bavail.saturating_mul(figures.f_frsize))
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn write_at(&self, mut offset: u64, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        // Empty parts at the end would read as "wrote nothing".
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match rustix::io::pwritev(&self.0, parts, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    offset += count as u64;
                    IoSlice::advance_slices(&mut parts, count);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, length) {
            Ok(()) => Ok(()),
            // Some file systems cannot; there, writing is the only way.
            Err(rustix::io::Errno::OPNOTSUPP) => {
                let zeros = vec![0; 1 << 20];
                let mut at = 0;
                while at < length {
                    let count = (length - at).min(zeros.len() as u64);
                    self.write_at(at, &mut [IoSlice::new(&zeros[..count as usize])])?;
                    at += count;
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directory_that_is_made_is_synced_into_the_one_above() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("a").join("b").join("data");
        let mut synced = Vec::new();
        create_directories(&path, &mut |parent| {
            synced.push(parent.to_owned());
            Ok(())
        })
        .unwrap();
        assert!(path.is_dir());
        let above = |names: &[&str]| {
            names
                .iter()
                .fold(top.path().to_owned(), |at, name| at.join(name))
        };
        assert_eq!(synced, [above(&[]), above(&["a"]), above(&["a", "b"])]);
        create_directories(&path, &mut |_| Err(io::Error::other("nothing was made"))).unwrap();
        assert!(RealDisk::open(&path).is_ok());
    }
}
