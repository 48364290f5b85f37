//! Links of three servers are cut for five seconds each, in every way that one cable or one machine can fail, under load.
//!
//! Every writer puts growing numbers under a key of its own; every reader knows what was acknowledged or read before it asked, and must
//! not get less from a strong read. Raft's term counts elections.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::acceptance::machine::{Machine, ask};
use crate::harness::network::Network;
use crate::harness::{eventually, server};
use crate::need_binary;

const SERVERS: usize = 3;
const LIMIT: Duration = Duration::from_secs(60);
/// How long a writer or reader waits before it asks again, as a client with retries does.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long each fault lasts.
const FAULT: Duration = Duration::from_secs(5);

/// Three servers with certificates, each on a machine of its own.
fn three(network: &Network, folder: &Path) -> Vec<Machine> {
    let binary = server::binary().unwrap();
    let made = Command::new(&binary)
        .args(["tls", "create", "n1", "n2", "n3", "--dir"])
        .arg(folder)
        .status();
    assert!(made.unwrap().success(), "certificates");
    let file = |name: &str| folder.join(name).display().to_string();
    let machines: Vec<Machine> = (1..=SERVERS)
        .map(|at| {
            let mut words: Vec<String> = [
                "serve",
                "--insecure-listen",
                "--listen",
                &format!("all={}", network.address(at)),
                "--node-name",
                &format!("n{at}"),
                "--data-dir",
                &file(&format!("d{at}")),
                "--cluster-ca",
                &file("cluster-ca.pem"),
                "--cluster-cert",
                &file(&format!("n{at}.pem")),
                "--cluster-key",
                &file(&format!("n{at}-key.pem")),
            ]
            .map(str::to_owned)
            .into();
            // One line for all, as a manifest has it: each is told of itself as well.
            for other in 1..=SERVERS {
                words.extend(["--join".to_owned(), network.address(other).to_string()]);
            }
            if at == 1 {
                words.extend(["--bootstrap-expect".to_owned(), "3".to_owned()]);
            }
            Machine::start(network, at, &binary, &words, &[], folder)
        })
        .collect();
    for machine in &machines {
        let ready = || {
            let members = machine.json(7500, "/v1/members")?;
            let voters = members["members"].as_array().map_or(0, |members| {
                members.iter().filter(|m| m["role"] != "learner").count()
            });
            match voters {
                SERVERS => Ok(()),
                voters => Err(format!("{voters} voters; it said:\n{}", machine.said())),
            }
        };
        eventually(LIMIT, ready).unwrap();
    }
    machines
}

/// Who leads in the eyes of one server, counted from 1, and in which term.
fn leader(machine: &Machine) -> Result<(usize, u64), String> {
    let members = machine.json(7500, "/v1/members")?;
    let leader = members["members"]
        .as_array()
        .and_then(|members| members.iter().find(|member| member["role"] == "leader"));
    let leader = leader.ok_or("nobody leads")?;
    let name = leader["name"].as_str().unwrap_or_default();
    let at = name.trim_start_matches('n').parse();
    let term = leader["term"].as_u64().unwrap_or(0);
    at.map(|at| (at, term))
        .map_err(|_| format!("{name:?} leads"))
}

/// All agree on a leader, and each takes a write; who leads, and in which term.
fn settled(machines: &[Machine]) -> (usize, u64) {
    let look = || {
        let first = leader(&machines[0])?;
        for (at, machine) in machines.iter().enumerate() {
            let other = leader(machine)?;
            if other != first {
                return Err(format!("{first:?} and {other:?}"));
            }
            let (status, text) = machine.ask(8500, "PUT", &format!("/v1/kv/probe/{at}"), "x")?;
            if status != 200 {
                return Err(text);
            }
        }
        Ok(first)
    };
    eventually(LIMIT, look).unwrap()
}

/// One writer's key.
#[derive(Default)]
struct Line {
    acknowledged: AtomicU64,
    /// The largest number a strong read gave.
    read: AtomicU64,
}

/// The index at which a line was written last, as the leader has it; 0 where there is none.
fn modified(address: SocketAddr, at: usize) -> Option<u64> {
    let path = format!("/v1/kv/line/{at}?consistent");
    match ask(address, "GET", &path, "", PATIENCE).ok()? {
        (404, _) => Some(0),
        (200, text) => {
            let rows: serde_json::Value = serde_json::from_str(&text).ok()?;
            rows[0]["ModifyIndex"].as_u64()
        }
        _ => None,
    }
}

