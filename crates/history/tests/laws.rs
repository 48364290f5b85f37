//! Any earlier revision read through the store is the one that was there, wherever it is kept.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use portolan_catalog::{
    Batch, Cause, CheckFacts, CheckKey, Command, Endpoint, Entry, Expect, Floors, Host,
    InstanceKey, Key, KeyRange, Keyspace, NewCheck, NodeName, Op, Protocol, Put, Register,
    Registration, Revision, ServiceKey, State, Status, Table, Target, Timestamp, Write,
};
use portolan_history::{Earlier, File, Files, History, MemoryFiles, Named, Select, Span, View};
use proptest::prelude::*;

/// What a test does at one step.
#[derive(Clone, Debug)]
enum Step {
    Put(u8, Vec<u8>),
    Delete(u8),
    Register(u8, u8),
    Deregister(u8),
    Report(u8, bool),
    Flush,
    Work,
    /// Etcd's floor moves to so many eighths of what is there.
    Compact(u8),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0_u8..6, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(k, v)| Step::Put(k, v)),
        3 => (0_u8..6).prop_map(Step::Delete),
        4 => (0_u8..4, 0_u8..3).prop_map(|(i, h)| Step::Register(i, h)),
        2 => (0_u8..4).prop_map(Step::Deregister),
        4 => (0_u8..4, any::<bool>()).prop_map(|(i, ok)| Step::Report(i, ok)),
        3 => Just(Step::Flush),
        2 => Just(Step::Work),
        1 => (0_u8..9).prop_map(Step::Compact),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..90)
}

struct World {
    state: State,
    history: History,
    files: MemoryFiles,
    /// Every state there was, by revision from the first on.
    states: Vec<State>,
    batches: Vec<Arc<Batch>>,
    /// Batches that are not yet in a file, and so are made again at a restart.
    time: u64,
}

const MEMORY: u64 = 64 << 10;

impl World {
    fn new() -> World {
        let files = MemoryFiles::default();
        World {
            state: State::default(),
            history: History::open(Arc::new(files.clone()), MEMORY).unwrap(),
            files,
            states: vec![State::default()],
            batches: Vec::new(),
            time: 1_700_000_000_000,
        }
    }

