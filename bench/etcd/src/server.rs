//! A server of either kind, in a process and a folder of its own.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
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

/// A running server. Killed and cleared away when dropped.
pub struct Server {
    child: std::process::Child,
    folder: PathBuf,
    port: u16,
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
    /// Starts on an empty folder, and waits until it answers.
    pub async fn start(kind: &Kind) -> Result<Server> {
        let port = free_port()?;
        // Beside the build, not in a temporary folder: that may be in memory.
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join(format!("target/run-{}-{port}", kind.name()));
        fs::create_dir_all(&folder)?;
        let mut command = match kind {
            Kind::Etcd(binary) => etcd(binary, &folder, port)?,
            Kind::Portolan(binary) => portolan(binary, &folder, port),
        };
        let log = fs::File::create(folder.join("log"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let server = Server {
            child,
            folder,
            port,
        };
        let begun = Instant::now();
        loop {
            // A connection that was accepted before the server serves may never be answered.
            let leads = async {
                let mut client = MaintenanceClient::new(server.channel().await?);
                let status = client.status(StatusRequest {}).await?.into_inner();
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(status.leader != 0)
            };
            if let Ok(Ok(true)) = tokio::time::timeout(Duration::from_secs(1), leads).await {
                return Ok(server);
            }
            if begun.elapsed() > Duration::from_secs(20) {
                let log = fs::read_to_string(server.folder.join("log")).unwrap_or_default();
                return Err(format!("{} did not start:\n{log}", kind.name()).into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub async fn channel(&self) -> Result<Channel> {
        Ok(
            Endpoint::from_shared(format!("http://127.0.0.1:{}", self.port))?
                .tcp_nodelay(true)
                .connect()
                .await?,
        )
    }

    /// Connections for calls with one message each way.
    pub async fn lean(&self, many: usize) -> Result<Vec<Lean>> {
        let mut connections = Vec::new();
        for _ in 0..many {
            connections.push(Lean::connect(self.port).await?);
        }
        Ok(connections)
    }

    /// The address of a method, such as `KV/Put`.
    pub fn uri(&self, method: &str) -> Result<Uri> {
        Ok(format!("http://127.0.0.1:{}/etcdserverpb.{method}", self.port).parse()?)
    }

    pub async fn channels(&self, many: usize) -> Result<Vec<Channel>> {
        let mut channels = Vec::new();
        for _ in 0..many {
            channels.push(self.channel().await?);
        }
        Ok(channels)
    }

    /// CPU time the process has used, user and system.
    pub fn cpu(&self) -> Result<Duration> {
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

    /// Resident memory, in MiB.
    pub fn rss_mib(&self) -> Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .ok_or("VmRSS")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse::<f64>()? / 1024.0)
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
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn etcd(binary: &Path, folder: &Path, port: u16) -> Result<Command> {
    let peer = free_port()?;
    let (client, peer) = (
        format!("http://127.0.0.1:{port}"),
        format!("http://127.0.0.1:{peer}"),
    );
    let mut command = Command::new(binary);
    command
        .args(["--name", "peer", "--log-level", "error", "--data-dir"])
        .arg(folder.join("data"));
    command.args([
        "--listen-client-urls",
        &client,
        "--advertise-client-urls",
        &client,
    ]);
    command.args([
        "--listen-peer-urls",
        &peer,
        "--initial-advertise-peer-urls",
        &peer,
        "--initial-cluster",
        &format!("peer={peer}"),
    ]);
    Ok(command)
}

fn portolan(binary: &Path, folder: &Path, port: u16) -> Command {
    let mut command = Command::new(binary);
    command
        .args(["serve", "--data-dir"])
        .arg(folder.join("data"));
    command.args(["--listen", &format!("etcd=127.0.0.1:{port}")]);
    for protocol in ["consul", "dns", "eureka", "native"] {
        command.args(["--listen", &format!("{protocol}=off")]);
    }
    command
}
