//! The last list of every discovered service, on disk.

use std::io::Write;
use std::path::PathBuf;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::endpoint::{Endpoint, Service};
use crate::error::Error;

/// A directory with a file for each service.
#[derive(Clone, Debug)]
pub(crate) struct Kept(PathBuf);

/// What a file holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct File {
    pub(crate) revision: u64,
    pub(crate) endpoints: Vec<Endpoint>,
}

impl Kept {
    pub(crate) fn open(directory: PathBuf) -> Result<Kept, Error> {
        std::fs::create_dir_all(&directory).map_err(|error| {
            Error::Setup(format!(
                "the directory {directory:?} cannot be made: {error}"
            ))
        })?;
        Ok(Kept(directory))
    }

    fn path(&self, service: &Service) -> PathBuf {
        let part = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let (namespace, group) = (part(&service.namespace), part(&service.group));
        self.0
            .join(format!("{namespace}.{group}.{}.json", part(&service.name)))
    }

    /// What was kept of a service; a file that cannot be read is none.
    pub(crate) fn load(&self, service: &Service) -> Option<File> {
        let path = self.path(service);
        let bytes = std::fs::read(&path).ok()?;
        match serde_json::from_slice(&bytes) {
            Ok(file) => Some(file),
            Err(error) => {
                tracing::warn!(?path, %error, "a kept list of endpoints cannot be read");
                None
            }
        }
    }

    /// Keeps a list; whoever reads meanwhile sees the old one or the new one.
    pub(crate) fn store(&self, service: &Service, file: &File) {
        let path = self.path(service);
        let written = serde_json::to_vec(file)
            .map_err(std::io::Error::other)
            .and_then(|bytes| {
                let mut new = tempfile::NamedTempFile::new_in(&self.0)?;
                new.write_all(&bytes)?;
                new.persist(&path).map_err(|error| error.error)
            });
        if let Err(error) = written {
            tracing::warn!(?path, %error, "a list of endpoints cannot be kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_whatever_the_name() {
        let directory = tempfile::tempdir().unwrap();
        let kept = Kept::open(directory.path().join("lists")).unwrap();
        let services = [
            Service::new("../../etc/passwd"),
            Service::new("a.b"),
            Service::new("b").group("a"),
        ];
        for (number, service) in services.iter().enumerate() {
            assert!(kept.load(service).is_none());
            let file = File {
                revision: number as u64,
                endpoints: Vec::new(),
            };
            kept.store(service, &file);
        }
        for (number, service) in services.iter().enumerate() {
            assert_eq!(kept.load(service).unwrap().revision, number as u64);
        }
        std::fs::write(kept.path(&services[0]), "{").unwrap();
        assert!(kept.load(&services[0]).is_none());
    }
}
