//! The command line against a running server: what it prints, in both forms, and how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::server::{self, Start, signal};
use crate::harness::{Server, eureka, eventually, http, same};
use crate::need_binary;

const SOON: Duration = Duration::from_secs(60);

fn command(server: &Server, arguments: &[&str]) -> Command {
    let mut command = Command::new(server::binary().unwrap());
    command
        .args(arguments)
        .env(
            "PORTOLAN_SERVER",
            format!("http://{}", server.address("native")),
        )
        .stdin(Stdio::null());
    command
}

fn run(server: &Server, arguments: &[&str]) -> Output {
    command(server, arguments).output().unwrap()
}

/// What a command prints that must succeed.
fn says(server: &Server, arguments: &[&str]) -> String {
    let output = run(server, arguments);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(
        output.status.success(),
        "`{}` ended with {}: {out}{err}",
        arguments.join(" "),
        output.status
    );
    out
}

fn json_of(server: &Server, arguments: &[&str]) -> Value {
    let said = says(server, &[arguments, &["--output", "json"]].concat());
    serde_json::from_str(&said)
        .unwrap_or_else(|error| panic!("`{}`: {error}: {said}", arguments.join(" ")))
}

/// The exit code and the message of a command that must not succeed.
fn fails(server: &Server, arguments: &[&str]) -> (i32, String) {
    let output = run(server, arguments);
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn consul_addresses(server: &Server, service: &str) -> Result<Vec<String>, String> {
    let rows = http::get_json(
        server.address("consul"),
        &format!("/v1/health/service/{service}?passing"),
    )?;
    let address = |row: &Value| {
        format!(
            "{}:{}",
            row["Service"]["Address"].as_str().unwrap_or_default(),
            row["Service"]["Port"]
        )
    };
    Ok(rows.as_array().into_iter().flatten().map(address).collect())
}

#[test]
fn what_is_registered_here_is_seen_everywhere() {
    need_binary!();
    let server = Server::start();
    let said = says(
        &server,
        &[
            "register", "web", "--host", "10.1.2.3", "--port", "8080", "--tag", "v1", "--meta",
            "zone=a",
        ],
    );
    assert!(said.contains("revision 2"), "{said}");
    assert_eq!(consul_addresses(&server, "web").unwrap(), ["10.1.2.3:8080"]);
    assert_eq!(
        eureka::app(server.address("eureka"), "web").unwrap().len(),
        1
    );

    let table = says(&server, &["services"]);
    assert!(table.lines().any(|line| line.contains("web")), "{table}");
    let table = says(&server, &["instances", "web"]);
    assert!(
        table.contains("10.1.2.3") && table.contains("8080"),
        "{table}"
    );
    let services = json_of(&server, &["services"]);
    assert!(services.to_string().contains("\"web\""), "{services}");
    let instances = json_of(&server, &["instances", "web"]).to_string();
    assert!(
        instances.contains("10.1.2.3") && instances.contains("v1"),
        "{instances}"
    );

    says(
        &server,
        &[
            "maintenance",
            "on",
            "web/10.1.2.3:8080",
            "--reason",
            "new disk",
        ],
    );
    assert!(consul_addresses(&server, "web").unwrap().is_empty());
    assert_eq!(
        eureka::app(server.address("eureka"), "web").unwrap()[0].status,
        "OUT_OF_SERVICE"
    );
    assert!(says(&server, &["why", "web"]).contains("new disk"));
    says(&server, &["maintenance", "off", "web/10.1.2.3:8080"]);
    assert_eq!(consul_addresses(&server, "web").unwrap().len(), 1);

    says(&server, &["deregister", "web/10.1.2.3:8080"]);
    assert!(consul_addresses(&server, "web").unwrap().is_empty());
    assert!(
        eureka::app(server.address("eureka"), "web")
            .unwrap()
            .is_empty()
    );
}

#[test]
fn an_instance_registered_by_another_protocol_can_be_taken_out() {
    need_binary!();
    let server = Server::start();
    let body =
        json!({ "Name": "theirs", "ID": "theirs-1", "Address": "10.1.2.4", "Port": 1 }).to_string();
    http::call(
        server.address("consul"),
        "PUT",
        "/v1/agent/service/register",
        Some(&body),
    )
    .unwrap();
    says(&server, &["deregister", "theirs/theirs-1"]);
    assert!(consul_addresses(&server, "theirs").unwrap().is_empty());
}

#[test]
fn keys_are_read_and_written() {
    need_binary!();
    let server = Server::start();
    says(&server, &["kv", "put", "a/b", "one"]);
    assert_eq!(says(&server, &["kv", "get", "a/b"]), "one");
    let reply = http::call(server.address("consul"), "GET", "/v1/kv/a/b?raw", None).unwrap();
    assert_eq!(reply.text(), "one");
    assert!(says(&server, &["kv", "list", "a/"]).contains("a/b"));
    assert_eq!(
        fails(&server, &["kv", "put", "a/b", "two", "--expect", "0"]).0,
        1
    );
    says(&server, &["kv", "put", "a/b", "two"]);
    assert_eq!(
        says(&server, &["kv", "get", "a/b", "--at", "2"]),
        "one",
        "the value as it was at revision 2"
    );
    says(&server, &["kv", "delete", "a/b"]);
    assert_eq!(fails(&server, &["kv", "get", "a/b"]).0, 4);
    says(&server, &["kv", "put", "--keyspace", "etcd", "k", "v"]);
    assert_eq!(
        fails(&server, &["kv", "get", "k"]).0,
        4,
        "keyspaces do not mix"
    );
}

#[test]
fn a_value_of_any_bytes_comes_back_as_it_was() {
    need_binary!();
    let server = Server::start();
    let every: Vec<u8> = (0..=255).chain([b'\n', 0]).collect();
    let mut child = command(&server, &["kv", "put", "bytes", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&every).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(run(&server, &["kv", "get", "bytes"]).stdout, every);
    let row = json_of(&server, &["kv", "get", "bytes"]);
    assert!(
        row["value_base64"].is_string() && row["value"].is_null(),
        "{row}"
    );
}

#[test]
fn names_of_others_do_not_begin_lines() {
    need_binary!();
    let server = Server::start();
    let said = says(
        &server,
        &["register", "a\nregistered b at revision 9", "--port", "1"],
    );
    assert_eq!(said.lines().count(), 1, "{said:?}");
    let (code, unknown) = fails(&server, &["why", "a\nb\u{1b}[2J"]);
    assert_eq!(code, 4);
    let listed = says(&server, &["services"]) + &says(&server, &["instances"]);
    for said in [listed, unknown] {
        assert!(!said.contains('\u{1b}'), "{said:?}");
        assert!(
            !said.lines().any(|line| line.starts_with("registered b")),
            "{said:?}"
        );
    }
}

#[test]
fn the_past_is_read() {
    need_binary!();
    let server = Server::start();
    says(
        &server,
        &["register", "old", "--host", "10.1.1.1", "--port", "1"],
    );
    says(&server, &["deregister", "old/10.1.1.1:1"]);
    assert!(!says(&server, &["instances", "old"]).contains("10.1.1.1"));
    assert!(says(&server, &["services", "--at", "2"]).contains("old"));
    assert!(says(&server, &["instances", "old", "--at", "2"]).contains("10.1.1.1"));
    assert!(says(&server, &["at", "2"]).contains('2'));
    let (code, said) = fails(&server, &["services", "--at", "4000000"]);
    assert!(code != 0 && !said.is_empty(), "{code} {said}");
}

#[test]
fn changes_are_watched() {
    need_binary!();
    let server = Server::start();
    let mut child = command(&server, &["watch", "--output", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = child.stdout.take().unwrap();
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    // It watches from when it is connected: something happens until it has seen something.
    let mut seen = String::new();
    for port in 1..200 {
        says(
            &server,
            &[
                "register",
                "watched",
                "--host",
                "10.1.1.1",
                "--port",
                &port.to_string(),
            ],
        );
        if let Ok(line) = lines.recv_timeout(Duration::from_millis(200)) {
            seen = line;
            break;
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    let line: Value =
        serde_json::from_str(&seen).unwrap_or_else(|error| panic!("{error}: {seen:?}"));
    assert!(
        line.to_string().contains("watched") || line.to_string().contains("revision"),
        "{line}"
    );
}

#[test]
fn a_watch_goes_on_over_restarts_and_tells_everything_once() {
    need_binary!();
    let mut server = Server::start();
    let mut child = command(
        &server,
        &["watch", "--keyspace", "consul-kv", "--output", "json"],
    )
    .stdout(Stdio::piped())
    .stderr(Stdio::null())
    .spawn()
    .unwrap();
    let out = child.stdout.take().unwrap();
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            let _ = sender.send(serde_json::from_str::<Value>(&line).unwrap());
        }
    });
    let first = lines.recv_timeout(SOON).unwrap();
    assert_eq!(first["type"], "start");
    let mut expected = Vec::new();
    for (round, key) in ["before", "killed", "stopped"].into_iter().enumerate() {
        if round == 1 {
            server.start_again();
        } else if round == 2 {
            server.terminate(SOON).unwrap();
            server.start_again();
        }
        says(&server, &["kv", "put", key, "v"]);
        expected.push(key.to_owned());
    }
    let mut seen = Vec::new();
    while seen.len() < expected.len() {
        let line = lines.recv_timeout(SOON).unwrap();
        match line["type"].as_str() {
            Some("event") => seen.push(line["changes"][0]["row"].as_str().unwrap().to_owned()),
            Some("idle") => {}
            _ => panic!("{line}"),
        }
    }
    assert_eq!(seen, expected);
    let _ = child.kill();
    let _ = child.wait();
    // A revision that is not there yet belongs to another catalog.
    let (code, said) = fails(&server, &["watch", "--after", "4000000"]);
    assert_eq!(code, 4, "{said}");
}

#[test]
fn what_is_held_goes_with_its_process() {
    need_binary!();
    let server = Server::start();
    for (port, how) in [
        ("7", rustix::process::Signal::INT),
        ("8", rustix::process::Signal::TERM),
    ] {
        let arguments = [
            "register", "held", "--host", "10.1.1.1", "--port", port, "--hold",
        ];
        let mut child = command(&server, &arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        eventually(SOON, || {
            let expected = vec![format!("10.1.1.1:{port}")];
            same(&consul_addresses(&server, "held")?, &expected)
        })
        .unwrap();
        signal(child.id(), how);
        let status = child.wait().unwrap();
        assert!(status.success(), "ended with {status}");
        assert!(consul_addresses(&server, "held").unwrap().is_empty());
    }
}

#[test]
fn a_snapshot_fills_an_empty_directory_and_nothing_else() {
    need_binary!();
    let mut server = Server::start();
    says(
        &server,
        &["register", "kept", "--host", "10.1.1.1", "--port", "1"],
    );
    says(&server, &["kv", "put", "k", "v"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("snapshot");
    let file = file.to_str().unwrap();
    says(&server, &["snapshot", "save", file]);
    assert!(
        says(&server, &["snapshot", "inspect", file]).contains('3'),
        "the revision is told"
    );
    let inspected = json_of(&server, &["snapshot", "inspect", file]);
    assert_eq!(inspected["revision"], 3, "{inspected}");
    assert!(
        inspected["at"].as_str().is_some_and(|at| at.ends_with('Z')),
        "{inspected}"
    );
    // Values are in it: nobody else may read it; and nothing else is left beside it.
    let mode = std::fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let directory = folder.path().to_str().unwrap();
    assert_eq!(fails(&server, &["snapshot", "save", directory]).0, 2);
    let missing = folder.path().join("missing").display().to_string();
    assert_eq!(fails(&server, &["snapshot", "inspect", &missing]).0, 4);

    let fresh = folder.path().join("restored");
    std::fs::create_dir(&fresh).unwrap();
    let data = fresh.join("data");
    let data_text = data.to_str().unwrap();
    says(
        &server,
        &[
            "snapshot",
            "restore",
            file,
            "--data-dir",
            data_text,
            "--node-name",
            "restored",
        ],
    );
    let refused = fails(
        &server,
        &[
            "snapshot",
            "restore",
            file,
            "--data-dir",
            data_text,
            "--node-name",
            "restored",
        ],
    );
    assert_ne!(
        refused.0, 0,
        "a directory with a catalog in it was overwritten"
    );
    let arguments = [
        "snapshot",
        "restore",
        file,
        "--data-dir",
        "x",
        "--node-name",
        "a.virtual",
    ];
    assert_eq!(fails(&server, &arguments).0, 2);
    server.kill();
    let second = Start::default()
        .on(&fresh)
        .with("--node-name")
        .with("restored")
        .go();
    assert_eq!(says(&second, &["kv", "get", "k"]), "v");
    assert_eq!(consul_addresses(&second, "kept").unwrap(), ["10.1.1.1:1"]);

    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, bytes).unwrap();
    let damaged = fails(&second, &["snapshot", "inspect", file]);
    assert_ne!(damaged.0, 0, "a damaged snapshot passes for whole");
}

#[test]
fn exit_codes_and_messages_tell_what_went_wrong() {
    need_binary!();
    let server = Server::start();
    assert_eq!(fails(&server, &["services", "--outptu", "json"]).0, 2);
    assert_eq!(fails(&server, &["deregister", "nobody/10.0.0.1:1"]).0, 4);
    assert_eq!(fails(&server, &["why", ""]).0, 2);
    assert_eq!(fails(&server, &["why", "nosuch"]).0, 4);
    assert_eq!(fails(&server, &["why", "10.9.9.9:1"]).0, 4);
    assert_eq!(fails(&server, &["why", "/"]).0, 2);
    assert_eq!(fails(&server, &["instances", "--health", "bad"]).0, 1);
    // Another protocol's port is there, and is not what was meant.
    let consul = format!("http://{}", server.address("consul"));
    let (code, said) = fails(&server, &["services", "--server", &consul]);
    assert!(code == 1 && said.contains("native port"), "{code} {said}");
    let output = Command::new(server::binary().unwrap())
        .args([
            "services",
            "--server",
            &format!("http://{}", server::free_address()),
        ])
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(3),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("portolan.toml");
    std::fs::write(&file, "lisen = [\"consul=off\"]\n").unwrap();
    let output = Command::new(server::binary().unwrap())
        .args(["serve", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success()
            && said.contains("\"lisen\"")
            && said.contains("line 1")
            && said.contains("did you mean \"listen\"?"),
        "{said}"
    );
}

#[test]
fn versions_completions_and_help() {
    need_binary!();
    let binary = server::binary().unwrap();
    for arguments in [
        &["--version"][..],
        &["version"],
        &["--help"],
        &["serve", "--help"],
        &["completions", "bash"],
        &["completions", "zsh"],
        &["completions", "fish"],
        &["register", "--help"],
        &["deregister", "--help"],
        &["services", "--help"],
        &["instances", "--help"],
        &["watch", "--help"],
        &["kv", "get", "--help"],
        &["kv", "put", "--help"],
        &["kv", "delete", "--help"],
        &["kv", "list", "--help"],
        &["maintenance", "on", "--help"],
        &["maintenance", "off", "--help"],
        &["why", "--help"],
        &["at", "--help"],
        &["snapshot", "save", "--help"],
        &["snapshot", "restore", "--help"],
        &["snapshot", "inspect", "--help"],
        &["guard", "--help"],
        &["layouts", "--help"],
    ] {
        let output = Command::new(&binary).args(arguments).output().unwrap();
        assert!(
            output.status.success() && !output.stdout.is_empty(),
            "`{}`: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn a_closed_pipe_ends_a_command_quietly() {
    need_binary!();
    let server = Server::start();
    for port in 1..=50 {
        let body =
            json!({ "Name": format!("s{port}"), "Address": "10.0.0.1", "Port": port }).to_string();
        http::call(
            server.address("consul"),
            "PUT",
            "/v1/agent/service/register",
            Some(&body),
        )
        .unwrap();
    }
    let mut child = command(&server, &["services"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    child.wait().unwrap();
    assert!(!said.contains("panicked"), "{said}");
}
