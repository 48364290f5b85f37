//! Backups: saved at one server, brought back into a running cluster, whole or not at all; and who was waiting is told.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use portolan_protocol_etcd::wire::etcdserverpb as pb;
use serde_json::Value;
use tokio_stream::wrappers::ReceiverStream;

use crate::cluster::three;
use crate::harness::etcd::{self, Etcd};
use crate::harness::server::{self, Server};
use crate::harness::{eventually, http, same};
use crate::need_binary;

pub(crate) const LIMIT: Duration = Duration::from_secs(20);

fn run(words: &[&str]) -> Output {
    Command::new(server::binary().unwrap())
        .args(words)
        .output()
        .unwrap()
}

/// What a command prints; it must succeed.
fn says(words: &[&str]) -> String {
    let output = run(words);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a command that must fail says of it.
fn fails(words: &[&str]) -> String {
    let output = run(words);
    assert_eq!(output.status.code(), Some(1), "{words:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn native(server: &Server) -> String {
    format!("http://{}", server.address("native"))
}

fn put_key(server: &Server, key: &str, value: &str) {
    let path = format!("/v1/kv/{key}");
    let reply = http::call(server.address("consul"), "PUT", &path, Some(value)).unwrap();
    assert_eq!(reply.text().trim(), "true");
}

fn key(server: &Server, key: &str) -> Result<String, String> {
    let path = format!("/v1/kv/{key}?raw");
    let reply = http::call(server.address("consul"), "GET", &path, None)?;
    match reply.status {
        200 => Ok(reply.text()),
        status => Err(format!("{key}: {status}")),
    }
}

fn index(reply: &http::Reply) -> u64 {
    reply
        .header("X-Consul-Index")
        .and_then(|index| index.parse().ok())
        .unwrap_or(0)
}

/// A server with a service, keys of Consul and one of etcd that was put three times.
fn filled() -> (Server, i64) {
    let server = Server::start();
    let body = r#"{"Name":"web","Address":"10.1.1.1","Port":80}"#;
    let address = server.address("consul");
    let reply = http::call(address, "PUT", "/v1/agent/service/register", Some(body)).unwrap();
    assert_eq!(reply.status, 200);
    put_key(&server, "app/a", "1");
    let last = etcd::runtime().block_on(async {
        let client = Etcd::connect(server.address("etcd")).await.unwrap();
        let mut last = 0;
        for round in 0..3_u8 {
            last = client.put("k", &[round]).await.unwrap();
        }
        last
    });
    (server, last)
}

/// Waits for the end of a watch; gives back from which revision on one can be followed.
async fn watch_is_told(client: &Etcd, from: i64) -> Option<i64> {
    let (asking, asked) = tokio::sync::mpsc::channel(1);
    let create = pb::WatchCreateRequest {
        key: "k".into(),
        start_revision: from,
        ..Default::default()
    };
    let request = pb::WatchRequest {
        request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)),
    };
    asking.send(request).await.ok()?;
    let watching = client.watch().watch(ReceiverStream::new(asked)).await;
    let mut answers = watching.ok()?.into_inner();
    while let Ok(Some(answer)) = answers.message().await {
        if answer.canceled {
            return Some(answer.compact_revision);
        }
    }
    None
}