    fn apply(&mut self, command: Command) {
        self.time += 1000;
        let applied = self.state.apply(&Entry {
            at: Timestamp(self.time),
            cause: Arc::new(Cause::call(Protocol::Etcd, None)),
            command,
        });
        if let Some(batch) = applied.batch {
            self.history.push(&batch);
            self.states.push(self.state.clone());
            self.batches.push(batch);
        }
        self.history.set_floors(self.state.floors());
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Put(key, value) => self.apply(put(*key, value)),
            Step::Delete(key) => self.apply(Command::Write(Write::one(Op::Delete {
                space: Keyspace::Etcd,
                range: KeyRange::One(name(*key)),
                expect: Expect::Any,
            }))),
            Step::Register(id, host) => self.apply(register(*id, *host)),
            Step::Deregister(id) => self.apply(Command::Deregister {
                target: Target::Instance(instance(*id)),
                expect: None,
            }),
            Step::Report(id, passing) => self.apply(Command::Report {
                check: check(*id),
                status: if *passing {
                    Status::Passing
                } else {
                    Status::Critical
                },
                output: "".into(),
            }),
            Step::Flush => self.history.flush().unwrap(),
            Step::Work => self.history.work(|| true).unwrap(),
            Step::Compact(eighths) => {
                let revision = Revision(self.state.revision().0 * u64::from(*eighths) / 8);
                self.apply(Command::Compact {
                    space: Some(Keyspace::Etcd),
                    revision,
                });
            }
            Step::Restart => self.restart(),
        }
    }

    /// What is not in files comes again, and so does some of what is.
    fn restart(&mut self) {
        self.history = History::open(Arc::new(self.files.clone()), MEMORY).unwrap();
        let from = self.history.view().through();
        for batch in &self.batches {
            if batch.revision.0 + 3 > from.0 {
                self.history.push(batch);
            }
        }
        self.history.set_floors(self.state.floors());
    }

    fn floor(&self, space: Option<Keyspace>) -> Revision {
        self.state.floor(space).max(Revision::FIRST)
    }

    /// Every revision that can be read is the one that was there, and every batch that can be followed too.
    fn check(&self) {
        let view = self.history.view();
        assert_eq!(view.through(), self.state.revision());
        for revision in self.floor(None).0..=self.state.revision().0 {
            let revision = Revision(revision);
            let then = &self.states[revision.0 as usize - 1];
            let records = revision >= self.floor(Some(Keyspace::Etcd));
            let found = everything(&self.state, &view, revision, records);
            if records {
                assert!(found.same_rows(then), "revision {revision}");
                self.keys(&view, revision, then);
            } else {
                assert!(found.all_instances().eq(then.all_instances()));
                assert!(found.checks().eq(then.checks()));
                assert!(found.all_endpoints().eq(then.all_endpoints()));
            }
        }
        self.batches(&view);
    }

    fn keys(&self, view: &View, revision: Revision, then: &State) {
        for key in 0..6 {
            let key = name(key);
            let was = then.record(Keyspace::Etcd, &key);
            let span = Span::record(Keyspace::Etcd, &key);
            let now = self.state.record(Keyspace::Etcd, &key);
            match view.row(&span, revision).unwrap() {
                Earlier::Same => assert_eq!(was, now),
                Earlier::Absent => assert_eq!(was, None),
                Earlier::Was(portolan_catalog::Change::Record { before, .. }) => {
                    assert_eq!(was, before.as_ref());
                }
                Earlier::Was(other) => panic!("{other:?}"),
            }
            // A row that is older than what is asked for needs no history.
            if let Some(now) = now.filter(|now| now.modified <= revision) {
                assert_eq!(was, Some(now));
            }
        }
    }

    fn batches(&self, view: &View) {
        let etcd = self.floor(Some(Keyspace::Etcd));
        let all = read(view, &Select::All, Revision(etcd.0.saturating_sub(1)));
        let expected = self.batches.iter().filter(|batch| batch.revision >= etcd);
        assert!(all.iter().eq(expected), "batches differ");
        let key = name(2);
        let span = Span::record(Keyspace::Etcd, &key);
        let touches = |batch: &&Arc<Batch>| {
            batch.changes.iter().any(|change| {
                matches!(change, portolan_catalog::Change::Record { key: other, .. } if *other == key)
            })
        };
        let some = read(
            view,
            &Select::Spans(vec![span]),
            Revision(etcd.0.saturating_sub(1)),
        );
        let some: Vec<_> = some.iter().filter(touches).collect();
        let expected = self.batches.iter().filter(|batch| batch.revision >= etcd);
        assert!(some.into_iter().eq(expected.filter(touches)));
        // About a service, newest first; records below their floor are not among them.
        let web = ServiceKey::plain("web");
        let found = view
            .newest(
                &Span::about(&web),
                self.state.revision(),
                Revision::FIRST,
                1000,
            )
            .unwrap();
        let found: Vec<Revision> = found.iter().map(|batch| batch.revision).collect();
        let mut expected: Vec<Revision> = self
            .batches
            .iter()
            .filter(|batch| batch.services.contains(&web))
            .map(|batch| batch.revision)
            .collect();
        expected.reverse();
        assert_eq!(found, expected);
        for batch in &self.batches {
            if batch.revision >= etcd {
                let found = view.revision_at(Timestamp(batch.at.0 + 1)).unwrap();
                assert_eq!(found, Some(batch.revision));
            }
        }
    }
}

fn everything(present: &State, view: &View, revision: Revision, records: bool) -> State {
    let mut tables = vec![
        Table::Namespaces,
        Table::Services,
        Table::Instances,
        Table::Endpoints,
        Table::Nodes,
        Table::Checks,
        Table::Sessions,
    ];
    if records {
        tables.push(Table::Records(Keyspace::Etcd));
    }
    let mut rows = Vec::new();
    for table in tables {
        let changed = view.changed(&Span::table(table), revision).unwrap();
        let places: Vec<_> = changed.values().collect();
        rows.extend(view.rows(&places).unwrap());
    }
    present.with_earlier(&rows, revision)
}

