//! Leaders that stand still, have a slow disk or are restarted one after another.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::cluster::{Load, leader, sees, three};
use crate::harness::etcd::{self, Etcd};
use crate::harness::server::{Server, signal};
use crate::harness::{eventually, http, tally};
use crate::need_binary;

const LIMIT: Duration = Duration::from_secs(20);

fn others(at: usize) -> [usize; 2] {
    [(at + 1) % 3, (at + 2) % 3]
}

async fn put(client: &Etcd, key: &str, value: &str) -> Result<i64, tonic::Status> {
    client.put(key, value.as_bytes()).await
}

/// A strong read that is on its way to a leader while it stands still must not tell what was true before.
#[test]
fn a_leader_that_stood_still_says_nothing_old() {
    need_binary!();
    let mut servers = three();
    let runtime = etcd::runtime();
    let (mut read, mut refused) = (0, 0);
    for (round, still) in [2, 4, 30].into_iter().enumerate() {
        let at = leader(&mut servers);
        let key = format!("round/{round}");
        let old = runtime.block_on(async {
            let old = Etcd::connect(servers[at].address("etcd")).await.unwrap();
            put(&old, &key, "old").await.unwrap();
            old
        });
        let consul = servers[at].address("consul");
        let path = format!("/v1/kv/{key}");
        let written = http::call(consul, "PUT", &path, Some("old")).unwrap();
        assert_eq!(written.status, 200);
        signal(servers[at].pid(), Signal::STOP);
        let stopped = Instant::now();
        let mut new = None;
        for other in others(at) {
            let address = servers[other].address("consul");
            eventually(LIMIT, || {
                let written = http::call(address, "PUT", &path, Some("new"))?;
                crate::harness::same(&written.status, &200)
            })
            .unwrap();
            new = Some(runtime.block_on(async {
                let client = Etcd::connect(servers[other].address("etcd")).await.unwrap();
                put(&client, &key, "new").await.unwrap()
            }));
        }
        let new = new.unwrap();
        // Asked while it stands still, answered when it goes on.
        let asked: Vec<_> = (0..50)
            .map(|_| {
                let (old, key) = (old.clone(), key.clone());
                runtime.spawn(async move { old.get(&key).await })
            })
            .collect();
        let strong = format!("{path}?consistent&raw");
        let plain = format!("{path}?raw");
        let asking: Vec<_> = [strong, plain]
            .into_iter()
            .map(|path| std::thread::spawn(move || http::call(consul, "GET", &path, None)))
            .collect();
        std::thread::sleep(Duration::from_secs(still).saturating_sub(stopped.elapsed()));
        signal(servers[at].pid(), Signal::CONT);
        for one in asked {
            match runtime.block_on(one).unwrap() {
                Ok(found) => {
                    let found = found.expect("the key");
                    assert!(
                        found.mod_revision >= new,
                        "stale after {still} s: {found:?}"
                    );
                    read += 1;
                }
                Err(_) => refused += 1,
            }
        }
        for one in asking {
            if let Ok(reply) = one.join().unwrap()
                && reply.status == 200
            {
                assert_eq!(reply.text(), "new", "stale after {still} s");
                read += 1;
            } else {
                refused += 1;
            }
        }
        let back = || crate::cluster::has_voters(&servers[at], 3);
        eventually(LIMIT, back).unwrap();
    }
    println!("{read} strong reads answered with what was true, {refused} refused");
}

fn term(server: &Server) -> u64 {
    let status = http::call(
        server.address("etcd"),
        "POST",
        "/v3/maintenance/status",
        Some("{}"),
    );
    let status = status.unwrap().json().unwrap();
    let term = status["raftTerm"].as_str().unwrap_or_default();
    term.parse().expect("a term")
}

/// `strace`, which makes every `fdatasync` of a process take five seconds; ended when dropped.
struct Slow(Child);

