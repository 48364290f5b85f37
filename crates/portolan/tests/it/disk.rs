//! The disk at its worst: full, torn at the tail, garbled in the middle, claimed by a second process.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tonic::Code;

use crate::harness::etcd::{self, Etcd};
use crate::harness::server::{self, Start};
use crate::harness::{Server, eventually, http, tally};
use crate::need_binary;
use portolan_protocol_etcd::wire::etcdserverpb as pb;

/// A tmpfs of our own, unmounted at the end.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(megabytes: u32) -> Result<Small, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("no root: a small tmpfs cannot be mounted".into());
        }
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let done = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={megabytes}m"),
                "portolan-test",
            ])
            .arg(folder.path())
            .output()
            .map_err(|error| format!("no mount: {error}"))?;
        if !done.status.success() {
            return Err(format!(
                "no tmpfs: {}",
                String::from_utf8_lossy(&done.stderr).trim()
            ));
        }
        Ok(Small(folder))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(self.0.path())
            .status();
    }
}

/// Fills what is left of the disk with one file.
fn ballast(folder: &Path) -> PathBuf {
    let path = folder.join("ballast");
    let mut file = File::create(&path).expect("the ballast");
    let mut chunk = vec![1u8; 1 << 20];
    while !chunk.is_empty() {
        if file.write_all(&chunk).is_err() {
            // The last bytes too.
            let half = chunk.len() / 2;
            chunk.truncate(half);
        }
    }
    path
}

#[test]
fn a_full_disk_refuses_writes_and_nothing_else() {
    need_binary!();
    let small = match Small::mount(192) {
        Ok(small) => small,
        Err(why) => return tally::skip_test("disk: full", &why, 1),
    };
    let mut server = Start::default().on(small.0.path()).go();
    let runtime = etcd::runtime();
    let (etcd_address, consul, eureka) = (
        server.address("etcd"),
        server.address("consul"),
        server.address("eureka"),
    );

    // What must go on working while the disk is full.
    let client = runtime
        .block_on(Etcd::connect(etcd_address))
        .expect("a connection");
    let lease = runtime.block_on(async {
        let granted = client
            .lease()
            .lease_grant(pb::LeaseGrantRequest { ttl: 5, id: 0 })
            .await
            .unwrap()
            .into_inner();
        let put = pb::PutRequest {
            key: "kept".into(),
            value: "v".into(),
            lease: granted.id,
            ..Default::default()
        };
        client.kv().put(put).await.unwrap();
        granted.id
    });
    let registered = http::call(
        eureka,
        "POST",
        "/eureka/apps/DISK",
        Some(&instance("DISK", "h1")),
    )
    .expect("an answer");
    assert_eq!(registered.status, 204, "{}", registered.text());

    let full = ballast(small.0.path());
    // The space set aside is used up first; then every write is refused in its protocol's words.
    let mut acknowledged = Vec::new();
    // A small write may still fit where a large one does not: smaller and smaller ones, until nothing does.
    for size in [256usize << 10, 16 << 10, 1 << 10, 16] {
        let refusal = runtime.block_on(async {
            let value = vec![7u8; size];
            for number in 0..4000u32 {
                let key = format!("fill/{size}/{number}");
                match client.put(&key, &value).await {
                    Ok(revision) => acknowledged.push((key, revision)),
                    Err(status) => return Some(status),
                }
                if number % 8 == 0 {
                    renew(&client, lease)
                        .await
                        .expect("a renewal while the disk fills");
                }
            }
            None
        });
        let refusal =
            refusal.unwrap_or_else(|| panic!("a full disk takes puts of {size} bytes for ever"));
        assert_eq!(
            (refusal.code(), refusal.message()),
            (
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded"
            )
        );
    }
    // The last room may still hold a few writes smaller than those of etcd's client.
    let reply =
        refusal(|number| http::call(consul, "PUT", &format!("/v1/kv/full{number}"), Some("v")));
    assert!(
        reply.status >= 500 && (reply.text().contains("space") || reply.text().contains("full")),
        "Consul's put on a full disk: {} {}",
        reply.status,
        reply.text()
    );
    let reply = refusal(|number| {
        let body = instance("DISK", &format!("full{number}"));
        http::call(eureka, "POST", "/eureka/apps/DISK", Some(&body))
    });
    assert!(
        reply.status >= 500,
        "Eureka's registration on a full disk: {} {}",
        reply.status,
        reply.text()
    );

    // Reads and renewals, for longer than the lease would have lasted.
    for _ in 0..7 {
        runtime.block_on(async {
            assert!(
                renew(&client, lease)
                    .await
                    .expect("a renewal on a full disk")
                    > 0
            );
            assert!(
                client
                    .get("kept")
                    .await
                    .expect("a read on a full disk")
                    .is_some()
            );
        });
        assert_eq!(
            http::call(consul, "GET", "/v1/catalog/services", None)
                .expect("a read")
                .status,
            200
        );
        assert_eq!(
            http::call(eureka, "PUT", "/eureka/apps/DISK/h1", None)
                .expect("a renewal")
                .status,
            200
        );
        std::thread::sleep(Duration::from_secs(1));
    }
    assert!(
        server.is_up(),
        "the process ended on a full disk; it said:\n{}",
        server.said()
    );

    fs::remove_file(full).expect("the ballast");
    let number = eventually(Duration::from_secs(60), || {
        runtime.block_on(renew(&client, lease))?;
        runtime
            .block_on(client.put("resumed", b"v"))
            .map_err(|status| format!("writes do not resume: {status:?}"))
    })
    .unwrap_or_else(|why| panic!("{why}"));
    acknowledged.push(("resumed".into(), number));
    server.start_again();
    let client = runtime
        .block_on(Etcd::connect(etcd_address))
        .expect("a connection");
    runtime.block_on(async {
        for (key, revision) in &acknowledged {
            let found = client.get(key).await.expect("a read");
            assert_eq!(
                found.map(|kv| kv.mod_revision),
                Some(*revision),
                "{key} was acknowledged at {revision}"
            );
        }
    });
}

