//! Server processes of our own: started, read, ended.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a start or an end may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server, killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// What it listens on, as it said: name and address.
    ports: Vec<(String, SocketAddr)>,
    /// From the start of the process to its line `ready`.
    pub started: Duration,
}

impl Server {
    /// Portolan with its Consul and Eureka ports on free ports and its data below `folder`.
    pub fn portolan(binary: &Path, folder: &Path) -> Result<Self> {
        let mut command = Command::new(binary);
        command
            .arg("serve")
            .arg("--data-dir")
            .arg(folder.join("data"));
        for listen in [
            "consul=127.0.0.1:0",
            "eureka=127.0.0.1:0",
            "dns=off",
            "etcd=off",
            "native=off",
        ] {
            command.args(["--listen", listen]);
        }
        Self::start(command, &folder.join("portolan.log"))
    }

    /// Starts a program and waits for its line `ready`.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("cannot make {}", log.display()))?;
        let before = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let output = child.stdout.take().context("no output")?;
        let (sender, lines) = mpsc::channel();
        // Reads to the end, so that the server never waits for a reader.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut server = Self {
            child,
            ports: Vec::new(),
            started: Duration::ZERO,
        };
        loop {
            let Ok(line) = lines.recv_timeout(PATIENCE) else {
                bail!(
                    "the server did not become ready: {}",
                    fs::read_to_string(log).unwrap_or_default()
                );
            };
            let mut words = line.split_whitespace();
            match (words.next(), words.next(), words.next()) {
                (Some("listening"), Some(name), Some(address)) => {
                    server.ports.push((name.to_owned(), address.parse()?));
                }
                (Some("ready"), _, _) => break,
                _ => {}
            }
        }
        server.started = before.elapsed();
        Ok(server)
    }

    /// The address of one of its ports.
    pub fn port(&self, name: &str) -> Result<SocketAddr> {
        self.ports
            .iter()
            .find(|(port, _)| port == name)
            .map(|(_, address)| *address)
            .with_context(|| format!("the server does not listen for {name}"))
    }

    /// User and system time so far, in microseconds.
    pub fn cpu_us(&self) -> Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The program's name may hold spaces; behind it, fields 14 and 15 of the line are 11 and 12.
        let (_, rest) = text.rsplit_once(')').context("an odd /proc/PID/stat")?;
        let ticks: u64 = rest
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        // The kernel gives hundredths of a second to user space, whatever its own tick is.
        Ok(ticks as f64 * 10_000.0)
    }

    /// Resident memory in MiB: `VmRSS` is all of it, `RssAnon` without the pages of files.
    pub fn resident_mib(&self, which: &str) -> Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib: f64 = text
            .lines()
            .find_map(|line| line.strip_prefix(which)?.strip_prefix(':'))
            .and_then(|rest| rest.split_whitespace().next())
            .context("no such line of memory")?
            .parse()?;
        Ok(kib / 1024.0)
    }

    /// Sends a signal and waits for the end; gives the time that took.
    pub fn end(mut self, signal: Signal) -> Result<Duration> {
        let before = Instant::now();
        let pid = Pid::from_raw(i32::try_from(self.child.id())?).context("no process")?;
        kill_process(pid, signal)?;
        while self.child.try_wait()?.is_none() {
            if before.elapsed() > PATIENCE {
                bail!("the server did not end");
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(before.elapsed())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder for one measurement, removed at its end.
#[derive(Debug)]
pub struct Folder(pub PathBuf);

impl Folder {
    /// Makes it below the folder for temporary files.
    pub fn new(name: &str) -> Result<Self> {
        let path =
            std::env::temp_dir().join(format!("portolan-bench-http-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
