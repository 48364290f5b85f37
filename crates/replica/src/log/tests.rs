//! The log against a disk that crashes, fails, fills up and rots.

use std::io::IoSlice;

use super::*;
use crate::disk::{Crash, MemoryDisk};

const OPTIONS: SpaceOptions = SpaceOptions {
    segment_bytes: 16 << 10,
    first_segment_bytes: 12 << 10,
    reserve_bytes: 8 << 10,
    margin_bytes: 1 << 10,
};

fn open(disk: &MemoryDisk) -> Result<Log, LogError> {
    open_with(disk, &Fatal::new("memory".to_owned(), |_| {}))
}

fn open_with(disk: &MemoryDisk, fatal: &Fatal) -> Result<Log, LogError> {
    Log::open(
        Arc::new(disk.clone()),
        fatal.clone(),
        7,
        OPTIONS,
        Arc::new(Stats::default()),
    )
}

fn entry(term: u64, index: u64, length: usize) -> Arc<LogEntry> {
    let body = match index % 7 {
        0 => Body::Blank,
        1 => Body::Membership(Bytes::from(vec![index as u8; length % 50])),
        _ => Body::Batch(CommandBatch::from_bytes(Bytes::from(vec![
            index as u8;
            length
        ]))),
    };
    Arc::new(LogEntry {
        position: Position { term, index },
        body,
    })
}

/// What the log should hold.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    entries: Vec<(u64, u64, Vec<u8>)>,
    purged: Option<Position>,
    vote: Option<Vec<u8>>,
}

impl Model {
    fn of(log: &Log) -> Model {
        let (purged, last) = log.ends();
        let end = last.map_or(0, |last| last.index + 1);
        let entries: Vec<_> = log
            .read(0..end, usize::MAX)
            .unwrap()
            .iter()
            .map(|entry| {
                (
                    entry.position.term,
                    entry.position.index,
                    entry.body.bytes().to_vec(),
                )
            })
            .collect();
        Model {
            entries,
            purged,
            vote: log.vote(),
        }
    }

    fn next(&self) -> u64 {
        match (self.entries.last(), self.purged) {
            (Some(entry), _) => entry.1 + 1,
            (None, Some(purged)) => purged.index + 1,
            (None, None) => 0,
        }
    }
}

enum Step {
    Append(u64, usize, usize),
    Vote(u8),
    Cut(u64),
    Purge(u64),
    Commit,
}

/// About sixty operations that cross several segments, truncate and purge.
fn script() -> Vec<Step> {
    let mut steps = vec![Step::Vote(1), Step::Append(1, 1, 0)];
    for round in 0..9u64 {
        steps.push(Step::Append(1 + round, 1, 100 + 40 * round as usize));
        steps.push(Step::Append(1 + round, 3, 900));
        steps.push(Step::Commit);
        steps.push(Step::Append(1 + round, 1, 2500));
        if round % 3 == 1 {
            steps.push(Step::Cut(2));
            steps.push(Step::Vote(round as u8));
        }
        steps.push(Step::Append(2 + round, 2, 300));
        if round % 3 == 2 {
            steps.push(Step::Purge(4));
        }
    }
    steps.push(Step::Append(20, 1, 10));
    steps
}

impl Step {
    /// Does the step on the log, and on the model; `Ok` means acknowledged.
    fn run(&self, log: &Log, model: &mut Model) -> io::Result<()> {
        let result = match self {
            Step::Append(term, count, length) => {
                let entries: Vec<_> = (0..*count as u64)
                    .map(|place| entry(*term, model.next() + place, *length))
                    .collect();
                for entry in &entries {
                    model.entries.push((
                        entry.position.term,
                        entry.position.index,
                        entry.body.bytes().to_vec(),
                    ));
                }
                log.append(entries)
            }
            Step::Vote(vote) => {
                model.vote = Some(vec![*vote; 12]);
                log.save_vote(&[*vote; 12])
            }
            Step::Cut(count) => {
                for _ in 0..*count {
                    model.entries.pop();
                }
                let last = model.entries.last().map(|entry| Position {
                    term: entry.0,
                    index: entry.1,
                });
                log.truncate_after(last)
            }
            Step::Purge(left) => {
                let gone = model.entries.len() - *left as usize;
                let (term, index, _) = model.entries.drain(..gone).next_back().unwrap();
                let upto = Position { term, index };
                model.purged = Some(upto);
                log.applied(index);
                log.purge(upto)
            }
            Step::Commit => {
                log.note_committed(model.next().checked_sub(1));
                Ok(())
            }
        };
        result.and_then(|()| log.space().work())
    }
}

