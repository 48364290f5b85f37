//! The servers that are measured, as processes.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::Client;

/// A running server. Ends with the value, and its folder with it.
pub struct Server {
    pub name: &'static str,
    pub address: SocketAddr,
    child: Child,
    folder: PathBuf,
}

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn folder(name: &str) -> io::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("portolan-bench-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

impl Server {
    /// Portolan with its ZooKeeper port alone.
    pub fn portolan(binary: &Path) -> io::Result<Server> {
        let (address, folder) = (free_address()?, folder("portolan")?);
        let mut command = Command::new(binary);
        command
            .args(["serve", "--zookeeper-connections-per-address=0"])
            .arg("--data-dir")
            .arg(folder.join("data"))
            .arg(format!("--listen=zookeeper={address}"))
            .arg("--cluster-listen=127.0.0.1:0")
            .arg("--listen=native=127.0.0.1:0");
        for other in [
            "consul",
            "dns",
            "etcd",
            "eureka",
            "kubernetes",
            "nacos",
            "xds",
        ] {
            command.arg(format!("--listen={other}=off"));
        }
        Server::start("portolan", address, folder, command)
    }

    /// ZooKeeper 3.9 from a folder of its libraries, with a gigabyte of heap.
    pub fn zookeeper(libraries: &Path) -> io::Result<Server> {
        let (address, folder) = (free_address()?, folder("zookeeper")?);
        let file = folder.join("zoo.cfg");
        let settings = format!(
            "tickTime=2000\ndataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\nadmin.enableServer=false\n",
            folder.display(),
            address.port(),
        );
        fs::write(&file, settings)?;
        let mut command = Command::new("java");
        command
            .args(["-Xmx1g", "-cp"])
            .arg(format!("{}/*", libraries.display()))
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(file);
        Server::start("zookeeper", address, folder, command)
    }

    fn start(
        name: &'static str,
        address: SocketAddr,
        folder: PathBuf,
        mut command: Command,
    ) -> io::Result<Server> {
        let log = fs::File::create(folder.join("log"))?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command.spawn()?;
        let server = Server {
            name,
            address,
            child,
            folder,
        };
        let until = Instant::now() + Duration::from_secs(60);
        // A port that is open may not serve yet.
        while Client::connect(address).is_err() {
            if Instant::now() > until {
                let said = fs::read_to_string(server.folder.join("log")).unwrap_or_default();
                return Err(io::Error::other(format!(
                    "{name} does not serve; it said:\n{said}"
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Processor time so far.
    pub fn cpu(&self) -> Duration {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let ticks = |at: usize| -> u64 {
            rest.split(' ')
                .nth(at)
                .and_then(|ticks| ticks.parse().ok())
                .unwrap_or_default()
        };
        // Ticks are hundredths of a second on every Linux that this runs on.
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// Resident memory in MiB.
    pub fn memory(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.unwrap_or_default() / 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