impl Slow {
    fn disk_of(pid: u32) -> Result<Slow, String> {
        Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync"])
            .args(["-e", "inject=fdatasync:delay_enter=5000000", "-p"])
            .arg(pid.to_string())
            .stderr(Stdio::null())
            .spawn()
            .map(Slow)
            .map_err(|error| format!("no strace: {error}"))
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        signal(self.0.id(), Signal::INT);
        // It lets go of the process before it ends.
        let _ended = self.0.wait();
    }
}

/// Thirty seconds in which every write of the leader's disk takes five.
#[test]
fn a_slow_disk_is_no_reason_for_elections() {
    need_binary!();
    let mut servers = three();
    let at = leader(&mut servers);
    let before = term(&servers[at]);
    let slow = match Slow::disk_of(servers[at].pid()) {
        Ok(slow) => slow,
        Err(why) => return tally::skip_test("soak: slow disk", &why, 1),
    };
    let runtime = etcd::runtime();
    let begin = Instant::now();
    let (mut done, mut failed, mut longest) = (0, 0, Duration::ZERO);
    while begin.elapsed() < Duration::from_secs(30) {
        for server in &servers {
            let called = Instant::now();
            let answer = runtime.block_on(async {
                let client = Etcd::connect(server.address("etcd")).await.unwrap();
                client.put("slow", b"v").await
            });
            longest = longest.max(called.elapsed());
            match answer {
                Ok(_) => done += 1,
                Err(_) => failed += 1,
            }
        }
    }
    let elections = term(&servers[at]) - before;
    drop(slow);
    println!(
        "{done} writes done, {failed} failed, the longest call {longest:?}, {elections} elections"
    );
    assert!(elections <= 2, "{elections} elections in 30 s");
    assert!(longest < Duration::from_secs(16), "{longest:?}");
    assert!(done > 0);
    for server in &servers {
        eventually(LIMIT, || crate::cluster::has_voters(server, 3)).unwrap();
    }
}

/// Every server is restarted, the leader last or first as it comes: no read at another server fails.
#[test]
fn a_rolling_restart_fails_no_read() {
    need_binary!();
    let mut servers = three();
    let body = r#"{"Name":"kept","Address":"10.1.2.3","Port":80}"#;
    let consul = servers[0].address("consul");
    let reply = http::call(consul, "PUT", "/v1/agent/service/register", Some(body)).unwrap();
    assert_eq!(reply.status, 200);
    for server in &servers {
        eventually(LIMIT, || sees(server, "kept")).unwrap();
    }
    let runtime = etcd::runtime();
    let mut gaps = Vec::new();
    let mut reads = 0;
    for at in 0..3 {
        let leads = leader(&mut servers) == at;
        let load = Arc::new(Load::default());
        let writers: Vec<_> = others(at)
            .into_iter()
            .map(|other| {
                let address = servers[other].address("etcd");
                runtime.spawn(load.clone().write(other, address))
            })
            .collect();
        let stop = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = others(at)
            .into_iter()
            .map(|other| {
                let (stop, address) = (stop.clone(), servers[other].address("consul"));
                std::thread::spawn(move || {
                    let mut reads = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let rows = http::get_json(address, "/v1/health/service/kept").unwrap();
                        assert_eq!(rows.as_array().map(Vec::len), Some(1), "{rows}");
                        reads += 1;
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    reads
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(700));
        let begin = Instant::now();
        assert!(servers[at].terminate(LIMIT).unwrap().success());
        servers[at].start_again();
        eventually(LIMIT, || crate::cluster::has_voters(&servers[at], 3)).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        gaps.push((leads, load.longest_gap(begin, &others(at))));
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            reads += reader.join().expect("no read fails");
        }
        load.finish();
        for writer in writers {
            runtime.block_on(writer).unwrap();
        }
    }
    println!(
        "{reads} reads, longest time without an acknowledged write (of the leader?): {gaps:?}"
    );
}
