//! The binary under test as a process: started, killed, started again on the same ports and directory.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The protocols that are built.
pub const PROTOCOLS: [&str; 9] = [
    "consul",
    "dns",
    "etcd",
    "eureka",
    "kubernetes",
    "nacos",
    "native",
    "xds",
    "zookeeper",
];

/// Their ports, in the alphabet's order.
pub const PORTS: [&str; 10] = [
    "consul",
    "dns",
    "etcd",
    "eureka",
    "kubernetes",
    "nacos",
    "nacos-grpc",
    "native",
    "xds",
    "zookeeper",
];

/// How long a start may take before it counts as failed.
const START: Duration = Duration::from_secs(90);

/// How often other ports are tried when somebody else took one in the meantime.
const ATTEMPTS: usize = 5;

/// The binary under test, named by `PORTOLAN_BIN`; without it a suite has nothing to test.
pub fn binary() -> Option<PathBuf> {
    std::env::var_os("PORTOLAN_BIN").map(PathBuf::from)
}

/// Ends a test with a word when there is no binary to test.
#[macro_export]
macro_rules! need_binary {
    () => {
        if $crate::harness::server::binary().is_none() {
            println!("skipped: PORTOLAN_BIN is not set; `cargo xtask test` sets it");
            return;
        }
    };
}

/// A running (or killed) server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    addresses: BTreeMap<String, SocketAddr>,
    folder: Folder,
    said: Arc<Mutex<String>>,
}

#[derive(Debug)]
enum Folder {
    Own(TempDir),
    Given(PathBuf),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Folder::Own(folder) => folder.path(),
            Folder::Given(path) => path,
        }
    }
}

/// How a server is to be started.
#[derive(Debug, Default)]
pub struct Start {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    folder: Option<PathBuf>,
}

impl Start {
    /// With another argument.
    pub fn with(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// On a data directory that somebody else owns.
    pub fn on(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_path_buf());
        self
    }

    /// Starts it and waits for `ready`.
    pub fn go(self) -> Server {
        let mut folder = match self.folder.clone() {
            Some(path) => Folder::Given(path),
            None => Folder::Own(tempfile::tempdir().expect("a temporary folder")),
        };
        let mut attempt = 1;
        loop {
            let mut arguments = vec![
                "serve".to_owned(),
                "--data-dir".to_owned(),
                folder.path().join("data").display().to_string(),
            ];
            for protocol in PROTOCOLS {
                // A port of its own that stays the same over restarts, as in production: clients must find the server again.
                arguments.push("--listen".into());
                let address = match protocol {
                    "nacos" => free_pair(),
                    _ => free_address(),
                };
                arguments.push(format!("{protocol}={address}"));
            }
            arguments.extend(self.arguments.iter().cloned());
            let mut server = Server {
                child: spawn(&arguments, &self.environment),
                arguments,
                environment: self.environment.clone(),
                addresses: BTreeMap::new(),
                folder,
                said: Arc::default(),
            };
            match server.wait_ready() {
                Ok(()) => return server,
                Err(why) if attempt < ATTEMPTS && why.contains("cannot listen on") => {
                    attempt += 1;
                    folder = server.give_back();
                }
                Err(why) => panic!("{why}"),
            }
        }
    }
}

