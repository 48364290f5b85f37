//! The promise of a server that belongs to no cluster yet, in a file of its directory; see `portolan_cluster::founding`.

use std::io;
use std::sync::Arc;

use portolan_cluster::founding::{Keep, Promise};

use crate::disk::{Disk, OpenMode, read_whole, replace};

const PROMISE: &str = "promise";

/// The promise of a directory.
#[derive(Clone, Debug)]
pub struct PromiseFile(Arc<dyn Disk>);

impl PromiseFile {
    /// That of `disk`.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>) -> PromiseFile {
        PromiseFile(disk)
    }
}

impl Keep for PromiseFile {
    fn load(&self) -> io::Result<Option<Promise>> {
        match self.0.open(PROMISE, OpenMode::Read) {
            Ok(file) => Promise::from_bytes(&read_whole(file.as_ref())?).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn save(&self, promise: Option<&Promise>) -> io::Result<()> {
        match promise {
            Some(promise) => replace(self.0.as_ref(), PROMISE, &promise.to_bytes()),
            None => match self.0.remove(PROMISE) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use portolan_cluster::members::Server;

    use super::*;
    use crate::disk::MemoryDisk;

    #[test]
    fn a_promise_is_kept_until_it_is_taken_back() {
        let file = PromiseFile::new(Arc::new(MemoryDisk::new()));
        assert_eq!(file.load().unwrap(), None);
        file.save(None).unwrap();
        let own = Server {
            node: 3,
            name: "n".to_owned(),
            address: "a:1".to_owned(),
            level: 1,
        };
        let promise = Promise {
            servers: vec![own.clone()],
            own,
            cluster: 9,
            founder: 4,
        };
        file.save(Some(&promise)).unwrap();
        assert_eq!(file.load().unwrap(), Some(promise));
        file.save(None).unwrap();
        assert_eq!(file.load().unwrap(), None);
    }
}
