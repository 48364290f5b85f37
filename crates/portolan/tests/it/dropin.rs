//! Called as `consul` or `etcd`: what people type and script for those programs.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::server::{self, signal};
use crate::harness::{eventually, http, same};
use crate::need_binary;

const PATIENCE: Duration = Duration::from_secs(40);

/// The binary under another program's name.
fn called(program: &str, words: &[&str]) -> Command {
    let mut command = Command::new(server::binary().unwrap());
    command.args(["as", program]).args(words);
    command
}

/// A server that was started by such a line; ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.0.kill();
        let _ended = self.0.wait();
    }
}

impl Running {
    /// Starts it in `folder`.
    fn start(program: &str, words: &[&str], folder: &Path) -> (Running, mpsc::Receiver<String>) {
        let mut child = called(program, words)
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (said, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                // The test may be over.
                let _heard = said.send(line);
            }
        });
        (Running(child), lines)
    }
}

fn wait_ready(lines: &mpsc::Receiver<String>) -> Vec<String> {
    let mut before = Vec::new();
    loop {
        let line = lines.recv_timeout(PATIENCE).expect("ready in time");
        if line == "ready" {
            return before;
        }
        before.push(line);
    }
}

/// What a client command prints, and its exit code.
fn consul(address: &str, words: &[&str]) -> (i32, String, String) {
    let output = called("consul", words)
        .env("CONSUL_HTTP_ADDR", address)
        .output()
        .unwrap();
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// As [`consul`], of a command that does what it is asked.
fn says(address: &str, words: &[&str]) -> String {
    let (code, out, problem) = consul(address, words);
    assert_eq!(code, 0, "{words:?}: {out}{problem}");
    out
}

/// Node, status and type of each line of `consul members`.
fn members(address: &str) -> Vec<(String, String, String)> {
    let (_, out, _) = consul(address, &["members"]);
    out.lines()
        .skip(1)
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next()?.to_owned();
            let status = words.nth(1)?.to_owned();
            Some((name, status, words.next()?.to_owned()))
        })
        .collect()
}

/// Config entries from a file in HashiCorp's language, and intentions.
fn entries_and_intentions(at: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.hcl");
    let text = "Kind = \"service-resolver\"\nName = \"web\"\nDefaultSubset = \"v1\"\n\
                Subsets = { v1 = { Filter = \"Service.Meta.version == v1\" } }\nConnectTimeout = \"15s\"\n";
    std::fs::write(&file, text).unwrap();
    assert_eq!(
        says(at, &["config", "write", file.to_str().unwrap()]),
        "Config entry written: service-resolver/web\n"
    );
    let read = says(
        at,
        &[
            "config",
            "read",
            "-kind",
            "service-resolver",
            "-name",
            "web",
        ],
    );
    let read: Value = serde_json::from_str(&read).unwrap();
    assert_eq!(
        (&read["DefaultSubset"], &read["ConnectTimeout"]),
        (&json!("v1"), &json!("15s"))
    );
    let list = says(at, &["config", "list", "-kind", "service-resolver"]);
    assert_eq!(list, "web\n");
    says(
        at,
        &[
            "config",
            "delete",
            "-kind",
            "service-resolver",
            "-name",
            "web",
        ],
    );
    assert_eq!(
        says(at, &["intention", "create", "-deny", "*", "db"]),
        "Created: * => db (deny)\n"
    );
    says(at, &["intention", "create", "web", "db"]);
    let (code, _, problem) = consul(at, &["intention", "create", "web", "db"]);
    assert!(
        code == 1 && problem.contains("duplicate intention found"),
        "{problem}"
    );
    assert_eq!(says(at, &["intention", "check", "web", "db"]), "Allowed\n");
    let denied = consul(at, &["intention", "check", "other", "db"]);
    assert_eq!((denied.0, denied.1.as_str()), (2, "Denied\n"));
    assert_eq!(
        says(at, &["intention", "match", "db"]),
        "web => db (allow)\n* => db (deny)\n"
    );
    assert!(says(at, &["intention", "list"]).contains("web     allow   db           9"));
    assert_eq!(
        says(at, &["intention", "delete", "web", "db"]),
        "Intention deleted.\n"
    );
    assert_eq!(consul(at, &["intention", "get", "web", "db"]).0, 1);
}

#[test]
fn a_development_agent_answers_and_keeps_nothing() {
    need_binary!();
    let folder = tempfile::tempdir().unwrap();
    let line = [
        "agent",
        "-dev",
        "-node",
        "n1",
        "-client",
        "127.0.9.11",
        "-bind",
        "127.0.9.11",
        "-hcl",
        "service { name = \"defined\" port = 81 }",
    ];
    let (mut running, lines) = Running::start("consul", &line, folder.path());
    let listening = wait_ready(&lines);
    assert!(listening.contains(&"listening cluster 127.0.9.11:8300".to_owned()));
    assert!(listening.contains(&"listening consul 127.0.9.11:8500".to_owned()));
    assert!(
        !listening.iter().any(|line| line.contains("etcd")),
        "{listening:?}"
    );
    let at = "127.0.9.11:8500";
    let up = ("n1".to_owned(), "alive".to_owned(), "server".to_owned());
    assert_eq!(members(at), [up]);
    assert_eq!(
        says(at, &["kv", "put", "a/b", "5"]),
        "Success! Data written to: a/b\n"
    );
    assert_eq!(says(at, &["kv", "get", "a/b"]), "5\n");
    assert_eq!(says(at, &["kv", "get", "-keys", "a/"]), "a/b\n");
    assert_eq!(
        consul(at, &["kv", "get", "nope"]),
        (
            1,
            String::new(),
            "Error! No key exists at: nope\n".to_owned()
        )
    );
    let exported = says(at, &["kv", "export", "a"]);
    says(at, &["kv", "delete", "-recurse", "a"]);
    assert_eq!(says(at, &["kv", "import", &exported]), "Imported: a/b\n");
    assert_eq!(says(at, &["kv", "get", "a/b"]), "5\n");
    assert_eq!(
        says(
            at,
            &["services", "register", "-name=web", "-port=80", "-tag=v1"]
        ),
        "Registered service: web\n"
    );
    let services = says(at, &["catalog", "services", "-tags"]);
    assert!(services.contains("web         v1"), "{services}");
    assert_eq!(
        says(at, &["watch", "-type=key", "-key=a/b"])
            .matches("\"Value\": \"NQ==\"")
            .count(),
        1
    );
    assert_eq!(
        says(at, &["lock", "-shell=false", "job", "echo", "held"]),
        "held\n"
    );
    assert!(says(at, &["operator", "raft", "list-peers"]).contains("leader"));
    entries_and_intentions(at);
    assert_eq!(consul(at, &["exec", "ls"]).0, 1);
    assert_eq!(
        consul(at, &["kv", "get", "-bogus"]).2,
        "flag provided but not defined: -bogus\n"
    );
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    signal(running.0.id(), Signal::INT);
    let asked = Instant::now();
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(10));
}