#[test]
fn a_script_reads_back_and_survives_a_restart() {
    let disk = MemoryDisk::new();
    let log = open(&disk).unwrap();
    let mut model = Model::default();
    for step in script() {
        step.run(&log, &mut model).unwrap();
        assert_eq!(Model::of(&log), model);
    }
    assert!(log.committed().is_some());
    let segments = disk
        .list()
        .unwrap()
        .iter()
        .filter(|name| name.starts_with("log-"))
        .count();
    assert!((2..=3).contains(&segments), "{segments}");
    for how in [Crash::KeepAll, Crash::LoseAll] {
        disk.restart(how);
        let log = open(&disk).unwrap();
        assert_eq!(Model::of(&log), model);
    }
}

/// Everything acknowledged is there after a crash in the middle of any disk call; what was in flight is there or not, as a whole or
/// as a prefix.
#[test]
fn a_crash_at_every_call_loses_nothing_acknowledged() {
    let disk = MemoryDisk::new();
    let log = open(&disk).unwrap();
    for step in script() {
        let mut model = Model::of(&log);
        step.run(&log, &mut model).unwrap();
    }
    let calls = disk.calls();
    assert!(calls > 100, "{calls}");
    let mut runs = 0;
    for call in 1..=calls {
        let ways = [Crash::LoseAll, Crash::KeepAll]
            .into_iter()
            .chain((0..6).map(|seed| Crash::Tear(seed * 1000 + call)));
        for how in ways {
            crash_once(call, how);
            runs += 1;
        }
    }
    assert!(runs > 800, "{runs}");
}

fn crash_once(call: u64, how: Crash) {
    let disk = MemoryDisk::new();
    disk.crash_at(call, how);
    let mut acknowledged = Model::default();
    let mut in_flight = Model::default();
    if let Ok(log) = open(&disk) {
        for step in script() {
            in_flight = acknowledged.clone();
            if step.run(&log, &mut in_flight).is_err() {
                break;
            }
            acknowledged = in_flight.clone();
        }
    }
    assert!(disk.crashed(), "call {call} never came");
    disk.restart(how);
    let log = open(&disk).unwrap_or_else(|error| panic!("call {call}, {how:?}: {error}"));
    let found = Model::of(&log);
    assert!(
        found == acknowledged || found == in_flight,
        "call {call}, {how:?}: found {} entries to {}, purged {:?}, expected {} or {}",
        found.entries.len(),
        found.next(),
        found.purged,
        acknowledged.next(),
        in_flight.next(),
    );
    // It goes on from there, and survives once more.
    let mut model = found;
    for step in [
        Step::Append(30, 1, 700),
        Step::Vote(9),
        Step::Append(30, 2, 50),
    ] {
        step.run(&log, &mut model).unwrap();
    }
    disk.restart(Crash::LoseAll);
    assert_eq!(
        Model::of(&open(&disk).unwrap()),
        model,
        "call {call}, {how:?}"
    );
}

#[test]
fn an_error_at_every_call_is_fatal_and_loses_nothing() {
    let disk = MemoryDisk::new();
    let log = open(&disk).unwrap();
    let mut model = Model::default();
    for step in script() {
        step.run(&log, &mut model).unwrap();
    }
    let calls = disk.calls();
    for call in 1..=calls {
        let disk = MemoryDisk::new();
        disk.fail_at(call);
        let fatal = Fatal::new("memory".to_owned(), |_| {});
        let mut acknowledged = Model::default();
        let mut in_flight = Model::default();
        let mut failed = false;
        match open_with(&disk, &fatal) {
            Err(_) => failed = true,
            Ok(log) => {
                for step in script() {
                    in_flight = acknowledged.clone();
                    if step.run(&log, &mut in_flight).is_err() {
                        failed = true;
                        assert!(fatal.fired(), "call {call}");
                        // Poisoned: nothing is acknowledged any more.
                        assert!(log.append(vec![entry(1, in_flight.next(), 1)]).is_err());
                        assert!(log.save_vote(&[1]).is_err());
                        break;
                    }
                    acknowledged = in_flight.clone();
                }
            }
        }
        assert!(failed, "call {call} was not noticed");
        disk.restart(Crash::LoseAll);
        let found = Model::of(&open(&disk).unwrap());
        assert!(found == acknowledged || found == in_flight, "call {call}");
    }
}

/// A log of one segment with a known last frame, for the knife.
fn short_log() -> (MemoryDisk, Model, Vec<usize>) {
    let disk = MemoryDisk::new();
    let log = open(&disk).unwrap();
    let mut model = Model::default();
    let mut ends = Vec::new();
    for length in [40, 200, 90, 130, 61] {
        Step::Append(1, 1, length).run(&log, &mut model).unwrap();
        ends.push(log.lock().segments.back().unwrap().end as usize);
    }
    (disk, model, ends)
}