/// The first answer that is a refusal; `ask` is called with numbers from 0 on.
fn refusal(mut ask: impl FnMut(u32) -> Result<http::Reply, String>) -> http::Reply {
    (0..4000)
        .map(|number| ask(number).expect("an answer"))
        .find(|reply| reply.status >= 300)
        .expect("a full disk takes writes for ever")
}

async fn renew(client: &Etcd, lease: i64) -> Result<i64, String> {
    let request = tokio_stream::once(pb::LeaseKeepAliveRequest { id: lease });
    let mut answers = client
        .lease()
        .lease_keep_alive(request)
        .await
        .map_err(|status| status.to_string())?
        .into_inner();
    Ok(answers
        .message()
        .await
        .map_err(|status| status.to_string())?
        .ok_or("no answer")?
        .ttl)
}

fn instance(app: &str, id: &str) -> String {
    serde_json::json!({ "instance": {
        "instanceId": id, "hostName": id, "app": app, "ipAddr": "10.0.0.9", "status": "UP", "vipAddress": app.to_lowercase(),
        "port": { "$": 80, "@enabled": "true" },
        "dataCenterInfo": { "@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo", "name": "MyOwn" },
    } })
    .to_string()
}

/// The file of the newest log segment and the places and sizes of its frames, read by the format's published description.
fn frames(data: &Path) -> (PathBuf, Vec<(u64, u64)>) {
    let mut segments = Vec::new();
    find_segments(data, &mut segments);
    let newest = segments
        .into_iter()
        .max()
        .expect("a log segment in the data directory");
    let mut bytes = Vec::new();
    File::open(&newest)
        .expect("the segment")
        .read_to_end(&mut bytes)
        .expect("the segment");
    let mut found = Vec::new();
    let mut at = 64;
    while let Some(header) = bytes.get(at..at + 40) {
        if &header[..2] != b"PL" {
            break;
        }
        let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        let size = (40 + length).next_multiple_of(8);
        found.push((at as u64, size as u64));
        at += size;
    }
    (newest, found)
}

fn find_segments(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the data directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            find_segments(&path, found);
        } else if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("log-"))
        {
            found.push(path);
        }
    }
}

fn overwrite(file: &Path, at: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new()
        .write(true)
        .open(file)
        .expect("the segment");
    file.seek(SeekFrom::Start(at)).expect("a place");
    file.write_all(bytes).expect("written");
}

/// Puts numbered keys, one after the other; the newest acknowledged one is last.
fn put_numbered(address: SocketAddr, from: u32, to: u32) {
    etcd::runtime().block_on(async {
        let client = Etcd::connect(address).await.expect("a connection");
        for number in from..to {
            client
                .put(&format!("n/{number:06}"), b"value")
                .await
                .expect("a put");
        }
    });
}

fn numbered(address: SocketAddr) -> Vec<String> {
    etcd::runtime().block_on(async {
        let client = Etcd::connect(address).await.expect("a connection");
        let (_, kvs) = client.prefix("n/").await.expect("a read");
        kvs.into_iter()
            .map(|kv| String::from_utf8_lossy(&kv.key).into_owned())
            .collect()
    })
}