fn read(view: &View, select: &Select, mut after: Revision) -> Vec<Arc<Batch>> {
    let until = view.through();
    let mut found = Vec::new();
    while after < until {
        let piece = view.read(select, after, until, 7).unwrap();
        assert!(piece.through > after);
        found.extend(piece.batches);
        after = piece.through;
    }
    found
}

fn name(key: u8) -> Key {
    Key::from(&*format!("k/{key}"))
}

fn put(key: u8, value: &[u8]) -> Command {
    let put = Put::new(Keyspace::Etcd, name(key), value.to_vec().into());
    Command::Write(Write::one(Op::Put(Box::new(put))))
}

fn instance(id: u8) -> InstanceKey {
    InstanceKey::new(Protocol::Native, format!("web-{id}"))
}

fn check(id: u8) -> CheckKey {
    CheckKey::new(&NodeName::new("n1"), &format!("check-{id}"))
}

fn register(id: u8, host: u8) -> Command {
    let host = Host::new(&format!("10.0.0.{host}"));
    let mut facts = Registration::new(
        instance(id),
        ServiceKey::plain("web"),
        Endpoint::new(host, 80),
    );
    facts.node = NodeName::new("n1");
    let mut check = CheckFacts::new(check(id), "alive");
    check.instance = Some(instance(id));
    Command::Register(Box::new(Register {
        checks: vec![NewCheck {
            facts: Arc::new(check),
            status: Status::Passing,
            output: "".into(),
            reported: false,
        }],
        ..Register::new(facts)
    }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_earlier_revision_can_be_read(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.check();
        // Wherever it is kept.
        world.history.flush().unwrap();
        world.check();
        world.history.work(|| true).unwrap();
        world.restart();
        world.check();
    }
}

/// Every byte of a file matters: with any of them changed, readers get an error or the right answer, and the history opens.
#[test]
fn a_damaged_file_is_an_error_for_its_readers_and_nobody_else() {
    let mut world = World::new();
    for round in 0..60_u8 {
        world.apply(put(round % 5, &[round; 30]));
        if round % 20 == 19 {
            world.history.flush().unwrap();
        }
    }
    let (file, length) = world.files.lengths()[1].clone();
    let mut refused = 0;
    for byte in (0..length).step_by(3) {
        world.files.damage(&file, |bytes| bytes[byte] ^= 0x55);
        world.restart();
        let view = world.history.view();
        assert_eq!(view.through(), world.state.revision());
        for revision in [Revision(10), Revision(30), Revision(50)] {
            let then = &world.states[revision.0 as usize - 1];
            for key in 0..5 {
                let span = Span::record(Keyspace::Etcd, &name(key));
                let was = then.record(Keyspace::Etcd, &name(key));
                match view.row(&span, revision) {
                    Ok(Earlier::Was(portolan_catalog::Change::Record { before, .. })) => {
                        assert_eq!(was, before.as_ref(), "byte {byte}");
                    }
                    Ok(Earlier::Same) => {
                        assert_eq!(was, world.state.record(Keyspace::Etcd, &name(key)));
                    }
                    Ok(other) => assert_eq!((was, other), (None, Earlier::Absent)),
                    Err(damage) => {
                        // Later revisions do not need the file.
                        assert!(revision.0 < 42, "{damage}");
                        assert_eq!(damage.file, file);
                        refused += 1;
                    }
                }
            }
        }
        world.files.damage(&file, |bytes| bytes[byte] ^= 0x55);
    }
    assert!(refused > 100, "{refused}");
    world.restart();
    world.check();
}

#[test]
fn compaction_frees_memory_and_files_and_keeps_what_is_above() {
    let mut world = World::new();
    for round in 0..20_000_u32 {
        let value: Vec<u8> = (0..64)
            .map(|n| (round.wrapping_mul(2_654_435_761 + n) >> 13) as u8)
            .collect();
        world.apply(put((round % 6) as u8, &value));
        if round % 500 == 0 {
            world.apply(register((round / 500 % 4) as u8, (round / 2000 % 3) as u8));
        }
        if world.history.is_heavy() {
            world.history.work(|| true).unwrap();
        }
    }
    world.history.work(|| true).unwrap();
    let before = world.history.figures();
    assert!(before.memory_bytes < MEMORY * 2, "{before:?}");
    assert!(before.files < 20, "{before:?}");
    let bytes = before.disk_bytes / before.batches;
    assert!(
        bytes < 64 + 60,
        "{bytes} bytes a revision of 64: {before:?}"
    );
    let floor = Revision(world.state.revision().0 - 10);
    world.apply(Command::Compact {
        space: Some(Keyspace::Etcd),
        revision: floor,
    });
    world.history.work(|| true).unwrap();
    let after = world.history.figures();
    assert!(after.disk_bytes * 20 < before.disk_bytes, "{after:?}");
    assert!(after.changes < 500, "{after:?}");
    world.restart();
    let view = world.history.view();
    for revision in (1..world.state.revision().0).step_by(997) {
        let then = &world.states[revision as usize - 1];
        let found = everything(&world.state, &view, Revision(revision), false);
        assert!(found.all_instances().eq(then.all_instances()), "{revision}");
    }
    // And all of it by a floor of everything.
    let now = world.state.revision();
    world.apply(Command::Compact {
        space: None,
        revision: now,
    });
    world.history.flush().unwrap();
    world.apply(put(0, b"after"));
    world.history.work(|| true).unwrap();
    assert_eq!(
        world.history.figures().files,
        1,
        "{:?}",
        world.files.lengths()
    );
    let _floors: &Floors = world.state.floors();
}

/// Files of a process that ends before one of its steps on the disk: from then on nothing is made or removed any more.
#[derive(Debug)]
struct Ending {
    files: MemoryFiles,
    left: AtomicUsize,
}

impl Ending {
    fn step(&self) -> io::Result<()> {
        let left = self.left.load(Relaxed);
        let next = left.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
        self.left.store(next, Relaxed);
        Ok(())
    }
}

impl Files for Ending {
    fn create(
        &self,
        name: &str,
        fill: &mut dyn FnMut(&mut dyn io::Write) -> io::Result<()>,
    ) -> io::Result<Arc<dyn File>> {
        self.step()?;
        self.files.create(name, fill)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.step()?;
        self.files.remove(name)
    }

    fn list(&self) -> io::Result<Vec<Named>> {
        self.files.list()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.files.free_bytes()
    }
}

/// Seals, merges, rewrites what was mostly compacted, and forgets files; gives back whether the disk took all of it.
fn busy_life(world: &mut World) -> bool {
    for round in 0..110_u8 {
        world.apply(put(round % 6, &[round; 30]));
        let done = match round {
            70 => {
                world.step(&Step::Compact(7));
                world.history.work(|| true)
            }
            100 => {
                let revision = Revision(world.state.revision().0 / 2);
                world.apply(Command::Compact {
                    space: None,
                    revision,
                });
                world.history.work(|| true)
            }
            round if round % 14 == 13 => world.history.work(|| true),
            round if round % 2 == 1 => world.history.flush(),
            _ => Ok(()),
        };
        if done.is_err() {
            return false;
        }
    }
    true
}

/// Wherever a process ends between two steps on the disk, also between those of a merge, what can be read at the next start is what
/// was there, and no file is left that nobody reads.
#[test]
fn a_process_may_end_between_any_two_steps_on_the_disk() {
    let mut last = 0;
    for left in 0.. {
        let mut world = World::new();
        let ending = Ending {
            files: world.files.clone(),
            left: AtomicUsize::new(left),
        };
        world.history = History::open(Arc::new(ending), MEMORY).unwrap();
        let whole = busy_life(&mut world);
        // Whoever goes on without the disk reads the same.
        world.check();
        world.restart();
        world.check();
        assert_eq!(
            world.files.lengths().len() as u64,
            world.history.figures().files,
            "{left}"
        );
        world.history.work(|| true).unwrap();
        world.check();
        if whole {
            last = left;
            break;
        }
    }
    // Some fifty files were made, and nearly as many removed.
    assert!(last > 80, "{last}");
}