#[test]
fn three_servers_and_an_agent_by_consuls_own_lines() {
    need_binary!();
    let folder = tempfile::tempdir().unwrap();
    let address = |place: usize| format!("127.0.9.{}", 20 + place);
    let mut servers: Vec<_> = (1..=4)
        .map(|place| {
            let ip = address(place);
            let mut words = vec!["agent".to_owned(), "-ui".to_owned()];
            words.extend(match place {
                1 => vec!["-server".to_owned(), "-bootstrap-expect=3".to_owned()],
                4 => vec![format!("-retry-join={}", address(1))],
                _ => vec!["-server".to_owned(), format!("-retry-join={}", address(1))],
            });
            words.push(format!("-node=n{place}"));
            words.extend([format!("-client={ip}"), format!("-bind={ip}")]);
            words.push(format!("-data-dir=d{place}"));
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            Running::start("consul", &words, folder.path())
        })
        .collect();
    for (_, lines) in &servers {
        wait_ready(lines);
    }
    let http_at = |place: usize| format!("{}:8500", address(place));
    let socket = |place: usize| -> SocketAddr { http_at(place).parse().unwrap() };
    let peers = http::get_json(socket(1), "/v1/status/peers").unwrap();
    assert_eq!(peers.as_array().map(Vec::len), Some(3), "{peers}");
    let expected: Vec<_> = [
        ("n1", "server"),
        ("n2", "server"),
        ("n3", "server"),
        ("n4", "client"),
    ]
    .map(|(name, kind)| (name.to_owned(), "alive".to_owned(), kind.to_owned()))
    .into();
    eventually(PATIENCE, || same(&members(&http_at(4)), &expected)).unwrap();

    // Registered at the agent, seen at every server.
    let web = [
        "services",
        "register",
        "-name=web",
        "-port=80",
        "-address=10.0.0.1",
    ];
    says(&http_at(4), &web);
    let addresses = |place: usize| -> Result<Value, String> {
        let rows = http::get_json(socket(place), "/v1/health/service/web?passing")?;
        Ok(rows
            .as_array()
            .into_iter()
            .flatten()
            .map(|row| row["Service"]["Address"].clone())
            .collect())
    };
    for place in 1..=4 {
        eventually(PATIENCE, || same(&addresses(place)?, &json!(["10.0.0.1"]))).unwrap();
    }

    // Any server may go.
    let (first, _) = servers.remove(0);
    drop(first);
    eventually(PATIENCE, || {
        let (code, out, problem) = consul(&http_at(4), &["kv", "put", "x", "y"]);
        same(&code, &0).map_err(|why| format!("{why}: {out}{problem}"))
    })
    .unwrap();
    for place in [2, 3] {
        assert_eq!(says(&http_at(place), &["kv", "get", "x"]), "y\n");
        assert_eq!(addresses(place).unwrap(), json!(["10.0.0.1"]));
    }
    let gone = ("n1".to_owned(), "failed".to_owned(), "server".to_owned());
    eventually(PATIENCE, || same(&members(&http_at(4))[0], &gone)).unwrap();
}

#[test]
fn the_line_of_etcds_tutorials_starts_a_server() {
    need_binary!();
    let version = called("etcd", &["--version"]).output().unwrap();
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("etcd Version: 3."));
    let folder = tempfile::tempdir().unwrap();
    let (clients, peers) = ("http://127.0.9.31:2379", "http://127.0.9.31:2380");
    let line = [
        "--name",
        "node1",
        "--data-dir",
        "D",
        "--listen-client-urls",
        clients,
        "--advertise-client-urls",
        clients,
        "--listen-peer-urls",
        peers,
    ];
    let (mut running, lines) = Running::start("etcd", &line, folder.path());
    let listening = wait_ready(&lines);
    assert!(
        listening.contains(&"listening etcd 127.0.9.31:2379".to_owned()),
        "{listening:?}"
    );
    assert!(
        !listening.iter().any(|line| line.contains("consul")),
        "{listening:?}"
    );
    assert!(folder.path().join("D/node.toml").is_file());
    let at: SocketAddr = "127.0.9.31:2379".parse().unwrap();
    let put = json!({ "key": "YQ==", "value": "Yg==" }).to_string();
    let reply = http::call(at, "POST", "/v3/kv/put", Some(&put)).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    signal(running.0.id(), Signal::TERM);
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
}