const FIRST: &str = "log-0000000000000001";

#[test]
fn a_torn_last_write_is_cut_and_the_place_is_zeros_again() {
    let disk = MemoryDisk::new();
    let log = open(&disk).unwrap();
    let mut model = Model::default();
    Step::Append(1, 1, 0).run(&log, &mut model).unwrap();
    Step::Append(1, 1, 40).run(&log, &mut model).unwrap();
    let at = log.lock().segments.back().unwrap().end as usize;
    let mut whole = model.clone();
    Step::Append(1, 1, 3000).run(&log, &mut whole).unwrap();
    let content = disk.content(FIRST).unwrap();
    for sector in at / 512..=(at + 2900) / 512 {
        let disk = disk.duplicate();
        let mut torn = content.clone();
        torn[(sector * 512).max(at)..(sector + 1) * 512].fill(0);
        disk.put(FIRST, torn);
        let log = open(&disk).unwrap_or_else(|error| panic!("sector {sector}: {error}"));
        assert_eq!(Model::of(&log), model, "sector {sector}");
        assert!(
            disk.content(FIRST).unwrap()[at..]
                .iter()
                .all(|byte| *byte == 0),
            "sector {sector}"
        );
        let mut after = model.clone();
        Step::Append(2, 1, 33).run(&log, &mut after).unwrap();
        assert_eq!(Model::of(&open(&disk).unwrap()), after, "sector {sector}");
    }
}

/// A single changed byte anywhere in the log, its last frame included, refuses to start.
#[test]
fn a_changed_byte_of_the_last_frame_refuses_to_start() {
    let (disk, model, ends) = short_log();
    let content = disk.content(FIRST).unwrap();
    for at in ends[1]..ends[4] {
        let disk = disk.duplicate();
        let mut bytes = content.clone();
        bytes[at] ^= 0x5a;
        disk.put(FIRST, bytes);
        match open(&disk) {
            // Only padding between frames is nobody's.
            Ok(log) => assert_eq!(Model::of(&log), model, "{at}"),
            Err(error) => assert!(error.to_string().contains(FIRST), "{at}: {error}"),
        }
    }
    let refused = ends[3]..ends[4] - 8;
    for at in refused {
        let disk = disk.duplicate();
        let mut bytes = content.clone();
        bytes[at] ^= 1;
        disk.put(FIRST, bytes);
        let error = open(&disk).unwrap_err().to_string();
        assert!(error.contains("portolan doctor"), "{at}: {error}");
    }
}

/// A disk on which the script was run, its log, the names of the segments, and what the log must hold.
fn scripted() -> (MemoryDisk, Log, Vec<String>, Model) {
    let disk = MemoryDisk::new();
    let log = open(&disk).unwrap();
    let mut model = Model::default();
    for step in script() {
        step.run(&log, &mut model).unwrap();
    }
    let segments = disk.list().unwrap().into_iter();
    let names = segments.filter(|name| name.starts_with("log-")).collect();
    (disk, log, names, model)
}

#[test]
fn a_segment_that_is_cut_or_gone_refuses_to_start() {
    let (disk, _, ends) = short_log();
    let content = disk.content(FIRST).unwrap();
    for length in [ends[2] + 3, ends[4], content.len() / 2, content.len() - 1] {
        let disk = disk.duplicate();
        disk.put(FIRST, content[..length].to_vec());
        let error = open(&disk).unwrap_err().to_string();
        assert!(error.contains("was made with"), "{length}: {error}");
    }
    let (disk, _log, names, _) = scripted();
    let newest = names.last().unwrap();
    disk.remove(newest).unwrap();
    let error = open(&disk).unwrap_err().to_string();
    assert!(
        error.contains(&format!("{newest} was begun after it and is missing")),
        "{error}"
    );
}

#[test]
fn a_flipped_bit_before_the_tail_refuses_to_start() {
    let (disk, log, names, model) = scripted();
    let last_frame = log.lock().slots.back().unwrap().offset as usize;
    let mut refused = 0;
    for (place, name) in names.iter().enumerate() {
        let content = disk.content(name).unwrap();
        let last = place + 1 == names.len();
        let used = if last {
            last_frame
        } else {
            log.lock().segments[place].end as usize
        };
        for at in (0..used).step_by(5) {
            for bit in [0, 3, 7] {
                let disk = disk.duplicate();
                let mut bytes = content.clone();
                bytes[at] ^= 1 << bit;
                disk.put(name, bytes);
                match open(&disk) {
                    Err(error) => {
                        let text = error.to_string();
                        assert!(text.contains(name) && text.contains("restore"), "{text}");
                        refused += 1;
                    }
                    // Only padding between frames is nobody's.
                    Ok(log) => assert_eq!(Model::of(&log), model, "{name} byte {at}"),
                }
            }
        }
    }
    assert!(refused > 500, "{refused}");
    // A missing segment in front is noticed too.
    let disk = disk.duplicate();
    disk.remove(&names[0]).unwrap();
    assert!(open(&disk).unwrap_err().to_string().contains("missing"));
}

