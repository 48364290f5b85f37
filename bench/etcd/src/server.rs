//! A server of either kind, in a process and a folder of its own.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use http::Uri;
use tonic::transport::{Channel, Endpoint};

use crate::{
    Result,
    lean::Lean,
    wire::etcdserverpb::{StatusRequest, maintenance_client::MaintenanceClient},
};

/// Which server, and its binary.
pub enum Kind {
    Etcd(PathBuf),
    Portolan(PathBuf),
}

impl Kind {
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Etcd(_) => "etcd",
            Kind::Portolan(_) => "portolan",
        }
    }
}

/// A running server, or a cluster of them. Killed and cleared away when dropped.
pub struct Server {
    /// The leader first.
    members: Vec<Member>,
    folder: PathBuf,
}

struct Member {
    child: Child,
    port: u16,
}

/// Where a member is reached, by clients and by the others.
#[derive(Clone, Copy)]
struct Ports {
    client: u16,
    peer: u16,
}

/// Which members a load goes to.
#[derive(Clone, Copy)]
pub enum At {
    /// All in turn, beginning with the leader.
    All,
    /// All but the leader; the only one where there is only one.
    Followers,
}

/// Builds the etcd of `peer/go.mod`; none without a Go toolchain.
pub fn build_etcd() -> Result<Option<PathBuf>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("peer");
    let binary = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/etcd");
    let built = Command::new("go")
        .current_dir(folder)
        .args(["build", "-o"])
        .arg(&binary)
        .arg("go.etcd.io/etcd/server/v3")
        .status();
    match built {
        Ok(status) if status.success() => Ok(Some(binary)),
        Ok(status) => Err(format!("go build of etcd: {status}").into()),
        Err(_) => Ok(None),
    }
}

/// Builds the load program of etcd's own Go client.
pub fn build_go_load() -> Result<()> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("client");
    let built = Command::new("go")
        .current_dir(folder)
        .args(["build", "-o"])
        .arg(go_binary())
        .arg(".")
        .status()
        .map_err(|error| format!("rows that begin with go- need a Go toolchain: {error}"))?;
    if built.success() {
        Ok(())
    } else {
        Err(format!("go build of the load: {built}").into())
    }
}

fn go_binary() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/go-load")
}

