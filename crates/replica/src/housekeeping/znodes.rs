//! Znodes that go by themselves: containers whose last child went, and nodes whose time to live is over.

use std::collections::BTreeMap;
use std::time::Duration;

use portolan_catalog::{
    Cause, Command, Expect, Key, KeyRange, Keyspace, Op, Revision, State, TreeWrite, Why, ZnodeKind,
};
use tokio::time::Instant;

/// How often they are looked at; ZooKeeper's `znode.container.checkIntervalMs`.
pub(super) const EVERY: Duration = Duration::from_secs(60);
/// Removals of one look at most; ZooKeeper's `znode.container.maxPerMinute`.
const MOST: usize = 10_000;

/// Since when nodes with a time to live have been as they are.
#[derive(Debug, Default)]
pub(super) struct Passing {
    looked: Option<Instant>,
    unchanged: BTreeMap<Key, (Revision, Instant)>,
}

impl Passing {
    /// The nodes to remove now. A node with a time to live is removed when it has not been set for that time and has no children, as
    /// this leader has seen it.
    pub(super) fn due(&mut self, state: &State, now: Instant) -> Vec<(Cause, Command)> {
        let is_early = |looked: Instant| now.saturating_duration_since(looked) < EVERY;
        if self.looked.is_some_and(is_early) {
            return Vec::new();
        }
        self.looked = Some(now);
        let mut unchanged = BTreeMap::new();
        let mut due = Vec::new();
        for (key, record) in state.passing_znodes() {
            let node = record.znode();
            let expect = match node.kind {
                ZnodeKind::Container if node.creates > 0 && node.children == 0 => Expect::Any,
                ZnodeKind::Ttl(ms) => {
                    let seen = match self.unchanged.get(key) {
                        Some((modified, seen)) if *modified == record.modified => *seen,
                        _ => now,
                    };
                    unchanged.insert(key.clone(), (record.modified, seen));
                    let over = now.saturating_duration_since(seen) >= Duration::from_millis(ms);
                    if !over || node.children > 0 {
                        continue;
                    }
                    Expect::Modified(record.modified)
                }
                ZnodeKind::Container | ZnodeKind::Persistent | ZnodeKind::Ephemeral => continue,
            };
            if due.len() < MOST {
                let op = Op::Delete {
                    space: Keyspace::Znodes,
                    range: KeyRange::One(key.clone()),
                    expect,
                };
                let write = TreeWrite {
                    who: None,
                    session: None,
                    ops: vec![op],
                };
                due.push((Cause::own(Why::Housekeeping), Command::Tree(write)));
            }
        }
        self.unchanged = unchanged;
        due
    }
}