/// An address on loopback whose port is free for TCP and UDP, and stays so while no server listens on it: it lies below
/// the ports that the system gives to clients' own ends of connections.
pub fn free_address() -> SocketAddr {
    const FIRST: u32 = 10_240;
    const PORTS: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = std::process::id().wrapping_mul(97).wrapping_add(number) % PORTS;
        let port = u16::try_from(FIRST + offset).expect("a port");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// As [`free_address`], where the port a thousand above is free as well: Nacos' clients look for gRPC there.
pub fn free_pair() -> SocketAddr {
    loop {
        let address = free_address();
        let beside = SocketAddr::new(address.ip(), address.port() + 1000);
        if TcpListener::bind(beside).is_ok() {
            return address;
        }
    }
}

fn spawn(arguments: &[String], environment: &[(String, String)]) -> Child {
    Command::new(binary().expect("PORTOLAN_BIN"))
        .args(arguments)
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts")
}

impl Server {
    /// A server with every protocol on a free port of loopback and an empty data directory.
    pub fn start() -> Server {
        Start::default().go()
    }

    /// A server with more arguments.
    pub fn with(arguments: &[&str]) -> Server {
        arguments
            .iter()
            .fold(Start::default(), |start, argument| start.with(*argument))
            .go()
    }

    /// Where a protocol listens.
    pub fn address(&self, protocol: &str) -> SocketAddr {
        *self.addresses.get(protocol).unwrap_or_else(|| {
            panic!(
                "no `listening {protocol}` line; the server said:\n{}",
                self.said()
            )
        })
    }

    /// The protocols that said they listen, in the alphabet's order. The cluster port is none of them.
    pub fn listening(&self) -> Vec<String> {
        let names = self.addresses.keys().filter(|name| *name != "cluster");
        names.cloned().collect()
    }

    /// Everything the server wrote since its last start.
    pub fn said(&self) -> String {
        self.said.lock().expect("the reader").clone()
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process still runs.
    pub fn is_up(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its folder, for the next one.
    fn give_back(&mut self) -> Folder {
        let path = self.folder.path().to_path_buf();
        std::mem::replace(&mut self.folder, Folder::Given(path))
    }

    /// Kills it as a power cut would: no drain, no goodbye.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again on the same directory and ports; the time until `ready`.
    pub fn start_again(&mut self) -> Duration {
        self.try_start_again().unwrap_or_else(|why| panic!("{why}"))
    }

    /// As [`Server::start_again`], but a server that does not come up is an answer.
    pub fn try_start_again(&mut self) -> Result<Duration, String> {
        self.kill();
        let mut attempt = 1;
        loop {
            let started = Instant::now();
            self.said = Arc::default();
            self.child = spawn(&self.arguments, &self.environment);
            match self.wait_ready() {
                Ok(()) => return Ok(started.elapsed()),
                // The ports stay as they are: whoever has one is another test that is about to let it go.
                Err(why) if attempt < ATTEMPTS && why.contains("cannot listen on") => {
                    attempt += 1;
                    std::thread::sleep(Duration::from_secs(1));
                }
                Err(why) => return Err(why),
            }
        }
    }

    /// Asks it to stop and waits for its end.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus, String> {
        signal(self.pid(), rustix::process::Signal::TERM);
        self.wait_end(limit)
    }

    /// Waits for its end.
    pub fn wait_end(&mut self, limit: Duration) -> Result<ExitStatus, String> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().map_err(|error| error.to_string())? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "still running {limit:?} later; it said:\n{}",
                    self.said()
                ));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn wait_ready(&mut self) -> Result<(), String> {
        let streams: [Box<dyn Read + Send>; 2] = [
            Box::new(self.child.stdout.take().expect("piped")),
            Box::new(self.child.stderr.take().expect("piped")),
        ];
        let mut readers = Vec::new();
        for stream in streams {
            let said = Arc::clone(&self.said);
            readers.push(std::thread::spawn(move || {
                for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                    let mut said = said.lock().expect("the reader");
                    said.push_str(&String::from_utf8_lossy(&line));
                    said.push('\n');
                }
            }));
        }
        let deadline = Instant::now() + START;
        loop {
            let said = self.said();
            if said.lines().any(|line| line.trim() == "ready") {
                self.addresses = said.lines().filter_map(listening).collect();
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                // The readers may still hold the last words.
                let words = super::eventually(Duration::from_secs(10), || {
                    let done = readers.iter().all(std::thread::JoinHandle::is_finished);
                    done.then_some(())
                        .ok_or_else(|| "its output is open".to_owned())
                });
                assert!(words.is_ok(), "{words:?}");
                return Err(format!(
                    "the server ended before `ready` ({status}); it said:\n{}",
                    self.said()
                ));
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "no `ready` within {START:?}; the server said:\n{said}"
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// `listening NAME ADDR`.
fn listening(line: &str) -> Option<(String, SocketAddr)> {
    let mut words = line.split_whitespace();
    if words.next() != Some("listening") {
        return None;
    }
    Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
}

/// Sends a signal to a process that this test started.
pub fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().expect("a pid")).expect("a pid");
    let _ = rustix::process::kill_process(pid, signal);
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let said = self.said();
            let lines: Vec<&str> = said.lines().collect();
            println!(
                "--- the server said:\n{}",
                lines[lines.len().saturating_sub(40)..].join("\n")
            );
        }
    }
}