#[test]
fn a_full_disk_refuses_first_and_resumes_when_space_returns() {
    let disk = MemoryDisk::new();
    disk.set_capacity(Some(60 << 10));
    let log = open(&disk).unwrap();
    let mut model = Model::default();
    log.space().work().unwrap();
    let mut appended = 0;
    while log.space().room_for(1000) == Room::Ready {
        Step::Append(1, 1, 1000).run(&log, &mut model).unwrap();
        appended += 1;
        assert!(appended < 100);
    }
    assert!(appended > 20, "{appended}");
    assert_eq!(log.space().room_for(1000), Room::Full);
    // Votes still go: room is kept for them.
    Step::Vote(3).run(&log, &mut model).unwrap();
    // A purge gives segments back, without needing space.
    Step::Purge(1).run(&log, &mut model).unwrap();
    assert_eq!(log.space().room_for(1000), Room::Ready);
    while log.space().room_for(1000) == Room::Ready {
        Step::Append(1, 1, 1000).run(&log, &mut model).unwrap();
    }
    assert_eq!(log.space().room_for(1000), Room::Full);
    disk.set_capacity(Some(1 << 20));
    log.space().work().unwrap();
    assert_eq!(log.space().room_for(1000), Room::Ready);
    assert!(disk.list().unwrap().contains(&"reserve".to_owned()));
    Step::Append(1, 1, 1000).run(&log, &mut model).unwrap();
    disk.restart(Crash::LoseAll);
    assert_eq!(Model::of(&open(&disk).unwrap()), model);
}

#[test]
fn a_batch_larger_than_a_segment_gets_one_of_its_own_or_is_refused() {
    let disk = MemoryDisk::new();
    let log = open(&disk).unwrap();
    let mut model = Model::default();
    log.space().work().unwrap();
    // Larger than the spare, which is there and will not grow.
    assert_eq!(log.space().room_for(100_000), Room::Ready);
    Step::Append(1, 3, 100_000).run(&log, &mut model).unwrap();
    Step::Append(1, 1, 1000).run(&log, &mut model).unwrap();
    log.space().work().unwrap();
    assert_eq!(log.space().room_for(100_000), Room::Ready);
    disk.set_capacity(Some(200 << 10));
    assert_eq!(log.space().room_for(100_000), Room::Full);
    assert_eq!(log.space().room_for(1000), Room::Ready);
    disk.restart(Crash::LoseAll);
    assert_eq!(Model::of(&open(&disk).unwrap()), model);
}

#[test]
fn applied_entries_leave_memory_and_come_back_checked() {
    let disk = MemoryDisk::new();
    let options = SpaceOptions {
        segment_bytes: 8 << 20,
        first_segment_bytes: 8 << 20,
        ..OPTIONS
    };
    let fatal = Fatal::new("memory".to_owned(), |_| {});
    let log = Log::open(
        Arc::new(disk.clone()),
        fatal.clone(),
        7,
        options,
        Arc::new(Stats::default()),
    )
    .unwrap();
    let mut model = Model::default();
    for _ in 0..60 {
        Step::Append(1, 1, 200_000).run(&log, &mut model).unwrap();
    }
    log.applied(59);
    let kept = log
        .lock()
        .slots
        .iter()
        .filter(|slot| slot.entry.is_some())
        .map(|slot| slot.bytes as usize)
        .sum::<usize>();
    assert!(kept <= KEEP_APPLIED, "{kept}");
    assert_eq!(Model::of(&log), model);
    // A read stops at its limit but is never empty.
    assert_eq!(log.read(2..60, 1).unwrap().len(), 1);
    assert_eq!(log.read(2..6, 700_000).unwrap().len(), 3);
    // A bit that rots meanwhile is never served.
    let offset = log.lock().slots[2].offset as usize + 1000;
    let name = FIRST;
    let mut bytes = disk.content(name).unwrap();
    bytes[offset] ^= 1;
    let file = disk.open(name, crate::disk::OpenMode::Write).unwrap();
    file.write_at(0, &mut [IoSlice::new(&bytes)]).unwrap();
    assert!(log.read(2..3, 1).is_err());
    assert!(fatal.fired());
}