/// What goes on while links are cut.
struct Load {
    lines: Arc<Vec<Line>>,
    stale: Arc<Mutex<Vec<String>>>,
    /// The longest time without an acknowledged write at any server.
    gaps: Arc<Mutex<(Instant, Duration)>>,
    over: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn start(machines: &[Machine]) -> Load {
        let mut load = Load {
            lines: Arc::new((0..machines.len()).map(|_| Line::default()).collect()),
            stale: Arc::default(),
            gaps: Arc::new(Mutex::new((Instant::now(), Duration::ZERO))),
            over: Arc::default(),
            threads: Vec::new(),
        };
        for (at, machine) in machines.iter().enumerate() {
            let address = machine.port(8500);
            let (lines, gaps) = (load.lines.clone(), load.gaps.clone());
            let over = load.over.clone();
            load.threads.push(std::thread::spawn(move || {
                let mut number = 0_u64;
                while !over.load(Ordering::Relaxed) {
                    number += 1;
                    // A write whose outcome is not known may still come: it must not follow a later one. So each names what it replaces.
                    let Some(there) = modified(address, at) else {
                        std::thread::sleep(Duration::from_millis(20));
                        continue;
                    };
                    let path = format!("/v1/kv/line/{at}?cas={there}");
                    let put = ask(address, "PUT", &path, &number.to_string(), PATIENCE);
                    if put.is_ok_and(|(status, text)| status == 200 && text.trim() == "true") {
                        lines[at].acknowledged.store(number, Ordering::SeqCst);
                        let mut gaps = gaps.lock().unwrap();
                        let gap = gaps.0.elapsed();
                        *gaps = (Instant::now(), gaps.1.max(gap));
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            }));
            for mode in ["consistent", "default"] {
                let (lines, stale) = (load.lines.clone(), load.stale.clone());
                let over = load.over.clone();
                load.threads.push(std::thread::spawn(move || {
                    let mut of = 0;
                    while !over.load(Ordering::Relaxed) {
                        of = (of + 1) % lines.len();
                        let line = &lines[of];
                        let acknowledged = line.acknowledged.load(Ordering::SeqCst);
                        let floor = acknowledged.max(line.read.load(Ordering::SeqCst));
                        let path = format!("/v1/kv/line/{of}?raw&{mode}");
                        if let Ok((200, text)) = ask(address, "GET", &path, "", PATIENCE) {
                            let found: u64 = text.trim().parse().unwrap_or(0);
                            if found < floor {
                                let what = format!("{mode} at {address}: {found} after {floor}");
                                stale.lock().unwrap().push(what);
                            }
                            line.read.fetch_max(found, Ordering::SeqCst);
                        }
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }));
            }
        }
        load
    }

    /// Forgets the longest gap so far.
    fn begin(&self) {
        *self.gaps.lock().unwrap() = (Instant::now(), Duration::ZERO);
    }

    fn gap(&self) -> Duration {
        let gaps = self.gaps.lock().unwrap();
        gaps.1.max(gaps.0.elapsed())
    }

    /// Ends it; gives back what was acknowledged last of each, and what was stale.
    fn end(self) -> (Vec<u64>, Vec<String>) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        let last = self.lines.iter().map(|line| {
            let read = line.read.load(Ordering::SeqCst);
            line.acknowledged.load(Ordering::SeqCst).max(read)
        });
        (last.collect(), self.stale.lock().unwrap().clone())
    }
}

/// A way for links to fail, and the elections it may cost.
struct Fault {
    name: &'static str,
    elections: u64,
    /// Cuts, with the leader's number and those of the others.
    run: fn(&Network, usize, [usize; 2]),
}

fn wait() {
    std::thread::sleep(FAULT);
}

static FAULTS: [Fault; 5] = [
    Fault {
        name: "one follower alone",
        elections: 0,
        run: |network, leader, [one, other]| {
            for to in [leader, other] {
                network.cut(one, to);
            }
            wait();
            for to in [leader, other] {
                network.mend(one, to);
            }
        },
    },
    Fault {
        name: "one link of the leader",
        elections: 0,
        run: |network, leader, [one, _]| {
            network.cut(leader, one);
            wait();
            network.mend(leader, one);
        },
    },
    Fault {
        name: "flapping link",
        elections: 0,
        run: |network, leader, [one, _]| {
            for _ in 0..10 {
                network.cut(leader, one);
                std::thread::sleep(FAULT / 20);
                network.mend(leader, one);
                std::thread::sleep(FAULT / 20);
            }
        },
    },
    Fault {
        name: "leader mute",
        elections: 1,
        run: |network, leader, others| {
            for to in others {
                network.mute(leader, to);
            }
            wait();
            for to in others {
                network.unmute(leader, to);
            }
        },
    },
    Fault {
        name: "leader alone",
        elections: 1,
        run: |network, leader, others| {
            for to in others {
                network.cut(leader, to);
            }
            wait();
            for to in others {
                network.mend(leader, to);
            }
        },
    },
];

#[test]
fn no_link_that_fails_costs_more_than_it_must() {
    need_binary!();
    let network = Network::new(SERVERS).expect("network namespaces");
    network.enter().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let machines = three(&network, folder.path());
    settled(&machines);
    let load = Load::start(&machines);
    let mut wrong = Vec::new();
    for fault in &FAULTS {
        let (leads, term) = settled(&machines);
        let others = match leads {
            1 => [2, 3],
            2 => [1, 3],
            _ => [1, 2],
        };
        load.begin();
        (fault.run)(&network, leads, others);
        let (_, now) = settled(&machines);
        let elections = now - term;
        let line = format!(
            "{}: {elections} elections, longest gap of writes {:?}",
            fault.name,
            load.gap()
        );
        println!("{line}");
        if elections > fault.elections {
            wrong.push(line);
        }
    }
    let (last, stale) = load.end();
    println!("acknowledged {last:?}, {} stale", stale.len());
    for machine in &machines {
        for (at, last) in last.iter().enumerate() {
            let (status, text) = machine
                .ask(8500, "GET", &format!("/v1/kv/line/{at}?raw&consistent"), "")
                .unwrap();
            let found = text.trim().parse().unwrap_or(0);
            if status != 200 || found < *last {
                wrong.push(format!("line {at}: {found} after {last} was acknowledged"));
            }
        }
    }
    assert!(last.iter().all(|last| *last > 50), "load: {last:?}");
    assert!(stale.is_empty(), "{stale:?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