#[test]
fn a_torn_tail_is_cut_and_a_damaged_one_refuses_until_it_is_set_aside() {
    need_binary!();
    type Damage = fn(&Path, &[(u64, u64)]);
    // Whether the server starts by itself: only where a sector was never written.
    let damages: [(&str, bool, Damage); 6] = [
        (
            "a sector of the last record is zeros",
            true,
            |file, frames| {
                let (at, size) = frames[frames.len() - 1];
                let sector = (at + size - 1) / 512 * 512;
                overwrite(file, sector, &vec![0; (at + size - sector) as usize]);
            },
        ),
        ("cut inside the last record", false, |file, frames| {
            let (at, size) = frames[frames.len() - 1];
            OpenOptions::new()
                .write(true)
                .open(file)
                .unwrap()
                .set_len(at + size / 2)
                .unwrap();
        }),
        (
            "one changed byte in the last record",
            false,
            |file, frames| {
                let (at, size) = frames[frames.len() - 1];
                let byte = fs::read(file).unwrap()[(at + size / 2) as usize];
                overwrite(file, at + size / 2, &[byte ^ 0xff]);
            },
        ),
        (
            "noise over the end of the last record",
            false,
            |file, frames| {
                let (at, size) = frames[frames.len() - 1];
                overwrite(file, at + size / 2, &vec![0xA5; (size - size / 2) as usize]);
            },
        ),
        ("noise after the last record", false, |file, frames| {
            let (at, size) = frames[frames.len() - 1];
            overwrite(file, at + size, &[0x5A; 200]);
        }),
        ("half of the file", false, |file, _| {
            let length = fs::metadata(file).unwrap().len();
            OpenOptions::new()
                .write(true)
                .open(file)
                .unwrap()
                .set_len(length / 2)
                .unwrap();
        }),
    ];
    let mut server = Server::start();
    let address = server.address("etcd");
    let mut count = 0;
    for (name, starts, damage) in damages {
        let expected_before = numbered(address).len() as u32;
        put_numbered(address, count, count + 10);
        count += 10;
        etcd::runtime().block_on(async {
            let client = Etcd::connect(address).await.expect("a connection");
            let large = vec![b'v'; 2000];
            client.put("large", &large).await.expect("a put");
        });
        server.kill();
        let (file, found) = frames(&server.data());
        damage(&file, &found);
        if starts {
            server.try_start_again().unwrap_or_else(|why| {
                panic!("{name}: the server does not start on a torn tail: {why}")
            });
        } else {
            let said = server.try_start_again().expect_err(name);
            let doctor = format!("portolan doctor {}", server.data().display());
            assert!(said.contains(&doctor), "{name}: {said}");
            let mended = Command::new(server::binary().unwrap())
                .arg("doctor")
                .arg(server.data())
                .arg("--yes")
                .output()
                .unwrap();
            assert!(mended.status.success(), "{name}: {mended:?}");
            server.start_again();
        }
        let keys = numbered(address);
        // What was hit may be gone, and it was the newest; there is no hole before it.
        let whole: Vec<String> = (0..keys.len())
            .map(|number| format!("n/{number:06}"))
            .collect();
        assert_eq!(keys, whole, "{name}: a hole");
        assert_eq!(
            keys.len() as u32,
            count,
            "{name}: only the last record was hit"
        );
        assert!(keys.len() as u32 >= expected_before, "{name}");
    }
}

#[test]
fn damage_before_the_tail_refuses_to_start_and_says_what_to_do() {
    need_binary!();
    let mut server = Server::start();
    put_numbered(server.address("etcd"), 0, 200);
    server.kill();
    let (file, found) = frames(&server.data());
    let (at, size) = found[found.len() / 2];
    let original = fs::read(&file).unwrap()[(at + size / 2) as usize];
    overwrite(&file, at + size / 2, &[original ^ 0x40]);
    let said = server
        .try_start_again()
        .expect_err("a server that starts on a damaged log serves wrong data");
    assert!(
        said.contains("log-"),
        "the message does not name the file: {said}"
    );
    overwrite(&file, at + size / 2, &[original]);
    server.start_again();
    assert_eq!(
        numbered(server.address("etcd")).len(),
        200,
        "the repaired log is whole again"
    );
}

#[test]
fn a_second_process_on_one_directory_is_refused() {
    need_binary!();
    let mut server = Server::start();
    let mut second = Command::new(server::binary().unwrap());
    second
        .args(["serve", "--data-dir"])
        .arg(server.data())
        .stdin(Stdio::null());
    for protocol in server::PROTOCOLS {
        second.args([
            "--listen",
            &format!("{protocol}={}", server::free_address()),
        ]);
    }
    let output = second.output().expect("the second process ends by itself");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        !output.status.success(),
        "the second process ended well; it said:\n{said}"
    );
    assert!(
        said.contains("in use by another process"),
        "it said:\n{said}"
    );
    assert!(!said.contains("ready"), "it said:\n{said}");
    assert!(server.is_up());
    put_numbered(server.address("etcd"), 0, 1);
}

#[test]
fn another_node_s_directory_is_refused() {
    need_binary!();
    let mut server = Server::start();
    server.kill();
    let output = Command::new(server::binary().unwrap())
        .args([
            "serve",
            "--node-name",
            "somebody-else",
            "--listen",
            "consul=off",
            "--data-dir",
        ])
        .arg(server.data())
        .stdin(Stdio::null())
        .output()
        .expect("it ends by itself");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("belongs to node"),
        "it said:\n{said}"
    );
}
