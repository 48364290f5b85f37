//! What the history costs: memory, bytes on the disk, and reads of the past, over values of random bytes.
//!
//! `cargo run --release -p portolan-history --example figures -- [PUTS [FLIPS]]`, by default 1,100,000 puts to 10,000 keys and 200,000
//! flips of one TTL check. Files go to a new directory below the system's temporary one and are removed at the end.

#![allow(clippy::unwrap_used)]

use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portolan_catalog::{
    Cause, CheckFacts, CheckKey, Command, Endpoint, Entry, Host, InstanceKey, Key, Keyspace,
    NewCheck, NodeFacts, NodeName, Op, Protocol, Put, Register, Registration, Revision, ServiceKey,
    State, Status, Timestamp, Write as Writing,
};
use portolan_history::{File, Files, History, Named, Span};

#[derive(Debug)]
struct Directory(PathBuf);

#[derive(Debug)]
struct Open(std::fs::File);

impl File for Open {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

impl Files for Directory {
    fn create(
        &self,
        name: &str,
        fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Arc<dyn File>> {
        let path = self.0.join(name);
        let temporary = self.0.join(format!("{name}.tmp"));
        let file = std::fs::File::create(&temporary)?;
        let mut to = BufWriter::with_capacity(256 << 10, file);
        fill(&mut to)?;
        to.flush()?;
        to.get_ref().sync_data()?;
        std::fs::rename(&temporary, &path)?;
        Ok(Arc::new(Open(std::fs::File::open(path)?)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.0.join(name))
    }

    fn list(&self) -> io::Result<Vec<Named>> {
        Ok(Vec::new())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

struct World {
    state: State,
    history: Arc<History>,
    seed: u64,
    at: u64,
    /// The most that the history had in memory when it was looked at.
    peak: u64,
    /// The longest that one batch took to be added.
    longest: Duration,
}

impl World {
    fn random(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed
    }

    fn apply(&mut self, command: Command) {
        self.at += 1;
        let applied = self.state.apply(&Entry {
            at: Timestamp(self.at),
            cause: Arc::new(Cause::call(Protocol::Etcd, None)),
            command,
        });
        applied.settled.outcome.unwrap();
        if let Some(batch) = applied.batch {
            let started = Instant::now();
            self.history.push(&batch);
            self.longest = self.longest.max(started.elapsed());
            if batch.revision.0.is_multiple_of(1000) {
                self.peak = self.peak.max(self.history.figures().memory_bytes);
            }
        }
    }

    fn put(&mut self) {
        let key = self.random() % 10_000;
        let value: Vec<u8> = (0..32).flat_map(|_| self.random().to_le_bytes()).collect();
        let put = Put::new(Keyspace::Etcd, name(key), value.into());
        self.apply(Command::Write(Writing::one(Op::Put(Box::new(put)))));
    }

    fn say(&self, what: &str, started: Instant) {
        let figures = self.history.figures();
        println!(
            "{what}: {:.1} s; revision {}; resident {} MiB; history {:.1} MiB in memory, {:.1} MiB in {} files, {} bytes a revision; peak {:.1} MiB, longest push {:?}",
            started.elapsed().as_secs_f64(),
            self.state.revision(),
            resident() >> 10,
            figures.memory_bytes as f64 / 1_048_576.0,
            figures.disk_bytes as f64 / 1_048_576.0,
            figures.files,
            figures.disk_bytes / figures.batches.max(1),
            self.peak as f64 / 1_048_576.0,
            self.longest,
        );
    }
}

fn name(key: u64) -> Key {
    Key::from(&*format!("bench/key/{key:06}"))
}

/// VmRSS in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let figure = line.and_then(|line| line.split_whitespace().nth(1));
    figure.unwrap().parse().unwrap()
}

fn reads(world: &mut World, back: u64) {
    let now = world.state.revision().0;
    if back + 10 > now {
        return;
    }
    let view = world.history.view();
    let mut times: Vec<Duration> = (0..2000)
        .map(|_| {
            let span = Span::record(Keyspace::Etcd, &name(world.random() % 10_000));
            let revision = Revision(now - back - world.random() % 10);
            let started = Instant::now();
            view.row(&span, revision).unwrap();
            started.elapsed()
        })
        .collect();
    let mean = times.iter().sum::<Duration>() / 2000;
    times.sort();
    println!("one key {back} back: mean {mean:?}, p99 {:?}", times[1980]);
    let started = Instant::now();
    let span = Span::record(Keyspace::Etcd, &name(7));
    for _ in 0..100 {
        view.row(&span, Revision(now - back)).unwrap();
    }
    println!("a transaction of 100 of them: {:?}", started.elapsed());
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse().unwrap());
    let puts: u64 = arguments.next().unwrap_or(1_100_000);
    let flips: u64 = arguments.next().unwrap_or(200_000);
    let place = std::env::temp_dir().join(format!("portolan-history-{}", std::process::id()));
    std::fs::create_dir(&place).unwrap();
    let history = History::open(Arc::new(Directory(place.clone())), 16 << 20).unwrap();
    let history = Arc::new(history);
    let worker = {
        let history = history.clone();
        std::thread::spawn(move || {
            while history.wait(Duration::from_secs(1)) {
                history.work(|| !history.stopped()).unwrap();
            }
        })
    };
    let mut world = World {
        state: State::default(),
        history: history.clone(),
        seed: 0x9E37_79B9_7F4A_7C15,
        at: 1_700_000_000_000,
        peak: 0,
        longest: Duration::ZERO,
    };
    let started = Instant::now();
    world.say("nothing", started);
    for part in 0..10 {
        for _ in 0..puts / 10 {
            world.put();
        }
        world.say(&format!("{} puts", (part + 1) * (puts / 10)), started);
    }
    std::thread::sleep(Duration::from_secs(2));
    world.say("two seconds later", started);
    for back in [10, 1000, 100_000, 1_000_000] {
        reads(&mut world, back);
    }
    let compact = Command::Compact {
        space: Some(Keyspace::Etcd),
        revision: world.state.revision(),
    };
    world.apply(compact);
    history.set_floors(world.state.floors());
    std::thread::sleep(Duration::from_secs(2));
    world.say("after compaction", started);
    let node = NodeName::new("n1");
    let machine = NodeFacts::new("n1", Host::new("10.0.0.9"));
    world.apply(Command::PutNode {
        node: Arc::new(machine),
        terms: None,
        expect: None,
    });
    let check = CheckKey::new(&node, "c1");
    let instance = InstanceKey::consul(&node, "web-1");
    let endpoint = Endpoint::new(Host::new("10.0.0.1"), 80);
    let mut facts = Registration::new(instance.clone(), ServiceKey::plain("web"), endpoint);
    facts.node = node;
    let mut checked = CheckFacts::new(check.clone(), "Service 'web' check");
    checked.instance = Some(instance);
    let register = Register {
        checks: vec![NewCheck {
            facts: Arc::new(checked),
            status: Status::Passing,
            output: "".into(),
            reported: true,
        }],
        ..Register::new(facts)
    };
    world.apply(Command::Register(Box::new(register)));
    let started = Instant::now();
    for flip in 0..flips {
        let status = [Status::Critical, Status::Passing][(flip % 2) as usize];
        world.apply(Command::Report {
            check: check.clone(),
            status,
            output: "".into(),
        });
    }
    world.say(&format!("{flips} flips"), started);
    history.stop();
    worker.join().unwrap();
    std::fs::remove_dir_all(place).unwrap();
}
