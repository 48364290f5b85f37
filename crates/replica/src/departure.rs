//! That a directory has left its cluster, in a file of it: a clean leave is for good, and no start undoes it unasked.

use std::io;

use crate::disk::{Disk, OpenMode, replace};

const LEFT: &str = "left";
const TEXT: &[u8] =
    b"this server has left its cluster; a start with --join or --rejoin brings it back\n";

/// Whether the directory has left.
///
/// # Errors
/// Any error of the system.
pub(crate) fn has_left(disk: &dyn Disk) -> io::Result<bool> {
    match disk.open(LEFT, OpenMode::Read) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Remembers it, before anybody is told.
///
/// # Errors
/// Any error of the system.
pub(crate) fn note(disk: &dyn Disk) -> io::Result<()> {
    replace(disk, LEFT, TEXT)
}

/// It has not left after all, or comes back.
///
/// # Errors
/// Any error of the system.
pub(crate) fn forget(disk: &dyn Disk) -> io::Result<()> {
    match disk.remove(LEFT) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;

    #[test]
    fn a_directory_has_left_until_it_comes_back() {
        let disk = MemoryDisk::new();
        assert!(!has_left(&disk).unwrap());
        forget(&disk).unwrap();
        note(&disk).unwrap();
        note(&disk).unwrap();
        assert!(has_left(&disk).unwrap());
        forget(&disk).unwrap();
        assert!(!has_left(&disk).unwrap());
    }
}