/// Starts it; it goes with its handle.
pub fn go_load(
    port: u16,
    row: &str,
    clients: usize,
    time: Duration,
) -> Result<tokio::process::Child> {
    Ok(tokio::process::Command::new(go_binary())
        .args(["-endpoint", &format!("127.0.0.1:{port}"), "-row", row])
        .args(["-clients", &clients.to_string()])
        .args(["-seconds", &time.as_secs_f64().to_string()])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Server {
    /// Starts so many members on empty folders, and waits until each answers and knows the leader.
    pub async fn start(kind: &Kind, members: usize) -> Result<Server> {
        let ports: Vec<Ports> = (0..members)
            .map(|_| {
                Ok(Ports {
                    client: free_port()?,
                    peer: free_port()?,
                })
            })
            .collect::<Result<_>>()?;
        // Beside the build, not in a temporary folder: that may be in memory.
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!(
            "target/run-{}-{}",
            kind.name(),
            ports[0].client
        ));
        let mut server = Server {
            members: Vec::new(),
            folder,
        };
        for (at, own) in ports.iter().enumerate() {
            let folder = server.folder.join(format!("m{at}"));
            fs::create_dir_all(&folder)?;
            let mut command = match kind {
                Kind::Etcd(binary) => etcd(binary, &folder, at, &ports),
                Kind::Portolan(binary) => portolan(binary, &folder, at, &ports),
            };
            let log = fs::File::create(folder.join("log"))?;
            let child = command
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()?;
            server.members.push(Member {
                child,
                port: own.client,
            });
        }
        let begun = Instant::now();
        let mut leader = None;
        let mut at = 0;
        while at < members {
            // A connection that was accepted before the server serves may never be answered.
            let asked = status(ports[at].client);
            match tokio::time::timeout(Duration::from_secs(1), asked).await {
                Ok(Ok((leads, own))) if leads != 0 => {
                    if leads == own {
                        leader = Some(at);
                    }
                    at += 1;
                }
                _ if begun.elapsed() > Duration::from_secs(30) => {
                    let log = fs::read_to_string(server.folder.join(format!("m{at}/log")));
                    let log = log.unwrap_or_default();
                    return Err(format!("{} did not start:\n{log}", kind.name()).into());
                }
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        server.members.swap(0, leader.ok_or("no member leads")?);
        Ok(server)
    }

    /// Of the leader.
    pub fn port(&self) -> u16 {
        self.members[0].port
    }

    pub async fn channel(&self) -> Result<Channel> {
        channel(self.port()).await
    }

    /// Connections for calls with one message each way.
    pub async fn lean(&self, many: usize, at: At) -> Result<Vec<Lean>> {
        let members = match at {
            At::Followers if self.members.len() > 1 => &self.members[1..],
            _ => &self.members[..],
        };
        let mut connections = Vec::new();
        for member in members.iter().cycle().take(many) {
            connections.push(Lean::connect(member.port).await?);
        }
        Ok(connections)
    }

    /// The address of a method, such as `KV/Put`.
    pub fn uri(&self, method: &str) -> Result<Uri> {
        Ok(format!("http://127.0.0.1:{}/etcdserverpb.{method}", self.port()).parse()?)
    }

    pub async fn channels(&self, many: usize) -> Result<Vec<Channel>> {
        let mut channels = Vec::new();
        for _ in 0..many {
            channels.push(self.channel().await?);
        }
        Ok(channels)
    }

    /// CPU time the processes have used, user and system.
    pub fn cpu(&self) -> Result<Duration> {
        self.members.iter().map(Member::cpu).sum()
    }

    /// Resident memory of all, in MiB.
    pub fn rss_mib(&self) -> Result<f64> {
        self.members.iter().map(Member::rss_mib).sum()
    }

    pub async fn stop(self) -> Result<()> {
        drop(self);
        // Let the disk have its rest before the next one starts.
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Member {
    fn cpu(&self) -> Result<Duration> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name may hold spaces; the fields after its bracket do not.
        let fields: Vec<&str> = text
            .rsplit_once(')')
            .ok_or("stat")?
            .1
            .split_whitespace()
            .collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        // A tick is 10 ms on every Linux this runs on.
        Ok(Duration::from_millis(ticks * 10))
    }

    fn rss_mib(&self) -> Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .ok_or("VmRSS")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse::<f64>()? / 1024.0)
    }
}

async fn channel(port: u16) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?;
    Ok(endpoint.tcp_nodelay(true).connect().await?)
}

/// The leader that a member knows of, and itself.
async fn status(port: u16) -> Result<(u64, u64)> {
    let mut client = MaintenanceClient::new(channel(port).await?);
    let status = client.status(StatusRequest {}).await?.into_inner();
    let own = status.header.ok_or("no header")?.member_id;
    Ok((status.leader, own))
}

fn etcd(binary: &Path, folder: &Path, at: usize, ports: &[Ports]) -> Command {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let (client, peer) = (url(ports[at].client), url(ports[at].peer));
    let all = ports.iter().enumerate();
    let all: Vec<String> = all
        .map(|(at, ports)| format!("m{at}={}", url(ports.peer)))
        .collect();
    let mut command = Command::new(binary);
    command
        .args(["--name", &format!("m{at}"), "--log-level", "error"])
        .arg("--data-dir")
        .arg(folder.join("data"))
        .args(["--listen-client-urls", &client])
        .args(["--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer])
        .args(["--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &all.join(",")]);
    command
}

/// Everything but etcd's port is shut: what stands beside it has no others.
const SHUT: [&str; 8] = [
    "consul",
    "dns",
    "zookeeper",
    "eureka",
    "nacos",
    "kubernetes",
    "xds",
    "native",
];

fn portolan(binary: &Path, folder: &Path, at: usize, ports: &[Ports]) -> Command {
    let address = |port: u16| format!("127.0.0.1:{port}");
    let mut command = Command::new(binary);
    command
        .args(["serve", "--node-name", &format!("m{at}"), "--data-dir"])
        .arg(folder.join("data"))
        .args(["--cluster-listen", &address(ports[at].peer)])
        .args(["--listen", &format!("etcd={}", address(ports[at].client))]);
    for name in SHUT {
        command.args(["--listen", &format!("{name}=off")]);
    }
    if ports.len() > 1 {
        command.args(["--bootstrap-expect", &ports.len().to_string()]);
        for other in ports {
            command.args(["--join", &address(other.peer)]);
        }
    }
    command
}
