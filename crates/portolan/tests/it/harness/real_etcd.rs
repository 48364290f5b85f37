//! A real etcd beside the binary under test.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::http;
use super::server::free_address;

/// A running etcd. Ends with the test.
pub struct RealEtcd {
    child: Child,
    pub url: String,
    _folder: Option<tempfile::TempDir>,
}

impl RealEtcd {
    /// Starts an empty one.
    pub fn start(binary: &str) -> Result<RealEtcd, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let peer = format!("http://{}", free_address());
        let mut etcd = RealEtcd::on(binary, folder.path(), &peer)?;
        etcd._folder = Some(folder);
        Ok(etcd)
    }

    /// Starts one on a data directory, as the only member of its cluster.
    pub fn on(binary: &str, folder: &Path, peer: &str) -> Result<RealEtcd, String> {
        let url = format!("http://{}", free_address());
        let mut command = Command::new(binary);
        command
            .args(["--name", "peer", "--log-level", "error", "--data-dir"])
            .arg(folder)
            .args(["--listen-client-urls", &url])
            .args(["--advertise-client-urls", &url])
            .args(["--listen-peer-urls", peer])
            .args(["--initial-advertise-peer-urls", peer])
            .args(["--initial-cluster", &format!("peer={peer}")])
            .arg("--unsafe-no-fsync");
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{binary}: {error}"))?;
        Ok(RealEtcd {
            child,
            url,
            _folder: None,
        })
    }

    /// Its address without the scheme.
    pub fn address(&self) -> std::net::SocketAddr {
        self.url["http://".len()..].parse().expect("an address")
    }

    /// Waits until it answers.
    pub fn ready(&self) -> Result<(), String> {
        let healthy = || match http::call(self.address(), "GET", "/health", None) {
            Ok(reply) if reply.status == 200 => Ok(()),
            Ok(reply) => Err(reply.text()),
            Err(why) => Err(why.to_string()),
        };
        super::eventually(Duration::from_secs(60), healthy)
    }
}

impl Drop for RealEtcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
