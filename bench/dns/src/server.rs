//! Starting the servers with the same names, and reading their processor time and memory.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::fill;
use crate::data::{address, name};

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ours.
    Portolan,
    /// Knot DNS.
    Knot,
    /// NSD.
    Nsd,
}

impl Kind {
    /// Its name in the table and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portolan => "portolan",
            Self::Knot => "knot",
            Self::Nsd => "nsd",
        }
    }

    /// The inverse of [`Kind::name`].
    pub fn parse(text: &str) -> Result<Self, String> {
        [Self::Portolan, Self::Knot, Self::Nsd]
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| format!("no server {text:?}; there is: portolan, knot, nsd"))
    }
}

/// A running server, killed when dropped.
#[derive(Debug)]
pub struct Server {
    /// Which.
    pub kind: Kind,
    /// Its port on 127.0.0.1.
    pub port: u16,
    child: Child,
}

impl Server {
    /// Starts a server and waits until it answers for the last name.
    pub fn start(
        kind: Kind,
        folder: &Path,
        names: usize,
        threads: usize,
        portolan: &Path,
    ) -> Result<Self, String> {
        let own = folder.join(kind.name());
        fs::create_dir_all(&own)
            .map_err(|error| format!("cannot make {}: {error}", own.display()))?;
        let port = free_port()?;
        let mut http = None;
        let mut command = match kind {
            Kind::Knot => knot(&own, names, threads, port)?,
            Kind::Nsd => nsd(&own, names, threads, port)?,
            Kind::Portolan if portolan.file_name().is_some_and(|file| file == "names") => {
                let mut command = Command::new(portolan);
                command.args([port.to_string(), names.to_string(), threads.to_string()]);
                command
            }
            Kind::Portolan => {
                let api = free_port()?;
                http = Some(api);
                fill::serve(portolan, &own, port, api, threads)
            }
        };
        let log = own.join("log");
        let file = || {
            File::create(&log).map_err(|error| format!("cannot make {}: {error}", log.display()))
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(file()?)
            .stderr(file()?)
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", kind.name()))?;
        let mut server = Self { kind, port, child };
        if let Some(api) = http {
            fill::wait(api)?;
            fill::register(api, names)?;
        }
        server.wait_for_answer(&name(names - 1)).map_err(|error| {
            format!(
                "{}: {error}\n{}",
                kind.name(),
                fs::read_to_string(&log).unwrap_or_default()
            )
        })?;
        Ok(server)
    }

    fn wait_for_answer(&mut self, name: &str) -> Result<(), String> {
        let socket = UdpSocket::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
        socket
            .set_read_timeout(Some(Duration::from_millis(200)))
            .map_err(|error| error.to_string())?;
        let mut query = b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
        for label in [name, "service", "consul"] {
            query.push(label.len() as u8);
            query.extend(label.bytes());
        }
        query.extend(*b"\x00\x00\x01\x00\x01");
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("ended with {status}"));
            }
            let mut reply = [0; 512];
            let sent = socket.send_to(&query, ("127.0.0.1", self.port));
            // One answer, no error.
            if sent.is_ok()
                && socket.recv(&mut reply).is_ok()
                && reply[3] & 15 == 0
                && reply[7] == 1
            {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err("did not answer within 60 s".to_owned())
    }

    /// The process and its descendants: some servers answer from children.
    fn processes(&self) -> BTreeSet<u32> {
        let mut family = BTreeSet::from([self.child.id()]);
        let entries: Vec<(u32, u32)> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(|pid| Some((pid, stat(pid)?.get(1)?.parse().ok()?)))
            .collect();
        loop {
            let known = family.len();
            family.extend(
                entries
                    .iter()
                    .filter(|(_, parent)| family.contains(parent))
                    .map(|(pid, _)| *pid)
                    .collect::<Vec<_>>(),
            );
            if family.len() == known {
                return family;
            }
        }
    }

    /// User and system time so far, in microseconds.
    pub fn cpu_us(&self) -> Result<f64, String> {
        let mut ticks = 0_u64;
        for pid in self.processes() {
            // Fields 14 and 15 of the line, counted from 1; the first two are cut off.
            let fields = stat(pid).ok_or_else(|| format!("{} is gone", self.kind.name()))?;
            ticks += [11, 12]
                .into_iter()
                .filter_map(|at| fields.get(at)?.parse::<u64>().ok())
                .sum::<u64>();
        }
        // The kernel gives hundredths of a second to user space, whatever its own tick is.
        Ok(ticks as f64 * 10_000.0)
    }

    /// Resident memory of all its processes, in MiB; shared pages count in each.
    pub fn resident_mib(&self) -> f64 {
        let kib = |pid: u32| -> Option<f64> {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.split_whitespace().next()?.parse().ok()
        };
        self.processes().into_iter().filter_map(kib).sum::<f64>() / 1024.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for pid in self.processes().into_iter().rev() {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
        let _ = self.child.wait();
    }
}

/// The fields of `/proc/PID/stat` from the state on; the program's name before it may hold spaces.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// A port that is free for both UDP and TCP.
pub fn free_port() -> Result<u16, String> {
    for _ in 0..64 {
        let socket = UdpSocket::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
        let port = socket
            .local_addr()
            .map_err(|error| error.to_string())?
            .port();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no free port".to_owned())
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn zone(own: &Path, names: usize) -> Result<(), String> {
    let mut text = String::from(
        "$ORIGIN service.consul.\n$TTL 5\n@ SOA ns hostmaster 1 3600 600 86400 5\n@ NS ns\nns A 127.0.0.1\n",
    );
    for index in 0..names {
        let _ = writeln!(text, "{} A {}", name(index), address(index));
    }
    write(&own.join("zone"), &text)
}

fn knot(own: &Path, names: usize, threads: usize, port: u16) -> Result<Command, String> {
    zone(own, names)?;
    let folder = own.display();
    let text = format!(
        "server:\n  rundir: {folder}\n  listen: 127.0.0.1@{port}\n  udp-workers: {threads}\n  tcp-workers: 1\n  background-workers: 1\n\
         database:\n  storage: {folder}\n\
         log:\n  - target: stderr\n    any: warning\n\
         template:\n  - id: default\n    storage: {folder}\n    journal-content: none\n    zonefile-sync: -1\n    semantic-checks: off\n\
         zone:\n  - domain: service.consul\n    file: zone\n"
    );
    write(&own.join("conf"), &text)?;
    let mut command = Command::new("knotd");
    command.arg("-c").arg(own.join("conf"));
    Ok(command)
}

fn nsd(own: &Path, names: usize, threads: usize, port: u16) -> Result<Command, String> {
    zone(own, names)?;
    let folder = own.display();
    // Answers without authority section, as the others give them, and no limit on the rate of answers.
    let text = format!(
        "server:\n  server-count: {threads}\n  ip-address: 127.0.0.1@{port}\n  reuseport: yes\n  username: \"\"\n  chroot: \"\"\n  \
         zonesdir: {folder}\n  pidfile: {folder}/pid\n  xfrdfile: {folder}/xfrd\n  zonelistfile: {folder}/zones\n  xfrdir: {folder}\n  \
         minimal-responses: yes\n  rrl-ratelimit: 0\n  verbosity: 0\nremote-control:\n  control-enable: no\n\
         zone:\n  name: service.consul\n  zonefile: zone\n"
    );
    write(&own.join("conf"), &text)?;
    let mut command = Command::new("nsd");
    command.arg("-d").arg("-c").arg(own.join("conf"));
    Ok(command)
}