#[test]
fn a_backup_goes_into_a_running_cluster_and_whoever_waited_is_told() {
    need_binary!();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup");
    let file = file.to_str().unwrap();
    let last = {
        let (server, last) = filled();
        says(&["snapshot", "save", file, "--server", &native(&server)]);
        last
    };
    let mut servers = three();
    let follower = native(&servers[1]);
    // Readers that wait: a blocking query for a key, and a watch.
    let first = http::call(servers[2].address("consul"), "GET", "/v1/kv/app/a", None).unwrap();
    let (address, after) = (servers[2].address("consul"), index(&first));
    let blocked = std::thread::spawn(move || {
        let path = format!("/v1/kv/app/a?raw&wait=25s&index={after}");
        http::call(address, "GET", &path, None)
    });
    let watched = servers[0].address("etcd");
    let told = std::thread::spawn(move || {
        etcd::runtime().block_on(async {
            let client = Etcd::for_streams(watched).await.unwrap();
            tokio::time::timeout(LIMIT, watch_is_told(&client, 0)).await
        })
    });
    let restored = says(&[
        "snapshot", "restore", file, "--server", &follower, "--output", "json",
    ]);
    let restored: Value = serde_json::from_str(&restored).unwrap();
    let revision = restored["revision"].as_u64().unwrap();
    assert!(revision > restored["snapshot_revision"].as_u64().unwrap());
    let blocked = blocked.join().unwrap().unwrap();
    assert_eq!((blocked.status, blocked.text().as_str()), (200, "1"));
    assert!(index(&blocked) >= revision, "the index does not go back");
    let from = told.join().unwrap().expect("the watch is told");
    assert!(from.is_some_and(|from| from > 0), "{from:?}");
    // Every server ends with it, and it is as it was.
    etcd::runtime().block_on(async {
        for server in &servers {
            let client = Etcd::connect(server.address("etcd")).await.unwrap();
            let found = client.get("k").await.unwrap().unwrap();
            assert_eq!((found.mod_revision, found.version), (last, 3));
            let old = watch_is_told(&client, last).await;
            assert!(old.is_some_and(|floor| floor as u64 >= revision), "{old:?}");
        }
    });
    for server in &servers {
        eventually(LIMIT, || crate::cluster::sees(server, "web")).unwrap();
        let consul = http::get_json(server.address("consul"), "/v1/catalog/service/consul");
        let nodes: Vec<String> = consul
            .unwrap()
            .as_array()
            .into_iter()
            .flatten()
            .map(|row| row["Node"].as_str().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(
            nodes,
            ["n1", "n2", "n3"],
            "the servers are those of this cluster"
        );
    }
    // It is not empty any more.
    let refused = fails(&["snapshot", "restore", file, "--server", &follower]);
    assert!(refused.contains("not empty"), "{refused}");
    put_key(&servers[0], "after", "x");
    says(&[
        "snapshot",
        "restore",
        file,
        "--server",
        &follower,
        "--replace",
    ]);
    assert!(key(&servers[0], "after").is_err());
    // What was restored is on every disk.
    put_key(&servers[0], "last", "y");
    servers[2].kill();
    servers[2].start_again();
    eventually(LIMIT, || same(&key(&servers[2], "last")?, &"y".to_owned())).unwrap();
    assert_eq!(key(&servers[2], "app/a").unwrap(), "1");
}

#[test]
fn what_is_damaged_is_refused_and_changes_nothing() {
    need_binary!();
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let (server, _) = filled();
    let (file, archive, broken) = (place("file"), place("archive.tgz"), place("broken"));
    let to = native(&server);
    says(&["snapshot", "save", &file, "--server", &to]);
    let saved = http::call(server.address("consul"), "GET", "/v1/snapshot", None).unwrap();
    assert_eq!(saved.status, 200);
    assert_eq!(saved.header("X-Consul-KnownLeader"), Some("true"));
    assert!(index(&saved) > 1);
    std::fs::write(&archive, &saved.body).unwrap();
    // The archive holds the same: both are read by either command.
    let revision = |file: &str| {
        let said = says(&["snapshot", "inspect", file, "--output", "json"]);
        let said: Value = serde_json::from_str(&said).unwrap();
        said["revision"].as_u64().unwrap()
    };
    assert_eq!(revision(&file), revision(&archive));
    put_key(&server, "later", "z");
    for whole in [&file, &archive] {
        let whole = std::fs::read(whole).unwrap();
        let mut changed = whole.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        for bytes in [
            &whole[..whole.len() / 2],
            &whole[..whole.len() - 1],
            &changed,
        ] {
            std::fs::write(&broken, bytes).unwrap();
            for words in [
                &["snapshot", "restore", &broken, "--server", &to, "--replace"][..],
                &["snapshot", "inspect", &broken],
                &["snapshot", "restore", &broken, "--data-dir", &place("new")],
            ] {
                let refused = fails(words);
                assert!(refused.contains("damaged"), "{refused}");
            }
            assert!(!Path::new(&place("new")).join("node.toml").exists());
            // The servers look themselves.
            let headers = &[("Content-Type", "application/octet-stream")];
            for (protocol, status) in [("native", 400), ("consul", 500)] {
                let address = server.address(protocol);
                let path = "/v1/snapshot";
                let reply = http::call_with(address, "PUT", path, headers, Some(bytes)).unwrap();
                assert_eq!(reply.status, status, "{}", reply.text());
            }
        }
    }
    let address = server.address("consul");
    let garbage = http::call(address, "PUT", "/v1/snapshot", Some("garbage")).unwrap();
    let text = "failed to decompress snapshot: gzip: invalid header";
    assert_eq!((garbage.status, garbage.text().trim()), (500, text));
    assert_eq!(key(&server, "later").unwrap(), "z");
}

#[test]
fn the_commands_of_consul_save_inspect_and_restore() {
    need_binary!();
    let folder = tempfile::tempdir().unwrap();
    let (server, _) = filled();
    let file = folder.path().join("backup.tgz").display().to_string();
    let address = server.address("consul").to_string();
    let consul = |words: &[&str]| {
        let output = Command::new(server::binary().unwrap())
            .args(["as", "consul"])
            .args(words)
            .env("CONSUL_HTTP_ADDR", &address)
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), out, error)
    };
    let (code, said, error) = consul(&["snapshot", "save", &file]);
    assert_eq!(code, Some(0), "{error}");
    assert!(
        said.starts_with("Saved and verified snapshot to index "),
        "{said}"
    );
    let (_, inspected, _) = consul(&["snapshot", "inspect", &file]);
    assert!(inspected.contains(" Version      1"), "{inspected}");
    put_key(&server, "app/a", "2");
    let (code, said, error) = consul(&["snapshot", "restore", &file]);
    assert_eq!(
        (code, said.trim()),
        (Some(0), "Restored snapshot"),
        "{error}"
    );
    assert_eq!(key(&server, "app/a").unwrap(), "1");
    let (code, _, error) = consul(&["snapshot", "save", "-append-filename", "dc,node", &file]);
    assert_eq!(code, Some(0), "{error}");
    let names = std::fs::read_dir(folder.path()).unwrap();
    let named = names.filter_map(Result::ok).any(|entry| {
        entry
            .file_name()
            .to_string_lossy()
            .starts_with("backup-dc1-")
    });
    assert!(named, "the name says where it is from");
    std::fs::write(&file, "no archive").unwrap();
    let (code, _, error) = consul(&["snapshot", "restore", &file]);
    assert_eq!(code, Some(1));
    assert!(error.contains("failed to decompress snapshot"), "{error}");
}
